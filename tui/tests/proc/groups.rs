//! Groups by the user's rules and by those of process-exporter, on fake proc trees: hostile names, late names, children, and
//! more groups than there is room for.

use std::{sync::Arc, time::Instant};

use crate::fake_proc::{Fake, FakeProc, KTHREAD};
use jiff::Timestamp;
use proptest::prelude::*;
use tusktop::{
    aggregate::{Aggregate, MAX_GROUPS, PhpReading},
    collect::{Tick, proc::Sampler},
    commands::groups,
    config::{self, Environment, SettingArgs},
    model::Snapshot,
    rules::{Rules, process_exporter},
};

/// The rules of a configuration file.
fn configured(text: &str) -> Result<Rules, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let arguments = SettingArgs { config: Some(file.path().into()), ..SettingArgs::default() };
    let rules = config::load(&arguments, &Environment::default()).and_then(|settings| settings.rules());
    rules.map_err(|error| error.to_string())
}

fn imported(text: &str) -> Rules {
    Rules::new(process_exporter::rules("pe.yml", text).unwrap(), true)
}

struct Watched {
    sampler: Sampler,
    aggregate: Aggregate,
}

impl Watched {
    fn new(proc: &FakeProc, rules: Rules) -> Self {
        Self { sampler: proc.sampler(), aggregate: Aggregate::new(Vec::new(), Arc::new(rules)) }
    }

    fn tick(&mut self) -> Snapshot {
        let sample = self.sampler.pass(Tick { at: Instant::now() });
        self.aggregate.update(Timestamp::UNIX_EPOCH, sample, PhpReading::Off)
    }
}

fn group(snapshot: &Snapshot, pid: u32) -> String {
    let process = snapshot.processes.iter().find(|process| process.pid == pid).unwrap();
    snapshot.groups[process.group].name.to_string()
}

fn groups_of<const N: usize>(snapshot: &Snapshot, pids: [u32; N]) -> [String; N] {
    pids.map(|pid| group(snapshot, pid))
}

#[test]
fn every_selector_and_every_part_of_a_name_works() {
    let rules = configured(
        r#"
[groups]
[[groups.rules]]
name = "unit {unit} {cgroup}"
unit = "shop@*.service"
[[groups.rules]]
name = "box {container}"
container = "*"
exe = ["/opt/*", "tool"]
[[groups.rules]]
name = "{pool} {1}{2} {who} {{x}} of {user}"
user = "root"
comm = "php-fpm*"
cmdline = ['pool (\w)(\w+)$', '^(?P<who>[^:]+)']
[[groups.rules]]
name = "below {cgroup}"
cgroup = "/below/*"
[[groups.rules]]
exe = "plain"
"#,
    )
    .unwrap();
    let id = "3f2a9c0d4e5b6a7880912233445566778899aabbccddeeff0011223344556677";
    let docker = format!("4:memory:/docker/{id}\n0::/\n");
    let proc = FakeProc::new();
    proc.process(1, &Fake { cgroup: "0::/system.slice/shop@1.service\n", ..Fake::default() })
        .process(2, &Fake { cmdline: b"/opt/x/y\0", cgroup: &docker, ..Fake::default() })
        .process(3, &Fake { cmdline: b"/bin/tool\0", cgroup: &docker, ..Fake::default() })
        .process(4, &Fake { cmdline: b"/bin/other\0", cgroup: &docker, ..Fake::default() })
        .process(5, &Fake { comm: b"php-fpm8.2", cmdline: b"php-fpm: pool www\0\0", ..Fake::default() })
        .process(6, &Fake { cgroup: "5:cpu:/\n0::/below/a b\n", ..Fake::default() })
        .process(7, &Fake { comm: b"x", cmdline: b"/usr/bin/plain\0-v\0", ..Fake::default() });
    let snapshot = Watched::new(&proc, rules).tick();
    assert_eq!(
        groups_of(&snapshot, [1, 2, 3, 4, 5, 6, 7]),
        [
            "unit shop@1.service /system.slice/shop@1.service",
            "box 3f2a9c0d4e5b",
            "box 3f2a9c0d4e5b",
            "container 3f2a9c0d4e5b",
            "www www php-fpm {x} of root",
            "below /below/a b",
            "plain",
        ]
    );
}

#[test]
fn strange_names_are_matched_as_text_and_take_nothing_down() {
    let rules = configured("[[groups.rules]]\nname = 'strange {comm}'\ncomm = ['a b', '((x) y', \"n\\nl\", \"\\u001b[2J\", '*\u{fffd}']\n[[groups.rules]]\nname = 'long'\ncmdline = 'yyyy$'\n").unwrap();
    let proc = FakeProc::new();
    let comms: [&[u8]; 6] = [b"a b", b"((x) y", b"n\nl", b"\x1b[2J", b"\xfe\xff", b") R 1"];
    for (pid, comm) in (10..).zip(comms) {
        proc.process(pid, &Fake { comm, cmdline: b"\xff\xfe\0\x1b]0;\x07\0", ..Fake::default() });
    }
    let long = [&[b'x'; 50_000][..], &[b'y'; 50_000]].concat();
    proc.process(20, &Fake { cmdline: &long, ..Fake::default() })
        .process(21, &Fake { comm: b"kthreadd", cmdline: b"", flags: KTHREAD, ..Fake::default() })
        .process(22, &Fake { state: 'Z', cmdline: b"", ..Fake::default() });
    let snapshot = Watched::new(&proc, rules).tick();
    assert_eq!(
        groups_of(&snapshot, [10, 11, 12, 13, 14, 15]),
        [
            "strange a b",
            "strange ((x) y",
            "strange n\nl",
            "strange \u{1b}[2J",
            "strange \u{fffd}\u{fffd}",
            "root processes"
        ]
    );
    // Of a command line the first 4 KiB count.
    assert_eq!(groups_of(&snapshot, [20, 21, 22]), ["root processes", "kernel threads", "root processes"]);
}

#[test]
fn a_late_name_is_tried_again_and_no_process_counts_twice() {
    let rules = "process_names:\n- name: 'pool {{.Matches.P}}'\n  cmdline: ['^php-fpm: pool (?P<P>.+)']\n- name: '{{.Comm}}'\n  comm: [worker]\n";
    let proc = FakeProc::new();
    let young = || Fake { comm: b"bash", start_ticks: 99_999, ..Fake::default() };
    proc.process(7, &young()).process(8, &young());
    let mut watched = Watched::new(&proc, imported(rules));
    assert_eq!(groups_of(&watched.tick(), [7, 8]), ["root processes", "root processes"]);
    proc.process(7, &Fake { cmdline: b"php-fpm: pool www\0", ..young() })
        .process(8, &Fake { comm: b"worker", ..young() });
    let snapshot = watched.tick();
    assert_eq!(groups_of(&snapshot, [7, 8]), ["pool www", "worker"]);
    assert_eq!(snapshot.groups.iter().map(|group| group.processes).sum::<u32>(), 2);
}

/// Parents after their children in order of pid, too.
fn family(proc: &FakeProc) {
    let child = |ppid, comm| Fake { ppid, comm, cmdline: b"x\0", ..Fake::default() };
    proc.process(1, &child(0, b"init"))
        .process(100, &child(1, b"parent"))
        .process(50, &child(100, b"a"))
        .process(200, &child(50, b"b"))
        .process(201, &child(200, b"own"))
        .process(202, &child(201, b"c"))
        .process(300, &child(1, b"stranger"))
        .process(301, &child(300, b"nginx"));
}

#[test]
fn children_follow_the_nearest_ancestor_that_a_rule_takes() {
    let proc = FakeProc::new();
    family(&proc);
    let rules = "process_names:\n- name: P\n  comm: [parent]\n- name: O\n  comm: [own]\n";
    let mut watched = Watched::new(&proc, imported(rules));
    let expected = ["P", "P", "P", "O", "O", "root processes", "nginx"];
    assert_eq!(groups_of(&watched.tick(), [100, 50, 200, 201, 202, 300, 301]), expected);
    // It was decided when they were new: the parent ends, and they stay where they are, also under another name.
    proc.end(100);
    proc.process(50, &Fake { ppid: 1, comm: b"renamed", cmdline: b"x\0", ..Fake::default() });
    // A new child of one that follows does so, too; a child of one that has no group of yours does not.
    proc.process(203, &Fake { ppid: 50, comm: b"d", ..Fake::default() });
    proc.process(302, &Fake { ppid: 300, comm: b"e", ..Fake::default() });
    let snapshot = watched.tick();
    assert_eq!(groups_of(&snapshot, [50, 200, 203, 302]), ["P", "P", "P", "root processes"]);
}

#[test]
fn children_follow_only_where_it_was_asked_for() {
    let proc = FakeProc::new();
    family(&proc);
    let mut text = "[[groups.rules]]\nname = 'P'\ncomm = 'parent'\n".to_owned();
    let snapshot = Watched::new(&proc, configured(&text).unwrap()).tick();
    assert_eq!(groups_of(&snapshot, [100, 50, 200]), ["P", "root processes", "root processes"]);
    text += "children = true\n[[groups.rules]]\nname = 'O'\ncomm = 'own'\n";
    let snapshot = Watched::new(&proc, configured(&text).unwrap()).tick();
    assert_eq!(groups_of(&snapshot, [50, 201, 202]), ["P", "O", "root processes"]);
}

#[test]
fn parents_in_a_circle_end_somewhere() {
    let proc = FakeProc::new();
    proc.process(7, &Fake { ppid: 8, ..Fake::default() }).process(8, &Fake { ppid: 7, ..Fake::default() });
    let snapshot = Watched::new(&proc, imported("process_names:\n- comm: [nobody]\n")).tick();
    assert_eq!(groups_of(&snapshot, [7, 8]), ["root processes", "root processes"]);
}

#[test]
fn groups_beyond_the_bound_share_one_and_a_notice_says_so() {
    let proc = FakeProc::new();
    let count = u32::try_from(MAX_GROUPS).unwrap() + 50;
    for pid in 1..=count {
        proc.process(pid, &Fake::default());
    }
    let mut watched = Watched::new(&proc, imported("process_names:\n- name: 'p{{.PID}}'\n  cmdline: [.]\n"));
    let snapshot = watched.tick();
    assert_eq!(snapshot.groups.len(), MAX_GROUPS + 1);
    let more = snapshot.groups.iter().find(|group| &*group.name == "more groups").unwrap();
    assert_eq!((more.processes, &*more.rule), (50, "limit"));
    assert!(snapshot.notices.iter().any(|notice| notice.text.starts_with("50 processes in `more groups`")));
    (1..=100).for_each(|pid| proc.end(pid));
    assert_eq!(watched.tick().groups.len(), MAX_GROUPS + 50 - 100, "what was in `more groups` has room now");
    for pid in 1..=100 {
        proc.process(pid + count, &Fake::default());
    }
    let snapshot = watched.tick();
    assert_eq!((snapshot.groups.len(), snapshot.processes.len()), (MAX_GROUPS + 1, count as usize));
}

#[test]
fn a_big_group_that_comes_late_is_listed_whatever_sleeps_there() {
    let proc = FakeProc::new();
    let count = u32::try_from(MAX_GROUPS).unwrap() + 50;
    for pid in 1..=count {
        proc.process(pid, &Fake::default());
    }
    let mut watched = Watched::new(&proc, imported("process_names:\n- name: 'p{{.PID}}'\n  cmdline: [.]\n"));
    watched.tick();
    let (big, busy) = (count + 1, count + 2);
    proc.process(big, &Fake { rss_pages: 100_000, ..Fake::default() });
    proc.process(busy, &Fake { rss_pages: 1, ..Fake::default() });
    watched.tick();
    proc.process(busy, &Fake { rss_pages: 1, cpu_ticks: 1, ..Fake::default() });
    let snapshot = watched.tick();
    assert_eq!(groups_of(&snapshot, [big, busy]), [format!("p{big}"), format!("p{busy}")]);
    assert_eq!(&*snapshot.groups[0].name, &*format!("p{big}"));
    assert_eq!(snapshot.groups.len(), MAX_GROUPS + 1);
    assert_eq!(snapshot.groups.iter().map(|group| group.processes).sum::<u32>(), busy, "each is counted once");
    assert!(snapshot.groups.is_sorted_by(|a, b| a.order() < b.order()));
    // A group is not exchanged for another one of the same size.
    let mut names = || watched.tick().groups.iter().map(|group| group.name.to_string()).collect::<Vec<_>>();
    assert!(names() == names());
}

#[test]
fn it_is_explained_which_rule_took_a_process_and_why_the_others_did_not() {
    let proc = FakeProc::new();
    family(&proc);
    let rules = Arc::new(imported("process_names:\n- name: P\n  comm: [parent]\n- name: O\n  comm: [own]\n"));
    let sample = proc.sampler().pass(Tick { at: Instant::now() });
    let own = groups::explain(&sample, &rules, 201).unwrap();
    assert_eq!((&*own.group, &*own.rule, own.follows.is_none()), ("O", "pe.yml:4", true));
    let tried: Vec<_> = own.tried.iter().map(|trial| (trial.takes, &*trial.reason)).collect();
    assert_eq!(tried, [(false, "comm is `own`, not `parent`"), (true, "comm is `own`")]);

    let follower = groups::explain(&sample, &rules, 200).unwrap();
    assert_eq!((&*follower.group, &*follower.rule, follower.follows.unwrap().pid), ("P", "pe.yml:2", 100));
    assert_eq!((follower.tried.len(), follower.tried.iter().any(|trial| trial.takes)), (2, false));

    let by_built_in = groups::explain(&sample, &rules, 301).unwrap();
    assert_eq!((&*by_built_in.group, by_built_in.tried.last().unwrap().takes), ("nginx", true));
    let error = groups::explain(&sample, &rules, 999).unwrap_err().to_string();
    assert!(error.starts_with("there is no process 999;"), "{error}");

    let report = groups::report(&sample, &rules);
    let listed = report.groups.iter().find(|entry| &*entry.group.name == "P").unwrap();
    assert_eq!((&*listed.pids, listed.following, &*listed.rules), (&[50, 100, 200][..], 2, &[0][..]));
    assert_eq!(report.rules.iter().map(|rule| rule.processes).sum::<usize>(), sample.processes.len());
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_first_of_the_users_rules_that_matches_wins(comms in proptest::collection::vec("[abc]\\*?", 1..8), comm in "[abc]{1,2}") {
        let text: String = comms.iter().enumerate()
            .map(|(place, comm)| format!("[[groups.rules]]\nname = 'rule {place}'\ncomm = '{comm}'\n")).collect();
        let first = comms.iter().position(|wanted| match wanted.strip_suffix('*') {
            Some(start) => comm.starts_with(start),
            None => *wanted == comm,
        });
        let proc = FakeProc::new();
        proc.process(7, &Fake { comm: comm.as_bytes(), ..Fake::default() });
        let found = group(&Watched::new(&proc, configured(&text).unwrap()).tick(), 7);
        prop_assert_eq!(found, first.map_or("root processes".to_owned(), |place| format!("rule {place}")));
    }

    #[test]
    fn any_bytes_of_a_process_have_one_group(
        comm in proptest::collection::vec(any::<u8>(), 0..16), cmdline in proptest::collection::vec(any::<u8>(), 0..300)
    ) {
        let proc = FakeProc::new();
        let cgroup = String::from_utf8_lossy(&cmdline).into_owned();
        proc.process(7, &Fake { comm: &comm, cmdline: &cmdline, cgroup: &cgroup, ..Fake::default() });
        let text = "process_names:\n- name: '{{.Comm}}{{.ExeBase}}{{.ExeFull}}{{.Cgroups}}{{.Matches}}'\n  cmdline: ['(?P<a>.)(.*)']\n";
        for rules in [imported(text), configured("[[groups.rules]]\nname = '{1}{cgroup}'\ncmdline = '(.)'\n").unwrap()] {
            let snapshot = Watched::new(&proc, rules).tick();
            prop_assert_eq!(snapshot.groups.len(), 1);
            prop_assert!(snapshot.groups[0].processes == 1 && snapshot.groups[0].name.chars().count() <= 200);
            prop_assert!(!snapshot.groups[0].name.is_empty());
        }
    }

    #[test]
    fn any_template_is_an_error_or_names_every_process(template in r"([{}]|comm|\{comm\}|\{1\}|\{unit\}|\{x\}|.){0,8}", pattern in r"[()?|*+a-c.\[\]]{0,10}") {
        let text = format!("[[groups.rules]]\nname = {}\ncmdline = {}\n", quoted(&template), quoted(&pattern));
        let proc = FakeProc::new();
        proc.process(7, &Fake { cmdline: b"abc\0", ..Fake::default() });
        match configured(&text) {
            Ok(rules) => prop_assert!(!group(&Watched::new(&proc, rules).tick(), 7).is_empty()),
            Err(error) => prop_assert!(error.contains(":2: name: {") || error.contains(":3: cmdline: bad regular"), "{}", error),
        }
    }
}
