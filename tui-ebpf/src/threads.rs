//! The thread pointers of threads that may run PHP: a thread-safe build keeps all that a thread does behind it, and only the kernel
//! knows it of a thread that is blocked. User space reads the iterator like a file when it has found such a process.

use core::{ffi::c_void, ptr};

use aya_ebpf::{bindings::seq_file, helpers::bpf_probe_read_kernel, helpers::generated::bpf_seq_write};
use tusktop_shared::{THREADS, ThreadPointer, UNKNOWN_OFFSET};

use crate::{
    maps::{IMAGES, PROCESSES},
    process::config,
};

/// `struct bpf_iter_meta` (include/linux/bpf.h), and `struct bpf_iter__task` (kernel/bpf/task_iter.c).
#[repr(C)]
struct Meta {
    output: *mut seq_file,
    session: u64,
    number: u64,
}

/// What the kernel calls the program with.
#[repr(C)]
pub struct Context {
    meta: *const Meta,
    task: *const u8,
}

/// One thread; a null pointer marks the end.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn thread_pointers(context: *mut Context) -> i32 {
    // SAFETY: the kernel hands over a context of this type.
    let Context { meta, task } = unsafe { ptr::read(context) };
    if !task.is_null() {
        // SAFETY: as above; the verifier knows the type.
        let output = unsafe { (*meta).output };
        if let Some(thread) = thread(task) {
            // SAFETY: the record is initialised and of this size. One that finds no room is written again by the kernel's next call.
            unsafe {
                bpf_seq_write(
                    output,
                    ptr::from_ref(&thread).cast::<c_void>().cast_mut(),
                    size_of::<ThreadPointer>() as u32,
                )
            };
        }
    }
    0
}

#[inline(always)]
fn thread(task: *const u8) -> Option<ThreadPointer> {
    let config = config()?;
    let pid = member::<u32>(task, config.task_tgid)?;
    // SAFETY: the entry is copied from before another program can remove it; a torn one is judged by user space.
    let process = unsafe { PROCESSES.get(pid) }?;
    let image = IMAGES.get(process.image)?;
    if image.indirect & THREADS == 0 {
        return None;
    }
    let tid = member::<u32>(task, config.task_pid)?;
    Some(ThreadPointer { pid, tid, pointer: member::<u64>(task, config.task_thread_pointer)? })
}

#[inline(always)]
fn member<T>(task: *const u8, offset: u32) -> Option<T> {
    if offset == UNKNOWN_OFFSET {
        return None;
    }
    // SAFETY: a checked read at an offset that the kernel's own type information gave.
    unsafe { bpf_probe_read_kernel(task.wrapping_add(offset as usize).cast::<T>()).ok() }
}
