//! The exact tier: prices tracing, then traces some of the workers for some of the time, so that the budget is kept.
//!
//! Probes are attached to single processes, so all others run without a trap, and only while there is budget left: most of the
//! cost of a hit is the trap itself, which no program can avoid. `sums` reads the results.

mod budget;
mod counting;
mod orders;
mod part;
mod price;
mod progress;
mod sites;
mod slot;
pub(in crate::collect::php) mod status;
mod sums;
mod workers;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tusktop_shared::{ContentKey, TRACED_THREADS, stat};

pub(crate) use self::workers::Candidate;
use self::{
    budget::Budget,
    counting::{Counted, Missed},
    part::Part,
    price::Price,
    slot::Slot,
    sums::Sums,
    workers::Workers,
};
pub use self::{orders::Order, sums::CallSums};
use crate::{
    collect::php::{
        RequestText,
        collector::monotonic,
        find::discover::Found,
        kernel::{
            Kernel, KernelError,
            attach::{self, Attachment},
        },
        tier::Missing,
    },
    model::{TraceLimits, TraceOrder, TraceRequest},
};

/// Why nothing is traced where nothing can be.
const NONE_TRACEABLE: &str = "no process that can be traced is running";
/// Why PHP that a command started is not traced.
const WITHOUT_VARIABLE: &str = "PHP was started without USE_ZEND_DTRACE=1, which sudo, su, cron and clean environments leave out: \
     put it into the command, as in sudo -u www-data env USE_ZEND_DTRACE=1 php ...";
/// Of a process that was attached when it was running already, and one that had ended by then.
const LATE: &str = "a PHP process had begun to run before it could be attached, so its first calls are missing";
const GONE: &str = "a PHP process had ended before it could be attached";
/// Where nothing says more.
const UNSEEN: &str = "PHP ran, but no call of it was seen: it may have been started without USE_ZEND_DTRACE=1";
/// Reasons that are kept.
const UNTRACED: usize = 4;
/// Probes of ended processes that are kept.
const LEFT: usize = 64;
/// Processes of the command that are remembered.
const STARTED: usize = 4_096;
/// Longest time that a worker is traced while others wait for their turn.
const TURN: Duration = Duration::from_secs(1);
/// Shortest and longest time between two looks at what was spent.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Counting { workers: u32, until: Instant, then_trace: bool },
    Priced,
    Tracing { since: Instant },
    Ended,
    Unavailable,
}

/// The state of exact tracing.
#[derive(Debug)]
pub(crate) struct Exact {
    request: Option<TraceRequest>,
    limits: TraceLimits,
    state: State,
    reason: String,
    workers: Workers,
    slots: Vec<Option<Slot>>,
    budget: Budget,
    price: Option<Price>,
    /// What one hit costs without its program.
    hit: Option<Duration>,
    sums: Sums,
    part: Part,
    /// When time was last counted, and calls by then.
    looked: Instant,
    seen_calls: u64,
    calls: u64,
    /// What was spent when it was last told.
    told_s: f64,
    missed: Missed,
    /// What was counted for the price, and calls that were traced since.
    counted: Counted,
    traced_calls: u64,
    /// A command is observed: what it starts is traced with it. Otherwise a trace of one process is of that process alone.
    observes_command: bool,
    /// Why PHP that the observed command started is not traced, each reason once.
    untraced: Vec<String>,
    command_ran_php: bool,
    /// Probes of processes that have ended, which nothing hits any more. To detach them takes the kernel some 0.1 s, in which what the
    /// command starts next could not be attached.
    left: Vec<Attachment>,
    /// What it started, with when it was attached; `None` for what is not traced.
    started: HashMap<u32, Option<u64>>,
}

impl Exact {
    /// Nothing is traced.
    pub(crate) fn new(now: Instant, observes_command: bool) -> Self {
        Self {
            request: None,
            limits: TraceLimits { budget: 0.0, limit: Duration::ZERO },
            state: State::Idle,
            reason: String::new(),
            workers: Workers::default(),
            slots: (0..TRACED_THREADS).map(|_| None).collect(),
            budget: Budget::new(0.0, 0),
            price: None,
            hit: None,
            sums: Sums::default(),
            part: Part::default(),
            looked: now,
            seen_calls: 0,
            calls: 0,
            told_s: 0.0,
            missed: Missed::default(),
            counted: Counted::default(),
            traced_calls: 0,
            observes_command,
            untraced: Vec::new(),
            command_ran_php: false,
            left: Vec::new(),
            started: HashMap::new(),
        }
    }

    /// Follows an order. A question about the price never ends what runs: whoever asks may not have seen yet that it runs.
    pub(crate) fn order(
        &mut self,
        order: Order,
        kernel: &mut Kernel,
        images: &[Option<Found>],
        candidates: Vec<Candidate>,
    ) {
        let now = Instant::now();
        if matches!(order.what, TraceOrder::Price(_))
            && matches!(self.state, State::Tracing { .. } | State::Counting { then_trace: true, .. })
        {
            return;
        }
        self.detach_all(kernel);
        if order.what != TraceOrder::Stop {
            let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            (self.budget, self.limits) = (Budget::new(order.limits.budget, cpus), order.limits);
        }
        match order.what {
            TraceOrder::Stop => {
                if self.state != State::Idle {
                    self.end("it was stopped".to_owned());
                }
            }
            TraceOrder::Price(request) => self.begin(request, false, kernel, images, candidates, now),
            TraceOrder::Start(request) => self.begin(request, true, kernel, images, candidates, now),
        }
    }

    fn begin(
        &mut self,
        request: TraceRequest,
        trace: bool,
        kernel: &mut Kernel,
        images: &[Option<Found>],
        candidates: Vec<Candidate>,
        now: Instant,
    ) {
        let same = self.request.as_ref().is_some_and(|old| (old.kind, &old.pool) == (request.kind, &request.pool));
        self.reason = String::new();
        (self.calls, self.missed, self.looked) = (0, Missed::default(), now);
        (self.counted, self.traced_calls) = (Counted::default(), 0);
        self.untraced.clear();
        self.command_ran_php = false;
        attach::detach(self.left.drain(..));
        self.started.clear();
        self.part.begin(monotonic());
        self.seen_calls = kernel.stat(stat::CALLS);
        if !same {
            self.price = None;
        }
        let pid = request.pid;
        self.request = Some(request);
        self.workers = Workers::new(candidates);
        if let Err(error) = self.measure_hit(kernel) {
            self.refuse(error.to_string());
        } else if let Some(pid) = pid {
            self.state = State::Tracing { since: now };
            // One that does not run PHP yet will run the first image, which was named for it, if it does at all. What it really
            // runs is told to `started`.
            let candidate = self.workers.of(pid).unwrap_or(Candidate { pid, image: 0, active_ns: 0 });
            let found = images.get(candidate.image).and_then(Option::as_ref);
            if found.is_some_and(|found| !found.moves && status::traceable(&found.image).is_ok()) {
                self.attach(kernel, images, candidate, now);
            }
        } else if self.workers.is_empty() {
            self.refuse(NONE_TRACEABLE.to_owned());
        } else if trace && self.price.is_some() {
            self.state = State::Tracing { since: now };
            self.workers.start();
        } else {
            self.state = State::Counting { workers: 0, until: now, then_trace: trace };
            self.workers.start();
        }
    }

    fn measure_hit(&mut self, kernel: &mut Kernel) -> Result<(), KernelError> {
        if self.hit.is_none() {
            self.hit = Some(price::hit(kernel)?);
        }
        Ok(())
    }

    /// A request has ended.
    pub(crate) fn request(&mut self, pid: u32, started_ns: u64) {
        if matches!(self.state, State::Tracing { .. }) && self.workers.contains(pid) {
            self.part.request(pid, started_ns);
        }
    }

    /// The pool that it is limited to.
    pub(crate) fn pool(&self) -> Option<Arc<str>> {
        self.request.as_ref()?.pool.clone()
    }

    /// When [`Self::step`] is due; `None` while there is nothing to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Idle | State::Priced | State::Ended | State::Unavailable => None,
            State::Counting { until, .. } => Some(until),
            State::Tracing { since } => {
                let next = if self.attached() == 0 {
                    self.budget.filled_in().max(LOOK.0)
                } else {
                    let load = self.price.map_or(0.0, |price| price.share()) * self.attached() as f64;
                    self.budget.lasts(load).unwrap_or(LOOK.1).clamp(LOOK.0, LOOK.1)
                };
                // A budget that is overdrawn by far must not put off the end.
                Some((self.looked + next).min((since + self.limits.limit).max(self.looked + LOOK.0)))
            }
        }
    }

    /// Does what is due: ends a slice, begins the next, or goes on counting.
    pub(crate) fn step(
        &mut self,
        kernel: &mut Kernel,
        images: &[Option<Found>],
        candidates: impl FnOnce() -> Vec<Candidate>,
    ) {
        let now = Instant::now();
        match self.state {
            State::Idle | State::Priced | State::Ended | State::Unavailable => {}
            State::Counting { workers, then_trace, .. } => {
                // They may come and go faster than they are counted.
                self.workers.renew(candidates());
                self.count(kernel, images, workers, then_trace, now);
            }
            State::Tracing { since } => self.trace(kernel, images, candidates, since, now),
        }
    }

    fn trace(
        &mut self,
        kernel: &mut Kernel,
        images: &[Option<Found>],
        candidates: impl FnOnce() -> Vec<Candidate>,
        since: Instant,
        now: Instant,
    ) {
        self.account(kernel, now);
        let Some(request) = &self.request else { return };
        if now - since >= self.limits.limit {
            let reason = format!("its limit of {} s is reached", self.limits.limit.as_secs());
            self.detach_all(kernel);
            self.end(reason);
            return;
        }
        if request.pid.is_some() {
            return;
        }
        if self.budget.is_spent() {
            self.detach_all(kernel);
            return;
        }
        // Others have their turn, too.
        let waiting = self.workers.len() > self.attached();
        let over = |slot: &Slot| waiting && now - slot.since >= TURN;
        for number in 0..self.slots.len() {
            if self.slots[number].as_ref().is_some_and(over) {
                self.detach(kernel, number);
            }
        }
        if self.attached() == 0 && !self.budget.is_full() {
            return;
        }
        // Without a price, next to nothing was called.
        let share = self.price.map_or(0.0, |price| price.share());
        let most = self.budget.affords(share).clamp(1, TRACED_THREADS);
        if self.attached() < most {
            let candidates = candidates();
            self.part.retain(&candidates.iter().map(|candidate| candidate.pid).collect());
            self.workers.renew(candidates);
        }
        while self.attached() < most {
            let attached: Vec<u32> = self.pids();
            let Some(candidate) = self.workers.next(&attached) else { return };
            if !self.attach(kernel, images, candidate, now) {
                return;
            }
        }
    }

    /// Takes in what was traced since the last look, and pays for it.
    fn account(&mut self, kernel: &Kernel, now: Instant) {
        self.budget.earn(now - self.looked);
        self.looked = now;
        self.pay_calls(kernel);
        self.price_by_traced(kernel);
    }

    /// Counts the calls since the last time, and pays for them.
    fn pay_calls(&mut self, kernel: &Kernel) {
        let calls = kernel.stat(stat::CALLS);
        let new = calls.saturating_sub(self.seen_calls);
        self.seen_calls = calls;
        self.calls += new;
        self.traced_calls += new;
        self.budget.pay(new as f64 * self.call_s(kernel));
    }

    /// A process has ended: its slot is free for another one.
    pub(crate) fn process_ended(&mut self, pid: u32, kernel: &mut Kernel) {
        let its = |slot: &Option<Slot>| slot.as_ref().is_some_and(|slot| slot.candidate.pid == pid);
        let Some(number) = self.slots.iter().position(its) else { return };
        if let State::Tracing { .. } = self.state {
            let of_command = self.traces_command();
            self.leave(kernel, number, of_command);
            if self.request.as_ref().is_some_and(|request| request.pid == Some(pid)) {
                self.end(format!("process {pid} has ended"));
            }
        }
    }

    /// Whether what an observed command starts is traced.
    pub(crate) fn traces_command(&self) -> bool {
        self.observes_command
            && matches!(self.state, State::Tracing { .. })
            && self.request.as_ref().is_some_and(|request| request.pid.is_some())
    }

    /// The observed command, or a process that it started, runs PHP from now on. `has_variable` says whether it was started so that
    /// its calls can be traced.
    pub(crate) fn started(
        &mut self,
        kernel: &mut Kernel,
        images: &[Option<Found>],
        candidate: Candidate,
        has_variable: Option<bool>,
    ) {
        let Some(found) = images.get(candidate.image).and_then(Option::as_ref) else { return };
        let its = |slot: &Option<Slot>| slot.as_ref().is_some_and(|slot| slot.candidate.pid == candidate.pid);
        let reason = match status::traceable(&found.image) {
            Err(unusable) => Some(unusable.reason),
            Ok(()) if found.moves => Some(Missing::MovingCode.to_string()),
            Ok(()) if has_variable == Some(false) => Some(WITHOUT_VARIABLE.to_owned()),
            Ok(()) => None,
        };
        if let Some(number) = self.slots.iter().position(its) {
            let known = self.slots[number].as_ref();
            if reason.is_none() && known.is_some_and(|slot| slot.candidate.image == candidate.image) {
                return;
            }
            self.detach(kernel, number);
        }
        let reason = match reason {
            None if self.slots.iter().all(Option::is_some) => {
                Some(format!("no more than {TRACED_THREADS} processes are traced at a time"))
            }
            None => {
                self.workers.add(candidate.clone());
                self.attach(kernel, images, candidate.clone(), Instant::now());
                None
            }
            reason => reason,
        };
        if self.started.len() < STARTED {
            self.started.insert(candidate.pid, reason.is_none().then(monotonic));
        }
        if let Some(reason) = reason {
            self.note_untraced(&reason);
        }
    }

    /// A process has run PHP. Of one that the observed command started, calls before it was attached are missing.
    pub(crate) fn ran(&mut self, request: &RequestText) {
        let command = self.request.as_ref().and_then(|order| order.pid).filter(|_| self.observes_command);
        let Some(command) = command else { return };
        self.command_ran_php = true;
        match self.started.get(&request.pid) {
            Some(Some(attached_ns)) if *attached_ns > request.started_ns => self.note_untraced(LATE),
            // The command itself was attached before it began.
            None if request.pid != command => self.note_untraced(GONE),
            _ => {}
        }
    }

    fn note_untraced(&mut self, reason: &str) {
        if self.untraced.len() < UNTRACED && !self.untraced.iter().any(|known| known == reason) {
            self.untraced.push(reason.to_owned());
        }
    }

    /// What tracing one call costs: two hits and the time in their programs.
    fn call_s(&self, kernel: &Kernel) -> f64 {
        let runs = kernel.stat(stat::CALL_RUNS);
        // Until some were timed; what is measured replaces it at once.
        const GUESS_NS: f64 = 150.0;
        let program = if runs == 0 { GUESS_NS } else { kernel.stat(stat::CALL_NS) as f64 / runs as f64 };
        2.0 * (self.hit.unwrap_or_default().as_secs_f64() + program / 1e9)
    }

    /// Traces one more process; `false` when that is not possible.
    fn attach(&mut self, kernel: &mut Kernel, images: &[Option<Found>], candidate: Candidate, now: Instant) -> bool {
        let Some(number) = self.slots.iter().position(Option::is_none) else { return false };
        self.attach_to_slot(kernel, images, number, candidate, now, None);
        self.slots[number].is_some()
    }

    fn attach_to_slot(
        &mut self,
        kernel: &mut Kernel,
        images: &[Option<Found>],
        number: usize,
        candidate: Candidate,
        now: Instant,
        only: Option<u32>,
    ) {
        let (Some(found), Some(request)) = (images.get(candidate.image).and_then(Option::as_ref), &self.request) else {
            return;
        };
        let began = thread_time();
        let attached = match found.moves {
            true => Err(Missing::MovingCode),
            false => Slot::attach(kernel, found, request.kind, number as u32, candidate, now, only),
        };
        match attached {
            Ok(slot) => {
                if only.is_none() {
                    self.part.open(slot.candidate.pid, monotonic());
                }
                self.slots[number] = Some(slot);
            }
            // It has ended meanwhile.
            Err(Missing::Kernel(KernelError::Attach(error))) if error.is_gone() => self.missed.ended += 1,
            Err(error) => {
                self.detach_all(kernel);
                self.refuse(error.to_string());
            }
        }
        self.budget.pay(seconds_since(began));
    }

    fn detach_all(&mut self, kernel: &mut Kernel) {
        for number in 0..self.slots.len() {
            self.detach(kernel, number);
        }
    }

    fn detach(&mut self, kernel: &mut Kernel, number: usize) {
        self.leave(kernel, number, false);
    }

    fn leave(&mut self, kernel: &mut Kernel, number: usize, has_ended: bool) {
        let Some(mut slot) = self.slots[number].take() else { return };
        let began = thread_time();
        if !has_ended {
            slot.detach();
        }
        self.part.close(slot.candidate.pid, monotonic());
        let used_ns = self.workers.cpu_time(slot.candidate.pid).saturating_sub(slot.candidate.active_ns);
        let left = slot.end(kernel, number as u32, &mut self.sums);
        if has_ended && self.left.len() < LEFT {
            self.left.extend(left);
        }
        if let State::Tracing { .. } = self.state {
            self.pay_calls(kernel);
        }
        self.workers.traced(used_ns);
        self.budget.pay(seconds_since(began));
    }

    /// What was found since the last call, by key of function.
    pub(crate) fn take(&mut self, kernel: &mut Kernel) -> Vec<(ContentKey, CallSums)> {
        if self.attached() > 0 && matches!(self.state, State::Tracing { .. }) {
            self.sums.read(kernel.tracing.sums());
        }
        self.sums.take().into_iter().collect()
    }

    /// Calls for which there was no room, since the last call.
    pub(crate) fn lost(&mut self) -> u64 {
        std::mem::take(&mut self.sums.lost)
    }

    fn end(&mut self, reason: String) {
        self.state = State::Ended;
        self.reason = reason;
    }

    fn refuse(&mut self, reason: String) {
        self.state = State::Unavailable;
        self.reason = reason;
    }

    fn attached(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn pids(&self) -> Vec<u32> {
        self.slots.iter().flatten().map(|slot| slot.candidate.pid).collect()
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

fn seconds_since(began: Duration) -> f64 {
    thread_time().saturating_sub(began).as_secs_f64()
}
