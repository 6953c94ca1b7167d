//! How far a recording is: one line on standard error, where that is a terminal.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
};

use tokio::time::Instant;

use crate::{
    model::Snapshot,
    words::{printable, units},
};

/// How far writing is.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    pub to: String,
    /// Of all files.
    pub bytes: u64,
    /// Number of events of the flight recorder, which does not write all the time.
    pub events: Option<u64>,
}

/// One line on standard error, where that is a terminal.
pub(super) struct Progress {
    shown: bool,
    started: Instant,
    requests: u64,
    drops: u64,
    pub missed: u64,
    snapshots: u64,
}

impl Progress {
    pub(super) fn new(written: Written) -> Self {
        let shown = io::stderr().is_terminal();
        let mut progress = Self { shown, started: Instant::now(), requests: 0, drops: 0, missed: 0, snapshots: 0 };
        progress.show(&written);
        progress
    }

    /// Whether there was no snapshot yet.
    pub(super) fn is_new(&self) -> bool {
        self.snapshots == 0
    }

    pub(super) fn count(&mut self, snapshot: &Snapshot) {
        self.snapshots += 1;
        self.requests += snapshot.php.routes.iter().map(|route| route.requests).sum::<u64>();
        self.drops += snapshot.drops.sum();
    }

    pub(super) fn show(&mut self, written: &Written) {
        if !self.shown {
            return;
        }
        let seconds = self.started.elapsed().as_secs();
        let mut line = format!("{}   {}   {}", written.to, units::age(seconds), units::bytes(written.bytes));
        // Writing to a String does not fail.
        match (written.events, written.bytes.checked_div(seconds)) {
            (Some(events), _) => {
                let _ = write!(line, "   {events} event{}", if events == 1 { "" } else { "s" });
            }
            (None, Some(rate)) => {
                let _ = write!(line, "   {}/s", units::bytes(rate));
            }
            (None, None) => {}
        }
        let _ = write!(line, "   {} requests   {} dropped", units::count(self.requests), units::count(self.drops));
        if self.missed > 0 {
            let _ = write!(line, "   {} snapshots missed", units::count(self.missed));
        }
        line.push_str("   ^C ends");
        // A line that is too long would go on in the next one, and stay there.
        let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        let line = printable::truncate_end(&line, if columns == 0 { usize::MAX } else { columns - 1 });
        // Nothing depends on it.
        let _ = io::stderr().write_all(format!("\r{line}\x1b[K").as_bytes());
    }

    pub(super) fn end(&mut self) {
        if self.shown {
            let _ = io::stderr().write_all(b"\n");
        }
    }
}
