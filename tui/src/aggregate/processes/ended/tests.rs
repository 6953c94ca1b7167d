//! Samples in, groups out: each end counts once, in the right group, with the CPU that no pass has seen.

use std::{collections::HashMap, sync::LazyLock};

use super::*;
use crate::{
    collect::proc::{LastSight, Machine, ProcessReading, ProcessSample, Pss},
    model::{Group, Host, PssUnknown},
    rules::{Property, Rule, Rules},
};

/// Seconds between samples.
const INTERVAL: u64 = 10;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn details(pid: u32, comm: &str) -> Details {
    Details {
        pid,
        comm: comm.into(),
        exe: "".into(),
        cmdline: "".into(),
        php: false,
        script: None,
        pool: None,
        user: "root".into(),
        unit: None,
        container: None,
        cgroups: Arc::default(),
        memory_cgroup: None,
        kernel_thread: false,
        started_at: None,
    }
}

fn living(pid: u32, start_ticks: u64, seconds: u64, details: Details) -> ProcessReading {
    let cpu = Duration::from_secs(seconds);
    ProcessReading {
        pid,
        ppid: 1,
        start_ticks,
        state: 'S',
        threads: 1,
        cpu,
        cpu_base: cpu,
        rss_bytes: 1,
        rss_parts: None,
        disk: None,
        swap_bytes: Some(0),
        pss: Pss::Unknown(PssUnknown::Off),
        cgroup: None,
        details: Arc::new(details),
    }
}

fn end(pid: u32, start_ticks: u64, seconds: u64, comm: &str) -> EndedReading {
    let last = Some(LastSight { ppid: 1, signal: None, details: details(pid, comm) });
    EndedReading { pid, start_ticks, cpu: Duration::from_secs(seconds), last }
}

fn freed(pid: u32, start_ticks: u64, seconds: u64) -> EndedReading {
    EndedReading { pid, start_ticks, cpu: Duration::from_secs(seconds), last: None }
}

/// The sample number `at`; every tenth of a second is ten ticks.
fn sample(at: u64, processes: Vec<ProcessReading>, ended: Vec<EndedReading>) -> ProcessSample {
    let host = Host { cpus: 64, ..Host::default() };
    ProcessSample {
        at: Some(*START + Duration::from_secs(at * INTERVAL)),
        machine: Machine { uptime_ticks: Some(at * INTERVAL * 100 + 1000), host, ..Machine::default() },
        processes,
        ended: Some(ended),
        ..ProcessSample::default()
    }
}

/// CPU seconds, starts and ends of each group in one sample.
fn sums(aggregate: &mut ProcessAggregate, sample: &ProcessSample) -> Vec<(String, f64, u32, u32)> {
    let sum = |group: &Group| {
        let seconds = (group.cpu_ratio.unwrap_or(0.0) * INTERVAL as f64 * 1000.0).round() / 1000.0;
        (group.name.to_string(), seconds, group.started.unwrap(), group.ended.unwrap())
    };
    let mut sums: Vec<_> = aggregate.update(sample, &HashMap::new()).groups.iter().map(sum).collect();
    sums.sort_by(|a, b| a.0.cmp(&b.0));
    sums
}

fn by_comm() -> ProcessAggregate {
    let rule = Rule::new("comm", &[(Property::Comm, "^(.*)$")], "{1}").unwrap();
    ProcessAggregate::new(Arc::new(Rules::new(vec![rule], false)))
}

fn begun(aggregate: &mut ProcessAggregate, processes: Vec<ProcessReading>) {
    aggregate.update(&sample(0, processes, Vec::new()), &HashMap::new());
}

#[test]
fn what_a_known_process_used_after_it_was_seen_counts() {
    let mut aggregate = by_comm();
    begun(&mut aggregate, vec![living(7, 5, 100, details(7, "a"))]);
    assert_eq!(sums(&mut aggregate, &sample(1, vec![], vec![end(7, 5, 103, "a")])), [("a".into(), 3.0, 0, 1)]);
    assert_eq!(sums(&mut aggregate, &sample(2, vec![], vec![freed(7, 5, 104)])), [("a".into(), 1.0, 0, 0)]);
    assert!(sums(&mut aggregate, &sample(3, vec![], vec![])).is_empty());
}

#[test]
fn what_no_pass_has_met_counts_whole_and_once() {
    let mut aggregate = by_comm();
    begun(&mut aggregate, vec![]);
    let ended = vec![end(7, 1500, 2, "a"), freed(7, 1500, 3), end(8, 1600, 4, "a")];
    assert_eq!(sums(&mut aggregate, &sample(1, vec![], ended)), [("a".into(), 7.0, 2, 2)]);
    assert_eq!(sums(&mut aggregate, &sample(2, vec![], vec![freed(8, 1600, 5)])), [("a".into(), 1.0, 0, 0)]);
    assert!(
        sums(&mut aggregate, &sample(3, vec![], vec![freed(9, 1600, 5)])).is_empty(),
        "the last word alone is none"
    );
}

#[test]
fn an_end_that_is_told_twice_counts_once() {
    let mut aggregate = by_comm();
    begun(&mut aggregate, vec![living(7, 5, 100, details(7, "a"))]);
    let ended = vec![end(7, 5, 101, "a"), end(7, 5, 101, "a"), end(8, 1500, 4, "a"), end(8, 1500, 4, "a")];
    assert_eq!(sums(&mut aggregate, &sample(1, vec![], ended)), [("a".into(), 5.0, 1, 2)]);
}

#[test]
fn a_process_that_ends_right_after_the_pass_counts_once() {
    let mut aggregate = by_comm();
    begun(&mut aggregate, vec![living(7, 5, 100, details(7, "a"))]);
    let met = || living(7, 5, 102, details(7, "a"));
    assert_eq!(sums(&mut aggregate, &sample(1, vec![met()], vec![end(7, 5, 103, "a")])), [("a".into(), 3.0, 0, 1)]);
    assert!(sums(&mut aggregate, &sample(2, vec![], vec![])).is_empty());
    assert_eq!(sums(&mut aggregate, &sample(2, vec![], vec![freed(7, 5, 104)])), []);
}

#[test]
fn a_zombie_that_was_never_met_alive_counts_once() {
    let mut aggregate = by_comm();
    begun(&mut aggregate, vec![]);
    assert_eq!(sums(&mut aggregate, &sample(1, vec![], vec![end(7, 1500, 2, "a")])), [("a".into(), 2.0, 1, 1)]);
    let zombie = || living(7, 1500, 3, details(7, "a"));
    assert_eq!(sums(&mut aggregate, &sample(2, vec![zombie()], vec![])), [("a".into(), 1.0, 0, 0)]);
    assert_eq!(sums(&mut aggregate, &sample(3, vec![], vec![freed(7, 1500, 3)])), []);
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let mut aggregate = by_comm();
    begun(&mut aggregate, vec![living(7, 5, 100, details(7, "a"))]);
    let ended = vec![end(7, 5, 101, "a"), end(7, 1100, 2, "b")];
    let now = sample(1, vec![living(7, 1700, 4, details(7, "c"))], ended);
    assert_eq!(sums(&mut aggregate, &now), [("a".into(), 1.0, 0, 1), ("b".into(), 2.0, 1, 1), ("c".into(), 4.0, 1, 0)]);
}

#[test]
fn the_cpu_of_what_was_there_from_the_start_and_never_met_is_not_known() {
    let mut aggregate = by_comm();
    begun(&mut aggregate, vec![]);
    assert_eq!(sums(&mut aggregate, &sample(1, vec![], vec![end(7, 5, 5000, "a")])), [("a".into(), 0.0, 1, 1)]);
}

#[test]
fn a_child_has_the_unit_of_its_parent_and_its_arguments_without_an_exec() {
    let rule = Rule::new("cmdline", &[(Property::Cmdline, "(.+)"), (Property::Unit, "(.+)")], "{cmdline} {unit}");
    let rule = rule.unwrap();
    let mut aggregate = ProcessAggregate::new(Arc::new(Rules::new(vec![rule], false)));
    let parent = Details { cmdline: "serve".into(), unit: Some("web.service".into()), ..details(5, "server") };
    begun(&mut aggregate, vec![living(5, 5, 0, parent.clone())]);
    let child = |pid, ppid, comm: &str, cmdline: &str| EndedReading {
        last: Some(LastSight {
            ppid,
            signal: None,
            details: Details { cmdline: cmdline.into(), ..details(pid, comm) },
        }),
        ..end(pid, 1500, 1, comm)
    };
    // The grandchild ends before its parent.
    let ended = vec![child(7, 6, "date", "date -u"), child(6, 5, "server", "")];
    assert_eq!(
        sums(&mut aggregate, &sample(1, vec![living(5, 5, 0, parent)], ended)),
        [("date -u web.service".into(), 1.0, 1, 1), ("serve web.service".into(), 1.0, 1, 1)]
    );
}

#[test]
fn children_that_nobody_met_follow_their_parent_into_its_group() {
    let rule = Rule::new("cron", &[(Property::Comm, "^cron$")], "cron jobs").unwrap().children(true);
    let mut aggregate = ProcessAggregate::new(Arc::new(Rules::new(vec![rule], true)));
    begun(&mut aggregate, vec![living(5, 5, 0, details(5, "cron"))]);
    let child = |pid, ppid| EndedReading {
        last: Some(LastSight { ppid, signal: None, details: details(pid, "sh") }),
        ..end(pid, 1500, 1, "sh")
    };
    let now = sample(1, vec![living(5, 5, 0, details(5, "cron"))], vec![child(7, 6), child(6, 5), child(9, 1)]);
    let sums = sums(&mut aggregate, &now);
    assert!(sums.contains(&("cron jobs".into(), 2.0, 2, 2)), "{sums:?}");
    assert_eq!(sums.iter().map(|sum| sum.3).sum::<u32>(), 3);
}

#[test]
fn what_is_kept_of_ended_processes_is_bounded_and_forgotten() {
    let mut aggregate = by_comm();
    begun(&mut aggregate, vec![]);
    for at in 1..5 {
        let first = at as u32 * 100_000;
        let ended = (first..first + 20_000).map(|pid| end(pid, at * 1000 + 500, 0, "a")).collect();
        aggregate.update(&sample(at, vec![], ended), &HashMap::new());
        assert!(aggregate.gone.0.len() <= MAX_GONE, "{}", aggregate.gone.0.len());
    }
    aggregate.update(&sample(5, vec![], vec![]), &HashMap::new());
    assert_eq!(aggregate.gone.0.len(), 0);
}
