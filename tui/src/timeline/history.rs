//! How the resident memory of each group went: points five seconds apart for the sparkline, and bytes per minute.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::model::Snapshot;

/// Seconds between points. The sparkline moves only this often.
const STEP_S: i64 = 5;
/// Points kept: ten minutes.
const MAX_POINTS: usize = 120;
/// Points that the trend looks back over: one minute.
const TREND_POINTS: i64 = 60 / STEP_S;
/// Groups remembered.
const MAX_GROUPS: usize = 4096;

/// Histories of groups by name.
#[derive(Debug, Clone, Default)]
pub struct Histories {
    groups: HashMap<Arc<str>, VecDeque<Point>>,
    step: i64,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    step: i64,
    rss_bytes: u64,
}

impl Histories {
    pub(super) fn push(&mut self, snapshot: &Snapshot) {
        let step = snapshot.at.as_second().div_euclid(STEP_S);
        if step == self.step {
            return;
        }
        self.step = step;
        for group in &snapshot.groups {
            let Some(rss_bytes) = group.memory.rss_bytes else { continue };
            if !self.groups.contains_key(&group.name) && self.groups.len() >= MAX_GROUPS {
                continue;
            }
            let points = self.groups.entry(group.name.clone()).or_default();
            if points.len() == MAX_POINTS {
                points.pop_front();
            }
            points.push_back(Point { step, rss_bytes });
        }
        let oldest = step - MAX_POINTS as i64;
        self.groups.retain(|_, points| points.back().is_some_and(|point| point.step > oldest));
    }

    /// Growth of the group's RSS in bytes per minute over the last minute; `None` until a quarter of a minute is known.
    pub fn growth_per_minute(&self, group: &str) -> Option<f64> {
        let points = self.groups.get(group)?;
        let last = points.back().filter(|point| point.step == self.step)?;
        let first = points.iter().find(|point| last.step - point.step <= TREND_POINTS)?;
        let seconds = (last.step - first.step) * STEP_S;
        (seconds >= 15).then(|| (last.rss_bytes as f64 - first.rss_bytes as f64) * 60.0 / seconds as f64)
    }

    /// The group's RSS at most `points` steps back, oldest first.
    pub fn recent(&self, group: &str, points: usize) -> impl Iterator<Item = u64> {
        let all = self.groups.get(group);
        let skip = all.map_or(0, |all| all.len().saturating_sub(points));
        all.into_iter().flatten().skip(skip).map(|point| point.rss_bytes)
    }
}
