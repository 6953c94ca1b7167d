//! Groups by a configuration of process-exporter are those of a real process-exporter on the same live processes.
//!
//! Both read the same files of the kernel. So what does not change between two scrapes has to be equal, and what only grows
//! has to lie between them: no tolerance is needed where a scrape before and one after enclose our pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::cast::{Cast, everyone};
use crate::exporter::{Exporter, Groups};
use crate::wait::wait_until;
use jiff::Timestamp;
use tusktop::{
    aggregate::{self, Aggregate, PhpReading},
    collect::{
        Tick,
        proc::{self, ProcessReading, ProcessSample, PssOptions, Sampler},
    },
    model::{Group, Snapshot},
    rules::{Rules, process_exporter},
};

/// The resident size of a process that sleeps does not change; the kernel may still count it again in batches of 32 pages
/// a CPU (`percpu_counter`, `lib/percpu_counter.c`), and take away pages of a file under pressure.
const RSS_PAGES: u64 = 32;
/// What a test of CPU time burns at least.
const BURN: Duration = Duration::from_millis(400);
/// process-exporter's seconds are sums of floating point numbers.
const CPU_ROUNDING: f64 = 1e-6;
/// Shares of a CPU are rounded to one part in 10 000, so they are off by half of that.
const RATIO_ROUNDING: f64 = 0.5e-4;

fn sampler() -> Sampler {
    Sampler::open("/proc".as_ref(), "/etc/passwd".as_ref(), Timestamp::now()).unwrap()
}

fn pass(sampler: &mut Sampler) -> ProcessSample {
    sampler.pass(Tick { at: Instant::now() })
}

fn rules(yaml: &str, children: bool) -> Arc<Rules> {
    let rules = process_exporter::rules("pe.yml", yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    Arc::new(Rules::new(rules.into_iter().map(|rule| rule.children(children)).collect(), true))
}

/// Groups that a rule of the file made.
fn imported(groups: &[Group]) -> BTreeMap<String, &Group> {
    groups
        .iter()
        .filter(|group| group.rule.starts_with("pe.yml:"))
        .map(|group| (group.name.to_string(), group))
        .collect()
}

/// tusktop's sampler and groups, tick by tick.
struct Ours {
    sampler: Sampler,
    aggregate: Aggregate,
    ticked: Option<Instant>,
}

impl Ours {
    fn new(yaml: &str, children: bool) -> Self {
        let aggregate = Aggregate::new(Vec::new(), rules(yaml, children));
        Self { sampler: sampler(), aggregate, ticked: None }
    }

    /// A snapshot, and the exact time since the previous one.
    fn tick(&mut self) -> (Snapshot, Duration) {
        let at = Instant::now();
        let since = at - self.ticked.replace(at).unwrap_or(at);
        let sample = self.sampler.pass(Tick { at });
        (self.aggregate.update(Timestamp::now(), sample, PhpReading::Off), since)
    }
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Waits until a process has used CPU for [`BURN`] from now on.
fn burn(pid: u32) {
    let until = cpu_ticks(pid) + BURN.as_millis() as u64 * rustix::param::clock_ticks_per_second() / 1000;
    wait_until(Duration::from_secs(60), || format!("{pid} burns"), || cpu_ticks(pid) >= until);
}

/// Compares the groups of the cast, which are `expected` (`TAG` is the tag) or have its tag in their name, with those of
/// process-exporter: first as they are, then the CPU time between two passes.
fn compare(cast: &Cast, burner: u32, yaml: &str, children: bool, expected: &[(&str, u32)]) {
    let context = format!("children {children}\n{yaml}");
    let expected: BTreeMap<String, u32> =
        expected.iter().map(|(name, count)| (name.replace("TAG", cast.tag()), *count)).collect();
    let known = |groups: Groups| -> Groups {
        groups.into_iter().filter(|(name, _)| expected.contains_key(name) || name.contains(cast.tag())).collect()
    };
    let exporter = Exporter::start(yaml, &[&format!("-children={children}"), "-gather-smaps=false"]);
    let mut ours = Ours::new(yaml, children);
    let scrape = || known(exporter.scrape());
    let before_first = scrape();
    let (first, _) = ours.tick();
    let after_first = scrape();
    burn(burner);
    let before_second = scrape();
    let (second, interval) = ours.tick();
    let after_second = scrape();

    let counts: BTreeMap<String, u32> =
        before_first.iter().map(|(name, group)| (name.clone(), group.processes)).collect();
    assert_eq!(counts, expected, "process-exporter's groups are the expected ones\n{context}");
    for (snapshot, theirs) in [(&first, &after_first), (&second, &after_second)] {
        let found = imported(&snapshot.groups);
        let counts: BTreeMap<String, u32> = found
            .iter()
            .filter(|(name, _)| theirs.contains_key(*name) || name.contains(cast.tag()))
            .map(|(name, group)| (name.clone(), group.processes))
            .collect();
        assert_eq!(counts, expected, "tusktop's groups are the expected ones\n{context}");
        for (name, theirs) in theirs {
            let group = found[name];
            assert_eq!(group.threads, theirs.threads, "threads of {name}\n{context}");
            assert_eq!(group.memory.swap_bytes, Some(theirs.swap_bytes), "swap of {name}\n{context}");
            let rss = group.memory.rss_bytes.unwrap();
            let least = RSS_PAGES * u64::from(group.processes) * rustix::param::page_size() as u64;
            assert!(rss.abs_diff(theirs.rss_bytes) <= least, "RSS of {name}: {rss}, {theirs:?}\n{context}");
        }
    }
    for (name, group) in imported(&second.groups) {
        if !expected.contains_key(&name) {
            continue;
        }
        let used = group.cpu_ratio.unwrap() * interval.as_secs_f64();
        let rounding = RATIO_ROUNDING * interval.as_secs_f64() + CPU_ROUNDING;
        let least = before_second[&name].cpu_seconds - after_first[&name].cpu_seconds - rounding;
        let most = after_second[&name].cpu_seconds - before_first[&name].cpu_seconds + rounding;
        assert!((least..=most).contains(&used), "CPU of {name}: {used} s, not {least} to {most}\n{context}");
    }
}

#[test]
#[ignore = "needs root and prometheus-process-exporter"]
fn the_default_configuration_makes_the_same_groups() {
    let (cast, burner) = everyone();
    let yaml = "process_names:\n  - name: \"{{.Comm}}\"\n    cmdline:\n    - '.+'\n";
    let long = format!("{}a-very-long-name", cast.tag());
    let expected = [
        ("TAGplain", 3),
        (&long[..15], 1),
        ("TAG) (x", 1),
        ("TAGsrv", 4),
        ("TAGvoid", 1),
        ("TAGuser", 1),
        ("TAGfam", 1),
        ("TAGown", 1),
        ("TAGmemory", 1),
        ("TAGburn", 1),
    ];
    for children in [true, false] {
        compare(&cast, burner, yaml, children, &expected);
    }
}

#[test]
#[ignore = "needs root and prometheus-process-exporter"]
fn selectors_captures_and_fields_make_the_same_groups() {
    let (cast, burner) = everyone();
    let yaml = r#"
process_names:
  - name: "TAG pool {{.Matches.Pool}}"
    comm: [TAGsrv, nothing]
    cmdline: ['^TAG: pool (?P<Pool>\S+)']
  - comm: [TAGsrv]
    cmdline: ['^TAG: ']
  - name: "{{.ExeFull}}"
    exe: [/opt/TAG/bin/server]
  - name: "TAG {{.Username}}"
    comm: [TAGuser]
  - name: "TAG empty"
    comm: []
  - exe: [TAGplain]
  - name: "{{.ExeBase}}:{{.Comm}}"
    exe: [/somewhere/TAGmemory, TAGmemory]
  - name: "TAG [{{index .Matches \"\"}}] {{.Matches.nope}}"
    cmdline: ['TAG(b)(u)rn', 'threads']
  - name: "TAG family"
    comm: [TAGfam]
"#
    .replace("TAG", cast.tag());
    let expected = [
        ("TAG pool blue", 2),
        ("fpm.conf)", 1),
        ("/opt/TAG/bin/server", 1),
        ("TAG nobody", 1),
        ("TAGplain", 3),
        ("TAGmemory:TAGmemory", 1),
        ("TAG [threads] <no value>", 1),
    ];
    let family = |count| [&expected[..], &[("TAG family", count)]].concat();
    compare(&cast, burner, &yaml, true, &family(4));
    compare(&cast, burner, &yaml, false, &family(1));
}

#[test]
#[ignore = "needs root and prometheus-process-exporter"]
fn children_stop_following_at_one_with_a_group_of_its_own() {
    let (cast, burner) = everyone();
    let yaml = "process_names:\n- {name: TAG f, comm: [TAGfam]}\n- {name: TAG o, comm: [TAGown]}\n- {name: TAG b, comm: [TAGburn]}\n"
        .replace("TAG", cast.tag());
    compare(&cast, burner, &yaml, true, &[("TAG f", 3), ("TAG o", 1), ("TAG b", 1)]);
    compare(&cast, burner, &yaml, false, &[("TAG f", 1), ("TAG o", 1), ("TAG b", 1)]);
}

#[test]
#[ignore = "needs root and prometheus-process-exporter"]
fn snap_agrees_with_it_as_well() {
    let (cast, burner) = everyone();
    let yaml = "process_names:\n- {name: '{{.Comm}}', cmdline: ['TAG']}\n".replace("TAG", cast.tag());
    let file = cast.folder().join("pe.yml");
    fs::write(&file, &yaml).unwrap();
    let exporter = Exporter::start(&yaml, &["-children=true", "-gather-smaps=false"]);
    let before = exporter.scrape();
    let output = Command::new(env!("CARGO_BIN_EXE_tusktop"))
        .args(["snap", "--no-php", "-d", "500ms", "--format", "json", "--process-exporter-config"])
        .arg(&file)
        .env_clear()
        .env("HOME", "/nonexistent")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let after = exporter.scrape();
    let snapshot: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
    let ours = imported(&snapshot.groups);
    assert_eq!(ours.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert_eq!(ours.len(), 9, "all of the cast but the one without a first argument");
    for (name, theirs) in &before {
        let group = ours[name];
        assert_eq!((group.processes, group.threads), (theirs.processes, theirs.threads), "{name}");
        let least = RSS_PAGES * u64::from(group.processes) * rustix::param::page_size() as u64;
        assert!(group.memory.rss_bytes.unwrap().abs_diff(theirs.rss_bytes) <= least, "{name}: {group:?} {theirs:?}");
        let interval = snapshot.interval_ms as f64 / 1000.0;
        let used = group.cpu_ratio.unwrap() * interval;
        // The interval is in whole milliseconds.
        let most = (after[name].cpu_seconds - theirs.cpu_seconds) * 1.01 + RATIO_ROUNDING * interval + CPU_ROUNDING;
        assert!(used <= most, "CPU of {name}: {used} s, more than {most}");
    }
    let burnt = ours[&format!("{}burn", cast.tag())].cpu_ratio.unwrap();
    assert!(burnt > 0.0 && cpu_ticks(burner) > 0, "{burnt}");
    let memory = ours[&format!("{}memory", cast.tag())].memory.rss_bytes.unwrap();
    assert!(memory > 50 << 20, "{memory}");
}

/// What is shared is divided among all that map it, and others that do come and go: this much of a process may change between
/// two readings.
const PSS_BYTES: u64 = 64 << 10;

#[test]
#[ignore = "needs root and prometheus-process-exporter"]
fn pss_of_groups_is_its_proportional_memory() {
    let (cast, _) = everyone();
    let yaml = "process_names:\n- {name: '{{.Comm}}', cmdline: ['TAG']}\n".replace("TAG", cast.tag());
    let exporter = Exporter::start(&yaml, &["-gather-smaps=true"]);
    // As much as is needed to read all in one pass.
    let much = Duration::from_secs(60);
    let pss = PssOptions { budget: 1.0, read_limit: much, allowance: much };
    let options = proc::Options { pss, ..proc::Options::default() };
    // All of it is read between two scrapes; how much one pass reads depends on how busy the machine is.
    let before = exporter.scrape();
    let mut sampler = Sampler::with(&options, Timestamp::now()).unwrap();
    let mut aggregate = Aggregate::new(Vec::new(), rules(&yaml, true));
    let mut snapshot = aggregate.update(Timestamp::now(), pass(&mut sampler), PhpReading::Off);
    wait_until(
        Duration::from_secs(60),
        || "the PSS of all processes is known".to_owned(),
        || {
            snapshot = aggregate.update(Timestamp::now(), pass(&mut sampler), PhpReading::Off);
            imported(&snapshot.groups).values().all(|group| group.memory.pss_bytes.is_some())
        },
    );
    let after = exporter.scrape();
    let ours = imported(&snapshot.groups);
    assert_eq!(ours.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for (name, theirs) in &before {
        let bounds = [theirs.pss_bytes.unwrap(), after[name].pss_bytes.unwrap()];
        let (least, most) = (bounds[0].min(bounds[1]), bounds[0].max(bounds[1]));
        let tolerance = least / 50 + PSS_BYTES * u64::from(theirs.processes);
        let bytes = ours[name].memory.pss_bytes.unwrap();
        assert!(bytes + tolerance >= least && bytes <= most + tolerance, "PSS of {name}: {bytes}, {least} to {most}");
    }
    let memory = format!("{}memory", cast.tag());
    assert!(ours[&memory].memory.pss_bytes.unwrap() > 50 << 20);
    let plain = ours[&format!("{}plain", cast.tag())];
    assert!(plain.memory.pss_bytes < plain.memory.rss_bytes, "what sleepers share counts once");
}

/// A process with all that could change its group: comm, command line, and whether it is a zombie.
type Identity = ((u32, u64), (Arc<str>, Arc<str>, bool));

fn identities(sample: &ProcessSample) -> Vec<Identity> {
    let identity = |process: &ProcessReading| -> Identity {
        let (comm, cmdline) = (Arc::clone(&process.details.comm), Arc::clone(&process.details.cmdline));
        ((process.pid, process.start_ticks), (comm, cmdline, process.state == 'Z'))
    };
    sample.processes.iter().map(identity).collect()
}

/// Processes and threads that this machine has started since its boot, `processes` of proc_stat(5).
fn started() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    stat.lines().find_map(|line| line.strip_prefix("processes ")).unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs root and prometheus-process-exporter"]
fn all_groups_of_this_machine_are_the_same_but_for_what_starts_and_ends_meanwhile() {
    let (cast, _) = everyone();
    let yaml = "process_names:\n  - name: \"{{.Comm}}\"\n    cmdline:\n    - '.+'\n";
    let rules = rules(yaml, true);
    // On a busy machine something starts in every attempt; then each one shows no more than its own bound.
    for _ in 0..20 {
        let (started_before, before) = (started(), identities(&pass(&mut sampler())));
        let exporter = Exporter::start(yaml, &["-gather-smaps=false"]);
        let theirs = exporter.scrape();
        let sample = pass(&mut sampler());
        let again = exporter.scrape();
        let (after, started_after) = (identities(&pass(&mut sampler())), started());

        let (groups, _, _) = aggregate::place(&sample, Arc::clone(&rules));
        let ours = imported(&groups);
        let moved = before.iter().filter(|one| !after.contains(one)).count()
            + after.iter().filter(|one| !before.contains(one)).count();
        let bound = moved as u64 + (started_after - started_before);
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let count = |name: &String| ours.get(name).map_or(0, |group| group.processes);
        let their_count = |name: &String| theirs.get(name).map_or(0, |group| group.processes);
        let different: u64 = names.iter().map(|name| u64::from(count(name).abs_diff(their_count(name)))).sum();
        assert!(different <= bound, "{different} processes are elsewhere, only {bound} moved");

        // Where nothing moved in a group and its size is the same in both scrapes, ours in between is that size, too.
        let mut compared = 0;
        for (name, theirs) in theirs.iter().filter(|(name, group)| again.get(*name) == Some(group)) {
            let Some(group) = ours.get(name).filter(|group| group.processes == theirs.processes) else { continue };
            if group.threads == theirs.threads && name.contains(cast.tag()) {
                let least = RSS_PAGES * u64::from(group.processes) * rustix::param::page_size() as u64;
                assert!(group.memory.rss_bytes.unwrap().abs_diff(theirs.rss_bytes) <= least, "{name}");
                compared += 1;
            }
        }
        // All of the cast but its burner, whose CPU time grows.
        assert!(compared >= 9, "{compared}");
        // What process-exporter starts for itself is all that was allowed for.
        if bound <= 20 {
            break;
        }
    }
}

#[test]
#[ignore = "needs root and prometheus-process-exporter"]
fn one_renamed_late_moves_here_and_stays_there() {
    let mut cast = Cast::new();
    let late = cast.late("late", &format!("{}: pool www", cast.tag()));
    let yaml = "process_names:\n- {name: 'TAG {{.Matches.Pool}}', cmdline: ['^TAG: pool (?P<Pool>\\S+)']}\n- {name: TAG early, cmdline: ['TAG']}\n"
        .replace("TAG", cast.tag());
    let exporter = Exporter::start(&yaml, &["-gather-smaps=false", "-recheck"]);
    let mut ours = Ours::new(&yaml, true);
    let (early, pool) = (format!("{} early", cast.tag()), format!("{} www", cast.tag()));
    assert_eq!(exporter.scrape()[&early].processes, 1);
    assert_eq!(imported(&ours.tick().0.groups)[&early].processes, 1);
    cast.take_title(late);
    assert_eq!(exporter.scrape().keys().collect::<Vec<_>>(), [&early], "it keeps the first name, also with -recheck");
    let snapshot = ours.tick().0;
    let groups = imported(&snapshot.groups);
    assert_eq!(groups.keys().collect::<Vec<_>>(), [&pool], "it moved at once");
    assert_eq!(groups[&pool].processes, 1, "and counts once");
}
