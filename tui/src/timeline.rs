//! Snapshots in time: the current one, what the PHP lists say over a window, and how each group's memory went.
//! It keeps one snapshot whole and only the PHP part of a minute; time is what the snapshots say, never a clock.

mod history;
mod places;
mod windows;

use std::{sync::Arc, time::Duration};

use self::windows::Windows;
pub use self::{history::Histories, windows::MAX_STACKS};
use crate::{
    model::{Php, Snapshot},
    view::Window,
};

/// The snapshots of a session.
#[derive(Debug, Default)]
pub struct Timeline {
    current: Option<Arc<Snapshot>>,
    windows: Windows,
    histories: Histories,
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
        self.histories.push(&snapshot);
        self.merged = None;
        self.current = Some(snapshot);
    }

    /// The latest snapshot.
    pub fn current(&self) -> Option<&Arc<Snapshot>> {
        self.current.as_ref()
    }

    /// How the memory of groups went.
    pub fn histories(&self) -> &Histories {
        &self.histories
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
