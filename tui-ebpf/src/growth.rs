//! The growth tier: which PHP code makes processes grow. After so many page faults of a CPU the stack of the process that has just had
//! one is charged with the anonymous pages by which the process grew since it was looked at before.
//!
//! By the kernel's own count of pages, faults that do not make a process grow (copies after a fork, mapped files, shared memory) count
//! nothing, and a huge page counts as what it is. It is a mean: the faults in between were of other stacks, in proportion.

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid, bpf_ktime_get_ns,
        bpf_probe_read_kernel,
    },
    macros::perf_event,
    programs::PerfEventContext,
};
use tusktop_shared::{Count, CountKey, Image, OUTSIDE, Process, UNKNOWN_OFFSET, stat};

use crate::{
    globals::{globals_in, storage},
    heap::look,
    maps::{IMAGES, PROCESSES, REQUESTS, add},
    php::fetch,
    process::config,
    sample::count,
    stack::capture,
};

/// Huge pages come with one fault for hundreds of pages, so a process can grow by much while no fault is looked at. From so many pages
/// on, the timer charges the stack that it finds: with small pages, faults would have been looked at before.
const MANY_PAGES: u64 = 2048;

/// A CPU has had so many page faults.
#[perf_event]
pub fn growth(_context: PerfEventContext) -> u32 {
    let key = bpf_get_current_pid_tgid();
    let Some(process) = PROCESSES.get_ptr_mut((key >> 32) as u32) else { return 0 };
    // SAFETY: a plain helper call.
    let began = unsafe { bpf_ktime_get_ns() };
    let _ = try_growth(key, process, began);
    add(stat::GROWTH_RUNS, 1);
    // SAFETY: a plain helper call.
    add(stat::GROWTH_NS, unsafe { bpf_ktime_get_ns() } - began);
    0
}

#[inline(always)]
fn try_growth(key: u64, process: *mut Process, now_ns: u64) -> Option<()> {
    let pages = grown(process, 1);
    if pages == 0 {
        return None;
    }
    // SAFETY: the entry may be replaced while it is read; it is plain integers.
    let (number, bias) = unsafe { ((*process).image, (*process).bias) };
    let image = IMAGES.get(number)?;
    let storage = storage(image, bias);
    let request = started(key, image, process, storage);
    let mut leaf = 0_u64;
    if !fetch(globals_in(image, bias, storage)?.wrapping_add(u64::from(image.current_execute_data)), &mut leaf) {
        return None;
    }
    let mut stack = OUTSIDE;
    if leaf != 0 {
        // SAFETY: as above.
        stack = capture(image, unsafe { &*process }, leaf, request, now_ns)?.hash;
    } else if request == 0 {
        return None;
    }
    count::<true>(
        CountKey { request, stack, pid: (key >> 32) as u32, user: bpf_get_current_uid_gid() as u32 },
        Count { samples: 0, waits: 0, wait_ns: 0, pages },
    );
    Some(())
}

/// The start of the thread's request, 0 when none is known. What the allocator has is noted in it.
#[inline(always)]
pub fn started(key: u64, image: &Image, process: *mut Process, storage: u64) -> u64 {
    let Some(request) = REQUESTS.get_ptr_mut(key) else { return 0 };
    // SAFETY: the entry belongs to this thread alone: its key is the thread's own id. The other may be replaced while it is read; it is
    // plain integers.
    unsafe {
        look(&mut *request, image, (*process).bias, storage);
        (*request).started_ns
    }
}

/// Growth that came in huge pages.
#[inline(always)]
pub fn huge_growth(process: *mut Process) -> u64 {
    grown(process, MANY_PAGES)
}

/// A request begins: what the process has given back since it was last looked at is no longer part of it.
#[inline(always)]
pub fn begin(process: *mut Process) {
    let Some(pages) = anonymous() else { return };
    // SAFETY: the entry may be replaced meanwhile; it is plain integers.
    unsafe {
        let before = u64::from((*process).anonymous);
        if before == 0 || pages < before {
            (*process).anonymous = pages as u32;
        }
    }
}

/// Anonymous pages by which the current process grew since it was asked for; 0 when it were fewer than `least`, which then count later.
#[inline(always)]
fn grown(process: *mut Process, least: u64) -> u64 {
    let Some(pages) = anonymous() else { return 0 };
    // SAFETY: the entry may be replaced meanwhile; it is plain integers, and what is lost is counted later.
    unsafe {
        let before = u64::from((*process).anonymous);
        let grown = pages.saturating_sub(before);
        if before != 0 && pages >= before && grown < least {
            return 0;
        }
        (*process).anonymous = pages as u32;
        if before == 0 { 0 } else { grown }
    }
}

/// Anonymous pages of the current process; `None` where it is not known how the kernel counts them.
#[inline(always)]
fn anonymous() -> Option<u64> {
    let config = config()?;
    if config.task_memory == UNKNOWN_OFFSET || config.memory_anonymous == UNKNOWN_OFFSET {
        return None;
    }
    // SAFETY: checked reads at offsets that the kernel's own type information gave.
    unsafe {
        let task = bpf_get_current_task() as *const u8;
        let memory = bpf_probe_read_kernel(task.add(config.task_memory as usize).cast::<u64>()).ok()?;
        let counter = memory.wrapping_add(u64::from(config.memory_anonymous));
        let pages = bpf_probe_read_kernel(counter as *const i64).ok()?;
        // Each CPU has a part that is not yet added, so it can be below 0.
        Some(if pages > 0 && pages <= i64::from(u32::MAX) { pages as u64 } else { 0 })
    }
}
