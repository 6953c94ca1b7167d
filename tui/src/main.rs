//! The `tusktop` binary: reads the command line and hands over to the library.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser as _;
use jiff::tz::TimeZone;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::Instant,
};
use tusktop::{
    app::Keymap,
    cli::{self, Cli, Command, DoctorArgs, Format, GroupsArgs, SnapArgs},
    collect::{
        inspect,
        php::{self, Order},
        proc::{self, PssOptions},
    },
    commands::{
        doctor, groups,
        observed::{self, CommandError, Held, Signals},
        output::{Output, OutputError},
    },
    config::{self, ConfigError, Environment, Settings},
    export,
    model::{ExactKind, TraceLimits, TraceOrder, TraceRequest},
    rules::Rules,
    screen::{
        stage,
        terminal::{self, Inspections},
    },
    session::{self, Session},
    system::heap,
    ui::theme::{self, ColorChoice, ThemeError},
    words::printable::printable,
};

/// Wrong usage or configuration, as clap has it.
const USAGE: u8 = 2;
/// `EX_UNAVAILABLE` and `EX_NOPERM` of sysexits(3).
const UNAVAILABLE: u8 = 69;
const NO_PERMISSION: u8 = 77;

/// How long a snapshot is collected for when nothing else is said.
const A_MOMENT: Duration = Duration::from_secs(1);
const SAMPLER_STOPPED: &str = "the process sampler has stopped";

fn main() -> ExitCode {
    heap::share();
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told when this fails.
            let _ = writeln!(io::stderr(), "tusktop: {}", message(&error));
            ExitCode::from(code_of(&error))
        }
    }
}

/// An error with its causes. Names of files and parts of them come from outside, and some errors name their cause already.
fn message(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.ends_with(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message.lines().map(printable).collect::<Vec<_>>().join("\n")
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Some(Command::Become(arguments)) = &cli.command {
        // It is about to be another program: its settings are not ours to judge.
        return Err(observed::become_command(&arguments.command).into());
    }
    if cli.default_config {
        io::stdout().write_all(config::DEFAULT_FILE.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let environment = Environment::read();
    let settings = config::load(&cli.settings, &environment)?;
    let rules = Arc::new(settings.rules()?);
    // Also where nothing is drawn: a wrong setting should not wait for the day that the screen is needed.
    let screen = screen(&settings, &environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(async {
        match cli.command {
            Some(Command::Snap(arguments)) => snap(&settings, rules, arguments).await,
            Some(Command::Doctor(arguments)) => doctor(&settings, arguments).await,
            Some(Command::Groups(arguments)) => groups(&settings, &rules, arguments),
            None | Some(Command::Live) if can_draw() => live(&settings, rules, screen).await,
            _ => snap(&settings, rules, SnapArgs::default()).await,
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

fn can_draw() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn options(settings: &Settings, rules: Arc<Rules>) -> session::Options {
    session::Options {
        interval: settings.interval,
        php: settings.php.then_some(php::Options { hz: settings.hz, ..php::Options::default() }),
        proc: processes(settings, PssOptions::default().allowance),
        rules,
    }
}

fn processes(settings: &Settings, allowance: Duration) -> proc::Options {
    let pss = PssOptions { budget: settings.pss_budget, read_limit: settings.pss_read_limit, allowance };
    proc::Options { pss, ..proc::Options::default() }
}

/// The options of what looks once.
fn options_once(settings: &Settings, rules: Arc<Rules>) -> session::Options {
    session::Options { proc: processes(settings, PssOptions::ONCE), ..options(settings, rules) }
}

/// Opens the screen; it ends when the user leaves, a signal comes or the terminal goes away.
async fn live(settings: &Settings, rules: Arc<Rules>, screen: stage::Options) -> anyhow::Result<ExitCode> {
    let (session, snapshots) = Session::start(&options(settings, rules))?;
    let orders = session.orders.clone();
    let limits = limits(settings);
    let order = |what: TraceOrder| {
        // A collector that does not keep up has better things to do, and the screen shows that nothing began.
        if let Some(orders) = &orders {
            let _ = orders.try_send(Order { what, limits });
        }
    };
    let (inspected, wanted) = watch::channel(None);
    let readings = inspect::spawn(proc::Options::default().root, wanted);
    let inspections = Inspections { orders: inspected, readings };
    let end = terminal::run(screen, snapshots, order, inspections).await;
    session.stop().await;
    Ok(ExitCode::from(end?.code))
}

fn screen(settings: &Settings, environment: &Environment) -> anyhow::Result<stage::Options> {
    let variable = |name: &str| std::env::var(name).ok();
    // NO_COLOR has had its say in the merge of the settings.
    let depth = theme::depth(settings.color.into(), ColorChoice::Auto, variable);
    let name = settings.theme.as_deref().unwrap_or_else(|| theme::default_name(depth));
    let keys: BTreeMap<_, _> =
        settings.keys.iter().map(|binding| (binding.key.clone(), binding.action.clone())).collect();
    Keymap::new(&keys).map_err(|error| settings.key_error(error.key(), &error))?;
    Ok(stage::Options {
        theme: theme::load(name, environment.config_folder().as_deref())?,
        depth,
        ascii: settings.ascii || terminal::ascii_locale(variable),
        mouse: settings.mouse,
        keys,
        time_zone: TimeZone::system(),
        read_only: settings.read_only(),
    })
}

async fn snap(settings: &Settings, rules: Arc<Rules>, arguments: SnapArgs) -> anyhow::Result<ExitCode> {
    // Before anything runs: what is measured for an hour must not be lost to a misspelt folder.
    let out = Output::open(&arguments)?;
    if !arguments.command.is_empty() {
        return snap_command(settings, rules, &arguments, &out).await;
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut options = options_once(settings, rules);
    if let (Some(php), Some(kind)) = (&mut options.php, arguments.exact) {
        let what = TraceOrder::Start(TraceRequest { kind: kind_of(kind), ..TraceRequest::default() });
        php.exact = Some(Order { what, limits: limits(settings) });
    }
    let snapshot = tokio::select! {
        snapshot = session::once(&options, arguments.duration.unwrap_or(A_MOMENT)) => snapshot?,
        _ = interrupt.recv() => return Ok(ended_by(SignalKind::interrupt())),
        _ = terminate.recv() => return Ok(ended_by(SignalKind::terminate())),
        _ = hangup.recv() => return Ok(ended_by(SignalKind::hangup())),
    };
    out.print(&snapshot.context(SAMPLER_STOPPED)?, arguments.format)?;
    Ok(ExitCode::SUCCESS)
}

fn limits(settings: &Settings) -> TraceLimits {
    TraceLimits { budget: settings.budget, limit: settings.trace_limit }
}

fn kind_of(exact: cli::Exact) -> ExactKind {
    match exact {
        cli::Exact::Functions => ExactKind::Functions,
        cli::Exact::Lines => ExactKind::Lines,
    }
}

/// Runs a command and prints what was seen of it. Its exit code is passed on, also when that cannot be printed.
async fn snap_command(
    settings: &Settings,
    rules: Arc<Rules>,
    arguments: &SnapArgs,
    out: &Output,
) -> anyhow::Result<ExitCode> {
    let program = observed::resolve(&arguments.command[0], std::env::var_os("PATH").as_deref())?;
    let held = Held::start(&arguments.command)?;
    let signals = Signals::take()?;
    let mut options = options_once(settings, rules);
    if let Some(php) = &mut options.php {
        php.programs = observed::programs(&program);
        php.root = Some(held.pid());
        php.exact = arguments.exact.map(|kind| Order {
            what: TraceOrder::Start(TraceRequest { kind: kind_of(kind), pool: None, pid: Some(held.pid()) }),
            limits: TraceLimits { budget: f64::INFINITY, limit: config::MAX_INTERVAL * 24 },
        });
    }
    let during = async |baseline: Instant| {
        let mut running = held.release(signals);
        running.wait_until(arguments.duration.map(|duration| baseline + duration)).await;
        running
    };
    let (running, snapshot) = session::observe(&options, during).await?;
    let status = running.end().await?;
    let printed = snapshot.context(SAMPLER_STOPPED).and_then(|snapshot| Ok(out.print(&snapshot, arguments.format)?));
    if let Err(error) = printed
        && !is_broken_pipe(&error)
    {
        let _ = writeln!(io::stderr(), "tusktop: {}", message(&error));
    }
    Ok(ExitCode::from(observed::code(status)))
}

async fn doctor(settings: &Settings, arguments: DoctorArgs) -> anyhow::Result<ExitCode> {
    let report = doctor::examine(settings.hz).await;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if arguments.json {
        report.write_json(&mut out)?;
    } else {
        report.write_text(&mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::from(report.code()))
}

/// Lists groups and rules, or explains one process.
fn groups(settings: &Settings, rules: &Arc<Rules>, arguments: GroupsArgs) -> anyhow::Result<ExitCode> {
    let sample = groups::read(&processes(settings, PssOptions::ONCE))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    match (arguments.explain, arguments.format) {
        (None, Format::Table) => export::write_groups(&groups::report(&sample, rules), &mut out)?,
        (None, Format::Json) => export::write_line(&groups::report(&sample, rules), &mut out)?,
        (Some(pid), Format::Table) => {
            export::write_explanation(&groups::explain(&sample, rules, pid)?, &mut out)?;
        }
        (Some(pid), Format::Json) => export::write_line(&groups::explain(&sample, rules, pid)?, &mut out)?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The shell's way to say that a signal ended a program.
fn ended_by(kind: SignalKind) -> ExitCode {
    ExitCode::from(u8::try_from(128 + kind.as_raw_value()).unwrap_or(1))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        return if error.is_permission() { NO_PERMISSION } else { USAGE };
    }
    if error.is::<ThemeError>() {
        return USAGE;
    }
    if let Some(error) = error.downcast_ref::<CommandError>() {
        return error.code();
    }
    if error.downcast_ref::<OutputError>().is_some_and(OutputError::is_permission) {
        return NO_PERMISSION;
    }
    match error.downcast_ref::<proc::ProcError>() {
        Some(proc::ProcError::Root { .. }) => UNAVAILABLE,
        _ => 1,
    }
}
