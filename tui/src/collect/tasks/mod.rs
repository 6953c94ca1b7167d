//! All processes as the kernel's own iterator writes them, and those that ended between two readings. A record costs a
//! small part of what formatting /proc/PID/stat does. It knows the programs and their maps; `proc` knows what the values
//! mean.

mod layout;

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    sync::Arc,
};

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader,
    maps::{MapData, MapError, PerCpuArray, RingBuf},
    programs::{Iter, ProgramError, RawTracePoint},
};
use tusktop_shared::{
    ARGUMENT_BYTES, EndedProcess, FreedProcess, OomKill, ProcessRecord, RECORD_PROCESS, RECORD_THREAD, TaskHead,
};

use self::layout::task_layout;
use super::bpf::{
    btf::KernelTypes,
    link,
    wire::{self, Wire},
};
use crate::system::heap;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/tasks.bpf.o"));

/// The kernel's types.
const TYPES: &str = "/sys/kernel/btf/vmlinux";
/// What one call reads; the kernel gives no more than its own buffer of 8 pages.
const CHUNK_BYTES: usize = 64 << 10;

/// Why processes are read from /proc instead, and those that end between two readings are not seen.
#[derive(Debug, thiserror::Error)]
pub enum TasksError {
    /// Not enough rights.
    #[error("the kernel does not let this user load BPF programs ({0})")]
    Permission(io::Error),
    /// No type information.
    #[error("{TYPES}: {0}")]
    Types(io::Error),
    /// Something is not where it was in all kernels so far.
    #[error("this kernel's type information has no `{0}`")]
    Layout(&'static str),
    /// The object was refused.
    #[error("the BPF object cannot be loaded: {0}")]
    Object(#[from] EbpfError),
    /// A program was refused.
    #[error("the kernel refuses the BPF program {name}: {source}")]
    Program {
        /// Program.
        name: &'static str,
        /// Reason.
        source: ProgramError,
    },
    /// A map or program is not in the object, or is not what it should be.
    #[error("the BPF object has no {0}; it is not from this version of tusktop")]
    Missing(&'static str),
    /// The iterator cannot be made or read.
    #[error("the kernel's task iterator cannot be read: {0}")]
    Read(#[from] io::Error),
    /// What was read of this process is not what /proc says of it.
    #[error("the kernel's task iterator and /proc disagree about tusktop itself: {0}")]
    Disagree(String),
}

/// The loaded programs. Everything is detached when it is dropped.
pub struct Tasks {
    link: OwnedFd,
    /// Why processes that end are not seen.
    ends: Result<(), Arc<str>>,
    ended: RingBuf<MapData>,
    lost: PerCpuArray<MapData, u64>,
    lost_before: u64,
    oom_kills: RingBuf<MapData>,
    /// Why the kernel does not tell of them.
    follows_oom: Result<(), Arc<str>>,
    /// Whether the kernel counts what is read and written.
    counts_disk: bool,
    chunk: Box<[u8]>,
    processes: Vec<ProcessRecord>,
    threads: Vec<TaskHead>,
    _ebpf: Ebpf,
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tasks").field("processes", &self.processes.len()).finish_non_exhaustive()
    }
}

/// What is told of a process that ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End<'a> {
    /// Its last thread ends.
    Ended(&'a EndedProcess),
    /// The kernel has let go of it. A kernel may keep this to itself for some.
    Freed(FreedProcess),
}

impl Tasks {
    /// Loads the programs; from now on processes that end are noted, where `Self::ends` says so.
    ///
    /// # Errors
    /// The kernel refuses the iterator, by rights or by features.
    pub fn load() -> Result<Self, TasksError> {
        let types = KernelTypes::open(Path::new(TYPES)).map_err(TasksError::Types)?;
        let layout = Wire(task_layout(&types).map_err(TasksError::Layout)?);
        let counts_disk = layout.0.task_read > 0;
        drop(types);
        // Without the kernel's types, which the object does not refer to: they take 18 MB.
        let mut loader = EbpfLoader::new();
        let mut ebpf = loader.btf(None).override_global("LAYOUT", &layout, true).load(OBJECT).map_err(refused)?;
        drop(loader);
        let types = Btf::from_sys_fs().map_err(|error| TasksError::Types(io::Error::other(error)))?;
        let ends = follow_ends(&mut ebpf).map_err(|error| Arc::from(error.to_string()));
        let follows_oom = attach(&mut ebpf, "oom_kill", "mark_victim").map_err(|error| Arc::from(chain(&error)));
        let name = "tasks";
        let iterator: &mut Iter = program(&mut ebpf, name)?;
        iterator.load("task", &types).map_err(|source| TasksError::Program { name, source })?;
        let link = link::iterator(iterator.fd().map_err(|source| TasksError::Program { name, source })?.as_fd())?;
        drop(types);
        heap::trim();
        Ok(Self {
            link,
            ends,
            ended: map(&mut ebpf, "ENDED")?,
            lost: map(&mut ebpf, "LOST")?,
            lost_before: 0,
            oom_kills: map(&mut ebpf, "OOM_KILLS")?,
            follows_oom,
            counts_disk,
            chunk: vec![0; CHUNK_BYTES].into(),
            processes: Vec::new(),
            threads: Vec::new(),
            _ebpf: ebpf,
        })
    }

    /// Reads all processes, in order of pid. The CPU time of each is that of all its threads.
    ///
    /// # Errors
    /// The iterator cannot be made or read.
    pub fn read(&mut self) -> io::Result<&[ProcessRecord]> {
        self.processes.clear();
        self.threads.clear();
        let file = link::open_iterator(self.link.as_fd())?;
        let mut kept = 0;
        loop {
            let length = match rustix::io::read(&file, &mut self.chunk[kept..]) {
                Ok(0) => break,
                Ok(length) => kept + length,
                // AGAIN: the kernel pauses after a million tasks without output.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let rest = records(&self.chunk[..length], &mut self.processes, &mut self.threads)?;
            kept = rest;
            self.chunk.copy_within(length - rest..length, 0);
        }
        // Pids are handed out in a circle, so threads may come before their process.
        self.processes.sort_unstable_by_key(|process| process.head.pid);
        for thread in &self.threads {
            if let Ok(place) = self.processes.binary_search_by_key(&thread.pid, |process| process.head.pid) {
                let cpu_ns = &mut self.processes[place].head.cpu_ns;
                *cpu_ns = cpu_ns.saturating_add(thread.cpu_ns);
                let head = &mut self.processes[place].head;
                head.read_bytes = head.read_bytes.saturating_add(thread.read_bytes);
                head.written_bytes = head.written_bytes.saturating_add(thread.written_bytes);
            }
        }
        Ok(&self.processes)
    }

    /// What [`Self::read`] read last.
    pub(crate) fn processes(&self) -> &[ProcessRecord] {
        &self.processes
    }

    /// Whether processes that end are seen; if not, why.
    pub(crate) fn ends(&self) -> &Result<(), Arc<str>> {
        &self.ends
    }

    /// Hands over what was told since the last call of processes that ended, in that order.
    pub(crate) fn take_ended(&mut self, mut take: impl FnMut(End<'_>)) {
        while let Some(bytes) = self.ended.next() {
            if bytes.len() == size_of::<FreedProcess>() {
                if let Some(freed) = wire::read(&bytes) {
                    take(End::Freed(freed));
                }
                continue;
            }
            // Arguments travel as far as there are any.
            let mut whole = [0; size_of::<EndedProcess>()];
            let length = bytes.len().min(whole.len());
            whole[..length].copy_from_slice(&bytes[..length]);
            if let Some(mut ended) = wire::read::<EndedProcess>(&whole) {
                ended.arguments_length = ended.arguments_length.min(ARGUMENT_BYTES as u32);
                take(End::Ended(&ended));
            }
        }
    }

    /// Whether the kernel counts what processes read from disks and write.
    pub(crate) fn counts_disk(&self) -> bool {
        self.counts_disk
    }

    /// Whether processes that are killed because memory is gone are seen; if not, why.
    pub(crate) fn oom_kills(&self) -> &Result<(), Arc<str>> {
        &self.follows_oom
    }

    /// Processes that were killed since the last call because memory was gone; `None` where the kernel does not tell.
    pub(crate) fn take_oom_kills(&mut self) -> Option<Vec<OomKill>> {
        let mut kills = Vec::new();
        while let Some(bytes) = self.oom_kills.next() {
            kills.extend(wire::read::<OomKill>(&bytes));
        }
        self.follows_oom.is_ok().then_some(kills)
    }

    /// How many processes that ended found no room since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        let lost = self.lost.get(&0, 0).map_or(self.lost_before, |lost| lost.iter().sum());
        lost - std::mem::replace(&mut self.lost_before, lost)
    }
}

fn follow_ends(ebpf: &mut Ebpf) -> Result<(), TasksError> {
    for (name, tracepoint) in
        [("task_free", "sched_process_free"), ("task_exit", "sched_process_exit"), ("task_exec", "sched_process_exec")]
    {
        attach(ebpf, name, tracepoint)?;
    }
    Ok(())
}

/// An error with all that it comes from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn attach(ebpf: &mut Ebpf, name: &'static str, tracepoint: &str) -> Result<(), TasksError> {
    let program: &mut RawTracePoint = program(ebpf, name)?;
    let attached = program.load().and_then(|()| program.attach(tracepoint));
    attached.map(drop).map_err(|source| TasksError::Program { name, source })
}

/// Reads whole records; gives the number of bytes that are left.
fn records(mut bytes: &[u8], processes: &mut Vec<ProcessRecord>, threads: &mut Vec<TaskHead>) -> io::Result<usize> {
    while let Some(head) = wire::read::<TaskHead>(bytes) {
        let size = match head.kind {
            RECORD_PROCESS => size_of::<ProcessRecord>(),
            RECORD_THREAD => size_of::<TaskHead>(),
            kind => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a record of kind {kind}"))),
        };
        if size == size_of::<TaskHead>() {
            threads.push(head);
        } else {
            let Some(process) = wire::read(bytes) else { break };
            processes.push(process);
        }
        bytes = &bytes[size..];
    }
    Ok(bytes.len())
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, TasksError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or(TasksError::Missing(name))?;
    program.try_into().map_err(|source| TasksError::Program { name, source })
}

fn map<M: TryFrom<aya::maps::Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, TasksError> {
    ebpf.take_map(name).and_then(|map| map.try_into().ok()).ok_or(TasksError::Missing(name))
}

fn refused(error: EbpfError) -> TasksError {
    match error {
        EbpfError::MapError(MapError::CreateError { io_error, .. })
            if io_error.kind() == io::ErrorKind::PermissionDenied =>
        {
            TasksError::Permission(io_error)
        }
        error => TasksError::Object(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_cut_where_the_kernel_cuts_them() {
        let head = |kind, pid| TaskHead { kind, pid, cpu_ns: 5, ..TaskHead::default() };
        let bytes = |head: TaskHead, size: usize| {
            let mut bytes = [head.kind.to_ne_bytes(), head.pid.to_ne_bytes()].concat();
            bytes.extend(head.cpu_ns.to_ne_bytes());
            bytes.resize(size, 0);
            bytes
        };
        let all = [
            bytes(head(RECORD_PROCESS, 1), size_of::<ProcessRecord>()),
            bytes(head(RECORD_THREAD, 1), size_of::<TaskHead>()),
            bytes(head(RECORD_PROCESS, 7), size_of::<ProcessRecord>()),
        ]
        .concat();
        for cut in 0..=all.len() {
            let (mut processes, mut threads) = (Vec::new(), Vec::new());
            let rest = records(&all[..cut], &mut processes, &mut threads).unwrap();
            let read = processes.len() * size_of::<ProcessRecord>() + threads.len() * size_of::<TaskHead>();
            assert_eq!(read + rest, cut);
            records(&all[cut - rest..], &mut processes, &mut threads).unwrap();
            let pids: Vec<_> = processes.iter().map(|process| process.head.pid).collect();
            assert_eq!((pids, threads.len()), (vec![1, 7], 1));
        }
        assert!(records(&bytes(head(9, 1), 32), &mut Vec::new(), &mut Vec::new()).is_err());
    }
}
