//! A moment that is not now: what is read of it at once, and what is read bit by bit afterwards. Going on by a few seconds reads only
//! what is new.

use std::{collections::VecDeque, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{
    super::{recorded::Recorded, regroup, windows::Windows},
    Histories, Seen, Worked,
};
use crate::{
    model::{Group, Grouping, Snapshot, Window},
    recording::{Minute, Parts},
};

/// What the lists of PHP need at once.
const SHORT: SignedDuration = SignedDuration::from_secs(10);
/// The last snapshot before a moment is hardly older. Of all others only parts are needed.
const MAYBE_LAST: SignedDuration = SignedDuration::from_secs(3);
/// The longest window but that of all; also what growth needs at once.
const LONG: SignedDuration = SignedDuration::from_secs(60);
/// Further than this, a moment is gone to and not gone on to.
const NEAR: SignedDuration = SignedDuration::from_secs(15);
/// How far back histories have a point every 5 s, and every minute.
const DENSE: SignedDuration = SignedDuration::from_mins(10);
const SPARSE: SignedDuration = SignedDuration::from_hours(2);
/// Parts that one call reads: PHP's lists, first snapshots of minutes, groups, whole snapshots.
const PHP_PARTS: usize = 8;
const FIRST_PARTS: usize = 6;
const GROUPS_PARTS: usize = 30;
const WHOLE_PARTS: usize = 4;

/// A moment with what is known of it.
#[derive(Debug)]
pub(super) struct Past {
    at: Timestamp,
    seen: Seen,
    /// The windows that are whole.
    whole: Whole,
    summing: Option<(Whole, Summing)>,
    histories: [State; Grouping::ALL.len()],
}

/// Up to which window the sums are whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whole {
    Short,
    Minute,
    All,
}

/// How far the histories of a grouping are.
#[derive(Debug)]
enum State {
    /// They have what was read at once, if anything.
    Short,
    Building(Box<Building>),
    Done,
}

/// Histories that are being read.
#[derive(Debug)]
struct Building {
    histories: Histories,
    /// Minutes of which the first snapshot is to be read.
    minutes: VecDeque<Minute>,
    upto: Timestamp,
}

/// A sum that is being added up.
#[derive(Debug)]
pub(super) struct Summing {
    from: Timestamp,
    upto: Timestamp,
    windows: Windows,
}

impl Past {
    /// The latest moment, which is known as a whole.
    pub(super) fn of_now(now: &Seen) -> Option<Self> {
        let at = now.snapshot.as_ref()?.at;
        let histories = Grouping::ALL.map(|_| State::Done);
        Some(Self { at, seen: now.clone(), whole: Whole::All, summing: None, histories })
    }

    /// Another moment. `None` where nothing can be read.
    pub(super) fn at(stored: &mut Recorded, moment: Timestamp) -> Option<Self> {
        let found = Self::read(stored, moment).filter(|past| moment.duration_since(past.at) < SHORT);
        // Else it is in a gap, or before the start.
        found.or_else(|| {
            let at = stored.time_at(moment)?;
            Self::read(stored, at)
        })
    }

    /// Reads what is needed at once. `None` when there is no snapshot within a minute before the moment.
    fn read(stored: &mut Recorded, moment: Timestamp) -> Option<Self> {
        let histories = Grouping::ALL.map(|_| State::Short);
        let mut past = Self { at: moment, seen: Seen::default(), whole: Whole::Short, summing: None, histories };
        // Another machine before it is another session.
        let begins = stored.begins(moment);
        let before = |span| moment.checked_sub(span).unwrap_or(Timestamp::MIN).max(begins);
        let (short, long) = (before(SHORT), before(LONG));
        let mut last: Option<(Timestamp, Vec<u8>)> = None;
        let parts = |at: Timestamp| {
            let is_near = moment.duration_since(at) < MAYBE_LAST;
            if is_near {
                Parts::ALL
            } else if at > short {
                Parts::PHP_AND_GROUPS
            } else {
                Parts::GROUPS
            }
        };
        stored.each(long, moment, parts, |at, json| {
            if let Some((at, json)) = last.replace((at, json.to_vec())) {
                past.seen.push_parts(at, &json, at > short);
            }
            true
        });
        let (at, json) = last?;
        if moment.duration_since(at) < MAYBE_LAST {
            return past.push(stored, &json).then_some(past);
        }
        let snapshot = stored.snapshot(at)?;
        past.push_snapshot(stored, snapshot);
        Some(past)
    }

    /// Goes on to a later moment, by a few seconds. False when it is none, or what is there cannot be read.
    pub(super) fn go_on(&mut self, stored: &mut Recorded, moment: Timestamp) -> bool {
        if moment < self.at || moment.duration_since(self.at) > NEAR || stored.begins(moment) >= self.at {
            return false;
        }
        let (mut last, mut between) = (None, Vec::new());
        stored.each(
            self.at,
            moment,
            |_| Parts::ALL,
            |at, json| {
                between.extend(last.replace((at, json.to_vec())));
                true
            },
        );
        let Some((_, json)) = last else { return true };
        between.iter().for_each(|(at, json)| self.seen.push_parts(*at, json, true));
        self.push(stored, &json)
    }

    /// Takes the next snapshot.
    fn push(&mut self, stored: &mut Recorded, json: &[u8]) -> bool {
        let read = Snapshot::read(json).map(|snapshot| self.push_snapshot(stored, snapshot));
        read.is_ok()
    }

    /// Takes the next snapshot, which is read.
    fn push_snapshot(&mut self, stored: &mut Recorded, mut snapshot: Snapshot) {
        if let Some(notice) = stored.notice_of_change(&snapshot) {
            snapshot.notices.insert(0, notice);
        }
        let snapshot = Arc::new(snapshot);
        self.at = snapshot.at;
        let seen = &mut self.seen;
        Arc::make_mut(&mut seen.windows).push(snapshot.at, &snapshot.php);
        for ((grouping, histories), state) in Grouping::ALL.into_iter().zip(&mut seen.histories).zip(&self.histories) {
            // Others are read from their start when they are looked at.
            if grouping == Grouping::Rules || matches!(state, State::Done) {
                Arc::make_mut(histories).push_snapshot(&snapshot, grouping);
            }
        }
        seen.snapshot = Some(snapshot);
    }

    pub(super) fn moment(&self) -> Timestamp {
        self.at
    }

    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The share of the sum since the start that is added up; `None` when it is whole, or not looked at.
    pub(super) fn progress(&self) -> Option<f64> {
        let (_, summing) = self.summing.as_ref().filter(|(whole, _)| *whole == Whole::All)?;
        Some(summing.progress(self.at))
    }

    /// Reads a part of what a window and a grouping need.
    pub(super) fn work(&mut self, stored: &mut Recorded, window: Window, grouping: Grouping) -> Worked {
        let wanted = match window {
            Window::Last | Window::TenSeconds => Whole::Short,
            Window::Minute => Whole::Minute,
            Window::All => Whole::All,
        };
        if wanted > self.whole {
            return self.sum(stored, wanted);
        }
        self.summing = None;
        self.build(stored, grouping)
    }

    fn sum(&mut self, stored: &mut Recorded, wanted: Whole) -> Worked {
        let from = match wanted {
            Whole::All => Some(stored.begins(self.at)),
            Whole::Short | Whole::Minute => self.at.checked_sub(LONG).ok().map(|from| from.max(stored.begins(self.at))),
        };
        self.summing.take_if(|(whole, _)| *whole != wanted);
        let (_, summing) = self.summing.get_or_insert_with(|| (wanted, Summing::new(from.unwrap_or(Timestamp::MIN))));
        if !summing.step(stored, self.at) {
            return Worked::Some;
        }
        if let Some((_, summing)) = self.summing.take() {
            self.seen.windows = Arc::new(summing.windows);
        }
        self.whole = wanted;
        Worked::Visible
    }

    fn build(&mut self, stored: &mut Recorded, grouping: Grouping) -> Worked {
        let index = grouping as usize;
        let state = &mut self.histories[index];
        let at = self.at;
        if let State::Short = state {
            let begins = stored.begins(at);
            let dense = at.checked_sub(DENSE).unwrap_or(Timestamp::MIN).max(begins);
            let sparse = at.checked_sub(SPARSE).unwrap_or(Timestamp::MIN).max(begins);
            let minutes = stored.minutes(sparse, dense).iter().copied().collect();
            *state = State::Building(Box::new(Building { histories: Histories::default(), minutes, upto: dense }));
        }
        let State::Building(building) = state else { return Worked::Nothing };
        if !building.step(stored, at, grouping) {
            return Worked::Some;
        }
        self.seen.histories[index] = Arc::new(std::mem::take(&mut building.histories));
        *state = State::Done;
        Worked::Visible
    }
}

impl Seen {
    /// Takes parts of a snapshot that is not shown itself.
    fn push_parts(&mut self, at: Timestamp, json: &[u8], php: bool) {
        // What cannot be read is missing here, as it would be missing on the screen at its time.
        if php && let Ok(php) = Snapshot::read_php(json) {
            Arc::make_mut(&mut self.windows).push(at, &php);
        }
        if let Ok(groups) = Snapshot::read_groups(json) {
            Arc::make_mut(&mut self.histories[Grouping::Rules as usize]).push(at, &groups);
        }
    }
}

impl Summing {
    pub(super) fn new(from: Timestamp) -> Self {
        Self { from, upto: from, windows: Windows::default() }
    }

    /// Adds up the next intervals. True when all up to a moment are in.
    pub(super) fn step(&mut self, stored: &mut Recorded, until: Timestamp) -> bool {
        let mut left = PHP_PARTS;
        stored.each_php(self.upto, until, |at, php| {
            self.windows.push(at, &php);
            self.upto = at;
            left -= 1;
            left > 0
        });
        left > 0
    }

    fn progress(&self, until: Timestamp) -> f64 {
        let whole = until.duration_since(self.from).as_secs_f64();
        self.upto.duration_since(self.from).as_secs_f64() / whole.max(1e-3)
    }
}

impl Building {
    /// Reads the next points. True when all up to a moment are there.
    fn step(&mut self, stored: &mut Recorded, until: Timestamp, grouping: Grouping) -> bool {
        let parts = if grouping == Grouping::Rules { Parts::GROUPS } else { Parts::PROCESSES };
        if !self.minutes.is_empty() {
            for _ in 0..if grouping == Grouping::Rules { FIRST_PARTS } else { WHOLE_PARTS } {
                let Some(minute) = self.minutes.pop_front() else { break };
                stored.first_of_minutes(minute, parts, |at, json| {
                    // A frame of ten minutes may go on in the time that has closer points.
                    if let Some(groups) = groups(json, grouping).filter(|_| at <= self.upto) {
                        self.histories.push_long(at, &groups);
                    }
                });
            }
            return false;
        }
        let mut left = if grouping == Grouping::Rules { GROUPS_PARTS } else { WHOLE_PARTS };
        stored.each(
            self.upto,
            until,
            |_| parts,
            |at, json| {
                self.upto = at;
                // By rules the CPU of a point is the mean of all snapshots since the one before.
                if grouping == Grouping::Rules || self.histories.is_due(at) {
                    if let Some(groups) = groups(json, grouping) {
                        self.histories.push(at, &groups);
                    }
                    left -= 1;
                }
                left > 0
            },
        );
        left > 0
    }
}

fn groups(json: &[u8], grouping: Grouping) -> Option<Vec<Group>> {
    match grouping {
        Grouping::Rules => Snapshot::read_groups(json).ok(),
        _ => {
            let snapshot = Snapshot::read(json).ok()?;
            Some(regroup::groups(&snapshot.processes, &snapshot.groups, grouping).0)
        }
    }
}
