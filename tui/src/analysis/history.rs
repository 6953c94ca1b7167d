//! The history of each group: points five seconds apart for ten minutes, a minute apart for two hours, and the growth.
//! It owns the points and the trend; `ui` decides how to draw them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;

use super::regroup;
use crate::model::{Group, Grouping, Snapshot};

/// Seconds between points of the short span. Sparklines move only this often.
const STEP_S: i64 = 5;
/// Seconds between points of the long span.
const LONG_STEP_S: i64 = 60;
/// Points kept of each span: ten minutes and two hours.
const MAX_POINTS: usize = 120;
/// Seconds that the trend looks back.
const TREND_S: f64 = 60.0;
/// Seconds that must be known before there is a trend.
const LEAST_TREND_S: f64 = 15.0;
/// Seconds from which on a minute was seen: points are up to a step apart.
const MINUTE_S: f64 = 55.0;
/// Share of all ups and downs that a change must be, or it is noise.
const LEAST_NET: f64 = 0.5;
/// How far memory may fall while it grows: so much, or this share of it.
const DIP_BYTES: f64 = 256.0 * 1024.0;
const DIP_SHARE: f64 = 0.005;
/// Groups remembered, the biggest first: a point of one in each span and grouping is 64 bytes.
const MAX_GROUPS: usize = 512;

/// Histories of groups by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histories {
    groups: HashMap<Arc<str>, Track>,
    last: Timestamp,
}

/// A group at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub at: Timestamp,
    /// Sum of RSS.
    pub rss_bytes: Option<u64>,
    /// Sum of PSS.
    pub pss_bytes: Option<u64>,
    /// Sum of USS.
    pub uss_bytes: Option<u64>,
    /// Shared memory in the sum of PSS, and what is swapped out.
    pub shmem_bytes: Option<u64>,
    pub swap_bytes: Option<u64>,
    /// CPU in cores, the mean since the point before where that is known.
    pub cpu_ratio: Option<f64>,
    /// Number of processes.
    pub processes: u32,
}

/// How memory changed lately.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Growth {
    /// By how much; 0 where the ups and downs say nothing.
    pub bytes: f64,
    /// In what time, a minute at most.
    pub seconds: f64,
}

impl Growth {
    /// Bytes per minute; `None` before a minute was seen.
    pub(crate) fn per_minute(self) -> Option<f64> {
        (self.seconds >= MINUTE_S).then(|| self.bytes * 60.0 / self.seconds)
    }
}

/// How far back points go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// Five seconds apart.
    TenMinutes,
    /// A minute apart.
    TwoHours,
}

/// What the memory of a group or of its mean process is measured by, in an order of how much it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Proportional set size.
    Pss,
    /// Unique set size.
    Uss,
    /// Resident set size.
    Rss,
}

#[derive(Debug, Clone, Default)]
struct Track {
    short: VecDeque<Point>,
    long: VecDeque<Point>,
    /// Sum and number of CPU readings since the last point.
    cpu: (f64, u32),
}

impl Histories {
    /// Takes the groups of a moment long ago, of which only the long span has a point.
    pub(super) fn push_long(&mut self, at: Timestamp, groups: &[Group]) {
        for group in groups {
            if self.groups.contains_key(&group.name) || self.groups.len() < MAX_GROUPS {
                keep(
                    &mut self.groups.entry(group.name.clone()).or_default().long,
                    Point::of(at, group, group.cpu_ratio),
                );
            }
        }
        self.last = at;
    }

    /// Takes the groups of a snapshot. Groups other than those of the rules are only made where a point is due, so that the CPU
    /// of a point is that of its snapshot.
    pub(super) fn push_snapshot(&mut self, snapshot: &Snapshot, grouping: Grouping) {
        match grouping {
            Grouping::Rules => self.push(snapshot.at, &snapshot.groups),
            _ if self.is_due(snapshot.at) => {
                self.push(snapshot.at, &regroup::groups(&snapshot.processes, &snapshot.groups, grouping).0);
            }
            _ => {}
        }
    }

    /// Whether a snapshot of this time begins another step.
    pub(super) fn is_due(&self, at: Timestamp) -> bool {
        step(at, STEP_S) != step(self.last, STEP_S)
    }

    pub(super) fn push(&mut self, at: Timestamp, groups: &[Group]) {
        for group in groups {
            if let (Some(track), Some(ratio)) = (self.groups.get_mut(&group.name), group.cpu_ratio) {
                track.cpu = (track.cpu.0 + ratio, track.cpu.1 + 1);
            }
        }
        if !self.is_due(at) {
            return;
        }
        let long = step(at, LONG_STEP_S) != step(self.last, LONG_STEP_S);
        self.last = at;
        let groups = &groups[..groups.len().min(MAX_GROUPS)];
        self.make_room(groups);
        for group in groups {
            let track = self.groups.entry(group.name.clone()).or_default();
            let (sum, readings) = std::mem::take(&mut track.cpu);
            let mean = if readings > 0 { Some(sum / f64::from(readings)) } else { group.cpu_ratio };
            let point = Point::of(at, group, mean);
            keep(&mut track.short, point);
            if long {
                keep(&mut track.long, point);
            }
        }
        let last = self.last;
        let recent = |point: &Point| seconds(point.at, last) < (MAX_POINTS as i64 * STEP_S) as f64;
        self.groups.retain(|_, track| track.short.back().is_some_and(recent));
    }

    /// Makes room for groups: of the others, those that ended first and the smallest are forgotten.
    fn make_room(&mut self, groups: &[Group]) {
        let new = groups.iter().filter(|group| !self.groups.contains_key(&group.name)).count();
        let excess = (self.groups.len() + new).saturating_sub(MAX_GROUPS);
        if excess == 0 {
            return;
        }
        let stay: HashSet<&Arc<str>> = groups.iter().map(|group| &group.name).collect();
        let last = |track: &Track| track.short.back().map(|point| (point.at, point.rss_bytes));
        let others = self.groups.iter().filter(|(name, _)| !stay.contains(name));
        let mut others: Vec<_> = others.map(|(name, track)| (last(track), Arc::clone(name))).collect();
        others.sort_unstable();
        for (_, name) in others.into_iter().take(excess) {
            self.groups.remove(&name);
        }
    }

    /// Points of a group, oldest first.
    pub(crate) fn points(&self, group: &str, span: Span) -> impl Iterator<Item = &Point> {
        let track = self.groups.get(group);
        let points = track.map(|track| match span {
            Span::TenMinutes => &track.short,
            Span::TwoHours => &track.long,
        });
        points.into_iter().flatten()
    }

    /// What the group's memory is measured by: PSS where it is known at the end and for most of the time.
    pub(crate) fn measure(&self, group: &str) -> Measure {
        self.known(group, Measure::Pss)
    }

    /// What the memory of the group's mean process is measured by: what it has for itself where that is known. PSS would
    /// fall whenever another process shares the same pages.
    pub(crate) fn process_measure(&self, group: &str) -> Measure {
        self.known(group, Measure::Uss)
    }

    fn known(&self, group: &str, measure: Measure) -> Measure {
        let Some(track) = self.groups.get(group) else { return Measure::Rss };
        let known = track.short.iter().filter(|point| point.memory(measure).is_some()).count();
        if track.short.back().is_some_and(|point| point.memory(measure).is_some()) && known * 2 >= track.short.len() {
            measure
        } else {
            Measure::Rss
        }
    }

    /// How the group's memory changed in the last minute; `None` until a quarter of a minute is known. A change is noise, and 0,
    /// where it is less than half of all ups and downs in that time.
    pub(crate) fn growth(&self, group: &str) -> Option<Growth> {
        let measure = self.measure(group);
        self.trend(group, |point| Some(point.memory(measure)? as f64))
    }

    /// How the group's mean process changed, as [`Histories::growth`].
    pub(crate) fn process_growth(&self, group: &str) -> Option<Growth> {
        let measure = self.process_measure(group);
        self.trend(group, |point| point.per_process(measure))
    }

    fn trend(&self, group: &str, value: impl Fn(&Point) -> Option<f64>) -> Option<Growth> {
        let points = &self.groups.get(group)?.short;
        points.back().filter(|point| point.at == self.last)?;
        let recent = points.iter().filter(|point| seconds(point.at, self.last) <= TREND_S);
        let mut known = recent.filter_map(|point| Some((point.at, value(point)?)));
        let first = known.next()?;
        let (mut last, mut moved) = (first, 0.0);
        for point in known {
            moved += (point.1 - last.1).abs();
            last = point;
        }
        let (net, seconds) = (last.1 - first.1, seconds(first.0, last.0));
        let bytes = if net.abs() < moved * LEAST_NET { 0.0 } else { net };
        (seconds >= LEAST_TREND_S).then_some(Growth { bytes, seconds })
    }

    /// Since when the group's mean process has grown: when it was at its least, before which it had more. `None` where that is not
    /// known.
    pub(crate) fn process_grows_since(&self, group: &str) -> Option<Timestamp> {
        let measure = self.process_measure(group);
        let track = self.groups.get(group)?;
        let oldest = track.short.front()?.at;
        let long = track.long.iter().rev().filter(|point| point.at < oldest);
        let mut points = track.short.iter().rev().chain(long).filter_map(|p| Some((p.at, p.per_process(measure)?)));
        let (mut since, mut least) = points.next()?;
        for (at, value) in points {
            if value > least + (least * DIP_SHARE).max(DIP_BYTES) {
                break;
            }
            if value < least {
                (since, least) = (at, value);
            }
        }
        Some(since)
    }

    /// The group's memory at most `points` steps back, oldest first.
    pub(crate) fn recent(&self, group: &str, points: usize) -> impl Iterator<Item = u64> {
        let measure = self.measure(group);
        let known = self.groups.get(group).map_or(0, |track| track.short.len());
        let recent = self.points(group, Span::TenMinutes).skip(known.saturating_sub(points));
        recent.filter_map(move |point| point.memory(measure))
    }
}

impl Point {
    fn of(at: Timestamp, group: &Group, cpu_ratio: Option<f64>) -> Self {
        let memory = &group.memory;
        Self {
            at,
            rss_bytes: memory.rss_bytes,
            pss_bytes: memory.pss_bytes,
            uss_bytes: memory.uss_bytes,
            shmem_bytes: memory.shmem_bytes,
            swap_bytes: memory.swapped_bytes(),
            cpu_ratio,
            processes: group.processes,
        }
    }

    /// Memory of the group by a measure.
    pub(crate) fn memory(&self, measure: Measure) -> Option<u64> {
        match measure {
            Measure::Pss => self.pss_bytes,
            Measure::Uss => self.uss_bytes,
            Measure::Rss => self.rss_bytes,
        }
    }

    /// Memory of the mean process in bytes.
    pub(crate) fn per_process(&self, measure: Measure) -> Option<f64> {
        (self.processes > 0).then_some(self.memory(measure)? as f64 / f64::from(self.processes))
    }
}

impl Measure {
    /// Its usual name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pss => "PSS",
            Self::Uss => "USS",
            Self::Rss => "RSS",
        }
    }
}

fn keep(points: &mut VecDeque<Point>, point: Point) {
    if points.len() == MAX_POINTS {
        points.pop_front();
    }
    points.push_back(point);
}

fn step(at: Timestamp, seconds: i64) -> i64 {
    at.as_second().div_euclid(seconds)
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn group(name: &str, processes: u32, rss: u64, uss: Option<u64>, cpu: f64) -> Group {
        let mut group = Group::empty(name.into(), "test".into());
        (group.processes, group.cpu_ratio) = (processes, Some(cpu));
        group.memory.rss_bytes = Some(rss);
        (group.memory.pss_bytes, group.memory.uss_bytes) = (uss.map(|uss| uss + MIB), uss);
        group
    }

    /// A second at a time from 0.
    fn histories(seconds: i64, at: impl Fn(i64) -> Vec<Group>) -> Histories {
        let mut histories = Histories::default();
        for second in 0..seconds {
            histories.push(Timestamp::from_second(1_000_000_020 + second).unwrap(), &at(second));
        }
        histories
    }

    #[test]
    fn both_spans_are_kept_and_bounded() {
        let known = histories(3 * 3600, |second| vec![group("a", 1, second as u64, None, 0.5)]);
        for (span, apart) in [(Span::TenMinutes, 5), (Span::TwoHours, 60)] {
            let points: Vec<_> = known.points("a", span).collect();
            assert_eq!(points.len(), MAX_POINTS);
            assert!(points.windows(2).all(|pair| seconds(pair[0].at, pair[1].at) == f64::from(apart)));
        }
    }

    #[test]
    fn cpu_of_a_point_is_the_mean_since_the_point_before() {
        let known = histories(21, |second| vec![group("a", 1, 1, None, (second % 5) as f64)]);
        let ratios: Vec<_> = known.points("a", Span::TenMinutes).map(|point| point.cpu_ratio).collect();
        assert_eq!(ratios, [Some(0.0), Some(2.0), Some(2.0), Some(2.0), Some(2.0)]);
    }

    #[test]
    fn growth_is_by_minute_and_by_the_best_measure_that_is_known() {
        let rss = histories(61, |second| vec![group("a", 2, 100 * MIB + second as u64 * MIB, None, 0.0)]);
        assert_eq!(
            (rss.measure("a"), rss.growth("a").and_then(Growth::per_minute)),
            (Measure::Rss, Some(60.0 * MIB as f64))
        );
        let uss = histories(61, |second| vec![group("a", 2, 900 * MIB, Some(second as u64 * MIB), 0.0)]);
        assert_eq!(
            (uss.measure("a"), uss.growth("a").and_then(Growth::per_minute)),
            (Measure::Pss, Some(60.0 * MIB as f64))
        );
        assert_eq!(uss.process_growth("a").and_then(Growth::per_minute), Some(30.0 * MIB as f64));
    }

    #[test]
    fn a_moment_without_pss_does_not_change_the_measure() {
        let gap = |second| group("a", 2, 900 * MIB, (second != 30).then_some(second as u64 * MIB), 0.0);
        let known = histories(61, |second| vec![gap(second)]);
        assert_eq!(
            (known.measure("a"), known.growth("a").and_then(Growth::per_minute)),
            (Measure::Pss, Some(60.0 * MIB as f64))
        );
        assert_eq!(known.recent("a", 100).count(), 12);
    }

    #[test]
    fn more_processes_are_no_growth_of_each() {
        let known = histories(61, |second| {
            let processes = 1 + (second / 10) as u32;
            vec![group("a", processes, u64::from(processes) * 10 * MIB, Some(u64::from(processes) * MIB), 0.0)]
        });
        assert!(known.growth("a").unwrap().bytes > 0.0);
        assert_eq!(known.process_growth("a").map(|growth| growth.bytes), Some(0.0));
    }

    #[test]
    fn there_is_no_rate_per_minute_before_a_minute_was_seen() {
        let grows =
            |seconds| histories(seconds, |second| vec![group("a", 1, second as u64 * MIB, None, 0.0)]).growth("a");
        let growth = grows(21).unwrap();
        assert_eq!((growth.bytes, growth.seconds, growth.per_minute()), (20.0 * MIB as f64, 20.0, None));
        assert_eq!(grows(61).unwrap().per_minute(), Some(60.0 * MIB as f64));
    }

    #[test]
    fn ups_and_downs_are_no_growth() {
        let noise = |second: i64| (1000 + [0, 90, 10, 100, 20, 95, 5][(second / 5 % 7) as usize]) * MIB;
        let known = histories(61, |second| vec![group("a", 1, noise(second), None, 0.0)]);
        assert_eq!(known.growth("a").unwrap().bytes, 0.0);
        // A pool that has started and rests has not grown within the last minute.
        let rests = histories(120, |second| vec![group("a", 1, second.min(20) as u64 * 10 * MIB, None, 0.0)]);
        assert_eq!(rests.growth("a").unwrap().per_minute(), Some(0.0));
    }

    #[test]
    fn a_process_grows_since_it_had_least() {
        // It starts with much, gives it back, rests, and grows from the second minute on with small dips.
        let size = |second: i64| match second {
            0..30 => 500 * MIB,
            30..120 => 100 * MIB,
            _ => 100 * MIB + (second as u64 - 115) * MIB - (second as u64 / 5 % 2) * MIB / 8,
        };
        let known = histories(300, |second| vec![group("a", 1, 1, Some(size(second)), 0.0)]);
        let since = known.process_grows_since("a").unwrap();
        assert_eq!(seconds(Timestamp::from_second(1_000_000_020).unwrap(), since), 115.0);
        assert_eq!(known.process_grows_since("b"), None);
    }

    #[test]
    fn there_is_no_trend_of_a_short_time_and_none_of_a_group_that_ended() {
        assert_eq!(histories(14, |_| vec![group("a", 1, 1, None, 0.0)]).growth("a"), None);
        let ended = histories(60, |second| if second < 40 { vec![group("a", 1, 1, None, 0.0)] } else { vec![] });
        assert_eq!(ended.growth("a"), None);
    }

    #[test]
    fn the_biggest_groups_are_remembered_and_ended_ones_forgotten() {
        let many: Vec<Group> = (0..MAX_GROUPS + 10).map(|at| group(&at.to_string(), 1, 1, None, 0.0)).collect();
        let mut known = histories(1, |_| many.clone());
        assert_eq!(known.points("0", Span::TenMinutes).count(), 1);
        assert_eq!(known.points(&MAX_GROUPS.to_string(), Span::TenMinutes).count(), 0);
        let big = [group("big", 1, 2, None, 0.0), group("1", 1, 1, None, 0.0)];
        known.push(Timestamp::from_second(1_000_000_000 + 30).unwrap(), &big);
        assert_eq!(known.points("big", Span::TenMinutes).count(), 1, "one that comes late");
        assert_eq!((known.groups.len(), known.points("1", Span::TenMinutes).count()), (MAX_GROUPS, 2));
        known.push(Timestamp::from_second(1_000_000_000 + 1000).unwrap(), &[]);
        assert_eq!(known.points("0", Span::TenMinutes).count(), 0);
    }
}
