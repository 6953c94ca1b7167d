//! `tusktop snap`: one snapshot, of a moment or of the time that a command runs.

use std::{cell::Cell, collections::VecDeque, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::Instant,
};

use super::{
    failure,
    observed::{self, Held, Signals},
    options,
    output::Output,
    reading,
};
use crate::{
    analysis::recorded::{self, Recorded},
    cli::{Exact, SnapArgs},
    collect::php::{Order, moves_code},
    config::{MAX_INTERVAL, Settings},
    exit,
    model::{ExactKind, Snapshot, TraceLimits, TraceOrder, TraceRequest},
    recording::Recording,
    rules::Rules,
    session,
    words::units,
};

/// How long a snapshot is collected for when nothing else is said.
const A_MOMENT: Duration = Duration::from_secs(1);
/// How long a signal waits for something that can be printed.
const SOON: Duration = Duration::from_secs(2);
/// More than any command takes: a day.
const NO_LIMIT: Duration = MAX_INTERVAL.saturating_mul(24);
/// The most that is added up of a recording, as `--window` has it.
const LONGEST_WINDOW: SignedDuration = SignedDuration::from_secs(60);
const SAMPLER_STOPPED: &str = "the process sampler has stopped";

/// Collects and prints one snapshot.
///
/// # Errors
/// Processes cannot be read at all, the command cannot be run, or the output cannot be written.
pub async fn run(settings: &Settings, rules: Arc<Rules>, arguments: SnapArgs) -> anyhow::Result<u8> {
    // Before anything runs: what is measured for an hour must not be lost to a misspelt folder.
    let out = Output::open(&arguments)?;
    if let Some(file) = &arguments.file {
        return recorded(file, &arguments, out);
    }
    if !arguments.command.is_empty() {
        return observe(settings, rules, &arguments, out).await;
    }
    let mut told = signals()?;
    let mut options = options::once(settings, rules);
    if let (Some(php), Some(exact)) = (&mut options.php, arguments.exact) {
        let what = TraceOrder::Start(TraceRequest { kind: kind(exact), ..TraceRequest::default() });
        php.exact = Some(Order { what, limits: options::limits(settings) });
    }
    let began = Cell::new(false);
    let duration = arguments.duration.unwrap_or(A_MOMENT);
    let (mut during, mut before) = (told.clone(), told.clone());
    let look = async |baseline: Instant| {
        began.set(true);
        tokio::select! {
            () = tokio::time::sleep_until(baseline + duration) => None,
            told = tell(&mut during, 1) => Some(told),
        }
    };
    // What was seen is printed, unless there is nothing soon, or another signal comes.
    let impatient = async {
        let code = tell(&mut before, 1).await;
        tokio::select! {
            () = tokio::time::sleep(SOON) => {}
            code = tell(&mut before, 2) => return code,
        }
        if began.get() { tell(&mut before, 2).await } else { code }
    };
    let mut observed = tokio::select! {
        observed = session::observe(&options, look) => observed?,
        code = impatient => return Ok(code),
    };
    let printed = print(out, observed.snapshot.take(), &arguments);
    let code = observed.during;
    let signals = told.borrow_and_update().0;
    tokio::select! {
        _ = observed.end() => {}
        _ = tell(&mut told, signals + 1) => {}
    }
    printed?;
    Ok(code.unwrap_or(exit::FINE))
}

/// How many signals came that end a program, and the exit code of the last.
fn signals() -> std::io::Result<watch::Receiver<(u32, u8)>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = watch::channel((0_u32, exit::FINE));
    tokio::spawn(async move {
        loop {
            let code = tokio::select! {
                _ = interrupt.recv() => exit::INTERRUPTED,
                _ = terminate.recv() => exit::TERMINATED,
                _ = hangup.recv() => exit::HUNG_UP,
            };
            sender.send_modify(|told| *told = (told.0.saturating_add(1), code));
        }
    });
    Ok(receiver)
}

/// Waits for so many signals, and says which exit code the last has.
async fn tell(told: &mut watch::Receiver<(u32, u8)>, signals: u32) -> u8 {
    match told.wait_for(|(count, _)| *count >= signals).await.map(|told| told.1) {
        Ok(code) => code,
        // The task that takes them ends with the program only.
        Err(_) => std::future::pending().await,
    }
}

/// Prints a moment of a recording.
fn recorded(file: &Path, arguments: &SnapArgs, out: Output) -> anyhow::Result<u8> {
    if reading::is_pipe(file) {
        return piped(arguments, out);
    }
    let zone = TimeZone::system();
    let mut recorded = Recorded::new(Recording::open(file)?);
    let (first, last) = recorded.span().context("there is nothing in this recording")?;
    let at = arguments.at.map_or(last, |at| at.within((first, last), &zone));
    // A time of day has no parts of a second, and what was asked for is the second.
    let outside = at.duration_since(last).max(first.duration_since(at));
    if outside > SignedDuration::from_secs(1) {
        let clock = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
        let (file, at, first, last) = (file.display(), clock(at), clock(first), clock(last));
        bail!("{file}: {at} is not in this recording, which is from {first} to {last}");
    }
    let snapshot = recorded.over(at, arguments.window);
    if let Some(trouble) = &recorded.trouble {
        failure::say(&anyhow!("{}: {trouble}", file.display()));
    }
    let snapshot = snapshot.context("nothing of the recording can be read at this moment")?;
    say_gap(&snapshot, at);
    out.print(&snapshot, arguments.format)?;
    Ok(exit::FINE)
}

/// Prints a moment of a recording that comes through standard input, when all of it has come. Only the minute before the moment is kept.
fn piped(arguments: &SnapArgs, out: Output) -> anyhow::Result<u8> {
    let mut kept: VecDeque<Arc<Snapshot>> = VecDeque::new();
    let spans = |within| vec![reading::span(None, arguments.at, within)];
    let whole = reading::read(Path::new("-"), spans, |_, snapshot| {
        let at = snapshot.at;
        kept.push_back(Arc::from(snapshot));
        // A clock that was set back makes those before it later: they are given up, too.
        let within =
            |kept: &Arc<Snapshot>| (0..LONGEST_WINDOW.as_secs()).contains(&at.duration_since(kept.at).as_secs());
        while kept.front().is_some_and(|first| !within(first)) {
            kept.pop_front();
        }
        Ok(())
    })?;
    let snapshot = recorded::over(kept.make_contiguous(), arguments.window);
    let snapshot = snapshot.context("standard input: there is no snapshot before this moment")?;
    if let Some(at) = arguments.at {
        let now = Timestamp::now();
        say_gap(&snapshot, at.within((now, now), &TimeZone::system()));
    }
    out.print(&snapshot, arguments.format)?;
    Ok(if whole { exit::FINE } else { exit::FAILED })
}

/// Says that nothing was recorded at a moment, so that what is printed is from before it.
fn say_gap(snapshot: &Snapshot, at: Timestamp) {
    let age = at.duration_since(snapshot.at);
    let interval = SignedDuration::from_millis(i64::try_from(snapshot.interval_ms).unwrap_or(i64::MAX));
    if age > interval.saturating_mul(2).max(SignedDuration::from_secs(2)) {
        let (age, when) = (units::age(age.unsigned_abs().as_secs()), snapshot.at.strftime("%Y-%m-%dT%H:%M:%SZ"));
        failure::say(&anyhow!("nothing was recorded at this moment; this is from {when}, {age} before it"));
    }
}

fn print(out: Output, snapshot: Option<Snapshot>, arguments: &SnapArgs) -> anyhow::Result<()> {
    out.print(&snapshot.context(SAMPLER_STOPPED)?, arguments.format)
}

fn kind(exact: Exact) -> ExactKind {
    match exact {
        Exact::Functions => ExactKind::Functions,
        Exact::Lines => ExactKind::Lines,
    }
}

/// Runs a command and prints what was seen of it. Its exit code is passed on, also when that cannot be printed.
async fn observe(settings: &Settings, rules: Arc<Rules>, arguments: &SnapArgs, out: Output) -> anyhow::Result<u8> {
    let program = observed::resolve(&arguments.command[0], std::env::var_os("PATH").as_deref())?;
    let held = Held::start(&arguments.command)?;
    let mut options = options::once(settings, rules);
    if let Some(php) = &mut options.php {
        php.programs = observed::programs(&program);
        php.root = Some(held.pid());
        // Who typed sudo runs a command of their own.
        php.owners.extend(settings.sudo_uid);
        php.moves_code = moves_code(&arguments.command);
        php.exact = arguments.exact.map(|exact| Order {
            what: TraceOrder::Start(TraceRequest { kind: kind(exact), pool: None, pid: Some(held.pid()) }),
            limits: TraceLimits { budget: f64::INFINITY, limit: NO_LIMIT },
        });
    }
    let during = async |baseline: Instant| {
        // Until then they end tusktop, and the kernel ends the command that is held.
        let mut running = held.release(Signals::take()?);
        running.wait_until(arguments.duration.map(|duration| baseline + duration)).await;
        std::io::Result::Ok(running)
    };
    let mut observed = session::observe(&options, during).await?;
    let snapshot = observed.snapshot.take();
    // It may go on for long after what was asked for: then nothing is attached to it any more.
    let status = observed.end().await?.end().await?;
    let printed = print(out, snapshot, arguments);
    if let Err(error) = printed
        && !failure::is_broken_pipe(&error)
    {
        failure::say(&error);
    }
    Ok(observed::code(status))
}
