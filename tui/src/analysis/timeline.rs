//! Snapshots in time: the current one, what the PHP lists say over a window, and how each group's memory went.
//! It keeps one snapshot whole and only the PHP part of a minute; time is what the snapshots say, never a clock.

use std::{sync::Arc, time::Duration};

pub use super::{
    history::{Histories, Measure, Point, Span},
    windows::MAX_STACKS,
};
use super::{regroup, windows::Windows};
use crate::model::{Grouping, Php, Snapshot, Window};

/// The snapshots of a session.
#[derive(Debug, Default)]
pub struct Timeline {
    current: Option<Arc<Snapshot>>,
    windows: Windows,
    /// By grouping, in the order of [`Grouping::ALL`], so that each has its past when it is chosen.
    histories: [Histories; Grouping::ALL.len()],
    grouped: Option<(Grouping, Arc<Snapshot>)>,
    merged: Option<(Window, Arc<Php>)>,
}

impl Timeline {
    /// An empty timeline that live snapshots are pushed to.
    pub fn live() -> Self {
        Self::default()
    }

    /// Takes the next snapshot.
    pub fn push(&mut self, snapshot: Arc<Snapshot>) {
        self.windows.push(snapshot.at, snapshot.interval_ms, &snapshot.php);
        self.push_histories(&snapshot);
        self.grouped = None;
        self.merged = None;
        self.current = Some(snapshot);
    }

    /// The latest snapshot.
    pub fn current(&self) -> Option<&Arc<Snapshot>> {
        self.current.as_ref()
    }

    /// The latest snapshot with its processes in other groups.
    pub fn grouped(&mut self, grouping: Grouping) -> Option<Arc<Snapshot>> {
        let current = self.current.as_ref()?;
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

    /// How the memory of groups went.
    pub fn histories(&self, grouping: Grouping) -> &Histories {
        &self.histories[grouping as usize]
    }

    fn push_histories(&mut self, snapshot: &Snapshot) {
        for grouping in Grouping::ALL {
            let histories = &mut self.histories[grouping as usize];
            match grouping {
                Grouping::Rules => histories.push(snapshot.at, &snapshot.groups),
                _ if histories.is_due(snapshot.at) => {
                    histories.push(snapshot.at, &regroup::groups(&snapshot.processes, grouping).0);
                }
                _ => {}
            }
        }
    }

    /// The PHP part over a window that ends with the current snapshot: functions, stacks and routes of all intervals in it are
    /// added up by what they are, and indexes refer to the merged lists.
    pub fn window(&mut self, window: Window) -> Arc<Php> {
        if let Some((merged, php)) = &self.merged
            && *merged == window
        {
            return php.clone();
        }
        let Some(current) = &self.current else { return Arc::default() };
        let php = match window {
            Window::Last => current.php.clone(),
            Window::TenSeconds => Arc::new(self.windows.over(Duration::from_secs(10), &current.php)),
            Window::Minute => Arc::new(self.windows.over(Duration::from_secs(60), &current.php)),
            Window::All => Arc::new(self.windows.all(&current.php)),
        };
        self.merged = Some((window, php.clone()));
        php
    }

    /// How much time the intervals of a window cover together.
    pub fn covered(&self, window: Window) -> Duration {
        match window {
            Window::Last => Duration::from_millis(self.current.as_ref().map_or(0, |snapshot| snapshot.interval_ms)),
            Window::TenSeconds => self.windows.covered(Duration::from_secs(10)),
            Window::Minute => self.windows.covered(Duration::from_secs(60)),
            Window::All => self.windows.covered_by_all(),
        }
    }

    /// Samples whose stack is not in the window `all` any more because there were too many different ones.
    pub fn forgotten_samples(&self) -> u64 {
        self.windows.forgotten_samples()
    }
}
