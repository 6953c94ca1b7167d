//! The `tusktop` binary: reads the command line, starts the runtime and hands over to the command.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use tusktop::{
    cli::{Cli, Command, SnapArgs},
    collect::memory,
    commands::{cat, cut, demo, diff, doctor, failure, groups, live, observed, record, replay, snap},
    config::{self, Environment},
    exit,
    system::heap,
};

fn main() -> ExitCode {
    heap::share();
    ExitCode::from(run(Cli::parse()).unwrap_or_else(|error| failure::report(&error)))
}

fn run(cli: Cli) -> anyhow::Result<u8> {
    if let Some(Command::Become(arguments)) = &cli.command {
        // It is about to be another program: its settings are not ours to judge.
        return Err(observed::become_command(&arguments.command).into());
    }
    if let Some(Command::ReadMemory) = &cli.command {
        memory::serve()?;
        return Ok(exit::FINE);
    }
    if cli.command.is_some() && cli.live.compare.is_some() {
        let what = "--compare comes behind `live` or `replay FILE`, or without a command";
        Cli::command().error(ErrorKind::ArgumentConflict, what).exit();
    }
    if cli.default_config {
        io::stdout().write_all(config::DEFAULT_FILE.as_bytes())?;
        return Ok(exit::FINE);
    }
    let environment = Environment::read();
    let settings = config::load(&cli.settings, &environment)?;
    let rules = Arc::new(settings.rules()?);
    // Also where nothing is drawn: a wrong setting should not wait for the day that the screen is needed.
    let screen = live::screen(&settings, &environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(async {
        match cli.command {
            Some(Command::Snap(arguments)) => snap::run(&settings, rules, arguments).await,
            Some(Command::Record(arguments)) => record::run(&settings, rules, arguments).await,
            Some(Command::Replay(arguments)) => replay::run(screen, arguments).await,
            Some(Command::Cat(arguments)) => cat::run(&arguments),
            Some(Command::Demo(arguments)) => demo::run(screen, arguments).await,
            Some(Command::Cut(arguments)) => cut::run(&arguments),
            Some(Command::Diff(arguments)) => diff::run(&arguments),
            Some(Command::Doctor(arguments)) => doctor::run(&settings, arguments).await,
            Some(Command::Groups(arguments)) => groups::run(&settings, &rules, arguments),
            None if live::can_draw() => live::run(&settings, rules, screen, cli.live).await,
            Some(Command::Live(arguments)) if live::can_draw() => live::run(&settings, rules, screen, arguments).await,
            _ => snap::run(&settings, rules, SnapArgs::default()).await,
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}
