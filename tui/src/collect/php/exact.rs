//! The exact tier: prices tracing, then traces a part of the workers a part of the time, so that the budget is kept.
//!
//! Probes are attached to single processes, so that all others run without a trap, and only while there is budget left: most of
//! what a hit costs is the trap itself, which no program can avoid. What is read out is the sums' matter.

mod budget;
mod price;
mod sums;
mod workers;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tusktop_shared::{TRACED_THREADS, call, stat};

use self::{budget::Budget, price::Price, sums::Sums, workers::Workers};
pub use self::{sums::CallSums, workers::Candidate};
use super::{
    attach::Attachment,
    discover::Found,
    kernel::{Kernel, KernelError, Subject, Target},
    operand::Architecture,
    sites::{ProbeSite, Sites},
};
use crate::model::{self, ExactKind, ExactState};

/// How long calls are counted of one worker, and of how many at most until some are seen.
const COUNT: Duration = Duration::from_millis(100);
const COUNTED_WORKERS: u32 = 30;
/// Why nothing is traced where nothing can be.
const NOBODY: &str = "no process that could be traced runs here";
/// Calls that say enough about a worker.
const ENOUGH_CALLS: u64 = 100;
/// Longest time that a worker is traced while others wait for their turn.
const TURN: Duration = Duration::from_secs(2);
/// Shortest and longest time between two looks at what was spent.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// What to trace, and how far.
#[derive(Debug, Clone, PartialEq)]
pub struct ExactRequest {
    /// What.
    pub kind: ExactKind,
    /// Only this php-fpm pool.
    pub pool: Option<Arc<str>>,
    /// Only this process, which may not run PHP yet; it is not counted first.
    pub pid: Option<u32>,
    /// Share of all CPUs that tracing may take; infinite for no limit.
    pub budget: f64,
    /// When it ends by itself.
    pub limit: Duration,
}

/// What the exact tier is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Count calls and say what tracing would cost.
    Price(ExactRequest),
    /// Trace; where the price is not known, count first.
    Start(ExactRequest),
    /// End it.
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Counting { workers: u32, until: Instant, then_trace: bool },
    Priced,
    Tracing { since: Instant },
    Ended,
    Unavailable,
}

/// How often calls could not be counted.
#[derive(Debug, Clone, Copy, Default)]
struct Missed {
    /// The process had ended.
    ended: u32,
    /// There was none.
    absent: u32,
}

/// A process whose calls are traced or counted.
#[derive(Debug)]
struct Slot {
    candidate: Candidate,
    since: Instant,
    _attachments: Vec<Attachment>,
}

/// The state of exact tracing.
#[derive(Debug)]
pub struct Exact {
    request: Option<ExactRequest>,
    state: State,
    reason: String,
    workers: Workers,
    slots: Vec<Option<Slot>>,
    budget: Budget,
    price: Option<Price>,
    /// What one hit costs without its program.
    hit: Option<Duration>,
    sums: Sums,
    /// When time was last counted, and calls by then.
    looked: Instant,
    seen_calls: u64,
    calls: u64,
    missed: Missed,
}

impl Exact {
    /// Nothing is traced.
    pub fn new(now: Instant) -> Self {
        Self {
            request: None,
            state: State::Idle,
            reason: String::new(),
            workers: Workers::default(),
            slots: (0..TRACED_THREADS).map(|_| None).collect(),
            budget: Budget::new(0.0, 0),
            price: None,
            hit: None,
            sums: Sums::default(),
            looked: now,
            seen_calls: 0,
            calls: 0,
            missed: Missed::default(),
        }
    }

    /// Follows an order.
    pub fn order(&mut self, order: Order, kernel: &mut Kernel, images: &[Found], candidates: Vec<Candidate>) {
        let now = Instant::now();
        self.detach_all(kernel, now);
        match order {
            Order::Stop => {
                if self.state != State::Idle {
                    self.end("it was stopped".to_owned());
                }
            }
            Order::Price(request) => self.begin(request, false, kernel, images, candidates, now),
            Order::Start(request) => self.begin(request, true, kernel, images, candidates, now),
        }
    }

    fn begin(
        &mut self,
        request: ExactRequest,
        trace: bool,
        kernel: &mut Kernel,
        images: &[Found],
        candidates: Vec<Candidate>,
        now: Instant,
    ) {
        let same = self.request.as_ref().is_some_and(|old| (old.kind, &old.pool) == (request.kind, &request.pool));
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.budget = Budget::new(request.budget, cpus);
        self.reason = String::new();
        (self.calls, self.missed, self.looked) = (0, Missed::default(), now);
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
            // One that does not run PHP yet will run the first image, which was named for it.
            let candidate = self.workers.of(pid).unwrap_or(Candidate { pid, image: 0, active_ns: 0 });
            self.attach(kernel, images, candidate, now);
        } else if self.workers.is_empty() {
            self.refuse(NOBODY.to_owned());
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

    /// The pool that it is limited to.
    pub fn pool(&self) -> Option<Arc<str>> {
        self.request.as_ref()?.pool.clone()
    }

    /// When [`Self::step`] is due; `None` while there is nothing to do.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Idle | State::Priced | State::Ended | State::Unavailable => None,
            State::Counting { until, .. } => Some(until),
            State::Tracing { .. } if self.attached() == 0 => Some(self.looked + self.budget.filled_in().max(LOOK.0)),
            State::Tracing { .. } => {
                let load = self.price.map_or(0.0, |price| price.share()) * self.attached() as f64;
                let lasts = self.budget.lasts(load).unwrap_or(LOOK.1);
                Some(self.looked + lasts.clamp(LOOK.0, LOOK.1))
            }
        }
    }

    /// Does what is due: ends a slice, begins the next, or goes on counting.
    pub fn step(&mut self, kernel: &mut Kernel, images: &[Found], candidates: impl FnOnce() -> Vec<Candidate>) {
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

    /// Counts the calls of one worker after another, until enough were seen.
    fn count(&mut self, kernel: &mut Kernel, images: &[Found], workers: u32, then_trace: bool, now: Instant) {
        let counted = self.slots[0].as_ref().map(|slot| slot.candidate.clone());
        let calls = kernel.stat(stat::CALLS) - self.seen_calls;
        self.slots[0] = None;
        if let Some(candidate) = counted {
            let cpu = workers::cpu_time(candidate.pid).saturating_sub(candidate.active_ns);
            let hit_s = self.hit.unwrap_or_default().as_secs_f64();
            // What one that has ended used meanwhile is not known.
            if workers::cpu_time(candidate.pid) == 0 {
                self.missed.ended += 1;
            } else if calls >= ENOUGH_CALLS || (workers >= COUNTED_WORKERS && calls > 0) {
                let price = Price::of(calls, Duration::from_nanos(cpu), hit_s, self.call_s(kernel));
                self.price = Some(price);
                self.state = if then_trace { State::Tracing { since: now } } else { State::Priced };
                self.looked = now;
                self.seen_calls = kernel.stat(stat::CALLS);
                return;
            }
        }
        if workers >= COUNTED_WORKERS {
            let seconds = COUNTED_WORKERS / 10;
            self.refuse(match self.missed {
                Missed { absent, .. } if absent > COUNTED_WORKERS / 2 => NOBODY.to_owned(),
                Missed { ended: 0, .. } => {
                    format!("no PHP function was called in {seconds} s: there is nothing to trace")
                }
                _ => "the processes end before their calls and CPU time are counted (pm.max_requests)".to_owned(),
            });
            return;
        }
        self.seen_calls = kernel.stat(stat::CALLS);
        // There may be none for a moment, until the next worker is known.
        if let Some(candidate) = self.workers.next(&[]) {
            self.attach_to_slot(kernel, images, 0, candidate, now, Some(call::COUNT));
        } else {
            self.missed.absent += 1;
        }
        if !matches!(self.state, State::Unavailable) {
            self.state = State::Counting { workers: workers + 1, until: now + COUNT, then_trace };
        }
    }

    fn trace(
        &mut self,
        kernel: &mut Kernel,
        images: &[Found],
        candidates: impl FnOnce() -> Vec<Candidate>,
        since: Instant,
        now: Instant,
    ) {
        self.budget.earn(now - self.looked);
        self.looked = now;
        self.pay_calls(kernel);
        let Some(request) = &self.request else { return };
        if now - since >= request.limit {
            let reason = format!("its limit of {} s is reached", request.limit.as_secs());
            self.detach_all(kernel, now);
            self.end(reason);
            return;
        }
        if request.pid.is_some() {
            return;
        }
        if self.budget.is_spent() {
            self.detach_all(kernel, now);
            return;
        }
        // Others have their turn, too.
        let waiting = self.workers.len() > self.attached();
        let over = |slot: &Slot| waiting && now - slot.since >= TURN;
        for number in 0..self.slots.len() {
            if self.slots[number].as_ref().is_some_and(over) {
                self.detach(kernel, number, now);
            }
        }
        if self.attached() == 0 && !self.budget.is_full() {
            return;
        }
        let share = self.price.map_or(1.0, |price| price.share());
        let most = self.budget.affords(share).clamp(1, TRACED_THREADS);
        if self.attached() < most {
            self.workers.renew(candidates());
        }
        while self.attached() < most {
            let attached: Vec<u32> = self.pids();
            let Some(candidate) = self.workers.next(&attached) else { return };
            if !self.attach(kernel, images, candidate, now) {
                return;
            }
        }
    }

    /// Counts the calls since the last time, and pays for them.
    fn pay_calls(&mut self, kernel: &Kernel) {
        let calls = kernel.stat(stat::CALLS);
        let new = calls.saturating_sub(self.seen_calls);
        self.seen_calls = calls;
        self.calls += new;
        self.budget.pay(new as f64 * self.call_s(kernel));
    }

    /// A process has ended: its slot is free for another one.
    pub fn process_ended(&mut self, pid: u32, kernel: &mut Kernel) {
        let its = |slot: &Option<Slot>| slot.as_ref().is_some_and(|slot| slot.candidate.pid == pid);
        let Some(number) = self.slots.iter().position(its) else { return };
        if let State::Tracing { .. } = self.state {
            self.detach(kernel, number, Instant::now());
            if self.request.as_ref().is_some_and(|request| request.pid == Some(pid)) {
                self.end(format!("process {pid} has ended"));
            }
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
    fn attach(&mut self, kernel: &mut Kernel, images: &[Found], candidate: Candidate, now: Instant) -> bool {
        let Some(number) = self.slots.iter().position(Option::is_none) else { return false };
        self.attach_to_slot(kernel, images, number, candidate, now, None);
        self.slots[number].is_some()
    }

    fn attach_to_slot(
        &mut self,
        kernel: &mut Kernel,
        images: &[Found],
        number: usize,
        mut candidate: Candidate,
        now: Instant,
        only: Option<u32>,
    ) {
        let (Some(found), Some(request), Some(architecture)) =
            (images.get(candidate.image), &self.request, Architecture::current())
        else {
            return;
        };
        let began = clock_gettime(ClockId::ThreadCPUTime);
        let slot = number as u32;
        let attached = sites(&found.image.sites, request.kind).map_err(KernelError::Sites).and_then(|sites| {
            let entry = sites.iter().find(|(kind, _)| *kind == call::FUNCTION);
            let tells = found.image.offsets.is_some_and(|offsets| offsets.tells_traits);
            let arguments = entry.map(|(_, site)| &site.arguments).filter(|_| tells);
            kernel.tracing.prepare(slot, Subject { pid: candidate.pid, architecture, arguments })?;
            let wanted = sites.iter().filter(|(kind, _)| only.is_none() || *kind != call::RETURN);
            let sites: Vec<_> =
                wanted.map(|(kind, site)| (u64::from(only.unwrap_or(*kind) | slot << 8), site)).collect();
            let path = found.handle();
            kernel.attach_calls(Target { image: candidate.image as u32, path: &path, pid: Some(candidate.pid) }, &sites)
        });
        match attached {
            Ok(attachments) => {
                candidate.active_ns = workers::cpu_time(candidate.pid);
                self.slots[number] = Some(Slot { candidate, since: now, _attachments: attachments });
            }
            // It has ended meanwhile.
            Err(KernelError::Attach(error)) if error.is_gone() => self.missed.ended += 1,
            Err(error) => {
                self.detach_all(kernel, now);
                self.refuse(error.to_string());
            }
        }
        self.budget.pay(seconds_since(began));
    }

    fn detach_all(&mut self, kernel: &mut Kernel, now: Instant) {
        for number in 0..self.slots.len() {
            self.detach(kernel, number, now);
        }
    }

    fn detach(&mut self, kernel: &mut Kernel, number: usize, _now: Instant) {
        let Some(slot) = self.slots[number].take() else { return };
        let began = clock_gettime(ClockId::ThreadCPUTime);
        let Slot { candidate, _attachments: attachments, .. } = slot;
        drop(attachments);
        if let State::Tracing { .. } = self.state {
            self.pay_calls(kernel);
        }
        let cpu = self.workers.cpu_time(candidate.pid).saturating_sub(candidate.active_ns);
        self.workers.traced(cpu);
        kernel.set_traced(candidate.pid, None);
        self.sums.read(kernel.tracing.sums());
        if let Some(traced) = kernel.tracing.traced(number as u32) {
            self.sums.cut(&traced, super::collector::monotonic());
        }
        kernel.tracing.forget(number as u32);
        self.sums.forget(number as u32);
        self.budget.pay(seconds_since(began));
    }

    /// What was found since the last call, by key of function.
    pub fn take(&mut self, kernel: &mut Kernel) -> Vec<(u64, CallSums)> {
        if self.attached() > 0 && matches!(self.state, State::Tracing { .. }) {
            self.sums.read(kernel.tracing.sums());
        }
        self.sums.take().into_iter().collect()
    }

    /// Calls for which there was no room, since the last call.
    pub fn lost(&mut self) -> u64 {
        std::mem::take(&mut self.sums.lost)
    }

    /// How it stands; `None` when it was never asked for.
    pub fn status(&mut self) -> Option<model::Exact> {
        let request = self.request.as_ref()?;
        let now = Instant::now();
        let (state, running) = match self.state {
            State::Idle => return None,
            State::Counting { .. } => (ExactState::Counting, None),
            State::Priced => (ExactState::Priced, None),
            State::Tracing { since } => (ExactState::Tracing, Some(now - since)),
            State::Ended => (ExactState::Ended, None),
            State::Unavailable => (ExactState::Unavailable, None),
        };
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
        let call_s = self.price.map(|price| price.call_s);
        Some(model::Exact {
            state,
            kind: request.kind,
            reason: self.reason.clone(),
            pool: request.pool.clone(),
            candidates: self.workers.len() as u32,
            pids: self.pids(),
            budget_ratio: request.budget.is_finite().then_some(request.budget),
            spent_ratio: running
                .filter(|time| !time.is_zero())
                .map(|time| self.budget.spent_s() / time.as_secs_f64() / cpus),
            calls_per_cpu_s: self.price.map(|price| price.calls_per_cpu_s),
            call_ns: call_s.map(|seconds| seconds * 1e9),
            slowdown: self.price.map(|price| price.slowdown()),
            traced_ratio: self.workers.traced_ratio(self.calls as f64 * call_s.unwrap_or(0.0)),
            calls: self.calls,
            left_ms: running.map(|time| request.limit.saturating_sub(time).as_millis() as u64),
        })
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

fn seconds_since(began: rustix::time::Timespec) -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    (now.tv_sec - began.tv_sec) as f64 + (now.tv_nsec - began.tv_nsec) as f64 / 1e9
}

/// The sites of a kind of tracing, each with its kind. The returns come first: an entry that is seen has its return seen.
fn sites(sites: &Sites, kind: ExactKind) -> Result<Vec<(u32, ProbeSite)>, String> {
    let some = |name: &str| match sites.probe(name) {
        Ok(found) if found.is_empty() => Err(format!("it has no probe {name}")),
        found => found,
    };
    let entries = some("function__entry")?;
    let mut numbered: Vec<(u32, ProbeSite)> = Vec::new();
    match kind {
        ExactKind::Functions => {
            numbered.extend(some("function__return")?.into_iter().map(|site| (call::RETURN, site)));
            numbered.extend(entries.into_iter().map(|site| (call::FUNCTION, site)));
        }
        ExactKind::Lines => {
            let executes = some("execute__entry")?;
            numbered.extend(some("execute__return")?.into_iter().map(|site| (call::RETURN, site)));
            // PHP code and built-in functions run in two C functions; the former has the function probes, too.
            let distance = |site: &ProbeSite| entries.iter().map(|entry| entry.address.abs_diff(site.address)).min();
            let nearest = executes.iter().filter_map(distance).min();
            numbered.extend(executes.into_iter().map(|site| {
                let kind = if distance(&site) == nearest { call::FILE } else { call::INTERNAL };
                (kind, site)
            }));
        }
    }
    Ok(numbered)
}
