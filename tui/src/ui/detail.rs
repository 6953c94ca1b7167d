//! Everything about one process, function or request, in the place of the pane it was entered from.

use jiff::Timestamp;
use ratatui::{buffer::Buffer, layout::Rect};

use super::{Screen, entries, hot, paint, problem, requests};
use crate::{
    memory,
    model::{Php, Process, Request, Snapshot},
    profile, text, units,
    view::{Detail, FunctionKey, Pane, Scene},
};

/// A label (or a heading) with a value.
struct Line {
    label: String,
    value: String,
    heading: bool,
}

fn fact(label: &str, value: impl Into<String>) -> Line {
    Line { label: label.to_owned(), value: value.into(), heading: false }
}

fn heading(label: &str) -> Line {
    Line { label: label.to_owned(), value: String::new(), heading: true }
}

/// Draws the detail of a pane.
pub fn draw(buffer: &mut Buffer, rect: Rect, pane: Pane, screen: &Screen, scene: &mut Scene) {
    let palette = screen.palette;
    let focused = screen.view.focus.0 == pane;
    let Some((detail, scroll)) = &screen.view.pane(pane).detail else { return };
    let (title, lines) = match detail {
        Detail::Process(pid) => (format!("process {pid}"), process(screen, *pid)),
        Detail::Function(key) => (format!("function {}", function_name(key)), function(screen, key)),
        Detail::Problem(key) => (
            format!("problem {}", key.name),
            problem::facts(screen, key).into_iter().map(|(label, value)| fact(label, value)).collect(),
        ),
        Detail::Request { pid, started_at } => (format!("request of {pid}"), request(screen, *pid, *started_at)),
    };
    let style = if focused { palette.focus } else { palette.title };
    let about = match detail {
        Detail::Function(_) => format!("{}   {}", screen.window_name(), hot::scope_name(&screen.scope())),
        Detail::Problem(_) => screen.window_name().to_owned(),
        _ => String::new(),
    };
    let parts = [(&*title, style), (&*about, palette.muted), ("esc back", palette.muted)];
    let area = paint::pane(buffer, rect, &parts, focused, palette);
    let label_width = lines.iter().filter(|l| !l.heading).map(|l| text::width(&l.label)).max().unwrap_or(0) as u16;
    let label_width = label_width.min(area.width / 3);
    let lines = wrapped(lines, usize::from(area.width.saturating_sub(label_width + 4)));
    if focused {
        scene.scrollable = lines.len().saturating_sub(usize::from(area.height));
    }
    let first = (*scroll).min(lines.len().saturating_sub(usize::from(area.height)));
    for (line, y) in lines.iter().skip(first).zip(area.y..area.bottom()) {
        if line.heading {
            paint::put(buffer, (area.x + 1, y), area.width.saturating_sub(1), &line.label, palette.title);
            continue;
        }
        paint::put(buffer, (area.x + 1, y), label_width, &line.label, palette.muted);
        let x = area.x + label_width + 3;
        paint::put(buffer, (x, y), area.right().saturating_sub(x), &line.value, palette.text);
    }
}

/// Long values go on in further lines.
fn wrapped(lines: Vec<Line>, room: usize) -> Vec<Line> {
    let room = room.max(4);
    let mut out = Vec::with_capacity(lines.len());
    for line in lines {
        let value = text::printable(&line.value).into_owned();
        if line.heading || text::width(&value) <= room {
            out.push(Line { value, ..line });
            continue;
        }
        let (mut label, mut part, mut used) = (line.label, String::new(), 0);
        for c in value.chars() {
            let columns = text::width(c.encode_utf8(&mut [0; 4]));
            if used + columns > room {
                out.push(Line { label: std::mem::take(&mut label), value: std::mem::take(&mut part), heading: false });
                used = 0;
            }
            part.push(c);
            used += columns;
        }
        out.push(Line { label, value: part, heading: false });
    }
    out
}

fn process(screen: &Screen, pid: u32) -> Vec<Line> {
    let Some(snapshot) = screen.snapshot else { return Vec::new() };
    let found = snapshot.processes.iter().find(|process| process.pid == pid);
    let Some(process) = found else { return vec![heading("this process has ended; esc goes back")] };
    let mut lines = vec![
        fact("command", &*process.comm),
        fact("command line", if process.cmdline.is_empty() { "-" } else { &process.cmdline }),
        fact("user", &*process.user),
        fact("parent", parent(snapshot, process)),
        fact("group", snapshot.groups.get(process.group).map_or("-", |group| &group.name)),
        fact("rule", snapshot.groups.get(process.group).map_or("-", |group| &group.rule)),
        fact("state", state(process.state)),
        fact("started", process.started_at.map_or_else(|| "-".to_owned(), |at| started(at, screen, snapshot))),
        fact("threads", process.threads.to_string()),
        fact(
            "cpu",
            process.cpu_ratio.map_or_else(|| "-".to_owned(), |cores| format!("{:.1} % of a core", cores * 100.0)),
        ),
    ];
    lines.extend(memory::facts(process, snapshot).into_iter().map(|(label, value)| fact(label, value)));
    lines.extend([
        fact("unit", process.unit.as_deref().unwrap_or("-")),
        fact("container", process.container.as_deref().unwrap_or("-")),
    ]);
    let worker = snapshot.php.workers.iter().find(|worker| worker.pid == pid);
    if let Some(worker) = worker {
        lines.push(heading(""));
        lines.push(heading("PHP worker"));
        lines.push(fact("pool", &*worker.pool));
        let state = format!("{:?}", worker.state).to_lowercase();
        let since =
            worker.since.map_or_else(String::new, |at| format!(" for {}", units::age(seconds(at, snapshot.at))));
        lines.push(fact("state", state + &since));
        lines.push(fact("requests seen", units::count(worker.requests)));
        match entries::running_request(snapshot, pid) {
            Some(request) => lines.extend(request_facts(screen, request)),
            None => lines.push(fact("request", "none now")),
        }
    }
    lines
}

fn parent(snapshot: &Snapshot, process: &Process) -> String {
    let parent = snapshot.processes.iter().find(|other| other.pid == process.ppid);
    format!("{} {}", process.ppid, parent.map_or("", |parent| &parent.comm))
}

fn state(state: char) -> String {
    let name = match state {
        'R' => "running",
        'S' => "sleeping",
        'D' => "waiting for a device (uninterruptible)",
        'Z' => "ended, not collected by its parent",
        'T' => "stopped",
        't' => "stopped by a tracer",
        'I' => "idle",
        _ => "",
    };
    format!("{state} {name}")
}

fn started(at: Timestamp, screen: &Screen, snapshot: &Snapshot) -> String {
    let local = at.to_zoned(screen.time_zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    format!("{local}, {} ago", units::age(seconds(at, snapshot.at)))
}

fn seconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_second() - from.as_second()).unwrap_or(0)
}

fn request(screen: &Screen, pid: u32, started_at: Timestamp) -> Vec<Line> {
    let found = screen.php.requests.iter().find(|r| r.pid == pid && r.started_at == started_at);
    match found {
        Some(request) => request_facts(screen, request),
        None => vec![heading("this request is not in the window any more; esc goes back")],
    }
}

fn request_facts(screen: &Screen, request: &Request) -> Vec<Line> {
    let route = screen.php.routes.get(request.route);
    let (status, _) = requests::status(request, screen);
    let mut lines = vec![
        fact("request", format!("{} {}", request.method, request.uri)),
        fact("status", if request.finished { status } else { "still running".to_owned() }),
        fact("duration", units::duration_ms(request.duration_ms)),
        fact("cpu", request.cpu_ms.map_or_else(|| "-".to_owned(), units::duration_ms)),
        fact("waiting", request.wait_ms.map_or_else(|| "-".to_owned(), units::duration_ms)),
        fact("started", screen.snapshot.map_or_else(|| "-".to_owned(), |s| started(request.started_at, screen, s))),
        fact("worker", request.pid.to_string()),
    ];
    if let Some(route) = route {
        lines.push(fact("route", requests::route_name(route)));
        lines.push(fact("script", &*route.script));
        lines.push(fact("group", &*route.group));
    }
    lines
}

fn function_name(key: &FunctionKey) -> String {
    if key.class.is_empty() { key.name.to_string() } else { format!("{}::{}", key.class, key.name) }
}

/// What tracing says of a function.
fn traced(php: &Php, key: &FunctionKey) -> Vec<Line> {
    let function = php.functions.iter().find(|function| FunctionKey::of(function) == *key);
    let Some((function, calls)) = function.and_then(|function| Some((function, function.calls?))) else {
        return Vec::new();
    };
    let time = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), units::duration_ns);
    let mut lines = vec![
        fact("traced calls", units::count(calls)),
        fact("traced self", time(function.self_ns)),
        fact("traced total", time(function.total_ns)),
    ];
    let durations = function.durations_log2.as_deref().unwrap_or_default();
    let most = durations.iter().copied().max().unwrap_or(0).max(1);
    let first = durations.iter().position(|&calls| calls > 0).unwrap_or(0);
    for (bucket, &calls) in durations.iter().enumerate().skip(first) {
        let bar = paint::bar(20, calls as f64 / most as f64, 0.0);
        let label = format!("from {}", units::duration_ns(1 << bucket));
        lines.push(fact(&label, format!("{bar} {}", units::count(calls))));
    }
    lines
}

fn function(screen: &Screen, key: &FunctionKey) -> Vec<Line> {
    let scope = screen.scope();
    let php = screen.php;
    let basis = profile::Basis::of(php, screen.view.hot_time);
    let around = profile::around(php, key, &scope, basis);
    let all = basis.ns(profile::time(php, &scope)).max(1) as f64;
    let share = |ns: u64| units::percent_column(ns as f64 / all);
    let times = |time: profile::Time| {
        let samples = units::count(time.samples);
        let wait = units::duration_ns(time.wait_ns);
        format!("{}   {samples} samples on the CPU, {wait} waiting", share(basis.ns(time)))
    };
    let place = match (&*key.file, key.line) {
        ("", _) => "builtin".to_owned(),
        (file, 0) => file.to_owned(),
        (file, line) => format!("{file}:{line}"),
    };
    let mut lines = vec![
        fact("file", place),
        fact("time", hot::time_name(screen.view.hot_time)),
        fact("self", times(around.own)),
        fact("total", times(around.total)),
    ];
    lines.extend(traced(php, key));
    if around.total == profile::Time::default() {
        lines.push(heading("no sample of it in this time and scope"));
    }
    for (title, list) in [("called by", &around.callers), ("calls", &around.callees)] {
        if !list.is_empty() {
            lines.extend([heading(""), heading(title)]);
        }
        for (index, samples) in list.iter().take(50) {
            let Some(function) = php.functions.get(*index) else { continue };
            lines.push(fact(&share(*samples), format!("{}   {}", hot::name(function), hot::place(function))));
        }
    }
    if !around.routes.is_empty() {
        lines.extend([heading(""), heading("in routes")]);
    }
    for (index, samples) in around.routes.iter().take(50) {
        let Some(route) = php.routes.get(*index) else { continue };
        let name = format!("{} {}   {}", route.method, requests::route_name(route), route.group);
        lines.push(fact(&share(*samples), name));
    }
    lines
}
