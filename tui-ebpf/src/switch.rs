//! What happens when a CPU turns to another thread: the CPU time of PHP threads is noted, and a thread that blocks inside
//! PHP code is charged with the wait.

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_uid_gid, bpf_ktime_get_ns,
        bpf_probe_read_kernel,
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tusktop_shared::{
    Config, ContentKey, Count, CountKey, LONG_WAIT_NS, NOT_WALKED, OUTSIDE, SKIPPED, UNKNOWN_OFFSET, Wait, governor,
    share, stat,
};

use crate::{
    globals::globals,
    maps::{IMAGES, ON_CPU, PROCESSES, REQUESTS, WAITING, WALKS, add},
    php::pointer,
    process::config,
    sample::count,
    share::take_share,
    stack::capture,
};

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
    /// 1 once a request has begun since then.
    began: u64,
}

/// What this CPU has done for threads that block.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Walks {
    /// Start of the period.
    began_ns: u64,
    /// Time spent on stacks in it.
    spent_ns: u64,
    /// Waits that began in it.
    waits: u64,
    /// A thread that waits often has one wait in so many noted, for all of them; 0 before the first period has ended.
    noted: u64,
}

impl Walks {
    /// A thread blocks; says which one of its waits is noted.
    #[inline(always)]
    fn begin(&mut self, now: u64) -> u64 {
        if now.saturating_sub(self.began_ns) > PERIOD_NS {
            self.began_ns = now;
            self.spent_ns = 0;
            self.noted = self.waits / governor::WAITS;
            self.waits = 0;
        }
        self.waits += 1;
        self.noted
    }
}

/// Walks at blocking threads may take 1 percent of a CPU: 1 ms in 100 ms. Waits beyond that are counted without a stack.
const PERIOD_NS: u64 = 100_000_000;
const PERIOD_LIMIT_NS: u64 = 1_000_000;

/// A thread that has not waited for so long is not one of those that wait too often to be noted each time.
const OFTEN_NS: u64 = 2_000_000;

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
    if config.task_cpu_time == UNKNOWN_OFFSET { 0 } else { field(task, config.task_cpu_time) }
}

/// A field of a kernel structure; 0 when it cannot be read.
#[inline(always)]
fn field<T: Default>(structure: u64, offset: u32) -> T {
    // SAFETY: a checked read at an offset that the kernel's own type information gave.
    unsafe { bpf_probe_read_kernel(structure.wrapping_add(u64::from(offset)) as *const T) }.unwrap_or_default()
}

/// A CPU turns to another thread: `sched_switch(preempt, previous, next)`. It runs at every switch of the machine, so
/// for threads that are not PHP's it only looks two numbers up.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn switch(context: RawTracePointContext) -> i32 {
    let Some(config) = config() else { return 0 };
    let _ = leaves(&context, config);
    let _ = comes(&context, config);
    0
}

/// The current thread leaves the CPU. Only one that blocks waits: one that is preempted has work to do.
#[inline(always)]
fn leaves(context: &RawTracePointContext, config: &Config) -> Option<()> {
    let key = bpf_get_current_pid_tgid();
    let pid = (key >> 32) as u32;
    if pid == 0 {
        // An idle CPU.
        return None;
    }
    // SAFETY: the entry may be replaced while it is read; it is plain integers.
    let process = unsafe { PROCESSES.get(pid) }?;
    let preempted: u64 = context.arg(0);
    let task: u64 = context.arg(1);
    if let Some(on_cpu) = ON_CPU.get(0)
        && on_cpu.began != 0
    {
        settle(config, task, on_cpu, key);
    }
    if preempted & 1 != 0 || config.task_state == UNKNOWN_OFFSET || field::<u32>(task, config.task_state) == 0 {
        return None;
    }
    let image = IMAGES.get(process.image)?;
    // SAFETY: the entry belongs to this thread alone.
    let request = unsafe { REQUESTS.get(key) }.map_or(0, |request| request.started_ns);
    let mut leaf = 0;
    if let Some(globals) = globals(image, process.bias) {
        leaf = pointer(globals.wrapping_add(u64::from(image.current_execute_data)));
    }
    // Between requests there is nothing to wait for.
    if leaf == 0 && request == 0 {
        return None;
    }
    // SAFETY: a plain helper call.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: the pointer is this CPU's slot, and a switch is not interrupted by another one.
    let walks = unsafe { &mut *WALKS.get_ptr_mut(0)? };
    let noted = walks.begin(now);
    let user = bpf_get_current_uid_gid() as u32;
    let place = match WAITING.get_ptr_mut(key) {
        Some(place) => place,
        // It is made before the stack is walked: with one and without one would be two walks to the verifier.
        None => {
            if !take_share(share::WAITING, user) || WAITING.insert(key, NO_WAIT, 0).is_err() {
                add(stat::REQUESTS_FULL, 1);
            }
            WAITING.get_ptr_mut(key)?
        }
    };
    // SAFETY: the entry belongs to this thread alone.
    unsafe {
        let skipped = u64::from((*place).skipped);
        if skipped + 1 < noted
            && now.saturating_sub((*place).ended_ns) < OFTEN_NS
            && (skipped == 0 || (*place).skipped_request == request)
        {
            begin(place, now, request, SKIPPED, user);
            add(stat::WAITS_ESTIMATED, 1);
            return None;
        }
    }
    let mut stack = ContentKey::new(OUTSIDE, user);
    if leaf != 0 {
        if walks.spent_ns < PERIOD_LIMIT_NS {
            stack = capture(image, process, leaf, request, now)?;
            // SAFETY: a plain helper call.
            let spent = unsafe { bpf_ktime_get_ns() } - now;
            walks.spent_ns += spent;
            add(stat::WAIT_RUNS, 1);
            add(stat::WAIT_NS, spent);
        } else {
            stack.hash = NOT_WALKED;
            add(stat::WAITS_NOT_WALKED, 1);
        }
    }
    // SAFETY: the entry belongs to this thread alone.
    unsafe { begin(place, now, request, stack.hash, stack.user) };
    Some(())
}

/// What an entry begins with.
const NO_WAIT: Wait = Wait {
    since_ns: 0,
    request: 0,
    stack: NOT_WALKED,
    user: 0,
    skipped: 0,
    skipped_ns: 0,
    skipped_request: 0,
    ended_ns: 0,
};

/// A wait begins, in the entry of its thread. User space may read it meanwhile: the start, without which it is no wait, comes last.
///
/// # Safety
///
/// The entry is that of the current thread.
#[inline(always)]
unsafe fn begin(place: *mut Wait, since_ns: u64, request: u64, stack: u64, user: u32) {
    // SAFETY: the entry belongs to this thread alone.
    unsafe {
        (&raw mut (*place).request).write_volatile(request);
        (&raw mut (*place).stack).write_volatile(stack);
        (&raw mut (*place).user).write_volatile(user);
        (&raw mut (*place).since_ns).write_volatile(since_ns);
    }
}

/// Counts the waits of the current thread that were skipped since the last one that was noted, without a stack: their request ends.
#[inline(always)]
pub fn count_skipped(key: u64) {
    let Some(place) = WAITING.get_ptr_mut(key) else { return };
    // SAFETY: the entry belongs to this thread alone.
    unsafe {
        if (*place).skipped != 0 {
            count_without_stack(key, place);
        }
    }
}

/// Counts the waits of an entry that were skipped.
///
/// # Safety
///
/// The entry is that of a thread which runs on this CPU, or is about to.
#[inline(always)]
unsafe fn count_without_stack(key: u64, place: *mut Wait) {
    // SAFETY: as the caller says.
    let (request, user, waits, wait_ns) =
        unsafe { ((*place).skipped_request, (*place).user, u64::from((*place).skipped), (*place).skipped_ns) };
    // SAFETY: as above.
    unsafe {
        (*place).skipped = 0;
        (*place).skipped_ns = 0;
    }
    let key = CountKey { request, stack: NOT_WALKED, pid: (key >> 32) as u32, user };
    count::<false>(key, Count { samples: 0, waits, wait_ns, pages: 0 });
}

/// Puts the start of a request right whose thread leaves the CPU for the first time in it.
///
/// A host takes time from a virtual machine. The kernel leaves that out of a thread's CPU time, but only afterwards; the clock,
/// by which [`cpu_time`] tells what came since the last switch, runs on. The time of this stay on the CPU is counted by the
/// clock, as it is when the request also ends in it. Otherwise more would be taken for used before the request than at its end.
#[inline(always)]
fn settle(config: &Config, task: u64, on_cpu: &OnCpu, key: u64) {
    let Some(request) = REQUESTS.get_ptr_mut(key) else { return };
    // SAFETY: the entry belongs to this thread alone.
    let request = unsafe { &mut *request };
    if on_cpu.task != task || request.started_ns < on_cpu.since_ns || request.cpu_ns == 0 {
        return;
    }
    // SAFETY: a plain helper call.
    let by_clock = on_cpu.cpu_ns + (unsafe { bpf_ktime_get_ns() } - on_cpu.since_ns);
    let taken = by_clock.saturating_sub(cpu_time_of(config, task));
    // 0 would say that it is not known.
    request.cpu_ns = request.cpu_ns.saturating_sub(taken).max(1);
}

/// A request of the current thread has begun.
#[inline(always)]
pub fn request_begins() {
    if let Some(on_cpu) = ON_CPU.get_ptr_mut(0) {
        // SAFETY: the pointer is this CPU's slot.
        unsafe { (*on_cpu).began = 1 };
    }
}

/// A thread comes onto the CPU: its wait is over, and its CPU time is as exact as it ever is.
#[inline(always)]
fn comes(context: &RawTracePointContext, config: &Config) -> Option<()> {
    let task: u64 = context.arg(2);
    let pid: u32 = field(task, config.task_tgid);
    if pid == 0 {
        return None;
    }
    // SAFETY: the entry is only tested for being there.
    unsafe { PROCESSES.get(pid) }?;
    // SAFETY: a plain helper call.
    let now = unsafe { bpf_ktime_get_ns() };
    let on_cpu = ON_CPU.get_ptr_mut(0)?;
    // SAFETY: the pointer is this CPU's slot, and a switch is not interrupted by another one.
    unsafe { *on_cpu = OnCpu { task, since_ns: now, cpu_ns: cpu_time_of(config, task), began: 0 } };

    if config.task_pid == UNKNOWN_OFFSET {
        return None;
    }
    let key = u64::from(pid) << 32 | u64::from(field::<u32>(task, config.task_pid));
    let place = WAITING.get_ptr_mut(key)?;
    // SAFETY: the entry was written when this thread left the CPU, and nothing else writes it.
    let wait = unsafe { *place };
    if wait.since_ns == 0 {
        return None;
    }
    // SAFETY: as above.
    unsafe {
        (*place).since_ns = 0;
        (*place).ended_ns = now;
    }
    let mut amount = Count { samples: 0, waits: 1, wait_ns: now.saturating_sub(wait.since_ns), pages: 0 };
    if let Some(request) = REQUESTS.get_ptr_mut(key) {
        // SAFETY: the entry belongs to this thread alone, which does not run yet.
        unsafe {
            if (*request).started_ns == wait.request {
                (*request).wait_ns += amount.wait_ns;
            }
        }
    }
    let mut stack = wait.stack;
    if stack == SKIPPED {
        if amount.wait_ns < LONG_WAIT_NS {
            // SAFETY: as above.
            unsafe {
                (*place).skipped = wait.skipped + 1;
                (*place).skipped_ns = wait.skipped_ns + amount.wait_ns;
                (*place).skipped_request = wait.request;
            }
            return Some(());
        }
        stack = NOT_WALKED;
    } else if wait.skipped != 0 {
        if wait.skipped_request == wait.request {
            amount.waits += u64::from(wait.skipped);
            amount.wait_ns += wait.skipped_ns;
            // SAFETY: as above.
            unsafe {
                (*place).skipped = 0;
                (*place).skipped_ns = 0;
            }
        } else {
            // SAFETY: as above.
            unsafe { count_without_stack(key, place) };
        }
    }
    count::<false>(CountKey { request: wait.request, stack, pid, user: wait.user }, amount);
    Some(())
}
