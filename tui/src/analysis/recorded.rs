//! The snapshots of a recording, as the ring has those of a live session: the minutes around a moment are read when it is gone to, and
//! a few are kept.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::windows;
use crate::{
    model::{NoticeKind, Snapshot},
    recording::{Event, Minute, PARTS, Recording, RecordingError, has_news},
};

/// Minutes that are kept in memory: that of the moment, the one before, and where the moment was.
const KEPT: usize = 3;

/// A recording that is moved through.
#[derive(Debug)]
pub(crate) struct Recorded {
    recording: Recording,
    /// In the order of time, also where the clock was set back.
    minutes: Vec<Minute>,
    loaded: VecDeque<(usize, Vec<Arc<Snapshot>>)>,
    /// What could not be read last.
    pub(crate) trouble: Option<String>,
}

impl Recorded {
    pub(crate) fn new(recording: Recording) -> Self {
        let mut minutes = recording.minutes().to_vec();
        minutes.sort_by_key(|minute| minute.first);
        let trouble = recording.damage().first().map(ToString::to_string);
        Self { recording, minutes, loaded: VecDeque::new(), trouble }
    }

    /// The times of the first and the last snapshot.
    pub(crate) fn span(&self) -> (Timestamp, Timestamp) {
        self.recording.span()
    }

    /// Requests that finished, each with the time in the middle of the 5 s in which they did.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (Timestamp, u32)> {
        let part = SignedDuration::from_secs(60 / PARTS as i64);
        self.minutes.iter().flat_map(move |minute| {
            let at = move |index| minute.first.saturating_add(part * index as i32 + part / 2).unwrap_or(minute.last);
            let parts = minute.requests.iter().enumerate().map(move |(index, &count)| (at(index), count));
            parts.filter(|&(at, count)| count > 0 || at <= minute.last)
        })
    }

    /// The snapshots up to a moment, from the minute before it on; those of the first minute that can be read where there is none.
    pub(crate) fn until(&mut self, moment: Timestamp) -> Vec<Arc<Snapshot>> {
        let index = self.index(moment);
        let mut snapshots = index.checked_sub(1).map(|before| self.minute(before)).unwrap_or_default();
        snapshots.extend(self.minute(index));
        let count = snapshots.partition_point(|snapshot| snapshot.at <= moment);
        snapshots.truncate(count.max(1));
        snapshots
    }

    /// The snapshot of a moment, with what PHP did in a time up to it: a minute at most, since more is not read. `None` where
    /// nothing around it can be read.
    pub(crate) fn over(&mut self, moment: Timestamp, window: Option<Duration>) -> Option<Snapshot> {
        over(&self.until(moment), window)
    }

    /// The time of the snapshot next to the one of a moment, in one direction; minutes that cannot be read are passed over.
    pub(crate) fn next(&mut self, moment: Timestamp, forward: bool) -> Option<Timestamp> {
        let mut index = self.index(moment);
        loop {
            let snapshots = self.minute(index);
            let found = match forward {
                true => snapshots.iter().map(|snapshot| snapshot.at).find(|&at| at > moment),
                false => snapshots.iter().rev().map(|snapshot| snapshot.at).find(|&at| at < moment),
            };
            if found.is_some() {
                return found;
            }
            index = if forward { index + 1 } else { index.checked_sub(1)? };
            if index >= self.minutes.len() {
                return None;
            }
        }
    }

    /// The time of the next snapshot with a notice that the one before did not have. Only minutes that have one are read.
    pub(crate) fn next_notice(&mut self, moment: Timestamp, forward: bool) -> Option<Timestamp> {
        let here = self.index(moment);
        let order: Vec<usize> = if forward { (here..self.minutes.len()).collect() } else { (0..=here).rev().collect() };
        for index in order {
            if self.minutes[index].news == 0 {
                continue;
            }
            let mut kinds: Vec<NoticeKind> = match index.checked_sub(1) {
                Some(before) => self.minute(before).last().map(|last| kinds(last)).unwrap_or_default(),
                None => Vec::new(),
            };
            let mut found = Vec::new();
            for snapshot in self.minute(index) {
                if has_news(&kinds, &snapshot) {
                    found.push(snapshot.at);
                }
                kinds = self::kinds(&snapshot);
            }
            let found = match forward {
                true => found.into_iter().find(|&at| at > moment),
                false => found.into_iter().rev().find(|&at| at < moment),
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The end of a gap that a moment is in, such as the time that the machine was suspended.
    pub(crate) fn after_gap(&self, moment: Timestamp) -> Option<Timestamp> {
        let index = self.index(moment);
        let next = self.minutes.get(index + 1)?.first;
        let gap = next.duration_since(self.minutes[index].last) > SignedDuration::from_secs(60);
        (gap && moment > self.minutes[index].last).then_some(next)
    }

    /// The last minute that begins not later than a moment, else the first.
    fn index(&self, moment: Timestamp) -> usize {
        self.minutes.partition_point(|minute| minute.first <= moment).saturating_sub(1)
    }

    /// The snapshots of a minute, in the order of time; none where it cannot be read.
    fn minute(&mut self, index: usize) -> Vec<Arc<Snapshot>> {
        if let Some((_, snapshots)) = self.loaded.iter().find(|(known, _)| *known == index) {
            return snapshots.clone();
        }
        let Some(&minute) = self.minutes.get(index) else { return Vec::new() };
        let mut snapshots = Vec::new();
        let mut trouble = None;
        let read: Result<(), RecordingError> = self.recording.read(minute, |event| match event {
            Event::Snapshot(snapshot) => snapshots.push(Arc::from(snapshot)),
            Event::Damage(damage) => trouble = Some(damage.to_string()),
        });
        self.trouble = read.err().map(|error| error.to_string()).or(trouble);
        snapshots.sort_by_key(|snapshot: &Arc<Snapshot>| snapshot.at);
        self.loaded.truncate(KEPT - 1);
        self.loaded.push_front((index, snapshots.clone()));
        snapshots
    }
}

/// The last of some snapshots, with what PHP did in a time up to it. They are in the order of time.
pub(crate) fn over(snapshots: &[Arc<Snapshot>], window: Option<Duration>) -> Option<Snapshot> {
    let last = snapshots.last()?;
    let mut snapshot = Snapshot::clone(last);
    if let Some(window) = window.and_then(|window| SignedDuration::try_from(window).ok()) {
        let after = last.at.checked_sub(window).unwrap_or(Timestamp::MIN);
        snapshot.php = windows::sum(snapshots.iter().filter(|snapshot| snapshot.at > after)).into();
    }
    Some(snapshot)
}

fn kinds(snapshot: &Snapshot) -> Vec<NoticeKind> {
    snapshot.notices.iter().map(|notice| notice.kind).collect()
}
