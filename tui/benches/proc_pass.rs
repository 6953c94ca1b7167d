//! What one pass over 2 000 sleeping processes costs: CPU time and allocations, by /proc/PID/stat and by the kernel's task
//! iterator in turn, the snapshot made of it, and the floor: the iterator read and thrown away. Run it as root with
//! `cargo bench --bench proc_pass`; without rights the iterator is left out.
#![expect(unsafe_code, reason = "counting allocations needs a global allocator")]
#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first surprise")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::Write as _,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tusktop::{
    aggregate::{Aggregate, PhpReading},
    collect::{
        Tick,
        proc::{Options, PssOptions, Sampler},
        tasks::Tasks,
    },
};

const PROCESSES: usize = 2000;
const PASSES: usize = 100;
/// Passes until the details of young processes have been read for the last time.
const WARM_UP: usize = 12;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed to the system allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sleeping processes, ended with the benchmark.
struct Sleepers(Vec<Child>);

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn main() -> std::io::Result<()> {
    // `cargo test --benches` runs this without `--bench`; it is no test.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let mut sleepers = Sleepers(Vec::new());
    for _ in 0..PROCESSES {
        sleepers.0.push(Command::new("sleep").arg("100000").stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
    }
    let mut out = std::io::stdout().lock();
    let mut proc = Bench::new(None);
    writeln!(out, "{} processes, {PASSES} passes each, in turn; CPU time", proc.processes)?;
    writeln!(out, "first pass           {:>9.2?}  ({:.2?} on the clock)", proc.first.0, proc.first.1)?;
    let (before, started) = (cpu(), Instant::now());
    let mut kernel = match Tasks::load() {
        Ok(tasks) => Some((Bench::new(Some(tasks)), Tasks::load().unwrap())),
        Err(error) => {
            writeln!(out, "no task iterator: {error}")?;
            None
        }
    };
    writeln!(out, "loading the iterator {:>9.2?}  ({:.2?} on the clock), twice", cpu() - before, started.elapsed())?;
    let mut floor = Vec::new();
    for _ in 0..PASSES {
        proc.step();
        if let Some((kernel, tasks)) = &mut kernel {
            kernel.step();
            let before = cpu();
            tasks.read()?;
            floor.push(cpu() - before);
        }
    }
    proc.report(&mut out, "stat")?;
    if let Some((mut kernel, _)) = kernel {
        kernel.report(&mut out, "iterator")?;
        report(&mut out, "floor", &mut floor, 0)?;
    }
    Ok(())
}

/// A sampler and what its passes took.
struct Bench {
    sampler: Sampler,
    aggregate: Aggregate,
    processes: usize,
    first: (Duration, Duration),
    passes: Vec<Duration>,
    updates: Vec<Duration>,
    pass_allocations: u64,
    update_allocations: u64,
}

impl Bench {
    fn new(tasks: Option<Tasks>) -> Self {
        // PSS has a budget of its own.
        let options = Options { pss: PssOptions::off(), ..Options::default() };
        let mut sampler = Sampler::with(&options, Timestamp::now()).unwrap();
        let mut aggregate = Aggregate::default();
        let (cpu_before, started) = (cpu(), Instant::now());
        let sample = sampler.pass(Tick { at: Instant::now() });
        let processes = sample.processes.len();
        let first = (cpu() - cpu_before, started.elapsed());
        aggregate.update(Timestamp::now(), sample, PhpReading::Off);
        if let Some(tasks) = tasks {
            sampler.use_kernel(tasks).unwrap();
        }
        for _ in 0..WARM_UP {
            let sample = sampler.pass(Tick { at: Instant::now() });
            aggregate.update(Timestamp::now(), sample, PhpReading::Off);
        }
        let (passes, updates) = (Vec::new(), Vec::new());
        Self { sampler, aggregate, processes, first, passes, updates, pass_allocations: 0, update_allocations: 0 }
    }

    fn step(&mut self) {
        let (before, allocated) = (cpu(), ALLOCATIONS.load(Ordering::Relaxed));
        let sample = self.sampler.pass(Tick { at: Instant::now() });
        let (middle, allocated_middle) = (cpu(), ALLOCATIONS.load(Ordering::Relaxed));
        drop(self.aggregate.update(Timestamp::now(), sample, PhpReading::Off));
        self.passes.push(middle - before);
        self.updates.push(cpu() - middle);
        self.pass_allocations += allocated_middle - allocated;
        self.update_allocations += ALLOCATIONS.load(Ordering::Relaxed) - allocated_middle;
    }

    fn report(&mut self, out: &mut impl std::io::Write, name: &str) -> std::io::Result<()> {
        let each = |count: u64| count / PASSES as u64;
        report(out, &format!("pass by {name}"), &mut self.passes, each(self.pass_allocations))?;
        report(out, "  its snapshot", &mut self.updates, each(self.update_allocations))
    }
}

fn report(out: &mut impl std::io::Write, name: &str, times: &mut [Duration], allocations: u64) -> std::io::Result<()> {
    times.sort_unstable();
    let (best, median, worst) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    writeln!(out, "{name:<20} {median:>9.2?}  ({best:.2?} to {worst:.2?}), {allocations} allocations each")
}

fn cpu() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).try_into().unwrap()
}
