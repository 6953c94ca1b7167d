//! The file format of speedscope (schema at www.speedscope.app/file-format-schema.json): one profile of all time, one of CPU time,
//! one of waiting, and one of each group where there are several.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use serde::Serialize;

use super::{Timed, file, name, stacks};
use crate::{export::json, model::Snapshot};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    name: String,
    exporter: String,
    active_profile_index: usize,
    shared: Shared<'a>,
    profiles: Vec<Profile>,
}

#[derive(Serialize)]
struct Shared<'a> {
    frames: Vec<SharedFrame<'a>>,
}

#[derive(Serialize)]
struct SharedFrame<'a> {
    name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    r#type: &'static str,
    name: String,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    samples: Vec<Vec<usize>>,
    weights: Vec<u64>,
}

/// Writes the profiles as one line of JSON.
///
/// # Errors
/// What `out` answers.
pub fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let php = &*snapshot.php;
    let mut frames: Vec<SharedFrame> = php
        .functions
        .iter()
        .map(|function| SharedFrame {
            name: name(function).into_owned(),
            file: file(function),
            line: (function.key.line > 0 && !file(function).is_empty()).then_some(function.key.line),
        })
        .collect();
    // The route is the outermost frame, so that time is told apart by it.
    let mut routes: HashMap<usize, usize> = HashMap::new();
    let mut sampled: Vec<(Timed, Vec<usize>)> = Vec::new();
    for timed in stacks(php) {
        let route = *routes.entry(timed.stack.route).or_insert_with(|| {
            frames.push(SharedFrame { name: format!("{} ({})", timed.route(), timed.group()), file: "", line: None });
            frames.len() - 1
        });
        let path = timed.frames().filter(|&frame| frame < php.functions.len());
        let path = std::iter::once(route).chain(path).collect();
        sampled.push((timed, path));
    }
    let profile = |name: &str, ns: &dyn Fn(&Timed) -> u64| {
        let counted: Vec<_> = sampled.iter().map(|(timed, path)| (path, ns(timed))).filter(|(_, ns)| *ns > 0).collect();
        Profile {
            r#type: "sampled",
            name: name.to_owned(),
            unit: "nanoseconds",
            start_value: 0,
            end_value: counted.iter().map(|(_, ns)| ns).sum(),
            samples: counted.iter().map(|(path, _)| (*path).clone()).collect(),
            weights: counted.iter().map(|(_, ns)| *ns).collect(),
        }
    };
    let mut profiles = vec![
        profile("CPU and waiting", &|timed| timed.cpu_ns.saturating_add(timed.wait_ns)),
        profile("CPU", &|timed| timed.cpu_ns),
        profile("waiting", &|timed| timed.wait_ns),
    ];
    let mut groups: Vec<&str> = sampled.iter().map(|(timed, _)| timed.group()).collect();
    groups.sort_unstable();
    groups.dedup();
    if groups.len() > 1 {
        profiles.extend(groups.iter().map(|group| {
            let in_group = |timed: &Timed| {
                if timed.group() == *group { timed.cpu_ns.saturating_add(timed.wait_ns) } else { 0 }
            };
            profile(&format!("{group}: CPU and waiting"), &in_group)
        }));
    }
    let file = File {
        schema: "https://www.speedscope.app/file-format-schema.json",
        name: format!("{} {}", snapshot.host.name, snapshot.at),
        exporter: format!("tusktop {}", env!("CARGO_PKG_VERSION")),
        active_profile_index: 0,
        shared: Shared { frames },
        profiles,
    };
    json::write_line(&file, out)
}
