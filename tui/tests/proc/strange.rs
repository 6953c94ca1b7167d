//! Strange and hostile processes all at once, on fake proc trees: none of them changes what is said of the others.

use std::{
    fs,
    os::unix::fs::symlink,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use crate::fake_proc::{Fake, FakeProc, KTHREAD};
use jiff::Timestamp;
use proptest::prelude::*;
use tusktop::{
    aggregate::{Aggregate, PhpReading},
    collect::{Tick, proc::Sampler},
    model::{Group, Process, Snapshot},
    rules::{Rules, process_exporter},
};

/// Snapshots one second apart, grouped by comm.
struct Watched {
    sampler: Sampler,
    aggregate: Aggregate,
    at: Instant,
}

impl Watched {
    fn new(proc: &FakeProc) -> Self {
        let rules =
            process_exporter::rules("pe.yml", "process_names:\n- {name: '{{.Comm}}', comm: [plain]}\n").unwrap();
        let aggregate = Aggregate::new(Vec::new(), Arc::new(Rules::new(rules, true)));
        Self { sampler: proc.sampler(), aggregate, at: Instant::now() }
    }

    fn tick(&mut self) -> Snapshot {
        self.at += Duration::from_secs(1);
        let sample = self.sampler.pass(Tick { at: self.at });
        self.aggregate.update(Timestamp::UNIX_EPOCH, sample, PhpReading::Off)
    }
}

const PLAIN: std::ops::Range<u32> = 1000..1020;

fn plain(proc: &FakeProc, second: u64) {
    for pid in PLAIN {
        let cpu_ticks = second * u64::from(pid % 7);
        proc.process(pid, &Fake { comm: b"plain", cpu_ticks, rss_pages: u64::from(pid), ..Fake::default() });
    }
}

/// What is said of the plain processes: their group, and each of them without its place among all groups.
fn said(snapshot: &Snapshot) -> (Group, Vec<Process>) {
    let group = snapshot.groups.iter().find(|group| &*group.name == "plain").unwrap();
    let processes = snapshot.processes.iter().filter(|process| &*process.comm == "plain");
    (group.clone(), processes.map(|process| Process { group: 0, ..process.clone() }).collect())
}

/// What is said of them when they are alone, second by second.
fn alone(seconds: u64) -> Vec<(Group, Vec<Process>)> {
    let proc = FakeProc::new();
    plain(&proc, 0);
    let mut watched = Watched::new(&proc);
    (1..=seconds)
        .map(|second| {
            plain(&proc, second);
            said(&watched.tick())
        })
        .collect()
}

static TWO_SECONDS: LazyLock<Vec<(Group, Vec<Process>)>> = LazyLock::new(|| alone(2));

/// A file that cannot be read, for root neither.
fn unreadable(proc: &FakeProc, name: &str) {
    let _ = fs::remove_file(proc.path(name));
    symlink(proc.path(name), proc.path(name)).unwrap();
}

/// Every strange process at once; which one a pid is changes with the second.
fn strange(proc: &FakeProc, second: u64) {
    let comms: [&[u8]; 8] =
        [b"a b", b") R 1 (", b"((", b"n\nl", b"\x1b[2J\x1b]0;x\x07", b"\xff\xfe", b"", b"\xe2\x80\xaedlrow"];
    for (pid, comm) in (1..).zip(comms) {
        proc.process(pid, &Fake { comm, cmdline: b"\xff\xfe\x1b[2J\0\n\0\0b", ..Fake::default() });
    }
    proc.process(20, &Fake { cmdline: &[b'x'; 100_000], ..Fake::default() })
        .process(21, &Fake { cmdline: &[0; 100_000], ..Fake::default() })
        .process(22, &Fake { state: 'Z', cmdline: b"", rss_pages: 0, ..Fake::default() })
        .process(23, &Fake { comm: b"kworker/0:1-eve", flags: KTHREAD, cmdline: b"", ..Fake::default() })
        .process(24, &Fake { ppid: 24, ..Fake::default() })
        // Another process under the same pid in each second.
        .process(25, &Fake { start_ticks: 200_000 + second, cpu_ticks: 9000 - second, ..Fake::default() })
        .process(26, &Fake { cgroup: &"0::/x\n".repeat(20_000), ..Fake::default() })
        .process(27, &Fake { cgroup: "\u{1b}[2J\n:::\n0::relative\n", ..Fake::default() })
        .process(28, &Fake { start_ticks: u64::MAX, cpu_ticks: u64::MAX, rss_pages: u64::MAX, ..Fake::default() })
        .process(29, &Fake { rss_pages: u64::MAX, ..Fake::default() });
    for (pid, stat) in
        [(30, &b"garbage"[..]), (31, b""), (32, b"32 (torn) S 1"), (33, &[0xff; 5000]), (34, b"1 (x) S 1")]
    {
        proc.write(&format!("{pid}/stat"), stat);
    }
    for pid in 40..44 {
        proc.process(pid, &Fake::default());
    }
    unreadable(proc, "40/stat");
    unreadable(proc, "41/cmdline");
    unreadable(proc, "42/cgroup");
    let _ = fs::remove_file(proc.path("43/cmdline"));
    fs::create_dir_all(proc.path("43/cmdline")).unwrap();
    // One that ends between listing and reading, one that comes and goes.
    fs::create_dir_all(proc.path("50")).unwrap();
    match second % 2 {
        0 => drop(fs::remove_dir_all(proc.path("51"))),
        _ => drop(proc.process(51, &Fake::default())),
    }
}

/// Undoes what the next second could not write.
fn tidy(proc: &FakeProc) {
    for pid in 40..44 {
        fs::remove_dir_all(proc.path(&pid.to_string())).unwrap();
    }
}

#[test]
fn all_strange_processes_at_once_change_nothing_of_the_others() {
    const SECONDS: u64 = 12;
    let proc = FakeProc::new();
    plain(&proc, 0);
    let mut watched = Watched::new(&proc);
    for (second, expected) in (1..).zip(alone(SECONDS)) {
        plain(&proc, second);
        strange(&proc, second);
        let snapshot = watched.tick();
        assert_eq!(said(&snapshot), expected, "second {second}");
        let has = |start: &str| snapshot.notices.iter().any(|notice| notice.text.starts_with(start));
        assert!(has("1 process cannot be read") && has("the stat file of 5 processes"), "{:?}", snapshot.notices);
        // 8 names, 20 to 29, three whose details alone cannot be read, and 51 in each odd second.
        let others = snapshot.processes.iter().filter(|process| !PLAIN.contains(&process.pid)).count();
        assert_eq!(others, 8 + 10 + 3 + usize::from(second % 2 == 1), "second {second}");
        assert_eq!(snapshot.groups.iter().map(|group| group.processes as usize).sum::<usize>(), PLAIN.len() + others);
        tidy(&proc);
    }
}

#[test]
fn one_whose_details_cannot_be_read_is_in_the_group_of_what_is_known() {
    let proc = FakeProc::new();
    proc.process(7, &Fake { comm: b"nginx", ..Fake::default() });
    for file in ["7/cmdline", "7/cgroup"] {
        unreadable(&proc, file);
    }
    let snapshot = Watched::new(&proc).tick();
    assert_eq!(&*snapshot.groups[0].name, "nginx");
    assert_eq!((&*snapshot.processes[0].cmdline, snapshot.processes[0].unit.as_deref()), ("", None));
}

#[test]
fn details_that_cannot_be_read_any_more_stay_as_they_were() {
    let proc = FakeProc::new();
    proc.process(7, &Fake { cgroup: "0::/system.slice/d.service\n", ..Fake::default() });
    let mut watched = Watched::new(&proc);
    let first = watched.tick();
    for file in ["7/cmdline", "7/cgroup"] {
        unreadable(&proc, file);
    }
    for _ in 0..12 {
        let snapshot = watched.tick();
        let (now, then) = (&snapshot.processes[0], &first.processes[0]);
        assert_eq!((&now.cmdline, &now.unit, now.group), (&then.cmdline, &then.unit, then.group));
        assert_eq!(now.unit.as_deref(), Some("d.service"));
    }
}

#[test]
fn sizes_beyond_all_sense_are_kept_within_what_can_be_counted() {
    let proc = FakeProc::new();
    for pid in 1..4 {
        let most = u64::MAX;
        proc.process(pid, &Fake { comm: b"plain", rss_pages: most, cpu_ticks: most, ..Fake::default() });
    }
    let mut watched = Watched::new(&proc);
    watched.tick();
    let snapshot = watched.tick();
    assert_eq!(snapshot.groups[0].memory.rss_bytes, Some(u64::MAX));
    assert_eq!(snapshot.groups[0].cpu_ratio, Some(0.0));
}

#[test]
fn a_reused_pid_leaves_its_group_and_takes_nothing_with_it() {
    let proc = FakeProc::new();
    proc.process(7, &Fake { comm: b"plain", cpu_ticks: 5000, rss_pages: 500, ..Fake::default() });
    let mut watched = Watched::new(&proc);
    watched.tick();
    proc.process(7, &Fake { comm: b"nginx", start_ticks: 150, cpu_ticks: 9000, rss_pages: 3, ..Fake::default() });
    let snapshot = watched.tick();
    let group = &snapshot.groups[0];
    assert_eq!((snapshot.groups.len(), &*group.name, group.processes), (1, "nginx", 1));
    assert_eq!(group.memory.rss_bytes, Some(3 * rustix::param::page_size() as u64));
    assert_eq!(group.cpu_ratio, None, "what it used before is not what it used in this second");
}

#[test]
fn processes_that_a_root_hides_are_missed_and_said_to_be_missing() {
    let proc = FakeProc::new();
    proc.process(7, &Fake::default());
    let said = |snapshot: Snapshot| {
        let hidden = snapshot.notices.into_iter().find(|notice| notice.text.contains("of other users are hidden"));
        hidden.is_some_and(|notice| notice.hint.contains("hidepid"))
    };
    let mut watched = Watched::new(&proc);
    assert!(said(watched.tick()), "every proc root has a process 1");
    proc.process(1, &Fake::default());
    assert!(!said(watched.tick()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    // Its parent is none of the others: a child of theirs would rightly be in their group.
    #[test]
    fn no_bytes_in_the_files_of_one_change_what_is_said_of_the_others(
        stat in proptest::collection::vec(any::<u8>(), 0..200), cmdline in proptest::collection::vec(any::<u8>(), 0..200),
        cgroup in proptest::collection::vec(any::<u8>(), 0..200), ppid in 0_u32..1000, zombie: bool,
    ) {
        let proc = FakeProc::new();
        plain(&proc, 0);
        let mut watched = Watched::new(&proc);
        let mut expected = TWO_SECONDS.iter().cloned();
        let state = if zombie { 'Z' } else { 'R' };
        proc.process(7, &Fake { comm: &stat[..stat.len().min(15)], cmdline: &cmdline, ppid, state, ..Fake::default() });
        proc.write("7/cgroup", &cgroup);
        plain(&proc, 1);
        prop_assert_eq!(Some(said(&watched.tick())), expected.next());
        proc.write("7/stat", &stat);
        proc.write("8/stat", &stat);
        plain(&proc, 2);
        prop_assert_eq!(Some(said(&watched.tick())), expected.next());
    }
}
