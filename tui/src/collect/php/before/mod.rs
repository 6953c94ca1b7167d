//! What PHP was doing when it was found: the request that it is in and, if it is blocked, its stack. The programs see a request
//! when it starts and a stack when it blocks, so what has hung since before tusktop came would never be seen.
//!
//! It is read once, from outside, bounded, through the process that reads memory for tusktop; the collector then puts it into the
//! maps of the programs, which go on from there.

mod pieces;
mod request;
mod stack;

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};
use tusktop_shared::{Request, TITLE_BYTES};

use self::{
    pieces::Pieces,
    request::{Clock, Globals},
};
use super::{
    collector::monotonic,
    find::discover::Mapped,
    image::{Image, thread_storage::ThreadStorage},
};
use crate::{
    collect::{procfs::Procfs, reads::Reads},
    model::FunctionKey,
};

/// Bytes of /proc/PID/status that are read; it has some 1 500.
const STATUS: u64 = 8 << 10;

/// A thread that runs PHP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thread {
    pub tid: u32,
    /// Its thread pointer; `None` where all threads of the process have the same globals.
    pub pointer: Option<u64>,
}

impl Thread {
    /// The first thread of a process whose threads have the same globals.
    pub(crate) fn first(pid: u32) -> Self {
        Self { tid: pid, pointer: None }
    }
}

/// A request that ran when its process was found.
#[derive(Debug)]
pub(crate) struct Running {
    pub thread: Thread,
    /// As the programs would have noted it, but for its CPU time at the start, which is not known.
    pub request: Request,
    /// Otherwise it started at some time before that in `request`.
    pub start_known: bool,
    /// Its thread is blocked.
    pub blocked: Option<Blocked>,
}

impl Running {
    /// The script of a process on the command line; `None` where it runs code of the command line, or serves requests.
    pub(crate) fn script(&self) -> Option<&str> {
        let text = |bytes: &[u8]| bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        let Request { method, script, .. } = &self.request;
        let script = std::str::from_utf8(&script[..text(script)]).ok()?;
        (text(method) == 0 && script.starts_with('/')).then_some(script)
    }
}

/// A thread that is blocked.
#[derive(Debug)]
pub(crate) struct Blocked {
    /// Functions from the leaf to the root; none where no PHP code runs.
    pub frames: Vec<FunctionKey>,
    /// There are more.
    pub truncated: bool,
    /// How often it had left the CPU until then.
    pub switches: u64,
}

/// Reads what a thread of a process does: its request, or none where it waits for one or has not begun to run PHP. `None` where it
/// is not known how to.
///
/// # Errors
/// It is gone, or does not answer.
pub(crate) fn look(
    reads: &mut Reads,
    pid: u32,
    thread: Thread,
    image: &Arc<Image>,
    mapped: Mapped,
) -> io::Result<Option<Option<Running>>> {
    let Some(user) = reads.procfs.uid(pid).filter(|_| Layout::is_known(image)) else { return Ok(None) };
    let before = reads.of(pid, move |procfs| Shown::read(procfs, pid, thread.tid))?;
    let clock = before.clock()?;
    let mut memory = Pieces::new(|address, bytes: &mut [u8]| reads.memory(pid, address, bytes));
    let Some(place) = Place::of(image, mapped.bias, thread, &mut memory) else { return Ok(None) };
    let Some(layout) = Layout::of(image, place, &mut memory) else { return Ok(Some(None)) };
    let leaf = memory.word(layout.leaf).ok_or(io::ErrorKind::NotFound)?;
    if leaf == 0 && !layout.globals.is_in_request(&mut memory) {
        return Ok(Some(None));
    }
    let (mut request, start_known) = layout.globals.request(&mut memory, clock, &before.title);
    (request.pid, request.image, request.user) = (pid, mapped.image as u32, user);
    if let Some(heap) = image.heap
        && let Some(pointer) = place.heap(heap.pointer, &mut memory)
    {
        request::note_heap(&mut request, &mut memory, heap, pointer);
    }
    let blocked = before.is_blocked.then(|| {
        let (frames, truncated) = stack::read(&mut memory, leaf, &layout.globals.offsets);
        Blocked { frames, truncated, switches: before.switches }
    });
    Ok(Some(Some(Running { thread, request, start_known, blocked })))
}

/// Whether a thread is in a request, or runs a script.
///
/// # Errors
/// As for [`look`].
pub(crate) fn is_running(reads: &mut Reads, pid: u32, thread: Thread, image: &Image, bias: u64) -> io::Result<bool> {
    let mut memory = Pieces::new(|address, bytes: &mut [u8]| reads.memory(pid, address, bytes));
    let place = Place::of(image, bias, thread, &mut memory);
    let Some(layout) = place.and_then(|place| Layout::of(image, place, &mut memory)) else { return Ok(false) };
    let leaf = memory.word(layout.leaf).ok_or(io::ErrorKind::NotFound)?;
    Ok(leaf != 0 || layout.globals.is_in_request(&mut memory))
}

/// How often a thread has left the CPU; what is blocked and has not done so again is blocked as before.
///
/// # Errors
/// As for [`look`].
pub(crate) fn switches(reads: &mut Reads, pid: u32, tid: u32) -> io::Result<u64> {
    reads.of(pid, move |procfs| Ok(Status::read(procfs, pid, tid)?.switches))
}

/// Where a thread has its globals.
#[derive(Debug, Clone, Copy)]
struct Place {
    bias: u64,
    /// What a thread-safe build has of each thread; 0 for a thread that has never run PHP.
    storage: Option<u64>,
}

impl Place {
    /// `None` where the pointer of a thread has to be known and is not, or leads nowhere.
    fn of<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(
        image: &Image,
        bias: u64,
        thread: Thread,
        memory: &mut Pieces<F>,
    ) -> Option<Self> {
        if !image.zts {
            return Some(Self { bias, storage: None });
        }
        let distance = match image.thread_storage? {
            ThreadStorage::Offset(offset) => offset,
            ThreadStorage::Slot(slot) => memory.word(slot.wrapping_add(bias))?,
        };
        Some(Self { bias, storage: Some(memory.word(thread.pointer?.wrapping_add(distance))?) })
    }

    /// The address of globals that are at this one, as linked; of threads it is that of their offset in the storage. `None` where a
    /// thread has none.
    fn globals<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(
        self,
        image: &Image,
        linked: u64,
        memory: &mut Pieces<F>,
    ) -> Option<u64> {
        let address = linked.wrapping_add(self.bias);
        let address = if image.by_slot { memory.word(address)? } else { address };
        self.in_storage(address, memory)
    }

    /// The same of the pointer to the heap.
    fn heap<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(self, linked: u64, memory: &mut Pieces<F>) -> Option<u64> {
        self.in_storage(linked.wrapping_add(self.bias), memory)
    }

    fn in_storage<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(
        self,
        address: u64,
        memory: &mut Pieces<F>,
    ) -> Option<u64> {
        let Some(storage) = self.storage else { return Some(address) };
        let offset = memory.word(address).filter(|&offset| storage != 0 && offset != 0)?;
        Some(storage.wrapping_add(offset))
    }
}

/// Where things are of one thread.
struct Layout {
    /// `executor_globals.current_execute_data`.
    leaf: u64,
    globals: Globals,
}

impl Layout {
    /// Whether it can be known of an image.
    fn is_known(image: &Image) -> bool {
        image.zts == image.thread_storage.is_some()
            && image.offsets.is_some()
            && image.executor_globals.is_some()
            && image.sapi_globals.is_some()
    }

    fn of<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(
        image: &Image,
        place: Place,
        memory: &mut Pieces<F>,
    ) -> Option<Self> {
        let offsets = image.offsets?;
        let executor = place.globals(image, image.executor_globals?, memory)?;
        let address = place.globals(image, image.sapi_globals?, memory)?;
        let globals = Globals { address, sapi: image.sapi, offsets };
        Some(Self { leaf: executor.wrapping_add(offsets.current_execute_data.into()), globals })
    }
}

/// What files of the process show.
struct Shown {
    title: Vec<u8>,
    /// When it started, in clock ticks after boot.
    started: u64,
    is_blocked: bool,
    switches: u64,
}

impl Shown {
    fn read(procfs: &Procfs, pid: u32, tid: u32) -> io::Result<Self> {
        // The switches first: if there are no more of them afterwards, nothing has changed meanwhile.
        let Status { is_blocked, switches } = Status::read(procfs, pid, tid)?;
        let title = procfs.bytes(pid, "cmdline", TITLE_BYTES as u64)?;
        Ok(Self { title, started: procfs.start(pid)?.0, is_blocked, switches })
    }

    fn clock(&self) -> io::Result<Clock> {
        let boot = clock_gettime(ClockId::Boottime);
        let boot = Duration::new(boot.tv_sec.unsigned_abs(), boot.tv_nsec.unsigned_abs() as u32);
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        let started = Duration::from_secs_f64(self.started as f64 / ticks as f64);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        Ok(Clock { monotonic_ns: monotonic(), wall, age: boot.saturating_sub(started) })
    }
}

/// Of a thread (proc_pid_status(5)).
#[derive(Debug, PartialEq, Eq)]
struct Status {
    is_blocked: bool,
    switches: u64,
}

impl Status {
    fn read(procfs: &Procfs, pid: u32, tid: u32) -> io::Result<Self> {
        let status = procfs.bytes(pid, &format!("task/{tid}/status"), STATUS)?;
        Self::parse(&status).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(status: &[u8]) -> Option<Self> {
        let field = |name: &str| {
            let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name.as_bytes()))?;
            Some(line.trim_ascii())
        };
        let number = |name: &str| std::str::from_utf8(field(name)?).ok()?.parse::<u64>().ok();
        Some(Self {
            is_blocked: matches!(field("State:")?.first()?, b'S' | b'D'),
            switches: number("voluntary_ctxt_switches:")?.checked_add(number("nonvoluntary_ctxt_switches:")?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_whether_a_thread_is_blocked_and_how_often_it_was() {
        let status = |state: &str| {
            format!(
                "Name:\tphp\nUmask:\t0022\nState:\t{state}\nThreads:\t1\n\
                 voluntary_ctxt_switches:\t41\nnonvoluntary_ctxt_switches:\t1\n"
            )
        };
        let parse = |state| Status::parse(status(state).as_bytes());
        assert_eq!(parse("S (sleeping)"), Some(Status { is_blocked: true, switches: 42 }));
        assert_eq!(parse("D (disk sleep)"), Some(Status { is_blocked: true, switches: 42 }));
        assert_eq!(parse("R (running)"), Some(Status { is_blocked: false, switches: 42 }));
        assert_eq!(Status::parse(b"Name:\tphp\nState:\tS (sleeping)\n"), None);
    }

    #[test]
    fn this_test_runs_and_has_left_the_cpu_before() {
        let status = Status::read(&Procfs::default(), std::process::id(), std::process::id()).unwrap();
        assert!(status.switches > 0);
    }
}
