//! What PHP's own allocator says of its memory: the size now, the most that it was in the request, and the limit.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, generated::bpf_get_attach_cookie},
    macros::uprobe,
    programs::ProbeContext,
};
use tusktop_shared::{Image, OTHER_ALLOCATOR, Request, governor, stat};

use crate::{
    arguments::register,
    globals::{heap_place, storage},
    maps::{IMAGES, REQUESTS, SITES, add, hit, spend},
    php::{fetch, pointer},
    process::{config, report_storm},
};

/// `zend_mm_heap.use_custom_heap`, the first field in every version.
const USE_CUSTOM_HEAP: u64 = 0;
/// `real_size` is in front of `real_peak`.
const SIZE_BEFORE_PEAK: u64 = 8;

/// A request gives its memory back: the last moment at which the allocator knows the peak.
#[uprobe]
pub fn heap(context: ProbeContext) -> u32 {
    // SAFETY: a plain helper call.
    let began = unsafe { bpf_ktime_get_ns() };
    let _ = try_heap(&context, began);
    add(stat::PROBE_HITS, 1);
    // SAFETY: a plain helper call.
    add(stat::PROBE_NS, unsafe { bpf_ktime_get_ns() } - began);
    0
}

#[inline(always)]
fn try_heap(context: &ProbeContext, now: u64) -> Option<()> {
    // SAFETY: the context is the one that the kernel gave to this program.
    let cookie = unsafe { bpf_get_attach_cookie(context.as_ptr()) } as u32;
    hit(cookie);
    if spend(governor::OF_REQUESTS, governor::HIT_NS, now) {
        report_storm();
    }
    let request = REQUESTS.get_ptr_mut(bpf_get_current_pid_tgid())?;
    // SAFETY: entries of both maps are written before the site is attached and not changed afterwards.
    let site = unsafe { SITES.get(cookie) }?;
    let image = IMAGES.get(site.image)?;
    let bias = register(context, config()?.instruction_pointer)?.wrapping_sub(site.address);
    // SAFETY: the entry belongs to this thread alone: its key is the thread's own id.
    look(unsafe { &mut *request }, image, bias, storage(image, bias));
    Some(())
}

/// Notes what the allocator says, in the request that runs, in a thread with this `storage`. False where it does not answer.
#[inline(always)]
pub fn look(request: &mut Request, image: &Image, bias: u64, storage: u64) -> bool {
    if image.heap == 0 {
        return false;
    }
    let heap = pointer(heap_place(image, bias, storage));
    let mut custom = 0_u32;
    if !fetch(heap.wrapping_add(USE_CUSTOM_HEAP), &mut custom) {
        return false;
    }
    if custom != 0 {
        request.memory = OTHER_ALLOCATOR;
        return true;
    }
    let mut sizes = [0_u64; 3];
    if !fetch(heap.wrapping_add(u64::from(image.heap_peak)).wrapping_sub(SIZE_BEFORE_PEAK), &mut sizes) {
        return false;
    }
    let [memory, peak, limit] = sizes;
    request.memory = memory;
    request.memory_peak = peak;
    request.memory_limit = limit;
    true
}
