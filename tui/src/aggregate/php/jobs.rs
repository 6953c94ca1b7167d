//! Requests that run for long, such as the workers of a queue: how fast their memory grows.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use crate::collect::php::{RequestMemory, RequestText};

/// Requests that are followed.
const MOST: usize = 1_000;
/// Seconds between two points, and how many there are: the last ten minutes.
const EVERY_NS: u64 = 10_000_000_000;
const POINTS: usize = 61;
/// No growth is told before a minute was seen.
const LEAST_NS: u64 = 60_000_000_000;

/// What long-running requests had over time.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    /// By process and start: points of time, and what the allocator had.
    known: HashMap<(u32, u64), VecDeque<(u64, u64)>>,
}

impl Jobs {
    /// Notes what a request has now, and says how much more it had each minute lately; `None` before a minute was seen.
    pub(crate) fn growth(&mut self, request: &RequestText, now_ns: u64) -> Option<i64> {
        let RequestMemory::Known { bytes, .. } = request.memory else { return None };
        let key = (request.pid, request.started_ns);
        if self.known.len() >= MOST && !self.known.contains_key(&key) {
            return None;
        }
        let points = self.known.entry(key).or_default();
        if points.back().is_none_or(|(at, _)| now_ns.saturating_sub(*at) >= EVERY_NS) {
            points.push_back((now_ns, bytes));
            if points.len() > POINTS {
                points.pop_front();
            }
        }
        let (since_ns, before) = *points.front()?;
        let passed_ns = now_ns.saturating_sub(since_ns);
        let more = i128::from(bytes) - i128::from(before);
        (passed_ns >= LEAST_NS).then(|| (more * i128::from(LEAST_NS) / i128::from(passed_ns)) as i64)
    }

    /// Forgets the requests that have ended.
    pub(crate) fn end(&mut self, running: &[Arc<RequestText>]) {
        let running: HashSet<(u32, u64)> = running.iter().map(|request| (request.pid, request.started_ns)).collect();
        self.known.retain(|key, _| running.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::php::Start;

    const SECOND: u64 = 1_000_000_000;
    const MIB: u64 = 1 << 20;

    fn request(pid: u32, bytes: u64) -> RequestText {
        RequestText {
            pid,
            image: 0,
            started_ns: 1,
            cpu_ns: 0,
            wait_ns: 0,
            memory: RequestMemory::Known { start_bytes: 0, bytes, peak_bytes: bytes, limit_bytes: Some(512 * MIB) },
            exhausted: None,
            start: Start::Seen,
            pool: None,
            method: String::new(),
            script: "/worker.php".to_owned(),
            uri: String::new(),
        }
    }

    #[test]
    fn growth_is_told_after_a_minute_and_over_the_last_ten() {
        let mut jobs = Jobs::default();
        let mut told = Vec::new();
        for second in 0..=1_200 {
            // 4 MiB a minute, and nothing in the second ten minutes.
            let bytes = 10 * MIB + 4 * MIB * second.min(600) / 60;
            told.push(jobs.growth(&request(7, bytes), second * SECOND));
        }
        assert!(told[..60].iter().all(Option::is_none));
        let close = |at: usize, mib: f64| (told[at].unwrap() as f64 / MIB as f64 - mib).abs() < 0.1;
        assert!(close(60, 4.0) && close(600, 4.0) && close(900, 2.0) && close(1_200, 0.0), "{:?}", told[900]);
        jobs.end(&[]);
        assert!(jobs.known.is_empty());
    }

    #[test]
    fn what_is_followed_is_bounded() {
        let mut jobs = Jobs::default();
        for pid in 0..2 * MOST as u32 {
            jobs.growth(&request(pid, MIB), SECOND);
        }
        assert_eq!(jobs.known.len(), MOST);
    }
}
