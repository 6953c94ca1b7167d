//! Reads about other processes that may never come back: a thread does them, and where one does not answer it is left behind,
//! and another thread goes on without that process. `memory` does the same for what only a process of its own can be left with.
//! It also knows how much time such reads have taken, and how much they may take.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use super::{
    memory::{self, Memory},
    procfs::Procfs,
    unanswering::{LeftBehind, Reading},
};

/// How long a read is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// CPU time for reads: a twentieth of a core, and what can be saved up of it.
const SHARE: u32 = 20;
const SAVED: Duration = Duration::from_millis(50);
/// Time in which nothing else is done because a process does not answer: a quarter, and what can be saved up of it, which is enough
/// for two.
const WAITING_SHARE: u32 = 4;
const WAITING_SAVED: Duration = Duration::from_secs(1);
/// Bytes of stack of a thread.
const STACK: usize = 1 << 20;

type Job = Box<dyn FnOnce(&Procfs) + Send>;

/// Who reads files and memory of other processes, and who is not asked because of that.
#[derive(Debug)]
pub(crate) struct Reads {
    /// Where processes are. What is asked of it directly must be a look at /proc/PID itself, which always answers.
    pub procfs: Procfs,
    /// It is started when it is first needed, and again after one was left behind.
    worker: Option<Worker>,
    memory: Memory,
    left_behind: LeftBehind,
    looking: Allowance,
    waiting: Allowance,
    /// Until then, time is not counted: at the start, when everything is new.
    free_until: Option<Instant>,
    spent: Duration,
}

#[derive(Debug)]
struct Worker {
    jobs: SyncSender<Job>,
    /// Is disconnected when the thread has ended.
    ended: Receiver<()>,
}

/// Time that is given bit by bit, and saved up to a limit.
#[derive(Debug)]
struct Allowance {
    /// Nanoseconds; less than 0 when more was taken than there was.
    left: i64,
    given: Instant,
    share: u32,
    saved: Duration,
}

impl Allowance {
    fn new(share: u32, saved: Duration) -> Self {
        Self { left: nanoseconds(saved), given: Instant::now(), share, saved }
    }

    fn give(&mut self, now: Instant) {
        let more = nanoseconds(now.saturating_duration_since(self.given) / self.share);
        self.left = self.left.saturating_add(more).min(nanoseconds(self.saved));
        self.given = now;
    }

    fn take(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(nanoseconds(time));
    }

    /// Whether there is any, or after `debt` more.
    fn has(&self, debt: Duration) -> bool {
        self.left > -nanoseconds(debt)
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

impl Default for Reads {
    /// Of this machine.
    fn default() -> Self {
        Self::new(Procfs::default(), "/proc/self/exe".into())
    }
}

impl Reads {
    /// Of processes below this root; `program` is tusktop, which reads memory in a process of its own.
    pub(crate) fn new(procfs: Procfs, program: PathBuf) -> Self {
        Self {
            procfs,
            worker: None,
            memory: Memory::new(program),
            left_behind: LeftBehind::default(),
            looking: Allowance::new(SHARE, SAVED),
            waiting: Allowance::new(WAITING_SHARE, WAITING_SAVED),
            free_until: None,
            spent: Duration::ZERO,
        }
    }

    /// Reads files of a process; with pid 0, of none.
    ///
    /// # Errors
    /// That of `read`, or [`io::ErrorKind::TimedOut`] when they do not answer, or did not before.
    pub(crate) fn of<T: Send + 'static>(
        &mut self,
        pid: u32,
        read: impl FnOnce(&Procfs) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        if self.is_left_out(pid) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.run(read).unwrap_or_else(|ended| {
            self.leave(pid, ended);
            Err(io::ErrorKind::TimedOut.into())
        })
    }

    /// Fills `bytes` from an address of a process.
    ///
    /// # Errors
    /// As for [`Self::of`].
    pub(crate) fn memory(&mut self, pid: u32, address: u64, bytes: &mut [u8]) -> io::Result<()> {
        if self.is_left_out(pid) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.memory.read(pid, address, bytes, PATIENCE).map_err(|unread| match unread {
            memory::Unread::Failed(error) => error,
            memory::Unread::Silent(ended) => {
                self.has_waited();
                self.leave(pid, ended);
                io::ErrorKind::TimedOut.into()
            }
        })
    }

    /// Processes that have answered after all since the last call.
    pub(crate) fn answered(&mut self) -> Vec<Reading> {
        self.left_behind.answered()
    }

    /// Waits for those that do not answer, all together as long as for one.
    pub(crate) fn wait(&mut self) {
        self.left_behind.wait(Instant::now() + PATIENCE);
    }

    /// Processes that do not answer at the moment.
    pub(crate) fn unanswering(&self) -> &[Reading] {
        self.left_behind.left_out().processes()
    }

    /// Time has passed: more may be read.
    pub(crate) fn give_time(&mut self) {
        let now = Instant::now();
        self.looking.give(now);
        self.waiting.give(now);
    }

    /// Does not count time until then.
    pub(crate) fn is_free_until(&mut self, end: Instant) {
        self.free_until = Some(end);
    }

    /// Whether there is time for more. Someone who `has_waited` may go into debt.
    pub(crate) fn have_time(&self, has_waited: bool) -> bool {
        let debt = if has_waited { 3 * SAVED } else { Duration::ZERO };
        self.is_free() || (self.looking.has(debt) && self.waiting.has(Duration::ZERO))
    }

    fn is_free(&self) -> bool {
        self.free_until.is_some_and(|end| Instant::now() < end)
    }

    fn has_waited(&mut self) {
        self.spent += PATIENCE;
        if !self.is_free() {
            self.waiting.take(PATIENCE);
        }
    }

    /// Counts time that was spent on reading memory, half of it in the process that reads.
    pub(crate) fn charge(&mut self, time: Duration) {
        self.spent += time;
        if !self.is_free() {
            self.looking.take(time);
        }
    }

    /// CPU time of all reads so far, and time in which they were waited for in vain.
    pub(crate) fn spent(&self) -> Duration {
        self.spent
    }

    /// Whether a process is not asked, because it, or others of its user, do not answer.
    pub(crate) fn is_left_out(&mut self, pid: u32) -> bool {
        let left_out = Arc::clone(self.left_behind.left_out());
        if left_out.processes().is_empty() {
            return false;
        }
        if left_out.silent(pid) {
            return true;
        }
        // What has another start time is another process.
        let start = left_out.names(pid).then(|| self.run(move |procfs| procfs.start(pid)).ok()?.ok()).flatten();
        left_out.has(pid, start.map(|(ticks, _)| ticks), || self.procfs.uid(pid))
    }

    /// Reads on the other thread. Where that does not answer it is left behind: `Err` says when it has ended.
    fn run<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&Procfs) -> io::Result<T> + Send + 'static,
    ) -> Result<io::Result<T>, Receiver<()>> {
        let worker = match self.worker.take().map_or_else(|| Worker::start(self.procfs.clone()), Ok) {
            Ok(worker) => worker,
            Err(error) => return Ok(Err(error)),
        };
        let (answer, answered) = sync_channel(1);
        let job = move |procfs: &Procfs| {
            let begun = cpu_time();
            let read = read(procfs);
            // Nobody waits for one that was left behind.
            let _ = answer.send((read, cpu_time().saturating_sub(begun)));
        };
        // It waits for nothing but jobs: a thread that has ended by a panic takes none, and does not answer either.
        let _ = worker.jobs.send(Box::new(job));
        match answered.recv_timeout(PATIENCE) {
            Ok((read, time)) => {
                self.spent += time;
                if !self.is_free() {
                    self.looking.take(time);
                }
                self.worker = Some(worker);
                Ok(read)
            }
            Err(RecvTimeoutError::Disconnected) => Ok(Err(io::ErrorKind::BrokenPipe.into())),
            Err(RecvTimeoutError::Timeout) => {
                self.has_waited();
                Err(worker.ended)
            }
        }
    }

    fn leave(&mut self, pid: u32, ended: Receiver<()>) {
        let mut process = Reading { pid, start_ticks: None, uid: None, comm: None };
        if pid != 0 {
            process.uid = self.procfs.uid(pid);
            match self.run(move |procfs| procfs.start(pid)) {
                Ok(start) => (process.start_ticks, process.comm) = start.ok().unzip(),
                Err(also) => self.left_behind.add(process.clone(), also),
            }
        }
        self.left_behind.add(process, ended);
    }
}

impl Worker {
    fn start(procfs: Procfs) -> io::Result<Self> {
        let (jobs, asked) = sync_channel::<Job>(1);
        let (alive, ended): (Sender<()>, _) = channel();
        let work = move || {
            for job in asked {
                job(&procfs);
            }
            drop(alive);
        };
        thread::Builder::new().name("reads".into()).stack_size(STACK).spawn(work)?;
        Ok(Self { jobs, ended })
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use rustix::fs::{CWD, FileType, Mode};

    use super::*;
    use crate::collect::procfs::fake::Fake;

    fn pipe(path: &Path) {
        // Without a writer: whoever opens it waits.
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    fn cmdline(reads: &mut Reads, pid: u32) -> io::Result<Vec<u8>> {
        reads.of(pid, move |procfs| procfs.bytes(pid, "cmdline", 64))
    }

    fn is_silent<T>(read: io::Result<T>) -> bool {
        read.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
    }

    #[test]
    fn who_does_not_answer_is_left_out_by_name_until_it_does_and_others_are_read() {
        let fake = Fake::new();
        fake.process(7, "silent", 1).process(8, "other", 1).write(8, "cmdline", "other\0");
        let path = fake.procfs.path(7, "cmdline");
        pipe(&path);
        let mut reads = Reads::new(fake.procfs.clone(), PathBuf::new());
        assert!(is_silent(cmdline(&mut reads, 7)));
        assert_eq!(cmdline(&mut reads, 8).unwrap(), b"other\0");
        let [silent] = reads.unanswering() else { panic!("{:?}", reads.unanswering()) };
        assert_eq!((silent.pid, silent.start_ticks, silent.comm.as_deref()), (7, Some(123_456), Some("silent")));

        let waited = reads.spent();
        assert!(is_silent(cmdline(&mut reads, 7)) && reads.spent() - waited < PATIENCE, "it is not asked again");

        let writer = fs::File::options().write(true).open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "awake\0").unwrap();
        drop(writer);
        let deadline = Instant::now() + Duration::from_secs(60);
        let answered =
            std::iter::repeat_with(|| reads.answered()).find(|all| !all.is_empty() || Instant::now() > deadline);
        assert_eq!(answered.unwrap()[0].pid, 7);
        assert_eq!(cmdline(&mut reads, 7).unwrap(), b"awake\0");
    }

    #[test]
    fn another_process_with_the_same_pid_is_read() {
        let fake = Fake::new();
        fake.process(7, "silent", 1);
        let path = fake.procfs.path(7, "cmdline");
        pipe(&path);
        let mut reads = Reads::new(fake.procfs.clone(), PathBuf::new());
        assert!(is_silent(cmdline(&mut reads, 7)));
        let stat = fs::read_to_string(fake.procfs.path(7, "stat")).unwrap().replace(" 123456 ", " 999999 ");
        fake.write(7, "stat", stat);
        fs::rename(&path, fake.procfs.path(7, "before")).unwrap();
        fake.write(7, "cmdline", "another\0");
        assert_eq!(cmdline(&mut reads, 7).unwrap(), b"another\0");
        // Lets the other thread end.
        drop(fs::File::options().write(true).open(fake.procfs.path(7, "before")).unwrap());
    }

    #[test]
    fn where_not_even_its_stat_file_answers_it_is_left_out_all_the_same() {
        let fake = Fake::new();
        fake.process(8, "other", 1).write(7, "cmdline", "");
        pipe(&fake.procfs.path(7, "stat"));
        let mut reads = Reads::new(fake.procfs.clone(), PathBuf::new());
        let mut start = |pid: u32| reads.of(pid, move |procfs| procfs.start(pid));
        assert!(is_silent(start(7)) && is_silent(start(7)));
        assert_eq!(&*start(8).unwrap().1, "other");
        drop(fs::File::options().write(true).open(fake.procfs.path(7, "stat")).unwrap());
    }

    #[test]
    fn time_comes_back_up_to_a_limit_and_who_has_waited_may_go_into_debt() {
        let mut allowance = Allowance::new(20, Duration::from_millis(50));
        let start = allowance.given;
        allowance.take(Duration::from_millis(60));
        assert!(!allowance.has(Duration::ZERO) && allowance.has(Duration::from_millis(20)));
        allowance.give(start + Duration::from_secs(1));
        assert_eq!(allowance.left, 40_000_000);
        allowance.give(start + Duration::from_secs(100));
        assert_eq!(allowance.left, 50_000_000);
    }
}
