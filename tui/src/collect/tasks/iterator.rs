//! Reads a BPF iterator: every reading needs a descriptor of its own, made from the link of the program.
//! aya 0.14 makes one and gives the link away with it, so the two calls are made here.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// Commands of bpf(2) and the kind of attachment (include/uapi/linux/bpf.h).
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ITER_CREATE: libc::c_int = 33;
const BPF_TRACE_ITER: u32 = 28;

/// `union bpf_attr` for BPF_LINK_CREATE with no parameters for the iterator.
#[repr(C)]
#[derive(Default)]
struct LinkCreateAttr {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    parameters: u64,
    parameters_length: u32,
    reserved: u32,
}

/// `union bpf_attr` for BPF_ITER_CREATE.
#[repr(C)]
struct IterCreateAttr {
    link: u32,
    flags: u32,
}

/// Binds a loaded program to what it iterates over.
pub(super) fn link(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attr = LinkCreateAttr {
        program: program.as_raw_fd() as u32,
        attach_type: BPF_TRACE_ITER,
        ..LinkCreateAttr::default()
    };
    // SAFETY: the attribute outlives the call, which reads no more than the given size.
    owned(unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const attr, size_of::<LinkCreateAttr>()) })
}

/// A file with one record of the program for each thread, to be read once.
pub(super) fn open(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attr = IterCreateAttr { link: link.as_raw_fd() as u32, flags: 0 };
    // SAFETY: the attribute outlives the call, which reads no more than the given size.
    owned(unsafe { libc::syscall(libc::SYS_bpf, BPF_ITER_CREATE, &raw const attr, size_of::<IterCreateAttr>()) })
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}
