//! The pass by the kernel's task iterator says what /proc says, and processes that live between two passes count. On the
//! real kernel, as root.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::cast::copy_program;
use jiff::Timestamp;
use tusktop::{
    aggregate::{Aggregate, PhpReading},
    collect::{
        Tick,
        proc::{Details, ProcessReading, ProcessSample, Sampler},
        tasks::Tasks,
    },
    model::{Group, Snapshot},
    rules::{Property, Rule, Rules},
};

/// Resident memory that the kernel's counters of several CPUs may be apart, beside what changes meanwhile.
const MEMORY_APART: u64 = 2 << 20;

/// Ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(program: &str, arguments: &[&str]) -> Running {
    let mut command = Command::new(program);
    Running(command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
}

fn sampler() -> Sampler {
    Sampler::open("/proc".as_ref(), "/etc/passwd".as_ref(), Timestamp::now()).unwrap()
}

fn pass(sampler: &mut Sampler) -> ProcessSample {
    let sample = sampler.pass(Tick { at: Instant::now() });
    assert!(sample.error.is_none() && sample.ended_unknown.is_none(), "{:?}", sample.ended_unknown);
    sample
}

/// A sampler that reads by the iterator.
fn by_kernel() -> Sampler {
    let mut sampler = sampler();
    sampler.use_kernel(Tasks::load().unwrap()).unwrap();
    pass(&mut sampler);
    sampler
}

fn find(sample: &ProcessSample, pid: u32) -> Option<&ProcessReading> {
    sample.processes.iter().find(|process| process.pid == pid)
}

/// All that is text; the start time depends on when a sampler was opened.
fn names(process: &ProcessReading) -> Details {
    Details { started_at: None, ..Details::clone(&process.details) }
}

fn state_of(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat[stat.rfind(')').unwrap() + 2..].chars().next().unwrap()
}

fn wait_for(pid: u32, state: char) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while state_of(pid) != state {
        assert!(Instant::now() < deadline, "{pid} is not {state}");
        thread::yield_now();
    }
}

#[test]
#[ignore = "needs root"]
fn the_iterator_says_what_proc_says() {
    let sleeping = run("sleep", &["1000"]);
    let busy = run("sh", &["-c", "while :; do :; done"]);
    let stopped = run("sleep", &["1000"]);
    let zombie = run("true", &[]);
    assert!(Command::new("kill").args(["-STOP", &stopped.0.id().to_string()]).status().unwrap().success());
    wait_for(stopped.0.id(), 'T');
    wait_for(zombie.0.id(), 'Z');
    wait_for(sleeping.0.id(), 'S');
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let threads: Vec<_> = (0..5)
        .map(|_| {
            let held = Arc::clone(&held);
            thread::spawn(move || {
                let started = Instant::now();
                while started.elapsed() < Duration::from_millis(30) {}
                let _ = held.lock().unwrap().recv();
            })
        })
        .collect();

    let (mut proc, mut kernel) = (sampler(), by_kernel());
    let before = pass(&mut proc);
    let sample = pass(&mut kernel);
    let after = pass(&mut proc);
    let mut compared = 0;
    for (old, new) in before.processes.iter().filter_map(|old| Some((old, find(&after, old.pid)?))) {
        if old.start_ticks != new.start_ticks {
            continue;
        }
        let seen = find(&sample, old.pid).unwrap_or_else(|| panic!("{} is missing: {}", old.pid, old.details.comm));
        assert_eq!(seen.start_ticks, old.start_ticks, "{old:?}");
        if old.ppid == new.ppid {
            assert_eq!(seen.ppid, old.ppid, "{old:?}");
        }
        if names(old) == names(new) {
            assert_eq!(names(seen), names(old));
        }
        if old.threads == new.threads {
            assert_eq!(seen.threads, old.threads, "{old:?}");
        }
        let (least, most) = (old.rss_bytes.min(new.rss_bytes), old.rss_bytes.max(new.rss_bytes));
        assert!(
            (least.saturating_sub(MEMORY_APART)..=most + MEMORY_APART).contains(&seen.rss_bytes),
            "{} {old:?} {new:?}",
            seen.rss_bytes
        );
        if old.swap_bytes == new.swap_bytes {
            assert_eq!(seen.swap_bytes, old.swap_bytes, "{old:?}");
        }
        // /proc rounds user and system time down to a hundredth each.
        let ticks = Duration::from_millis(20);
        assert!(
            seen.cpu + ticks >= old.cpu && seen.cpu <= new.cpu + ticks + Duration::from_millis(5),
            "{:?} {old:?} {new:?}",
            seen.cpu
        );
        compared += 1;
    }
    assert!(compared > 20, "{compared}");
    let state = |running: &Running| find(&sample, running.0.id()).unwrap().state;
    assert_eq!([&sleeping, &busy, &stopped, &zombie].map(state), ['S', 'R', 'T', 'Z']);
    let zombie = find(&sample, zombie.0.id()).unwrap();
    assert_eq!((zombie.rss_bytes, zombie.swap_bytes, zombie.threads), (0, Some(0), 1));
    let own = find(&sample, std::process::id()).unwrap();
    assert!(own.threads >= 6 && own.cpu >= Duration::from_millis(150), "{own:?}");
    assert!(sample.processes.iter().any(|process| process.details.kernel_thread && process.rss_bytes == 0));
    assert!(sample.processes.is_sorted_by_key(|process| process.pid));
    drop(hold);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// A shell under a name that nothing else has, with a program beside it. It takes commands and says when each is done.
struct Shell {
    running: Running,
    output: BufReader<std::process::ChildStdout>,
    program: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Shell {
    /// `program` gets the name tusktop-NAME, so that nothing else is in its group.
    fn start(program: &str, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_program("/bin/sh", &folder.path().join("tusktop-shell"));
        let program_here = folder.path().join(format!("tusktop-{name}"));
        copy_program(program, &program_here);
        let mut running = run(folder.path().join("tusktop-shell").to_str().unwrap(), &[]);
        let output = BufReader::new(running.0.stdout.take().unwrap());
        Self { running, output, program: program_here, _folder: folder }
    }

    /// Runs the program as often, one after the other.
    fn repeat(&mut self, times: u32, arguments: &str) {
        let command = format!(
            "n=0; while [ $n -lt {times} ]; do {} {arguments}; n=$((n+1)); done; echo done",
            self.program.display()
        );
        writeln!(self.running.0.stdin.as_mut().unwrap(), "{command}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n", "the shell ends when it cannot fork");
    }
}

/// Passes and the snapshots made of them.
struct Watch {
    sampler: Sampler,
    aggregate: Aggregate,
}

impl Watch {
    fn start() -> Self {
        let short = Rule::new("short", &[(Property::Comm, "^tusktop-(.*)$")], "{1} of {user}").unwrap();
        let rules = Rules::new(vec![short.children(true)], true);
        let mut watch = Self { sampler: sampler(), aggregate: Aggregate::new(Vec::new(), Arc::new(rules)) };
        watch.tick();
        watch.sampler.use_kernel(Tasks::load().unwrap()).unwrap();
        watch.tick();
        watch
    }

    fn tick(&mut self) -> Snapshot {
        self.aggregate.update(Timestamp::now(), pass(&mut self.sampler), PhpReading::Off)
    }

    /// CPU seconds, starts and ends of a group, summed over snapshots until they are enough. The last word on the CPU of a
    /// process may come a little later than its end.
    fn until(&mut self, group: &str, enough: impl Fn(f64, u32) -> bool) -> (f64, u32, u32) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut sum = (0.0, 0, 0);
        while !enough(sum.0, sum.2) {
            assert!(Instant::now() < deadline, "{sum:?}");
            let snapshot = self.tick();
            assert_eq!(snapshot.drops.events, 0);
            if let Some(group) = named(&snapshot, group) {
                sum.0 += group.cpu_ratio.unwrap_or(0.0) * snapshot.interval_ms as f64 / 1000.0;
                sum.1 += group.started.unwrap();
                sum.2 += group.ended.unwrap();
            }
            thread::sleep(Duration::from_millis(50));
        }
        sum
    }
}

fn named<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a Group> {
    snapshot.groups.iter().find(|group| &*group.name == name)
}

/// CPU seconds of all children of a process that were waited for: fields 16 and 17 of /proc/PID/stat, in hundredths.
fn children_cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let hundredths = |at: usize| fields[at - 3].parse::<f64>().unwrap() / 100.0;
    hundredths(16) + hundredths(17)
}

#[test]
#[ignore = "needs root"]
fn the_first_readings_of_the_iterator_go_on_where_proc_ended() {
    let mut busy = run("sh", &["-c", "while :; do :; done"]);
    let mut watch = Watch { sampler: sampler(), aggregate: Aggregate::default() };
    watch.tick();
    watch.sampler.use_kernel(Tasks::load().unwrap()).unwrap();
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(200));
        let snapshot = watch.tick();
        let cpus = f64::from(snapshot.host.cpus);
        let all: f64 = snapshot.processes.iter().filter_map(|process| process.cpu_ratio).sum();
        // Two hundredths that /proc left out, of each of some hundred processes, would be far more.
        assert!(all < cpus + 0.3, "{all}");
        let busy = snapshot.processes.iter().find(|process| process.pid == busy.0.id()).unwrap();
        assert!(busy.cpu_ratio.unwrap() > 0.2, "{busy:?}");
    }
    busy.0.kill().unwrap();
}

#[test]
#[ignore = "needs root"]
fn what_lived_between_two_passes_counts_with_its_cpu() {
    let mut watch = Watch::start();
    let mut shell = Shell::start("/bin/sh", "burn");
    watch.tick();
    let pid = shell.running.0.id();
    let before = children_cpu(pid);
    shell.repeat(200, "-c 'i=0; while [ $i -lt 4000 ]; do i=$((i+1)); done'");
    let used = children_cpu(pid) - before;
    assert!(used > 0.4, "the test has to burn something: {used}");
    let enough = |seconds: f64, ended| ended >= 200 && seconds >= used * 0.95;
    let (seconds, started, ended) = watch.until("burn of root", enough);
    assert_eq!((started, ended), (200, 200));
    assert!(seconds <= used * 1.05, "{seconds} seen, {used} used");
}

#[test]
#[ignore = "needs root"]
fn none_of_many_starts_is_lost() {
    let mut watch = Watch::start();
    let mut shell = Shell::start("/bin/true", "start");
    watch.tick();
    shell.repeat(1000, "");
    let (_, started, ended) = watch.until("start of root", |_, ended| ended >= 1000);
    assert_eq!((started, ended), (1000, 1000));
}

#[test]
#[ignore = "needs root"]
fn forks_without_exec_count_too() {
    let mut watch = Watch::start();
    let mut shell = Shell::start("/bin/sh", "fork");
    // A copy of the shell, and a copy of that one; all end before the next pass.
    shell.repeat(20, "-c '(read x; (read x); true) </dev/null; true'");
    let (_, started, ended) = watch.until("fork of root", |_, ended| ended >= 60);
    assert_eq!((started, ended), (60, 60));
}
