//! `tusktop record`: snapshots to a file or a pipe, without a screen. What a file looks like is `recording`'s matter.

mod aging;
pub(super) mod beside;
mod files;
mod flight;
mod progress;

use std::{
    borrow::Cow,
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use anyhow::bail;
use rustix::termios::isatty;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{broadcast::error::RecvError, mpsc},
    task::spawn_blocking,
    time::{Instant, sleep_until, timeout},
};

use self::{
    files::Files,
    flight::Flight,
    progress::{Progress, Written},
};
use super::options;
use crate::{
    cli::RecordArgs,
    config::Settings,
    exit,
    model::{Notice, Snapshot},
    rules::Rules,
    session::Session,
    system::new_file::NewFileError,
    words::printable::printable,
};

/// How long the end waits for a pipe whose reader does not read.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time of a recording without an end.
const NO_END: Duration = Duration::from_secs(366 * 86_400);

/// Why a recording ends early.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A file cannot be created.
    #[error(transparent)]
    Create(#[from] NewFileError),
    /// What is recorded cannot be written.
    #[error("cannot write {to}; what was recorded before can be read")]
    Write {
        /// The file, or standard output.
        to: String,
        /// Why.
        source: io::Error,
    },
}

/// Records until the time is over, a signal comes or the reader of the pipe has left.
///
/// # Errors
/// Processes cannot be read at all, or the recording cannot be written.
pub async fn run(settings: &Settings, rules: Arc<Rules>, arguments: RecordArgs) -> anyhow::Result<u8> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // Where a limit is set to the size of files, writing fails then, and does not end the program.
    let _too_large = signal(SignalKind::from_raw(libc::SIGXFSZ))?;
    // Only the flight recorder listens to it.
    let mut user = signal(SignalKind::user_defined1())?;
    if let Some(tiers) = &arguments.tiers
        && tiers.first_step() > settings.interval
    {
        bail!("--tiers begins with steps of {0:?}, and snapshots are closer: add --interval {0:?}", tiers.first_step());
    }
    let recorder = Recorder::new(&arguments)?;
    let mut progress = Progress::new(recorder.state());
    let (session, mut snapshots) = Session::start(&options::going_on(settings, rules))?;
    // A pipe whose reader is slow holds up this task alone; the session goes on, and what is missed meanwhile is counted.
    let (sender, mut receiver) = mpsc::channel::<(Arc<Snapshot>, bool, u64)>(2);
    let (written, mut state) = tokio::sync::watch::channel(Written::default());
    let mut writing = spawn_blocking(move || {
        // So that what writing takes can be told from the rest; nothing else depends on it.
        let _ = rustix::thread::set_name(c"write");
        let mut recorder = recorder;
        while let Some((snapshot, requested, missed)) = receiver.blocking_recv() {
            recorder.push(&after_missed(&snapshot, missed), requested)?;
            written.send_replace(recorder.state());
        }
        recorder.finish()
    });
    let (mut requested, mut missed) = (false, 0);
    let mut ended = None;
    // A year is without end here, and far from what overflows. The time begins with the first snapshot.
    let mut until = Instant::now() + NO_END;
    let code = loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => break exit::INTERRUPTED,
            _ = terminate.recv() => break exit::TERMINATED,
            _ = hangup.recv() => break exit::HUNG_UP,
            _ = user.recv() => requested = true,
            end = &mut writing => {
                ended = Some(end);
                break exit::FAILED;
            }
            snapshot = snapshots.recv() => match snapshot {
                Ok(snapshot) => {
                    if let Some(duration) = arguments.duration.filter(|_| progress.is_new()) {
                        until = Instant::now() + duration;
                    }
                    progress.count(&snapshot);
                    match sender.try_send((snapshot, requested, missed)) {
                        Ok(()) => (requested, missed) = (false, 0),
                        Err(_) => {
                            progress.missed += 1;
                            missed += 1;
                        }
                    }
                }
                Err(RecvError::Lagged(count)) => {
                    progress.missed += count;
                    missed += count;
                }
                Err(RecvError::Closed) => break exit::FAILED,
            },
            () = sleep_until(until) => break exit::FINE,
            Ok(()) = state.changed() => progress.show(&state.borrow_and_update()),
        }
    };
    drop(sender);
    let ended = match ended {
        Some(ended) => Some(ended),
        None => timeout(PATIENCE, writing).await.ok(),
    };
    progress.end();
    session.stop().await;
    match ended {
        Some(ended) => ended??,
        None => bail!("the reader of the recording does not read; its end is missing"),
    }
    if code == exit::FAILED {
        bail!("the process sampler has stopped; what was recorded before can be read");
    }
    Ok(code)
}

/// A snapshot that says how many before it are missing.
fn after_missed(snapshot: &Snapshot, missed: u64) -> Cow<'_, Snapshot> {
    if missed == 0 {
        return Cow::Borrowed(snapshot);
    }
    let mut snapshot = snapshot.clone();
    snapshot.notices.insert(0, Notice::snapshots_missed(missed));
    Cow::Owned(snapshot)
}

/// Says something to the journal, or above the line of progress.
fn say(text: &str) {
    let start = if isatty(io::stderr()) { "\r\x1b[K" } else { "" };
    // There is no other place to say it.
    let _ = io::stderr().write_all(format!("{start}tusktop: {}\n", printable(text)).as_bytes());
}

/// What becomes of the snapshots.
enum Recorder {
    /// All of them are written.
    Files(Box<Files>),
    /// Those around an event are.
    Flight(Box<Flight>),
}

impl Recorder {
    fn new(arguments: &RecordArgs) -> anyhow::Result<Self> {
        let is_flight = arguments.keep_last.is_some() || !arguments.when.is_empty();
        Ok(match is_flight {
            true => Self::Flight(Flight::new(arguments)?.into()),
            false => Self::Files(Files::open(arguments)?.into()),
        })
    }

    fn push(&mut self, snapshot: &Snapshot, requested: bool) -> Result<(), RecordError> {
        match self {
            Self::Files(files) => files.push(snapshot).inspect_err(|_| files.give_up()),
            Self::Flight(flight) => {
                flight.push(snapshot, requested);
                Ok(())
            }
        }
    }

    fn finish(mut self) -> Result<(), RecordError> {
        match &mut self {
            Self::Files(files) => files.finish(),
            Self::Flight(flight) => {
                flight.finish();
                Ok(())
            }
        }
    }

    fn state(&self) -> Written {
        match self {
            Self::Files(files) => Written { to: files.name(), bytes: files.bytes(), events: None },
            Self::Flight(flight) => flight.state(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_that_are_missing_are_said_in_the_next_one() {
        let snapshot = Snapshot::read(include_bytes!("../../../tests/fixtures/web01.json")).unwrap();
        assert_eq!(*after_missed(&snapshot, 0), snapshot);
        assert!(after_missed(&snapshot, 3).notices[0].text.starts_with("3 snapshots before this are missing"));
    }
}
