//! Follows processes: a forked worker inherits its parent's entry, an ended one leaves none behind.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_task, bpf_ktime_get_ns, bpf_probe_read_kernel},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tusktop_shared::{Config, EVENT_EXEC, EVENT_EXIT, EVENT_FORK, ProcessEvent, UNKNOWN_OFFSET, stat};

use crate::{
    maps::{CONFIG, EVENTS, ON_CPU, PROCESSES, REQUESTS, add},
    request,
};

/// Facts about the kernel.
#[inline(always)]
pub fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// The PHP thread that this CPU switched to last.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OnCpu {
    /// Its `task_struct`.
    task: u64,
    /// `CLOCK_MONOTONIC` at the switch.
    since_ns: u64,
    /// Its CPU time at the switch, which is when the kernel has just brought it up to date.
    cpu_ns: u64,
}

/// CPU time of the current thread in nanoseconds; 0 when the kernel's layout is not known.
///
/// `sum_exec_runtime` alone is as old as the last tick: a short request would seem to cost nothing.
#[inline(always)]
pub fn cpu_time(config: &Config, now: u64) -> u64 {
    // SAFETY: a plain helper call.
    let task = unsafe { bpf_get_current_task() };
    if let Some(on_cpu) = ON_CPU.get(0)
        && on_cpu.task == task
    {
        return on_cpu.cpu_ns + now.saturating_sub(on_cpu.since_ns);
    }
    cpu_time_of(config, task)
}

/// CPU time of a thread as of the last tick or switch.
#[inline(always)]
fn cpu_time_of(config: &Config, task: u64) -> u64 {
    if config.task_cpu_time == UNKNOWN_OFFSET {
        return 0;
    }
    // SAFETY: a checked read at an offset that the kernel's own type information gave.
    unsafe { bpf_probe_read_kernel((task + u64::from(config.task_cpu_time)) as *const u64) }.unwrap_or(0)
}

/// A CPU turns to another thread: `sched_switch(preempt, previous, next)`. It runs at every switch of the machine, so
/// for threads that are not PHP's it only looks one number up.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn switch(context: RawTracePointContext) -> i32 {
    let _ = try_switch(&context);
    0
}

#[inline(always)]
fn try_switch(context: &RawTracePointContext) -> Option<()> {
    let config = config()?;
    let task: u64 = context.arg(2);
    // SAFETY: a checked read at an offset that the kernel's own type information gave.
    let pid = unsafe { bpf_probe_read_kernel((task + u64::from(config.task_tgid)) as *const u32) }.ok()?;
    // SAFETY: the entry is only tested for being there.
    unsafe { PROCESSES.get(pid) }?;
    let on_cpu = ON_CPU.get_ptr_mut(0)?;
    // SAFETY: the pointer is this CPU's slot, and a switch is not interrupted by another one.
    unsafe {
        *on_cpu = OnCpu { task, since_ns: bpf_ktime_get_ns(), cpu_ns: cpu_time_of(config, task) };
    }
    Some(())
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
    let process = unsafe { PROCESSES.get(parent) }.copied()?;
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
    if PROCESSES.insert(child, process, 0).is_err() {
        add(stat::REQUESTS_FULL, 1);
    }
    emit(EVENT_FORK, child, parent);
    Some(())
}

/// A process replaced its image: it is no longer the PHP that it was.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn exec(context: RawTracePointContext) -> i32 {
    let pid = context.tgid();
    let _ = PROCESSES.remove(pid);
    let _ = REQUESTS.remove(aya_ebpf::helpers::bpf_get_current_pid_tgid());
    emit(EVENT_EXEC, pid, 0);
    0
}

/// A thread ended; with its last thread the process.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn exit(context: RawTracePointContext) -> i32 {
    let pid = context.tgid();
    // SAFETY: the entry is only tested for being there.
    if unsafe { PROCESSES.get(pid) }.is_none() {
        return 0;
    }
    request::abort();
    if pid == context.pid() {
        let _ = PROCESSES.remove(pid);
        emit(EVENT_EXIT, pid, 0);
    }
    0
}

#[inline(always)]
fn emit(kind: u32, pid: u32, other: u32) {
    let event = ProcessEvent { kind, pid, other, reserved: 0 };
    if EVENTS.output::<ProcessEvent>(event, 0).is_err() {
        add(stat::RING_FULL, 1);
    }
}
