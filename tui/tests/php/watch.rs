//! Runs the PHP collector as a session does, and keeps all it reports until a condition holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Runtime,
    sync::mpsc,
    time::{sleep_until, timeout},
};
use tusktop::{
    collect::{
        Sample, Tick,
        php::{self, CallSums, CompileCount, FailureCount, FinishedRequest, Order, PhpSample, StackCount},
    },
    model::{FunctionKey, HotLines, NoticeKind, TraceLimits, TraceOrder},
};

/// How long a condition may take, and between two readings.
const PATIENCE: Duration = Duration::from_secs(60);
const READING: Duration = Duration::from_millis(50);

/// A running collector and everything that it has said so far.
pub struct Watch {
    runtime: Runtime,
    ticks: Option<mpsc::Sender<Tick>>,
    orders: mpsc::Sender<Order>,
    samples: mpsc::Receiver<Sample>,
    /// Scripts below this path are the test's own; other PHP may run on the machine.
    scope: String,
    /// The last reading.
    pub last: PhpSample,
    /// All requests of the test that ended.
    pub finished: Vec<FinishedRequest>,
    /// All samples.
    pub stacks: Vec<StackCount>,
    /// At which lines functions of the test's own files were, by function as `class::name`.
    pub lines: BTreeMap<String, HotLines>,
    /// All traced calls, by function as `class::name` and line.
    pub calls: BTreeMap<(String, u32), CallSums>,
    /// Functions of traced calls with their files.
    pub files: BTreeSet<(String, String)>,
    /// Traced calls without a time of their own.
    pub untimed: u64,
    /// Exceptions and errors of the test's own files.
    pub failures: Vec<FailureCount>,
    /// Compiled files of the test.
    pub compiles: Vec<CompileCount>,
    /// Events, stacks and names that were lost.
    pub dropped: u64,
}

impl Watch {
    /// Starts the collector and waits until it has attached to what runs. Requests for scripts outside of `scope` are
    /// left out.
    pub fn start(hz: u32, scope: &Path) -> Self {
        Self::start_with(php::Options { hz, ..php::Options::default() }, scope)
    }

    /// The same with other options.
    pub fn start_with(options: php::Options, scope: &Path) -> Self {
        // The program that runs here is the test.
        let options = php::Options { tusktop: Some(env!("CARGO_BIN_EXE_tusktop").into()), ..options };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (answers, samples) = mpsc::channel(2);
        let handle = runtime.block_on(async { php::spawn(options, answers) });
        let mut watch = Self {
            runtime,
            ticks: Some(handle.ticks),
            orders: handle.orders,
            samples,
            scope: scope.to_str().unwrap().to_owned(),
            last: PhpSample::default(),
            finished: Vec::new(),
            stacks: Vec::new(),
            lines: BTreeMap::new(),
            calls: BTreeMap::new(),
            files: BTreeSet::new(),
            untimed: 0,
            failures: Vec::new(),
            compiles: Vec::new(),
            dropped: 0,
        };
        watch.read();
        // A broken PHP on the machine is not the test's, nor is another user's.
        let mut notices = watch.last.notices.iter();
        let loaded = notices.all(|notice| {
            matches!(
                notice.kind,
                NoticeKind::ProgramUnread
                    | NoticeKind::PhpNotTrusted
                    | NoticeKind::PhpLeftOut
                    | NoticeKind::PhpProcessesNotAnswering
                    | NoticeKind::StartsMissed
                    | NoticeKind::WaitsEstimated
            )
        });
        assert!(loaded, "the programs are loaded: {:?}", watch.last.notices);
        watch
    }

    /// Takes one reading.
    pub fn read(&mut self) {
        let ticks = self.ticks.clone().expect("the collector is not stopped");
        let sample = self.runtime.block_on(async {
            ticks.send(Tick { at: Instant::now() }).await.unwrap();
            timeout(PATIENCE, self.samples.recv()).await.expect("the collector answers").expect("the collector runs")
        });
        let Sample::Php(sample) = sample else { panic!("the PHP collector answers with PHP") };
        self.last = *sample;
        self.last.finished.retain(|finished| finished.request.script.starts_with(&self.scope));
        self.last.running.retain(|request| request.script.starts_with(&self.scope));
        let own: BTreeSet<_> = self.last.running.iter().map(|request| (request.pid, request.started_ns)).collect();
        self.last.waits.retain(|wait| own.contains(&(wait.pid, wait.request)));
        self.finished.extend(self.last.finished.iter().cloned());
        self.stacks.extend(self.last.stacks.iter().cloned());
        for (function, lines) in self.last.lines.iter().filter(|(function, _)| function.file.starts_with(&self.scope)) {
            self.lines.entry(full_name(function)).or_default().merge(lines);
        }
        self.untimed += self.last.work.calls_deep;
        for (text, sums) in &self.last.calls {
            self.files.insert((full_name(text), text.file.to_string()));
            let known = self.calls.entry((full_name(text), text.line)).or_default();
            known.calls += sums.calls;
            known.self_ns += sums.self_ns;
            known.total_ns += sums.total_ns;
            for (known, calls) in known.durations.iter_mut().zip(sums.durations) {
                *known += calls;
            }
        }
        self.last.failures.retain(|failure| failure.what.file.starts_with(&self.scope));
        self.last.compiles.retain(|compile| compile.what.file.starts_with(&self.scope));
        self.failures.extend(self.last.failures.iter().cloned());
        self.compiles.extend(self.last.compiles.iter().cloned());
        self.dropped += self.last.drops.sum();
    }

    /// Asks for exact tracing.
    pub fn order(&mut self, order: Order) {
        self.runtime.block_on(self.orders.send(order)).expect("the collector runs");
    }

    /// Ends exact tracing.
    pub fn stop_tracing(&mut self) {
        let limits = TraceLimits { budget: 0.0, limit: Duration::ZERO };
        self.order(Order { what: TraceOrder::Stop, limits });
    }

    /// Calls of functions of a name, on whatever line.
    pub fn calls_of(&self, name: &str) -> CallSums {
        let mut sums = CallSums::default();
        for (_, more) in self.calls.iter().filter(|((function, _), _)| function == name) {
            sums.calls += more.calls;
            sums.self_ns += more.self_ns;
            sums.total_ns += more.total_ns;
        }
        sums
    }

    /// Takes readings until `done` holds; panics with `what` when it does not in time.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let began = Instant::now();
            self.read();
            if done(self) {
                return;
            }
            assert!(
                began < deadline,
                "not within {PATIENCE:?}: {what}; {:?}; last reading: {:#?}",
                self.seen(),
                Brief(&self.last)
            );
            self.runtime.block_on(async { sleep_until((began + READING).into()).await });
        }
    }

    /// Finished requests, by URI and status.
    pub fn requests(&self) -> BTreeMap<(String, Option<u16>), usize> {
        let mut requests = BTreeMap::new();
        for finished in &self.finished {
            *requests.entry((finished.request.uri.clone(), finished.status)).or_default() += 1;
        }
        requests
    }

    /// Samples of a process.
    pub fn stacks_of(&self, pid: u32) -> impl Iterator<Item = &StackCount> {
        self.stacks.iter().filter(move |count| count.pid == pid)
    }

    /// Samples of a process with this function on top, named `class::name` or `name`.
    pub fn self_samples(&self, pid: u32) -> BTreeMap<String, u64> {
        let mut samples = BTreeMap::new();
        for count in self.stacks_of(pid) {
            if let Some(leaf) = count.stack.frames.first() {
                *samples.entry(full_name(leaf)).or_default() += count.samples;
            }
        }
        samples
    }

    /// Samples and waits since the test began to count them: what a failed test was waiting for.
    fn seen(&self) -> BTreeMap<(u32, String), (u64, u64)> {
        let mut seen: BTreeMap<_, (u64, u64)> = BTreeMap::new();
        for count in &self.stacks {
            let leaf = count.stack.frames.first().map(|leaf| full_name(leaf)).unwrap_or_default();
            let (samples, wait_ns) = seen.entry((count.pid, leaf)).or_default();
            *samples += count.samples;
            *wait_ns += count.wait_ns;
        }
        seen
    }

    /// Ends the collector and waits until it has detached.
    pub fn stop(mut self) {
        self.ticks = None;
        let samples = &mut self.samples;
        self.runtime.block_on(async { timeout(PATIENCE, samples.recv()).await.expect("the collector ends") });
    }
}

/// `class::name`, or the name alone.
pub fn full_name(function: &FunctionKey) -> String {
    if function.class.is_empty() { function.name.to_string() } else { format!("{}::{}", function.class, function.name) }
}

/// What of a reading helps to see why a test failed.
struct Brief<'a>(&'a PhpSample);

impl std::fmt::Debug for Brief<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sample = self.0;
        formatter
            .debug_struct("PhpSample")
            .field("targets", &sample.targets)
            .field("processes", &sample.processes)
            .field("running", &sample.running)
            .field("drops", &sample.drops)
            .field("exact", &sample.exact)
            .field("work", &sample.work)
            .field("notices", &sample.notices)
            .finish_non_exhaustive()
    }
}
