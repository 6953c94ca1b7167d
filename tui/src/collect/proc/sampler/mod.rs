//! One pass over a proc root: which processes there are and what each uses.
//! It keeps what makes the next pass cheap: open descriptors, details, swap of each process.

mod by_kernel;

use std::{iter::Peekable, path::Path, sync::Arc, time::Instant, vec::Drain};

use jiff::{SignedDuration, Timestamp};
use rustix::fd::OwnedFd;

use self::by_kernel::ByKernel;
use super::{
    Options, ProcError, ProcessReading, ProcessSample, Pss, Rollup, RssParts,
    details::{Arguments, Details},
    files::{Files, Unread},
    machine::MachineReader,
    memory_cgroup::{CgroupReader, Seat},
    pss::{PssReader, Remembered},
    stat::Stat,
    watchdog::Progress,
};
use crate::{
    collect::{Tick, procfs::LivingThread, trust::Owners, unanswering::LeftOut},
    model::PssUnknown,
};

/// Passes after first sight at which the details of a young process are read again: workers set their title, their user
/// and their cgroup shortly after the fork.
const LATE_CHANGES: [u32; 4] = [1, 2, 4, 8];
/// A process older than this at first sight has its title.
const YOUNG_S: u64 = 30;
/// Passes in which the details of all processes are read again, in rotation; about 20 us each.
const PASSES_PER_ROTATION: usize = 64;
/// Processes whose details are read again in one pass at least.
const DETAILS_PER_PASS: usize = 16;
/// Passes after which the processes are listed even when none seems to be new: a restored process (CRIU) takes a pid of
/// its own choice.
const PASSES_PER_LISTING: usize = 10;
/// Processes whose swap is read in one pass, in rotation; about 20 us each.
const SWAP_PER_PASS: usize = 64;

/// RSS from which on it matters that pages of files are in it, as long as PSS was not read.
const BIG_BYTES: u64 = 64 << 20;
/// The memory of what has none.
const NOTHING: Rollup = Rollup {
    pss_bytes: 0,
    uss_bytes: 0,
    shared_bytes: 0,
    file_bytes: Some(0),
    shmem_bytes: Some(0),
    swap_pss_bytes: Some(0),
};

/// Reads all processes below a proc root, again and again.
#[derive(Debug)]
pub struct Sampler {
    files: Files,
    machine: MachineReader,
    ticks_per_second: u64,
    page_bytes: u64,
    booted_at: Option<Timestamp>,
    own_pid: Option<u32>,
    newest_pid: Option<u32>,
    pids: Vec<u32>,
    tracked: Vec<Tracked>,
    next: Vec<Tracked>,
    rotation: usize,
    pss: PssReader,
    cgroups: CgroupReader,
    kernel: Option<ByKernel>,
    /// The kernel counts what is read from disks and written.
    counts_disk: bool,
    /// What is being read, for the thread that waits for it.
    progress: Arc<Progress>,
    left_out: Arc<LeftOut>,
}

/// One process between two passes.
#[derive(Debug)]
struct Tracked {
    pid: u32,
    start_ticks: u64,
    descriptor: Option<OwnedFd>,
    details: Arc<Details>,
    arguments: Arguments,
    /// Name as the kernel has it, to see a change.
    comm: Vec<u8>,
    passes: u32,
    young: bool,
    swap_bytes: Option<u64>,
    pss: Remembered,
    seat: Seat,
    /// It does not answer: nothing but its stat file is read.
    left_out: bool,
}

/// What the whole pass knows.
#[derive(Clone, Copy)]
struct Pass {
    uptime_ticks: Option<u64>,
    no_swap: bool,
    /// Places in the list whose details, and whose swap, are due.
    details_due: (usize, usize),
    swap_due: (usize, usize),
}

impl Sampler {
    /// Opens a proc root (`/proc`) with the default budget for PSS. `now` is the time of day, for the start times of processes.
    pub fn open(root: &Path, passwd: &Path, now: Timestamp) -> Result<Self, ProcError> {
        Self::with(&Options { root: root.into(), passwd: passwd.into(), kernel: false, ..Options::default() }, now)
    }

    /// Opens what the options name.
    pub fn with(options: &Options, now: Timestamp) -> Result<Self, ProcError> {
        let root = &*options.root;
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let machine = MachineReader::new(root, ticks_per_second);
        let since_boot = machine.uptime_s().and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok());
        Ok(Self {
            files: Files::open(root, &options.passwd, Owners::new(options.owners.clone()), options.secrets)?,
            ticks_per_second,
            page_bytes: rustix::param::page_size() as u64,
            booted_at: since_boot.and_then(|since_boot| now.checked_sub(since_boot).ok()),
            // The root may show other pid numbers than this process has in its own namespace.
            own_pid: std::fs::read_link(root.join("self")).ok().and_then(|pid| pid.to_str()?.parse().ok()),
            machine,
            newest_pid: None,
            pids: Vec::new(),
            tracked: Vec::new(),
            next: Vec::new(),
            rotation: 0,
            pss: PssReader::new(options.pss),
            cgroups: CgroupReader::new(root),
            kernel: None,
            counts_disk: false,
            progress: Arc::default(),
            left_out: Arc::default(),
        })
    }

    /// One that goes on where another does not come back. It keeps no descriptors: the other has them still.
    pub(super) fn replacing(options: &Options, now: Timestamp) -> Result<Self, ProcError> {
        let mut sampler = Self::with(options, now)?;
        sampler.files.keep_none();
        Ok(sampler)
    }

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Reads no more than the stat file of these from now on.
    pub(super) fn leave_out(&mut self, left_out: Arc<LeftOut>) {
        self.left_out = left_out;
    }

    /// Reads everything once.
    pub fn pass(&mut self, tick: Tick) -> ProcessSample {
        let machine = self.machine.read();
        self.files.begin();
        let mut sample = ProcessSample {
            at: Some(tick.at),
            ticks_per_second: self.ticks_per_second,
            own_pid: self.own_pid,
            own_cpu: own_cpu(),
            processes: Vec::with_capacity(self.tracked.len() + self.tracked.len() / 8 + 64),
            ..ProcessSample::default()
        };
        let by_kernel = self.read_kernel(&mut sample);
        if !by_kernel
            && self.may_have_changed(machine.newest_pid)
            && let Err(error) = self.files.pids(&mut self.pids)
        {
            sample.error = Some(error);
            self.newest_pid = None;
        }
        let pass = Pass {
            uptime_ticks: machine.uptime_ticks,
            no_swap: machine.memory.swap_used() == Some(0),
            details_due: self.rotate(self.tracked.len().div_ceil(PASSES_PER_ROTATION).max(DETAILS_PER_PASS)),
            swap_due: self.rotate(SWAP_PER_PASS),
        };
        self.rotation = self.rotation.wrapping_add(1);
        sample.machine = machine;

        let mut known = std::mem::take(&mut self.tracked);
        let mut ended = known.drain(..).peekable();
        if by_kernel {
            self.walk_records(&mut ended, pass, &mut sample);
        } else {
            self.walk_pids(&mut ended, pass, &mut sample);
        }
        for mut gone in ended {
            self.files.release(&mut gone.descriptor);
        }
        self.join_kernel(&mut sample);
        self.read_pss(tick.at, &mut sample.processes);
        self.progress.machine();
        self.count_unanswered(&mut sample);
        self.cgroups.begin();
        for (tracked, reading) in self.next.iter_mut().zip(&mut sample.processes) {
            reading.cgroup = self.cgroups.place(&mut tracked.seat, &reading.details);
        }
        (sample.cgroups, sample.cgroups_without_room) = self.cgroups.read();
        self.tracked = std::mem::replace(&mut self.next, known);
        sample
    }

    /// Reads /proc/PID/stat of all that are listed; who has vanished is taken off the list.
    fn walk_pids(&mut self, ended: &mut Peekable<Drain<'_, Tracked>>, pass: Pass, sample: &mut ProcessSample) {
        let mut pids = std::mem::take(&mut self.pids);
        sample.hidden = pids.first().is_some_and(|&first| first != 1);
        pids.retain(|&pid| self.walk_pid(pid, ended, pass, sample));
        self.pids = pids;
    }

    /// Reads one process; false when it has vanished.
    fn walk_pid(
        &mut self,
        pid: u32,
        ended: &mut Peekable<Drain<'_, Tracked>>,
        pass: Pass,
        sample: &mut ProcessSample,
    ) -> bool {
        let mut tracked = self.tracked_before(pid, ended);
        if self.left_out.silent(pid) {
            if let Some(tracked) = &mut tracked {
                self.files.release(&mut tracked.descriptor);
            }
            sample.unanswered += 1;
            sample.unanswered_first = Some((pid, "?".into()));
            return true;
        }
        self.progress.stat(pid);
        match self.read(pid, tracked, pass) {
            Ok((tracked, reading)) => {
                sample.processes.push(reading);
                self.next.push(tracked);
            }
            Err(Skipped::Vanished) => {
                sample.vanished += 1;
                return false;
            }
            Err(Skipped::Refused) => sample.refused += 1,
            Err(Skipped::Malformed) => sample.malformed += 1,
        }
        true
    }

    /// What is kept of a process; those before it in the order of pids have ended.
    fn tracked_before(&mut self, pid: u32, ended: &mut Peekable<Drain<'_, Tracked>>) -> Option<Tracked> {
        while let Some(mut gone) = ended.next_if(|tracked| tracked.pid < pid) {
            self.files.release(&mut gone.descriptor);
        }
        ended.next_if(|tracked| tracked.pid == pid)
    }

    /// Reads the PSS of those whose turn it is, and says of all what is known. `readings` are those of `next`.
    fn read_pss(&mut self, now: Instant, readings: &mut [ProcessReading]) {
        self.pss.begin(now);
        for (place, (tracked, reading)) in self.next.iter_mut().zip(&*readings).enumerate() {
            if !reading.is_without_memory() && !tracked.left_out {
                self.pss.offer(place, &mut tracked.pss, reading.rss_bytes, now);
            }
        }
        while let Some(place) = self.pss.next() {
            let reading = &readings[place];
            self.progress.files(reading.pid, reading.start_ticks);
            self.pss.read(&mut self.files, reading, &mut self.next[place].pss, now);
        }
        for (tracked, reading) in self.next.iter().zip(readings) {
            if !reading.is_without_memory() {
                let unread = Pss::Unknown(PssUnknown::NotAnswering);
                reading.pss = if tracked.left_out { unread } else { self.pss.pss(&tracked.pss, reading, now) };
                let is_big = reading.rss_bytes >= BIG_BYTES && !tracked.left_out;
                if is_big && reading.rss_parts.is_none() && matches!(reading.pss, Pss::Unknown(_)) {
                    reading.rss_parts = rss_parts(&mut self.files, reading.pid);
                }
            }
        }
    }

    fn count_unanswered(&self, sample: &mut ProcessSample) {
        let mut left_out = self.next.iter().filter(|tracked| tracked.left_out);
        if let Some(first) = left_out.next() {
            sample.unanswered_first = Some((first.pid, Arc::clone(&first.details.comm)));
            sample.unanswered += 1 + u32::try_from(left_out.count()).unwrap_or(u32::MAX - 1);
        }
    }

    fn read(&mut self, pid: u32, tracked: Option<Tracked>, pass: Pass) -> Result<(Tracked, ProcessReading), Skipped> {
        let (mut descriptor, tracked) = match tracked {
            Some(mut tracked) => (tracked.descriptor.take(), Some(tracked)),
            None => (None, None),
        };
        // The buffer is needed again for the details.
        let mut line = [0_u8; 1024];
        let length = match self.files.stat(pid, &mut descriptor) {
            Ok(bytes) => {
                let length = bytes.len().min(line.len());
                line[..length].copy_from_slice(&bytes[..length]);
                length
            }
            Err(unread) => {
                self.files.release(&mut descriptor);
                return Err(unread.into());
            }
        };
        let stat = Stat::parse(&line[..length], self.ticks_per_second).filter(|stat| stat.pid == pid);
        let Some(stat) = stat else {
            self.files.release(&mut descriptor);
            return Err(Skipped::Malformed);
        };
        Ok(self.recognise(stat, descriptor, tracked, pass))
    }

    /// What was read of a process, with what rarely changes. `tracked` is what is kept of its pid.
    fn recognise(
        &mut self,
        stat: Stat<'_>,
        descriptor: Option<OwnedFd>,
        tracked: Option<Tracked>,
        pass: Pass,
    ) -> (Tracked, ProcessReading) {
        let stat = Stat { comm: steady_comm(&stat), ..stat };
        // The same pid with another start time is another process.
        let tracked = tracked.filter(|tracked| tracked.start_ticks == stat.start_ticks);
        self.progress.files(stat.pid, stat.start_ticks);
        let left_out = self.left_out.has(stat.pid, Some(stat.start_ticks), || self.files.uid(stat.pid));
        let stat = if stat.state == 'Z' && stat.threads > 1 && !left_out { self.of_living_thread(stat) } else { stat };
        let tracked = match tracked {
            Some(tracked) => Tracked { descriptor, left_out, ..self.seen_again(tracked, &stat, pass, left_out) },
            None => Tracked { descriptor, left_out, ..self.first_sight(&stat, pass, left_out) },
        };
        let reading = ProcessReading {
            pid: stat.pid,
            ppid: stat.ppid,
            start_ticks: stat.start_ticks,
            state: stat.state,
            threads: stat.threads,
            cpu: stat.cpu,
            cpu_base: stat.cpu,
            rss_bytes: stat.rss_pages.saturating_mul(self.page_bytes),
            rss_parts: stat.rss_parts.map(|pages| RssParts {
                file_bytes: pages.file.saturating_mul(self.page_bytes),
                shmem_bytes: pages.shmem.saturating_mul(self.page_bytes),
            }),
            disk: stat.disk,
            swap_bytes: tracked.swap_bytes,
            pss: Pss::Known(NOTHING, None),
            cgroup: None,
            details: Arc::clone(&tracked.details),
        };
        (tracked, reading)
    }

    /// What a process has whose first thread has ended: the kernel shows it of the others only.
    fn of_living_thread<'a>(&mut self, stat: Stat<'a>) -> Stat<'a> {
        match self.files.living_thread(stat.pid) {
            Some(LivingThread { state, rss_pages, .. }) => {
                Stat { state, rss_pages, swap_bytes: None, rss_parts: None, ..stat }
            }
            None => stat,
        }
    }

    fn started_at(&self, start_ticks: u64) -> Option<Timestamp> {
        let since_boot = SignedDuration::try_from_secs_f64(start_ticks as f64 / self.ticks_per_second as f64);
        self.booted_at?.checked_add(since_boot.ok()?).ok()
    }

    fn first_sight(&mut self, stat: &Stat, pass: Pass, left_out: bool) -> Tracked {
        let started_at = self.started_at(stat.start_ticks);
        let (details, arguments) = Details::read(&mut self.files, stat, started_at, !left_out);
        let age_ticks = pass.uptime_ticks.map(|uptime| uptime.saturating_sub(stat.start_ticks));
        Tracked {
            pid: stat.pid,
            start_ticks: stat.start_ticks,
            descriptor: None,
            details,
            arguments,
            comm: stat.comm.to_vec(),
            passes: 0,
            young: age_ticks.is_none_or(|age| age < YOUNG_S * self.ticks_per_second),
            swap_bytes: self.swap(stat, pass, left_out),
            pss: Remembered::default(),
            seat: Seat::default(),
            left_out,
        }
    }

    fn seen_again(&mut self, mut tracked: Tracked, stat: &Stat, pass: Pass, left_out: bool) -> Tracked {
        let place = self.next.len();
        tracked.passes = tracked.passes.saturating_add(1);
        let renamed = tracked.comm != stat.comm;
        if renamed {
            tracked.comm.clear();
            tracked.comm.extend_from_slice(stat.comm);
        }
        let late = tracked.young && LATE_CHANGES.contains(&tracked.passes);
        // What was left out and answers again was never read.
        let late = late || tracked.left_out != left_out;
        if left_out && !renamed {
            return tracked;
        }
        if renamed || late || (place >= pass.details_due.0 && place < pass.details_due.1) {
            Details::refresh(&mut tracked.details, &mut tracked.arguments, &mut self.files, stat, !left_out);
        }
        if pass.no_swap || stat.swap_bytes.is_some() || (place >= pass.swap_due.0 && place < pass.swap_due.1) {
            tracked.swap_bytes = self.swap(stat, pass, left_out);
        }
        tracked
    }

    /// Swapped-out bytes; `None` when they cannot be read.
    fn swap(&mut self, stat: &Stat, pass: Pass, left_out: bool) -> Option<u64> {
        if pass.no_swap || stat.kernel_thread || stat.state == 'Z' {
            return Some(0);
        }
        if stat.swap_bytes.is_some() {
            return stat.swap_bytes;
        }
        if left_out {
            return None;
        }
        bytes_in(self.files.read(stat.pid, "status")?, b"VmSwap:")
    }

    /// Whether the processes have to be listed again. Listing costs a fifth of a pass, and between two passes there is
    /// often no fork: then nothing is new, and what has ended says so when it is read.
    fn may_have_changed(&mut self, newest_pid: Option<u32>) -> bool {
        // The kernel counts in the namespace of the reader, which must be the one that the root shows.
        let newest_pid = newest_pid.filter(|_| self.own_pid == Some(std::process::id()));
        let unchanged = newest_pid.is_some() && newest_pid == self.newest_pid;
        self.newest_pid = newest_pid;
        !unchanged || self.rotation.is_multiple_of(PASSES_PER_LISTING)
    }

    fn rotate(&self, per_pass: usize) -> (usize, usize) {
        let turns = self.tracked.len().div_ceil(per_pass).max(1);
        let first = self.rotation % turns * per_pass;
        (first, first + per_pass)
    }
}

/// A worker thread of the kernel appends what it does at the moment (`kworker/0:1-events`, `kworker/u8:2+flush`);
/// that is no new name. A rescuer (`kworker/R-writeback`) has its own name there and no CPU.
fn steady_comm<'a>(stat: &Stat<'a>) -> &'a [u8] {
    let Some(colon) = stat.comm.iter().position(|&byte| byte == b':') else { return stat.comm };
    if !stat.kernel_thread || !stat.comm.starts_with(b"kworker/") {
        return stat.comm;
    }
    let work = stat.comm[colon..].iter().position(|byte| matches!(byte, b'-' | b'+'));
    &stat.comm[..work.map_or(stat.comm.len(), |work| colon + work)]
}

/// CPU time of this process, finer than the clock ticks of /proc/PID/stat.
fn own_cpu() -> std::time::Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    std::time::Duration::try_from(time).unwrap_or_default()
}

/// Why a listed process is not in the sample.
enum Skipped {
    Vanished,
    Refused,
    Malformed,
}

impl From<Unread> for Skipped {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Vanished => Self::Vanished,
            Unread::Refused => Self::Refused,
        }
    }
}

/// What the resident set of a process is made of, by its status file; `None` where that does not tell.
fn rss_parts(files: &mut Files, pid: u32) -> Option<RssParts> {
    let status = files.read(pid, "status")?;
    Some(RssParts { file_bytes: bytes_in(status, b"RssFile:")?, shmem_bytes: bytes_in(status, b"RssShmem:")? })
}

/// A size in a status file (proc_pid_status(5)).
fn bytes_in(status: &[u8], name: &[u8]) -> Option<u64> {
    let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = std::str::from_utf8(line).ok()?.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
