//! The processes that can be traced: whose turn it is, and how much CPU time they use.

use std::collections::HashMap;

use crate::collect::procfs::Procfs;

/// Processes whose CPU time is followed.
const FOLLOWED: usize = 256;
/// Bytes of the file that are read: three numbers.
const SCHEDSTAT: u64 = 64;

/// A process whose calls can be traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub pid: u32,
    /// Number of its image.
    pub image: usize,
    /// Its CPU time in nanoseconds when it was last looked at.
    pub active_ns: u64,
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    procfs: Procfs,
    candidates: Vec<Candidate>,
    /// Pid of the last that had its turn.
    last: u32,
    /// CPU time of each candidate when it was first and last read.
    cpu: HashMap<u32, (u64, u64)>,
    ended_ns: u64,
    traced_ns: u64,
}

impl Workers {
    /// Keeps the candidates.
    pub(crate) fn new(mut candidates: Vec<Candidate>) -> Self {
        candidates.sort_unstable_by_key(|candidate| candidate.pid);
        Self { candidates, ..Self::default() }
    }

    /// Begins to count CPU time.
    pub(crate) fn start(&mut self) {
        self.follow();
    }

    /// There are others now.
    pub(crate) fn renew(&mut self, mut candidates: Vec<Candidate>) {
        candidates.sort_unstable_by_key(|candidate| candidate.pid);
        for candidate in &mut candidates {
            let known = self.candidates.binary_search_by_key(&candidate.pid, |known| known.pid);
            candidate.active_ns = known.map_or(0, |index| self.candidates[index].active_ns);
        }
        self.candidates = candidates;
        self.follow();
    }

    /// There is one more.
    pub(crate) fn add(&mut self, candidate: Candidate) {
        if let Err(place) = self.candidates.binary_search_by_key(&candidate.pid, |known| known.pid) {
            self.candidates.insert(place, candidate);
            self.follow();
        }
    }

    fn follow(&mut self) {
        for candidate in self.candidates.iter().take(FOLLOWED) {
            let now = cpu_time(&self.procfs, candidate.pid);
            let (_, last) = self.cpu.entry(candidate.pid).or_insert((now, now));
            *last = now.max(*last);
        }
        let alive: Vec<u32> = self.candidates.iter().map(|candidate| candidate.pid).collect();
        let ended_ns = &mut self.ended_ns;
        self.cpu.retain(|pid, (first, last)| {
            let stays = alive.binary_search(pid).is_ok();
            *ended_ns += if stays { 0 } else { *last - *first };
            stays
        });
    }

    /// The next whose turn it is, one that used CPU time since the last look before those that did not.
    pub(crate) fn next(&mut self, taken: &[u32]) -> Option<Candidate> {
        let free = |candidate: &&mut Candidate| !taken.contains(&candidate.pid);
        let start = self.candidates.partition_point(|candidate| candidate.pid <= self.last);
        let (before, after) = self.candidates.split_at_mut(start);
        let mut first = None;
        for candidate in after.iter_mut().chain(before).filter(free) {
            let now = cpu_time(&self.procfs, candidate.pid);
            let busy = now > candidate.active_ns;
            candidate.active_ns = now;
            if busy {
                first = Some(candidate.clone());
                break;
            }
            if first.is_none() {
                first = Some(candidate.clone());
            }
        }
        self.last = first.as_ref()?.pid;
        first
    }

    /// The candidate of a pid.
    pub(crate) fn of(&self, pid: u32) -> Option<Candidate> {
        self.candidates.iter().find(|candidate| candidate.pid == pid).cloned()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.candidates.len()
    }

    /// There is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// CPU time of a process; of one that has ended, what was last seen of it.
    pub(crate) fn cpu_time(&self, pid: u32) -> u64 {
        cpu_time(&self.procfs, pid).max(self.cpu.get(&pid).map_or(0, |(_, last)| *last))
    }

    /// A process used so much CPU time while it was traced.
    pub(crate) fn traced(&mut self, cpu_ns: u64) {
        self.traced_ns += cpu_ns;
    }

    /// CPU time in seconds: of those that were traced while they were, and of all.
    pub(crate) fn cpu_s(&mut self) -> (f64, f64) {
        self.follow();
        let all = self.ended_ns + self.cpu.values().map(|(first, last)| last - first).sum::<u64>();
        (self.traced_ns as f64 / 1e9, all as f64 / 1e9)
    }

    /// Whether it is one of them.
    pub(crate) fn contains(&self, pid: u32) -> bool {
        self.candidates.binary_search_by_key(&pid, |candidate| candidate.pid).is_ok()
    }
}

/// CPU time of a process's main thread in nanoseconds, 0 when it has ended (Documentation/scheduler/sched-stats.rst).
pub(crate) fn cpu_time(procfs: &Procfs, pid: u32) -> u64 {
    let text = procfs.text(pid, "schedstat", SCHEDSTAT).unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(pid: u32) -> Candidate {
        // No process has so high a pid: they all seem to be idle.
        Candidate { pid: (1 << 30) + pid, image: 0, active_ns: 0 }
    }

    #[test]
    fn everybody_has_a_turn() {
        let mut workers = Workers::new(vec![idle(3), idle(1), idle(2)]);
        let turns: Vec<_> = (0..6).map(|_| workers.next(&[]).unwrap().pid - (1 << 30)).collect();
        assert_eq!(turns, [1, 2, 3, 1, 2, 3]);
        assert_eq!(workers.next(&[idle(1).pid]), Some(idle(2)));
        assert_eq!(workers.next(&[1, 2, 3].map(|pid| idle(pid).pid)), None);
    }

    #[test]
    fn who_is_busy_comes_first() {
        let own = std::process::id();
        let mut workers = Workers::new(vec![idle(1), Candidate { pid: own, image: 0, active_ns: 0 }, idle(2)]);
        assert_eq!(workers.next(&[]).unwrap().pid, own);
    }

    #[test]
    fn who_was_idle_is_so_after_others_came() {
        let own = std::process::id();
        let mut workers = Workers::new(vec![Candidate { pid: own, image: 0, active_ns: u64::MAX }, idle(1)]);
        workers.renew(vec![Candidate { pid: own, image: 0, active_ns: 0 }, idle(1), idle(2)]);
        assert_eq!(workers.of(own).unwrap().active_ns, u64::MAX);
    }

    #[test]
    fn cpu_time_of_workers_that_have_ended_counts() {
        let own = std::process::id();
        let mut workers = Workers::new(vec![Candidate { pid: own, image: 0, active_ns: 0 }]);
        assert!(workers.contains(own) && !workers.contains(own + 1));
        workers.cpu.insert(own, (0, 4_000_000_000));
        workers.candidates.clear();
        workers.traced(2_000_000_000);
        assert_eq!(workers.cpu_s(), (2.0, 4.0));
    }
}
