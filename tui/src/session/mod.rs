//! The pace: at each tick both collectors are asked, and their answers become one snapshot, which goes to all subscribers.
//! It owns the intervals and the deadlines; `aggregate` knows what the answers mean.

mod conversation;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, timeout, timeout_at},
};

use self::conversation::Conversation;
use crate::{
    aggregate::Aggregate,
    aggregate::php::RouteRules,
    collect::{
        Sample, Tick, php,
        proc::{self, ProcError, ProcessSample},
    },
    model::{Notice, Snapshot},
    rules::Rules,
    system::{pid_namespace::PidNamespace, rights},
};

/// Snapshots that a listener may be behind before it loses the oldest.
const BACKLOG: usize = 4;
/// Time between the first two snapshots, so that rates appear quickly; also the shortest time that PHP is waited for.
const SOON: Duration = Duration::from_millis(250);
/// Longest time that a live snapshot waits for PHP, however long the interval is.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a single snapshot waits for the PHP collector to find and attach.
const ATTACH_LIMIT: Duration = Duration::from_secs(30);
/// How long the end waits for the collectors to detach. After that the kernel detaches when tusktop ends.
const DETACH_LIMIT: Duration = Duration::from_millis(700);

/// What is collected, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Time between snapshots.
    pub interval: Duration,
    /// What the PHP collector is asked for; `None` leaves it out.
    pub php: Option<php::Options>,
    /// Where processes are read.
    pub proc: proc::Options,
    /// What decides the groups of processes.
    pub rules: Arc<Rules>,
    /// What makes requests one route.
    pub routes: RouteRules,
}

/// Running collectors. Dropping it ends them; [`Session::stop`] also waits until they have detached.
#[derive(Debug)]
pub(crate) struct Session {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    /// Takes orders for exact tracing; `None` when PHP is not observed.
    pub orders: Option<mpsc::Sender<php::Order>>,
}

impl Session {
    /// Starts the collectors on the current tokio runtime. The first snapshot comes at once, with neither rates nor PHP.
    ///
    /// # Errors
    /// [`ProcError`] when processes cannot be read at all.
    pub(crate) fn start(options: &Options) -> Result<(Self, broadcast::Receiver<Arc<Snapshot>>), ProcError> {
        let spine = Spine::new(options)?;
        let (snapshots, receiver) = broadcast::channel(BACKLOG);
        let (stop, stopped) = oneshot::channel();
        let orders = spine.orders.clone();
        let task = tokio::spawn(live(spine, options.interval, snapshots, stopped));
        Ok((Self { stop, task, orders }, receiver))
    }

    /// Ends the collectors and waits until they have detached.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        // The task can only fail by a panic, which has been reported by then.
        let _ = self.task.await;
    }
}

/// What was collected once. The collectors are still attached, so that it can be printed before they are not.
pub(crate) struct Observed<T> {
    /// What the caller did meanwhile.
    pub during: T,
    /// The snapshot of that time; `None` when the sampler has ended.
    pub snapshot: Option<Snapshot>,
    spine: Spine,
}

impl<T> Observed<T> {
    /// Ends the collectors and waits until they have detached.
    pub(crate) async fn end(self) -> T {
        self.spine.end().await;
        self.during
    }
}

/// Collects while `during` runs, which begins when PHP is attached and is told when that was.
///
/// # Errors
/// [`ProcError`] when processes cannot be read at all; then `during` has not run.
pub(crate) async fn observe<T>(
    options: &Options,
    during: impl AsyncFnOnce(Instant) -> T,
) -> Result<Observed<T>, ProcError> {
    let mut spine = Spine::new(options)?;
    spine.attach(ATTACH_LIMIT).await;
    let baseline = Instant::now();
    let begun = spine.round(Duration::ZERO).await.is_some();
    let during = during(baseline).await;
    let snapshot = if begun { spine.round(ATTACH_LIMIT).await } else { None };
    Ok(Observed { during, snapshot, spine })
}

async fn live(
    mut spine: Spine,
    interval: Duration,
    snapshots: broadcast::Sender<Arc<Snapshot>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut ticker = tokio::time::interval(interval);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut first = true;
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            _ = ticker.tick() => {}
        }
        let patience = if spine.php.is_attached() { interval.clamp(SOON, PATIENCE) } else { Duration::ZERO };
        let snapshot = tokio::select! {
            biased;
            _ = &mut stopped => break,
            snapshot = spine.round(patience) => snapshot,
        };
        let Some(snapshot) = snapshot else { break };
        // There is no listener any more: the session is about to be stopped.
        let _ = snapshots.send(Arc::new(snapshot));
        if std::mem::take(&mut first) {
            ticker.reset_after(SOON.min(interval));
        }
    }
    spine.end().await;
}

/// Both collectors and what becomes of their answers.
struct Spine {
    processes: mpsc::Sender<Tick>,
    php: Conversation,
    orders: Option<mpsc::Sender<php::Order>>,
    samples: mpsc::Receiver<Sample>,
    aggregate: Aggregate,
}

impl Spine {
    fn new(options: &Options) -> Result<Self, ProcError> {
        let (answers, samples) = mpsc::channel(2);
        let namespace = PidNamespace::read(&options.proc.root);
        let processes = proc::spawn(&options.proc, answers.clone())?;
        let missing = rights::missing_for_php();
        let unobserved = match &options.php {
            None => Some(Notice::php_off()),
            // Where numbers mean other processes, rights do not help.
            Some(_) => namespace.notice().or_else(|| rights::notice(&missing)),
        };
        let php = options.php.clone().filter(|_| missing.is_empty() && namespace.is_the_kernels());
        let handle = php.map(|options| php::spawn(options, answers));
        let orders = handle.as_ref().map(|handle| handle.orders.clone());
        Ok(Self {
            processes,
            php: Conversation::with(handle.map(|handle| handle.ticks)),
            orders,
            samples,
            aggregate: Aggregate::new(unobserved.into_iter().collect(), Arc::clone(&options.rules))
                .with_routes(options.routes.clone()),
        })
    }

    /// Waits for the PHP collector's first answer.
    async fn attach(&mut self, limit: Duration) {
        self.php.ask(Instant::now());
        let deadline = Instant::now() + limit;
        while self.php.is_waiting() {
            let Ok(Some(sample)) = timeout_at(deadline, self.samples.recv()).await else { return };
            self.take(sample);
        }
    }

    /// Asks both collectors and makes a snapshot when both have answered, or when the processes are there and PHP has
    /// not answered within `patience`. `None` when the sampler has ended.
    async fn round(&mut self, patience: Duration) -> Option<Snapshot> {
        while let Ok(late) = self.samples.try_recv() {
            self.take(late);
        }
        let (asked_at, at) = (Instant::now(), Timestamp::now());
        self.php.ask(asked_at);
        self.processes.send(Tick { at: asked_at.into_std() }).await.ok()?;
        let mut processes = None;
        while processes.is_none() {
            let sample = tokio::select! {
                biased;
                sample = self.samples.recv() => sample?,
                () = self.processes.closed() => return None,
            };
            processes = self.take(sample);
        }
        while self.php.is_waiting() {
            let Ok(Some(sample)) = timeout_at(asked_at + patience, self.samples.recv()).await else { break };
            self.take(sample);
        }
        Some(self.aggregate.update(at, *processes?, self.php.reading()))
    }

    /// Keeps an answer of the PHP collector, hands over one of the sampler.
    fn take(&mut self, sample: Sample) -> Option<Box<ProcessSample>> {
        match sample {
            Sample::Processes(sample) => Some(sample),
            Sample::Php(sample) => {
                self.php.take(sample);
                None
            }
        }
    }

    /// Ends the collectors: they stop when they can no longer be asked, and then there is nothing to answer.
    async fn end(self) {
        let Self { processes, php, mut samples, .. } = self;
        drop((processes, php));
        let _ = timeout(DETACH_LIMIT, async { while samples.recv().await.is_some() {} }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(interval: Duration, php: bool) -> Options {
        Options {
            interval,
            php: php.then_some(php::Options { hz: 0, ..php::Options::default() }),
            proc: proc::Options::default(),
            rules: Arc::default(),
            routes: RouteRules::default(),
        }
    }

    // The clock is paused: rates over the machine's own ticks need real time, those over the interval do not.
    #[tokio::test(start_paused = true)]
    async fn the_first_snapshot_has_no_rates_and_the_second_has() {
        let (session, mut snapshots) = Session::start(&options(Duration::from_secs(1), false)).unwrap();
        let first = snapshots.recv().await.unwrap();
        assert!(first.system.cpu_ratio.is_none() && first.cost.cpu_ratio.is_none() && !first.processes.is_empty());
        let second = snapshots.recv().await.unwrap();
        assert!(second.cost.cpu_ratio.is_some() && second.processes.iter().any(|process| process.cpu_ratio.is_some()));
        let third = snapshots.recv().await.unwrap();
        assert_eq!((first.interval_ms, second.interval_ms, third.interval_ms), (0, 250, 1000));
        session.stop().await;
    }

    #[tokio::test]
    async fn a_stopped_session_sends_no_more() {
        let (session, mut snapshots) = Session::start(&options(Duration::from_millis(100), false)).unwrap();
        snapshots.recv().await.unwrap();
        session.stop().await;
        while snapshots.try_recv().is_ok() {}
        assert!(matches!(snapshots.recv().await, Err(broadcast::error::RecvError::Closed)));
    }

    #[tokio::test]
    async fn a_dropped_session_ends() {
        let (session, mut snapshots) = Session::start(&options(Duration::from_millis(100), false)).unwrap();
        drop(session);
        let end = async {
            loop {
                match snapshots.recv().await {
                    Err(broadcast::error::RecvError::Closed) => return,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                }
            }
        };
        timeout(ATTACH_LIMIT, end).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_snapshot_covers_its_duration() {
        let look = async |baseline: Instant| tokio::time::sleep_until(baseline + Duration::from_millis(300)).await;
        let observed = observe(&options(Duration::from_secs(1), false), look).await.unwrap();
        let snapshot = observed.snapshot.as_ref().unwrap();
        assert_eq!(snapshot.interval_ms, 300);
        assert!(snapshot.cost.cpu_ratio.is_some());
        observed.end().await;
    }

    #[tokio::test]
    async fn a_missing_proc_root_is_an_error() {
        let proc = proc::Options { root: "/nonexistent".into(), ..proc::Options::default() };
        assert!(Session::start(&Options { proc, ..options(Duration::from_secs(1), false) }).is_err());
    }

    /// A spine whose PHP collector is played by the test.
    fn played() -> (Spine, mpsc::Receiver<Tick>, mpsc::Sender<Sample>) {
        let mut spine = Spine::new(&options(Duration::from_secs(1), false)).unwrap();
        let (answers, samples) = mpsc::channel(2);
        spine.processes = proc::spawn(&proc::Options::default(), answers.clone()).unwrap();
        spine.samples = samples;
        let (ticks, asked) = mpsc::channel(1);
        spine.php = Conversation::with(Some(ticks));
        (spine, asked, answers)
    }

    fn notice(snapshot: &Snapshot, text: &str) -> bool {
        snapshot.notices.iter().any(|notice| notice.text.contains(text))
    }

    #[tokio::test]
    async fn snapshots_do_not_wait_for_php_to_attach() {
        let (mut spine, mut asked, answers) = played();
        let snapshot = spine.round(Duration::ZERO).await.unwrap();
        assert!(notice(&snapshot, "looking for PHP") && !spine.php.is_attached());
        asked.recv().await.unwrap();
        spine.round(Duration::ZERO).await.unwrap();
        assert!(asked.try_recv().is_err(), "it is not asked twice");
        answers.send(Sample::Php(Box::default())).await.unwrap();
        let snapshot = spine.round(Duration::ZERO).await.unwrap();
        assert!(!notice(&snapshot, "looking for PHP") && spine.php.is_attached());
    }

    #[tokio::test]
    async fn a_late_answer_is_used_in_the_next_snapshot_and_nothing_is_lost() {
        let (mut spine, mut asked, answers) = played();
        spine.php.ask(Instant::now());
        asked.recv().await.unwrap();
        answers.send(Sample::Php(Box::default())).await.unwrap();
        spine.round(Duration::ZERO).await.unwrap();
        let snapshot = spine.round(Duration::from_millis(1)).await.unwrap();
        assert!(notice(&snapshot, "not read in time"));
        asked.recv().await.unwrap();
        answers.send(Sample::Php(Box::default())).await.unwrap();
        let snapshot = spine.round(Duration::from_millis(1)).await.unwrap();
        assert!(!notice(&snapshot, "not read in time"));
        assert!(asked.try_recv().is_err(), "an answer waited, so none was asked for");
        spine.round(Duration::from_millis(1)).await.unwrap();
        asked.recv().await.unwrap();
    }

    #[tokio::test]
    async fn a_collector_that_stops_is_said_and_the_rest_goes_on() {
        let (mut spine, asked, _answers) = played();
        drop(asked);
        for _ in 0..2 {
            let snapshot = spine.round(Duration::from_secs(60)).await.unwrap();
            assert!(notice(&snapshot, "the PHP collector has stopped") && !snapshot.processes.is_empty());
        }
    }

    #[tokio::test]
    async fn without_the_sampler_there_is_no_snapshot() {
        let (mut spine, _asked, _answers) = played();
        let (closed, receiver) = mpsc::channel(1);
        drop(receiver);
        spine.processes = closed;
        assert!(spine.round(Duration::ZERO).await.is_none());
    }
}
