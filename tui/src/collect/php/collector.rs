//! Joins discovery, the kernel's maps and the names: one task that owns them all and answers ticks.

use std::{
    collections::HashSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    process::{Pid, Signal, kill_process, setpriority_process},
    time::{ClockId, clock_gettime},
};
use tokio::sync::mpsc;
use tusktop_shared::{ContentKey, Process, RequestEvent, Wait, failure_of, share, stat};

use super::{
    CallSums, CurrentWait, FinishedRequest, Now, Options, Order, PhpSample, RequestText, Sapi, Work,
    before::{self, Blocked, Running, Thread},
    find::{discover::Mapped, family::Family, following::Following, moves, runtime},
    kernel::{
        Kernel,
        event::Event,
        ring::{self, Rings, Unwatched},
    },
    threads::{self, Threads},
    tier::{
        ImageTiers,
        exact::{Candidate, Exact},
        governor::Governor,
        pools::Scoreboards,
        problems::{self, Failures},
        requests::Requests,
        sampling::{Lines, Names, SampledLines, Stacks},
        waiting::{self, Waits, now::KernelFunctions},
    },
};
use crate::{
    collect::{Sample, Tick, bpf::wire, procfs::Procfs, reads::Reads, trust::Owners},
    model::{self, Drops, FunctionKey, Notice, Tier, TraceOrder},
    system::{heap, users::Users},
};

/// Longest time between two readings of the counts, so that their maps do not fill up under a long interval.
const READING: Duration = Duration::from_secs(1);

/// Priority of a thread that others have to wait for (setpriority(2)).
const URGENT: i32 = -20;

/// Time between two looks at whether what the kernel's maps hold still is there.
const SWEEP: Duration = Duration::from_secs(30);

/// Events that are handled at once, before it is looked whether a tick is due: some milliseconds.
const EVENTS_AT_ONCE: usize = 4_096;

/// Runs until the ticks end. Nearly all that it does is a system call that may block, so it is alone on its thread.
pub(crate) async fn run(
    options: Options,
    mut ticks: mpsc::Receiver<Tick>,
    mut orders: mpsc::Receiver<Order>,
    samples: mpsc::Sender<Sample>,
) {
    if options.root.is_some() && options.exact.is_some() {
        // PHP that the command starts has to be attached before it has come to its first function, also where every CPU is busy.
        // The threads that are started here have the same priority. Without the right to it, more is late, which is said.
        let _ = setpriority_process(None, URGENT);
    }
    let (mut collector, rings) = Collector::start(&options);
    let mut rings = rings.and_then(|rings| collector.watch(rings));
    let mut sweep = tokio::time::interval_at(tokio::time::Instant::now() + SWEEP, SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut reading = tokio::time::interval(READING);
    reading.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut more = false;
    loop {
        tokio::select! {
            biased;
            // Before the ticks, so that an answer is never older than an order that was given before its question.
            Some(order) = orders.recv() => collector.order(order),
            tick = ticks.recv() => {
                if tick.is_none() {
                    return;
                }
                collector.gather(rings.as_mut());
                reading.reset();
                if samples.send(Sample::Php(Box::new(collector.sample()))).await.is_err() {
                    return;
                }
            }
            () = until(collector.exact.due()) => collector.trace(),
            _ = sweep.tick() => collector.sweep(),
            _ = reading.tick() => collector.gather(rings.as_mut()),
            Ok(()) = async { if more { Ok(()) } else { ring::readable(&mut rings).await } } => {
                more = collector.drain(rings.as_mut());
            }
        }
    }
}

/// Waits for a moment; forever when there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

struct Collector {
    kernel: Option<Kernel>,
    failure: Option<Notice>,
    tiers: ImageTiers,
    governor: Governor,
    following: Following,
    names: Names,
    exact: Exact,
    failures: Failures,
    scoreboards: Scoreboards,
    threads: Threads,
    requests: Requests,
    waits: Waits,
    kernel_functions: KernelFunctions,
    stacks: Stacks,
    lines: Lines,
    users: Users,
    /// What was said of processes and is to be followed.
    events: Vec<Event>,
    /// Records of the rings that were not understood, and processes that the kernel had no room for.
    dropped: u64,
    stats: [u64; stat::COUNT as usize],
}

impl Collector {
    fn start(options: &Options) -> (Self, Option<Unwatched>) {
        let (mut kernel, rings, failure) = match Kernel::load() {
            Ok((kernel, rings)) => (Some(kernel), Some(rings), None),
            Err(error) => (None, None, Some(error.notice())),
        };
        let mut collector = Self {
            tiers: ImageTiers::start(kernel.as_mut(), options.hz),
            governor: Governor::default(),
            kernel,
            failure,
            following: Following::default(),
            names: Names::default(),
            exact: Exact::new(Instant::now(), options.root.is_some()),
            failures: Failures::new(options.secrets),
            scoreboards: Scoreboards::default(),
            threads: Threads::default(),
            requests: Requests::new(options.secrets),
            waits: Waits::default(),
            kernel_functions: KernelFunctions::default(),
            stacks: Stacks::default(),
            lines: Lines::default(),
            users: Users::default(),
            events: Vec::new(),
            dropped: 0,
            stats: [0; stat::COUNT as usize],
        };
        collector.following.discovery.owners = Owners::new(options.owners.clone());
        collector.following.discovery.moves = options.moves_code || moves::is_configured(Path::new("/"));
        if let Some(tusktop) = &options.tusktop {
            collector.following.discovery.reads = Reads::new(Procfs::default(), tusktop.clone());
        }
        collector.following.family = options.root.map(Family::of);
        for program in &options.programs {
            collector.following.discovery.program(program);
        }
        collector.following.start();
        collector.observe();
        collector.following.work_at_start();
        collector.note_doing();
        heap::trim();
        if let Some(order) = &options.exact {
            collector.order(order.clone());
        }
        (collector, rings)
    }

    fn watch(&mut self, rings: Unwatched) -> Option<Rings> {
        match Rings::watch(rings) {
            Ok(rings) => Some(rings),
            Err(error) => {
                self.failure = Some(Notice::events_unreadable(&error));
                None
            }
        }
    }

    /// Has the kernel observe processes that were found to run PHP. From then on it sees what they begin to do; what they had begun
    /// before is looked at.
    fn observe(&mut self) {
        let found = self.following.take_found();
        let pids: Vec<u32> = found.iter().map(|(pid, _)| *pid).collect();
        self.tell(found);
        self.put_doing(pids);
    }

    /// Has it looked at what these processes do.
    fn put_doing(&mut self, pids: Vec<u32>) {
        if self.following.have_threads(&pids)
            && let Some(kernel) = &mut self.kernel
        {
            match kernel.thread_pointers() {
                Ok(threads) => {
                    let thread = |(tid, pointer)| Thread { tid, pointer: Some(pointer) };
                    let threads = threads.into_iter().map(|(pid, of)| (pid, of.into_iter().map(thread).collect()));
                    self.following.tell_threads(threads.collect());
                }
                Err(error) => {
                    self.failure.get_or_insert_with(|| Notice::threads_unreadable(&error));
                }
            }
        }
        self.following.put_doing(pids);
    }

    /// Tells the programs what processes did when they were looked at, and takes back what has ended meanwhile.
    fn note_doing(&mut self) {
        let mut any = false;
        for (pid, mapped, running) in self.following.take_doing() {
            let Some(kernel) = &mut self.kernel else { continue };
            let Some(layout) = self.following.discovery.image(mapped.image).map(|found| found.image.clone()) else {
                continue;
            };
            let reads = &mut self.following.discovery.reads;
            let Running { thread, request, start_known, blocked } = running;
            let id = u64::from(pid) << 32 | u64::from(thread.tid);
            any = true;
            // Where requests are not observed, their end would never be seen.
            let mut of_request = 0;
            if self.tiers.observes_requests(mapped.image) && kernel.add_request(id, request) {
                if before::is_running(reads, pid, thread, &layout, mapped.bias).unwrap_or(false) {
                    self.requests.found(&request, start_known);
                    of_request = request.started_ns;
                } else {
                    kernel.take_request_back(id, request.started_ns);
                }
            }
            let Some(Blocked { frames, truncated, switches }) = blocked else { continue };
            let Some(stack) = self.names.hold(&frames, truncated, request.user) else { continue };
            let wait = Wait {
                since_ns: monotonic(),
                request: of_request,
                stack: stack.hash,
                user: request.user,
                skipped: 0,
                skipped_ns: 0,
                skipped_request: 0,
                ended_ns: 0,
            };
            if kernel.add_wait(id, wait) {
                if before::switches(reads, pid, thread.tid).is_ok_and(|now| now == switches) {
                    self.waits.began_before(id, wait.since_ns);
                } else {
                    kernel.take_wait_back(id, wait);
                }
            }
        }
        if let Some(kernel) = self.kernel.as_mut().filter(|_| any) {
            kernel.count_threads();
        }
    }

    fn tell(&mut self, found: impl IntoIterator<Item = (u32, Mapped)>) {
        let images = &self.following.discovery.images;
        let left = self.tiers.leave(images);
        if let Some(kernel) = &mut self.kernel {
            for image in left {
                kernel.forget_image(image);
                self.failures.forget(image, &mut kernel.failures);
            }
        }
        self.tiers.attach(self.kernel.as_mut(), images);
        let Some(kernel) = &mut self.kernel else { return };
        for (pid, mapped) in found {
            let user = self.following.discovery.reads.procfs.uid(pid).unwrap_or(share::OTHERS);
            let (image, master) = (mapped.image as u32, self.following.master_of(pid));
            if kernel
                .add_process(pid, Process { bias: mapped.bias, image, user, master, ..Process::default() })
                .is_err()
            {
                self.dropped += 1;
            }
        }
    }

    /// A process has just been started. Where it will move its code, the traps in it have to go before: the kernel needs longer
    /// for that than PHP to start, so this one start is held up.
    fn started(&mut self, pid: u32, mapped: Mapped, was_found: bool) {
        let moves = self.following.discovery.image(mapped.image).is_some_and(|found| found.moves)
            && self.tiers.has_traps(mapped.image);
        let process = Pid::from_raw(pid.cast_signed()).filter(|_| moves);
        let held = process.filter(|&process| kill_process(process, Signal::STOP).is_ok());
        let is_new = !self.tiers.has_traps(mapped.image);
        self.tell([(pid, mapped)]);
        if is_new || was_found {
            // It may have begun before its file was attached.
            self.put_doing(vec![pid]);
        } else {
            self.following.know(pid);
        }
        self.trace_started(pid, mapped);
        if let Some(process) = held {
            // It may have been killed meanwhile.
            let _ = kill_process(process, Signal::CONT);
        }
    }

    /// Traces PHP that an observed command has started, from its start.
    fn trace_started(&mut self, pid: u32, mapped: Mapped) {
        if !self.exact.traces_command() || !self.following.counts(pid) {
            return;
        }
        let reads = &mut self.following.discovery.reads;
        let variable = reads.of(pid, move |procfs| Ok(runtime::environment_at_start(procfs, pid))).ok().flatten();
        let Some(kernel) = &mut self.kernel else { return };
        let candidate = Candidate { pid, image: mapped.image, active_ns: 0 };
        self.exact.started(kernel, &self.following.discovery.images, candidate, variable);
    }

    /// Begins or ends exact tracing.
    fn order(&mut self, order: Order) {
        // Whether a process can be traced is known of its master, which may be new.
        self.following.read_masters();
        let pool = match &order.what {
            TraceOrder::Price(request) | TraceOrder::Start(request) => request.pool.clone(),
            TraceOrder::Stop => None,
        };
        let candidates = self.following.candidates(pool.as_deref());
        if let Some(kernel) = &mut self.kernel {
            self.exact.order(order, kernel, &self.following.discovery.images, candidates);
        }
    }

    /// Does what exact tracing has to do now.
    fn trace(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        let (following, pool) = (&self.following, self.exact.pool());
        self.exact.step(kernel, &following.discovery.images, || following.candidates(pool.as_deref()));
    }

    /// Handles events that wait in the rings; true when there may be more than were handled.
    ///
    /// What is said of processes is taken first and followed last: then all requests that ended before are known, so that none
    /// ends in a process that seems to be gone.
    fn drain(&mut self, rings: Option<&mut Rings>) -> bool {
        let Some(rings) = rings else { return false };
        let processes = rings.processes.get_mut();
        while self.events.len() < EVENTS_AT_ONCE
            && let Some(record) = processes.next()
        {
            match Event::decode(&record) {
                Some(event) => self.events.push(event),
                None => self.dropped += 1,
            }
        }
        let full = self.events.len() == EVENTS_AT_ONCE;
        let requests = rings.requests.get_mut();
        for taken in 0..EVENTS_AT_ONCE {
            let Some(record) = requests.next() else {
                if let Some(kernel) = self.kernel.as_mut().filter(|_| taken > 0) {
                    kernel.ring_is_empty();
                }
                self.follow();
                return full;
            };
            let request = wire::read::<RequestEvent>(&record);
            drop(record);
            match request {
                Some(request) => self.request_ended(self.requests.decode(&request)),
                None => self.dropped += 1,
            }
        }
        if full {
            self.follow();
        }
        true
    }

    /// Follows what was said of processes.
    fn follow(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            match event {
                Event::Exec { pid } => {
                    let was_found = self.following.exec(pid);
                    for (found, mapped) in self.following.take_found() {
                        self.started(found, mapped, was_found && found == pid);
                    }
                }
                Event::Fork { parent, child } => {
                    self.following.fork(parent, child);
                    if let Some(mapped) = self.following.mapped(child) {
                        self.trace_started(child, mapped);
                    }
                }
                Event::Exit { pid } => {
                    self.following.end(pid);
                    if let Some(kernel) = &mut self.kernel {
                        self.exact.process_ended(pid, kernel);
                    }
                }
                Event::Storm => self.storm(),
            }
        }
        // Its room is used again.
        self.events = events;
    }

    /// Forgets in the kernel what is gone without an event.
    fn sweep(&mut self) {
        let procfs = &self.following.discovery.reads.procfs;
        if let Some(kernel) = &mut self.kernel {
            kernel.sweep(|pid| procfs.is_there(pid));
            if let Ok(waiting) = kernel.waiting() {
                let stacks: HashSet<ContentKey> =
                    waiting.iter().map(|(_, wait)| ContentKey::new(wait.stack, wait.user)).collect();
                self.names.let_go(|key| stacks.contains(&key));
            }
        }
    }

    /// Hits of probes take too much of a CPU: what takes most rests for a while.
    fn storm(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        let Some((image, program)) = self.governor.blamed(kernel) else { return };
        if self.tiers.rest(image, program) == Some(Tier::Requests) {
            kernel.forget_requests(image);
        }
    }

    fn request_ended(&mut self, finished: FinishedRequest) {
        self.following.request(&finished.request);
        self.exact.request(finished.request.pid, finished.request.started_ns);
        if !self.following.counts(finished.request.pid) {
            return;
        }
        self.exact.ran(&finished.request);
        self.requests.ended(finished);
    }

    /// Takes events and counts out of the kernel.
    ///
    /// The order matters: a sample that was counted before the maps are turned belongs to a request that still runs
    /// afterwards, or whose end is in the ring by then.
    fn gather(&mut self, rings: Option<&mut Rings>) {
        self.following.go_on();
        self.observe();
        self.note_doing();
        let Some(kernel) = &mut self.kernel else { return };
        kernel.follow_cpus();
        let turned = kernel.turn_counts();
        self.requests.look(kernel);
        self.drain(rings);
        let following = &mut self.following;
        let exact = &mut self.exact;
        self.requests.settle(|request| {
            following.request(request);
            let counts = following.counts(request.pid);
            if counts {
                exact.ran(request);
            }
            counts
        });
        let Some(kernel) = &mut self.kernel else { return };
        let counts = turned.and_then(|()| kernel.take_counts());
        match counts.and_then(|counts| Ok((counts, kernel.waiting()?))) {
            Ok((mut counts, waiting)) => {
                let failed = counts.extract_if(.., |(key, _)| failure_of(key.stack).is_some());
                let failed = failed.filter(|(key, _)| self.following.counts(key.pid));
                self.failures.by_request.add(failed, &self.requests);
                self.waits.settle(&mut counts, waiting, monotonic());
                counts.retain(|(key, _)| self.following.counts(key.pid));
                self.stacks.add(counts, &mut self.names, kernel, &self.requests);
            }
            Err(error) => {
                self.failure = Some(Notice::samples_unreadable(&error));
            }
        }
        while let Some(sample) = kernel.take_lines(SampledLines::decode) {
            match sample {
                Some(sample) if self.following.counts(sample.pid) => self.lines.add(&sample, &mut self.names, kernel),
                Some(_) => {}
                None => self.dropped += 1,
            }
        }
        self.governor.look(kernel);
        let awake = self.tiers.wake(kernel, &self.following.discovery.images);
        // What began meanwhile was not seen.
        let unseen: Vec<u32> = awake.into_iter().flat_map(|image| self.following.of_image(image)).collect();
        self.put_doing(unseen);
        let Some(kernel) = &mut self.kernel else { return };
        self.names.make_room(kernel);
        if self.failures.gather(&mut kernel.failures) > problems::CATCHES {
            self.tiers.leave_catches();
        }
        if self.failures.has_made_room() {
            kernel.count_failures();
        }
        self.requests.end_reading();
    }

    /// Lets go of images that no process runs any more, and of those whose file was changed in place.
    fn release(&mut self) {
        let released = self.following.release();
        for pid in self.following.released(&released) {
            if let Some(kernel) = &mut self.kernel {
                self.exact.process_ended(pid, kernel);
            }
        }
    }

    /// Makes the sample of the interval that ends now.
    fn sample(&mut self) -> PhpSample {
        self.release();
        self.following.tick();
        self.observe();
        let mut processes = self.following.take();
        // What is due must not wait for a moment without ticks.
        if self.exact.due().is_some_and(|due| due <= Instant::now()) {
            self.trace();
        }
        let (exact, calls) = self.calls();
        let masters = self.following.masters();
        // All of them: a snapshot lists only some.
        let is_fpm = |(image, _): &&(usize, model::Master)| {
            self.following.discovery.image(*image).is_some_and(|found| found.image.sapi == Sapi::Fpm)
        };
        let fpm_masters: Vec<u32> = masters.iter().filter(is_fpm).map(|(_, master)| master.pid).collect();
        let (finished, mut running) = self.requests.take();
        // What has run for the longest time comes first, for not all may have room.
        running.sort_unstable_by_key(|request| request.started_ns);
        let requests = threads::requests(&finished, &running);
        self.threads.update(requests, &mut processes, &mut self.following.discovery.reads);
        let waits = self.current_waits(&running);
        let mut sample = PhpSample {
            root: self.following.family.as_ref().map(Family::root),
            now: now(),
            stacks: self.stacks.take(),
            lines: self.lines.take(),
            finished,
            running,
            waits,
            targets: self.tiers.targets(&self.following.discovery.images, &processes, masters),
            processes,
            exact,
            calls,
            notices: self.failure.iter().cloned().collect(),
            ..PhpSample::default()
        };
        sample.pools = self.scoreboards.read(fpm_masters, &mut self.following.discovery.reads);
        let workers = self.following.workers();
        let worker = |pool: &model::Scoreboard| {
            // A name that php-fpm has cut is the start of the worker's.
            workers.get(&pool.master)?.iter().find(|(name, _)| name.starts_with(&*pool.name)).map(|(_, pid)| *pid)
        };
        let reads = &mut self.following.discovery.reads;
        let since = self.scoreboards.read_queues(&mut sample.pools, worker, reads, sample.now.monotonic_ns);
        for (pool, since_ns) in sample.pools.iter_mut().zip(since) {
            pool.queue_since = since_ns.and_then(|since_ns| sample.now.moment(since_ns));
        }
        let unread = self.scoreboards.unread();
        sample.notices.extend((unread > 0).then(|| Notice::pools_unread(unread)));
        if let Some(kernel) = &self.kernel {
            (sample.failures, sample.compiles) = self.failures.take(&kernel.failures);
            let ended = sample.finished.iter().map(|finished| &finished.request);
            let exceeded = ended.filter_map(|request| Some((request, request.exhausted?)));
            let place = |(request, key)| Some((Arc::clone(request), self.failures.of(key, &kernel.failures)?));
            sample.exhausted = exceeded.filter_map(place).collect();
        }
        if self.following.family.is_some() {
            // What ran is of interest here, not what still runs.
            for target in &mut sample.targets {
                let of_target = sample.processes.iter().filter(|process| Some(process.image) == target.image);
                target.pids = of_target.map(|process| process.pid).collect();
                target.pids.dedup();
            }
        }
        self.count(&mut sample);
        sample.notices.append(&mut self.following.notices());
        let (unobserved, counts) = (&self.following.discovery.unobserved, |pid| self.following.counts(pid));
        sample.targets.extend(unobserved.targets(&mut self.users, counts));
        sample.notices.extend(unobserved.notices(&mut self.users, counts));
        sample
    }

    /// What the requests that run wait in.
    fn current_waits(&mut self, running: &[Arc<RequestText>]) -> Vec<CurrentWait> {
        let Some(kernel) = &self.kernel else { return Vec::new() };
        let reads = &mut self.following.discovery.reads;
        let (lasting, functions) = (self.waits.lasting(), &mut self.kernel_functions);
        waiting::now::of(running, lasting, monotonic(), functions, &mut self.names, kernel, reads)
    }

    /// How far exact tracing is, and what it found.
    fn calls(&mut self) -> (Option<model::Exact>, Vec<(Arc<FunctionKey>, CallSums)>) {
        let Some(kernel) = &mut self.kernel else { return (None, Vec::new()) };
        let sums = self.exact.take(kernel);
        let calls = sums.into_iter().map(|(key, sums)| (self.names.function(kernel, key), sums)).collect();
        (self.exact.status(kernel), calls)
    }

    fn count(&mut self, sample: &mut PhpSample) {
        let Some(kernel) = &self.kernel else { return };
        let stats = kernel.stats();
        let since = |counter: u32| stats[counter as usize].saturating_sub(self.stats[counter as usize]);
        sample.drops = Drops {
            events: since(stat::RING_FULL)
                + since(stat::REQUESTS_FULL)
                + since(stat::FAILURES_FULL)
                + self.requests.take_dropped()
                + std::mem::take(&mut self.dropped),
            stacks: since(stat::STACKS_FULL)
                + since(stat::COUNTS_FULL)
                + since(stat::CALLS_FULL)
                + self.exact.lost()
                + since(stat::SAMPLES_BROKEN)
                + since(stat::LINES_FULL)
                + self.stacks.take_lost()
                + self.lines.take_lost(),
            names: since(stat::NAMES_FULL)
                + since(stat::NAMES_UNREAD)
                + since(stat::CALLS_UNREAD)
                + self.failures.take_nameless(),
            ..Drops::default()
        };
        sample.work = Work {
            samples: since(stat::SAMPLES),
            sample_runs: since(stat::SAMPLE_RUNS),
            sample_ns: since(stat::SAMPLE_NS),
            frames: since(stat::FRAMES),
            trace_ns: self.exact.paid_ns(),
            calls_deep: since(stat::CALLS_DEEP),
            wait_runs: since(stat::WAIT_RUNS),
            wait_ns: since(stat::WAIT_NS),
            growth_runs: since(stat::GROWTH_RUNS),
            growth_ns: since(stat::GROWTH_NS),
            probe_hits: since(stat::PROBE_HITS),
            probe_ns: since(stat::PROBE_NS),
        };
        let (starts, waits) = (since(stat::EXECS_SKIPPED), since(stat::WAITS_ESTIMATED));
        if starts > 0 {
            self.following.missed_starts();
            sample.notices.push(Notice::starts_missed(starts));
        }
        if waits > 0 {
            sample.notices.push(Notice::waits_estimated());
        }
        self.stats = stats;
    }
}

fn now() -> Now {
    Now { at: SystemTime::now().try_into().unwrap_or_default(), monotonic_ns: monotonic() }
}

/// `CLOCK_MONOTONIC`, which is what the programs read, in nanoseconds.
pub(crate) fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32).as_nanos() as u64
}
