//! Entries of the BPF maps, for the programs that fill them and for user space, which bounds by them what it reads and keeps.

/// PHP images that are known at a time.
pub const IMAGES: u32 = 64;
/// Places that programs are attached to.
pub const SITES: u32 = 512;
/// Processes that run PHP.
pub const PROCESSES: u32 = 16_384;
/// Threads of PHP that have blocked.
pub const WAITING: u32 = 16_384;
/// Requests that run.
pub const REQUESTS: u32 = 4096;
/// Requests that ended, in the ring: 2 MiB of them.
pub const ENDED_REQUESTS: u32 = (2 << 20) / (size_of::<crate::RequestEvent>() as u32 + 8);
/// Names of functions.
pub const NAMES: u32 = 16_384;
/// Stacks.
pub const STACKS: u32 = 8192;
/// Bytes of the ring of samples with lines: more than 900 of the deepest stacks, 3 000 of 30 frames.
pub const LINES_RING_BYTES: u32 = 512 << 10;
/// Stacks in requests, in each of two maps.
pub const COUNTS: u32 = 16_384;
/// Exceptions and errors in requests, in each of the same two maps.
pub const FAILED: u32 = 8192;
/// Functions and lines whose calls are traced.
pub const CALLS: u32 = 16_384;
/// Exceptions and errors.
pub const FAILURES: u32 = 2048;
/// Messages of exceptions and errors.
pub const MESSAGES: u32 = 2048;
/// Compiled files.
pub const COMPILES: u32 = 8192;
/// Threads that have thrown.
pub const THROWN: u32 = 4096;
/// Processes that the task programs have noted before their end.
pub const NOTED: u32 = 4096;
