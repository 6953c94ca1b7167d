//! PSS and cgroups on fake proc trees: who is read, what is known without reading, and what is unknown and why.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::fake_proc::{Fake, FakeProc, KTHREAD};
use jiff::Timestamp;
use tusktop::{
    aggregate::{Aggregate, PhpReading},
    collect::{
        Tick,
        proc::{self, PssOptions, Sampler},
    },
    model::{Memory, Process, PssUnknown, Snapshot},
};

/// Snapshots as a session makes them, at times that the test says.
struct Clock {
    sampler: Sampler,
    aggregate: Aggregate,
    start: Instant,
}

impl Clock {
    fn new(proc: &FakeProc) -> Self {
        Self::with(proc, PssOptions::default())
    }

    fn with(proc: &FakeProc, pss: PssOptions) -> Self {
        let options = proc::Options {
            root: proc.path(""),
            passwd: proc.path("passwd"),
            pss,
            kernel: false,
            owners: Vec::new(),
            ..proc::Options::default()
        };
        let sampler = Sampler::with(&options, Timestamp::UNIX_EPOCH).unwrap();
        Self { sampler, aggregate: Aggregate::default(), start: Instant::now() }
    }

    fn at(&mut self, second: u64) -> Snapshot {
        let sample = self.sampler.pass(Tick { at: self.start + Duration::from_secs(second) });
        self.aggregate.update(Timestamp::UNIX_EPOCH, sample, PhpReading::Off)
    }
}

fn rollup(proc: &FakeProc, pid: u32, [pss, private, shared]: [u64; 3]) {
    let text = format!(
        "5600-7fff ---p 00000000 00:00 0 [rollup]\nRss: {} kB\nPss: {pss} kB\nPss_Dirty: 1 kB\nShared_Clean: {shared} kB\n\
         Shared_Dirty: 0 kB\nPrivate_Clean: 1 kB\nPrivate_Dirty: {} kB\nSwap: 0 kB\nSwapPss: 0 kB\n{}",
        private + shared,
        private - 1,
        if pss > 100 { "Pss_File: 70 kB\nPss_Shmem: 20 kB\n" } else { "" }
    );
    proc.write(&format!("{pid}/smaps_rollup"), text.as_bytes());
}

fn process(snapshot: &Snapshot, pid: u32) -> &Process {
    snapshot.processes.iter().find(|process| process.pid == pid).unwrap()
}

fn unknown(snapshot: &Snapshot, pid: u32) -> Option<PssUnknown> {
    let process = process(snapshot, pid);
    let Memory { pss_bytes, uss_bytes, shared_bytes, .. } = process.memory;
    let known = [pss_bytes, uss_bytes, shared_bytes].map(|bytes| bytes.is_some());
    assert_eq!(known, [process.pss_unknown.is_none(); 3], "what is unknown has a reason");
    process.pss_unknown
}

fn notice<'a>(snapshot: &'a Snapshot, text: &str) -> Option<&'a str> {
    snapshot.notices.iter().map(|notice| &*notice.text).find(|notice| notice.contains(text))
}

#[test]
fn pss_uss_and_shared_are_read_and_say_how_old_they_are() {
    let proc = FakeProc::new();
    proc.process(7, &Fake::default());
    rollup(&proc, 7, [300, 200, 400]);
    let mut clock = Clock::new(&proc);
    let expected = Memory {
        rss_bytes: process(&clock.at(0), 7).memory.rss_bytes,
        pss_bytes: Some(300 << 10),
        uss_bytes: Some(200 << 10),
        shared_bytes: Some(400 << 10),
        swap_bytes: Some(0),
        file_bytes: Some(70 << 10),
        shmem_bytes: Some(20 << 10),
        swap_pss_bytes: Some(0),
        pss_age_ms: Some(3000),
    };
    rollup(&proc, 7, [301, 201, 401]);
    let snapshot = clock.at(3);
    assert_eq!((process(&snapshot, 7).memory, unknown(&snapshot, 7)), (expected, None));
    let group = &snapshot.groups[0];
    assert_eq!((group.memory, group.footprint_bytes, group.pss_processes), (expected, Some(230 << 10), 1));
    let snapshot = clock.at(6);
    let memory = process(&snapshot, 7).memory;
    assert_eq!((memory.pss_bytes, memory.pss_age_ms), (Some(301 << 10), Some(0)));
}

#[test]
fn of_kernel_threads_and_zombies_it_is_known_that_they_have_none() {
    let proc = FakeProc::new();
    proc.process(2, &Fake { flags: KTHREAD, rss_pages: 0, ..Fake::default() });
    proc.process(3, &Fake { state: 'Z', rss_pages: 0, ..Fake::default() });
    let snapshot = Clock::with(&proc, PssOptions::off()).at(0);
    for pid in [2, 3] {
        let memory = process(&snapshot, pid).memory;
        assert_eq!(unknown(&snapshot, pid), None);
        assert_eq!((memory.pss_bytes, memory.uss_bytes, memory.pss_age_ms), (Some(0), Some(0), None));
    }
    assert_eq!(notice(&snapshot, "PSS"), None);
}

#[test]
fn garbage_makes_one_process_unknown_and_the_others_are_read() {
    let proc = FakeProc::new();
    proc.process(6, &Fake::default()).process(7, &Fake::default()).process(8, &Fake::default());
    rollup(&proc, 6, [3, 2, 4]);
    proc.write("7/smaps_rollup", b"Pss: \x1b[2J kB\nPrivate_Clean: 99999999999999999999 kB\n");
    proc.write("8/smaps_rollup", &[0xff; 9000]);
    let mut clock = Clock::new(&proc);
    let snapshot = clock.at(0);
    let of = |snapshot: &Snapshot| [6, 7, 8].map(|pid| unknown(snapshot, pid));
    assert_eq!(of(&snapshot), [None, Some(PssUnknown::Unsupported), Some(PssUnknown::Unsupported)]);
    assert!(notice(&snapshot, "PSS of 2 processes cannot be read").is_some(), "{:?}", snapshot.notices);
    rollup(&proc, 7, [3, 2, 4]);
    assert_eq!(of(&clock.at(59))[1], Some(PssUnknown::Unsupported), "it is asked for rarely");
    assert_eq!(of(&clock.at(61))[1], None);
}

#[test]
fn a_process_that_ends_between_two_readings_is_waited_for_and_no_error() {
    let proc = FakeProc::new();
    proc.process(6, &Fake::default()).process(7, &Fake::default()).process(8, &Fake::default());
    rollup(&proc, 6, [3, 2, 4]);
    rollup(&proc, 8, [3, 2, 4]);
    // The kernel answers so for a process that has given its memory back, but is not a zombie yet.
    proc.write("7/smaps_rollup", b"");
    let mut clock = Clock::new(&proc);
    let snapshot = clock.at(0);
    assert_eq!(unknown(&snapshot, 7), Some(PssUnknown::Waiting));
    // Its stat can still be read by the descriptor that is kept, but there is no file any more.
    for file in ["stat", "smaps_rollup"] {
        fs::remove_file(proc.path(&format!("8/{file}"))).unwrap();
    }
    let snapshot = clock.at(10);
    assert_eq!((unknown(&snapshot, 6), unknown(&snapshot, 8)), (None, None), "what was read is kept");
    assert_eq!(notice(&snapshot, "PSS"), None);
    assert_eq!(process(&snapshot, 8).memory.pss_age_ms, Some(10_000));
}

#[test]
fn a_kernel_without_the_file_is_asked_once() {
    let proc = FakeProc::new();
    for pid in 5..50 {
        proc.process(pid, &Fake::default());
    }
    let mut clock = Clock::new(&proc);
    let snapshot = clock.at(0);
    assert!((5..50).all(|pid| unknown(&snapshot, pid) == Some(PssUnknown::Unsupported)));
    assert!(notice(&snapshot, "PSS of 45 processes cannot be read").is_some());
    assert_eq!(snapshot.groups[0].footprint_bytes, snapshot.groups[0].memory.rss_bytes);
    rollup(&proc, 7, [3, 2, 4]);
    assert_eq!(unknown(&clock.at(1000), 7), Some(PssUnknown::Unsupported));
}

#[test]
fn without_a_budget_nothing_is_read() {
    let proc = FakeProc::new();
    proc.process(7, &Fake::default());
    rollup(&proc, 7, [3, 2, 4]);
    let snapshot = Clock::with(&proc, PssOptions::off()).at(0);
    assert_eq!((unknown(&snapshot, 7), notice(&snapshot, "PSS")), (Some(PssUnknown::Off), None));
}

#[test]
fn a_pid_that_is_used_again_has_none_of_the_old_values() {
    let proc = FakeProc::new();
    proc.process(7, &Fake::default());
    rollup(&proc, 7, [300, 200, 400]);
    let mut clock = Clock::new(&proc);
    assert_eq!(unknown(&clock.at(0), 7), None);
    proc.process(7, &Fake { start_ticks: 200, ..Fake::default() });
    proc.write("7/smaps_rollup", b"");
    assert_eq!(unknown(&clock.at(1), 7), Some(PssUnknown::Waiting));
}

#[test]
fn within_a_small_budget_the_biggest_is_read_first_and_each_gets_its_turn() {
    let proc = FakeProc::new();
    for (pid, rss_pages) in [(5, 10), (6, 4000), (7, 300)] {
        proc.process(pid, &Fake { rss_pages, ..Fake::default() });
        rollup(&proc, pid, [3, 2, 4]);
    }
    // Any reading costs more than the microsecond that is earned at most: no pass reads more than one.
    let pss = PssOptions { allowance: Duration::from_nanos(1), budget: 1e-6, ..PssOptions::default() };
    let mut clock = Clock::with(&proc, pss);
    let mut order = Vec::new();
    for pass in 0..100 {
        let snapshot = clock.at(pass * 100);
        let known = [5, 6, 7].into_iter().filter(|&pid| unknown(&snapshot, pid).is_none());
        let new: Vec<u32> = known.filter(|pid| !order.contains(pid)).collect();
        assert!(new.len() <= 1, "{new:?}");
        order.extend(new);
        let ages = snapshot.processes.iter().map(|process| process.memory.pss_age_ms);
        assert_eq!(snapshot.groups[0].memory.pss_age_ms, ages.max().unwrap(), "a sum is as old as its oldest part");
    }
    assert_eq!(order, [6, 7, 5]);
}

#[test]
fn what_would_take_too_long_is_not_read_and_its_rss_counts() {
    let proc = FakeProc::new();
    proc.process(5, &Fake { comm: b"huge\x1b[2J", rss_pages: 50_000_000, ..Fake::default() });
    proc.process(6, &Fake::default());
    for pid in [5, 6] {
        rollup(&proc, pid, [3, 2, 4]);
    }
    let mut clock = Clock::new(&proc);
    for second in 0..100 {
        let snapshot = clock.at(second * 100);
        assert_eq!((unknown(&snapshot, 5), unknown(&snapshot, 6)), (Some(PssUnknown::TooExpensive), None));
        assert!(notice(&snapshot, "PSS of 1 process is too expensive").is_some_and(|text| text.contains("(5)")));
        let group = &snapshot.groups[0];
        let rss = process(&snapshot, 5).memory.rss_bytes.unwrap();
        assert_eq!((group.memory.pss_bytes, group.footprint_bytes), (None, Some(rss + (3 << 10))));
    }
}

#[test]
fn pages_of_files_are_no_memory_that_is_in_use_also_before_pss_is_read() {
    const MIB: u64 = 1 << 20;
    let proc = FakeProc::new();
    proc.process(5, &Fake { rss_pages: 50_000_000, ..Fake::default() });
    rollup(&proc, 5, [3, 2, 4]);
    let rss = 50_000_000 * rustix::param::page_size() as u64;
    for (status, file) in [
        ("RssAnon:\t 1 kB\nRssFile:\t    3072 kB\nRssShmem:\t    1024 kB\n", Some(3 * MIB)),
        ("RssFile:\t 18446744073709551615 kB\nRssShmem:\t 0 kB\n", None),
        ("Name:\tx\n", None),
    ] {
        proc.write("5/status", status.as_bytes());
        let snapshot = Clock::new(&proc).at(0);
        assert_eq!(unknown(&snapshot, 5), Some(PssUnknown::TooExpensive));
        let memory = &process(&snapshot, 5).memory;
        assert_eq!((memory.rss_bytes, memory.file_bytes), (Some(rss), file), "{status}");
        assert_eq!(snapshot.groups[0].footprint_bytes, Some(rss - file.unwrap_or(0)));
    }
}

#[test]
fn a_group_has_a_cgroup_when_all_of_it_is_in_that_one() {
    let proc = FakeProc::new();
    let point = proc.path("sys").display().to_string();
    proc.write("self/mountinfo", format!("42 31 0:38 / {point} rw - cgroup2 cgroup2 rw\n").as_bytes());
    proc.write("sys/a.slice/memory.max", b"4096000\n");
    proc.write("sys/a.slice/x/memory.max", b"max\n");
    proc.write("sys/a.slice/x/memory.current", b"4096\n");
    let fake = |comm: &'static [u8], cgroup| Fake { comm, cmdline: b"x", cgroup, ..Fake::default() };
    proc.process(5, &fake(b"nginx", "0::/a.slice/x\n")).process(6, &fake(b"nginx", "0::/a.slice/x\n"));
    proc.process(7, &fake(b"cron", "0::/a.slice/x\n")).process(8, &fake(b"cron", "0::/other\n"));
    proc.process(9, &fake(b"sshd", "0::/\n"));
    let snapshot = Clock::new(&proc).at(0);
    let cgroup = |name: &str| {
        let group = snapshot.groups.iter().find(|group| &*group.name == name).unwrap();
        group.cgroup.map(|index| &snapshot.cgroups[index])
    };
    let nginx = cgroup("nginx").unwrap();
    assert_eq!(
        (&*nginx.path, nginx.memory_current_bytes, nginx.memory_max_bytes),
        ("/a.slice/x", Some(4096), Some(4_096_000))
    );
    assert_eq!((cgroup("cron"), cgroup("sshd")), (None, None));
    assert_eq!(snapshot.cgroups.len(), 2);
    assert_eq!(process(&snapshot, 8).cgroup.map(|index| &*snapshot.cgroups[index].path), Some("/other"));
}
