//! How the resident memory of each group went: points five seconds apart for the sparkline, and bytes per minute.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;

use crate::model::Group;

/// Seconds between points. The sparkline moves only this often.
const STEP_S: i64 = 5;
/// Points kept: ten minutes.
const MAX_POINTS: usize = 120;
/// Seconds that the trend looks back.
const TREND_S: f64 = 60.0;
/// Seconds that must be known before there is a trend.
const LEAST_TREND_S: f64 = 15.0;
/// Groups remembered.
const MAX_GROUPS: usize = 4096;

/// Histories of groups by name.
#[derive(Debug, Clone, Default)]
pub struct Histories {
    groups: HashMap<Arc<str>, VecDeque<Point>>,
    last: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    at: Timestamp,
    rss_bytes: u64,
}

impl Histories {
    /// Whether a snapshot of this time begins another step.
    pub(super) fn is_due(&self, at: Timestamp) -> bool {
        let step = |at: Timestamp| at.as_second().div_euclid(STEP_S);
        step(at) != step(self.last)
    }

    pub(super) fn push(&mut self, at: Timestamp, groups: &[Group]) {
        if !self.is_due(at) {
            return;
        }
        self.last = at;
        for group in groups {
            let Some(rss_bytes) = group.memory.rss_bytes else { continue };
            if !self.groups.contains_key(&group.name) && self.groups.len() >= MAX_GROUPS {
                continue;
            }
            let points = self.groups.entry(group.name.clone()).or_default();
            if points.len() == MAX_POINTS {
                points.pop_front();
            }
            points.push_back(Point { at, rss_bytes });
        }
        let kept = (MAX_POINTS as i64 * STEP_S) as f64;
        let last = self.last;
        self.groups.retain(|_, points| points.back().is_some_and(|point| seconds(point.at, last) < kept));
    }

    /// Growth of the group's RSS in bytes per minute over the last minute; `None` until a quarter of a minute is known.
    pub fn growth_per_minute(&self, group: &str) -> Option<f64> {
        let points = self.groups.get(group)?;
        let last = points.back().filter(|point| point.at == self.last)?;
        let first = points.iter().find(|point| seconds(point.at, last.at) <= TREND_S)?;
        let known = seconds(first.at, last.at);
        let grown = last.rss_bytes as f64 - first.rss_bytes as f64;
        (known >= LEAST_TREND_S).then_some(grown * 60.0 / known)
    }

    /// The group's RSS at most `points` steps back, oldest first.
    pub fn recent(&self, group: &str, points: usize) -> impl Iterator<Item = u64> {
        let all = self.groups.get(group);
        let skip = all.map_or(0, |all| all.len().saturating_sub(points));
        all.into_iter().flatten().skip(skip).map(|point| point.rss_bytes)
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
