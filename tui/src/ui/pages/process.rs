//! The page of one process: what the snapshot says, and what inspection found, with its age and its cost.

use jiff::Timestamp;

use super::{
    facts::{Kind, Line, fact, heading},
    memory_facts, memory_kinds,
};
use crate::{
    model::{CgroupLimit, Inspection, Limit, Process, ProcessKey, Reading, Request, Snapshot, Unit, Unread},
    ui::{
        frame::Screen,
        panes::memory::{entries, target},
    },
    words::{memory, names, units},
};

/// Width of a pane from which on the page has two columns.
pub(crate) const TWO_COLUMNS: u16 = 140;
/// The part that the second column begins with.
pub(crate) const SECOND: usize = 3;
/// From this share of a limit on a value is marked.
const CLOSE: f64 = 0.8;
/// Limits that say nothing about memory or files and are always set.
const UNIMPORTANT: [&str; 4] = ["nice priority", "realtime priority", "msgqueue size", "pending signals"];
/// Limits that matter also where they are unlimited.
const IMPORTANT: [&str; 3] = ["address space", "locked memory", "processes"];

/// The title of the page.
pub(crate) fn title(screen: &Screen, key: ProcessKey) -> String {
    let process = screen.snapshot.and_then(|snapshot| target::process(snapshot, key));
    let inspected = || inspection(screen, key).map(|inspection| &inspection.comm);
    let name = process.map(|process| &process.comm).or_else(inspected);
    name.map_or_else(|| format!("process {}", key.pid), |name| format!("process {} {name}", key.pid))
}

/// Whether the mappings of the process whose page is open have to be asked for.
pub(crate) fn askable(screen: &Screen) -> bool {
    let Some(order) = screen.view.inspected() else { return false };
    inspection(screen, order.process).is_some_and(memory_kinds::askable)
}

/// The close look at this process, if there is one.
fn inspection<'a>(screen: &Screen<'a>, key: ProcessKey) -> Option<&'a Inspection> {
    screen.inspection.filter(|inspection| {
        let other = key.start_ticks.zip(inspection.process.start_ticks).is_some_and(|(one, two)| one != two);
        inspection.process.pid == key.pid && !other
    })
}

/// The parts of the page: the process, its request, its memory; limits, control group, program. `width` is that of the pane.
pub(crate) fn parts(screen: &Screen, key: ProcessKey, width: u16) -> Vec<Vec<Line>> {
    let Some(snapshot) = screen.snapshot else { return Vec::new() };
    let process = target::process(snapshot, key);
    let inspection = inspection(screen, key);
    if process.is_none() && inspection.is_none() {
        return vec![vec![heading("this process has ended; esc goes back")]];
    }
    let now = inspection.map_or(snapshot.at, |inspection| snapshot.at.max(inspection.at));
    let width = if width >= TWO_COLUMNS { width / 2 } else { width };
    let memory = match inspection {
        None if screen.view.recorded || screen.scrub.is_some() => {
            vec![heading("memory by kind"), muted("known only of what runs now: it is not recorded".to_owned())]
        }
        None => vec![heading("memory by kind"), muted("reading …".to_owned())],
        Some(inspection) => memory_kinds::lines(inspection, now, width),
    };
    let mut first = Vec::new();
    if process.is_none() || inspection.is_some_and(|inspection| inspection.ended) {
        let mut line = heading("this process has ended: these are the last values");
        line.value = "esc goes back".to_owned();
        first.push(line);
    }
    if let Some(process) = process {
        first.extend(of_snapshot(screen, snapshot, process, inspection));
    }
    let mut parts = vec![first, worker(screen, snapshot, key.pid), memory];
    if let Some(inspection) = inspection {
        parts.extend([limits(inspection), control_group(inspection, process), program(inspection, process)]);
    } else if let Some(process) = process {
        parts.push(vec![heading("program"), fact("command line", or_dash(&process.cmdline))]);
    }
    parts
}

fn of_snapshot(screen: &Screen, snapshot: &Snapshot, process: &Process, inspection: Option<&Inspection>) -> Vec<Line> {
    let group = snapshot.groups.get(process.group);
    let cpu = process.cpu_ratio.map_or_else(|| "-".to_owned(), |cores| format!("{:.1} % of a core", cores * 100.0));
    let threads = format!("{} thread{}", process.threads, if process.threads == 1 { "" } else { "s" });
    let scheduling = inspection.and_then(|inspection| Some((inspection.nice.ok()?, inspection.policy.as_ref().ok()?)));
    let scheduling = scheduling.map_or_else(String::new, |(nice, policy)| format!(", nice {nice}, {policy}"));
    let mut lines = vec![
        fact("user", format!("{}, parent {}", process.user, parent(snapshot, process))),
        fact("group", group.map_or_else(|| "-".to_owned(), |group| format!("{}, by {}", group.name, group.rule))),
        fact("state", state(process.state, inspection)),
        fact("started", process.started_at.map_or_else(|| "-".to_owned(), |at| started(at, screen, snapshot))),
        fact("cpu", format!("{cpu}, {threads}{scheduling}")),
    ];
    if let Some(inspection) = inspection {
        let switches = inspection.switches.map(|(waited, made)| {
            format!("{} voluntary, {} involuntary (main thread)", units::count(waited), units::count(made))
        });
        lines.push(reading("switches", switches));
    }
    lines.push(fact("memory", memory::sizes(process)));
    if process.disk.sum().is_some() {
        let [read, written] = [process.disk.read_bytes_per_s, process.disk.written_bytes_per_s].map(units::bytes_rate);
        lines.push(fact("disk", format!("reads {read}, writes {written}")));
    }
    let cgroup = process.cgroup.and_then(|index| snapshot.cgroups.get(index));
    // The close look has a part of its own for it.
    if let Some(cgroup) = cgroup.filter(|_| inspection.is_none()) {
        lines.push(fact("cgroup", format!("{}   {}", memory::cgroup(cgroup).0, cgroup.path)));
    }
    let what = cgroup.map(|cgroup| {
        [
            ("cgroup has", memory::cgroup_parts(cgroup)),
            ("cgroup was", memory::cgroup_events(cgroup)),
            ("cgroup grows", memory::cgroup_growth(cgroup)),
        ]
    });
    lines
        .extend(what.into_iter().flatten().filter(|(_, text)| !text.is_empty()).map(|(label, text)| fact(label, text)));
    lines
}

/// What the PHP worker does that the process is.
fn worker(screen: &Screen, snapshot: &Snapshot, pid: u32) -> Vec<Line> {
    let request = entries::running_request(snapshot, pid);
    let Some(worker) = snapshot.php.workers.iter().find(|worker| worker.pid == pid) else {
        // A script of the command line is no worker.
        let of_script = |request| [vec![heading("PHP script")], of_request(request, screen, snapshot)].concat();
        return request.map_or_else(Vec::new, of_script);
    };
    let state = format!("{:?}", worker.state).to_lowercase();
    let since = worker.since.map_or_else(String::new, |at| format!(" for {}", units::age(seconds(at, snapshot.at))));
    let seen = worker.requests.map_or_else(|| "-".to_owned(), units::count);
    let mut lines =
        vec![heading("PHP worker"), fact("pool", format!("{}, {state}{since}, {seen} requests seen", worker.pool))];
    if let Some(bloat) = &worker.bloated_by {
        let (private, peak) = (units::bytes(bloat.private_bytes), units::bytes(bloat.peak_bytes));
        let ago = units::age(seconds(bloat.at, snapshot.at));
        let by = format!("{private} for itself, by {} {}, {peak}, {ago} ago", bloat.method, bloat.route);
        lines.push(Line { kind: Kind::Warning, ..fact("bloated", by) });
    }
    match request {
        Some(request) => lines.extend(of_request(request, screen, snapshot)),
        None => lines.push(fact("request", "none now")),
    }
    lines
}

/// The request that runs in a process.
fn of_request(request: &Request, screen: &Screen, snapshot: &Snapshot) -> Vec<Line> {
    let time = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), units::duration_ms);
    let (cpu, wait) = (time(request.cpu_ms), time(request.wait_ms));
    let mut lines = Vec::new();
    if !request.uri.is_empty() {
        lines.push(fact("request", format!("{} {}", request.method, request.uri)));
    }
    let duration = units::duration_ms(request.duration_ms);
    let duration = if request.start_known { duration } else { format!("≥ {duration}") };
    lines.push(fact("for", format!("{duration}, cpu {cpu}, waiting {wait}")));
    if let Some(waiting) = &request.waiting {
        lines.push(fact("waits in", names::waiting(waiting, snapshot.at)));
    }
    lines.extend(memory_facts(screen, request));
    if let Some(route) = screen.php.routes.get(request.route) {
        lines.push(fact("route", format!("{} in {}", names::route(route), route.key.script)));
    }
    lines
}

fn limits(inspection: &Inspection) -> Vec<Line> {
    let mut lines = vec![heading("limits")];
    let files = inspection.files.map(|files| {
        let least = if files.exact { "" } else { "≥ " };
        let kinds = [(files.files, "file"), (files.sockets, "socket"), (files.pipes, "pipe"), (files.other, "other")];
        let kinds = kinds.iter().filter(|(count, _)| *count > 0);
        let kinds: Vec<String> = kinds
            .map(|(count, name)| format!("{} {name}{}", units::count(*count), if *count == 1 { "" } else { "s" }))
            .collect();
        let of = if files.complete { "" } else { "of the first: " };
        (format!("{least}{}", of_limit(files.count, files.limit, units::count)), format!("{of}{}", kinds.join(", ")))
    });
    match files {
        Err(why) => lines.push(fact("open files", dash(why))),
        Ok((count, kinds)) => {
            let share = inspection.files.ok().and_then(|files| share(files.count, files.limit));
            lines.push(marked("open files", format!("{count}   {kinds}"), share));
        }
    }
    match &inspection.limits {
        Err(why) => lines.push(fact("resource limits", dash(*why))),
        Ok(limits) => {
            let shown = limits.iter().filter(|limit| {
                let set = limit.soft.is_some() && !UNIMPORTANT.contains(&&*limit.name);
                &*limit.name != "open files" && (set || IMPORTANT.contains(&&*limit.name))
            });
            lines.extend(shown.map(|limit| fact(&limit.name, resource(limit))));
        }
    }
    let adjusted = inspection.oom_score_adj.map_or_else(dash, |adjusted| adjusted.to_string());
    let score = inspection.oom_score.map(|score| format!("{score}, adjusted by {adjusted}"));
    lines.push(reading("oom score", score));
    lines
}

fn resource(limit: &Limit) -> String {
    let value = |value: Option<u64>| match (value, limit.unit) {
        (None, _) => "unlimited".to_owned(),
        (Some(bytes), Unit::Bytes) => units::bytes(bytes),
        (Some(seconds), Unit::Seconds) => units::age(seconds),
        (Some(us), Unit::Microseconds) => units::duration_ns(us.saturating_mul(1000)),
        (Some(count), Unit::Count) => units::count(count),
    };
    if limit.soft == limit.hard {
        value(limit.soft)
    } else {
        format!("{}, can be raised to {}", value(limit.soft), value(limit.hard))
    }
}

fn control_group(inspection: &Inspection, process: Option<&Process>) -> Vec<Line> {
    let mut lines = vec![heading("control group")];
    if let Some(process) = process {
        lines.push(fact("unit", process.unit.as_deref().unwrap_or("-")));
        lines.push(fact("container", process.container.as_deref().unwrap_or("-")));
    }
    let group = match &inspection.cgroup {
        Err(why) => {
            lines.push(fact("path", dash(*why)));
            return lines;
        }
        Ok(group) => group,
    };
    lines.push(fact("path", format!("{} (version {})", group.path, group.version)));
    let swap = group.swap.map_or_else(String::new, |swap| format!(", swap {}", units::bytes(swap)));
    lines.push(fact("memory", format!("{}{swap}", memory::size(group.memory, false))));
    let bytes_limits = [
        ("memory limit", &group.memory_max),
        ("memory high", &group.memory_high),
        (if group.version == 1 { "memory + swap" } else { "swap limit" }, &group.swap_max),
    ];
    for (label, limit) in bytes_limits {
        match limit {
            Some(limit) => lines.push(group_limit(label, limit, units::bytes)),
            None if label == "memory limit" => lines.push(fact(label, "none")),
            None => {}
        }
    }
    match (&group.tasks_max, group.tasks) {
        (Some(limit), _) => lines.push(group_limit("tasks", limit, units::count)),
        (None, Some(tasks)) => lines.push(fact("tasks", format!("{}, no limit", units::count(tasks)))),
        (None, None) => {}
    }
    lines
}

fn group_limit(label: &str, limit: &CgroupLimit, write: fn(u64) -> String) -> Line {
    let at = if limit.at.is_empty() { "/" } else { &limit.at };
    match limit.used {
        None => fact(label, format!("{}, set by {at}", write(limit.limit))),
        Some(used) => {
            let text = format!("{}, set by {at}", of_limit(used, Some(limit.limit), write));
            marked(label, text, share(used, Some(limit.limit)))
        }
    }
}

fn program(inspection: &Inspection, process: Option<&Process>) -> Vec<Line> {
    let cmdline = match &inspection.arguments {
        Ok((arguments, false)) => arguments.to_string(),
        Ok((arguments, true)) => format!("{arguments} … (cut)"),
        Err(why) => process
            .map(|process| &*process.cmdline)
            .filter(|line| !line.is_empty())
            .map_or_else(|| dash(*why), str::to_owned),
    };
    vec![
        heading("program"),
        reading("file", inspection.exe.as_deref().map(str::to_owned).map_err(|why| *why)),
        reading("folder", inspection.cwd.as_deref().map(str::to_owned).map_err(|why| *why)),
        fact("command line", cmdline),
    ]
}

/// A row in the style of what is unknown.
pub(crate) fn muted(label: String) -> Line {
    Line { label, value: String::new(), kind: Kind::Muted }
}

fn reading(label: &str, value: Reading<String>) -> Line {
    fact(label, value.unwrap_or_else(dash))
}

/// A dash, and why.
pub(crate) fn dash(why: Unread) -> String {
    format!("- ({})", crate::words::inspection::why_unread(why))
}

fn marked(label: &str, value: String, share: Option<f64>) -> Line {
    let kind = if share.is_some_and(|share| share >= CLOSE) { Kind::Warning } else { Kind::Fact };
    Line { label: label.to_owned(), value, kind }
}

fn share(used: u64, limit: Option<u64>) -> Option<f64> {
    limit.map(|limit| used as f64 / limit.max(1) as f64)
}

fn of_limit(used: u64, limit: Option<u64>, write: fn(u64) -> String) -> String {
    match limit {
        None => format!("{}, no limit", write(used)),
        Some(limit) => {
            format!("{} of {}, {:.0} %", write(used), write(limit), used as f64 * 100.0 / limit.max(1) as f64)
        }
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn parent(snapshot: &Snapshot, process: &Process) -> String {
    let parent = target::process(snapshot, ProcessKey { pid: process.ppid, start_ticks: None });
    format!("{} {}", process.ppid, parent.map_or("", |parent| &parent.comm))
}

fn state(state: char, inspection: Option<&Inspection>) -> String {
    let name = match state {
        'R' => "running",
        'S' => "sleeping",
        'D' => "waiting for a device (uninterruptible)",
        'Z' => "zombie (not yet reaped)",
        'T' => "stopped",
        't' => "stopped by a tracer",
        'I' => "idle",
        _ => "",
    };
    let within = inspection.and_then(|inspection| inspection.wchan.as_ref().ok()).and_then(Option::as_ref);
    within.map_or_else(|| format!("{state} {name}"), |within| format!("{state} {name} in {within}"))
}

/// A time and how long ago it was.
pub(crate) fn started(at: Timestamp, screen: &Screen, snapshot: &Snapshot) -> String {
    let local = at.to_zoned(screen.time_zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    format!("{local}, {} ago", units::age(seconds(at, snapshot.at)))
}

fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_second() - from.as_second()).unwrap_or(0)
}
