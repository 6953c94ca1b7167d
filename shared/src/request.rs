//! A request as the programs keep it while it runs, and the events of the ring.

/// Bytes kept of a URI, the closing NUL included.
pub const URI_BYTES: usize = 512;
/// Bytes kept of a script's path, the closing NUL included.
pub const SCRIPT_BYTES: usize = 256;
/// Bytes kept of a method, the closing NUL included.
pub const METHOD_BYTES: usize = 16;

/// Bytes kept of a process's title.
pub const TITLE_BYTES: usize = 64;

/// A [`RequestEvent`] follows.
pub const EVENT_REQUEST: u32 = 1;
/// The process ended inside a request, whose memory is that of the last look.
pub const ABORTED: u32 = 1;
/// As [`ABORTED`], but its memory was still there at the end and was looked at.
pub const ABORTED_LOOKED_AT: u32 = 2;
/// A [`ProcessEvent`]: a process replaced its image.
pub const EVENT_EXEC: u32 = 2;
/// A [`ProcessEvent`]: a PHP process forked; `other` is its parent.
pub const EVENT_FORK: u32 = 3;
/// A [`ProcessEvent`]: a PHP process ended.
pub const EVENT_EXIT: u32 = 4;

/// A [`ProcessEvent`]: a CPU pays too much for hits of probes; the process is the one that hit last.
pub const EVENT_STORM: u32 = 5;

/// In place of a size of memory: PHP was started with `USE_ZEND_ALLOC=0`, or an extension put another allocator in its place.
pub const OTHER_ALLOCATOR: u64 = u64::MAX;
/// A `memory_limit` from here on is none.
pub const NO_LIMIT: u64 = 1 << 60;

/// A request that runs. Texts end with a NUL or at the end of their array.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// `CLOCK_MONOTONIC` at its start; with the pid it identifies the request.
    pub started_ns: u64,
    /// CPU time of its thread at its start.
    pub cpu_ns: u64,
    /// Time that its thread was blocked since then.
    pub wait_ns: u64,
    /// Process.
    pub pid: u32,
    /// Key of the image.
    pub image: u32,
    /// Where `uri` came from: one of the `URI_` numbers. With [`crate::URI_APACHE`] it is the whole request line.
    pub uri_source: u32,
    /// User id of the process.
    pub user: u32,
    /// What PHP's allocator had of the system at its start, kept from earlier requests; 0 when not known.
    pub memory_start: u64,
    /// What it had when it was last looked at; 0 when not known. [`OTHER_ALLOCATOR`] where it is switched off.
    pub memory: u64,
    /// The most that it had in this request, as last looked at; 0 when not known.
    pub memory_peak: u64,
    /// `memory_limit` at that time; above [`NO_LIMIT`] where there is none.
    pub memory_limit: u64,
    /// Hash of the key of the error by which the limit was exceeded; 0 when it was not.
    pub exhausted: u64,
    /// HTTP method.
    pub method: [u8; METHOD_BYTES],
    /// Title of the process under FastCGI, such as `php-fpm: pool www`; empty elsewhere.
    pub title: [u8; TITLE_BYTES],
    /// Script that PHP was started with.
    pub script: [u8; SCRIPT_BYTES],
    /// URI.
    pub uri: [u8; URI_BYTES],
}

impl Request {
    /// One of which nothing is known.
    pub const EMPTY: Self = Self {
        started_ns: 0,
        cpu_ns: 0,
        wait_ns: 0,
        pid: 0,
        image: 0,
        uri_source: 0,
        user: 0,
        memory_start: 0,
        memory: 0,
        memory_peak: 0,
        memory_limit: 0,
        exhausted: 0,
        method: [0; METHOD_BYTES],
        title: [0; TITLE_BYTES],
        script: [0; SCRIPT_BYTES],
        uri: [0; URI_BYTES],
    };
}

/// A request that ended.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct RequestEvent {
    /// [`EVENT_REQUEST`].
    pub kind: u32,
    /// HTTP status, 0 when unknown.
    pub status: u32,
    /// `CLOCK_MONOTONIC` at its end.
    pub ended_ns: u64,
    /// CPU time of its thread at its end.
    pub cpu_ns: u64,
    /// [`ABORTED`] or [`ABORTED_LOOKED_AT`] when the process ended inside the request; else 0.
    pub aborted: u32,
    /// Its thread.
    pub tid: u32,
    /// What was known at its start.
    pub request: Request,
}

/// A process that started, changed or ended.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ProcessEvent {
    /// [`EVENT_EXEC`], [`EVENT_FORK`], [`EVENT_EXIT`] or [`EVENT_STORM`].
    pub kind: u32,
    /// Process.
    pub pid: u32,
    /// Its parent for [`EVENT_FORK`], otherwise 0.
    pub other: u32,
    /// Keeps the layout free of padding.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Request>() == 80 + METHOD_BYTES + TITLE_BYTES + SCRIPT_BYTES + URI_BYTES);
const _: () = assert!(size_of::<RequestEvent>() == 32 + size_of::<Request>());
const _: () = assert!(size_of::<ProcessEvent>() == 16);
