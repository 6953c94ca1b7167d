//! tusktop as `tusktop record` runs it: what it has written so far, what it takes, and how it ends.

use std::{
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tusktop::{
    model::Snapshot,
    recording::{Event, Stream},
};

use crate::{
    loaded::{held_by, programs},
    servers::{PATIENCE, daemon::Daemon, wait_until},
};

/// Memory that it may take at most: several times what it takes on an idle machine.
const MEMORY_KIB: u64 = 200 << 10;
/// How long the end may take. It takes less than a second, but this may be a busy machine, and it is not about speed.
const END: Duration = Duration::from_secs(10);

/// A running `tusktop record`.
pub struct Recorder {
    tusktop: Daemon,
    file: PathBuf,
}

impl Recorder {
    /// Starts it. While it runs, these files do not answer, as if the memory of their processes were locked: there a pipe without a
    /// writer is mounted over them.
    pub fn start(file: &Path, silent: &[PathBuf]) -> Self {
        let pipe = file.with_extension("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let script = "pipe=$1; file=$2; tusktop=$3; shift 3; for silent; do mount --bind \"$pipe\" \"$silent\" || exit; done; \
                      exec \"$tusktop\" record --interval 500ms -o \"$file\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(&pipe).arg(file).arg(env!("CARGO_BIN_EXE_tusktop"));
        command.args(silent).env("HOME", "/nonexistent");
        let tusktop = Daemon::start(command, &file.with_extension("log"), Signal::KILL);
        Self { tusktop, file: file.to_owned() }
    }

    /// All snapshots so far.
    fn snapshots(&self) -> Vec<Snapshot> {
        let Ok(file) = File::open(&self.file) else { return Vec::new() };
        let mut stream = Stream::new(BufReader::new(file)).unwrap();
        let mut snapshots = Vec::new();
        // The end of a recording that is being written is torn.
        while let Ok(Some(event)) = stream.next_event() {
            if let Event::Snapshot(snapshot) = event {
                snapshots.push(*snapshot);
            }
        }
        snapshots
    }

    /// Waits until `done` holds of the snapshots so far.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&[Snapshot]) -> bool) -> Vec<Snapshot> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let snapshots = self.snapshots();
            if done(&snapshots) {
                return snapshots;
            }
            assert!(self.tusktop.runs(), "tusktop has ended before: {what}\n{}", self.tusktop.log());
            let last = snapshots.last().map(|last| (&last.php.state, &last.drops, &last.notices, &last.php.targets));
            assert!(
                Instant::now() < deadline,
                "not within {PATIENCE:?}: {what}; {} snapshots, last: {last:#?}\n{}",
                snapshots.len(),
                self.tusktop.log()
            );
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits for so many snapshots more.
    pub fn next(&mut self, more: usize) -> Vec<Snapshot> {
        let count = self.snapshots().len() + more;
        self.until("tusktop goes on", |snapshots| snapshots.len() >= count)
    }

    /// Files that it has open, probes among them.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.tusktop.pid())).unwrap().count()
    }

    /// Ends it by SIGTERM, and waits until nothing of it is in the kernel.
    pub fn end(mut self) -> Vec<Snapshot> {
        let snapshots = self.next(1);
        let status = fs::read_to_string(format!("/proc/{}/status", self.tusktop.pid())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        let peak: u64 = peak.unwrap().parse().unwrap();
        let ours = held_by(self.tusktop.pid()).programs;
        assert!(!ours.is_empty());
        self.tusktop.signal(Signal::TERM);
        let status = self.tusktop.wait(END);
        assert_eq!(status.code(), Some(143), "{}", self.tusktop.log());
        let left = || !programs(|_| true).is_disjoint(&ours);
        wait_until(PATIENCE, || format!("nothing of {ours:?} is attached"), || !left());
        assert!(peak < MEMORY_KIB, "it took {peak} KiB of memory");
        snapshots
    }
}
