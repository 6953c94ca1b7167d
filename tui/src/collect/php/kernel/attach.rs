//! Attaches a loaded program to a place in a file, for every process that maps it, now or later, or for one alone.
//!
//! aya 0.14 cannot raise a probe's semaphore, so the perf event is opened here. Dropping an [`Attachment`] detaches;
//! the kernel does the same when this process ends in whatever way.
#![expect(unsafe_code, reason = "perf_event_open has no safe wrapper")]

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use crate::collect::bpf::link;

/// Why a probe could not be attached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    /// The kernel has no uprobes.
    #[error("the kernel has no uprobes (/sys/bus/event_source/devices/uprobe): {0}")]
    NoUprobes(io::Error),
    /// The path holds a NUL.
    #[error("the kernel cannot take the path {0}")]
    Path(PathBuf),
    /// Another tool attached the same site in another way.
    #[error(
        "another tool is attached to the same place ({offset:#x}) without its semaphore; \
         end it, `bpftool perf` or `bpftool link` shows which it is, then restart tusktop"
    )]
    Conflict {
        path: PathBuf,
        /// Offset in it.
        offset: u64,
    },
    /// The kernel refused.
    #[error("{call} for {path} at {offset:#x}: {source}")]
    Kernel {
        call: &'static str,
        path: PathBuf,
        /// Offset in it.
        offset: u64,
        source: io::Error,
    },
}

impl AttachError {
    /// The process that was to be attached to has ended.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Kernel { source, .. } if source.raw_os_error() == Some(libc::ESRCH))
    }
}

/// Where to attach.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// File; /proc/PID/exe and /proc/PID/map_files work for files that were replaced.
    pub path: &'a Path,
    /// Offset of the instruction in the file.
    pub offset: u64,
    /// Offset of the semaphore in the file, 0 when there is none.
    pub semaphore: u64,
    /// Handed to the program at each hit.
    pub cookie: u64,
    /// This process only: others keep running without a trap. `None` for every process.
    pub pid: Option<u32>,
}

/// An attached probe; it detaches when dropped.
#[derive(Debug)]
pub(crate) struct Attachment {
    _link: OwnedFd,
    /// The perf event that the link belongs to; `None` for a link that holds its places itself.
    _event: Option<OwnedFd>,
}

impl Attachment {
    /// All places of a link.
    pub(crate) fn of_link(link: OwnedFd) -> Self {
        Self { _link: link, _event: None }
    }
}

/// Detaches all together: most of what each takes is waiting in the kernel.
pub(crate) fn detach(attachments: impl IntoIterator<Item = Attachment>) {
    std::thread::scope(|scope| {
        for attachment in attachments {
            scope.spawn(move || drop(attachment));
        }
    });
}

/// The kernel's number for uprobe events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UprobeType(u32);

impl UprobeType {
    /// Reads the number.
    ///
    /// # Errors
    /// The kernel has no uprobes.
    pub(crate) fn read() -> Result<Self, AttachError> {
        let text = fs::read_to_string("/sys/bus/event_source/devices/uprobe/type").map_err(AttachError::NoUprobes)?;
        text.trim().parse().map(Self).map_err(|_| AttachError::NoUprobes(io::Error::from(io::ErrorKind::InvalidData)))
    }
}

/// `struct perf_event_attr` up to `config2` (PERF_ATTR_SIZE_VER1, include/uapi/linux/perf_event.h).
#[repr(C)]
#[derive(Default)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
    config2: u64,
}

/// The semaphore's offset is in the upper half of `config` (kernel/trace/trace_event_perf.c, `PERF_UPROBE_REF_CTR_OFFSET_SHIFT`).
const SEMAPHORE_SHIFT: u32 = 32;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;

/// Attaches `program` at `place`.
///
/// # Errors
/// The kernel refuses; the error says which call, where and why.
pub(crate) fn attach(uprobe: UprobeType, program: BorrowedFd<'_>, place: Place<'_>) -> Result<Attachment, AttachError> {
    let failed = |call, source: io::Error| {
        if source.raw_os_error() == Some(libc::EINVAL) && place.semaphore != 0 && call == "perf_event_open" {
            AttachError::Conflict { path: place.path.to_owned(), offset: place.offset }
        } else {
            AttachError::Kernel { call, path: place.path.to_owned(), offset: place.offset, source }
        }
    };
    let path = CString::new(place.path.as_os_str().as_bytes()).map_err(|_| AttachError::Path(place.path.to_owned()))?;
    let attr = PerfEventAttr {
        kind: uprobe.0,
        size: size_of::<PerfEventAttr>() as u32,
        config: place.semaphore << SEMAPHORE_SHIFT,
        config1: path.as_ptr() as u64,
        config2: place.offset,
        ..PerfEventAttr::default()
    };
    // All processes need a CPU, of which any will do for a probe; one process is followed on every CPU.
    let (pid, cpu): (libc::pid_t, i32) = match place.pid {
        Some(pid) => (pid as libc::pid_t, -1),
        None => (-1, 0),
    };
    // SAFETY: the attribute and the path outlive the call, which reads them only and returns a new descriptor.
    let event = unsafe {
        link::owned(libc::syscall(libc::SYS_perf_event_open, &raw const attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC))
    };
    let event = event.map_err(|source| failed("perf_event_open", source))?;
    let link = link::perf_event(program, event.as_fd(), place.cookie)
        .map_err(|source| failed("BPF_LINK_CREATE (Linux 5.15 or newer)", source))?;
    Ok(Attachment { _link: link, _event: Some(event) })
}
