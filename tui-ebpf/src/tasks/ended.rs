//! Processes that end: what is known of them then. The command line is gone by that time in most kernels; it is noted at
//! `exec`.

use core::{ptr, slice};

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::generated::bpf_probe_read_user,
    macros::{map, raw_tracepoint},
    maps::{Array, LruHashMap, PerCpuArray, RingBuf},
    programs::RawTracePointContext,
};
use tusktop_shared::{ARGUMENT_BYTES, ENDED_RING_BYTES, EndedProcess, FreedProcess, ProcessKey, sizes};

use crate::kernel::{fetch, long, offset, pointer, word};

/// Processes that did an `exec`. Those that live long give way.
#[map]
static NOTED: LruHashMap<ProcessKey, EndedProcess> = LruHashMap::with_max_entries(sizes::NOTED, 0);

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

/// A thread ends; with the last thread the process: `sched_process_exit(task)`. Until its parent takes note, passes meet
/// it as a zombie.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn task_exit(context: RawTracePointContext) -> i32 {
    let task: *const u8 = context.arg(0);
    let signal = pointer(task, offset!(task_signal));
    // The kernel counts down before it comes here. Where two threads end at once, both may be told: user space knows the
    // process by then.
    if word(signal, offset!(signal_live)) != 0 {
        return 0;
    }
    // Any thread may be the last; what identifies the process, and its parent, are those of the first, which waits for it.
    let first = pointer(task, offset!(task_leader));
    let key = key(first);
    let Some(noted) = note(&key) else {
        lose();
        return 0;
    };
    noted.start_ns = key.start_ns;
    noted.pid = key.pid as u32;
    noted.parent = word(pointer(first, offset!(task_parent)), offset!(task_tgid));
    noted.user = word(pointer(task, offset!(task_credentials)), offset!(credentials_user));
    noted.flags = word(task, offset!(task_flags));
    noted.exit_code = word(task, offset!(task_exit_code));
    noted.cpu_ns = long(task, offset!(task_cpu_time)).wrapping_add(long(signal, offset!(signal_cpu_time)));
    if first != task {
        noted.cpu_ns = noted.cpu_ns.wrapping_add(long(first, offset!(task_cpu_time)));
    }
    fetch(first, offset!(task_comm), &mut noted.comm);
    let length = EndedProcess::HEAD + (noted.arguments_length as usize & (ARGUMENT_BYTES - 1));
    // SAFETY: the entry is initialised and longer than what is read of it.
    let bytes = unsafe { slice::from_raw_parts(ptr::from_mut(noted).cast::<u8>(), length) };
    if ENDED.output::<[u8]>(bytes, u64::from(BPF_RB_NO_WAKEUP)).is_err() {
        lose();
    }
    let _ = NOTED.remove(key);
    0
}

/// The last of a thread is let go, some milliseconds after its parent was told: `sched_process_free(task)`. By then the sum
/// of a process includes its first thread, which is the last to be released, and all the work of ending: since Linux 6.16
/// `sched_process_exit` comes before memory is given back, which can cost more than all that a short process did.
#[raw_tracepoint(tracepoint = "sched_process_free")]
pub fn task_free(context: RawTracePointContext) -> i32 {
    let task: *const u8 = context.arg(0);
    let key = key(task);
    if u64::from(word(task, offset!(task_pid))) != key.pid {
        return 0;
    }
    let freed = FreedProcess {
        start_ns: key.start_ns,
        cpu_ns: long(pointer(task, offset!(task_signal)), offset!(signal_cpu_time)),
        pid: key.pid as u32,
        reserved: 0,
    };
    if ENDED.output::<FreedProcess>(freed, u64::from(BPF_RB_NO_WAKEUP)).is_err() {
        lose();
    }
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
