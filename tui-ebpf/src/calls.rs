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
use tusktop_shared::{
    CALL_BUCKETS, CALL_FRAMES, CALL_REGIONS, CallKey, Calls, TRACED_THREADS, Traced, call, duration_bucket, stat,
};

use crate::{
    call_key::{fetch_arguments, fetch_stack_pointer, make_key, recall, remember},
    maps::{CALLS, IMAGES, NO_CALLS, PROCESSES, TRACED, add},
};

/// One hit in so many is timed.
const TIMED: u64 = 64;
/// Distance that a stack pointer may have from those seen on the same stack. Stacks of fibers are 2 MiB apart.
const NEAR: u64 = 256 << 10;
/// Frames that a call or a return ends of those that were left without a return; what is left ends with the next.
const AT_A_CALL: usize = 16;
/// Frames that the start or the end of a request ends; those of deeper stacks are lost.
const AT_A_REQUEST: usize = 128;
/// Frames of one bucket that are looked at.
const CHAIN: usize = 8;

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

/// A value of the hit, read anew: see [`tusktop_shared::Hit`].
macro_rules! hit {
    ($traced:expr, $field:ident) => {
        // SAFETY: a reference to an integer of the map.
        unsafe { (&raw const $traced.hit.$field).read_volatile() }
    };
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

/// Opens a frame for the hit.
#[inline(always)]
fn push(traced: &mut Traced, slot: u32) -> Option<()> {
    turn_to_region(traced);
    let region = region_of_hit(traced);
    if region >= CALL_REGIONS {
        return untimed(slot, hit!(traced, key));
    }
    traced.hit.end = hit!(traced, stack_pointer);
    end_stale(traced, slot);
    let mut index = traced.free;
    if index != 0 {
        traced.free = traced.frames[slot_of_frame(index)].below;
    } else {
        index = traced.used;
        if index >= CALL_FRAMES as u32 {
            return untimed(slot, hit!(traced, key));
        }
        traced.used = index + 1;
    }
    let region = region_of_hit(traced) & (CALL_REGIONS - 1);
    let key = hit!(traced, key);
    let bucket = key as usize >> 1 & (CALL_BUCKETS - 1);
    let chain = traced.buckets[bucket];
    let mut other = chain;
    let mut recursive = 0;
    let mut i = 0;
    while i < CHAIN {
        if other == 0 {
            break;
        }
        let frame = &traced.frames[slot_of_frame(other)];
        if frame.key == key && frame.region == region as u32 {
            recursive = 1;
            break;
        }
        other = frame.chain;
        i += 1;
    }
    traced.buckets[bucket] = index;
    let (below, away_ns) = (traced.regions[region].top, traced.regions[region].away_ns);
    traced.regions[region].top = index;
    let (stack_pointer, started_ns) = (hit!(traced, stack_pointer), hit!(traced, now_ns));
    let frame = &mut traced.frames[slot_of_frame(index)];
    frame.stack_pointer = stack_pointer;
    frame.key = key;
    frame.started_ns = started_ns;
    frame.child_ns = 0;
    frame.away_ns = away_ns;
    frame.below = below;
    frame.chain = chain;
    frame.recursive = recursive;
    frame.region = region as u32;
    Some(())
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
    // SAFETY: entries are written before they are used and not changed afterwards.
    let image = unsafe { IMAGES.get(process.image) }?;
    if image.executor_globals == 0 {
        return None;
    }
    traced.executor_globals = image.executor_globals.wrapping_add(process.bias);
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
    end_frames::<AT_A_REQUEST>(traced, slot);
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

/// Ends all open calls of a process that replaces its image; where the next one has its globals is found out anew.
#[inline(always)]
pub fn forget_image(slot: u32, now: u64) {
    end_all(slot, now);
    if let Some(traced) = traced(slot) {
        traced.executor_globals = 0;
    }
}

/// The stack that the hit is on; [`CALL_REGIONS`] when there are too many.
#[inline(always)]
fn region_of_hit(traced: &Traced) -> usize {
    hit!(traced, found) as usize
}

/// Ends the innermost frames of the hit's stack if they were left without a return.
#[inline(always)]
fn end_stale(traced: &mut Traced, slot: u32) {
    let top = traced.regions[region_of_hit(traced) & (CALL_REGIONS - 1)].top;
    if top != 0 && traced.frames[slot_of_frame(top)].stack_pointer <= hit!(traced, end) {
        end_frames::<AT_A_CALL>(traced, slot);
    }
}

/// Ends frames of the hit's stack up to its `end`.
#[inline(never)]
fn end_frames<const MOST: usize>(traced: &mut Traced, slot: u32) {
    let mut i = 0;
    while i < MOST {
        let top = traced.regions[region_of_hit(traced) & (CALL_REGIONS - 1)].top;
        if top == 0 || traced.frames[slot_of_frame(top)].stack_pointer > hit!(traced, end) {
            break;
        }
        end_frame(traced, slot, top);
        i += 1;
    }
}

/// Takes a frame off the hit's stack and adds its time to its function and its caller.
#[inline(always)]
fn end_frame(traced: &mut Traced, slot: u32, index: u32) {
    let now = hit!(traced, now_ns);
    let region = &mut traced.regions[region_of_hit(traced) & (CALL_REGIONS - 1)];
    let frame = &traced.frames[slot_of_frame(index)];
    let (key, below, chain, recursive) = (frame.key, frame.below, frame.chain, frame.recursive);
    let away_ns = region.away_ns.wrapping_sub(frame.away_ns);
    let total_ns = now.saturating_sub(frame.started_ns).saturating_sub(away_ns);
    let self_ns = total_ns.saturating_sub(frame.child_ns);
    region.top = below;
    // Frame 0 stands for none; what is added there is never read.
    traced.frames[slot_of_frame(below)].child_ns += total_ns;
    // Its bucket begins with it, unless another stack opened a call meanwhile.
    let bucket = key as usize >> 1 & (CALL_BUCKETS - 1);
    if traced.buckets[bucket] == index {
        traced.buckets[bucket] = chain;
    } else {
        unchain(traced, index);
    }
    traced.frames[slot_of_frame(index)].below = traced.free;
    traced.free = index;

    let Some(calls) = sums(slot, key) else { return };
    calls.calls += 1;
    calls.self_ns += self_ns;
    if recursive == 0 {
        calls.total_ns += total_ns;
    }
    calls.durations[duration_bucket(total_ns)] += 1;
}

/// Takes a frame out of the middle of its bucket.
#[inline(never)]
fn unchain(traced: &mut Traced, index: u32) {
    let frame = &traced.frames[slot_of_frame(index)];
    let chain = frame.chain;
    let mut other = traced.buckets[frame.key as usize >> 1 & (CALL_BUCKETS - 1)];
    let mut i = 0;
    while i < CHAIN {
        if other == 0 {
            break;
        }
        let next = traced.frames[slot_of_frame(other)].chain;
        if next == index {
            traced.frames[slot_of_frame(other)].chain = chain;
            break;
        }
        other = next;
        i += 1;
    }
}

/// The sums of a function.
#[inline(always)]
fn sums(slot: u32, function: u64) -> Option<&'static mut Calls> {
    let key = CallKey { function, slot, reserved: 0 };
    let mut calls = CALLS.get_ptr_mut(key);
    if calls.is_none() {
        let _ = CALLS.insert(key, NO_CALLS.get(0)?, 0);
        calls = CALLS.get_ptr_mut(key);
    }
    if calls.is_none() {
        add(stat::CALLS_FULL, 1);
    }
    // SAFETY: the entry is this thread's alone: its key has the thread's slot.
    calls.map(|calls| unsafe { &mut *calls })
}

/// Counts a call that there is no frame for: its time is its caller's.
#[inline(always)]
fn untimed(slot: u32, function: u64) -> Option<()> {
    add(stat::CALLS_DEEP, 1);
    sums(slot, function)?.calls += 1;
    None
}

#[inline(always)]
fn slot_of_frame(index: u32) -> usize {
    index as usize & (CALL_FRAMES - 1)
}

/// Turns to the stack that the hit is on.
#[inline(always)]
fn turn_to_region(traced: &mut Traced) {
    traced.hit.found = u64::from(traced.current);
    let current = &traced.regions[traced.current as usize & (CALL_REGIONS - 1)];
    if hit!(traced, stack_pointer) > current.high || hit!(traced, stack_pointer) < current.low {
        turn_to_other_region(traced);
    }
}

/// Whether the hit is near a stack.
#[inline(always)]
fn is_near(traced: &Traced, number: usize) -> bool {
    let region = &traced.regions[number & (CALL_REGIONS - 1)];
    region.high != 0
        && hit!(traced, stack_pointer).wrapping_add(NEAR) >= region.low
        && hit!(traced, stack_pointer) <= region.high.wrapping_add(NEAR)
}

/// Makes a stack as wide as the hit needs it.
#[inline(always)]
fn widen(traced: &mut Traced, number: usize) {
    let stack_pointer = hit!(traced, stack_pointer);
    let region = &mut traced.regions[number & (CALL_REGIONS - 1)];
    if region.high == 0 || hit!(traced, stack_pointer) < region.low {
        region.low = stack_pointer;
    }
    let region = &mut traced.regions[number & (CALL_REGIONS - 1)];
    if hit!(traced, stack_pointer) > region.high {
        region.high = stack_pointer;
    }
}

/// Widens the current stack, or turns to another or a new one.
///
/// Fibers run inside a call of the thread's own stack, which is the first: for that call their time is a child's. For the open
/// calls of a fiber time only goes on while it runs.
#[inline(never)]
fn turn_to_other_region(traced: &mut Traced) {
    let current = traced.current as usize;
    if traced.regions[current & (CALL_REGIONS - 1)].high == 0 || is_near(traced, current) {
        widen(traced, current);
        return;
    }
    traced.hit.found = CALL_REGIONS as u64;
    traced.hit.empty = CALL_REGIONS as u64;
    let mut i = 0;
    while i < CALL_REGIONS {
        if is_near(traced, i) {
            traced.hit.found = i as u64;
        } else if traced.regions[i].top == 0 && i != 0 {
            traced.hit.empty = i as u64;
        }
        i += 1;
    }
    if hit!(traced, found) >= CALL_REGIONS as u64 {
        traced.hit.found = hit!(traced, empty);
        let region = &mut traced.regions[region_of_hit(traced) & (CALL_REGIONS - 1)];
        if hit!(traced, empty) < CALL_REGIONS as u64 {
            region.high = 0;
            region.away_ns = 0;
            region.left_ns = hit!(traced, now_ns);
        }
    }
    if hit!(traced, found) >= CALL_REGIONS as u64 {
        return;
    }
    let number = region_of_hit(traced);
    widen(traced, number);
    let region = &mut traced.regions[number & (CALL_REGIONS - 1)];
    let away_ns = hit!(traced, now_ns).saturating_sub(region.left_ns);
    if number != 0 {
        region.away_ns += away_ns;
    } else {
        let top = region.top;
        traced.frames[slot_of_frame(top)].child_ns += away_ns;
    }
    traced.regions[traced.current as usize & (CALL_REGIONS - 1)].left_ns = hit!(traced, now_ns);
    traced.current = number as u32;
}
