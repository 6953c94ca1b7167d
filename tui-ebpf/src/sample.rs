//! The sampling tier: a timer on every CPU takes the PHP stack of the process that it interrupted.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::perf_event,
    maps::HashMap,
    programs::PerfEventContext,
};
use tusktop_shared::{Count, CountKey, Image, Process, share, sizes, stat};

use crate::{
    globals::{globals_in, storage},
    growth::{huge_growth, started},
    lines::send,
    maps::{ACTIVE, COUNTS_0, COUNTS_1, IMAGES, PROCESSES, add},
    php::fetch,
    share::take_of,
    stack::capture,
    tally::atomic_add,
};

/// The timer.
#[perf_event]
pub fn sample(context: PerfEventContext) -> u32 {
    let key = bpf_get_current_pid_tgid();
    let pid = (key >> 32) as u32;
    let Some(process) = PROCESSES.get_ptr_mut(pid) else { return 0 };
    // SAFETY: the entry may be replaced while it is read; it is plain integers.
    let (number, bias) = unsafe { ((*process).image, (*process).bias) };
    let Some(image) = IMAGES.get(number) else { return 0 };
    let storage = storage(image, bias);
    let Some(globals) = globals_in(image, bias, storage) else { return 0 };
    // SAFETY: a plain helper call.
    let began = unsafe { bpf_ktime_get_ns() };
    let _ = try_sample(&context, key, process, image, (globals, storage), began);
    add(stat::SAMPLE_RUNS, 1);
    // SAFETY: a plain helper call.
    add(stat::SAMPLE_NS, unsafe { bpf_ktime_get_ns() } - began);
    0
}

#[inline(always)]
fn try_sample(
    context: &PerfEventContext,
    key: u64,
    process: *mut Process,
    image: &Image,
    (globals, storage): (u64, u64),
    now_ns: u64,
) -> Option<()> {
    let mut frame = 0_u64;
    if !fetch(globals.wrapping_add(u64::from(image.current_execute_data)), &mut frame) {
        // Before the engine has started nothing has touched its globals, and their page is not there; while the process becomes
        // another program it is there no more.
        add(stat::SAMPLES_IDLE, 1);
        return None;
    }
    if frame == 0 {
        add(stat::SAMPLES_IDLE, 1);
        return None;
    }
    add(stat::SAMPLES, 1);
    let request = started(key, image, process, storage);
    // SAFETY: the entry may be replaced while it is read; it is plain integers.
    let stack = capture(image, unsafe { &*process }, frame, request, now_ns)?;
    count::<true>(
        CountKey { request, stack: stack.hash, pid: (key >> 32) as u32, user: stack.user },
        Count { samples: 1, waits: 0, wait_ns: 0, pages: huge_growth(process) },
    );
    send(context, &stack, (key >> 32) as u32, now_ns);
    Some(())
}

/// Adds to what belongs to a stack in a request; pages only where it `GROWS`.
#[inline(always)]
pub fn count<const GROWS: bool>(key: CountKey, amount: Count) {
    let active = ACTIVE.get(0).copied().unwrap_or(0);
    let counts = if active == 0 { &COUNTS_0 } else { &COUNTS_1 };
    if !increase::<GROWS>(counts, &key, &amount) {
        if !take_of(share::COUNTS + (active & 1), key.user, sizes::COUNTS) {
            add(stat::COUNTS_FULL, 1);
            return;
        }
        // Another thread of the process may have just made it.
        let made = counts.insert(key, amount, u64::from(BPF_NOEXIST)).is_ok();
        if !made && !increase::<GROWS>(counts, &key, &amount) {
            add(stat::COUNTS_FULL, 1);
        }
    }
}

/// Adds to an entry; `false` when there is none.
#[inline(always)]
fn increase<const GROWS: bool>(counts: &HashMap<CountKey, Count>, key: &CountKey, amount: &Count) -> bool {
    let Some(count) = counts.get_ptr_mut(key) else { return false };
    // SAFETY: all fields are aligned integers of a live entry.
    unsafe {
        // Known where the program is built: at run time, each question would double what the verifier follows.
        if GROWS {
            atomic_add(&raw mut (*count).pages, amount.pages);
        }
        if amount.samples != 0 {
            atomic_add(&raw mut (*count).samples, amount.samples);
        } else {
            atomic_add(&raw mut (*count).waits, amount.waits);
            atomic_add(&raw mut (*count).wait_ns, amount.wait_ns);
        }
    }
    true
}
