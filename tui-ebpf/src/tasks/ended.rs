//! Processes that end: what is known of them before they are gone, and all their CPU time when they are.
//!
//! `sched_process_free` has the exact sum of all threads, the time of ending included, but neither the parent nor the
//! command line any more; those are noted at `exec` and `exit`.

use core::{ptr, slice};

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::generated::bpf_probe_read_user,
    macros::{map, raw_tracepoint},
    maps::{Array, LruHashMap, PerCpuArray, RingBuf},
    programs::RawTracePointContext,
};
use tusktop_shared::{ARGUMENT_BYTES, ENDED_RING_BYTES, EndedProcess, ProcessKey};

use crate::kernel::{fetch, long, offset, pointer, word};

/// Processes that did an `exec` or are ending. Those that live long give way.
#[map]
static NOTED: LruHashMap<ProcessKey, EndedProcess> = LruHashMap::with_max_entries(4096, 0);

/// A process of which nothing is known, to insert into `NOTED` and fill there; never written.
#[map]
static UNNOTED: Array<EndedProcess> = Array::with_max_entries(1, 0);

/// Processes that ended. User space reads it once a tick and is never woken.
#[map]
static ENDED: RingBuf = RingBuf::with_byte_size(ENDED_RING_BYTES, 0);

/// How many did not fit into `ENDED`.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// A process replaced its image: `sched_process_exec(task, old_pid, binprm)`.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn task_exec(context: RawTracePointContext) -> i32 {
    let task: *const u8 = context.arg(0);
    let Some(noted) = note(&key(task)) else { return 0 };
    let memory = pointer(task, offset!(task_memory));
    let start = long(memory, offset!(memory_arguments));
    let length = long(memory, offset!(memory_arguments_end)).wrapping_sub(start);
    let length = if length >= ARGUMENT_BYTES as u64 { ARGUMENT_BYTES as u64 - 1 } else { length };
    let length = length as u32 & (ARGUMENT_BYTES as u32 - 1);
    // SAFETY: a checked read of at most ARGUMENT_BYTES into memory of that size.
    let read = unsafe { bpf_probe_read_user(noted.arguments.as_mut_ptr().cast(), length, start as *const _) };
    noted.arguments_length = if read == 0 { length } else { 0 };
    0
}

/// A thread ends; with the last thread the process: `sched_process_exit(task)`.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn task_exit(context: RawTracePointContext) -> i32 {
    let task: *const u8 = context.arg(0);
    // The kernel counts down before it comes here.
    if word(pointer(task, offset!(task_signal)), offset!(signal_live)) != 0 {
        return 0;
    }
    // Any thread may be the last; what identifies the process, and its parent, are those of the first.
    let first = pointer(task, offset!(task_leader));
    let Some(noted) = note(&key(first)) else { return 0 };
    noted.parent = word(pointer(first, offset!(task_parent)), offset!(task_tgid));
    noted.user = word(pointer(task, offset!(task_credentials)), offset!(credentials_user));
    noted.noted = 1;
    0
}

/// The last of a thread is released, some milliseconds after its parent was told: `sched_process_free(task)`.
#[raw_tracepoint(tracepoint = "sched_process_free")]
pub fn task_free(context: RawTracePointContext) -> i32 {
    let task: *const u8 = context.arg(0);
    let key = key(task);
    if word(task, offset!(task_pid)) as u64 != key.pid {
        return 0;
    }
    let Some(noted) = note(&key) else {
        lose();
        return 0;
    };
    noted.start_ns = key.start_ns;
    noted.pid = key.pid as u32;
    // By now it includes the first thread, which is the last to be released.
    noted.cpu_ns = long(pointer(task, offset!(task_signal)), offset!(signal_cpu_time));
    noted.flags = word(task, offset!(task_flags));
    fetch(task, offset!(task_comm), &mut noted.comm);
    let length = EndedProcess::HEAD + (noted.arguments_length as usize & (ARGUMENT_BYTES - 1));
    // SAFETY: the entry is initialised and longer than what is read of it.
    let bytes = unsafe { slice::from_raw_parts(ptr::from_mut(noted).cast::<u8>(), length) };
    if ENDED.output::<[u8]>(bytes, u64::from(BPF_RB_NO_WAKEUP)).is_err() {
        lose();
    }
    let _ = NOTED.remove(&key);
    0
}

/// The key of a process, of its first thread.
#[inline(always)]
fn key(task: *const u8) -> ProcessKey {
    ProcessKey { start_ns: long(task, offset!(task_start)), pid: u64::from(word(task, offset!(task_tgid))) }
}

/// What is noted of a process, or room for it.
#[inline(always)]
fn note(key: &ProcessKey) -> Option<&'static mut EndedProcess> {
    if let Some(noted) = NOTED.get_ptr_mut(key) {
        // SAFETY: entries may be replaced while they are written; they are plain integers.
        return Some(unsafe { &mut *noted });
    }
    NOTED.insert(key, UNNOTED.get(0)?, 0).ok()?;
    // SAFETY: as above.
    NOTED.get_ptr_mut(key).map(|noted| unsafe { &mut *noted })
}

#[inline(always)]
fn lose() {
    if let Some(lost) = LOST.get_ptr_mut(0) {
        // SAFETY: the pointer is this CPU's slot of the map.
        unsafe { *lost += 1 };
    }
}
