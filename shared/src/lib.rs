//! Wire types that the BPF programs and user space share: plain `#[repr(C)]` integers and byte arrays.
//! It owns layouts and the pure functions that both sides must agree on; it knows neither aya nor std.
#![no_std]

mod calls;
mod failure;
pub mod governor;
mod layout;
mod operand;
mod request;
pub mod share;
pub mod sizes;
mod stack;
mod task;

pub use calls::{
    Argument, CALL_BUCKETS, CALL_FRAMES, CALL_REGIONS, CallFrame, CallKey, CallRegion, Calls, DURATION_BUCKETS, Hit,
    REGISTER_WORDS, REMEMBERED, Remembered, TRACED_THREADS, Traced, call, duration_bucket,
};
pub use failure::{
    Caught, Compiled, FAILURE_ERROR, FAILURE_KEY, FAILURE_THROWN, FAILURE_UNCAUGHT, Failure, MESSAGE_BYTES,
    MESSAGE_SLOTS, Message, SITE_CATCH, SITE_COMPILE, SITE_COMPILE_PATH, SITE_COMPILE_TEXT, SITE_ERROR,
    SITE_ERROR_TEXT, SITE_THROWN, SITE_THROWN_CLASS, SITE_THROWN_VALUE, SITE_UNCAUGHT, Tally, counted_as, failure_of,
};
pub use layout::{
    ARGUMENTS, BY_SLOT, Config, Image, Process, SITE_HEAP, SITE_SHUTDOWN, SITE_SHUTDOWN_HEAP, SITE_STARTUP,
    STORAGE_BY_SLOT, Site, THREADS, ThreadPointer, UNKNOWN_OFFSET, URI_APACHE, URI_FASTCGI, URI_SAPI,
};
pub use operand::{OPERAND_CONSTANT, OPERAND_MEMORY, OPERAND_NONE, OPERAND_REGISTER, Operand};
pub use request::{
    ABORTED, ABORTED_LOOKED_AT, EVENT_EXEC, EVENT_EXIT, EVENT_FORK, EVENT_REQUEST, EVENT_STORM, METHOD_BYTES, NO_LIMIT,
    OTHER_ALLOCATOR, ProcessEvent, Request, RequestEvent, SCRIPT_BYTES, TITLE_BYTES, URI_BYTES,
};
pub use stack::{
    CLASS_BYTES, ContentKey, Count, CountKey, FILE_BYTES, FUNCTION_BYTES, FUNCTION_COMPILE, FUNCTION_EVAL,
    FUNCTION_INTERNAL, FUNCTION_USER, FunctionName, LONG_WAIT_NS, MAX_FRAMES, NO_FUNCTION, NOT_WALKED, OUTSIDE,
    SKIPPED, STACK_TRUNCATED, Stack, StackLines, Wait, mix,
};

pub use task::{
    ARGUMENT_BYTES, COMM_BYTES, ENDED_RING_BYTES, EndedProcess, FreedProcess, OOM_RING_BYTES, OomKill, ProcessKey,
    ProcessRecord, RECORD_PROCESS, RECORD_THREAD, TaskHead, TaskLayout,
};

/// Counters that the BPF programs keep, one `u64` per CPU each. The numbers are indexes of the `STATS` map.
pub mod stat {
    /// Samples that found PHP code running.
    pub const SAMPLES: u32 = 0;
    /// Samples of a PHP process outside PHP code (between requests, start-up).
    pub const SAMPLES_IDLE: u32 = 1;
    /// Samples whose stack could not be walked to its root.
    pub const SAMPLES_BROKEN: u32 = 2;
    /// Names that could not be read; they are tried again with the next sample.
    pub const NAMES_UNREAD: u32 = 3;
    /// Names that did not fit into their map.
    pub const NAMES_FULL: u32 = 4;
    /// Stacks that did not fit into their map.
    pub const STACKS_FULL: u32 = 5;
    /// Samples that did not fit into the map of counts.
    pub const COUNTS_FULL: u32 = 6;
    /// Events that did not fit into the ring.
    pub const RING_FULL: u32 = 7;
    /// Requests or processes that did not fit into their map.
    pub const REQUESTS_FULL: u32 = 8;
    /// Nanoseconds spent in the sampling program, for samples of PHP processes.
    pub const SAMPLE_NS: u32 = 9;
    /// Runs that `SAMPLE_NS` is the sum of.
    pub const SAMPLE_RUNS: u32 = 10;
    /// Nanoseconds spent in the request programs.
    pub const PROBE_NS: u32 = 11;
    /// Hits of the request probes.
    pub const PROBE_HITS: u32 = 12;
    /// Frames walked in all samples.
    pub const FRAMES: u32 = 13;
    /// Walks at threads that block.
    pub const WAIT_RUNS: u32 = 14;
    /// Nanoseconds in them.
    pub const WAIT_NS: u32 = 15;
    /// Waits whose stack was not walked, because walking had taken its share of the CPU.
    pub const WAITS_NOT_WALKED: u32 = 16;
    /// Calls that were entered while they were counted or traced.
    pub const CALLS: u32 = 17;
    /// Nanoseconds in the tracing programs, of one hit in 64.
    pub const CALL_NS: u32 = 18;
    /// Hits that `CALL_NS` is the sum of.
    pub const CALL_RUNS: u32 = 19;
    /// Calls whose time is not told from their caller's: too deep, or on too many stacks.
    pub const CALLS_DEEP: u32 = 20;
    /// Calls that did not fit into the map of sums.
    pub const CALLS_FULL: u32 = 21;
    /// Calls of functions that could not be read.
    pub const CALLS_UNREAD: u32 = 22;
    /// Exceptions, errors and compiled files that did not fit into their maps.
    pub const FAILURES_FULL: u32 = 23;
    /// Programs that were started and not reported, because there were too many.
    pub const EXECS_SKIPPED: u32 = 24;
    /// Waits that stand for several, because there were too many to note each.
    pub const WAITS_ESTIMATED: u32 = 25;
    /// Runs of the programs that count growth, for PHP processes.
    pub const GROWTH_RUNS: u32 = 26;
    /// Nanoseconds in them.
    pub const GROWTH_NS: u32 = 27;
    /// Samples with lines that did not fit into their ring.
    pub const LINES_FULL: u32 = 28;
    /// Number of counters.
    pub const COUNT: u32 = 29;
}
