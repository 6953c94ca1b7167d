//! Where the snapshots of a time come from. Live, this is a ring of the latest ones, bounded by time and memory. What goes back
//! further than the ring (the sum since the start, the histories of two hours) is kept beside it, see [`super::timeline`].

use std::{collections::VecDeque, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use crate::model::{
    Cgroup, CompiledFile, ExceptionCount, Function, Group, LineCalls, PhpError, Process, Request, Route, Snapshot,
    Stack, Worker,
};

/// Snapshots older than the latest by more than this are given up.
const KEPT: SignedDuration = SignedDuration::from_mins(2);
/// What all snapshots in the ring may take, by [`bytes`]: two minutes of 150 processes, some ten seconds of 2 000.
const MAX_BYTES: usize = 8 << 20;

/// The last snapshots, in the order of their time. The latest is always among them.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    snapshots: VecDeque<(Arc<Snapshot>, usize)>,
    bytes: usize,
}

impl Ring {
    /// Takes the next snapshot. Where the clock was set back, what would be later than it is given up.
    pub(crate) fn push(&mut self, snapshot: Arc<Snapshot>) {
        while self.snapshots.back().is_some_and(|(last, _)| last.at >= snapshot.at) {
            self.bytes -= self.snapshots.pop_back().map_or(0, |(_, bytes)| bytes);
        }
        let bytes = bytes(&snapshot);
        self.bytes += bytes;
        self.snapshots.push_back((snapshot, bytes));
        while self.snapshots.len() > 1 && (self.bytes > MAX_BYTES || self.is_too_old()) {
            self.bytes -= self.snapshots.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    fn is_too_old(&self) -> bool {
        let (first, last) = (self.snapshots.front(), self.snapshots.back());
        first.zip(last).is_some_and(|((first, _), (last, _))| last.at.duration_since(first.at) > KEPT)
    }

    /// The times of the first and the latest snapshot; `None` while there is none.
    pub(crate) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.snapshots.front()?.0.at, self.latest()?.at))
    }

    /// The latest snapshot.
    pub(crate) fn latest(&self) -> Option<&Arc<Snapshot>> {
        self.snapshots.back().map(|(snapshot, _)| snapshot)
    }

    /// The last snapshot that is not later than a moment; `None` where the ring begins after it.
    pub(crate) fn at(&self, moment: Timestamp) -> Option<&Arc<Snapshot>> {
        let later = self.snapshots.partition_point(|(snapshot, _)| snapshot.at <= moment);
        self.snapshots.get(later.checked_sub(1)?).map(|(snapshot, _)| snapshot)
    }

    /// The snapshots later than `after` and not later than `until`, the oldest first.
    pub(crate) fn within(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = &Arc<Snapshot>> {
        let from = self.snapshots.partition_point(|(snapshot, _)| snapshot.at <= after);
        let to = self.snapshots.partition_point(|(snapshot, _)| snapshot.at <= until);
        self.snapshots.range(from..to.max(from)).map(|(snapshot, _)| snapshot)
    }
}

/// What a snapshot takes, about. Most texts are shared with the snapshots beside it and with the collectors, so that they are not
/// counted; those of requests are each snapshot's own.
fn bytes(snapshot: &Snapshot) -> usize {
    let php = &snapshot.php;
    let rows = snapshot.processes.len() * size_of::<Process>()
        + snapshot.groups.len() * size_of::<Group>()
        + snapshot.cgroups.len() * size_of::<Cgroup>()
        + php.workers.len() * size_of::<Worker>();
    let functions = php.functions.len() * size_of::<Function>()
        + php.functions.iter().flat_map(|function| &function.durations_log2).map(|list| list.len() * 8).sum::<usize>();
    let stacks = php.stacks.iter().map(|stack| size_of::<Stack>() + stack.frames.len() * size_of::<usize>());
    let routes = php.routes.iter().map(|route| size_of::<Route>() + route.histogram.bytes());
    let requests = php.requests.iter().map(|request| size_of::<Request>() + request.uri.len());
    let problems = php.exceptions.as_ref().map_or(0, |list| list.len() * size_of::<ExceptionCount>())
        + php.errors.as_ref().map_or(0, |list| list.len() * size_of::<PhpError>())
        + php.compiles.as_ref().map_or(0, |list| list.len() * size_of::<CompiledFile>())
        + php.lines.as_ref().map_or(0, |list| list.len() * size_of::<LineCalls>());
    let notices = snapshot.notices.iter().map(|notice| notice.text.len() + notice.hint.len());
    size_of::<Snapshot>()
        + rows
        + functions
        + stacks.sum::<usize>()
        + routes.sum::<usize>()
        + requests.sum::<usize>()
        + problems
        + notices.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::tests::snapshot, model::Php};

    fn ring(seconds: impl IntoIterator<Item = i64>) -> Ring {
        let mut ring = Ring::default();
        seconds.into_iter().for_each(|second| ring.push(snapshot(second, Php::default()).into()));
        ring
    }

    fn at(second: i64) -> Timestamp {
        snapshot(second, Php::default()).at
    }

    #[test]
    fn a_moment_has_the_last_snapshot_before_it() {
        let ring = ring([0, 1, 5, 9]);
        let found = |second| ring.at(at(second)).map(|snapshot| snapshot.at);
        assert_eq!(
            [found(-1), found(0), found(4), found(5), found(99)],
            [None, Some(at(0)), Some(at(1)), Some(at(5)), Some(at(9))]
        );
        let within = |from, to| ring.within(at(from), at(to)).map(|s| s.at).collect::<Vec<_>>();
        assert_eq!(within(0, 5), [at(1), at(5)]);
        assert_eq!((within(9, 99), within(5, 1)), (vec![], vec![]));
        assert_eq!(ring.span(), Some((at(0), at(9))));
    }

    #[test]
    fn a_ring_is_bounded_by_time_and_by_memory_and_keeps_the_latest() {
        assert_eq!(ring(0..600).span(), Some((at(479), at(599))));
        let mut ring = Ring::default();
        let frames = vec![0; 128];
        let deep = Stack { route: 0, frames, samples: 1, wait_ns: None, truncated: false };
        for second in 0..30 {
            let php = Php { stacks: vec![deep.clone(); 2_000], ..Php::default() };
            ring.push(snapshot(second, php).into());
            assert!(ring.bytes <= MAX_BYTES);
        }
        assert!(ring.snapshots.len() > 1 && ring.snapshots.len() < 30);
        assert_eq!(ring.bytes, ring.snapshots.iter().map(|(snapshot, _)| bytes(snapshot)).sum::<usize>());
        let php = Php { stacks: vec![deep; 20_000], ..Php::default() };
        ring.push(snapshot(30, php).into());
        assert_eq!((ring.snapshots.len(), ring.latest().map(|latest| latest.at)), (1, Some(at(30))));
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_no_future() {
        assert_eq!(ring([5_000, 5_001, 0, 1]).span(), Some((at(0), at(1))));
    }
}
