//! What workers did in the last minute, each in a lane: CPU time, waiting, nothing. And how much memory a request cost them.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use crate::model::{Worker, WorkerKey, WorkerState};

/// One interval of one worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub worker: WorkerKey,
    /// When the interval ended.
    pub at: Timestamp,
    /// How long it was.
    pub interval_ms: u64,
    /// CPU time in it.
    pub cpu_ms: f32,
    /// Time blocked in it, also in a wait that goes on.
    pub wait_ms: f32,
    /// What it did is known.
    pub known: bool,
    /// Requests that it had served.
    pub requests: Option<u64>,
    /// Resident memory.
    pub rss_bytes: Option<u64>,
}

impl Point {
    /// The interval of a snapshot.
    pub(crate) fn of(at: Timestamp, interval_ms: u64, worker: &Worker) -> Self {
        let whole = interval_ms as f64;
        let cpu = worker.cpu_ms.unwrap_or(0.0).min(whole);
        // A wait that has not ended is not counted yet: of a request that runs, what is no CPU time is waiting.
        let running = match (worker.state, worker.since) {
            (WorkerState::Running, Some(since)) => at.duration_since(since).as_secs_f64() * 1000.0,
            _ => 0.0,
        };
        let wait = worker.wait_ms.unwrap_or(0.0).max(running.clamp(0.0, whole) - cpu).clamp(0.0, whole - cpu);
        Self {
            worker: worker.key(),
            at,
            interval_ms,
            cpu_ms: cpu as f32,
            wait_ms: wait as f32,
            // Of one that is idle, only the tiers that count time say what it did since the snapshot before.
            known: worker.state != WorkerState::Unknown
                && (worker.cpu_ms.is_some() || worker.wait_ms.is_some() || running > 0.0),
            requests: worker.requests,
            rss_bytes: worker.rss_bytes,
        }
    }
}

/// Seconds that have to be seen before growth each minute is told.
const LEAST_S: f64 = 50.0;

/// What a worker did most of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Did {
    /// It was not there, or that is not known.
    Unknown,
    /// Less than a tenth of it anything else.
    Nothing,
    /// It ran on a CPU.
    Cpu,
    /// It was blocked in a request.
    Wait,
}

/// The intervals of all workers before a moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Lanes {
    /// The moment.
    end: Option<Timestamp>,
    span: Duration,
    points: HashMap<WorkerKey, Vec<Point>>,
}

impl Lanes {
    /// From points in the order of time.
    pub(crate) fn new<'a>(end: Timestamp, span: Duration, points: impl Iterator<Item = &'a Point>) -> Self {
        let mut lanes: HashMap<WorkerKey, Vec<Point>> = HashMap::new();
        for point in points {
            lanes.entry(point.worker).or_default().push(*point);
        }
        Self { end: Some(end), span, points: lanes }
    }

    fn of(&self, worker: WorkerKey) -> &[Point] {
        self.points.get(&worker).map_or(&[], Vec::as_slice)
    }

    /// A worker's time as so many parts of equal length, the oldest first.
    pub(crate) fn strip(&self, worker: WorkerKey, parts: usize) -> Vec<Did> {
        let Some(end) = self.end else { return vec![Did::Unknown; parts] };
        let length = self.span.as_secs_f64() * 1000.0 / parts.max(1) as f64;
        // Time in each part: known, CPU, waiting.
        let mut times = vec![[0.0_f64; 3]; parts];
        for point in self.of(worker).iter().filter(|point| point.known && point.interval_ms > 0) {
            let whole = point.interval_ms as f64;
            let to = self.span.as_secs_f64() * 1000.0 - end.duration_since(point.at).as_secs_f64() * 1000.0;
            let from = to - whole;
            for (part, sums) in times.iter_mut().enumerate() {
                let (start, stop) = (part as f64 * length, (part + 1) as f64 * length);
                let share = (stop.min(to) - start.max(from)).max(0.0) / whole;
                sums[0] += share * whole;
                sums[1] += share * f64::from(point.cpu_ms);
                sums[2] += share * f64::from(point.wait_ms);
            }
        }
        let did = |[known, cpu, wait]: [f64; 3]| match () {
            () if known < length / 20.0 => Did::Unknown,
            () if cpu + wait < known / 10.0 => Did::Nothing,
            () if cpu >= wait => Did::Cpu,
            () => Did::Wait,
        };
        times.into_iter().map(did).collect()
    }

    /// How much bigger a worker became with each request of the time, in bytes; `None` where it served less than two, or its memory
    /// is not known.
    pub(crate) fn growth_per_request(&self, worker: WorkerKey) -> Option<f64> {
        let known = || self.of(worker).iter().filter_map(|point| Some((point.requests?, point.rss_bytes?)));
        let (first, last) = (known().next()?, known().next_back()?);
        let requests = last.0.checked_sub(first.0).filter(|requests| *requests >= 2)?;
        Some((last.1 as f64 - first.1 as f64) / requests as f64)
    }

    /// How much bigger a worker became each minute, in bytes; `None` where most of a minute was not seen.
    pub(crate) fn growth_per_minute(&self, worker: WorkerKey) -> Option<f64> {
        let known = || self.of(worker).iter().filter_map(|point| Some((point.at, point.rss_bytes?)));
        let (first, last) = (known().next()?, known().next_back()?);
        let seconds = last.0.duration_since(first.0).as_secs_f64();
        (seconds >= LEAST_S).then(|| (last.1 as f64 - first.1 as f64) * 60.0 / seconds)
    }

    /// Shares of CPU time and of waiting in the time that is known.
    pub(crate) fn shares(&self, worker: WorkerKey) -> Option<(f64, f64)> {
        let known = self.of(worker).iter().filter(|point| point.known);
        let (whole, cpu, wait) = known.fold((0.0, 0.0, 0.0), |(whole, cpu, wait), point| {
            (whole + point.interval_ms as f64, cpu + f64::from(point.cpu_ms), wait + f64::from(point.wait_ms))
        });
        (whole > 0.0).then(|| (cpu / whole, wait / whole))
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const SEVEN: WorkerKey = WorkerKey { pid: 7, tid: None };
    const END: Timestamp = Timestamp::constant(1_000_000, 0);

    fn worker(change: impl Fn(&mut Worker)) -> Worker {
        let mut worker = Worker { state: WorkerState::Idle, wait_ms: Some(0.0), ..Worker::seen(7, "www".into(), None) };
        change(&mut worker);
        worker
    }

    fn lanes(workers: &[Worker]) -> Lanes {
        let point = |(age, worker)| Point::of(END - SignedDuration::from_secs(age), 1000, worker);
        let points: Vec<Point> = (0..workers.len() as i64).rev().zip(workers).map(point).collect();
        Lanes::new(END, Duration::from_secs(workers.len() as u64), points.iter())
    }

    #[test]
    fn a_strip_says_what_took_most_of_each_part() {
        let lanes = lanes(&[
            worker(|w| w.state = WorkerState::Unknown),
            worker(|w| w.wait_ms = Some(90.0)),
            worker(|w| (w.cpu_ms, w.wait_ms) = (Some(600.0), Some(300.0))),
            worker(|w| w.wait_ms = Some(500.0)),
        ]);
        assert_eq!(lanes.strip(SEVEN, 4), [Did::Unknown, Did::Nothing, Did::Cpu, Did::Wait]);
        assert_eq!(lanes.strip(SEVEN, 2), [Did::Nothing, Did::Wait]);
        assert_eq!(lanes.strip(WorkerKey { pid: 8, tid: None }, 2), [Did::Unknown; 2]);
        assert_eq!(Lanes::default().strip(SEVEN, 1), [Did::Unknown]);
    }

    #[test]
    fn a_wait_that_goes_on_is_waiting_before_it_is_counted() {
        let stuck = worker(|w| {
            w.state = WorkerState::Running;
            w.since = Some(END - SignedDuration::from_secs(40));
            w.wait_ms = Some(0.0);
        });
        let point = Point::of(END, 1000, &stuck);
        assert_eq!((point.cpu_ms, point.wait_ms), (0.0, 1000.0));
        let computing = Worker { cpu_ms: Some(1100.0), ..stuck };
        let point = Point::of(END, 1000, &computing);
        assert_eq!((point.cpu_ms, point.wait_ms), (1000.0, 0.0));
    }

    #[test]
    fn growth_each_minute_needs_most_of_a_minute() {
        let workers: Vec<Worker> = (0..60).map(|second| worker(|w| w.rss_bytes = Some(1_000 + second * 10))).collect();
        assert_eq!(lanes(&workers).growth_per_minute(SEVEN), Some(600.0));
        assert_eq!(lanes(&workers[..40]).growth_per_minute(SEVEN), None);
        assert_eq!(lanes(&[]).growth_per_minute(SEVEN), None);
    }

    #[test]
    fn growth_is_by_request_and_unknown_without_any() {
        let at = |requests, rss| worker(move |w| (w.requests, w.rss_bytes) = (Some(requests), Some(rss)));
        assert_eq!(lanes(&[at(10, 1_000), at(12, 1_800), at(14, 2_200)]).growth_per_request(SEVEN), Some(300.0));
        assert_eq!(lanes(&[at(10, 1_000), at(11, 1_800)]).growth_per_request(SEVEN), None);
        assert_eq!(
            lanes(&[at(10, 1_000), at(0, 1_800)]).growth_per_request(SEVEN),
            None,
            "another process of that number"
        );
    }
}
