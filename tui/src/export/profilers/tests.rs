//! Each format read back by a reader of its own: what comes out is what the snapshot has, whatever names it has.

use std::{collections::HashMap, sync::Arc};

use prost::Message as _;
use serde_json::Value;

use super::*;
use crate::model::{FunctionKey, Request, RouteKey, Snapshot, Worker, WorkerState};

/// Names that would break out of a format, or steer a terminal.
const HOSTILE: &str = "a;b<c>&\"'\u{1b}[31m,\n\u{202e}\u{fffe}=1";

fn function(name: &str, kind: FunctionKind) -> Function {
    let file: Arc<str> = if kind == FunctionKind::Internal { "".into() } else { format!("/srv/{name}.php").into() };
    Function::seen(FunctionKey { name: name.into(), class: "".into(), file, line: 7, kind }.into())
}

/// Two pools; one function has a hostile name.
fn snapshot() -> Snapshot {
    let empty = include_bytes!("../../../tests/fixtures/web01.json");
    let mut snapshot = Snapshot::read(empty).unwrap();
    let route = |path: &str, group: &str| {
        let key = RouteKey { route: path.into(), script: "/i.php".into(), method: "GET".into(), group: group.into() };
        Route::seen(key.into())
    };
    let stack = |route, frames: &[usize], samples, wait_ns| Stack {
        route,
        frames: frames.to_vec(),
        samples,
        wait_ns: Some(wait_ns),
        growth_bytes: None,
        truncated: false,
    };
    let mut php = (*snapshot.php).clone();
    php.functions = vec![
        function("{main}", FunctionKind::User),
        function(HOSTILE, FunctionKind::User),
        function("sleep", FunctionKind::Internal),
    ];
    php.routes = vec![route("/a", "www"), route(HOSTILE, "admin")];
    php.stacks = vec![
        stack(0, &[1, 0], 5, 0),
        stack(0, &[2, 1, 0], 0, 123_456_789),
        stack(1, &[0], 2, 4_000),
        stack(1, &[], 1, 0),
    ];
    let started_at = snapshot.at - jiff::SignedDuration::from_secs(30);
    php.requests = vec![Request {
        pid: 7,
        tid: None,
        uri: HOSTILE.into(),
        method: "GET".into(),
        status: Some(200),
        started_at,
        start_known: true,
        duration_ms: 1_500.0,
        cpu_ms: None,
        wait_ms: Some(3.0),
        memory_peak_bytes: None,
        memory_bytes: None,
        memory_limit_bytes: None,
        growth_bytes_per_minute: None,
        rss_growth_bytes_per_minute: None,
        memory_unknown: None,
        waiting: None,
        finished: true,
        aborted: false,
        route: 1,
    }];
    php.workers = vec![Worker { state: WorkerState::Idle, requests: Some(1), ..Worker::seen(7, "www".into(), None) }];
    snapshot.php = php.into();
    snapshot
}

fn written(write: impl Fn(&Snapshot, &mut Vec<u8>) -> std::io::Result<()>, snapshot: &Snapshot) -> Vec<u8> {
    let mut out = Vec::new();
    write(snapshot, &mut out).unwrap();
    out
}

/// All CPU time and all waiting of the snapshot, in nanoseconds.
fn times(snapshot: &Snapshot) -> (u64, u64) {
    stacks(&snapshot.php).fold((0, 0), |(cpu, wait), timed| (cpu + timed.cpu_ns, wait + timed.wait_ns))
}

fn is_calm(text: &str) -> bool {
    !text.contains(|c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{fffe}'))
}

/// The bundled server beside the small one, and one without PHP.
fn each(check: impl Fn(&Snapshot)) {
    let small = snapshot();
    let busy = Snapshot::read(include_bytes!("../../../tests/fixtures/web01.json")).unwrap();
    let mut without = busy.clone();
    without.php = Arc::default();
    [small, busy, without].iter().for_each(check);
}

#[test]
fn folded_lines_have_all_times_and_one_stack_each() {
    each(|snapshot| {
        let text = String::from_utf8(written(write_folded, snapshot)).unwrap();
        assert!(is_calm(&text));
        let (cpu, wait) = times(snapshot);
        let mut sums = (0, 0);
        let mut seen = std::collections::HashSet::new();
        for line in text.lines() {
            let (stack, count) = line.rsplit_once(' ').unwrap();
            let count: u64 = count.parse().unwrap();
            assert!(!stack.is_empty() && stack.split(';').all(|frame| !frame.is_empty()), "{line}");
            assert!(seen.insert(stack.to_owned()), "each stack has one line: {stack}");
            if stack.ends_with(";[waiting]") { sums.1 += count } else { sums.0 += count }
        }
        let lines = text.lines().count() as u64;
        assert!(sums.0 * 1000 >= cpu && sums.0 * 1000 <= cpu + lines * 1000, "{sums:?} {cpu}");
        assert!(sums.1 * 1000 >= wait && sums.1 * 1000 <= wait + lines * 1000, "{sums:?} {wait}");
    });
    let text = String::from_utf8(written(write_folded, &snapshot())).unwrap();
    assert!(text.contains("www;GET /a;{main} /srv/{main}.php:7;a,b<c>&\"'"), "{text}");
}

/// What the JSON schema of speedscope's file format demands.
fn check_speedscope(file: &Value) {
    assert_eq!(file["$schema"], "https://www.speedscope.app/file-format-schema.json");
    let frames = file["shared"]["frames"].as_array().unwrap();
    assert!(frames.iter().all(|frame| frame["name"].is_string()));
    assert!(frames.iter().all(|frame| frame.get("file").is_none_or(Value::is_string)));
    assert!(frames.iter().all(|frame| frame.get("line").is_none_or(Value::is_u64)));
    let profiles = file["profiles"].as_array().unwrap();
    assert!(file["activeProfileIndex"].as_u64().unwrap() < profiles.len() as u64);
    for profile in profiles {
        assert_eq!((&profile["type"], &profile["unit"]), (&"sampled".into(), &"nanoseconds".into()));
        assert!(profile["name"].is_string());
        let (samples, weights) = (profile["samples"].as_array().unwrap(), profile["weights"].as_array().unwrap());
        assert_eq!(samples.len(), weights.len());
        let in_bounds = |frame: &Value| frame.as_u64().is_some_and(|frame| frame < frames.len() as u64);
        assert!(samples.iter().all(|sample| sample.as_array().unwrap().iter().all(in_bounds)));
        let sum: u64 = weights.iter().map(|weight| weight.as_u64().unwrap()).sum();
        assert_eq!(profile["endValue"].as_u64().unwrap() - profile["startValue"].as_u64().unwrap(), sum);
    }
}

#[test]
fn speedscope_has_a_profile_of_all_of_cpu_of_waiting_and_of_each_group() {
    each(|snapshot| {
        let line = written(write_speedscope, snapshot);
        assert!(is_calm(std::str::from_utf8(&line).unwrap()));
        let file: Value = serde_json::from_slice(&line).unwrap();
        check_speedscope(&file);
        let (cpu, wait) = times(snapshot);
        let ends: Vec<_> = (0..3).map(|profile| file["profiles"][profile]["endValue"].as_u64().unwrap()).collect();
        assert_eq!(ends, [cpu + wait, cpu, wait]);
    });
    let file: Value = serde_json::from_slice(&written(write_speedscope, &snapshot())).unwrap();
    assert_eq!(file["profiles"].as_array().unwrap().len(), 5);
    let path: Vec<_> = file["profiles"][2]["samples"][0].as_array().unwrap().clone();
    let names: Vec<_> =
        path.iter().map(|frame| file["shared"]["frames"][frame.as_u64().unwrap() as usize]["name"].clone()).collect();
    assert_eq!(names, ["GET /a (www)", "{main} /srv/{main}.php:7", HOSTILE, "sleep"]);
}

/// profile.proto as far as it is used, by another implementation of Protocol Buffers.
#[derive(Clone, PartialEq, prost::Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<ProfileFunction>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, repeated, tag = "13")]
    comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    r#type: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    str: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ProfileFunction {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
    #[prost(int64, tag = "5")]
    start_line: i64,
}

#[test]
fn pprof_is_read_back_with_all_times_names_and_labels() {
    each(|snapshot| {
        let profile = Profile::decode(&*written(write_pprof, snapshot)).unwrap();
        assert_eq!(profile.string_table.first().map(String::as_str), Some(""));
        let text = |number: i64| &*profile.string_table[usize::try_from(number).unwrap()];
        let types: Vec<_> = profile.sample_type.iter().map(|kind| (text(kind.r#type), text(kind.unit))).collect();
        assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds"), ("wait", "nanoseconds")]);
        let (cpu, wait) = times(snapshot);
        let sum = |value: usize| profile.sample.iter().map(|sample| sample.value[value] as u64).sum::<u64>();
        assert_eq!((sum(1), sum(2)), (cpu, wait));
        let functions: HashMap<u64, &ProfileFunction> = profile.function.iter().map(|f| (f.id, f)).collect();
        let places: HashMap<u64, &Location> = profile.location.iter().map(|place| (place.id, place)).collect();
        for (sample, timed) in profile.sample.iter().zip(stacks(&snapshot.php)) {
            let names: Vec<_> =
                sample.location_id.iter().map(|id| text(functions[&places[id].line[0].function_id].name)).collect();
            let expected =
                timed.stack.frames.iter().map(|&f| names::function(&snapshot.php.functions[f].key).into_owned());
            assert_eq!(names, expected.collect::<Vec<_>>(), "innermost first");
            let labels: HashMap<_, _> = sample.label.iter().map(|label| (text(label.key), text(label.str))).collect();
            assert_eq!(labels["group"], timed.group());
        }
        assert_eq!((text(profile.default_sample_type), text(profile.period_type.unwrap().r#type)), ("cpu", "cpu"));
        assert_eq!(profile.time_nanos, snapshot.at.as_nanosecond() as i64);
    });
}

#[test]
fn the_picture_is_xml_with_each_frame_and_nothing_that_runs() {
    each(|snapshot| {
        let text = String::from_utf8(written(write_svg, snapshot)).unwrap();
        assert!(is_calm(&text) && !text.contains("script"));
        let document = roxmltree::Document::parse(&text).unwrap();
        let width: f64 = document.root_element().attribute("width").unwrap().parse().unwrap();
        let titles: Vec<_> = document.descendants().filter(|node| node.has_tag_name("title")).collect();
        assert_eq!(titles.is_empty(), snapshot.php.stacks.is_empty());
        for frame in document.descendants().filter(|node| node.has_tag_name("g")) {
            for rect in frame.children().filter(|node| node.has_tag_name("rect")) {
                let number = |name| rect.attribute(name).unwrap().parse::<f64>().unwrap();
                assert!(number("x") >= 0.0 && number("x") + number("width") <= width);
            }
        }
    });
    let text = String::from_utf8(written(write_svg, &snapshot())).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let titles: Vec<_> =
        document.descendants().filter(|node| node.has_tag_name("title")).filter_map(|node| node.text()).collect();
    assert!(titles.iter().any(|title| title.starts_with("a;b<c>&\"'·[31m,·")), "{titles:?}");
}

/// That every table of a thread has as many entries as it says, and that indexes lead somewhere.
fn check_thread(profile: &Value, thread: &Value) {
    let strings = thread.get("stringArray").or_else(|| profile["shared"].get("stringArray")).unwrap();
    let length = |table: &Value| table["length"].as_u64().unwrap();
    let below = |column: &Value, bound: u64| {
        column.as_array().unwrap().iter().all(|index| index.is_null() || index.as_u64().unwrap() < bound)
    };
    let (samples, stacks, frames, functions) =
        (&thread["samples"], &thread["stackTable"], &thread["frameTable"], &thread["funcTable"]);
    assert!(below(&samples["stack"], length(stacks)));
    assert!(below(&stacks["frame"], length(frames)) && below(&stacks["prefix"], length(stacks)));
    assert!(below(&frames["func"], length(functions)));
    assert!(below(&functions["name"], strings.as_array().unwrap().len() as u64));
    let markers = &thread["markers"];
    assert_eq!(markers["data"].as_array().unwrap().len() as u64, length(markers));
}

#[test]
fn the_profile_for_firefox_has_a_track_of_each_group_and_each_worker_with_its_requests() {
    each(|snapshot| {
        let line = written(write_firefox, snapshot);
        assert!(is_calm(std::str::from_utf8(&line).unwrap()));
        let profile: Value = serde_json::from_slice(&line).unwrap();
        let threads = profile["threads"].as_array().unwrap();
        threads.iter().for_each(|thread| check_thread(&profile, thread));
        let workers = threads.iter().filter(|thread| thread["processName"].as_str().unwrap().starts_with("worker "));
        assert_eq!(workers.count(), snapshot.php.workers.len());
        let mut weight = 0;
        for thread in threads.iter().filter(|thread| thread["processName"].as_str().unwrap().ends_with(": all stacks"))
        {
            weight += thread["samples"]["weight"].as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>();
            let times = thread["samples"].get("time").or_else(|| thread["samples"].get("timeDeltas"));
            assert!(times.is_some());
        }
        let (cpu, wait) = times(snapshot);
        assert!(weight.abs_diff((cpu + wait) / 1_000_000) <= threads.len() as u64, "{weight} of {cpu} {wait}");
    });
    let snapshot = snapshot();
    let profile: Value = serde_json::from_slice(&written(write_firefox, &snapshot)).unwrap();
    let worker = profile["threads"].as_array().unwrap().iter().find(|thread| thread["pid"] == "7").unwrap();
    let markers = &worker["markers"];
    assert_eq!((&markers["length"], &markers["phase"][0]), (&1.into(), &1.into()), "an interval");
    let [start, end] = ["startTime", "endTime"].map(|time| markers[time][0].as_f64().unwrap());
    assert!((end - start - 1_500.0).abs() < 2.0, "{start} {end}");
}

#[test]
fn a_route_of_another_list_is_no_reason_to_fail() {
    let mut snapshot = snapshot();
    let mut php = (*snapshot.php).clone();
    php.stacks[0].route = 99;
    php.stacks[1].frames.push(99);
    snapshot.php = php.into();
    for write in
        [write_folded, write_speedscope, write_pprof, write_svg, write_firefox] as [fn(&Snapshot, &mut Vec<u8>) -> _; 5]
    {
        written(write, &snapshot);
    }
}
