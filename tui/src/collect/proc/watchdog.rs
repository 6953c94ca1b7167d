//! Makes sure that no process can stop the sampler. A read of /proc/PID waits while another thread holds the lock of that
//! process's memory, or while a file system behind it does not answer. Such a thread cannot be ended, so it is left behind, and
//! another sampler goes on without that process. `sampler` decides what a pass reads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use jiff::Timestamp;

use super::{Options, ProcError, ProcessSample, Sampler};
use crate::{
    collect::{
        Tick,
        tasks::{Tasks, TasksError},
        unanswering::{LeftBehind, LeftOut, Reading},
    },
    system::rights,
};

/// Time between two looks at what the sampler does. One process may take two of them: after the machine was asleep the first look
/// comes too early.
const LOOK: Duration = Duration::from_millis(400);
/// Longest time between two looks at what has ended: a little more than the usual interval, which then needs none in between.
const ENDED: Duration = Duration::from_millis(1200);
/// How long those that look once wait for the iterator.
const LOADING: Duration = Duration::from_secs(5);
/// What the sampler reads at the moment, for the thread that waits for it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Goes up with every process.
    count: AtomicU64,
    pid: AtomicU32,
    /// One more than the start time; 0 while it is not known.
    start_ticks: AtomicU64,
}

impl Progress {
    /// The stat file of a process is about to be read.
    pub(crate) fn stat(&self, pid: u32) {
        self.begin(pid, 0);
    }

    /// Other files of a process are about to be read.
    pub(crate) fn files(&self, pid: u32, start_ticks: u64) {
        self.begin(pid, start_ticks.saturating_add(1));
    }

    /// What is read now belongs to no process.
    pub(crate) fn machine(&self) {
        self.begin(0, 0);
    }

    fn begin(&self, pid: u32, start_ticks: u64) {
        self.pid.store(pid, Ordering::Relaxed);
        self.start_ticks.store(start_ticks, Ordering::Relaxed);
        // A thread that sees the new count also sees the process that it belongs to.
        self.count.fetch_add(1, Ordering::Release);
    }

    fn seen(&self) -> (u64, Option<Reading>) {
        let count = self.count.load(Ordering::Acquire);
        let (pid, start) = (self.pid.load(Ordering::Relaxed), self.start_ticks.load(Ordering::Relaxed));
        (count, (pid != 0).then(|| Reading { pid, start_ticks: start.checked_sub(1), uid: None, comm: None }))
    }
}

/// A thread with a sampler.
#[derive(Debug)]
struct Worker {
    passes: SyncSender<(Tick, Arc<LeftOut>)>,
    samples: Receiver<ProcessSample>,
    progress: Arc<Progress>,
    /// Says that the thread has ended, which a thread that was left behind does when the process answers after all.
    ended: Receiver<()>,
}

impl Worker {
    fn start(sampler: Sampler, kernel: bool, patience: Duration) -> Result<Self, ProcError> {
        let (passes, asked) = sync_channel::<(Tick, Arc<LeftOut>)>(1);
        let (answers, samples) = sync_channel(1);
        let (alive, ended) = channel();
        let progress = Arc::clone(sampler.progress());
        // The first passes are read from /proc: nothing waits for the programs.
        let permitted = rights::missing_for_php().is_empty();
        let loading = if kernel && permitted { Some(load()?) } else { None };
        let unknown = (kernel && !permitted).then(|| Arc::from("this needs root"));
        let run = move || {
            pass_by_pass(sampler, (loading, patience), unknown, &asked, &answers);
            drop(alive);
        };
        thread(run)?;
        Ok(Self { passes, samples, progress, ended })
    }

    /// One pass. `Err` holds the process that it waits for.
    fn pass(&self, tick: Tick, left_out: &Arc<LeftOut>) -> Result<Option<ProcessSample>, Reading> {
        if self.passes.send((tick, Arc::clone(left_out))).is_err() {
            return Ok(None);
        }
        let (mut seen, mut looks) = (self.progress.seen(), 0);
        loop {
            match self.samples.recv_timeout(LOOK) {
                Ok(sample) => return Ok(Some(sample)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = self.progress.seen();
            looks = if now == seen { looks + 1 } else { 0 };
            seen = now;
            if looks >= 2
                && let Some(process) = seen.1.take()
            {
                return Err(process);
            }
        }
    }
}

/// Reads passes, and goes on without processes that do not answer.
#[derive(Debug)]
pub(super) struct Watched {
    options: Options,
    worker: Worker,
    left_behind: LeftBehind,
}

impl Watched {
    /// Starts the first sampler.
    ///
    /// # Errors
    /// The root cannot be opened, or no thread can be started.
    pub(crate) fn start(options: &Options) -> Result<Self, ProcError> {
        let worker = Worker::start(
            Sampler::with(options, Timestamp::now())?,
            options.kernel,
            if options.kernel_first { LOADING } else { Duration::ZERO },
        )?;
        Ok(Self { options: options.clone(), worker, left_behind: LeftBehind::default() })
    }

    /// One pass. `None` when the sampler has ended, or no other can be started.
    pub(crate) fn pass(&mut self, tick: Tick) -> Option<ProcessSample> {
        self.left_behind.answered();
        loop {
            match self.worker.pass(tick, self.left_behind.left_out()) {
                Ok(sample) => return sample,
                Err(process) => self.leave(process)?,
            }
        }
    }

    fn leave(&mut self, process: Reading) -> Option<()> {
        let process = Reading { uid: user(&self.options, process.pid), ..process };
        let sampler = Sampler::replacing(&self.options, Timestamp::now()).ok()?;
        let worker = Worker::start(sampler, self.options.kernel, Duration::ZERO).ok()?;
        let Worker { ended, .. } = std::mem::replace(&mut self.worker, worker);
        // Nothing else of the thread is kept: it ends when nothing takes its sample.
        self.left_behind.add(process, ended);
        Some(())
    }
}

/// The owner of /proc/PID.
fn user(options: &Options, pid: u32) -> Option<u32> {
    rustix::fs::stat(options.root.join(pid.to_string())).ok().map(|status| status.st_uid)
}

fn pass_by_pass(
    mut sampler: Sampler,
    (mut loading, mut patience): (Option<Receiver<Result<Tasks, TasksError>>>, Duration),
    mut unknown: Option<Arc<str>>,
    asked: &Receiver<(Tick, Arc<LeftOut>)>,
    answers: &SyncSender<ProcessSample>,
) {
    loop {
        let (tick, left_out) = match asked.recv_timeout(ENDED) {
            Ok(asked) => asked,
            Err(RecvTimeoutError::Timeout) => {
                sampler.keep_ended();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Some(loaded) = loading.as_ref().and_then(|loading| loading.recv_timeout(patience).ok()) {
            loading = None;
            let used = loaded.and_then(|tasks| sampler.use_kernel(tasks));
            unknown = used.err().map(|error| Arc::from(error.to_string()));
        }
        patience = Duration::ZERO;
        sampler.leave_out(left_out);
        let mut sample = sampler.pass(tick);
        unknown = sample.ended_unknown.take().or(unknown);
        sample.ended_unknown.clone_from(&unknown);
        if answers.send(sample).is_err() {
            return;
        }
    }
}

/// Loads the kernel's iterator on a thread of its own, which takes a good part of a second.
fn load() -> Result<Receiver<Result<Tasks, TasksError>>, ProcError> {
    let (done, loading): (Sender<_>, _) = channel();
    // It may not be waited for any more.
    thread(move || drop(done.send(Tasks::load())))?;
    Ok(loading)
}

fn thread(run: impl FnOnce() + Send + 'static) -> Result<(), ProcError> {
    thread::Builder::new().name("proc".into()).spawn(run).map(drop).map_err(|source| ProcError::Thread { source })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::FileTypeExt as _,
        time::{Duration, Instant},
    };

    use rustix::fs::{CWD, FileType, Mode};

    use super::*;
    use crate::collect::proc::PssOptions;

    #[test]
    fn a_process_that_answers_again_is_read_again() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str| root.path().join("42").join(name);
        fs::create_dir(root.path().join("42")).unwrap();
        let rest = "1 42 42 0 -1 4194560 0 0 0 0 5 5 0 0 20 0 1 0 777 1000000 100 18446744073709551615".to_owned();
        fs::write(file("stat"), format!("42 (worker) S {rest}{}\n", " 0".repeat(27))).unwrap();
        // A pipe without a writer: whoever opens it waits.
        rustix::fs::mknodat(CWD, file("cmdline"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let options = Options {
            root: root.path().into(),
            passwd: "/nonexistent".into(),
            kernel: false,
            pss: PssOptions::off(),
            ..Options::default()
        };
        let mut watched = Watched::start(&options).unwrap();
        let mut pass = || watched.pass(Tick { at: Instant::now() }).unwrap();
        let sample = pass();
        assert_eq!((sample.unanswered, sample.processes.len()), (1, 1));
        let details = &sample.processes[0].details;
        assert_eq!((&*details.comm, &*details.cmdline), ("worker", ""));

        let writer = fs::File::options().write(true).open(file("cmdline")).unwrap();
        assert!(writer.metadata().unwrap().file_type().is_fifo());
        fs::remove_file(file("cmdline")).unwrap();
        fs::write(file("cmdline"), "worker\0--now\0").unwrap();
        drop(writer);
        let deadline = Instant::now() + Duration::from_secs(60);
        let answered = std::iter::repeat_with(pass).find(|sample| sample.unanswered == 0 || Instant::now() > deadline);
        let sample = answered.unwrap();
        assert_eq!((sample.unanswered, &*sample.processes[0].details.cmdline), (0, "worker --now"));
    }
}
