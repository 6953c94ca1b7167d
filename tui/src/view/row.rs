//! Rows of lists and tiles, identified by what they show and never by their position.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{FunctionKey, PartKind, ProblemKey, RouteKey, WorkerKey};

/// A row of a list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Row {
    /// A function.
    Function(Arc<FunctionKey>),
    /// A file.
    File(Arc<str>),
    /// A route.
    Route(Arc<RouteKey>),
    /// A request.
    Request {
        /// Worker.
        pid: u32,
        /// Start.
        started_at: Timestamp,
    },
    /// An exception, an error or a compiled file.
    Problem(ProblemKey),
    /// A worker.
    Worker(WorkerKey),
    /// A tile or its row in the table.
    Tile(TileKey),
    /// The tile of the merged rest.
    Rest,
    /// A line that calls a built-in function, or an included file.
    Line {
        /// File.
        file: Arc<str>,
        /// Line.
        line: u32,
        /// Function that is called.
        name: Arc<str>,
    },
}

/// What a tile shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TileKey {
    /// A process group.
    Group(Arc<str>),
    /// A process.
    Process(u32),
    /// Memory that no process holds; the mount of a file system in memory.
    Part(PartKind, Option<Arc<str>>),
    /// Memory that is used and found nowhere.
    Unattributed,
    /// The memory that the processes of the group that is shown share by intent.
    Shared,
}
