//! The line on which a recording, or a session's own past, is moved through.

use std::sync::Arc;

use jiff::Timestamp;

/// What a key or a click does to the moment that is shown of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// To the next or the last snapshot.
    Step {
        /// To the next.
        forward: bool,
    },
    /// By so many seconds.
    Seconds(i64),
    /// To the next or the last snapshot with a notice that the one before it did not have, or where a spike of requests begins.
    Event {
        /// To the next.
        forward: bool,
    },
    /// To the latest snapshot, and on with each that comes.
    Now,
    /// To a moment that was typed.
    To(crate::words::times::When),
    /// To a column of the line.
    Column {
        /// Which, from 0.
        column: u16,
        /// How many there are.
        of: u16,
    },
    /// To a column of the line, with all since the last one that was clicked marked.
    Drag {
        /// Which, from 0.
        column: u16,
        /// How many there are.
        of: u16,
    },
    /// Mark the moment as the start or the end of a span.
    Mark {
        /// As its end.
        end: bool,
    },
    /// Give up the marks and what is compared.
    ClearMarks,
    /// Compare the span that is marked with the next one.
    Compare,
    /// Play faster or slower.
    Speed {
        /// Faster.
        faster: bool,
    },
}

/// The memory of a group along the line.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupMemory {
    /// Its name.
    pub group: Arc<str>,
    /// Bytes by time.
    pub points: Vec<(Timestamp, u64)>,
}

/// What the line shows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scrub {
    /// The time of the first and the last snapshot.
    pub span: (Timestamp, Timestamp),
    /// The moment.
    pub at: Timestamp,
    /// Requests that finished, each with the start and the end of the time in which they did.
    pub requests: Vec<(Timestamp, Timestamp, u64)>,
    /// Where what comes is another machine's.
    pub changes: Vec<Timestamp>,
    /// It plays.
    pub playing: bool,
    /// How fast it plays.
    pub speed: u32,
    /// The memory of the group that is selected.
    pub memory: Option<GroupMemory>,
    /// The time of the latest snapshot, where this is the past of a session that goes on.
    pub latest: Option<Timestamp>,
    /// Where a span begins and ends, as far as that is marked.
    pub marks: (Option<Timestamp>, Option<Timestamp>),
    /// The span that is compared with.
    pub baseline: Option<(Timestamp, Timestamp)>,
    /// The moment that was clicked last.
    pub clicked: Option<Timestamp>,
    /// What a key needs first.
    pub note: Option<String>,
    /// What cannot be read.
    pub trouble: Option<String>,
}
