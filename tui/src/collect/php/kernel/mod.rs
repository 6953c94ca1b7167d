//! The loaded BPF programs and their maps: load, attach, read. It knows the maps' layout and leaves their meaning to others.

pub(crate) mod attach;
mod error;
pub(crate) mod event;
mod failures;
pub(crate) mod kept;
mod layout;
mod multi;
mod probes;
pub(crate) mod ring;
mod shares;
mod threads;
mod tracing;
mod verify;

use std::{
    collections::{BTreeMap, HashMap},
    time::{SystemTime, UNIX_EPOCH},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap as BpfHashMap, IterableMap as _, MapData, PerCpuArray, RingBuf},
    programs::{
        PerfEvent, ProgramError, RawTracePoint,
        perf_event::{PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy, SoftwareEvent},
    },
    util::online_cpus,
};
use rustix::rand::{GetRandomFlags, getrandom};
use tusktop_shared::{
    self as shared, Config, ContentKey, Count, CountKey, FunctionName, Process, Request, Stack, UNKNOWN_OFFSET, Wait,
    call, share, sizes, stat,
};

use self::{
    attach::{Attachment, UprobeType},
    error::permission,
    layout::kernel_layout,
    multi::MultiPrograms,
    probes::Probes,
    ring::Unwatched,
    shares::Shares,
    threads::ThreadPointers,
};
use super::image::{Image, operand::Architecture, sites::ProbeSite, thread_storage::ThreadStorage};
use crate::collect::bpf::{
    batch::Batch,
    wire::{Plain, Wire},
};

pub(crate) use error::KernelError;
pub(crate) use failures::{FailureMaps, Tallies};
pub(crate) use probes::Target;
pub(crate) use tracing::{Subject, Tracing};
pub(crate) use verify::{Verified, verify};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/tusktop.bpf.o"));

/// `BPF_NOEXIST` (include/uapi/linux/bpf.h): an entry that is there stays.
const NEW: u64 = 1;
/// `BPF_EXIST` (include/uapi/linux/bpf.h): only an entry that is there is replaced.
const EXISTING: u64 = 2;

type Hash<K, V> = BpfHashMap<MapData, K, Wire<V>>;
type Counts = BpfHashMap<MapData, Wire<CountKey>, Wire<Count>>;

/// The programs and their maps. Everything is detached when it is dropped.
pub(crate) struct Kernel {
    ebpf: Ebpf,
    probes: Probes,
    /// Threads whose calls are traced.
    pub tracing: Tracing,
    /// Exceptions, errors and compiled files.
    pub failures: FailureMaps,
    /// The programs hold on to it by its descriptor until they are loaded.
    _config: Array<MapData, Wire<Config>>,
    /// The kernel's type information says where a thread's state is: without it, it is not known which threads wait.
    pub knows_waits: bool,
    /// It says where the pages of a process are counted: without it, it is not known which processes grow.
    pub knows_pages: bool,
    active: Array<MapData, u32>,
    writing: u32,
    images: Array<MapData, Wire<shared::Image>>,
    processes: Hash<u32, Process>,
    requests: Hash<u64, Request>,
    waiting: Hash<u64, Wait>,
    names: Hash<Wire<ContentKey>, FunctionName>,
    stacks: Hash<Wire<ContentKey>, Stack>,
    lines: RingBuf<MapData>,
    counts: [Counts; 2],
    shares: Shares,
    counted: Batch<Wire<CountKey>, Wire<Count>>,
    threads: Batch<u64, Wire<Wait>>,
    stats: PerCpuArray<MapData, u64>,
    timers: Vec<Timer>,
    thread_pointers: ThreadPointers,
}

/// A program that runs at an event of every CPU.
struct Timer {
    program: &'static str,
    event: SoftwareEvent,
    period: u64,
    /// By CPU.
    links: BTreeMap<u32, PerfEventLinkId>,
}

macro_rules! map {
    ($ebpf:ident, $name:literal) => {
        $ebpf
            .take_map($name)
            .ok_or(KernelError::Missing($name))?
            .try_into()
            .map_err(|source| KernelError::Map { name: $name, source })?
    };
}

impl Kernel {
    /// Loads the programs and follows processes; nothing is sampled or probed yet.
    /// The second value are the rings that events come through.
    ///
    /// # Errors
    /// The kernel refuses, by rights or by features.
    pub(crate) fn load() -> Result<(Self, Unwatched), KernelError> {
        let architecture = Architecture::current().ok_or(KernelError::Architecture)?;
        let uprobe = UprobeType::read()?;
        // Without the kernel's types, which the object does not refer to: they take 18 MB.
        let mut ebpf = EbpfLoader::new().btf(None).load(OBJECT).map_err(permission)?;
        // Before any map is taken out of it.
        let multi = MultiPrograms::link(OBJECT, &ebpf);
        let mut config: Array<MapData, Wire<Config>> = map!(ebpf, "CONFIG");
        let layout = kernel_layout(architecture, seed());
        config.set(0, Wire(layout), 0).map_err(|source| KernelError::Map { name: "CONFIG", source })?;
        for (name, tracepoint) in [
            ("fork", "sched_process_fork"),
            ("exec", "sched_process_exec"),
            ("exit", "sched_process_exit"),
            ("switch", "sched_switch"),
        ] {
            let program: &mut RawTracePoint = program(&mut ebpf, name)?;
            program
                .load()
                .and_then(|()| program.attach(tracepoint))
                .map_err(|source| KernelError::Program { name, source })?;
        }
        let rings = Unwatched { requests: map!(ebpf, "EVENTS"), processes: map!(ebpf, "PROCESS_EVENTS") };
        let kernel = Self {
            failures: FailureMaps::take(&mut ebpf)?,
            probes: Probes::new(uprobe, multi, map!(ebpf, "SITES"), map!(ebpf, "HITS")),
            tracing: Tracing::new(map!(ebpf, "TRACED"), map!(ebpf, "CALLS"), map!(ebpf, "GENERATION")),
            _config: config,
            knows_waits: layout.task_state != UNKNOWN_OFFSET,
            knows_pages: layout.task_memory != UNKNOWN_OFFSET && layout.memory_anonymous != UNKNOWN_OFFSET,
            active: map!(ebpf, "ACTIVE"),
            writing: 0,
            images: map!(ebpf, "IMAGES"),
            processes: map!(ebpf, "PROCESSES"),
            requests: map!(ebpf, "REQUESTS"),
            waiting: map!(ebpf, "WAITING"),
            names: map!(ebpf, "NAMES"),
            stacks: map!(ebpf, "STACKS"),
            lines: map!(ebpf, "LINES"),
            counts: [map!(ebpf, "COUNTS_0"), map!(ebpf, "COUNTS_1")],
            shares: Shares::new(map!(ebpf, "SHARES"), map!(ebpf, "USED"))?,
            counted: Batch::new(),
            threads: Batch::new(),
            stats: map!(ebpf, "STATS"),
            timers: Vec::new(),
            thread_pointers: ThreadPointers::default(),
            ebpf,
        };
        Ok((kernel, rings))
    }

    /// Starts the timer of every CPU.
    ///
    /// # Errors
    /// The kernel refuses the program or the timer.
    pub(crate) fn sample(&mut self, hz: u32) -> Result<(), KernelError> {
        // A period, not a frequency: the kernel adapts the latter and would not keep it exactly.
        self.on_each_cpu("sample", SoftwareEvent::CpuClock, 1_000_000_000 / u64::from(hz.max(1)))
    }

    /// Starts to count which stacks make processes grow: every so many page faults of a CPU.
    ///
    /// # Errors
    /// The kernel refuses the program or the event.
    pub(crate) fn count_growth(&mut self, faults: u64) -> Result<(), KernelError> {
        self.on_each_cpu("growth", SoftwareEvent::PageFaults, faults)
    }

    fn on_each_cpu(&mut self, name: &'static str, event: SoftwareEvent, period: u64) -> Result<(), KernelError> {
        let cpus = online_cpus().map_err(|(path, source)| KernelError::Cpus { path: path.into(), source })?;
        let loaded: &mut PerfEvent = program(&mut self.ebpf, name)?;
        let refused = |source| KernelError::Program { name, source };
        loaded.load().map_err(refused)?;
        let mut timer = Timer { program: name, event, period, links: BTreeMap::new() };
        for cpu in cpus {
            timer.start(loaded, cpu).map_err(refused)?;
        }
        self.timers.push(timer);
        Ok(())
    }

    /// Starts the timers of CPUs that have come, and forgets those of CPUs that have gone: the kernel ends the events of a CPU with
    /// it, and does not bring them back.
    pub(crate) fn follow_cpus(&mut self) {
        // Where it cannot be read now, it is read again soon.
        let Ok(cpus) = online_cpus() else { return };
        for timer in &mut self.timers {
            if timer.links.keys().eq(&cpus) {
                continue;
            }
            let Ok(program) = program::<PerfEvent>(&mut self.ebpf, timer.program) else { continue };
            for (_, link) in timer.links.extract_if(.., |cpu, _| !cpus.contains(cpu)) {
                let _ = program.detach(link);
            }
            for cpu in cpus.iter().filter(|cpu| !timer.links.contains_key(cpu)).copied().collect::<Vec<_>>() {
                // It may be gone again; then it is tried again soon.
                let _ = timer.start(program, cpu);
            }
        }
    }

    /// Tells the programs the layout of an image.
    ///
    /// # Errors
    /// The map is full.
    pub(crate) fn add_image(&mut self, id: u32, image: &Image, uri_source: u32) -> Result<(), KernelError> {
        // Globals of threads whose place was not found cannot be read, nor can anything that is read by way of them.
        let known = image.offsets.filter(|_| !image.zts || image.thread_storage.is_some());
        let (threads, thread_storage) = match image.thread_storage {
            None => (0, 0),
            Some(ThreadStorage::Offset(offset)) => (shared::THREADS, offset),
            Some(ThreadStorage::Slot(slot)) => (shared::THREADS | shared::STORAGE_BY_SLOT, slot),
        };
        let layout = shared::Image {
            executor_globals: known.and(image.executor_globals).unwrap_or(0),
            sapi_globals: known.and(image.sapi_globals).unwrap_or(0),
            thread_storage,
            current_execute_data: known.map_or(0, |offsets| offsets.current_execute_data),
            previous_execute_data: known.map_or(0, |offsets| offsets.previous_execute_data),
            filename: known.map_or(0, |offsets| offsets.filename),
            response_code: known.map_or(0, |offsets| offsets.response_code),
            fastcgi_environment: known.map_or(0, |offsets| offsets.fastcgi_environment),
            uri_source,
            heap: image.heap.filter(|_| !image.zts || image.thread_storage.is_some()).map_or(0, |heap| heap.pointer),
            heap_peak: image.heap.map_or(0, |heap| heap.peak),
            indirect: threads | if image.by_slot { shared::BY_SLOT } else { 0 },
        };
        self.images.set(id, Wire(layout), 0).map_err(|source| KernelError::Map { name: "IMAGES", source })
    }

    /// Has the programs forget an image, from which everything was detached, and what they know of its processes.
    pub(crate) fn forget_image(&mut self, id: u32) {
        // A map that cannot be written keeps an entry of processes that end, with which it goes.
        let none = Image::default();
        let _ = self.add_image(id, &none, 0);
        self.retain_processes(|_, process| process.image != id);
        self.forget_requests(id);
        self.probes.forget(id);
    }

    /// Hits of probes so far, by image and program.
    pub(crate) fn hits(&self) -> HashMap<(u32, &'static str), u64> {
        self.probes.hits()
    }

    /// Forgets the requests of an image that run: their end will not be seen.
    pub(crate) fn forget_requests(&mut self, id: u32) {
        self.retain_requests(|request| request.image != id);
    }

    fn retain_processes(&mut self, keep: impl Fn(u32, &Process) -> bool) {
        retain(&mut self.processes, &mut self.shares, share::PROCESSES, keep, |process| process.user);
    }

    fn retain_requests(&mut self, keep: impl Fn(&Request) -> bool) {
        retain(
            &mut self.requests,
            &mut self.shares,
            share::REQUESTS,
            |_, request| keep(request),
            |request| request.user,
        );
    }

    /// Tells the programs that a process runs an image. One that they met before keeps what they noted of it.
    ///
    /// # Errors
    /// The map is full.
    pub(crate) fn add_process(&mut self, pid: u32, process: Process) -> Result<(), KernelError> {
        let of = |process: &Process| (process.bias, process.image);
        let known = self.processes.get(&pid, 0).ok().filter(|known| of(&known.0) == of(&process));
        let process = match known {
            Some(Wire(known)) if known.master == process.master => return Ok(()),
            Some(Wire(known)) => Process { master: process.master, ..known },
            None => process,
        };
        self.processes.insert(pid, Wire(process), 0).map_err(|source| KernelError::Map { name: "PROCESSES", source })
    }

    /// The threads of processes whose build of PHP is thread-safe, by process: the id of each, and its thread pointer.
    ///
    /// # Errors
    /// The kernel refuses the program that tells them.
    pub(crate) fn thread_pointers(&mut self) -> Result<HashMap<u32, Vec<(u32, u64)>>, KernelError> {
        self.thread_pointers.read(&mut self.ebpf)
    }

    /// Tells the programs of a request that began in a thread (pid << 32 | tid) before they could see it; `false` when they know of
    /// one, or have no room.
    pub(crate) fn add_request(&mut self, thread: u64, request: Request) -> bool {
        self.requests.insert(thread, Wire(request), NEW).is_ok()
    }

    /// Takes back what [`Self::add_request`] told: it has ended meanwhile.
    pub(crate) fn take_request_back(&mut self, thread: u64, started_ns: u64) {
        if self.requests.get(&thread, 0).is_ok_and(|known| known.0.started_ns == started_ns) {
            let _ = self.requests.remove(&thread);
        }
    }

    /// Tells the programs of a wait of a thread that began before they could see it; `false` when they know of one, or have no room.
    pub(crate) fn add_wait(&mut self, thread: u64, wait: Wait) -> bool {
        self.waiting.insert(thread, Wire(wait), NEW).is_ok()
    }

    /// Takes back what [`Self::add_wait`] told: it has ended meanwhile.
    pub(crate) fn take_wait_back(&mut self, thread: u64, wait: Wait) {
        if self.waiting.get(&thread, 0).is_ok_and(|known| known.0 == wait) {
            let _ = self.waiting.remove(&thread);
        }
    }

    /// Attaches `program` to sites of an image, each with its kind.
    ///
    /// # Errors
    /// The kernel refuses the program or a site; sites that were attached before stay until they are detached.
    pub(crate) fn attach(
        &mut self,
        program: &'static str,
        target: Target<'_>,
        sites: &[(u32, &ProbeSite)],
    ) -> Result<Vec<Attachment>, KernelError> {
        self.probes.attach(&mut self.ebpf, program, target, sites)
    }

    /// Attaches the tracing program to sites for one process, or all, each with its cookie (`tusktop_shared::call`).
    ///
    /// # Errors
    /// The kernel refuses the program or a site.
    pub(crate) fn attach_calls(
        &mut self,
        target: Target<'_>,
        sites: &[(u64, &ProbeSite)],
    ) -> Result<Vec<Attachment>, KernelError> {
        let (returns, entries): (Vec<_>, Vec<_>) =
            sites.iter().partition(|(cookie, _)| cookie & 0xff == u64::from(call::RETURN));
        // The returns first: an entry that is seen has its return seen.
        let mut attached = Vec::with_capacity(sites.len());
        for (program, sites) in [("call_return", returns), ("call_entry", entries)] {
            if !sites.is_empty() {
                attached.extend(self.probes.attach_numbered(&mut self.ebpf, program, target, &sites)?);
            }
        }
        Ok(attached)
    }

    /// Says in which slot the calls of a process are traced; `None` when they no longer are.
    pub(crate) fn set_traced(&mut self, pid: u32, slot: Option<u32>) {
        if let Ok(Wire(process)) = self.processes.get(&pid, 0) {
            let traced = slot.map_or(0, |slot| slot + 1);
            // A process that ended meanwhile has no entry any more, and needs none.
            let _ = self.processes.insert(pid, Wire(Process { traced, ..process }), EXISTING);
        }
    }

    /// Lets the programs write into the other map of counts; [`Self::take_counts`] then empties the one they left.
    ///
    /// # Errors
    /// The map cannot be written.
    pub(crate) fn turn_counts(&mut self) -> Result<(), KernelError> {
        self.writing ^= 1;
        self.active.set(0, self.writing, 0).map_err(|source| KernelError::Map { name: "ACTIVE", source })
    }

    /// Takes all samples, waits and failures by request that the programs wrote before the last turn.
    ///
    /// # Errors
    /// The map cannot be read.
    pub(crate) fn take_counts(&mut self) -> Result<Vec<(CountKey, Count)>, KernelError> {
        let counts = &self.counts[(self.writing ^ 1) as usize];
        let mut taken = Vec::new();
        self.counted
            .take(counts.map(), |key, count| taken.push((key.0, count.0)))
            .map_err(|source| KernelError::Batch { name: "COUNTS", source })?;
        self.shares.count(share::COUNTS + (self.writing ^ 1), []);
        self.shares.count(share::FAILED + (self.writing ^ 1), []);
        Ok(taken)
    }

    /// Takes one of the samples with lines that the program sent, as bytes; `None` when there are no more.
    pub(crate) fn take_lines<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.lines.next().map(|record| read(&record))
    }

    /// A stack by its key.
    pub(crate) fn stack(&self, key: ContentKey) -> Option<Box<Stack>> {
        self.stacks.get(&Wire(key), 0).ok().map(|stack| Box::new(stack.0))
    }

    /// A name by its key.
    pub(crate) fn name(&self, key: ContentKey) -> Option<Box<FunctionName>> {
        self.names.get(&Wire(key), 0).ok().map(|name| Box::new(name.0))
    }

    /// Empties the maps of stacks and names; the programs fill them again with what they meet.
    pub(crate) fn forget_names(&mut self) {
        // Before, so that nothing is found that goes away now, and afterwards, for what was kept meanwhile and went with the rest.
        self.tracing.forget_names();
        let stacks: Vec<_> = self.stacks.keys().flatten().collect();
        for key in stacks {
            let _ = self.stacks.remove(&key);
        }
        let names: Vec<_> = self.names.keys().flatten().collect();
        for key in names {
            let _ = self.names.remove(&key);
        }
        self.tracing.forget_names();
        self.shares.count(share::STACKS, []);
    }

    /// Forgets processes and threads that are gone, as `is_there` says, and counts anew what each user has in the maps.
    pub(crate) fn sweep(&mut self, is_there: impl Fn(u32) -> bool) {
        self.retain_processes(|pid, _| is_there(pid));
        self.retain_requests(|request| is_there(request.pid));
        let of_thread = |key: u64, _: &Wait| is_there((key >> 32) as u32);
        retain(&mut self.waiting, &mut self.shares, share::WAITING, of_thread, |wait| wait.user);
        self.count_failures();
    }

    /// Counts again what each user has in the maps of threads.
    pub(crate) fn count_threads(&mut self) {
        let requests: Vec<_> = self.requests().map(|(_, request)| request.user).collect();
        self.shares.count(share::REQUESTS, requests);
        let mut users = Vec::new();
        // Where it cannot be read, it is counted at the next sweep.
        let _ = self.threads.look(self.waiting.map(), |_, wait| users.push(wait.0.user));
        self.shares.count(share::WAITING, users);
    }

    /// All requests that ended were taken from the ring.
    pub(crate) fn ring_is_empty(&mut self) {
        self.shares.count(share::ENDED_REQUESTS, []);
        self.shares.count(share::ENDED_OF_IMAGES, []);
    }

    /// Counts again what each user has in the maps of exceptions, errors and compiled files.
    pub(crate) fn count_failures(&mut self) {
        let failures: Vec<_> = self.failures.failures.iter().map(|(key, _)| key.user).collect();
        self.shares.count(share::FAILURES, failures);
        let compiles: Vec<_> = self.failures.compiles.iter().map(|(key, _)| key.user).collect();
        self.shares.count(share::COMPILES, compiles);
        let messages = self.failures.users_of_messages();
        self.shares.count(share::MESSAGES, messages);
    }

    /// Requests that run now, each by its thread: pid << 32 | tid.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (u64, Request)> {
        // An entry that goes away makes the kernel start over; the bound ends that on a busy server.
        self.requests.iter().take(2 * sizes::REQUESTS as usize).flatten().map(|(thread, request)| (thread, request.0))
    }

    /// Threads that are blocked now, by pid << 32 | tid.
    ///
    /// # Errors
    /// The map cannot be read.
    pub(crate) fn waiting(&mut self) -> Result<Vec<(u64, Wait)>, KernelError> {
        let mut waiting = Vec::new();
        // A start of 0 is what remains of a wait that is over.
        self.threads
            .look(self.waiting.map(), |key, wait| waiting.extend((wait.0.since_ns != 0).then_some((key, wait.0))))
            .map_err(|source| KernelError::Batch { name: "WAITING", source })?;
        Ok(waiting)
    }

    /// One counter, of all CPUs.
    pub(crate) fn stat(&self, counter: u32) -> u64 {
        self.stats.get(&counter, 0).map_or(0, |values| values.iter().sum())
    }

    /// The counters of all CPUs, by the indexes of `tusktop_shared::stat`.
    pub(crate) fn stats(&self) -> [u64; stat::COUNT as usize] {
        std::array::from_fn(|i| self.stat(i as u32))
    }
}

impl Timer {
    fn start(&mut self, program: &mut PerfEvent, cpu: u32) -> Result<(), ProgramError> {
        let link = program.attach(
            PerfEventConfig::Software(self.event),
            PerfEventScope::AllProcessesOneCpu { cpu },
            SamplePolicy::Period(self.period),
            false,
        )?;
        self.links.insert(cpu, link);
        Ok(())
    }
}

/// Removes the entries of a divided map that are not to be kept, and counts again what each user has in it.
fn retain<K: aya::Pod, V: Plain>(
    map: &mut Hash<K, V>,
    shares: &mut Shares,
    number: u32,
    keep: impl Fn(K, &V) -> bool,
    user: impl Fn(&V) -> u32,
) where
    Wire<V>: aya::Pod,
{
    // An entry that goes away makes the kernel start over; the bound ends that on a busy server.
    let entries: Vec<_> = map.iter().take(2 * share::SIZES[number as usize] as usize).flatten().collect();
    let (kept, gone): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, value)| keep(*key, &value.0));
    for (key, _) in gone {
        // It may have ended meanwhile.
        let _ = map.remove(&key);
    }
    shares.count(number, kept.into_iter().map(|(_, value)| user(&value.0)));
}

/// A number that no process can guess.
fn seed() -> u64 {
    let mut seed = [0; 8];
    // Only before the kernel has gathered its first randomness, at boot, it gives less: then the clock has to do.
    match getrandom(&mut seed, GetRandomFlags::NONBLOCK) {
        Ok(8) => u64::from_ne_bytes(seed),
        _ => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64),
    }
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, KernelError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or(KernelError::Missing(name))?
        .try_into()
        .map_err(|source| KernelError::Program { name, source })
}
