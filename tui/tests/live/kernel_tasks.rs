//! The pass by the kernel's task iterator says what /proc says, and processes that live between two passes count. On the
//! real kernel, as root.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::cast::{Cast, copy_program};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tusktop::{
    aggregate::{Aggregate, PhpReading},
    collect::{
        Tick,
        inspect::Reader,
        proc::{Details, ProcessReading, ProcessSample, Pss, Sampler},
        tasks::Tasks,
    },
    model::{Group, ProcessKey, Snapshot},
    rules::{Property, Rule, Rules},
    words::secrets::Secrets,
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

/// How a reading by the iterator is not what /proc said of the same process before and after it; only what is the same in
/// both can be compared exactly.
fn difference(old: &ProcessReading, seen: Option<&ProcessReading>, new: &ProcessReading) -> Option<String> {
    let Some(seen) = seen else { return Some(format!("it is missing: {old:?}")) };
    // /proc rounds user and system time down to a hundredth each.
    let ticks = Duration::from_millis(20);
    let (least, most) = (old.rss_bytes.min(new.rss_bytes), old.rss_bytes.max(new.rss_bytes));
    let claims = [
        ("start", seen.start_ticks == old.start_ticks),
        ("parent", old.ppid != new.ppid || seen.ppid == old.ppid),
        ("names", names(old) != names(new) || names(seen) == names(old)),
        ("threads", old.threads != new.threads || seen.threads == old.threads),
        ("memory", (least.saturating_sub(MEMORY_APART)..=most + MEMORY_APART).contains(&seen.rss_bytes)),
        ("swap", old.swap_bytes != new.swap_bytes || seen.swap_bytes == old.swap_bytes),
        ("CPU", seen.cpu + ticks >= old.cpu && seen.cpu <= new.cpu + ticks + Duration::from_millis(5)),
    ];
    let wrong: Vec<&str> = claims.iter().filter(|(_, holds)| !holds).map(|(what, _)| *what).collect();
    (!wrong.is_empty()).then(|| format!("{wrong:?}: {seen:?}, between {old:?} and {new:?}"))
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
    let (done, burnt) = std::sync::mpsc::channel();
    let threads: Vec<_> = (0..5)
        .map(|_| {
            let (held, done) = (Arc::clone(&held), done.clone());
            thread::spawn(move || {
                let used = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
                while used() < Duration::from_millis(30) {}
                done.send(()).unwrap();
                let _ = held.lock().unwrap().recv();
            })
        })
        .collect();
    for _ in 0..5 {
        burnt.recv().unwrap();
    }

    // What changes and changes back between two passes of /proc differs by chance; not so in every round.
    let (mut proc, mut kernel) = (sampler(), by_kernel());
    let mut before = pass(&mut proc);
    let mut sample = pass(&mut kernel);
    let mut after = pass(&mut proc);
    let same = |old: &&ProcessReading, new: &&ProcessReading| old.start_ticks == new.start_ticks;
    let both = before.processes.iter().filter_map(|old| Some((old, find(&after, old.pid)?)));
    let both: Vec<_> = both.filter(|(old, new)| same(old, new)).collect();
    let compared = both.len();
    let mut different: Vec<_> = both
        .into_iter()
        .filter_map(|(old, new)| Some(((old.pid, old.start_ticks), difference(old, find(&sample, old.pid), new)?)))
        .collect();
    for _ in 0..10 {
        if different.is_empty() {
            break;
        }
        before = pass(&mut proc);
        sample = pass(&mut kernel);
        after = pass(&mut proc);
        different.retain_mut(|((pid, start_ticks), text)| {
            let of = |sample| find(sample, *pid).filter(|process| process.start_ticks == *start_ticks);
            let (Some(old), Some(new)) = (of(&before), of(&after)) else { return false };
            let now = difference(old, find(&sample, *pid), new);
            now.map(|now| *text = now).is_some()
        });
    }
    assert!(different.is_empty(), "{different:#?}");
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

#[test]
#[ignore = "needs root"]
fn a_process_whose_first_thread_has_ended_has_its_memory_its_command_line_and_its_name() {
    let mut cast = Cast::new();
    let pid = cast.without_first_thread("headless", 64);
    for (how, mut sampler) in [("/proc", sampler()), ("the iterator", by_kernel())] {
        for _ in 0..2 {
            let sample = pass(&mut sampler);
            let process = find(&sample, pid).unwrap();
            assert!(matches!(process.state, 'S' | 'R') && process.threads == 2, "{how}: {process:?}");
            assert!(process.rss_bytes > 64 << 20 && process.swap_bytes.is_some(), "{how}: {process:?}");
            assert!(process.details.cmdline.contains("use threads"), "{how}: {process:?}");
            assert!(process.details.comm.starts_with(cast.tag()), "{how}: {process:?}");
            assert!(!matches!(process.pss, Pss::Known(rollup, _) if rollup.pss_bytes == 0), "{how}: {process:?}");
        }
    }
    let mut reader = Reader::new("/proc".into(), Secrets::default());
    let key = ProcessKey { pid, start_ticks: None };
    let first = reader.inspect(key, None, true);
    let inspection = reader.inspect(first.process, Some(&first), true);
    assert!(!inspection.ended && inspection.arguments.is_ok() && inspection.exe.is_ok(), "{inspection:?}");
    let mapped = inspection.mappings.unwrap().total.rss;
    assert!(mapped > 64 << 20, "{mapped}");
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
            assert_eq!(snapshot.drops.processes, 0);
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

/// How much of the run time may be missing, in seconds: /proc/PID/stat leaves out up to two hundredths, and what a process
/// has run since the last tick of the scheduler is counted at the next one.
const RUN_TIME: f64 = 0.03;

/// Seconds that a process of one thread has run, by /proc/PID/schedstat.
fn run_time(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

#[test]
#[ignore = "needs root"]
fn the_first_readings_of_the_iterator_go_on_where_proc_ended() {
    let busy = run("sh", &["-c", "while :; do :; done"]);
    let pid = busy.0.id();
    let mut watch = Watch { sampler: sampler(), aggregate: Aggregate::default() };
    let (mut began, before_first) = (Instant::now(), run_time(pid));
    watch.tick();
    let after_first = run_time(pid);
    watch.sampler.use_kernel(Tasks::load().unwrap()).unwrap();
    let deadline = began + Duration::from_secs(60);
    let (mut ticks, mut before_last, mut seen) = (0, after_first, 0.0);
    while ticks < 4 || before_last - after_first < 0.2 {
        assert!(began < deadline, "{seen} s of {pid} are seen");
        thread::sleep(Duration::from_millis(200));
        before_last = run_time(pid);
        let since = std::mem::replace(&mut began, Instant::now());
        let snapshot = watch.tick();
        ticks += 1;
        let seconds = snapshot.interval_ms as f64 / 1000.0;
        let all: f64 = snapshot.processes.iter().filter_map(|process| process.cpu_ratio).sum();
        // Two hundredths that /proc left out, of each of some hundred processes, would be far more.
        let most = f64::from(snapshot.host.cpus) * since.elapsed().as_secs_f64() + 0.06;
        assert!(all * seconds < most, "{} of {most} s", all * seconds);
        seen += snapshot.processes.iter().find(|process| process.pid == pid).unwrap().cpu_ratio.unwrap() * seconds;
    }
    let (least, most) = (before_last - after_first, run_time(pid) - before_first);
    assert!(seen >= least * 0.99 - RUN_TIME && seen <= most * 1.01 + RUN_TIME, "{seen} s, {least} to {most} s");
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

/// The ring has room for some 5 000 of them, and `snap` reads processes twice.
#[test]
#[ignore = "needs root"]
fn a_long_snap_counts_more_starts_than_the_ring_holds() {
    let burst = "i=0; while [ $i -lt 9000 ]; do /bin/true; i=$((i+1)); done";
    let mut command = Command::new(env!("CARGO_BIN_EXE_tusktop"));
    command.args(["--no-php", "snap", "--format", "json", "--", "/bin/sh", "-c", burst]);
    let output = command.env("HOME", "/nonexistent").stdin(Stdio::null()).output().unwrap();
    // Standard output is the command's.
    let snapshot = Snapshot::read(&output.stderr).unwrap();
    let ended: u32 = snapshot.groups.iter().filter_map(|group| group.ended).sum();
    assert!(ended >= 9000 && snapshot.drops.processes == 0, "{ended} ended, {:?}", snapshot.drops);
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
