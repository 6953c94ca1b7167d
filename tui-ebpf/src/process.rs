//! Follows processes: a forked worker inherits its parent's entry, an ended one leaves none behind.

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_RB_FORCE_WAKEUP,
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid, bpf_ktime_get_ns,
        bpf_probe_read_kernel,
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tusktop_shared::{
    Config, EVENT_EXEC, EVENT_EXIT, EVENT_FORK, EVENT_STORM, Process, ProcessEvent, UNKNOWN_OFFSET, governor, share,
    stat,
};

use crate::{
    calls,
    maps::{CONFIG, PROCESS_EVENTS, PROCESSES, REQUESTS, WAITING, add, afford},
    request,
    share::{give_share, take_share},
};

/// Facts about the kernel.
#[inline(always)]
pub fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// The current process still has its memory: one that ends gives it back, before Linux 6.16 before its end is reported.
#[inline(always)]
pub fn has_memory() -> bool {
    let Some(config) = config().filter(|config| config.task_memory != UNKNOWN_OFFSET) else { return false };
    // SAFETY: a checked read at an offset that the kernel's own type information gave.
    unsafe {
        let task = bpf_get_current_task() as *const u8;
        bpf_probe_read_kernel(task.add(config.task_memory as usize).cast::<u64>()).is_ok_and(|memory| memory != 0)
    }
}

/// Address of the command line of the current process, where php-fpm writes its title; 0 when it is not known.
#[inline(always)]
pub fn title(config: &Config) -> u64 {
    if config.task_memory == UNKNOWN_OFFSET || config.memory_arguments == UNKNOWN_OFFSET {
        return 0;
    }
    // SAFETY: checked reads at offsets that the kernel's own type information gave.
    unsafe {
        let task = bpf_get_current_task() as *const u8;
        let memory = bpf_probe_read_kernel(task.add(config.task_memory as usize).cast::<u64>()).unwrap_or(0);
        let arguments = memory.wrapping_add(u64::from(config.memory_arguments));
        bpf_probe_read_kernel(arguments as *const u64).unwrap_or(0)
    }
}

/// A process forked: `sched_process_fork(parent, child)`.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn fork(context: RawTracePointContext) -> i32 {
    let _ = try_fork(&context);
    0
}

fn try_fork(context: &RawTracePointContext) -> Option<()> {
    let parent = context.tgid();
    // SAFETY: the entry may be replaced while it is read; it is a copy of plain integers.
    let mut process = unsafe { PROCESSES.get(parent) }.copied()?;
    process.traced = 0;
    let config = config()?;
    if config.task_tgid == UNKNOWN_OFFSET {
        return None;
    }
    let child: *const u8 = context.arg(1);
    // SAFETY: a checked read at an offset that the kernel's own type information gave.
    let child = unsafe { bpf_probe_read_kernel(child.add(config.task_tgid as usize).cast::<u32>()) }.ok()?;
    if child == parent {
        return None;
    }
    process.user = bpf_get_current_uid_gid() as u32;
    add_process(child, &process);
    emit(EVENT_FORK, child, parent, 0);
    Some(())
}

/// A process replaced its image: it is no longer the PHP that it was.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn exec(context: RawTracePointContext) -> i32 {
    let pid = context.tgid();
    // SAFETY: the entry may be replaced while it is read; it is plain integers.
    if let Some(process) = unsafe { PROCESSES.get(pid) }
        && process.traced != 0
    {
        // SAFETY: a plain helper call.
        calls::forget_image(process.traced - 1, unsafe { bpf_ktime_get_ns() });
    }
    remove_process(pid);
    forget_thread(bpf_get_current_pid_tgid());
    // A thread that is not the first gets the number of the process by this (kernel: de_thread); its entries have its old one.
    let old: u32 = context.arg(1);
    let old = u64::from(pid) << 32 | u64::from(old);
    forget_thread(old);
    // SAFETY: a plain helper call.
    if !afford(governor::OF_EXECS, governor::EXEC_NS, unsafe { bpf_ktime_get_ns() }) {
        add(stat::EXECS_SKIPPED, 1);
        return 0;
    }
    emit(EVENT_EXEC, pid, 0, BPF_RB_FORCE_WAKEUP);
    0
}

/// A thread ended; with its last thread the process.
///
/// What belongs to the thread goes with it, whatever is known of its process: otherwise threads that end in an unusual order
/// would fill the maps for good.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn exit(context: RawTracePointContext) -> i32 {
    let pid = context.tgid();
    request::abort();
    forget_wait(bpf_get_current_pid_tgid());
    // SAFETY: the entry may be replaced while it is read; it is plain integers.
    let Some(process) = (unsafe { PROCESSES.get(pid) }) else { return 0 };
    if !is_last() {
        return 0;
    }
    if process.traced != 0 {
        // SAFETY: a plain helper call.
        calls::note_end(process.traced - 1, unsafe { bpf_ktime_get_ns() });
    }
    remove_process(pid);
    emit(EVENT_EXIT, pid, 0, 0);
    0
}

/// Notes a process, if its user has room for it.
#[inline(always)]
pub fn add_process(pid: u32, process: &Process) {
    // SAFETY: the entry is only tested for being there.
    let is_new = unsafe { PROCESSES.get(pid) }.is_none();
    if is_new && !take_share(share::PROCESSES, process.user) {
        add(stat::REQUESTS_FULL, 1);
    } else if PROCESSES.insert(pid, process, 0).is_err() {
        add(stat::REQUESTS_FULL, 1);
        give_share(share::PROCESSES, process.user);
    }
}

#[inline(always)]
fn remove_process(pid: u32) {
    // SAFETY: the entry may be replaced while it is read; it is plain integers.
    let Some(user) = (unsafe { PROCESSES.get(pid) }).map(|process| process.user) else { return };
    if PROCESSES.remove(pid).is_ok() {
        give_share(share::PROCESSES, user);
    }
}

#[inline(always)]
fn forget_thread(key: u64) {
    // SAFETY: the entry belongs to this thread alone.
    if let Some(user) = unsafe { REQUESTS.get(key) }.map(|request| request.user) {
        let _ = REQUESTS.remove(key);
        give_share(share::REQUESTS, user);
    }
    forget_wait(key);
}

#[inline(always)]
fn forget_wait(key: u64) {
    // SAFETY: the entry belongs to this thread alone.
    if let Some(user) = unsafe { WAITING.get(key) }.map(|wait| wait.user) {
        let _ = WAITING.remove(key);
        give_share(share::WAITING, user);
    }
}

/// Whether no thread of the current process is left but this one, which ends. Where the kernel does not say where it counts
/// them, the first thread stands for all.
#[inline(always)]
fn is_last() -> bool {
    let known = config().filter(|config| config.task_signal != UNKNOWN_OFFSET && config.signal_live != UNKNOWN_OFFSET);
    let Some(config) = known else {
        let key = bpf_get_current_pid_tgid();
        return key as u32 == (key >> 32) as u32;
    };
    // SAFETY: checked reads at offsets that the kernel's own type information gave. The kernel counts down before it comes here
    // (kernel/exit.c, do_exit).
    unsafe {
        let task = bpf_get_current_task() as *const u8;
        let signal = bpf_probe_read_kernel(task.add(config.task_signal as usize).cast::<u64>()).unwrap_or(0);
        let live = signal.wrapping_add(u64::from(config.signal_live));
        bpf_probe_read_kernel(live as *const u32).unwrap_or(0) == 0
    }
}

/// Says that this CPU pays too much for hits of probes.
#[inline(always)]
pub fn report_storm() {
    emit(EVENT_STORM, (bpf_get_current_pid_tgid() >> 32) as u32, 0, BPF_RB_FORCE_WAKEUP);
}

#[inline(always)]
fn emit(kind: u32, pid: u32, other: u32, flags: u32) {
    let event = ProcessEvent { kind, pid, other, reserved: 0 };
    if PROCESS_EVENTS.output::<ProcessEvent>(event, u64::from(flags)).is_err() {
        add(stat::RING_FULL, 1);
    }
}
