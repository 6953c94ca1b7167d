//! The sampler and the groups on fake proc trees: every strange process is read, counted or left out, and never takes
//! the rest down.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    time::{Duration, Instant},
};

use crate::fake_proc::{Fake, FakeProc, KTHREAD};
use jiff::Timestamp;
use tusktop::{
    aggregate::{Aggregate, PhpReading},
    collect::{
        Tick,
        proc::{CMDLINE_BYTES, ProcessReading, ProcessSample, Sampler},
    },
    model::{Process, Snapshot},
};

fn pass(sampler: &mut Sampler) -> ProcessSample {
    sampler.pass(Tick { at: Instant::now() })
}

fn only(sample: &ProcessSample) -> &ProcessReading {
    assert_eq!(sample.processes.len(), 1, "{sample:?}");
    &sample.processes[0]
}

fn pids(sample: &ProcessSample) -> Vec<u32> {
    sample.processes.iter().map(|process| process.pid).collect()
}

/// Snapshots one second apart, the way a session makes them.
struct Clock {
    sampler: Sampler,
    aggregate: Aggregate,
    start: Instant,
    seconds: u64,
}

impl Clock {
    fn new(proc: &FakeProc) -> Self {
        Self { sampler: proc.sampler(), aggregate: Aggregate::default(), start: Instant::now(), seconds: 0 }
    }

    fn tick(&mut self) -> Snapshot {
        self.seconds += 1;
        let sample = self.sampler.pass(Tick { at: self.start + Duration::from_secs(self.seconds) });
        self.aggregate.update(Timestamp::UNIX_EPOCH, sample, PhpReading::Off)
    }
}

fn process(snapshot: &Snapshot, pid: u32) -> &Process {
    snapshot.processes.iter().find(|process| process.pid == pid).unwrap()
}

fn group_of(snapshot: &Snapshot, pid: u32) -> &str {
    &snapshot.groups[process(snapshot, pid).group].name
}

#[test]
fn a_process_is_read_with_all_its_properties() {
    let proc = FakeProc::new();
    proc.process(7, &Fake { cgroup: "0::/system.slice/d.service\n", ..Fake::default() });
    let sample = pass(&mut proc.sampler());
    let reading = only(&sample);
    let page = u64::try_from(rustix::param::page_size()).unwrap();
    assert_eq!((reading.ppid, reading.threads, reading.rss_bytes), (1, 2, 10 * page));
    assert_eq!(reading.swap_bytes, Some(0), "no swap is in use, so none is this process's");
    assert_eq!((&*reading.details.comm, &*reading.details.cmdline), ("daemon", "/usr/sbin/daemon -f"));
    assert_eq!(&*reading.details.exe, "/usr/sbin/daemon");
    assert_eq!(reading.details.unit.as_deref(), Some("d.service"));
    // Booted at 4000 s, started one second later (100 ticks of 1/100 s).
    assert_eq!(reading.details.started_at, Some(Timestamp::UNIX_EPOCH + Duration::from_secs(4001)));
}

#[test]
fn names_of_any_bytes_are_kept_as_text() {
    let proc = FakeProc::new();
    let comms: [&[u8]; 6] = [b"a b", b") R 1 (", b"(x", b"line\nbreak", b"\x1b[2J", b"\xff\xfeok"];
    for (pid, comm) in (10..).zip(comms) {
        proc.process(pid, &Fake { comm, cmdline: b"\xff\x1b]0;x\x07\0b\0", ..Fake::default() });
    }
    let sample = pass(&mut proc.sampler());
    let read: Vec<&str> = sample.processes.iter().map(|process| &*process.details.comm).collect();
    assert_eq!(read, ["a b", ") R 1 (", "(x", "line\nbreak", "\x1b[2J", "\u{fffd}\u{fffd}ok"]);
    assert_eq!(&*sample.processes[0].details.cmdline, "\u{fffd}\x1b]0;x\x07 b");
}

#[test]
fn a_huge_command_line_is_cut() {
    let proc = FakeProc::new();
    proc.process(7, &Fake { cmdline: &[b'x'; 100_000], ..Fake::default() });
    assert_eq!(only(&pass(&mut proc.sampler())).details.cmdline.len(), CMDLINE_BYTES);
}

#[test]
fn what_ends_between_listing_and_reading_is_counted_and_the_rest_is_read() {
    let proc = FakeProc::new();
    proc.process(7, &Fake::default()).process(9, &Fake::default());
    fs::create_dir(proc.path("8")).unwrap();
    let sample = pass(&mut proc.sampler());
    assert_eq!((pids(&sample), sample.vanished), (vec![7, 9], 1));
}

#[test]
fn garbage_and_torn_stat_files_are_counted_and_the_rest_is_read() {
    let proc = FakeProc::new();
    proc.process(7, &Fake::default());
    for (pid, stat) in
        [(8, &b"garbage"[..]), (9, b""), (10, b"10 (torn) S 1 2"), (11, b"12 (other) S 1"), (12, &[0xff; 5000])]
    {
        proc.write(&format!("{pid}/stat"), stat);
    }
    let mut clock = Clock::new(&proc);
    let snapshot = clock.tick();
    assert_eq!(snapshot.processes.len(), 1);
    assert!(snapshot.notices.iter().any(|notice| notice.text.starts_with("the stat file of 5 processes")));

    proc.process(9, &Fake::default());
    assert_eq!(clock.tick().processes.len(), 2, "a file that becomes readable is read");
}

#[test]
fn an_unreadable_process_is_noticed_and_the_rest_is_read() {
    let proc = FakeProc::new();
    proc.process(7, &Fake::default());
    // A stat that cannot be opened, for root too: a loop of symbolic links.
    fs::create_dir(proc.path("8")).unwrap();
    std::os::unix::fs::symlink("stat", proc.path("8/stat")).unwrap();
    let mut clock = Clock::new(&proc);
    let snapshot = clock.tick();
    assert_eq!(snapshot.processes.len(), 1);
    let notice = snapshot.notices.iter().find(|notice| notice.text.starts_with("1 process cannot be read")).unwrap();
    assert!(notice.hint.contains("hidepid"));
}

#[test]
fn missing_details_leave_the_process_in_place() {
    let proc = FakeProc::new();
    proc.process(7, &Fake::default());
    fs::remove_file(proc.path("7/cmdline")).unwrap();
    fs::remove_file(proc.path("7/cgroup")).unwrap();
    let sample = pass(&mut proc.sampler());
    let details = &only(&sample).details;
    assert_eq!((&*details.cmdline, details.unit.as_deref()), ("", None));
}

#[test]
fn a_reused_pid_is_another_process() {
    let proc = FakeProc::new();
    proc.process(7, &Fake { cpu_ticks: 5000, ..Fake::default() });
    let mut clock = Clock::new(&proc);
    clock.tick();
    proc.process(7, &Fake { comm: b"new", cmdline: b"new\0", start_ticks: 100_050, cpu_ticks: 50, ..Fake::default() });
    let snapshot = clock.tick();
    assert_eq!((&*process(&snapshot, 7).comm, &*process(&snapshot, 7).cmdline), ("new", "new"));
    // It started after the first pass (uptime 1000 s), so all of its CPU belongs to this second.
    assert_eq!(process(&snapshot, 7).cpu_ratio, Some(0.5));
}

#[test]
fn a_reused_pid_with_the_same_name_but_an_older_start_has_no_rate() {
    let proc = FakeProc::new();
    proc.process(7, &Fake { cpu_ticks: 10, ..Fake::default() });
    let mut clock = Clock::new(&proc);
    clock.tick();
    proc.process(7, &Fake { start_ticks: 101, cpu_ticks: 500, ..Fake::default() });
    assert_eq!(process(&clock.tick(), 7).cpu_ratio, None);
}

#[test]
fn rates_come_with_the_second_snapshot() {
    let proc = FakeProc::new();
    proc.process(7, &Fake::default()).process(8, &Fake::default());
    let mut clock = Clock::new(&proc);
    let first = clock.tick();
    assert_eq!((first.system.cpu_ratio, first.groups[0].cpu_ratio, first.interval_ms), (None, None, 0));
    proc.process(7, &Fake { cpu_ticks: 150, ..Fake::default() }).process(8, &Fake { cpu_ticks: 25, ..Fake::default() });
    proc.write("stat", b"cpu  150 0 100 850 0 0 0 0 0 0\n");
    let second = clock.tick();
    assert_eq!((second.interval_ms, second.system.cpu_ratio), (1000, Some(0.5)));
    assert_eq!(process(&second, 7).cpu_ratio, Some(1.5));
    assert_eq!(second.groups[0].cpu_ratio, Some(1.75));
}

#[test]
fn kernel_threads_and_zombies_have_no_memory_and_are_counted() {
    let proc = FakeProc::new();
    proc.process(
        2,
        &Fake { comm: b"kthreadd", cmdline: b"", ppid: 0, flags: KTHREAD, rss_pages: 0, ..Fake::default() },
    );
    proc.process(
        3,
        &Fake { comm: b"kworker/0:1-eve", cmdline: b"", ppid: 2, flags: KTHREAD, rss_pages: 0, ..Fake::default() },
    );
    proc.process(9, &Fake { state: 'Z', cmdline: b"", rss_pages: 0, ..Fake::default() });
    let snapshot = Clock::new(&proc).tick();
    assert_eq!((group_of(&snapshot, 2), group_of(&snapshot, 3)), ("kernel threads", "kernel threads"));
    assert_eq!(&*process(&snapshot, 3).comm, "kworker/0:1");
    assert_eq!((process(&snapshot, 9).state, process(&snapshot, 9).memory.rss_bytes), ('Z', Some(0)));
}

#[test]
fn a_zombie_stays_in_the_group_of_its_life() {
    let proc = FakeProc::new();
    let worker = || Fake { comm: b"php-fpm8.2", cmdline: b"php-fpm: pool www\0\0\0\0", ..Fake::default() };
    proc.process(7, &worker());
    let mut clock = Clock::new(&proc);
    assert_eq!(group_of(&clock.tick(), 7), "php-fpm: www");
    proc.process(7, &Fake { state: 'Z', cmdline: b"", ..worker() });
    for _ in 0..20 {
        assert_eq!(group_of(&clock.tick(), 7), "php-fpm: www");
    }
}

#[test]
fn a_worker_that_sets_its_title_late_moves_to_its_pool() {
    let proc = FakeProc::new();
    let master = b"php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)\0";
    let worker = || Fake {
        comm: b"php-fpm8.2",
        start_ticks: 99_999,
        cgroup: "0::/system.slice/php8.2-fpm.service\n",
        ..Fake::default()
    };
    proc.process(7, &Fake { cmdline: master, ..worker() });
    let mut clock = Clock::new(&proc);
    assert_eq!(group_of(&clock.tick(), 7), "php-fpm: master");
    proc.process(7, &Fake { cmdline: b"php-fpm: pool www\0\0\0\0\0\0\0", ..worker() });
    assert_eq!(group_of(&clock.tick(), 7), "php-fpm: www");
}

#[test]
fn a_process_that_runs_another_program_moves_at_once() {
    let proc = FakeProc::new();
    proc.process(7, &Fake { comm: b"sh", cmdline: b"sh\0", ..Fake::default() });
    let mut clock = Clock::new(&proc);
    assert_eq!(group_of(&clock.tick(), 7), "root processes");
    proc.process(7, &Fake { comm: b"nginx", cmdline: b"nginx: master process\0", ..Fake::default() });
    assert_eq!(group_of(&clock.tick(), 7), "nginx");
}

#[test]
fn an_old_process_is_read_again_in_rotation() {
    let proc = FakeProc::new();
    for pid in 1..=100 {
        proc.process(pid, &Fake::default());
    }
    let mut clock = Clock::new(&proc);
    clock.tick();
    for pid in 1..=100 {
        proc.process(pid, &Fake { cmdline: b"php-fpm: pool www\0", ..Fake::default() });
    }
    let moved = |snapshot: &Snapshot| {
        snapshot.processes.iter().filter(|process| &*process.cmdline == "php-fpm: pool www").count()
    };
    let counts: Vec<usize> = (0..7).map(|_| moved(&clock.tick())).collect();
    assert!(counts[0] < 100 && counts.is_sorted(), "{counts:?}");
    assert_eq!(counts[6], 100);
}

#[test]
fn processes_that_come_and_go_are_followed() {
    let proc = FakeProc::new();
    let mut sampler = proc.sampler();
    assert_eq!(pids(&pass(&mut sampler)), Vec::<u32>::new());
    proc.process(30, &Fake::default()).process(4, &Fake::default());
    assert_eq!(pids(&pass(&mut sampler)), [4, 30]);
    proc.end(4);
    proc.process(5, &Fake::default()).process(100, &Fake::default());
    // On a real procfs the kept descriptor of an ended process answers ESRCH; here its folder is not listed.
    assert_eq!(pids(&pass(&mut sampler)), [5, 30, 100]);
}

#[test]
fn other_entries_of_proc_are_no_processes() {
    let proc = FakeProc::new();
    for name in ["self/stat", "1a/stat", "-1/stat", "99999999999/stat", "sys/stat"] {
        proc.write(name, b"1 (x) S 1");
    }
    let sample = pass(&mut proc.sampler());
    assert!(sample.processes.is_empty());
    assert_eq!((sample.vanished, sample.malformed, sample.refused), (0, 0, 0));
}

#[test]
fn swap_in_use_is_read_per_process_and_unknown_where_it_cannot_be() {
    let proc = FakeProc::new();
    let meminfo = fs::read_to_string(proc.path("meminfo")).unwrap().replace("SwapTotal: 0", "SwapTotal: 100");
    proc.write("meminfo", meminfo.as_bytes());
    proc.process(7, &Fake::default()).process(8, &Fake { comm: b"nginx", ..Fake::default() });
    proc.write("7/status", b"Name:\tdaemon\nVmSwap:\t      12 kB\nThreads:\t2\n");
    let snapshot = Clock::new(&proc).tick();
    assert_eq!(snapshot.system.swap_used_bytes, Some(100 * 1024));
    assert_eq!(process(&snapshot, 7).memory.swap_bytes, Some(12 * 1024));
    assert_eq!(process(&snapshot, 8).memory.swap_bytes, None);
    let group = |pid| snapshot.groups[process(&snapshot, pid).group].memory.swap_bytes;
    assert_eq!((group(7), group(8)), (Some(12 * 1024), None));
    assert!(snapshot.notices.iter().any(|notice| notice.text.starts_with("swap of 1 process")));
}

#[test]
fn a_root_that_is_not_there_is_an_error_that_names_it() {
    let error = Sampler::open("/nonexistent".as_ref(), "/etc/passwd".as_ref(), Timestamp::UNIX_EPOCH).unwrap_err();
    assert!(error.to_string().starts_with("cannot open /nonexistent: "), "{error}");
}

#[test]
fn sums_of_groups_are_sums_of_their_processes_and_names_are_unique() {
    let proc = FakeProc::new();
    let cmdlines: [&[u8]; 5] = [b"php-fpm: pool a\0", b"php-fpm: pool b\0", b"mysqld\0", b"node_exporter\0", b"sh\0"];
    for pid in 1..=50 {
        let cmdline = cmdlines[pid as usize % 5];
        proc.process(pid, &Fake { cmdline, rss_pages: u64::from(pid) * 3, ..Fake::default() });
    }
    let snapshot = Clock::new(&proc).tick();
    for (place, group) in snapshot.groups.iter().enumerate() {
        let members = || snapshot.processes.iter().filter(|process| process.group == place);
        assert_eq!(group.processes as usize, members().count());
        assert_eq!(group.threads, members().map(|process| process.threads).sum::<u32>());
        assert_eq!(group.memory.rss_bytes, members().map(|process| process.memory.rss_bytes).sum());
        assert_eq!(snapshot.groups.iter().filter(|other| other.name == group.name).count(), 1);
    }
    assert!(snapshot.groups.is_sorted_by_key(|group| std::cmp::Reverse(group.memory.rss_bytes)));
    assert_eq!(snapshot.groups.iter().map(|group| group.processes).sum::<u32>(), 50);
}

#[test]
fn groups_of_ended_processes_are_forgotten_and_equal_ones_ordered_by_name() {
    let proc = FakeProc::new();
    proc.process(1, &Fake { comm: b"nginx", ..Fake::default() }).process(2, &Fake { comm: b"cron", ..Fake::default() });
    let mut clock = Clock::new(&proc);
    let names = |snapshot: Snapshot| snapshot.groups.iter().map(|group| group.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(clock.tick()), ["cron", "nginx"]);
    proc.end(2);
    assert_eq!(names(clock.tick()), ["nginx"]);
    proc.process(3, &Fake { comm: b"atd", ..Fake::default() });
    assert_eq!(names(clock.tick()), ["atd", "nginx"]);
    proc.process(4, &Fake { comm: b"cron", ..Fake::default() });
    assert_eq!(names(clock.tick()), ["atd", "cron", "nginx"]);
    proc.end(3);
    assert_eq!(names(clock.tick()), ["cron", "nginx"]);
}

#[test]
fn php_that_gives_itself_a_title_stays_in_the_group_of_its_script() {
    let proc = FakeProc::new();
    let php = |cmdline| Fake { comm: b"worker", cmdline, ..Fake::default() };
    proc.process(7, &php(b"/usr/bin/php\0/srv/artisan\0--env=prod\0queue:work\0"));
    proc.process(8, &php(b"consumer of mails\0"));
    for pid in [7, 8] {
        std::os::unix::fs::symlink("/usr/bin/php8.2", proc.path(&format!("{pid}/exe"))).unwrap();
    }
    let mut clock = Clock::new(&proc);
    let first = clock.tick();
    assert_eq!((group_of(&first, 7), group_of(&first, 8)), ("php: artisan queue:work", "php cli"));
    proc.process(7, &php(b"queue worker: job 17\0\0\0"));
    // Young processes are read again at the next passes.
    let titled = clock.tick();
    assert_eq!(&*process(&titled, 7).cmdline, "queue worker: job 17");
    assert_eq!(group_of(&titled, 7), "php: artisan queue:work");
    // Another program has another group.
    proc.process(7, &Fake { comm: b"daemon", ..Fake::default() });
    fs::remove_file(proc.path("7/exe")).unwrap();
    assert_eq!(group_of(&clock.tick(), 7), "root processes");
}

#[test]
fn a_snapshot_survives_its_json() {
    let proc = FakeProc::new();
    proc.process(7, &Fake { comm: b"\xff\x1b", ..Fake::default() });
    let snapshot = Clock::new(&proc).tick();
    let json = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
}

#[test]
fn this_machine_is_read_with_this_process_in_it() {
    let mut sampler = Sampler::open("/proc".as_ref(), "/etc/passwd".as_ref(), Timestamp::now()).unwrap();
    pass(&mut sampler);
    let sample = pass(&mut sampler);
    let own = sample.processes.iter().find(|process| Some(process.pid) == sample.own_pid).unwrap();
    assert_eq!(own.pid, std::process::id());
    assert!(own.rss_bytes > 0 && own.details.comm.starts_with("proc-"));
    let age = Timestamp::now().duration_since(own.details.started_at.unwrap());
    assert!(age.as_secs() < 600 && age.as_secs() >= -1, "{age:?}");
    let status = fs::metadata("/proc/self").unwrap();
    assert_eq!(&*own.details.user == "root", status.uid() == 0);
}

#[test]
fn real_processes_are_seen_and_gone_at_the_next_pass() {
    let mut sampler = Sampler::open("/proc".as_ref(), "/etc/passwd".as_ref(), Timestamp::now()).unwrap();
    let mut sees = |pid: u32| pids(&pass(&mut sampler)).contains(&pid);
    // More rounds than passes between two listings.
    for _ in 0..15 {
        assert!(sees(std::process::id()));
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let there = sees(child.id());
        let still_there = sees(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(there && still_there && !sees(child.id()));
    }
}
