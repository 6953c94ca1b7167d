//! The pass by the kernel's task iterator, and the processes that ended. It replaces /proc/PID/stat as soon as it reports the
//! same for every process, and falls back if it fails.

use std::{iter::Peekable, sync::Arc, time::Duration, vec::Drain};

use jiff::SignedDuration;
use tusktop_shared::{EndedProcess, OomKill, ProcessRecord};

use super::{Pass, Sampler, Tracked};
use crate::{
    collect::{
        proc::{
            Details, DiskBytes, EndedReading, LastSight, OomKillReading, ProcessSample,
            details::{command_line, is_php_by_name, text},
            stat::{PF_KTHREAD, RssPages, Stat},
        },
        script::Script,
        tasks::{End, Tasks, TasksError},
    },
    model::pool_of_title,
};

/// Passes after which /proc is listed to see whether it shows what the iterator does not.
const PASSES_PER_LISTING: usize = 60;
/// Pages between two readings of this process's memory that are believed.
const PAGES_APART: u64 = 4096;
/// Bytes of /proc/PID/comm at most (`proc_task_name` in the kernel's fs/proc/array.c).
const COMM_FILE_BYTES: usize = 64;
/// Most ended processes that one sample holds; each takes some 400 bytes.
const MAX_ENDED: usize = 65_536;

/// The iterator and what is kept beside it.
#[derive(Debug)]
pub(super) struct ByKernel {
    tasks: Tasks,
    /// The previous pass was read from /proc/PID/stat.
    joining: bool,
    /// Processes that only /proc shows, ascending: a kernel may keep some from BPF programs.
    hidden: Vec<u32>,
    passes: usize,
    /// What has ended since the last pass, as far as it was taken from the ring.
    ended: Vec<EndedReading>,
    /// What of it found no room here.
    without_room: u64,
}

impl Sampler {
    /// Lets the next passes be read by the kernel's iterator.
    ///
    /// # Errors
    /// It does not say the same of this process as the proc root: the root is another one or numbers processes in another
    /// way, or this kernel's structures are not what they seem.
    pub fn use_kernel(&mut self, mut tasks: Tasks) -> Result<(), TasksError> {
        let disagree = |what: &str| TasksError::Disagree(what.to_owned());
        let pid = std::process::id();
        if !self.files.is_procfs() || self.own_pid != Some(pid) {
            return Err(disagree("the proc root belongs to another pid namespace, or is not procfs"));
        }
        let mut line = [0; 1024];
        let mut descriptor = None;
        let bytes = self.files.stat(pid, &mut descriptor).map_err(|_| disagree("its stat file cannot be read"))?;
        let length = bytes.len().min(line.len());
        line[..length].copy_from_slice(&bytes[..length]);
        self.files.release(&mut descriptor);
        let stat = Stat::parse(&line[..length], self.ticks_per_second).ok_or_else(|| disagree("its stat file"))?;
        let records = tasks.read()?;
        let record = place(records, pid).map(|at| records[at]).map_err(|_| disagree("it is not there"))?;
        let seen = self.stat_of(&record);
        let same = [
            ("start time", seen.start_ticks == stat.start_ticks),
            ("parent", seen.ppid == stat.ppid),
            ("name", seen.comm == stat.comm),
            ("threads", seen.threads.abs_diff(stat.threads) <= 4),
            ("memory", seen.rss_pages.abs_diff(stat.rss_pages) <= PAGES_APART.max(stat.rss_pages / 8)),
            ("CPU time", seen.cpu.abs_diff(stat.cpu) <= Duration::from_millis(500).max(stat.cpu / 8)),
        ];
        if let Some((what, _)) = same.iter().find(|(_, same)| !same) {
            return Err(disagree(what));
        }
        self.counts_disk = tasks.counts_disk();
        self.kernel =
            Some(ByKernel { tasks, joining: true, hidden: Vec::new(), passes: 0, ended: Vec::new(), without_room: 0 });
        Ok(())
    }

    /// Reads the iterator for this pass; false when the pass has to be read from /proc/PID/stat.
    pub(super) fn read_kernel(&mut self, sample: &mut ProcessSample) -> bool {
        let Some(kernel) = self.kernel.as_mut().filter(|kernel| !kernel.joining) else { return false };
        // Before the iterator is read, so that whatever is listed and not read has ended or is hidden.
        let list = kernel.passes.is_multiple_of(PASSES_PER_LISTING);
        kernel.passes = kernel.passes.wrapping_add(1);
        if list && let Err(error) = self.files.pids(&mut self.pids) {
            sample.error = Some(error);
        }
        match kernel.tasks.read() {
            Ok(records) => {
                if list {
                    kernel.hidden.clear();
                    kernel.hidden.extend(self.pids.iter().filter(|&&pid| place(records, pid).is_err()));
                }
                true
            }
            Err(error) => {
                self.kernel = None;
                self.newest_pid = None;
                sample.ended_unknown = Some(TasksError::Read(error).to_string().into());
                false
            }
        }
    }

    /// Takes all processes from the iterator, and those that it does not show from /proc.
    pub(super) fn walk_records(
        &mut self,
        ended: &mut Peekable<Drain<'_, Tracked>>,
        pass: Pass,
        sample: &mut ProcessSample,
    ) {
        let Some(mut kernel) = self.kernel.take() else { return };
        let mut hidden = std::mem::take(&mut kernel.hidden).into_iter().peekable();
        for record in kernel.tasks.processes() {
            let pid = record.head.pid;
            while let Some(hidden) = hidden.next_if(|&hidden| hidden < pid) {
                if self.walk_pid(hidden, ended, pass, sample) {
                    kernel.hidden.push(hidden);
                }
            }
            // The number is that of a process that is seen now.
            hidden.next_if_eq(&pid);
            let mut tracked = self.tracked_before(pid, ended);
            if let Some(tracked) = &mut tracked {
                self.files.release(&mut tracked.descriptor);
            }
            let mut stat = self.stat_of(record);
            let mut name = [0; COMM_FILE_BYTES];
            if stat.kernel_thread {
                let known = tracked.as_ref().filter(|tracked| tracked.start_ticks == stat.start_ticks);
                stat.comm = self.kernel_thread_name(pid, known.map(|known| &*known.comm), &mut name, stat.comm);
            }
            let (tracked, reading) = self.recognise(stat, None, tracked, pass);
            sample.processes.push(reading);
            self.next.push(tracked);
        }
        for hidden in hidden {
            if self.walk_pid(hidden, ended, pass, sample) {
                kernel.hidden.push(hidden);
            }
        }
        sample.hidden = sample.processes.first().is_some_and(|first| first.pid != 1);
        self.kernel = Some(kernel);
    }

    /// Ends a pass: what has ended meanwhile, and after the last pass by /proc/PID/stat the readings to go on from.
    pub(super) fn join_kernel(&mut self, sample: &mut ProcessSample) {
        let Some(mut kernel) = self.kernel.take() else { return };
        let joining = std::mem::take(&mut kernel.joining);
        if joining {
            match kernel.tasks.read() {
                Ok(records) => {
                    for reading in &mut sample.processes {
                        let Ok(at) = place(records, reading.pid) else { continue };
                        let seen = self.stat_of(&records[at]);
                        if seen.start_ticks == reading.start_ticks {
                            reading.cpu_base = seen.cpu;
                            reading.disk = seen.disk;
                        }
                    }
                    self.pids = Vec::new();
                }
                Err(error) => {
                    sample.ended_unknown = Some(TasksError::Read(error).to_string().into());
                    return;
                }
            }
        }
        sample.oom_kills =
            kernel.tasks.take_oom_kills().map(|kills| kills.iter().map(|kill| self.oom_kill(kill)).collect());
        self.take_ended(&mut kernel);
        let all = std::mem::take(&mut kernel.ended);
        let lost = kernel.tasks.take_lost() + std::mem::take(&mut kernel.without_room);
        match kernel.tasks.ends() {
            // What came before the first pass by the iterator is not whole.
            Ok(()) if joining => {}
            Ok(()) => (sample.ended, sample.ended_lost) = (Some(all), lost),
            Err(why) => sample.ended_unknown = Some(Arc::clone(why)),
        }
        self.kernel = Some(kernel);
    }

    /// Empties the ring of processes that ended: it has room for those of a second or so, and a pass may be far away.
    pub(in crate::collect::proc) fn keep_ended(&mut self) {
        let Some(mut kernel) = self.kernel.take() else { return };
        // What comes before the first pass by the iterator is not counted.
        if !kernel.joining {
            self.take_ended(&mut kernel);
        }
        self.kernel = Some(kernel);
    }

    fn take_ended(&mut self, kernel: &mut ByKernel) {
        let ByKernel { tasks, ended: kept, without_room, .. } = kernel;
        tasks.take_ended(|ended| {
            if kept.len() < MAX_ENDED {
                kept.push(self.ended(ended));
            } else {
                *without_room += 1;
            }
        });
    }

    fn stat_of<'a>(&self, record: &'a ProcessRecord) -> Stat<'a> {
        let pages = |count: i64| u64::try_from(count).unwrap_or(0);
        let kernel_thread = u64::from(record.flags) & PF_KTHREAD != 0;
        // A kernel thread may work in a process's memory for a while; it is not its own.
        let own = u64::from(!kernel_thread);
        let resident = [record.file_pages, record.anonymous_pages, record.shared_pages];
        Stat {
            pid: record.head.pid,
            comm: until_nul(&record.comm),
            state: state(record.state, record.exit_state),
            ppid: record.parent,
            kernel_thread,
            cpu: Duration::from_nanos(record.head.cpu_ns),
            threads: record.threads,
            start_ticks: self.ticks(record.start_ns),
            rss_pages: own * resident.into_iter().map(pages).fold(0, u64::saturating_add),
            swap_bytes: Some(own * pages(record.swap_pages).saturating_mul(self.page_bytes)),
            rss_parts: Some(RssPages { file: own * pages(record.file_pages), shmem: own * pages(record.shared_pages) }),
            disk: self
                .counts_disk
                .then_some(DiskBytes { read: record.head.read_bytes, written: record.head.written_bytes }),
        }
    }

    /// /proc shows more of the names of the kernel's own threads than the 15 bytes of a task, and they stay as they are.
    fn kernel_thread_name<'a>(
        &mut self,
        pid: u32,
        known: Option<&[u8]>,
        into: &'a mut [u8; COMM_FILE_BYTES],
        short: &'a [u8],
    ) -> &'a [u8] {
        // It gets its name when it has begun to run.
        let known = known.filter(|known| known.starts_with(short));
        let Some(name) = known.or_else(|| self.files.read(pid, "comm")) else { return short };
        let name = name.strip_suffix(b"\n").unwrap_or(name);
        let length = name.len().min(into.len());
        into[..length].copy_from_slice(&name[..length]);
        &into[..length]
    }

    /// As the kernel rounds it for /proc/PID/stat (`nsec_to_clock_t`).
    fn ticks(&self, ns: u64) -> u64 {
        ns / (1_000_000_000 / self.ticks_per_second.clamp(1, 1_000_000_000))
    }

    fn oom_kill(&self, kill: &OomKill) -> OomKillReading {
        let bytes = |pages: i64| u64::try_from(pages).unwrap_or(0).saturating_mul(self.page_bytes);
        let resident = [kill.file_pages, kill.anonymous_pages, kill.shared_pages];
        let known = kill.known != 0;
        let since_boot = SignedDuration::from_nanos(i64::try_from(kill.at_ns).unwrap_or(i64::MAX));
        OomKillReading {
            at: self.booted_at.and_then(|booted_at| booted_at.checked_add(since_boot).ok()),
            pid: kill.pid,
            comm: known.then(|| text(until_nul(&kill.comm)).into()),
            rss_bytes: known.then(|| resident.into_iter().map(bytes).fold(0, u64::saturating_add)),
            swap_bytes: known.then(|| bytes(kill.swap_pages)),
            limit_bytes: (kill.limit_pages > 0).then(|| kill.limit_pages.saturating_mul(self.page_bytes)),
        }
    }

    fn ended(&mut self, end: End<'_>) -> EndedReading {
        let (pid, start_ns, cpu_ns, last) = match end {
            End::Ended(ended) => (ended.pid, ended.start_ns, ended.cpu_ns, Some(self.last_sight(ended))),
            End::Freed(freed) => (freed.pid, freed.start_ns, freed.cpu_ns, None),
        };
        EndedReading { pid, start_ticks: self.ticks(start_ns), cpu: Duration::from_nanos(cpu_ns), last }
    }

    fn last_sight(&mut self, ended: &EndedProcess) -> LastSight {
        let arguments = &ended.arguments[..ended.arguments_length as usize];
        let (exe, cmdline) = command_line(arguments, self.files.secrets());
        let comm: Arc<str> = text(until_nul(&ended.comm)).into();
        let php = is_php_by_name(&comm, &exe);
        // Whether a pool is believed is a matter of its parent, which may not answer.
        self.progress.stat(ended.parent);
        let details = Details {
            pid: ended.pid,
            php,
            script: if php { Script::of(arguments).map(|script| script.name) } else { None },
            comm,
            exe,
            pool: pool_of_title(&cmdline).map(|pool| self.files.pool(ended.pid, Some(ended.user), ended.parent, pool)),
            cmdline,
            user: self.files.user_name(ended.user),
            unit: None,
            container: None,
            cgroups: Arc::default(),
            memory_cgroup: None,
            kernel_thread: u64::from(ended.flags) & PF_KTHREAD != 0,
            started_at: self.started_at(self.ticks(ended.start_ns)),
        };
        let signal = Some(ended.exit_code & 0x7f).filter(|&signal| signal != 0);
        LastSight { ppid: ended.parent, signal, details }
    }
}

fn place(records: &[ProcessRecord], pid: u32) -> Result<usize, usize> {
    records.binary_search_by_key(&pid, |record| record.head.pid)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len())]
}

/// The letter of /proc/PID/stat: `task_state_index` and `task_index_to_char` in the kernel's include/linux/sched.h.
fn state(state: u32, exit_state: u32) -> char {
    /// Bits of `__state` and `exit_state` that have a letter, `TASK_REPORT`.
    const REPORTED: u32 = 0x7f;
    const UNINTERRUPTIBLE: u32 = 0x02;
    /// `TASK_UNINTERRUPTIBLE | TASK_NOLOAD`.
    const IDLE: u32 = 0x402;
    /// `TASK_RTLOCK_WAIT` and `TASK_FROZEN`.
    const AS_UNINTERRUPTIBLE: u32 = 0x9000;
    let mut bits = (state | exit_state) & REPORTED;
    if state & IDLE == IDLE {
        return 'I';
    }
    if state & AS_UNINTERRUPTIBLE != 0 {
        bits = UNINTERRUPTIBLE;
    }
    let letters = ['R', 'S', 'D', 'T', 't', 'X', 'Z', 'P'];
    letters[(u32::BITS - bits.leading_zeros()) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_letters_of_proc() {
        for (bits, exit, letter) in [
            (0, 0, 'R'),
            (1, 0, 'S'),
            (0x2001, 0, 'S'),
            (2, 0, 'D'),
            (0x102, 0, 'D'),
            (4, 0, 'T'),
            (8, 0, 't'),
            (0x80, 0x20, 'Z'),
            (0x80, 0x10, 'X'),
            (0x40, 0, 'P'),
            (0x402, 0, 'I'),
            (0x2402, 0, 'I'),
            (0x8000, 0, 'D'),
            (0x1000, 0, 'D'),
            (0x800, 0, 'R'),
            (!0x400, u32::MAX, 'D'),
        ] {
            assert_eq!(state(bits, exit), letter, "{bits:#x} {exit:#x}");
        }
    }
}
