//! `tusktop record`: snapshots to a file or a pipe, without a screen. What a file looks like is `recording`'s matter.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::bail;
use jiff::Zoned;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{broadcast::error::RecvError, mpsc},
    task::spawn_blocking,
    time::{Instant, sleep_until, timeout},
};

use super::options;
use crate::{
    cli::RecordArgs,
    config::Settings,
    exit,
    model::Snapshot,
    recording::Writer,
    rules::Rules,
    session::Session,
    system::{
        growing_file::GrowingFile,
        new_file::{Existing, NewFileError},
    },
    words::{printable, units},
};

/// How long the end waits for a pipe whose reader does not read.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest part of the default name that is the host's.
const MAX_HOST: usize = 64;

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
    let mut files = Files::open(&arguments)?;
    let mut progress = Progress::new(files.name());
    let (session, mut snapshots) = Session::start(&options::going_on(settings, rules))?;
    // A pipe whose reader is slow holds up this task alone; the session goes on, and what is missed meanwhile is counted.
    let (sender, mut receiver) = mpsc::channel::<Arc<Snapshot>>(2);
    let (written, mut state) = tokio::sync::watch::channel(Written::default());
    let mut writing = spawn_blocking(move || {
        while let Some(snapshot) = receiver.blocking_recv() {
            if let Err(error) = files.push(&snapshot) {
                // What can still be written makes it a whole recording; the first error is the one to tell.
                let _ = files.finish();
                return Err(error);
            }
            written.send_replace(Written { to: files.name(), bytes: files.bytes });
        }
        files.finish()
    });
    let mut ended = None;
    // A year is without end here, and far from what overflows.
    let until = Instant::now() + arguments.duration.unwrap_or(Duration::from_secs(366 * 86_400));
    let code = loop {
        tokio::select! {
            biased;
            _ = interrupt.recv() => break exit::INTERRUPTED,
            _ = terminate.recv() => break exit::TERMINATED,
            _ = hangup.recv() => break exit::HUNG_UP,
            end = &mut writing => {
                ended = Some(end);
                break exit::FAILED;
            }
            snapshot = snapshots.recv() => match snapshot {
                Ok(snapshot) => {
                    progress.count(&snapshot);
                    if sender.try_send(snapshot).is_err() {
                        progress.missed += 1;
                    }
                }
                Err(RecvError::Lagged(count)) => progress.missed += count,
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

/// How far writing is.
#[derive(Debug, Clone, Default)]
struct Written {
    to: String,
    /// Of all files.
    bytes: u64,
}

/// What a recording is written to.
enum Sink {
    Stdout(io::Stdout),
    File(GrowingFile),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

/// The files of a recording, of which one is open.
struct Files {
    /// Name of the first file; `None` for standard output.
    first: Option<PathBuf>,
    current: PathBuf,
    /// `None` only after an error.
    writer: Option<Writer<Sink>>,
    existing: Existing,
    max_size: Option<u64>,
    keep: Option<u32>,
    /// Files that are whole, the oldest first; only where old ones are removed.
    whole: VecDeque<GrowingFile>,
    count: u32,
    /// Bytes of all files.
    bytes: u64,
}

impl Files {
    fn open(arguments: &RecordArgs) -> anyhow::Result<Self> {
        let existing = if arguments.force { Existing::Replace } else { Existing::Keep };
        let first = match &arguments.output {
            Some(path) if path.as_os_str() == "-" => None,
            Some(path) => Some(path.clone()),
            None => Some(default_name(&rustix::system::uname().nodename().to_string_lossy(), &Zoned::now()).into()),
        };
        let sink = match &first {
            None if io::stdout().is_terminal() => bail!("a recording is not for a terminal; name a file with -o"),
            None if arguments.max_size.is_some() => bail!("--max-size is for files, and this is a pipe"),
            None => Sink::Stdout(io::stdout()),
            Some(path) => Sink::File(GrowingFile::create(path, existing)?),
        };
        Ok(Self {
            current: first.clone().unwrap_or_default(),
            first,
            writer: Some(Writer::new(sink)?),
            existing,
            max_size: arguments.max_size,
            keep: arguments.keep,
            whole: VecDeque::new(),
            count: 1,
            bytes: 0,
        })
    }

    fn name(&self) -> String {
        match self.first {
            None => "standard output".into(),
            Some(_) => printable::printable(&self.current.to_string_lossy()).into_owned(),
        }
    }

    fn push(&mut self, snapshot: &Snapshot) -> Result<(), RecordError> {
        let is_full = self.writer.as_ref().zip(self.max_size).is_some_and(|(writer, most)| writer.bytes() >= most);
        if let Some(first) = self.first.clone().filter(|_| is_full) {
            self.count += 1;
            let next = numbered(&first, self.count);
            let file = GrowingFile::create(&next, self.existing)?;
            self.finish()?;
            self.current = next;
            self.writer = Some(Writer::new(Sink::File(file)).map_err(|source| self.error(source))?);
            self.remove_old().map_err(|source| self.error(source))?;
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let before = writer.bytes();
        let pushed = writer.push(snapshot);
        self.bytes += writer.bytes() - before;
        pushed.map_err(|source| self.error(source))
    }

    /// Ends the file that is open.
    fn finish(&mut self) -> Result<(), RecordError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let sink = writer.finish().map_err(|source| self.error(source))?;
        if let Sink::File(file) = sink {
            file.sync().map_err(|source| self.error(source))?;
            self.whole.extend(self.keep.map(|_| file));
        }
        Ok(())
    }

    /// Removes files beyond those that are kept; the one that is open counts.
    fn remove_old(&mut self) -> io::Result<()> {
        while self.keep.is_some_and(|keep| self.whole.len() >= keep as usize) {
            let Some(oldest) = self.whole.pop_front() else { break };
            oldest.remove()?;
        }
        Ok(())
    }

    fn error(&self, source: io::Error) -> RecordError {
        RecordError::Write { to: self.name(), source }
    }
}

/// The name of a file that was given none: `web01-2026-11-27-140533.tusk`.
fn default_name(host: &str, now: &Zoned) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let host: String = host.split('.').next().unwrap_or_default().chars().take(MAX_HOST).map(plain).collect();
    let host = if host.is_empty() { "tusktop" } else { &host };
    format!("{host}-{}.tusk", now.strftime("%Y-%m-%d-%H%M%S"))
}

/// The name of the following files: `a.tusk`, `a-2.tusk`, `a-3.tusk`.
fn numbered(first: &Path, number: u32) -> PathBuf {
    let mut name = first.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    if let Some(extension) = first.extension() {
        name.push(".");
        name.push(extension);
    }
    first.with_file_name(name)
}

/// One line on standard error, where that is a terminal.
struct Progress {
    shown: bool,
    started: Instant,
    requests: u64,
    drops: u64,
    missed: u64,
    snapshots: u64,
}

impl Progress {
    fn new(to: String) -> Self {
        let shown = io::stderr().is_terminal();
        let mut progress = Self { shown, started: Instant::now(), requests: 0, drops: 0, missed: 0, snapshots: 0 };
        progress.show(&Written { to, bytes: 0 });
        progress
    }

    fn count(&mut self, snapshot: &Snapshot) {
        self.snapshots += 1;
        self.requests += snapshot.php.routes.iter().map(|route| route.requests).sum::<u64>();
        let drops = snapshot.drops;
        self.drops += drops.events + drops.stacks + drops.names;
    }

    fn show(&mut self, written: &Written) {
        if !self.shown {
            return;
        }
        let seconds = self.started.elapsed().as_secs();
        let mut line = format!("\r{}   {}   {}", written.to, units::age(seconds), units::bytes(written.bytes));
        // Writing to a String does not fail.
        if let Some(rate) = written.bytes.checked_div(seconds) {
            let _ = write!(line, "   {}/s", units::bytes(rate));
        }
        let _ = write!(line, "   {} requests   {} dropped", units::count(self.requests), units::count(self.drops));
        if self.missed > 0 {
            let _ = write!(line, "   {} snapshots missed", units::count(self.missed));
        }
        line.push_str("   ^C ends\x1b[K");
        // Nothing depends on it.
        let _ = io::stderr().write_all(line.as_bytes());
    }

    fn end(&mut self) {
        if self.shown {
            let _ = io::stderr().write_all(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_name_says_host_and_time_and_steers_nothing() {
        let now: Zoned = "2026-11-27T14:05:33[UTC]".parse().unwrap();
        assert_eq!(default_name("web01.example.org", &now), "web01-2026-11-27-140533.tusk");
        assert_eq!(default_name("../a\x1b[2J", &now), "tusktop-2026-11-27-140533.tusk");
        assert_eq!(default_name("a/b\n", &now), "a_b_-2026-11-27-140533.tusk");
    }

    #[test]
    fn following_files_are_numbered_before_the_ending() {
        assert_eq!(numbered(Path::new("/var/x.tusk"), 2), Path::new("/var/x-2.tusk"));
        assert_eq!(numbered(Path::new("x"), 11), Path::new("x-11"));
    }
}
