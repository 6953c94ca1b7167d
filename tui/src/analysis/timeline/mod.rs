//! Snapshots in time, seen from one moment: the snapshot of that moment, the PHP lists over a window that ends there, and the
//! history of each group until then. The moment is now, or it is a past one while snapshots keep coming.
//! Time comes from the snapshots, never from a clock.

mod between;
mod past;
mod reference;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use self::past::Past;
pub(crate) use self::{between::Between, reference::Reference};
use super::difference::{Difference, difference};
pub(crate) use super::history::{Growth, Histories, Point, Span};
use super::{lanes::Lanes, outline::Outline, profile::Scope, recorded::Recorded, regroup, windows::Windows};
use crate::{
    model::{Grouping, Notice, Php, Snapshot, Window},
    recording::Ring,
};

/// The moment that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Moment {
    /// The latest snapshot, whichever that is.
    #[default]
    Now,
    /// The last snapshot that is not later than this.
    At(Timestamp),
}

/// What a call of [`Timeline::work`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worked {
    /// There is nothing more to read.
    Nothing,
    /// A part of what is still to be read.
    Some,
    /// Something that is shown is known now.
    Visible,
}

/// The snapshots of a session.
#[derive(Debug, Default)]
pub struct Timeline {
    /// What can be gone back to: a recording, or the own past; `None` where nothing is kept.
    pub(crate) stored: Option<Recorded>,
    outline: Outline,
    now: Seen,
    /// What is looked at where that is not now.
    past: Option<Past>,
    /// What lies between two marks, where there are two: PHP's lists are about it in place of a window.
    between: Option<Between>,
    /// The span that it is compared with.
    baseline: Option<Between>,
    /// Another recording that is compared with, where nothing here is.
    reference: Option<Reference>,
    difference: Option<Difference>,
    grouped: Option<(Grouping, Arc<Snapshot>)>,
    merged: Option<(Window, Arc<Php>)>,
    /// The same of the span that is compared with.
    merged_before: Option<Arc<Php>>,
    /// Of single requests, the stacks of this request or worker are added up.
    scope: Scope,
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
    /// An empty timeline that live snapshots are pushed to, and what is kept of them.
    pub(crate) fn live(ring: Ring) -> Self {
        Self { stored: Some(Recorded::of_ring(ring)), ..Self::default() }
    }

    /// The timeline of a recording, at its start.
    pub(crate) fn recorded(recorded: Recorded) -> Self {
        let first = recorded.span().map(|(first, _)| first);
        let mut timeline = Self { stored: Some(recorded), ..Self::default() };
        timeline.go_to(Moment::At(first.unwrap_or_default()));
        timeline
    }

    /// Takes the next snapshot, whatever moment is looked at.
    pub fn push(&mut self, mut snapshot: Arc<Snapshot>) {
        if let Some(stored) = &mut self.stored {
            stored.push(&snapshot);
            if stored.begins_minute(snapshot.at) {
                self.outline.push(&snapshot);
            }
        }
        if let Some(reference) = &mut self.reference {
            reference.push(&snapshot);
        }
        // Through a pipe may come what was put together of several machines.
        let before = self.now.snapshot.as_ref().map(|before| &before.host.name);
        if let Some(before) = before.filter(|&before| *before != snapshot.host.name) {
            let notice = Notice::machine_changed(before, &snapshot.host.name);
            Arc::make_mut(&mut snapshot).notices.insert(0, notice);
            self.now = Seen::default();
        }
        self.now.push(snapshot);
        if self.past.is_none() {
            self.forget_merged();
        }
    }

    /// Looks at another moment, and says which snapshot that is: the last one that is not later, or else the oldest that is
    /// still there. What takes long to read comes with [`Timeline::work`]; until then [`Timeline::covered`] says how little of a
    /// window is known.
    pub(crate) fn go_to(&mut self, moment: Moment) -> Option<Timestamp> {
        let latest = self.latest().map(|latest| latest.at);
        match moment {
            Moment::Now if latest.is_some() => {
                self.past = None;
                self.stored.iter_mut().for_each(Recorded::close);
            }
            // Nothing has to be read, and the sum since the start is whole.
            Moment::At(at) if latest.is_some_and(|latest| at >= latest) => {
                self.past = Past::of_now(&self.now);
            }
            Moment::Now | Moment::At(_) => {
                let stored = self.stored.as_mut()?;
                let (_, last) = stored.span()?;
                let at = if let Moment::At(at) = moment { at } else { last };
                if !self.past.as_mut().is_some_and(|past| past.go_on(stored, at)) {
                    self.past = Past::at(stored, at).or_else(|| self.past.take());
                }
            }
        }
        self.forget_merged();
        self.moment_shown()
    }

    /// Reads a part of what is still to be read for a window, a grouping and the spans that are looked at. Each call takes some
    /// milliseconds.
    pub fn work(&mut self, window: Window, grouping: Grouping) -> Worked {
        let Some(stored) = &mut self.stored else { return Worked::Nothing };
        let spans = self.baseline.iter_mut().chain(&mut self.between);
        let mut worked = spans.map(|span| span.step(stored)).find(|&worked| worked != Worked::Nothing);
        if worked.is_none()
            && let Some(reference) = self.reference.as_mut().filter(|reference| reference.shown)
            && self.baseline.is_none()
        {
            worked = Some(reference.step(stored, self.between.is_none())).filter(|&worked| worked != Worked::Nothing);
        }
        if worked.is_none() && self.compare_again() {
            worked = Some(Worked::Visible);
        }
        let Some(stored) = &mut self.stored else { return Worked::Nothing };
        let window = if self.between.is_some() { Window::Last } else { window };
        let past = self.past.as_mut();
        let worked = worked.or_else(|| Some(past?.work(stored, window, grouping)));
        match worked.unwrap_or(Worked::Nothing) {
            Worked::Nothing => match self.outline.step(stored) {
                0 => Worked::Nothing,
                _ => Worked::Visible,
            },
            Worked::Some => Worked::Some,
            Worked::Visible => {
                self.forget_merged();
                Worked::Visible
            }
        }
    }

    /// Compares what is all read, if it is not compared yet. True when it is now.
    fn compare_again(&mut self) -> bool {
        let reference = self.reference.as_mut().filter(|reference| reference.shown);
        self.difference = match (&self.baseline, &self.between, reference) {
            (Some(before), Some(after), _) if self.difference.is_none() => {
                Some(difference(&before.summary, &after.summary))
            }
            (None, Some(after), Some(reference)) if self.difference.is_none() => {
                Some(difference(&reference.before.summary, &after.summary))
            }
            (None, None, Some(reference)) if self.difference.is_none() || reference.is_due() => {
                if reference.after.summary.is_empty() {
                    return false;
                }
                reference.is_compared();
                Some(difference(&reference.before.summary, &reference.after.summary))
            }
            _ => return false,
        };
        true
    }

    /// Compares this session with another recording.
    pub(crate) fn compare_with(&mut self, name: Arc<str>, other: Recorded) {
        let session = self.stored.as_ref().and_then(Recorded::span);
        self.reference = Some(Reference::new(name, other, session));
        self.difference = None;
        self.forget_merged();
    }

    /// The other recording that is compared with.
    pub(crate) fn reference(&self) -> Option<&Reference> {
        self.reference.as_ref().filter(|reference| reference.shown && self.baseline.is_none())
    }

    /// Shows the comparison with the other recording, or does not. False when there is none.
    pub(crate) fn show_reference(&mut self, shown: bool) -> bool {
        let Some(reference) = &mut self.reference else { return false };
        reference.shown = shown;
        self.difference = None;
        self.forget_merged();
        true
    }

    /// Whether another recording can be compared with, and whether it is.
    pub(crate) fn shows_reference(&self) -> Option<bool> {
        self.reference.as_ref().map(|reference| reference.shown)
    }

    /// Has PHP's lists be about what lies between two moments; `None` goes back to windows.
    pub(crate) fn look_between(&mut self, span: Option<(Timestamp, Timestamp)>) {
        self.between = span.map(|(from, to)| Between::new(from, to));
        self.difference = None;
        self.forget_merged();
    }

    /// What lies between two moments, if that is looked at.
    pub(crate) fn between(&self) -> Option<&Between> {
        self.between.as_ref()
    }

    /// Compares what is looked at next with what lies between the two moments that are looked at now. False when there are none.
    pub(crate) fn compare(&mut self) -> bool {
        let Some(between) = self.between.take() else { return false };
        self.baseline = Some(between);
        self.forget_merged();
        true
    }

    /// Compares nothing.
    pub(crate) fn end_comparison(&mut self) {
        (self.baseline, self.difference) = (None, None);
        self.forget_merged();
    }

    /// The difference of two spans, when both are added up.
    pub(crate) fn difference(&self) -> Option<&Difference> {
        self.difference.as_ref()
    }

    /// The PHP part over the span that is compared with, and how much time that covers, when both are added up.
    pub(crate) fn before(&mut self) -> Option<(Arc<Php>, Duration)> {
        self.difference.as_ref()?;
        let reference = self.reference.as_ref().filter(|reference| reference.shown).map(|reference| &reference.before);
        let baseline = self.baseline.as_ref().or(reference)?;
        let current = self.past.as_ref().map_or(&self.now, Past::seen).snapshot.as_ref()?;
        let php = self.merged_before.get_or_insert_with(|| Arc::new(baseline.windows.all(&current.php, &self.scope)));
        Some((php.clone(), baseline.windows.covered_by_all()))
    }

    /// Stays with the latest snapshot while others come; [`Moment::Now`] goes on.
    pub(crate) fn freeze(&mut self) -> Option<Timestamp> {
        self.go_to(Moment::At(self.latest()?.at))
    }

    /// The moment that is looked at.
    pub(crate) fn moment(&self) -> Moment {
        self.past.as_ref().map_or(Moment::Now, |past| Moment::At(past.moment()))
    }

    fn moment_shown(&self) -> Option<Timestamp> {
        self.current().map(|snapshot| snapshot.at)
    }

    /// The first and the last moment that can be gone to.
    pub(crate) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let latest = self.latest().map(|latest| (latest.at, latest.at));
        let stored = self.stored.as_ref().and_then(Recorded::span);
        stored.into_iter().chain(latest).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// The memory of a group over all that can be gone to, as far as it is read.
    pub(crate) fn memory(&self, group: &str) -> Vec<(Timestamp, u64)> {
        self.outline.of(group)
    }

    /// The share of the sum over all that is added up; `None` when it is whole, or not looked at.
    pub(crate) fn progress(&self) -> Option<f64> {
        self.past.as_ref()?.progress()
    }

    /// The latest snapshot, whatever moment is looked at; `None` in a recording.
    pub(crate) fn latest(&self) -> Option<&Arc<Snapshot>> {
        self.now.snapshot.as_ref()
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

    /// What each worker did in the minute before the moment.
    pub(crate) fn lanes(&self) -> Lanes {
        self.seen().windows.lanes()
    }

    /// How the memory of groups went until the moment.
    pub(crate) fn histories(&self, grouping: Grouping) -> &Histories {
        &self.seen().histories[grouping as usize]
    }

    /// Has the stacks of one request or worker be in windows.
    pub(crate) fn look_at(&mut self, scope: &Scope) {
        if self.scope != *scope {
            self.scope = scope.clone();
            (self.merged, self.merged_before) = (None, None);
        }
    }

    /// The PHP part over a window that ends with the moment: functions, stacks and routes of all intervals in it are added up by
    /// what they are, and indexes refer to the merged lists.
    pub fn window(&mut self, window: Window) -> Arc<Php> {
        if let Some((merged, php)) = &self.merged
            && *merged == window
        {
            return php.clone();
        }
        let seen = self.seen();
        let Some(current) = &seen.snapshot else { return Arc::default() };
        let php = match window {
            _ if let Some(between) = &self.between => Arc::new(between.windows.all(&current.php, &self.scope)),
            Window::Last => current.php.clone(),
            Window::TenSeconds => Arc::new(seen.windows.over(Duration::from_secs(10), &current.php, &self.scope)),
            Window::Minute => Arc::new(seen.windows.over(Duration::from_secs(60), &current.php, &self.scope)),
            Window::All => Arc::new(seen.windows.all(&current.php, &self.scope)),
        };
        self.merged = Some((window, php.clone()));
        php
    }

    /// How much time the intervals of a window cover together.
    pub(crate) fn covered(&self, window: Window) -> Duration {
        let seen = self.seen();
        if let Some(between) = &self.between {
            return between.windows.covered_by_all();
        }
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
        self.past.as_ref().map_or(&self.now, Past::seen)
    }

    fn forget_merged(&mut self) {
        self.grouped = None;
        self.merged = None;
        self.merged_before = None;
    }
}

impl Seen {
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
