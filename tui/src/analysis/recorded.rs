//! The snapshots of a recording, or of a session's own past in memory: each is decoded when its moment is looked at. Nothing that is
//! decoded is kept but the place behind the last one, so that going on reads no minute again.

use std::{collections::VecDeque, io::Cursor, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{profile::Scope, windows::Windows};
use crate::{
    model::{Notice, NoticeKind, Php, Snapshot},
    recording::{Event, GAP, Line, Minute, PARTS, Parts, Recording, Ring, Stream, is_news},
};

/// Time between points of what is drawn of hours.
const MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// Minutes of which the times of all snapshots are remembered.
const KEPT_TIMES: usize = 8;
/// Counts that the usual number of requests is taken from, before a spike and after: 5 minutes each.
const USUAL: usize = 5 * PARTS;
/// Standard deviations of a Poisson count that a spike is above what is usual.
const SPIKE: f64 = 6.0;

/// Where the minutes are.
#[derive(Debug)]
enum Store {
    File(Recording),
    Memory(Box<Ring>),
}

/// A recording that is moved through.
#[derive(Debug)]
pub(crate) struct Recorded {
    store: Store,
    /// In the order of time, also where the clock was set back.
    minutes: Vec<Minute>,
    times: VecDeque<Times>,
    open: Option<Open>,
    /// What could not be read last.
    pub(crate) trouble: Option<String>,
}

/// Whether two minutes are of different machines.
fn is_another(one: &Minute, other: &Minute) -> bool {
    one.host.zip(other.host).is_some_and(|(one, other)| one != other)
}

/// Minutes in the order of time. Where those of different machines overlap, they are not one after the other: those of the machine that
/// the file begins with are there, and the others are counted.
fn of_one_machine_at_a_time(minutes: &[Minute]) -> (Vec<Minute>, usize) {
    let mut sorted = minutes.to_vec();
    sorted.sort_by_key(|minute| minute.first);
    let overlap = |pair: &[Minute]| is_another(&pair[0], &pair[1]) && pair[1].first < pair[0].last;
    if sorted.windows(2).any(overlap)
        && let Some(first) = minutes.first()
    {
        sorted.retain(|minute| !is_another(first, minute));
    }
    let left_out = minutes.len() - sorted.len();
    (sorted, left_out)
}

/// Requests that finished in a part of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    pub from: Timestamp,
    pub until: Timestamp,
    pub count: u64,
}

impl Counted {
    fn seconds(&self) -> f64 {
        self.until.duration_since(self.from).as_secs_f64().max(1e-3)
    }

    fn per_second(&self) -> f64 {
        self.count as f64 / self.seconds()
    }

    /// Whether the lengths of both are about the same.
    fn is_as_long_as(&self, other: &Self) -> bool {
        (0.5..=2.0).contains(&(self.seconds() / other.seconds()))
    }
}

/// The times of the snapshots of a minute, by when it begins and its bytes: the minute that is written grows.
#[derive(Debug)]
struct Times {
    of: (Timestamp, u64),
    all: Arc<[Timestamp]>,
}

/// A minute that is being decoded.
struct Open {
    first: Timestamp,
    stream: Stream<Cursor<Arc<[u8]>>>,
    /// The last snapshot that was decoded and taken.
    behind: Timestamp,
    /// One that was decoded and not taken, because it is later than what was asked for.
    ahead: Option<(Timestamp, Vec<u8>)>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("first", &self.first).field("behind", &self.behind).finish_non_exhaustive()
    }
}

impl Recorded {
    /// A recording in a file.
    pub(crate) fn new(recording: Recording) -> Self {
        let (minutes, left_out) = of_one_machine_at_a_time(recording.minutes());
        let several = (left_out > 0).then(|| {
            format!("{left_out} minutes of another machine at the same time are left out: replay FILE --compare OTHER")
        });
        let trouble = recording.damage().first().map(ToString::to_string).or(several);
        Self { store: Store::File(recording), minutes, times: VecDeque::new(), open: None, trouble }
    }

    /// The past of a session, which goes on.
    pub(crate) fn of_ring(ring: Ring) -> Self {
        let minutes = ring.minutes().collect();
        Self { store: Store::Memory(Box::new(ring)), minutes, times: VecDeque::new(), open: None, trouble: None }
    }

    /// Adds a snapshot to the past of a session.
    pub(crate) fn push(&mut self, snapshot: &Snapshot) {
        let Store::Memory(past) = &mut self.store else { return };
        if let Err(error) = past.push(snapshot) {
            self.trouble = Some(format!("the past has a gap: {error}"));
        }
        self.minutes.clear();
        self.minutes.extend(past.minutes());
    }

    /// Whether the last minute begins with the snapshot of a moment.
    pub(crate) fn begins_minute(&self, moment: Timestamp) -> bool {
        self.minutes.last().is_some_and(|minute| minute.first == moment)
    }

    /// Lets go of what the next look would go on from: several MB.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// The times of the first and the last snapshot; `None` while there is none.
    pub(crate) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let times = self.minutes.iter().map(|minute| (minute.first, minute.last));
        times.reduce(|span, minute| (span.0.min(minute.0), span.1.max(minute.1)))
    }

    /// Where the machine changes: the first moment of each but the first one.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Timestamp> {
        self.minutes.windows(2).filter(|pair| is_another(&pair[0], &pair[1])).map(|pair| pair[1].first)
    }

    /// The moment before the first snapshot of the machine that a moment is about.
    pub(crate) fn begins(&self, moment: Timestamp) -> Timestamp {
        let change = self.changes().take_while(|&change| change <= moment).last();
        just_before(change.or(self.minutes.first().map(|minute| minute.first)).unwrap_or(moment))
    }

    /// What is to be said of a snapshot that is the first one of another machine.
    pub(crate) fn notice_of_change(&mut self, snapshot: &Snapshot) -> Option<Notice> {
        let index = self.minutes.iter().position(|minute| minute.first == snapshot.at).filter(|&index| index > 0)?;
        let (before, now) = (self.minutes[index - 1], self.minutes[index]);
        if !is_another(&before, &now) {
            return None;
        }
        let before = self.snapshot(before.last).map(|before| before.host.name);
        Some(Notice::machine_changed(before.as_deref().unwrap_or("?"), &snapshot.host.name))
    }

    /// Requests that finished, by the parts of time that they are known for: 5 s each, or more where snapshots are further apart.
    pub(crate) fn requests(&self) -> impl Iterator<Item = Counted> {
        self.minutes.iter().flat_map(|minute| {
            let part = minute.covers.1.duration_since(minute.covers.0) / PARTS as i32;
            (0..PARTS as i32).zip(minute.requests).filter_map(move |(index, count)| {
                let from = minute.covers.0.saturating_add(part * index).ok()?;
                let until = from.saturating_add(part).ok()?;
                // In a minute that is not over yet nothing is known of its end.
                (count > 0 || from < minute.last).then_some(Counted { from, until, count: count.into() })
            })
        })
    }

    /// Hands over each snapshot later than `after` and not later than `until` as JSON with the parts that are asked for, in the order
    /// of time, until `take` says that it is enough.
    pub(crate) fn each(
        &mut self,
        after: Timestamp,
        until: Timestamp,
        parts: impl Fn(Timestamp) -> Parts,
        mut take: impl FnMut(Timestamp, &[u8]) -> bool,
    ) {
        let from = self.index(after);
        for index in from..self.minutes.len() {
            let minute = self.minutes[index];
            if minute.first > until {
                break;
            }
            if minute.last <= after {
                continue;
            }
            let Some(mut open) = self.open_at(minute, after) else { continue };
            loop {
                if let Some((at, json)) = open.ahead.take() {
                    if at > until {
                        open.ahead = Some((at, json));
                        self.open = Some(open);
                        return;
                    }
                    open.behind = at;
                    if at > after && !take(at, &json) {
                        self.open = Some(open);
                        return;
                    }
                }
                let mut read = |mut line: Line<'_>| {
                    let at = line.at()?;
                    // One that is later is kept for whoever asks next, who may want other parts.
                    let parts = if at > until { Parts::ALL } else { parts(at) };
                    Ok((at, if at > after { line.json(parts)?.to_vec() } else { Vec::new() }))
                };
                match open.stream.next_with(&mut read) {
                    Ok(Some(Event::Snapshot(line))) => open.ahead = Some(line),
                    Ok(Some(Event::Damage(damage))) => self.damaged(minute, &damage.what),
                    Ok(None) => break,
                    Err(error) => {
                        self.damaged(minute, &error);
                        break;
                    }
                }
            }
        }
    }

    /// A minute whose decoding is not past a moment.
    fn open_at(&mut self, minute: Minute, after: Timestamp) -> Option<Open> {
        let open = self.open.take().filter(|open| open.first == minute.first && open.behind <= after);
        open.or_else(|| {
            let bytes: Arc<[u8]> = match &self.store {
                Store::Memory(past) => past.frame(minute)?,
                Store::File(recording) => match recording.frame(minute) {
                    Ok(Ok(bytes)) => bytes.into(),
                    Ok(Err(damage)) => {
                        self.trouble = Some(damage.to_string());
                        return None;
                    }
                    Err(error) => {
                        self.trouble = Some(error.to_string());
                        return None;
                    }
                },
            };
            let stream = Stream::new(Cursor::new(bytes)).ok()?;
            Some(Open { first: minute.first, stream, behind: Timestamp::MIN, ahead: None })
        })
    }

    /// Says what is wrong with a minute. That the last one has no end is how it is while it is written.
    fn damaged(&mut self, minute: Minute, what: &dyn std::fmt::Display) {
        let is_open = matches!(self.store, Store::Memory(_)) && self.minutes.last() == Some(&minute);
        if !is_open {
            self.trouble = Some(format!("at byte {}: {what}", minute.offset()));
        }
    }

    /// The time of the last snapshot that is not later than a moment, else of the first; `None` where nothing can be read.
    pub(crate) fn time_at(&mut self, moment: Timestamp) -> Option<Timestamp> {
        let index = self.index(moment);
        let before =
            (0..=index).rev().find_map(|index| self.times(index).iter().rev().copied().find(|&at| at <= moment));
        before.or_else(|| (0..self.minutes.len()).find_map(|index| self.times(index).first().copied()))
    }

    /// The snapshot of a moment, with what PHP did in a time up to it. `None` where nothing around it can be read.
    pub(crate) fn over(&mut self, moment: Timestamp, window: Option<Duration>) -> Option<Snapshot> {
        let at = self.time_at(moment)?;
        let mut snapshot = self.snapshot(at)?;
        if let Some(window) = window.and_then(|window| SignedDuration::try_from(window).ok()) {
            let after = at.checked_sub(window).unwrap_or(Timestamp::MIN);
            let mut windows = Windows::default();
            self.each_php(after, at, |at, php| {
                windows.push(at, &php);
                true
            });
            snapshot.php = windows.all(&snapshot.php, &Scope::All).into();
        }
        Some(snapshot)
    }

    /// The snapshot of exactly this time.
    pub(crate) fn snapshot(&mut self, at: Timestamp) -> Option<Snapshot> {
        let mut found = None;
        self.each(
            just_before(at),
            at,
            |_| Parts::ALL,
            |_, json| {
                found = Some(Snapshot::read(json));
                false
            },
        );
        found?.map_err(|error| self.trouble = Some(error.to_string())).ok()
    }

    /// As [`Recorded::each`], with what PHP did.
    pub(crate) fn each_php(
        &mut self,
        after: Timestamp,
        until: Timestamp,
        mut take: impl FnMut(Timestamp, Php) -> bool,
    ) {
        let mut trouble = None;
        self.each(
            after,
            until,
            |_| Parts::PHP,
            |at, json| match Snapshot::read_php(json) {
                Ok(php) => take(at, php),
                Err(error) => {
                    trouble = Some(error.to_string());
                    true
                }
            },
        );
        self.trouble = trouble.or_else(|| self.trouble.take());
    }

    /// The first snapshot of a minute, as JSON with these parts; of a frame that is longer, one of each minute.
    pub(crate) fn first_of_minutes(&mut self, minute: Minute, parts: Parts, mut take: impl FnMut(Timestamp, &[u8])) {
        let mut due = minute.first;
        self.each(
            just_before(minute.first),
            minute.last,
            |_| parts,
            |at, json| {
                if at >= due {
                    due = at.saturating_add(MINUTE).unwrap_or(Timestamp::MAX);
                    take(at, json);
                }
                due <= minute.last
            },
        );
    }

    /// The minutes that begin later than `after` and not later than `until`.
    pub(crate) fn minutes(&self, after: Timestamp, until: Timestamp) -> &[Minute] {
        let from = self.minutes.partition_point(|minute| minute.first <= after);
        let to = self.minutes.partition_point(|minute| minute.first <= until);
        &self.minutes[from..to.max(from)]
    }

    /// The time of the snapshot next to the one of a moment, in one direction; minutes that cannot be read are passed over.
    pub(crate) fn next(&mut self, moment: Timestamp, forward: bool) -> Option<Timestamp> {
        let mut index = self.index(moment);
        loop {
            let times = self.times(index);
            let found = match forward {
                true => times.iter().copied().find(|&at| at > moment),
                false => times.iter().rev().copied().find(|&at| at < moment),
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

    /// The next moment with something to see: a notice that the snapshot before did not have, or a spike of requests.
    pub(crate) fn next_event(&mut self, moment: Timestamp, forward: bool) -> Option<Timestamp> {
        let (notice, spike) = (self.next_notice(moment, forward), self.next_spike(moment, forward));
        let found = notice.into_iter().chain(spike);
        match forward {
            true => found.chain(self.changes().find(|&change| change > moment)).min(),
            false => found.chain(self.changes().take_while(|&change| change < moment).last()).max(),
        }
    }

    /// The time of the next snapshot with a notice that the one before did not have. Only minutes that have one are read.
    fn next_notice(&mut self, moment: Timestamp, forward: bool) -> Option<Timestamp> {
        let here = self.index(moment);
        let order: Vec<usize> = if forward { (here..self.minutes.len()).collect() } else { (0..=here).rev().collect() };
        for index in order {
            let minute = self.minutes[index];
            if minute.news == 0 {
                continue;
            }
            let before = self.time_at(just_before(minute.first)).filter(|&at| at < minute.first);
            let (mut known, mut found): (Vec<NoticeKind>, _) = (Vec::new(), Vec::new());
            self.each(
                just_before(before.unwrap_or(minute.first)),
                minute.last,
                |_| Parts::NOTICES,
                |at, json| {
                    if before == Some(at) || at >= minute.first {
                        let notices = Snapshot::read_notices(json).unwrap_or_default();
                        let kinds: Vec<NoticeKind> = notices.iter().map(|notice| notice.kind).collect();
                        if at >= minute.first && is_news(&known, &kinds) {
                            found.push(at);
                        }
                        known = kinds;
                    }
                    true
                },
            );
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

    /// The start of the next time with many more requests than in the time around it: so many that chance does not explain it
    /// (6 standard deviations of a Poisson count), and half as many again.
    fn next_spike(&mut self, moment: Timestamp, forward: bool) -> Option<Timestamp> {
        let counts = self.counts();
        let is_high = |index: usize| {
            let here = &counts[index];
            let around = index.saturating_sub(USUAL)..(index + USUAL + 1).min(counts.len());
            // What is usual in a minute says nothing of 5 s.
            let alike = counts[around].iter().filter(|other| other.is_as_long_as(here));
            let mut others: Vec<u64> = alike.map(|other| other.count).collect();
            let middle = others.len() / 2;
            let usual = *others.select_nth_unstable(middle).1 as f64;
            let count = here.count as f64;
            count > usual + SPIKE * usual.max(1.0).sqrt() && count > usual * 1.5
        };
        // What is asked first is what costs least.
        let rises = |index: usize| index == 0 || counts[index].per_second() > counts[index - 1].per_second();
        let begins = |&index: &usize| rises(index) && is_high(index) && (index == 0 || !is_high(index - 1));
        // From the last one that begins before the moment, for its snapshot may be later than the moment.
        let found: Vec<usize> = match forward {
            true => {
                let from = counts.partition_point(|counted| counted.from <= moment).saturating_sub(1);
                (from..counts.len()).filter(begins).take(2).collect()
            }
            false => {
                let to = counts.partition_point(|counted| counted.from < moment);
                (0..to).rev().filter(begins).take(2).collect()
            }
        };
        // The snapshot that shows it first.
        let shown = |index: usize| self.next(counts[index].from, true);
        found.into_iter().filter_map(shown).find(|&at| if forward { at > moment } else { at < moment })
    }

    /// Requests by 5 s; by frame where snapshots are further apart than its parts.
    fn counts(&self) -> Vec<Counted> {
        let mut counts = Vec::new();
        let mut parts = self.requests().peekable();
        for minute in &self.minutes {
            let (from, until) = minute.covers;
            let known = std::iter::from_fn(|| parts.next_if(|part| part.until <= until || part.from < minute.last));
            let known: Vec<Counted> = known.collect();
            if minute.last.duration_since(from) > until.duration_since(from) / PARTS as i32 * minute.snapshots as i32 {
                counts.push(Counted { from, until, count: known.iter().map(|part| part.count).sum() });
            } else {
                counts.extend(known);
            }
        }
        counts
    }

    /// The end of a gap that a moment is in, such as the time that the machine was suspended.
    pub(crate) fn after_gap(&self, moment: Timestamp) -> Option<Timestamp> {
        let index = self.index(moment);
        let next = self.minutes.get(index + 1)?;
        let last = self.minutes[index].last;
        let gap = next.covers.0.duration_since(last);
        (moment > last && gap.is_positive() && gap.unsigned_abs() > GAP).then_some(next.first)
    }

    /// The last minute that begins not later than a moment, else the first.
    fn index(&self, moment: Timestamp) -> usize {
        self.minutes.partition_point(|minute| minute.first <= moment).saturating_sub(1)
    }

    /// The times of the snapshots of a minute, in their order; none where it cannot be read.
    fn times(&mut self, index: usize) -> Arc<[Timestamp]> {
        let Some(&minute) = self.minutes.get(index) else { return Arc::default() };
        let of = (minute.first, minute.bytes());
        if let Some(known) = self.times.iter().find(|times| times.of == of) {
            return known.all.clone();
        }
        let mut times = Vec::new();
        let going_on = self.open.take();
        if let Some(mut open) = self.open_at(minute, Timestamp::MIN) {
            while let Ok(Some(event)) = open.stream.next_with(&mut |line| line.at()) {
                match event {
                    Event::Snapshot(at) => times.push(at),
                    Event::Damage(damage) => self.damaged(minute, &damage.what),
                }
            }
        }
        self.open = going_on;
        times.sort();
        let all: Arc<[Timestamp]> = times.into();
        self.times.truncate(KEPT_TIMES - 1);
        self.times.push_front(Times { of, all: all.clone() });
        all
    }
}

/// The last of some snapshots, with what PHP did in a time up to it. They are in the order of time.
pub(crate) fn over(snapshots: &[Arc<Snapshot>], window: Option<Duration>) -> Option<Snapshot> {
    let last = snapshots.last()?;
    let mut snapshot = Snapshot::clone(last);
    if let Some(window) = window.and_then(|window| SignedDuration::try_from(window).ok()) {
        let after = last.at.checked_sub(window).unwrap_or(Timestamp::MIN);
        let mut windows = Windows::default();
        let within = snapshots.iter().filter(|snapshot| snapshot.at > after);
        within.for_each(|snapshot| windows.push(snapshot.at, &snapshot.php));
        snapshot.php = windows.all(&snapshot.php, &Scope::All).into();
    }
    Some(snapshot)
}

/// The moment before one, for bounds that are not part of what they bound.
pub(crate) fn just_before(at: Timestamp) -> Timestamp {
    at.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(at)
}
