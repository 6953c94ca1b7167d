//! Snapshots in time, seen from one moment: the snapshot of that moment, the PHP lists over a window that ends there, and the
//! history of each group until then. The moment is now, or it is frozen while snapshots keep coming.
//! Time comes from the snapshots, never from a clock.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

pub(crate) use super::history::{Histories, Point, Span};
use super::{recorded::Recorded, regroup, source::Ring, windows::Windows};
use crate::model::{Grouping, Php, Snapshot, Window};

/// The moment that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Moment {
    /// The latest snapshot, whichever that is.
    #[default]
    Now,
    /// The last snapshot that is not later than this.
    At(Timestamp),
}

/// The snapshots of a session.
#[derive(Debug, Default)]
pub struct Timeline {
    ring: Ring,
    /// In place of the ring: a recording, of which there is always a fixed moment.
    pub(crate) recorded: Option<Recorded>,
    now: Seen,
    /// What is looked at where that is not now.
    past: Option<(Timestamp, Seen)>,
    grouped: Option<(Grouping, Arc<Snapshot>)>,
    merged: Option<(Window, Arc<Php>)>,
}

/// All that is known at one moment. A copy shares everything, until one of both goes on.
#[derive(Debug, Clone, Default)]
struct Seen {
    snapshot: Option<Arc<Snapshot>>,
    windows: Arc<Windows>,
    /// By grouping, in the order of [`Grouping::ALL`], so that each has its past when it is chosen.
    histories: [Arc<Histories>; Grouping::ALL.len()],
}

impl Timeline {
    /// An empty timeline that live snapshots are pushed to.
    pub(crate) fn live() -> Self {
        Self::default()
    }

    /// The timeline of a recording, at its start.
    pub(crate) fn recorded(recorded: Recorded) -> Self {
        let (first, _) = recorded.span();
        let mut timeline = Self { recorded: Some(recorded), ..Self::default() };
        timeline.go_to(Moment::At(first));
        timeline
    }

    /// Takes the next snapshot, whatever moment is looked at.
    pub fn push(&mut self, snapshot: Arc<Snapshot>) {
        self.ring.push(Arc::clone(&snapshot));
        self.now.push(snapshot);
        if self.past.is_none() {
            self.forget_merged();
        }
    }

    /// Looks at another moment, and says which snapshot that is: the last one that is not later, or else the oldest that is
    /// still there. Windows of a past moment are made from the snapshots that are still there, and [`Timeline::covered`] says
    /// how much that is; "since start" then begins with the oldest of them.
    pub(crate) fn go_to(&mut self, moment: Moment) -> Option<Timestamp> {
        if let Some(recorded) = &mut self.recorded {
            let at = match moment {
                Moment::Now => recorded.span().1,
                Moment::At(at) => at,
            };
            let seen = Seen::of(&recorded.until(at));
            if let Some(at) = seen.snapshot.as_ref().map(|snapshot| snapshot.at) {
                self.past = Some((at, seen));
            }
            self.forget_merged();
            return self.moment_shown();
        }
        let latest = self.ring.latest()?.at;
        let past = match moment {
            Moment::Now => None,
            // Nothing has to be made again, and the sum since the start is whole.
            Moment::At(at) if at >= latest => Some((latest, self.now.clone())),
            Moment::At(at) => {
                let (oldest, _) = self.ring.span()?;
                let at = at.max(oldest);
                let snapshot = Arc::clone(self.ring.at(at)?);
                let until = snapshot.at;
                let seen = Seen {
                    windows: Arc::new(Windows::of(self.ring.within(Timestamp::MIN, until))),
                    histories: self.now.histories.each_ref().map(|histories| Arc::new(histories.until(until))),
                    snapshot: Some(snapshot),
                };
                Some((until, seen))
            }
        };
        self.past = past;
        self.forget_merged();
        self.moment_shown()
    }

    /// Stays with the latest snapshot while others come; [`Moment::Now`] goes on.
    pub(crate) fn freeze(&mut self) -> Option<Timestamp> {
        self.go_to(Moment::At(self.ring.latest()?.at))
    }

    /// The moment that is looked at.
    pub(crate) fn moment(&self) -> Moment {
        self.past.as_ref().map_or(Moment::Now, |(at, _)| Moment::At(*at))
    }

    fn moment_shown(&self) -> Option<Timestamp> {
        self.current().map(|snapshot| snapshot.at)
    }

    /// The first and the last moment that can be gone to.
    #[cfg_attr(not(test), expect(dead_code, reason = "the keys over the past of a live session will ask for it"))]
    pub(crate) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.ring.span()
    }

    /// The latest snapshot, whatever moment is looked at.
    pub(crate) fn latest(&self) -> Option<&Arc<Snapshot>> {
        self.ring.latest()
    }

    /// The snapshot of the moment.
    pub fn current(&self) -> Option<&Arc<Snapshot>> {
        self.seen().snapshot.as_ref()
    }

    /// The snapshot of the moment with its processes in other groups.
    pub fn grouped(&mut self, grouping: Grouping) -> Option<Arc<Snapshot>> {
        let current = self.current()?;
        match &self.grouped {
            _ if grouping == Grouping::Rules => Some(current.clone()),
            Some((known, snapshot)) if *known == grouping => Some(snapshot.clone()),
            _ => {
                let snapshot = Arc::new(regroup::regrouped(current, grouping));
                self.grouped = Some((grouping, snapshot.clone()));
                Some(snapshot)
            }
        }
    }

    /// How the memory of groups went until the moment.
    pub(crate) fn histories(&self, grouping: Grouping) -> &Histories {
        &self.seen().histories[grouping as usize]
    }

    /// The PHP part over a window that ends with the moment: functions, stacks and routes of all intervals in it are added up by
    /// what they are, and indexes refer to the merged lists.
    pub(crate) fn window(&mut self, window: Window) -> Arc<Php> {
        if let Some((merged, php)) = &self.merged
            && *merged == window
        {
            return php.clone();
        }
        let seen = self.seen();
        let Some(current) = &seen.snapshot else { return Arc::default() };
        let php = match window {
            Window::Last => current.php.clone(),
            Window::TenSeconds => Arc::new(seen.windows.over(Duration::from_secs(10), &current.php)),
            Window::Minute => Arc::new(seen.windows.over(Duration::from_secs(60), &current.php)),
            Window::All => Arc::new(seen.windows.all(&current.php)),
        };
        self.merged = Some((window, php.clone()));
        php
    }

    /// How much time the intervals of a window cover together.
    pub(crate) fn covered(&self, window: Window) -> Duration {
        let seen = self.seen();
        match window {
            Window::Last => {
                Duration::from_millis(seen.snapshot.as_ref().map_or(0, |snapshot| snapshot.php.interval_ms))
            }
            Window::TenSeconds => seen.windows.covered(Duration::from_secs(10)),
            Window::Minute => seen.windows.covered(Duration::from_secs(60)),
            Window::All => seen.windows.covered_by_all(),
        }
    }

    fn seen(&self) -> &Seen {
        self.past.as_ref().map_or(&self.now, |(_, seen)| seen)
    }

    fn forget_merged(&mut self) {
        self.grouped = None;
        self.merged = None;
    }
}

impl Seen {
    /// What is known at the last of some snapshots, which are in the order of time.
    fn of(snapshots: &[Arc<Snapshot>]) -> Self {
        Self {
            snapshot: snapshots.last().cloned(),
            windows: Arc::new(Windows::of(snapshots)),
            histories: Grouping::ALL.map(|grouping| Arc::new(Histories::of(snapshots, grouping))),
        }
    }

    /// Goes on. What a copy shares is copied now, once.
    fn push(&mut self, snapshot: Arc<Snapshot>) {
        Arc::make_mut(&mut self.windows).push(snapshot.at, &snapshot.php);
        for (grouping, histories) in Grouping::ALL.into_iter().zip(&mut self.histories) {
            if grouping == Grouping::Rules || histories.is_due(snapshot.at) {
                Arc::make_mut(histories).push_snapshot(&snapshot, grouping);
            }
        }
        self.snapshot = Some(snapshot);
    }
}

#[cfg(test)]
mod tests;
