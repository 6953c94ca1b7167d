//! One process that a test has started: its log, its children, and its end by its own pid.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

/// Polls `condition` until it holds. Panics with `what` (evaluated then) after `patience`.
pub fn wait_until(patience: Duration, what: impl Fn() -> String, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {}", what());
        thread::sleep(Duration::from_millis(5));
    }
}

/// A pid together with its start time in clock ticks after boot, which tells it from a later process of the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub pid: u32,
    started: u64,
}

impl Process {
    fn of(pid: u32) -> Option<(Self, u32)> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        (state != "Z" && state != "X").then_some((Self { pid, started }, parent))
    }

    /// Whether this very process still runs; a zombie does not.
    pub fn runs(self) -> bool {
        Self::of(self.pid).is_some_and(|(now, _)| now == self)
    }

    fn kill(self, signal: Signal) {
        if self.runs() {
            send(self.pid, signal);
        }
    }
}

/// All processes below `pid`, children before grandchildren.
pub fn descendants(pid: u32) -> Vec<Process> {
    let all: Vec<(Process, u32)> = fs::read_dir("/proc")
        .expect("/proc is mounted")
        .filter_map(|entry| Process::of(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect();
    let mut parents = BTreeSet::from([pid]);
    let mut found = Vec::new();
    loop {
        let next: Vec<Process> = all
            .iter()
            .filter(|(child, parent)| parents.contains(parent) && !parents.contains(&child.pid))
            .map(|(child, _)| *child)
            .collect();
        if next.is_empty() {
            return found;
        }
        parents.extend(next.iter().map(|child| child.pid));
        found.extend(next);
    }
}

/// The command line of a process as its title shows it, NUL bytes as spaces; empty when it is gone.
pub fn title(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("pids of processes are positive");
    // A process that ended on its own in between is what we want.
    let _ = kill_process(pid, signal);
}

/// A server in the foreground, with what it prints in a log file. Dropping it ends it and everything below it.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
    stop: Signal,
    ended: Option<ExitStatus>,
}

impl Daemon {
    /// Starts `command`, with its output appended to `log`. `stop` is the signal that asks it to end.
    ///
    /// It is in a process group of its own, because Apache ends by a signal to its whole group. So that it does not
    /// stay when the test is interrupted, the kernel ends it together with the thread that calls this.
    pub fn start(command: Command, log: &Path, stop: Signal) -> Self {
        let open = || fs::OpenOptions::new().create(true).append(true).open(log).expect("the log is in our own folder");
        let mut guarded = Command::new("setpriv");
        guarded.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(name, value),
                None => guarded.env_remove(name),
            };
        }
        let child = guarded
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {:?}: {error}", command.get_program()));
        Self { child, log: log.to_owned(), stop, ended: None }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until `ready` holds. Panics with the log when the process ends first or takes longer than [`PATIENCE`].
    pub fn wait_ready(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let log = self.log.clone();
        let text = move || fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let child = &mut self.child;
        wait_until(
            PATIENCE,
            || format!("{what}\n{}", text()),
            || {
                if let Ok(Some(status)) = child.try_wait() {
                    panic!("ended with {status} before: {what}\n{}", text());
                }
                ready()
            },
        );
    }

    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            send(self.pid(), signal);
        }
    }

    /// Whether the process is still there.
    pub fn runs(&mut self) -> bool {
        self.ended.is_none() && matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the process to end by itself, at most `patience`.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended {
                return status;
            }
            self.ended = self.child.try_wait().expect("the child is ours");
            assert!(
                self.ended.is_some() || Instant::now() < deadline,
                "still there after {patience:?}\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Asks the process to end, waits for it and for all that it has started, and kills what does not go. Returns the
    /// processes that had to be killed.
    pub fn stop(&mut self) -> Vec<Process> {
        if self.ended.is_some() {
            return Vec::new();
        }
        let mut family = descendants(self.pid());
        family.extend(Process::of(self.pid()).map(|(process, _)| process));
        self.signal(self.stop);
        let ended = |child: &mut Child, ended: &mut Option<ExitStatus>| {
            if ended.is_none() {
                *ended = child.try_wait().ok().flatten();
            }
            ended.is_some()
        };
        let deadline = Instant::now() + PATIENCE / 2;
        while Instant::now() < deadline
            && !(ended(&mut self.child, &mut self.ended) && family.iter().all(|process| !process.runs()))
        {
            thread::sleep(Duration::from_millis(2));
        }
        let stubborn: Vec<Process> = family.into_iter().filter(|process| process.runs()).collect();
        for process in &stubborn {
            process.kill(Signal::KILL);
        }
        self.ended = self.ended.or_else(|| self.child.wait().ok());
        let deadline = Instant::now() + PATIENCE;
        while stubborn.iter().any(|process| process.runs()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        stubborn
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}
