//! Links from loaded programs to their events, for kinds that aya 0.14 cannot make or cannot keep.
//! Dropping the descriptor of a link detaches it; the kernel does the same when this process ends in whatever way.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// Commands of bpf(2) and kinds of attachment (include/uapi/linux/bpf.h).
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ITER_CREATE: libc::c_int = 33;
const BPF_TRACE_ITER: u32 = 28;
const BPF_PERF_EVENT: u32 = 41;

/// `union bpf_attr` for BPF_LINK_CREATE. The last field is the cookie of a perf event; it is where an iterator may
/// have parameters, of which 0 says that there are none.
#[repr(C)]
struct LinkCreateAttr {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    cookie: u64,
}

/// `union bpf_attr` for BPF_ITER_CREATE.
#[repr(C)]
struct IterCreateAttr {
    link: u32,
    flags: u32,
}

/// Has a perf event call a program, which is handed the cookie each time.
///
/// # Errors
/// The kernel refuses; cookies need Linux 5.15.
pub(crate) fn perf_event(program: BorrowedFd<'_>, event: BorrowedFd<'_>, cookie: u64) -> io::Result<OwnedFd> {
    create(LinkCreateAttr {
        program: program.as_raw_fd() as u32,
        target: event.as_raw_fd() as u32,
        attach_type: BPF_PERF_EVENT,
        flags: 0,
        cookie,
    })
}

/// Binds an iterator's program to all that it iterates over.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn iterator(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let program = program.as_raw_fd() as u32;
    create(LinkCreateAttr { program, target: 0, attach_type: BPF_TRACE_ITER, flags: 0, cookie: 0 })
}

/// A file with what the iterator's program writes, to be read once.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn open_iterator(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attr = IterCreateAttr { link: link.as_raw_fd() as u32, flags: 0 };
    // SAFETY: the attribute outlives the call, which reads no more than the given size and returns a new descriptor.
    unsafe { owned(libc::syscall(libc::SYS_bpf, BPF_ITER_CREATE, &raw const attr, size_of::<IterCreateAttr>())) }
}

/// All that an iterator's program writes.
///
/// # Errors
/// The kernel refuses, or the iterator cannot be read.
pub(crate) fn read_iterator(link: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut file = File::from(open_iterator(link)?);
    let mut bytes = Vec::new();
    loop {
        match file.read_to_end(&mut bytes) {
            Ok(_) => return Ok(bytes),
            // The kernel pauses after a million tasks without output.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn create(attr: LinkCreateAttr) -> io::Result<OwnedFd> {
    // SAFETY: the attribute outlives the call, which reads no more than the given size and returns a new descriptor.
    unsafe { owned(libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const attr, size_of::<LinkCreateAttr>())) }
}

/// The descriptor that a system call returned, or why there is none.
///
/// # Safety
/// The result is that of a system call made just before, which returns a new descriptor or fails.
pub(crate) unsafe fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor, as the caller promises, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}
