//! What the programs must know about a PHP image, a process and the kernel; all of it comes from user space.

use crate::Operand;

/// Marks an offset that user space could not find.
pub const UNKNOWN_OFFSET: u32 = u32::MAX;

/// The URI is read from the FastCGI environment (php-fpm, php-cgi).
pub const URI_FASTCGI: u32 = 1;
/// The URI is read from Apache's `request_rec` (mod_php).
pub const URI_APACHE: u32 = 2;
/// The URI is what the server API gave to PHP (`php -S`, command line, others).
pub const URI_SAPI: u32 = 3;

/// Arguments of a site that are kept.
pub const ARGUMENTS: usize = 4;

/// A site at the start of a request.
pub const SITE_STARTUP: u32 = 1;
/// A site at the end of a request.
pub const SITE_SHUTDOWN: u32 = 2;
/// A site where a request gives its memory back.
pub const SITE_HEAP: u32 = 3;
/// A site where a request gives its memory back, and which counts as its end.
pub const SITE_SHUTDOWN_HEAP: u32 = 4;

/// A bit of [`Image::indirect`]: what it gives as an address is that of a word that has the address.
pub const BY_SLOT: u32 = 1;
/// Each thread has globals of its own: at the address is their offset in the thread's storage.
pub const THREADS: u32 = 2;
/// With [`THREADS`]: [`Image::thread_storage`] is the address of a word that has the distance.
pub const STORAGE_BY_SLOT: u32 = 4;

/// Facts about the kernel and the CPU, set once before the programs are attached.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// A random number: who does not know it cannot make content that has the key of other content.
    pub seed: u64,
    /// Offset of `task_struct.tgid`.
    pub task_tgid: u32,
    /// Offset of `task_struct.pid`, which is the id of the thread.
    pub task_pid: u32,
    /// Offset of `task_struct.__state`.
    pub task_state: u32,
    /// Offset of `task_struct.se.sum_exec_runtime`.
    pub task_cpu_time: u32,
    /// Offset of `task_struct.mm`.
    pub task_memory: u32,
    /// Offset of `task_struct.signal`.
    pub task_signal: u32,
    /// Offset of `signal_struct.live`, the number of threads that have not ended.
    pub signal_live: u32,
    /// Offset of `mm_struct.arg_start`.
    pub memory_arguments: u32,
    /// Offset of the instruction pointer in the saved registers.
    pub instruction_pointer: u32,
    /// Offset in `mm_struct` of the number of anonymous pages that are resident.
    pub memory_anonymous: u32,
    /// Offset in `task_struct` of the thread pointer, which thread-local storage is found by.
    pub task_thread_pointer: u32,
    /// Offset in the saved registers of the one that PHP's executor keeps its frame in.
    pub frame_register: u32,
    /// The same of the one that it keeps the running instruction in.
    pub opline_register: u32,
    /// Keeps the layout free of padding.
    pub reserved: u32,
}

/// Layout of one PHP image. Addresses are as linked; a process adds its load bias.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Image {
    /// Address of `executor_globals`, 0 when unknown; with bits of [`Self::indirect`], of what leads there.
    pub executor_globals: u64,
    /// The same of `sapi_globals`.
    pub sapi_globals: u64,
    /// Distance from the thread pointer to the pointer to a thread's storage, in two's complement.
    pub thread_storage: u64,
    /// `executor_globals.current_execute_data`.
    pub current_execute_data: u32,
    /// `zend_execute_data.prev_execute_data`.
    pub previous_execute_data: u32,
    /// `zend_op_array.filename`; `.line_start` follows it in every version.
    pub filename: u32,
    /// `sapi_globals.sapi_headers.http_response_code`.
    pub response_code: u32,
    /// `fcgi_request.env.hash_table`.
    pub fastcgi_environment: u32,
    /// Where the URI is: [`URI_FASTCGI`], [`URI_APACHE`] or [`URI_SAPI`].
    pub uri_source: u32,
    /// Address of the pointer to the heap of PHP's allocator, 0 when unknown; with [`THREADS`], of its offset in a thread's storage.
    pub heap: u64,
    /// `zend_mm_heap.real_peak`; the size now is in front of it and the limit behind it in every version.
    pub heap_peak: u32,
    /// How globals are found: 0 where they are at their addresses, else bits such as [`BY_SLOT`].
    pub indirect: u32,
}

/// A process that runs a PHP image.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Process {
    /// Difference between addresses in the process and addresses as linked.
    pub bias: u64,
    /// Key of the process's [`Image`].
    pub image: u32,
    /// 1 + the slot of its [`crate::Traced`]; 0 when its calls are not traced.
    pub traced: u32,
    /// User id that its entry is counted for.
    pub user: u32,
    /// Process that started PHP and forked the others: they have the same functions at the same addresses. 0 when it is not known.
    pub master: u32,
    /// Anonymous pages that it had when its growth was last counted; 0 before the first time.
    pub anonymous: u32,
    /// Keeps the layout free of padding.
    pub reserved: u32,
}

/// A thread of a process with an image that has [`THREADS`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadPointer {
    /// Its process.
    pub pid: u32,
    /// Its id.
    pub tid: u32,
    /// Its thread pointer, which thread-local storage is found by.
    pub pointer: u64,
}

/// A place where a program is attached, found by the attach cookie.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Site {
    /// Address of the site as linked; the hit address minus this is the load bias.
    pub address: u64,
    /// Key of the [`Image`].
    pub image: u32,
    /// [`SITE_STARTUP`] or [`SITE_SHUTDOWN`].
    pub kind: u32,
    /// Its arguments: of a request script, URI and method. All [`crate::OPERAND_NONE`] where a plain function has none
    /// that are of use.
    pub arguments: [Operand; ARGUMENTS],
}

const _: () = assert!(size_of::<Config>() == 64);
const _: () = assert!(size_of::<Image>() == 64);
const _: () = assert!(size_of::<Process>() == 32);
const _: () = assert!(size_of::<ThreadPointer>() == 16);
const _: () = assert!(size_of::<Site>() == 16 + ARGUMENTS * size_of::<Operand>());
