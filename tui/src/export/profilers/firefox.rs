//! The processed format of the Firefox Profiler (profiler.firefox.com, "Load a profile from file"). A snapshot has no moment for each
//! sample, so each group has a track whose stacks are laid one after the other over the time that they were counted in. Each worker has
//! a track with its requests, which do have their time.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::{Duration, UNIX_EPOCH},
};

use fxprof_processed_profile::{
    CategoryColor, CategoryHandle, CpuDelta, Frame, FrameFlags, FrameInfo, Marker, MarkerFieldFlags, MarkerFieldFormat,
    MarkerLocations, MarkerTiming, MarkerTypeHandle, Profile, RuntimeSchemaMarkerField, RuntimeSchemaMarkerSchema,
    SamplingInterval, StringHandle, ThreadHandle, Timestamp, WeightType,
};

use super::{Timed, name, sample_ns, stacks};
use crate::{
    export::json,
    model::{FunctionKind, Php, Request, Snapshot, WorkerState},
    words::names,
};

/// Process ids of the tracks that are no processes.
const GROUPS: u32 = u32::MAX - 100_000;

/// Writes the profile as one line of JSON.
///
/// # Errors
/// What `out` answers.
pub fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let php = &*snapshot.php;
    let interval = Duration::from_millis(if php.interval_ms > 0 { php.interval_ms } else { snapshot.interval_ms });
    // Requests that began earlier are in it, too.
    let first = php.requests.iter().map(|request| request.started_at).min();
    let end_ms = snapshot.at.as_millisecond();
    let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
    let counted_from = end_ms.saturating_sub(interval_ms);
    // Not from before a day ago, whatever a recording says.
    let first =
        first.map_or(counted_from, |first| first.as_millisecond().clamp(end_ms - 86_400_000, end_ms)).min(counted_from);
    let reference = UNIX_EPOCH + Duration::from_millis(u64::try_from(first).unwrap_or(0));
    let mut profile = Profile::new("PHP", reference.into(), SamplingInterval::from_nanos(sample_ns(php).max(1)));
    profile.set_os_name(&format!("{} on {}", snapshot.host.kernel, snapshot.host.name));
    let moment = |ms: i64| Timestamp::from_millis_since_reference((ms - first).max(0) as f64);
    let kinds = Kinds {
        user: profile.add_category("PHP code", CategoryColor::Orange),
        built_in: profile.add_category("Built-in functions", CategoryColor::Yellow),
        waiting: profile.add_category("Waiting", CategoryColor::Blue),
        problem: profile.add_category("Problems", CategoryColor::Red),
    };
    let problem =
        profile.register_marker_type(schema("Problem", &[("what", "What"), ("where", "Where"), ("count", "Times")]));
    let request = profile.register_marker_type(schema(
        "Request",
        &[("uri", "URI"), ("status", "Status"), ("cpu", "CPU"), ("wait", "Waiting"), ("route", "Route")],
    ));
    let mut groups: BTreeMap<&str, Vec<Timed>> = BTreeMap::new();
    for timed in stacks(php) {
        groups.entry(group_of(php, timed.stack.route)).or_default().push(timed);
    }
    for (number, (group, stacks)) in groups.iter().enumerate() {
        let pid = GROUPS + number as u32;
        let process = profile.add_process(&format!("{}: all stacks", named(group)), pid, moment(counted_from));
        let thread = profile.add_thread(process, pid, moment(counted_from), true);
        profile.set_thread_samples_weight_type(thread, WeightType::TracingMs);
        profile.add_initial_visible_thread(thread);
        if number == 0 {
            profile.add_initial_selected_thread(thread);
        }
        add_stacks(&mut profile, thread, php, stacks, (counted_from, interval_ms, first), &kinds);
        if number == 0 {
            for (what, place, count) in problems(php) {
                let texts = [what, place, count.to_string()].map(|text| profile.intern_string(&text));
                let name = profile.intern_string("Problem");
                let marker = Texts { kind: problem, name, category: kinds.problem, texts: texts.to_vec() };
                profile.add_marker(thread, MarkerTiming::Interval(moment(counted_from), moment(end_ms)), marker);
            }
        }
    }
    for worker in &php.workers {
        let group = worker.group.as_deref().unwrap_or(&worker.pool);
        let state = match worker.state {
            WorkerState::Running => "running",
            WorkerState::Idle => "idle",
            WorkerState::Unknown => "state unknown",
        };
        // The track of a main thread has the name of its process.
        let name = format!("{} ({state})   {}", names::worker(worker.key()), named(group));
        let process = profile.add_process(&name, worker.tid.unwrap_or(worker.pid), moment(first));
        let thread = profile.add_thread(process, worker.tid.unwrap_or(worker.pid), moment(first), true);
        profile.add_initial_visible_thread(thread);
        for served in php.requests.iter().filter(|served| served.worker() == worker.key()) {
            let texts = request_texts(php, served).map(|text| profile.intern_string(&text));
            let name = profile.intern_string(&served.method);
            let marker = Texts { kind: request, name, category: kinds.user, texts: texts.to_vec() };
            let start = served.started_at.as_millisecond();
            let timing = match served.finished {
                true => MarkerTiming::Interval(moment(start), moment(start.saturating_add(served.duration_ms as i64))),
                false => MarkerTiming::IntervalStart(moment(start)),
            };
            profile.add_marker(thread, timing, marker);
        }
    }
    json::write_line(&profile, out)
}

fn group_of(php: &Php, route: usize) -> &str {
    php.routes.get(route).map_or("", |route| &route.key.group)
}

fn named(group: &str) -> &str {
    if group.is_empty() { "PHP" } else { group }
}

/// Categories of frames and markers.
struct Kinds {
    user: CategoryHandle,
    built_in: CategoryHandle,
    waiting: CategoryHandle,
    problem: CategoryHandle,
}

/// Lays stacks one after the other over the time that they were counted in.
fn add_stacks(
    profile: &mut Profile,
    thread: ThreadHandle,
    php: &Php,
    stacks: &[Timed],
    (from, interval_ms, first): (i64, i64, i64),
    kinds: &Kinds,
) {
    let whole: u64 = stacks.iter().map(|timed| timed.cpu_ns + timed.wait_ns).sum();
    let mut before = 0_u64;
    // Weights are whole milliseconds: what is rounded off goes to the next.
    let mut given = 0_u64;
    for timed in stacks {
        for (ns, waits) in [(timed.cpu_ns, false), (timed.wait_ns, true)] {
            if ns == 0 {
                continue;
            }
            let at = before as f64 / whole.max(1) as f64 * interval_ms as f64;
            before += ns;
            let weight = (before / 1_000_000).saturating_sub(given);
            given += weight;
            let mut frames = vec![(timed.route().into_owned(), kinds.user)];
            frames.extend(timed.frames().filter_map(|frame| php.functions.get(frame)).map(|function| {
                let built_in = function.key.kind == FunctionKind::Internal;
                (name(function).into_owned(), if built_in { kinds.built_in } else { kinds.user })
            }));
            if waits {
                frames.push(("waiting".to_owned(), kinds.waiting));
            }
            let infos: Vec<FrameInfo> = frames
                .into_iter()
                .filter(|(name, _)| !name.is_empty())
                .map(|(name, category)| FrameInfo {
                    frame: Frame::Label(profile.intern_string(&name)),
                    category_pair: category.into(),
                    flags: FrameFlags::empty(),
                })
                .collect();
            let stack = profile.intern_stack_frames(thread, infos.into_iter());
            let moment = Timestamp::from_millis_since_reference((from - first).max(0) as f64 + at);
            let cpu = if waits { CpuDelta::ZERO } else { CpuDelta::from_nanos(ns) };
            profile.add_sample(thread, moment, stack, cpu, i32::try_from(weight).unwrap_or(i32::MAX));
        }
    }
}

/// Exceptions and errors: what, where and how often.
fn problems(php: &Php) -> impl Iterator<Item = (String, String, u64)> + '_ {
    let exceptions = php.exceptions.iter().flatten().map(|exception| {
        let what = format!("{}: {}", exception.class, exception.message);
        (what, names::place(&exception.file, exception.line).into_owned(), exception.count)
    });
    let errors = php.errors.iter().flatten().map(|error| {
        let what = format!("{}: {}", error.level, error.message);
        (what, names::place(&error.file, error.line).into_owned(), error.count)
    });
    exceptions.chain(errors)
}

fn request_texts(php: &Php, request: &Request) -> [String; 5] {
    let unknown = || "-".to_owned();
    let ms = |ms: Option<f64>| ms.map_or_else(unknown, |ms| format!("{ms:.1} ms"));
    [
        request.uri.to_string(),
        request.status.map_or_else(unknown, |status| status.to_string()),
        ms(request.cpu_ms),
        ms(request.wait_ms),
        php.routes.get(request.route).map_or_else(unknown, |route| names::route(route).to_owned()),
    ]
}

fn schema(name: &str, fields: &[(&str, &str)]) -> RuntimeSchemaMarkerSchema {
    let first = fields.first().map_or("", |(key, _)| key);
    let label = Some(format!("{{marker.name}} {{marker.data.{first}}}"));
    RuntimeSchemaMarkerSchema {
        type_name: name.to_owned(),
        description: None,
        locations: MarkerLocations::MARKER_CHART | MarkerLocations::MARKER_TABLE | MarkerLocations::TIMELINE_OVERVIEW,
        chart_label: label.clone(),
        tooltip_label: label.clone(),
        table_label: label,
        fields: fields
            .iter()
            .map(|(key, label)| RuntimeSchemaMarkerField {
                key: (*key).to_owned(),
                label: (*label).to_owned(),
                format: MarkerFieldFormat::String,
                flags: MarkerFieldFlags::SEARCHABLE,
            })
            .collect(),
        graphs: Vec::new(),
    }
}

/// A marker whose fields are all texts.
struct Texts {
    kind: MarkerTypeHandle,
    name: StringHandle,
    category: CategoryHandle,
    texts: Vec<StringHandle>,
}

impl Marker for Texts {
    fn marker_type(&self, _: &mut Profile) -> MarkerTypeHandle {
        self.kind
    }

    fn name(&self, _: &mut Profile) -> StringHandle {
        self.name
    }

    fn category(&self, _: &mut Profile) -> CategoryHandle {
        self.category
    }

    fn string_field_value(&self, field: u32) -> StringHandle {
        self.texts.get(field as usize).copied().unwrap_or(self.name)
    }

    fn number_field_value(&self, _: u32) -> f64 {
        0.0
    }
}
