//! The exact tier: every call of a traced thread, paired by its stack pointer and summed by function.
//!
//! A thread's open calls are frames in its slot of `TRACED`. Entry and return of a call are two sites in one C function, so the
//! stack pointer is equal at both. A frame at or below the stack pointer of a later event was left without a return (a fatal
//! error unwinds by `longjmp`): it ends there. Each fiber has a stack of its own, told by its addresses.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_uid_gid, bpf_ktime_get_ns, generated::bpf_get_attach_cookie},
    macros::uprobe,
    programs::ProbeContext,
};
use tusktop_shared::{
    CALL_BUCKETS, CALL_FRAMES, CALL_REGIONS, CallKey, Calls, FUNCTION_INTERNAL, TRACED_THREADS, Traced, call,
    duration_bucket, mix, stat,
};

use crate::{
    arguments::register,
    maps::{CALLS, GENERATION, IMAGES, KNOWN, KNOWN_KEYS, NAMES, NO_CALLS, PROCESSES, TRACED, add},
    php::{fetch, pointer, string_key},
    stack::{
        CLASS_NAME, FRAME_FUNCTION, FRAME_WORDS, FUNCTION_NAME, FUNCTION_SCOPE, fetch_function, keep_texts, kind, place,
    },
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
/// `zend_op.lineno`, and the word of `zend_execute_data.opline`.
const OPLINE_LINE: u64 = 24;
const FRAME_OPLINE: usize = 0;

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
    if began % TIMED == 0 {
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
    let stack_pointer = register(context, traced.stack_pointer)?;
    let key = key_of_call(traced, kind);
    if key == 0 {
        return None;
    }
    let region = region(traced, stack_pointer, now);
    if region >= CALL_REGIONS as u32 {
        return untimed(slot, key);
    }
    let top = traced.regions[slot_of_region(region)].top;
    if top != 0 && traced.frames[slot_of_frame(top)].stack_pointer <= stack_pointer {
        end_frames::<AT_A_CALL>(traced, slot, region, stack_pointer, now);
    }
    let below = traced.regions[slot_of_region(region)].top;
    let mut index = traced.free;
    if index != 0 {
        traced.free = traced.frames[slot_of_frame(index)].below;
    } else {
        index = traced.used;
        if index >= CALL_FRAMES as u32 {
            return untimed(slot, key);
        }
        traced.used = index + 1;
    }
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
        if frame.key == key && frame.region == region {
            recursive = 1;
            break;
        }
        other = frame.chain;
        i += 1;
    }
    traced.buckets[bucket] = index;
    traced.regions[slot_of_region(region)].top = index;
    let away_ns = traced.regions[slot_of_region(region)].away_ns;
    let frame = &mut traced.frames[slot_of_frame(index)];
    frame.stack_pointer = stack_pointer;
    frame.key = key;
    frame.child_ns = 0;
    frame.away_ns = away_ns;
    frame.below = below;
    frame.chain = chain;
    frame.recursive = recursive;
    frame.region = region;
    // Last, so that this program's own time is not the function's.
    // SAFETY: a plain helper call.
    frame.started_ns = unsafe { bpf_ktime_get_ns() };
    Some(())
}

#[inline(always)]
fn leave(context: &ProbeContext, slot: u32, now: u64) -> Option<()> {
    let traced = traced(slot)?;
    let stack_pointer = register(context, traced.stack_pointer)?;
    let region = region(traced, stack_pointer, now);
    if region >= CALL_REGIONS as u32 {
        return None;
    }
    let mut top = traced.regions[slot_of_region(region)].top;
    if top == 0 {
        return None;
    }
    if traced.frames[slot_of_frame(top)].stack_pointer < stack_pointer {
        end_frames::<AT_A_CALL>(traced, slot, region, stack_pointer - 1, now);
        top = traced.regions[slot_of_region(region)].top;
    }
    // The return of a call that was entered before, or that was too deep, has no frame.
    if top != 0 && traced.frames[slot_of_frame(top)].stack_pointer == stack_pointer {
        end_frame(traced, slot, region, top, now);
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
    let current = traced.current & (CALL_REGIONS as u32 - 1);
    end_frames::<AT_A_REQUEST>(traced, slot, current, u64::MAX, now);
    if traced.regions[slot_of_region(current)].top != 0 {
        add(stat::CALLS_DEEP, 1);
    }
    let mut i = 0;
    while i < CALL_REGIONS {
        let region = &mut traced.regions[i & (CALL_REGIONS - 1)];
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
}

/// Ends the frames of a stack up to a stack pointer, which were left without a return. Not inlined: the verifier then sees it
/// once in each place, with a small state.
#[inline(never)]
fn end_frames<const MOST: usize>(traced: &mut Traced, slot: u32, region: u32, stack_pointer: u64, now: u64) {
    let mut i = 0;
    while i < MOST {
        let top = traced.regions[slot_of_region(region)].top;
        if top == 0 || traced.frames[slot_of_frame(top)].stack_pointer > stack_pointer {
            break;
        }
        end_frame(traced, slot, region, top, now);
        i += 1;
    }
}

/// Takes a frame off its stack and adds its time to its function and its caller.
#[inline(never)]
fn end_frame(traced: &mut Traced, slot: u32, region: u32, index: u32, now: u64) {
    let region = &mut traced.regions[slot_of_region(region)];
    let frame = traced.frames[slot_of_frame(index)];
    let away_ns = region.away_ns.wrapping_sub(frame.away_ns);
    let total_ns = now.saturating_sub(frame.started_ns).saturating_sub(away_ns);
    let self_ns = total_ns.saturating_sub(frame.child_ns);
    region.top = frame.below;
    if frame.below != 0 {
        traced.frames[slot_of_frame(frame.below)].child_ns += total_ns;
    }
    // Its bucket begins with it, unless another stack opened a call meanwhile.
    let bucket = frame.key as usize >> 1 & (CALL_BUCKETS - 1);
    if traced.buckets[bucket] == index {
        traced.buckets[bucket] = frame.chain;
    } else {
        let mut other = traced.buckets[bucket];
        let mut i = 0;
        while i < CHAIN {
            if other == 0 {
                break;
            }
            let next = traced.frames[slot_of_frame(other)].chain;
            if next == index {
                traced.frames[slot_of_frame(other)].chain = frame.chain;
                break;
            }
            other = next;
            i += 1;
        }
    }
    traced.frames[slot_of_frame(index)].below = traced.free;
    traced.free = index;

    let Some(calls) = sums(slot, frame.key) else { return };
    calls.calls += 1;
    calls.self_ns += self_ns;
    if frame.recursive == 0 {
        calls.total_ns += total_ns;
    }
    calls.durations[duration_bucket(total_ns)] += 1;
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

#[inline(always)]
fn slot_of_region(region: u32) -> usize {
    region as usize & (CALL_REGIONS - 1)
}

/// The stack that a stack pointer is on, which becomes the current one; `CALL_REGIONS` when there are too many.
#[inline(always)]
fn region(traced: &mut Traced, stack_pointer: u64, now: u64) -> u32 {
    let current = &mut traced.regions[slot_of_region(traced.current)];
    if stack_pointer <= current.high && stack_pointer >= current.low {
        return traced.current;
    }
    other_region(traced, stack_pointer, now)
}

/// Whether a stack pointer is near those of a stack.
#[inline(always)]
fn near(low: u64, high: u64, stack_pointer: u64) -> bool {
    stack_pointer.wrapping_add(NEAR) >= low && stack_pointer <= high.wrapping_add(NEAR)
}

/// Widens the current stack, or turns to another or a new one.
///
/// Fibers run inside a call of the thread's own stack, which is the first: for that call their time is a child's. For the open
/// calls of a fiber time only goes on while it runs.
#[inline(never)]
fn other_region(traced: &mut Traced, stack_pointer: u64, now: u64) -> u32 {
    let current = traced.current & (CALL_REGIONS as u32 - 1);
    let here = &mut traced.regions[slot_of_region(current)];
    if here.high == 0 || near(here.low, here.high, stack_pointer) {
        if here.high == 0 || stack_pointer < here.low {
            here.low = stack_pointer;
        }
        if stack_pointer > here.high {
            here.high = stack_pointer;
        }
        return current;
    }
    let mut found = CALL_REGIONS as u32;
    let mut empty = CALL_REGIONS as u32;
    let mut i = 0;
    while i < CALL_REGIONS {
        let region = &traced.regions[i];
        if region.high != 0 && near(region.low, region.high, stack_pointer) {
            found = i as u32;
        } else if region.top == 0 && i as u32 != current {
            empty = i as u32;
        }
        i += 1;
    }
    let fresh = found >= CALL_REGIONS as u32;
    if fresh {
        found = empty;
    }
    if found >= CALL_REGIONS as u32 {
        return found;
    }
    let there = &mut traced.regions[slot_of_region(found)];
    if fresh {
        there.low = stack_pointer;
        there.high = stack_pointer;
        there.away_ns = 0;
    } else {
        if stack_pointer < there.low {
            there.low = stack_pointer;
        }
        if stack_pointer > there.high {
            there.high = stack_pointer;
        }
        let away_ns = now.saturating_sub(there.left_ns);
        if found != 0 {
            there.away_ns += away_ns;
        } else if there.top != 0 {
            let top = there.top;
            traced.frames[slot_of_frame(top)].child_ns += away_ns;
        }
    }
    traced.regions[slot_of_region(current)].left_ns = now;
    traced.current = found;
    found
}

/// Key of the call that is being entered, with its name kept; 0 when it does not count or cannot be read.
#[inline(never)]
fn key_of_call(traced: &mut Traced, call_kind: u32) -> u64 {
    let frame = pointer(traced.executor_globals.wrapping_add(u64::from(traced.current_execute_data)));
    if !fetch(frame, &mut traced.frame_room)
        || !fetch_function(traced.frame_room[FRAME_FUNCTION], &mut traced.function_room)
    {
        add(stat::CALLS_UNREAD, 1);
        return 0;
    }
    // Of `dtrace_execute_ex` only whole files count: functions have probes of their own.
    if call_kind == call::FILE && traced.function_room[FUNCTION_NAME] != 0 {
        return 0;
    }
    let user = bpf_get_current_uid_gid() as u32;
    let function_kind = kind(&traced.function_room);
    let mut key = mix(u64::from(user), u64::from(function_kind));
    let name = traced.function_room[FUNCTION_NAME];
    if name != 0 {
        key = mix(key, string_key(name, &mut traced.text_room));
    }
    let scope = traced.function_room[FUNCTION_SCOPE];
    if scope != 0 {
        key = mix(key, string_key(pointer(scope.wrapping_add(CLASS_NAME)), &mut traced.text_room));
    }
    let mut file = 0;
    let mut line = 0;
    if call_kind == call::INTERNAL {
        // A built-in function has no place of its own: it is told by that of its caller.
        let word = (traced.previous_execute_data >> 3) as usize & (FRAME_WORDS - 1);
        let caller = traced.frame_room[word];
        if fetch(caller, &mut traced.frame_room) {
            fetch(traced.frame_room[FRAME_OPLINE].wrapping_add(OPLINE_LINE), &mut line);
            let function = traced.frame_room[FRAME_FUNCTION];
            let word = u64::from(traced.filename);
            if function != 0 {
                file = pointer(function.wrapping_add(word));
            }
        }
    } else if function_kind != FUNCTION_INTERNAL {
        (file, line) = place(&traced.function_room, traced.filename);
    }
    if file != 0 {
        key = mix(mix(key, string_key(file, &mut traced.text_room)), u64::from(line));
    }
    key |= 1;
    keep(traced, key, file, line);
    key
}

/// Makes sure that the name of a key is kept.
#[inline(never)]
fn keep(traced: &mut Traced, key: u64, file: u64, line: u32) {
    let tag = (key >> 32) as u32 ^ GENERATION.get(0).copied().unwrap_or(0);
    let Some(known) = KNOWN.get_ptr_mut(key as u32 >> 1 & (KNOWN_KEYS - 1)) else { return };
    // SAFETY: the pointer is an entry of the map; one aligned integer is read and written.
    unsafe {
        if known.read_volatile() == tag {
            return;
        }
        if NAMES.get(key).is_some() || keep_texts(key, &traced.function_room, &mut traced.name_room, file, line) {
            known.write_volatile(tag);
        }
    }
}
