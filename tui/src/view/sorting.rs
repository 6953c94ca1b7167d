//! Orders of lists, and which of them each pane has.

use super::{HotMode, Pane, View, Zoom};

/// Order of a list. Each pane has some of them, see [`orders`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Biggest memory first.
    Memory,
    /// Most CPU (self time) first.
    Cpu,
    /// Most time (total time, slowest) first.
    Time,
    /// Most frequent first.
    Rate,
    /// Most errors first.
    Errors,
    /// By name.
    Name,
    /// By user.
    User,
    /// Most read from and written to disks first.
    Disk,
}

impl Sort {
    /// Name of the action that chooses it.
    pub(crate) fn action(self) -> &'static str {
        match self {
            Self::Memory => "sort-memory",
            Self::Cpu => "sort-cpu",
            Self::Time => "sort-time",
            Self::Rate => "sort-rate",
            Self::Errors => "sort-errors",
            Self::Name => "sort-name",
            Self::User => "sort-user",
            Self::Disk => "sort-disk",
        }
    }
}

/// The orders that a pane has as it is shown now, with what they mean there; the first is its own.
pub fn orders(view: &View, pane: Pane) -> &'static [(Sort, &'static str)] {
    match pane {
        Pane::Map if view.zoom.iter().any(|zoom| matches!(zoom, Zoom::Group(_))) => &[
            (Sort::Memory, "by memory"),
            (Sort::Cpu, "by CPU (table)"),
            (Sort::Rate, "by pid (table)"),
            (Sort::Name, "by name (table)"),
            (Sort::User, "by user (table)"),
            (Sort::Disk, "by disk reads and writes (table)"),
        ],
        Pane::Map => &[
            (Sort::Memory, "by memory"),
            (Sort::Cpu, "by CPU (table)"),
            (Sort::Rate, "by number of processes (table)"),
            (Sort::Name, "by name (table)"),
            (Sort::Disk, "by disk reads and writes (table)"),
        ],
        Pane::Hot if view.hot == HotMode::Calls => &[
            (Sort::Cpu, "by self time"),
            (Sort::Time, "by total time"),
            (Sort::Rate, "by calls"),
            (Sort::Name, "by name"),
        ],
        Pane::Hot => &[(Sort::Cpu, "by self time"), (Sort::Time, "by total time"), (Sort::Name, "by name")],
        Pane::Routes => &[
            (Sort::Time, "by p99"),
            (Sort::Cpu, "by CPU"),
            (Sort::Rate, "by frequency"),
            (Sort::Errors, "by errors"),
            (Sort::Memory, "by memory of requests"),
            (Sort::Name, "by name"),
        ],
        Pane::Requests => &[
            (Sort::Time, "running, then slowest"),
            (Sort::Cpu, "by CPU"),
            (Sort::Memory, "biggest first"),
            (Sort::Errors, "by status"),
            (Sort::Name, "by name"),
        ],
        Pane::Workers => &[
            (Sort::Time, "by time running"),
            (Sort::Cpu, "by CPU in the last minute"),
            (Sort::Memory, "by memory"),
            (Sort::Rate, "by requests served"),
            (Sort::Name, "by name"),
        ],
        Pane::Problems => &[(Sort::Errors, "most severe first"), (Sort::Rate, "by frequency"), (Sort::Name, "by name")],
    }
}
