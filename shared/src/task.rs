//! Processes as the task iterator writes them, and processes that ended. The layout of the kernel's structures comes
//! from user space.

/// Bytes of a process's name, `TASK_COMM_LEN`.
pub const COMM_BYTES: usize = 16;
/// Bytes of a command line that are kept of a process that ends. A power of two.
pub const ARGUMENT_BYTES: usize = 128;
/// Size of the ring of processes that ended: 2 800 of the longest and more than 5 000 of the usual ones.
pub const ENDED_RING_BYTES: u32 = 512 << 10;
/// Size of the ring of processes that were killed because memory was gone: 45 of them.
pub const OOM_RING_BYTES: u32 = 4 << 10;

/// [`TaskHead::kind`] of a [`ProcessRecord`].
pub const RECORD_PROCESS: u32 = 1;
/// [`TaskHead::kind`] of a [`TaskHead`] alone: a thread that is not the first of its process.
pub const RECORD_THREAD: u32 = 2;

/// Offsets in the kernel's structures, all known but those that are said to be 0 where they are not.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskLayout {
    /// `task_struct.pid`, which is the id of the thread.
    pub task_pid: u32,
    /// `task_struct.tgid`.
    pub task_tgid: u32,
    /// `task_struct.flags`.
    pub task_flags: u32,
    /// `task_struct.__state`.
    pub task_state: u32,
    /// `task_struct.exit_state`.
    pub task_exit_state: u32,
    /// `task_struct.real_parent`.
    pub task_parent: u32,
    /// `task_struct.group_leader`: the first thread.
    pub task_leader: u32,
    /// `task_struct.start_boottime`.
    pub task_start: u32,
    /// `task_struct.se.sum_exec_runtime`.
    pub task_cpu_time: u32,
    /// `task_struct.signal`.
    pub task_signal: u32,
    /// `task_struct.mm`.
    pub task_memory: u32,
    /// `task_struct.comm`.
    pub task_comm: u32,
    /// `task_struct.real_cred`.
    pub task_credentials: u32,
    /// `signal_struct.nr_threads`.
    pub signal_threads: u32,
    /// `signal_struct.live`: threads that have not begun to end.
    pub signal_live: u32,
    /// `signal_struct.sum_sched_runtime`: CPU time of threads that ended.
    pub signal_cpu_time: u32,
    /// The first counter of pages in `mm_struct`.
    pub memory_pages: u32,
    /// From one counter of pages to the next: `MM_FILEPAGES`, `MM_ANONPAGES`, `MM_SWAPENTS`, `MM_SHMEMPAGES`.
    pub memory_pages_stride: u32,
    /// `mm_struct.arg_start`.
    pub memory_arguments: u32,
    /// `mm_struct.arg_end`.
    pub memory_arguments_end: u32,
    /// `cred.euid`.
    pub credentials_user: u32,
    /// `task_struct.ioac.read_bytes`; 0 where the kernel does not count them.
    pub task_read: u32,
    /// `task_struct.ioac.write_bytes`; 0 where the kernel does not count them.
    pub task_written: u32,
    /// `signal_struct.ioac.read_bytes`: those of threads that ended; 0 as above.
    pub signal_read: u32,
    /// `signal_struct.ioac.write_bytes`; 0 as above.
    pub signal_written: u32,
    /// `task_struct.cgroups`; 0 where there are no memory cgroups.
    pub task_groups: u32,
    /// The memory cgroup in `css_set.subsys`; 0 as above.
    pub groups_memory: u32,
    /// `mem_cgroup.memory`; 0 as above.
    pub group_counter: u32,
    /// `page_counter.usage`.
    pub counter_usage: u32,
    /// `page_counter.max`.
    pub counter_max: u32,
    /// `page_counter.parent`.
    pub counter_parent: u32,
    /// `task_struct.exit_code`.
    pub task_exit_code: u32,
}

/// What every record of the iterator begins with.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskHead {
    /// [`RECORD_PROCESS`] or [`RECORD_THREAD`].
    pub kind: u32,
    /// Process id.
    pub pid: u32,
    /// CPU time of this thread; of a process that of its first thread and of threads that ended.
    pub cpu_ns: u64,
    /// Bytes that it read from disks, counted as `cpu_ns`.
    pub read_bytes: u64,
    /// Bytes that it wrote, counted when they are put into the page cache.
    pub written_bytes: u64,
}

/// One process.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessRecord {
    /// Kind, pid and CPU time.
    pub head: TaskHead,
    /// Start time after boot, suspended time included.
    pub start_ns: u64,
    /// Resident pages of files. The kernel's counters may be below 0 for a moment.
    pub file_pages: i64,
    /// Resident pages of anonymous memory.
    pub anonymous_pages: i64,
    /// Pages that are swapped out.
    pub swap_pages: i64,
    /// Resident pages of shared memory.
    pub shared_pages: i64,
    /// Parent's process id.
    pub parent: u32,
    /// Number of threads.
    pub threads: u32,
    /// `task_struct.flags`.
    pub flags: u32,
    /// `task_struct.__state` of the first thread.
    pub state: u32,
    /// `task_struct.exit_state` of the first thread.
    pub exit_state: u32,
    /// Not used.
    pub reserved: u32,
    /// Name of the first thread.
    pub comm: [u8; COMM_BYTES],
}

/// What identifies a process for as long as the machine runs.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessKey {
    /// Start time after boot.
    pub start_ns: u64,
    /// Process id.
    pub pid: u64,
}

/// A process that ended, with its CPU time. Only the first bytes of `arguments` travel: see [`EndedProcess::HEAD`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedProcess {
    /// Start time after boot.
    pub start_ns: u64,
    /// CPU time of all its threads, but for the last of the kernel's work of ending it.
    pub cpu_ns: u64,
    /// Process id.
    pub pid: u32,
    /// Parent's process id when it ended.
    pub parent: u32,
    /// Effective user when it ended.
    pub user: u32,
    /// `task_struct.flags`.
    pub flags: u32,
    /// Bytes of `arguments` that hold the command line, cut where it is longer; 0 when it made no `exec` that was seen.
    pub arguments_length: u32,
    /// How it ended, as wait(2) says it: in the lowest 7 bits the signal that killed it.
    pub exit_code: u32,
    /// Name of its first thread.
    pub comm: [u8; COMM_BYTES],
    /// Arguments, each with a NUL behind it.
    pub arguments: [u8; ARGUMENT_BYTES],
}

impl EndedProcess {
    /// Bytes before `arguments`.
    pub const HEAD: usize = size_of::<Self>() - ARGUMENT_BYTES;
}

/// The last word on a process that ended. It is told from [`EndedProcess`] by its length.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FreedProcess {
    /// Start time after boot.
    pub start_ns: u64,
    /// CPU time of all its threads, the work of ending it included.
    pub cpu_ns: u64,
    /// Process id.
    pub pid: u32,
    /// Not used.
    pub reserved: u32,
}

/// A process that the kernel chose to kill because memory was gone.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OomKill {
    /// When, in time since boot, suspended time included.
    pub at_ns: u64,
    /// Resident pages of files.
    pub file_pages: i64,
    /// Resident pages of anonymous memory.
    pub anonymous_pages: i64,
    /// Pages that are swapped out.
    pub swap_pages: i64,
    /// Resident pages of shared memory.
    pub shared_pages: i64,
    /// The limit of the cgroup that had reached it, in pages; 0 where none had: the machine had no memory left.
    pub limit_pages: u64,
    /// Process id.
    pub pid: u32,
    /// 1 where the pages and the name are known: the kernel handed over the process and not only its id.
    pub known: u32,
    /// Name.
    pub comm: [u8; COMM_BYTES],
}

const _: () = assert!(size_of::<OomKill>() == 72);
const _: () = assert!(size_of::<FreedProcess>() == 24);
const _: () = assert!(size_of::<TaskLayout>() == 128);
const _: () = assert!(size_of::<TaskHead>() == 32);
const _: () = assert!(size_of::<ProcessRecord>() == 112);
const _: () = assert!(size_of::<ProcessKey>() == 16);
const _: () = assert!(size_of::<EndedProcess>() == 56 + ARGUMENT_BYTES && EndedProcess::HEAD == 56);
const _: () = assert!(ARGUMENT_BYTES.is_power_of_two());
