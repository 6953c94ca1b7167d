//! The exact tier: every call of a traced thread, paired by its stack pointer and summed by function.
//!
//! A thread's open calls are frames in its slot of `TRACED`. Entry and return of a call are two sites in one C function, so the
//! stack pointer is equal at both. A frame at or below the stack pointer of a later event was left without a return (a fatal
//! error unwinds by `longjmp`): it ends there. Each fiber has a stack of its own, told by its addresses.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_ktime_get_ns, generated::bpf_get_attach_cookie},
    macros::uprobe,
    programs::ProbeContext,
};
use tusktop_shared::{CALL_BUCKETS, CALL_REGIONS, TRACED_THREADS, Traced, call, stat};

use crate::{
    call_frames::{end_frame, end_frames, end_stale, push, slot_of_frame},
    call_key::{fetch_arguments, fetch_stack_pointer, make_compile_key, make_key, recall, remember},
    call_regions::{hit, region_of_hit, turn_to_region},
    globals::globals_of_process,
    maps::{IMAGES, PROCESSES, TRACED, add},
};

/// One hit in so many is timed.
const TIMED: u64 = 64;
/// Frames that the start or the end of a request ends; those of deeper stacks are lost.
const AT_A_REQUEST: usize = 128;

/// A traced call is entered, or only counted, by the kind in the cookie.
#[uprobe]
pub fn call_entry(context: ProbeContext) -> u32 {
    let (kind, slot) = cookie(&context);
    if kind == call::NOTHING {
        return 0;
    }
    // SAFETY: a plain helper call.
    let began = unsafe { bpf_ktime_get_ns() };
    add(stat::CALLS, 1);
    if kind != call::COUNT {
        let _ = enter(&context, slot, kind, began);
    }
    time(began);
    0
}

/// A traced call returns.
#[uprobe]
pub fn call_return(context: ProbeContext) -> u32 {
    let (_, slot) = cookie(&context);
    // SAFETY: a plain helper call.
    let began = unsafe { bpf_ktime_get_ns() };
    let _ = leave(&context, slot, began);
    time(began);
    0
}

/// Kind and slot of a site.
#[inline(always)]
fn cookie(context: &ProbeContext) -> (u32, u32) {
    // SAFETY: the context is the one that the kernel gave to this program.
    let cookie = unsafe { bpf_get_attach_cookie(context.as_ptr()) } as u32;
    (cookie & 0xff, cookie >> 8 & (TRACED_THREADS as u32 - 1))
}

/// Times one hit in [`TIMED`].
#[inline(always)]
fn time(began: u64) {
    if began.is_multiple_of(TIMED) {
        add(stat::CALL_RUNS, 1);
        // SAFETY: a plain helper call.
        add(stat::CALL_NS, unsafe { bpf_ktime_get_ns() } - began);
    }
}

/// The state of a traced thread. Only that thread's own hits use it while it is traced.
#[inline(always)]
fn traced(slot: u32) -> Option<&'static mut Traced> {
    // SAFETY: the pointer is an entry of the map, which nothing else uses, as said above.
    TRACED.get_ptr_mut(slot).map(|traced| unsafe { &mut *traced })
}

#[inline(always)]
fn enter(context: &ProbeContext, slot: u32, kind: u32, now: u64) -> Option<()> {
    let traced = traced(slot)?;
    if traced.executor_globals == 0 {
        find(traced, slot)?;
    }
    fetch_stack_pointer(context, traced);
    traced.hit.now_ns = now;
    traced.hit.key = 0;
    let remembers = kind == call::FUNCTION && traced.remembers != 0;
    if remembers {
        fetch_arguments(context, traced);
        recall(traced);
    }
    if kind == call::COMPILE {
        fetch_arguments(context, traced);
        make_compile_key(traced);
        if hit!(traced, key) == 0 {
            return None;
        }
    }
    if hit!(traced, key) == 0 {
        make_key(traced, kind);
        if hit!(traced, key) == 0 {
            return None;
        }
        if remembers {
            remember(traced);
        }
    }
    push(traced, slot)
}

#[inline(always)]
fn leave(context: &ProbeContext, slot: u32, now: u64) -> Option<()> {
    let traced = traced(slot)?;
    fetch_stack_pointer(context, traced);
    traced.hit.now_ns = now;
    turn_to_region(traced);
    if region_of_hit(traced) >= CALL_REGIONS {
        return None;
    }
    traced.hit.end = hit!(traced, stack_pointer).wrapping_sub(1);
    end_stale(traced, slot);
    // The return of a call that was entered before, or that was too deep, has no frame.
    let top = traced.regions[region_of_hit(traced) & (CALL_REGIONS - 1)].top;
    if top != 0 && traced.frames[slot_of_frame(top)].stack_pointer == hit!(traced, stack_pointer) {
        end_frame(traced, slot, top);
    }
    Some(())
}

/// Finds the globals of a thread that was not known to run PHP when it was prepared.
#[inline(always)]
fn find(traced: &mut Traced, slot: u32) -> Option<()> {
    let process = PROCESSES.get_ptr_mut(traced.pid)?;
    // SAFETY: the entry is of this process, which is in this program now; its integers are read and written one by one.
    let process = unsafe { &mut *process };
    let image = IMAGES.get(process.image)?;
    traced.executor_globals = globals_of_process(image, process.bias)?;
    traced.current_execute_data = image.current_execute_data;
    traced.previous_execute_data = image.previous_execute_data;
    traced.filename = image.filename;
    process.traced = slot + 1;
    Some(())
}

/// Ends all open calls of a thread: its request starts or ends.
#[inline(always)]
pub fn end_all(slot: u32, now: u64) {
    let Some(traced) = traced(slot) else { return };
    traced.hit.now_ns = now;
    traced.hit.end = u64::MAX;
    traced.hit.found = u64::from(traced.current);
    end_frames(traced, slot, AT_A_REQUEST);
    if traced.regions[traced.current as usize & (CALL_REGIONS - 1)].top != 0 {
        add(stat::CALLS_DEEP, 1);
    }
    let mut i = 0;
    while i < CALL_REGIONS {
        let region = &mut traced.regions[i];
        region.low = 0;
        region.high = 0;
        region.left_ns = 0;
        region.away_ns = 0;
        region.top = 0;
        i += 1;
    }
    let mut i = 0;
    while i < CALL_BUCKETS {
        // SAFETY: a reference to one entry. Volatile, or it becomes a call that clears byte by byte.
        unsafe { (&raw mut traced.buckets[i & (CALL_BUCKETS - 1)]).write_volatile(0) };
        i += 1;
    }
    traced.used = 1;
    traced.free = 0;
    traced.current = 0;
    traced.request += 1;
}

/// Notes when the process of a slot ended: calls that are open end then.
#[inline(always)]
pub fn note_end(slot: u32, now: u64) {
    if let Some(traced) = traced(slot) {
        traced.ended_ns = now;
    }
}

/// Ends all open calls of a process that replaces its image; where the next one has its globals is found out again.
#[inline(always)]
pub fn forget_image(slot: u32, now: u64) {
    end_all(slot, now);
    if let Some(traced) = traced(slot) {
        traced.executor_globals = 0;
    }
}
