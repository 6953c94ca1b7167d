//! What one pass over /proc costs with 2 000 sleeping processes: CPU time and allocations, of the sampler alone and with
//! the snapshot. Run it with `cargo bench --bench proc_pass`.
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
    // PSS has a budget of its own.
    let options = Options { pss: PssOptions::off(), ..Options::default() };
    let mut sampler = Sampler::with(&options, Timestamp::now()).unwrap();
    let mut aggregate = Aggregate::default();
    let (first_cpu, started) = (cpu(), Instant::now());
    let sample = sampler.pass(Tick { at: Instant::now() });
    let read = sample.processes.len();
    let first = (cpu() - first_cpu, started.elapsed());
    aggregate.update(Timestamp::now(), sample, PhpReading::Off);
    for _ in 0..WARM_UP {
        let sample = sampler.pass(Tick { at: Instant::now() });
        aggregate.update(Timestamp::now(), sample, PhpReading::Off);
    }

    let (mut passes, mut updates) = (Vec::new(), Vec::new());
    let (mut pass_allocations, mut update_allocations) = (0, 0);
    for _ in 0..PASSES {
        let (before, allocated) = (cpu(), ALLOCATIONS.load(Ordering::Relaxed));
        let sample = sampler.pass(Tick { at: Instant::now() });
        let (middle, allocated_middle) = (cpu(), ALLOCATIONS.load(Ordering::Relaxed));
        let snapshot = aggregate.update(Timestamp::now(), sample, PhpReading::Off);
        drop(snapshot);
        passes.push(middle - before);
        updates.push(cpu() - middle);
        pass_allocations += allocated_middle - allocated;
        update_allocations += ALLOCATIONS.load(Ordering::Relaxed) - allocated_middle;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{read} processes, {PASSES} passes; CPU time")?;
    writeln!(out, "first pass       {:>9.2?}  ({:.2?} on the clock)", first.0, first.1)?;
    let allocations = |count: u64| count / PASSES as u64;
    report(&mut out, "later pass", &mut passes, allocations(pass_allocations))?;
    report(&mut out, "snapshot", &mut updates, allocations(update_allocations))
}

fn report(out: &mut impl std::io::Write, name: &str, times: &mut [Duration], allocations: u64) -> std::io::Result<()> {
    times.sort_unstable();
    let (best, median, worst) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    writeln!(out, "{name:<16} {median:>9.2?}  ({best:.2?} to {worst:.2?}), {allocations} allocations each")
}

fn cpu() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).try_into().unwrap()
}
