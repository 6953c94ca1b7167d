//! What is rolled up has the sums of its parts.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::model::NoticeKind;

const FROZEN: &[u8] = include_bytes!("../../../tests/fixtures/schema1.json");

/// How a part differs from the frozen snapshot.
#[derive(Debug, Clone, Copy)]
struct Change {
    interval_ms: u64,
    times: u64,
    /// Groups, routes and places that are not there: one in so many, from here on.
    without: (usize, usize),
}

fn part(number: usize, change: Change) -> Snapshot {
    let mut snapshot = Snapshot::read(FROZEN).unwrap();
    let Change { interval_ms, times, without: (first, every) } = change;
    let is_there = |index: usize| !(index + first).is_multiple_of(every);
    snapshot.at += SignedDuration::from_secs(number as i64);
    snapshot.interval_ms = interval_ms;
    let mut index = 0..;
    // The last group stays: all processes are in it.
    let keep = snapshot.groups.len() - 1;
    snapshot.groups.retain(|_| index.next().is_some_and(|index| index == keep || is_there(index)));
    let last = snapshot.groups.len() - 1;
    for group in &mut snapshot.groups {
        group.cpu_ratio = group.cpu_ratio.map(|ratio| ratio * times as f64);
        group.footprint_bytes = group.footprint_bytes.map(|bytes| bytes * times);
        (group.started, group.ended) = (Some(times as u32), Some(1));
    }
    let mut index = 0..;
    snapshot.processes.retain(|_| index.next().is_some_and(is_there));
    for process in &mut snapshot.processes {
        (process.group, process.cpu_ratio) = (last, Some(0.001 * times as f64));
    }
    let php = Arc::make_mut(&mut snapshot.php);
    php.interval_ms = interval_ms;
    for route in &mut php.routes {
        (0..times).for_each(|ms| route.histogram.record(ms * 1_000_000));
        (route.requests, route.errors) = (route.requests + times, times / 2);
        (route.cpu_ns, route.wait_ns) = (Some(times * 7), route.wait_ns);
    }
    for function in &mut php.functions {
        (function.self_samples, function.total_samples) = (function.self_samples * times, function.total_samples * 3);
    }
    php.stacks.iter_mut().for_each(|stack| stack.samples += times);
    php.exceptions.iter_mut().flatten().for_each(|exception| exception.count += times);
    let mut index = 0..;
    php.errors.iter_mut().for_each(|errors| errors.retain(|_| index.next().is_some_and(is_there)));
    snapshot.drops = Drops { events: times, stacks: 1, names: 0, processes: times };
    snapshot.system.cpu_ratio = Some(0.01 * times as f64);
    snapshot.system.memory_available_bytes = Some(1000 * times);
    snapshot
}

fn rolled(parts: &[Snapshot]) -> Snapshot {
    let mut rollup = Rollup::default();
    parts.iter().for_each(|part| rollup.add(Box::new(part.clone())));
    *rollup.take().unwrap()
}

/// All that adds up, by name; times for rates.
fn sums(parts: &[Snapshot]) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for snapshot in parts {
        let seconds = snapshot.interval_ms as f64 / 1000.0;
        let mut add = |name: String, value: f64| *sums.entry(name).or_insert(0.0) += value;
        add("interval".into(), seconds);
        add("cpu".into(), snapshot.system.cpu_ratio.unwrap() * seconds);
        add("drops".into(), snapshot.drops.events as f64);
        add("dropped stacks".into(), snapshot.drops.stacks as f64);
        add("dropped processes".into(), snapshot.drops.processes as f64);
        for group in &snapshot.groups {
            add(format!("cpu of {}", group.name), group.cpu_ratio.unwrap_or(0.0) * seconds);
            add(format!("started of {}", group.name), group.started.unwrap().into());
            add(format!("ended of {}", group.name), group.ended.unwrap().into());
        }
        let php = &snapshot.php;
        add("interval of php".into(), php.interval_ms as f64);
        for route in &php.routes {
            let key = &route.key;
            let mut add = |what: &str, value: u64| add(format!("{what} of {key:?}"), value as f64);
            add("requests", route.requests);
            add("errors", route.errors);
            add("durations", route.histogram.count());
            add("cpu", route.cpu_ns.unwrap_or(0));
            add("waits", route.wait_ns.unwrap_or(0));
            add("time", (route.histogram.sum_ms() * 1000.0).round() as u64);
        }
        for function in &php.functions {
            let mut add = |what: &str, value: u64| add(format!("{what} of {:?}", function.key), value as f64);
            add("self", function.self_samples);
            add("total", function.total_samples);
            add("waits", function.total_wait_ns.unwrap_or(0));
            add("calls", function.calls.unwrap_or(0));
        }
        for stack in &php.stacks {
            let frames = stack.frames.iter().map(|&frame| format!("{:?}", php.functions[frame].key));
            let name = format!("stack {:?} {:?}", php.routes[stack.route].key, frames.collect::<Vec<_>>());
            add(name, stack.samples as f64);
        }
        let exceptions = php.exceptions.iter().flatten().map(|it| (it.key(), it.count));
        let errors = php.errors.iter().flatten().map(|it| (it.key(), it.count));
        let compiles = php.compiles.iter().flatten().map(|it| (it.key(), it.count));
        exceptions.chain(errors).chain(compiles).for_each(|(key, count)| add(format!("{key:?}"), count as f64));
        php.lines.iter().flatten().for_each(|line| add(format!("{}:{}", line.file, line.line), line.calls as f64));
    }
    sums.retain(|_, sum| *sum != 0.0);
    sums
}

fn assert_same(whole: &BTreeMap<String, f64>, parts: &BTreeMap<String, f64>) {
    assert_eq!(whole.keys().collect::<Vec<_>>(), parts.keys().collect::<Vec<_>>());
    for (name, sum) in whole {
        // Times in microseconds were rounded in each part.
        let allowed = if name.starts_with("time of") { parts.len() as f64 } else { 1e-9 * sum.abs() };
        assert!((sum - parts[name]).abs() <= allowed, "{name}: {sum} and {}", parts[name]);
    }
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (0_u64..5_000, 1_u64..9, (0_usize..7, 2_usize..7));
    let change = change.prop_map(|(interval_ms, times, without)| Change { interval_ms, times, without });
    prop::collection::vec(change, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rolled_up_sums_are_those_of_the_parts_in_one_step_or_in_two(changes in changes(), split in 0_usize..8) {
        let parts: Vec<Snapshot> = changes.iter().enumerate().map(|(number, &change)| part(number, change)).collect();
        let expected = sums(&parts);
        let whole = rolled(&parts);
        assert_same(&sums(std::slice::from_ref(&whole)), &expected);
        let (first, rest) = parts.split_at(split.min(parts.len() - 1));
        let halves: Vec<Snapshot> = [first, rest].iter().filter(|half| !half.is_empty()).map(|half| rolled(half)).collect();
        assert_same(&sums(&[rolled(&halves)]), &expected);
        // It can be written and read, and its indexes lead somewhere.
        let json = serde_json::to_vec(&whole).unwrap();
        let read = Snapshot::read(&json).unwrap();
        prop_assert_eq!(serde_json::to_vec(&read).unwrap(), json);
    }

    #[test]
    fn memory_is_that_of_the_last_one_between_the_least_and_the_most(changes in changes()) {
        let parts: Vec<Snapshot> = changes.iter().enumerate().map(|(number, &change)| part(number, change)).collect();
        let whole = rolled(&parts);
        let last = parts.last().unwrap();
        prop_assert_eq!((whole.at, whole.processes.len()), (last.at, last.processes.len()));
        prop_assert_eq!(whole.system.memory_available_bytes, last.system.memory_available_bytes);
        if parts.len() == 1 {
            prop_assert_eq!(&whole, last);
            return Ok(());
        }
        for group in &whole.groups {
            let of = |part: &Snapshot| {
                part.groups.iter().find(|other| other.name == group.name).map_or(Some(0), |group| group.footprint_bytes)
            };
            prop_assert_eq!(group.footprint_bytes, of(last));
            let all: Option<Vec<u64>> = parts.iter().map(of).collect();
            let range = all.map(|all| (*all.iter().min().unwrap(), *all.iter().max().unwrap()));
            prop_assert_eq!(group.footprint_range.map(|range| (range.min_bytes, range.max_bytes)), range);
        }
        let available = parts.iter().filter_map(|part| part.system.memory_available_bytes);
        let range = whole.system.memory_available_range.unwrap();
        prop_assert_eq!((Some(range.min_bytes), Some(range.max_bytes)), (available.clone().min(), available.max()));
    }
}

const PLAIN: Change = Change { interval_ms: 1000, times: 1, without: (1, 1_000) };

#[test]
fn what_is_unknown_in_a_part_is_unknown_in_the_whole() {
    let mut parts = [part(0, PLAIN), part(1, PLAIN), part(2, PLAIN)];
    parts[1].system.memory_available_bytes = None;
    parts[1].groups[0].footprint_bytes = None;
    parts[1].groups[0].started = None;
    for part in &mut parts {
        part.system.pressure.io_some = None;
        part.processes[0].cpu_ratio = None;
    }
    let whole = rolled(&parts);
    assert_eq!((whole.system.memory_available_range, whole.system.pressure.io_some), (None, None));
    let group = &whole.groups[0];
    assert_eq!((group.footprint_range, group.started, group.ended), (None, None, Some(3)));
    assert!(group.footprint_bytes.is_some() && whole.processes[0].cpu_ratio.is_none());
}

#[test]
fn cpu_of_a_process_is_its_mean_and_0_while_it_was_not_there() {
    let mut parts = [part(0, PLAIN), part(1, PLAIN), part(2, PLAIN)];
    let [first, second, third] = &mut parts;
    first.processes.remove(0);
    (second.processes[0].cpu_ratio, third.processes[0].cpu_ratio) = (Some(0.9), Some(0.3));
    let whole = rolled(&parts);
    assert!((whole.processes[0].cpu_ratio.unwrap() - 0.4).abs() < 1e-9);
}

#[test]
fn what_happened_is_kept_and_how_things_are_is_what_was_said_last() {
    let mut parts = [part(0, PLAIN), part(1, PLAIN), part(2, PLAIN)];
    let suspended = Notice::machine_suspended("2h");
    parts[0].notices = vec![suspended.clone(), Notice::routes_left_out(7, 500, 3)];
    parts[1].notices = vec![Notice::clock_set("5m", true), Notice::routes_left_out(9, 500, 3)];
    parts[2].notices = vec![suspended.clone(), Notice::clock_set("1h", true)];
    let notices = rolled(&parts).notices;
    let texts =
        |kind| notices.iter().filter(|notice| notice.kind == kind).map(|notice| &*notice.text).collect::<Vec<_>>();
    assert_eq!(texts(NoticeKind::MachineSuspended), [&*suspended.text]);
    assert_eq!(texts(NoticeKind::ClockSet).len(), 2);
    assert!(matches!(texts(NoticeKind::RoutesLeftOut)[..], [text] if text.starts_with('9')));
}

#[test]
fn groups_without_end_are_added_up_in_one() {
    let mut rollup = Rollup::default();
    for number in 0..10 {
        let mut snapshot = part(number, PLAIN);
        let others = (0..900).map(|index| Group {
            cpu_ratio: Some(0.5),
            ..Group::empty(format!("{number} {index}").into(), "test".into())
        });
        snapshot.groups.truncate(1);
        snapshot.processes.clear();
        snapshot.groups[0].cpu_ratio = Some(0.0);
        snapshot.groups.extend(others);
        rollup.add(Box::new(snapshot));
    }
    assert!(rollup.groups.len() <= MAX_SUMS);
    let whole = rollup.take().unwrap();
    assert!(whole.groups.len() <= MAX_GROUPS + 1);
    let cpu: f64 = whole.groups.iter().filter_map(|group| group.cpu_ratio).sum();
    assert!((cpu - 450.0).abs() < 1e-6, "{cpu}");
}
