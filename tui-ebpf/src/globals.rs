//! Where a process, or a thread of it, has PHP's state: the one place that tells a build apart from another.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel};
use tusktop_shared::{BY_SLOT, Image, STORAGE_BY_SLOT, THREADS, UNKNOWN_OFFSET};

use crate::{php::pointer, process::config};

/// Address of `executor_globals` of the current thread, in a process that has the image at `bias`; `None` where the image does not say
/// where they are, and for a thread that has none.
#[inline(always)]
pub fn globals(image: &Image, bias: u64) -> Option<u64> {
    globals_in(image, bias, storage(image, bias))
}

/// The same by the [`storage`] of the thread.
#[inline(always)]
pub fn globals_in(image: &Image, bias: u64, storage: u64) -> Option<u64> {
    place(image, image.executor_globals, bias, storage)
}

/// The same of `sapi_globals`.
#[inline(always)]
pub fn sapi_globals_in(image: &Image, bias: u64, storage: u64) -> Option<u64> {
    place(image, image.sapi_globals, bias, storage)
}

/// The same of `executor_globals`, where all threads of a process have the same.
#[inline(always)]
pub fn globals_of_process(image: &Image, bias: u64) -> Option<u64> {
    if image.indirect & THREADS == 0 { globals_in(image, bias, 0) } else { None }
}

/// Address of the pointer to the heap of the current thread, or of the process; 0 where there is none.
#[inline(always)]
pub fn heap_place(image: &Image, bias: u64, storage: u64) -> u64 {
    let address = image.heap.wrapping_add(bias);
    if image.indirect & THREADS == 0 { address } else { in_thread(address, storage) }
}

/// Where the current thread has what each thread has for itself; 0 where it has nothing, as a thread that has never run PHP, and where
/// all threads have the same.
#[inline(always)]
pub fn storage(image: &Image, bias: u64) -> u64 {
    if image.indirect & THREADS == 0 {
        return 0;
    }
    let mut distance = image.thread_storage;
    if image.indirect & STORAGE_BY_SLOT != 0 {
        distance = pointer(distance.wrapping_add(bias));
    }
    pointer(thread_pointer().wrapping_add(distance))
}

#[inline(always)]
fn place(image: &Image, linked: u64, bias: u64, storage: u64) -> Option<u64> {
    if linked == 0 {
        return None;
    }
    let mut address = linked.wrapping_add(bias);
    if image.indirect == 0 {
        return Some(address);
    }
    if image.indirect & BY_SLOT != 0 {
        address = pointer(address);
    }
    if image.indirect & THREADS != 0 {
        address = in_thread(address, storage);
    }
    if address == 0 { None } else { Some(address) }
}

/// Address of what has its offset in a thread's storage at `address`; 0 where there is nothing, also before a build has set the offset.
#[inline(always)]
fn in_thread(address: u64, storage: u64) -> u64 {
    let offset = pointer(address);
    if storage == 0 || offset == 0 { 0 } else { storage.wrapping_add(offset) }
}

/// The thread pointer of the current thread; 0 where it is not known.
#[inline(always)]
fn thread_pointer() -> u64 {
    let Some(config) = config() else { return 0 };
    let offset = config.task_thread_pointer;
    if offset == UNKNOWN_OFFSET {
        return 0;
    }
    // SAFETY: a checked read at an offset that the kernel's own type information gave.
    unsafe {
        let task = bpf_get_current_task() as *const u8;
        bpf_probe_read_kernel(task.add(offset as usize).cast::<u64>()).unwrap_or(0)
    }
}
