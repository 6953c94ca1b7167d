use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ChangeWriter, Changes};

const LIMIT: usize = 1 << 20;

/// What is written of lines, and what is read of that.
fn written(lines: &[String]) -> (Vec<Vec<u8>>, Vec<String>) {
    let (mut writer, mut changes) = (ChangeWriter::default(), Changes::default());
    let (mut written, mut read) = (Vec::new(), Vec::new());
    for line in lines {
        let mut out = Vec::new();
        writer.write(line.as_bytes().to_vec(), &mut out);
        let mut restored = out.clone();
        if Changes::is_changes(&out) {
            changes.take(&out).unwrap();
            changes.write(|_| true, &mut restored, LIMIT).unwrap();
        } else {
            changes.begin(&out);
        }
        written.push(out);
        read.push(String::from_utf8(restored).unwrap());
    }
    (written, read)
}

/// A line in which the order of rows that says nothing is always the same.
fn in_order(line: &str) -> Value {
    let mut line: Value = serde_json::from_str(line).unwrap();
    let php = &mut line["php"];
    let functions = php["functions"].clone();
    let routes = php["routes"].clone();
    for stack in php["stacks"].as_array_mut().into_iter().flatten() {
        for (name, table) in [("route", &routes), ("frames", &functions)] {
            let of = |index: &Value| table.get(index.as_u64().unwrap() as usize).unwrap_or(index).clone();
            stack[name] = match &stack[name] {
                Value::Array(indexes) => indexes.iter().map(of).collect(),
                index => of(index),
            };
        }
    }
    for name in ["functions", "routes", "stacks"] {
        if let Some(rows) = php[name].as_array_mut() {
            rows.sort_by_key(Value::to_string);
        }
    }
    line
}

fn process(pid: u32, group: usize, memory: Value) -> Value {
    json!({"pid": pid, "group": group, "memory": memory, "name": "a\"]}"})
}

fn snapshot(at: &str, groups: &[&str], processes: Value, requests: usize) -> String {
    let groups: Vec<_> = groups.iter().map(|name| json!({"name": name, "cgroup": null})).collect();
    let requests: Vec<_> = (0..requests).map(|n| json!({"uri": format!("/{at}/{n}"), "route": 0})).collect();
    let php = json!({"routes": [{"method": "GET", "route": "/"}], "requests": requests, "exceptions": null});
    json!({"schema": 1, "at": at, "load": [1, 2.5], "groups": groups, "processes": processes, "php": php}).to_string()
}

#[test]
fn only_what_changed_is_written_and_all_comes_back() {
    let memory = |rss: u64| json!({"rss_bytes": rss});
    let lines = [
        snapshot("a", &["x", "y"], json!([process(1, 0, memory(1)), process(2, 1, memory(2))]), 0),
        // Groups are in another order, one process has grown.
        snapshot("b", &["y", "x"], json!([process(1, 1, memory(1)), process(2, 0, memory(3))]), 2),
        // A process has ended, another one has begun in a new group, and one is unknown.
        snapshot("c", &["z", "y"], json!([process(2, 1, Value::Null), process(9, 0, memory(4))]), 1),
        snapshot("d", &["y", "x"], json!([process(1, 1, memory(1)), process(2, 0, memory(3))]), 3),
    ];
    let (written, read) = written(&lines);
    assert_eq!(read, lines);
    let second = String::from_utf8(written[1].clone()).unwrap();
    let expected = json!({"changes": 1, "tables": {
        "": {"columns": {"at": [[0], ["b"]]}},
        "groups": {"rows": [1, 1, 0, 1]},
        "php.requests": {"rows": [0, 2], "new": [{"route": 0, "uri": "/b/0"}, {"route": 0, "uri": "/b/1"}]},
        "processes": {"columns": {"memory.rss_bytes": [[1], [3]]}},
    }});
    assert_eq!(serde_json::from_str::<Value>(&second).unwrap(), expected);
    assert!(written[2..].iter().all(|line| Changes::is_changes(line)));
}

#[test]
fn routes_of_problems_lead_to_the_same_routes_in_whatever_order_these_are() {
    let line = |routes: &[&str], of: &[&str], counts: &[u64]| {
        let place = |path: &&str| routes.iter().position(|route| route == path).unwrap();
        let of: Vec<usize> = of.iter().map(place).collect();
        let routes: Vec<_> = routes.iter().map(|path| json!({"method": "GET", "route": path})).collect();
        let exceptions = json!([{"class": "E", "routes": of, "route_counts": counts}]);
        json!({"schema": 1, "at": "1", "php": {"routes": routes, "exceptions": exceptions}}).to_string()
    };
    let lines = [
        line(&["/a", "/b", "/c"], &["/c", "/a"], &[5, 1]),
        line(&["/c", "/d", "/a"], &["/d", "/c"], &[9, 2]),
        line(&["/d", "/c"], &[], &[]),
    ];
    let (written, read) = written(&lines);
    assert!(Changes::is_changes(&written[1]) && Changes::is_changes(&written[2]));
    let named = |line: &String| -> Vec<Value> {
        let php = serde_json::from_str::<Value>(line).unwrap()["php"].take();
        let of = php["exceptions"][0]["routes"].as_array().unwrap().clone();
        of.iter().map(|index| php["routes"][index.as_u64().unwrap() as usize]["route"].clone()).collect()
    };
    for (line, read) in lines.iter().zip(&read) {
        assert_eq!(named(line), named(read));
    }
}

#[test]
fn what_does_not_fit_is_written_whole() {
    let lines = [
        json!({"schema": 1, "a": [{"x": 1}]}).to_string(),
        json!({"schema": 1, "a": null}).to_string(),
        json!({"schema": 1, "a": [{"x": 1}], "b": 1}).to_string(),
        json!({"schema": 1, "groups": [], "processes": [{"pid": 1, "group": 7}]}).to_string(),
        json!({"schema": 1, "groups": [], "processes": [{"pid": 2, "group": 8}]}).to_string(),
        "{\"schema\": 1}".to_owned(),
        "{\"schema\": 2}".to_owned(),
    ];
    let (written, read) = written(&lines);
    assert_eq!(read, lines);
    assert!(!written.iter().any(|line| Changes::is_changes(line)));
}

#[test]
fn rows_that_are_gone_are_forgotten() {
    let lines: Vec<_> = (0..20_000).map(|n| json!({"processes": [{"pid": n}]}).to_string()).collect();
    let (written, read) = written(&lines);
    assert_eq!(read, lines);
    assert_eq!(written.iter().filter(|line| !Changes::is_changes(line)).count(), 3);
}

#[test]
fn a_line_that_would_get_too_long_is_refused() {
    let row = json!({"text": "x".repeat(1000)}).to_string();
    let whole = format!("{{\"a\":[{row},{row},{row},{row}]}}");
    let mut changes = Changes::default();
    changes.begin(whole.as_bytes());
    changes.take(b"{\"changes\":1,\"tables\":{}}").unwrap();
    let error = changes.write(|_| true, &mut Vec::new(), 2_000).unwrap_err();
    assert_eq!(error.to_string(), "it is too long");
}

#[test]
fn another_version_is_said() {
    let mut changes = Changes::default();
    changes.begin(b"{\"a\":[]}");
    for line in [&b"{\"changes\":2,\"tables\":{}}"[..], b"{\"changes\":2,\"parts\":[]}"] {
        assert!(changes.take(line).unwrap_err().to_string().contains("version 2"));
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0_u32..4).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a\"\\\\\u{1b}é]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c.]{1,2}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_snapshot() -> impl Strategy<Value = String> {
    let group = (0_u8..4, any_value()).prop_map(|(name, x)| json!({"name": name.to_string(), "cgroup": null, "x": x}));
    let process =
        (0_u8..6, 0_u8..5, any_value()).prop_map(|(pid, group, x)| json!({"pid": pid, "group": group, "x": x}));
    let stack = (0_u8..3, prop::collection::vec(0_u8..3, 0..3))
        .prop_map(|(route, frames)| json!({"route": route, "frames": frames}));
    let rows = |row| prop::collection::vec(row, 0..5);
    (any_value(), rows(group.boxed()), rows(process.boxed()), rows(stack.boxed()), rows(any_value().boxed())).prop_map(
        |(rest, groups, processes, stacks, functions)| {
            let php = json!({"functions": functions, "routes": [{"route": "/"}, {"route": "/a"}], "stacks": stacks});
            json!({"schema": 1, "rest": rest, "groups": groups, "processes": processes, "php": php}).to_string()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_lines_come_back(lines in prop::collection::vec(any_snapshot(), 1..8)) {
        for (read, line) in written(&lines).1.iter().zip(&lines) {
            prop_assert_eq!(in_order(read), in_order(line));
        }
    }

    #[test]
    fn changes_that_are_damaged_are_refused_or_give_a_line(
        lines in prop::collection::vec(any_snapshot(), 3..5),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (written, _) = written(&lines);
        let mut changes = Changes::default();
        let mut restored = Vec::new();
        for mut line in written {
            if Changes::is_changes(&line) {
                *at.get_mut(&mut line) = byte;
                line.truncate(cut.index(4 * line.len()));
                if changes.take(&line).and_then(|()| changes.write(|_| true, &mut restored, LIMIT)).is_ok() {
                    prop_assert!(serde_json::from_slice::<Value>(&restored).is_ok());
                }
            } else {
                changes.begin(&line);
            }
        }
    }
}
