//! The open calls of a traced thread as frames: opened by a call, ended by its return or by what shows that it is gone, and
//! added to the sums of their function.
//!
//! Functions that are not inlined have plain names, here and in the other files: in mangled ones is a hash of the checkout's
//! folder, and the object would differ from folder to folder.

use tusktop_shared::{CALL_BUCKETS, CALL_FRAMES, CALL_REGIONS, CallKey, Calls, Traced, duration_bucket, stat};

use crate::{
    call_regions::{hit, region_of_hit, turn_to_region},
    maps::{CALLS, NO_CALLS, add},
};

/// Frames that a call or a return ends of those that were left without a return; what is left ends with the next.
const AT_A_CALL: usize = 16;
/// Frames of one bucket that are looked at.
const CHAIN: usize = 8;

/// Opens a frame for the hit.
#[inline(always)]
pub fn push(traced: &mut Traced, slot: u32) -> Option<()> {
    turn_to_region(traced);
    let region = region_of_hit(traced);
    if region >= CALL_REGIONS {
        return untimed(slot, hit!(traced, key), traced.user);
    }
    traced.hit.end = hit!(traced, stack_pointer);
    end_stale(traced, slot);
    let mut index = traced.free;
    if index != 0 {
        traced.free = traced.frames[slot_of_frame(index)].below;
    } else {
        index = traced.used;
        if index >= CALL_FRAMES as u32 {
            return untimed(slot, hit!(traced, key), traced.user);
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

/// Ends the innermost frames of the hit's stack if they were left without a return.
#[inline(always)]
pub fn end_stale(traced: &mut Traced, slot: u32) {
    let top = traced.regions[region_of_hit(traced) & (CALL_REGIONS - 1)].top;
    if top != 0 && traced.frames[slot_of_frame(top)].stack_pointer <= hit!(traced, end) {
        end_frames(traced, slot, AT_A_CALL);
    }
}

/// Ends frames of the hit's stack up to its `end`.
#[inline(never)]
#[unsafe(no_mangle)]
pub fn end_frames(traced: &mut Traced, slot: u32, most: usize) {
    let mut i = 0;
    while i < most {
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
pub fn end_frame(traced: &mut Traced, slot: u32, index: u32) {
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

    let Some(calls) = sums(slot, key, traced.user) else { return };
    calls.calls += 1;
    calls.self_ns += self_ns;
    if recursive == 0 {
        calls.total_ns += total_ns;
    }
    calls.durations[duration_bucket(total_ns)] += 1;
}

/// Takes a frame out of the middle of its bucket.
#[inline(never)]
#[unsafe(no_mangle)]
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
fn sums(slot: u32, function: u64, user: u32) -> Option<&'static mut Calls> {
    let key = CallKey { function, slot, user };
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
fn untimed(slot: u32, function: u64, user: u32) -> Option<()> {
    add(stat::CALLS_DEEP, 1);
    sums(slot, function, user)?.calls += 1;
    None
}

#[inline(always)]
pub fn slot_of_frame(index: u32) -> usize {
    index as usize & (CALL_FRAMES - 1)
}
