//! All maps, each with its size, and the counters of what did not fit.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use tusktop_shared::{
    CallKey, Calls, Compiled, Config, ContentKey, Count, CountKey, Failure, FunctionName, Image, Message, Process,
    Request, Site, Stack, TRACED_THREADS, Tally, Traced, Wait, governor, governor::Account, share, sizes, stat,
};

use crate::{
    stack::{Met, Scratch},
    switch::{OnCpu, Walks},
};

/// Facts about the kernel; one entry.
#[map]
pub static CONFIG: Array<Config> = Array::with_max_entries(1, 0);

/// Which of `COUNTS_0` and `COUNTS_1` is written: user space reads the other one.
#[map]
pub static ACTIVE: Array<u32> = Array::with_max_entries(1, 0);

/// Layouts of PHP images.
#[map]
pub static IMAGES: Array<Image> = Array::with_max_entries(sizes::IMAGES, 0);

/// Where programs are attached, by cookie.
#[map]
pub static SITES: HashMap<u32, Site> = HashMap::with_max_entries(sizes::SITES, 0);

/// Processes that run PHP.
#[map]
pub static PROCESSES: HashMap<u32, Process> = HashMap::with_max_entries(sizes::PROCESSES, 0);

/// What each CPU runs, when it is PHP.
#[map]
pub static ON_CPU: PerCpuArray<OnCpu> = PerCpuArray::with_max_entries(1, 0);

/// What each CPU has spent on stacks of threads that block.
#[map]
pub static WALKS: PerCpuArray<Walks> = PerCpuArray::with_max_entries(1, 0);

/// Threads that have blocked inside PHP code or a request, by pid << 32 | tid, each with its last wait: an entry stays until its
/// thread ends, since to write into one is much cheaper than to insert and remove it.
#[map]
pub static WAITING: HashMap<u64, Wait> = HashMap::with_max_entries(sizes::WAITING, 0);

/// Requests that run, by pid << 32 | tid.
#[map]
pub static REQUESTS: HashMap<u64, Request> = HashMap::with_max_entries(sizes::REQUESTS, 0);

/// A request with nothing in it, to insert into `REQUESTS` and fill there; never written.
#[map]
pub static EMPTY_REQUEST: Array<Request> = Array::with_max_entries(1, 0);

/// Entries of `MET`: several times as many as the functions on the stacks of all requests that run at one time.
pub const MET_KEYS: u32 = 1 << 16;

/// Keys of functions by where they were met in a request, each in the entry of its lowest bits.
#[map]
pub static MET: Array<Met> = Array::with_max_entries(MET_KEYS, 0);

/// How many files were compiled, by image: a function in opcache's memory stays what it is until something is.
#[map]
pub static COMPILED: Array<u64> = Array::with_max_entries(sizes::IMAGES, 0);

/// Names by key.
#[map]
pub static NAMES: HashMap<ContentKey, FunctionName> = HashMap::with_max_entries(sizes::NAMES, 0);

/// Stacks by key.
#[map]
pub static STACKS: HashMap<ContentKey, Stack> = HashMap::with_max_entries(sizes::STACKS, 0);

/// Entries of `COUNTS_0` and `COUNTS_1`.
const COUNTS: u32 = sizes::COUNTS + sizes::FAILED;

/// Samples, waits and failures by request, written while `ACTIVE` is 0.
#[map]
pub static COUNTS_0: HashMap<CountKey, Count> = HashMap::with_max_entries(COUNTS, 0);

/// Samples, waits and failures by request, written while `ACTIVE` is 1.
#[map]
pub static COUNTS_1: HashMap<CountKey, Count> = HashMap::with_max_entries(COUNTS, 0);

/// Threads whose calls are traced, by slot.
#[map]
pub static TRACED: Array<Traced> = Array::with_max_entries(TRACED_THREADS as u32, 0);

/// Sums of traced calls.
#[map]
pub static CALLS: HashMap<CallKey, Calls> = HashMap::with_max_entries(sizes::CALLS, 0);

/// No calls, to insert into `CALLS`; never written.
#[map]
pub static NO_CALLS: Array<Calls> = Array::with_max_entries(1, 0);

/// Keys whose names are known to be in `NAMES`, each in the entry of its lowest bits: spares most look-ups.
#[map]
pub static KNOWN: Array<u32> = Array::with_max_entries(KNOWN_KEYS, 0);

/// Changes when `NAMES` was emptied: names that were known before are looked for again. One entry.
#[map]
pub static GENERATION: Array<u32> = Array::with_max_entries(1, 0);

/// Entries of `KNOWN`.
pub const KNOWN_KEYS: u32 = 1 << 14;

/// Size of `EVENTS`.
pub const RING_BYTES: u32 = 2 << 20;

/// Finished requests.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Processes that start and end, and storms: a ring of their own, which no flood of requests can fill.
#[map]
pub static PROCESS_EVENTS: RingBuf = RingBuf::with_byte_size(256 << 10, 0);

/// Samples with the lines of their frames. It wakes no thread: it is read when the counts are.
#[map]
pub static LINES: RingBuf = RingBuf::with_byte_size(sizes::LINES_RING_BYTES, 0);

/// Exceptions and errors by key.
#[map]
pub static FAILURES: HashMap<ContentKey, Tally> = HashMap::with_max_entries(sizes::FAILURES, 0);

/// What the keys of `FAILURES` stand for.
#[map]
pub static FAILURE_TEXTS: HashMap<ContentKey, Failure> = HashMap::with_max_entries(sizes::FAILURES, 0);

/// A failure with nothing in it, to insert into `FAILURE_TEXTS` and fill there; never written.
#[map]
pub static EMPTY_FAILURE: Array<Failure> = Array::with_max_entries(1, 0);

/// Messages of failures, by place and slot.
#[map]
pub static MESSAGES: HashMap<ContentKey, Message> = HashMap::with_max_entries(sizes::MESSAGES, 0);

/// A message with nothing in it, to insert into `MESSAGES` and fill there; never written.
#[map]
pub static EMPTY_MESSAGE: Array<Message> = Array::with_max_entries(1, 0);

/// Hash of the key of the exception that each thread threw last, by pid << 32 | tid. The oldest give way.
#[map]
pub static THROWN: LruHashMap<u64, u64> = LruHashMap::with_max_entries(sizes::THROWN, 0);

/// Compiled files by key.
#[map]
pub static COMPILES: HashMap<ContentKey, Tally> = HashMap::with_max_entries(sizes::COMPILES, 0);

/// What the keys of `COMPILES` stand for.
#[map]
pub static COMPILE_TEXTS: HashMap<ContentKey, Compiled> = HashMap::with_max_entries(sizes::COMPILES, 0);

/// A file without a path, to insert into `COMPILE_TEXTS` and fill there; never written.
#[map]
pub static EMPTY_COMPILED: Array<Compiled> = Array::with_max_entries(1, 0);

/// Entries of `ACCOUNTS`.
const ACCOUNTS_COUNT: u32 = governor::ACCOUNTS as u32;

/// What each CPU has spent on what happens all the time, by account (`tusktop_shared::governor`).
#[map]
pub static ACCOUNTS: PerCpuArray<Account> = PerCpuArray::with_max_entries(ACCOUNTS_COUNT, 0);

/// Hits by site.
#[map]
pub static HITS: PerCpuArray<u64> = PerCpuArray::with_max_entries(sizes::SITES, 0);

/// Entries by user and map (`tusktop_shared::share`).
#[map]
pub static SHARES: HashMap<u64, u64> = HashMap::with_max_entries(share::SHARES, 0);

/// Entries by map, of all users.
#[map]
pub static USED: Array<u64> = Array::with_max_entries(share::MAPS as u32, 0);

/// Counters, see `tusktop_shared::stat`.
#[map]
pub static STATS: PerCpuArray<u64> = PerCpuArray::with_max_entries(stat::COUNT, 0);

/// Room for one walk. Timers do not interrupt each other, nor the scheduler, so one a CPU is enough.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Adds to a counter of this CPU.
#[inline(always)]
pub fn add(counter: u32, amount: u64) {
    if let Some(value) = STATS.get_ptr_mut(counter) {
        // SAFETY: the pointer is this CPU's slot of the map; a program that interrupts this one may lose one addition.
        unsafe { *value += amount };
    }
}

/// Spends of an account of this CPU; `true` when it is more than may be spent.
#[inline(always)]
pub fn spend(account: u32, cost_ns: u64, now_ns: u64) -> bool {
    let number = account as usize;
    // SAFETY: the pointer is this CPU's slot of the map; of a program that interrupts this one, one cost may be lost.
    ACCOUNTS.get_ptr_mut(account).is_some_and(|account| unsafe { (*account).spend(number, cost_ns, now_ns) })
}

/// Spends of an account of this CPU, if there is enough; `false` when there is not.
#[inline(always)]
pub fn afford(account: u32, cost_ns: u64, now_ns: u64) -> bool {
    let number = account as usize;
    // SAFETY: as in `spend`.
    ACCOUNTS.get_ptr_mut(account).is_none_or(|account| unsafe { (*account).afford(number, cost_ns, now_ns) })
}

/// Counts a hit of a site.
#[inline(always)]
pub fn hit(site: u32) {
    if let Some(hits) = HITS.get_ptr_mut(site) {
        // SAFETY: as in `add`.
        unsafe { *hits += 1 };
    }
}
