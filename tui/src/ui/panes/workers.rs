//! The workers: a lane for each, with its last minute as a strip, what it does now and for how long, where in the code it is, and its
//! memory. Those that have run longest come first.

use std::{borrow::Cow, cmp::Reverse, collections::HashMap};

use jiff::Timestamp;
use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{empty, hot};
use crate::{
    analysis::{lanes::Did, profile::Scope},
    model::{
        FunctionKey, FunctionKind, Php, PhpState, Process, Request, Snapshot, Tier, Worker, WorkerKey, WorkerState,
    },
    ui::{filter::Filter, frame::Screen, list, paint},
    view::{Pane, Row, Scene, Sort},
    words::{names, units},
};

/// A worker with what belongs to it.
pub(crate) struct Lane<'a> {
    pub worker: &'a Worker,
    pub request: Option<&'a Request>,
    pub process: Option<&'a Process>,
    /// PHP was not read in time: what its workers do is that of the snapshot before.
    is_late: bool,
    /// Since when it is in its state, in milliseconds; `None` when not known.
    pub for_ms: Option<f64>,
}

impl<'a> Lane<'a> {
    /// What is known of a worker.
    pub(crate) fn of(snapshot: &'a Snapshot, key: WorkerKey) -> Option<Self> {
        let worker = snapshot.php.workers.iter().find(|worker| worker.key() == key)?;
        let request = snapshot.php.requests.iter().find(|request| !request.finished && request.worker() == key);
        Some(Self::with(snapshot, worker, request))
    }

    fn with(snapshot: &'a Snapshot, worker: &'a Worker, request: Option<&'a Request>) -> Self {
        let process = snapshot.processes.binary_search_by_key(&worker.pid, |process| process.pid).ok();
        let since = |since: Timestamp| (snapshot.at.duration_since(since).as_secs_f64() * 1000.0).max(0.0);
        Self {
            worker,
            request,
            process: process.map(|index| &snapshot.processes[index]),
            is_late: snapshot.php.state == PhpState::Late,
            for_ms: worker.since.map(since),
        }
    }

    /// What it runs: the method and the URI.
    pub(crate) fn what(&self) -> Cow<'a, str> {
        match (self.request, self.worker.state) {
            (Some(request), _) if request.method.is_empty() => Cow::Borrowed(&request.uri),
            (Some(request), _) => format!("{} {}", request.method, request.uri).into(),
            (None, WorkerState::Idle) => "idle".into(),
            (None, WorkerState::Running) if self.is_late => "a request; PHP was not read in time".into(),
            (None, WorkerState::Running) => "a request that is not listed".into(),
            (None, WorkerState::Unknown) => "-".into(),
        }
    }

    /// Private memory where that is known, else resident memory.
    pub(crate) fn memory(&self) -> Option<u64> {
        // Threads share the memory of their process: what one has is not known.
        if self.worker.tid.is_some() {
            return None;
        }
        let memory = self.process.map(|process| &process.memory);
        memory.and_then(|memory| memory.uss_bytes.or(memory.rss_bytes)).or(self.worker.rss_bytes)
    }

    /// The functions on its stack, the innermost first.
    pub(crate) fn stack(&self, php: &'a Php) -> impl Iterator<Item = &'a FunctionKey> + use<'a> {
        let worker = self.worker;
        worker.stack.iter().filter_map(|&frame| php.functions.get(frame)).map(|function| &*function.key)
    }
}

/// Where it is in the code, and what of the application called that, if it is a built-in function.
fn place(lane: &Lane, php: &Php) -> String {
    if let Some(waiting) = lane.request.and_then(|request| request.waiting.as_ref()) {
        let name = names::function(&waiting.function);
        return match &waiting.caller {
            Some(caller) => format!("{name} < {}", names::function(caller)),
            None => name.into_owned(),
        };
    }
    let mut stack = lane.stack(php);
    let Some(top) = stack.next() else { return String::new() };
    let name = names::function(top);
    match stack.find(|key| key.kind != FunctionKind::Internal) {
        Some(caller) if top.kind == FunctionKind::Internal => format!("{name} < {}", names::function(caller)),
        _ => name.into_owned(),
    }
}

/// Draws the pane.
pub(crate) fn draw(buffer: &mut Buffer, rect: Rect, screen: &Screen, scene: &mut Scene) {
    let palette = screen.palette;
    let focused = screen.view.focus.0 == Pane::Workers;
    let pane = screen.view.pane(Pane::Workers);
    let lanes = lanes(screen);
    let running = lanes.iter().filter(|lane| lane.worker.state == WorkerState::Running).count();
    let threads = lanes.iter().filter(|lane| lane.worker.tid.is_some()).count();
    let of_them = if threads > 0 { format!(" ({threads} of them threads)") } else { String::new() };
    let counts = format!("{} workers{of_them}, {running} busy", lanes.len());
    let order = match pane.sort {
        Some(Sort::Memory) => "by memory",
        Some(Sort::Cpu) => "by CPU in this minute",
        Some(Sort::Rate) => "by requests served",
        Some(Sort::Name) => "by name",
        _ => "by time running",
    };
    let style = if focused { palette.focus } else { palette.title };
    let (of, filter) = (hot::scope_name(&screen.scope), list::filter_title(Pane::Workers, screen));
    let parts = [
        ("workers", style),
        (&*filter, palette.warn),
        (&*of, palette.text),
        (&*counts, palette.muted),
        (if lanes.is_empty() { "" } else { order }, palette.muted),
        (if pane.inverted { "inverted" } else { "" }, palette.muted),
    ];
    let area = paint::pane(buffer, rect, &parts, focused, palette);
    if lanes.is_empty() {
        let why = empty::why(screen, Pane::Workers, &[Tier::Requests], "waiting for the first snapshot …", || {
            vec!["no workers of PHP here", "they appear when PHP-FPM, Apache or php-cgi serves a request"]
        });
        list::empty(buffer, area, &why, screen);
        return;
    }
    let rows = lanes.iter().map(|lane| Row::Worker(lane.worker.key())).collect();
    let columns = Columns::of(area.width);
    for (index, y, selected) in list::place(rows, Pane::Workers, area, screen, scene) {
        draw_lane(buffer, Rect { y, height: 1, ..area }, &lanes[index], &columns, screen);
        if selected {
            list::mark(buffer, area, y, Pane::Workers, screen);
        }
    }
}

/// The workers in the scope that match the filter, in the chosen order.
fn lanes<'a>(screen: &Screen<'a>) -> Vec<Lane<'a>> {
    let Some(snapshot) = screen.snapshot else { return Vec::new() };
    let php = &*snapshot.php;
    let pane = screen.view.pane(Pane::Workers);
    let filter = Filter::new(&pane.filter);
    let running: HashMap<WorkerKey, &Request> =
        php.requests.iter().filter(|request| !request.finished).map(|request| (request.worker(), request)).collect();
    let in_scope = |worker: &Worker, request: Option<&&Request>| match &screen.scope {
        Scope::All => true,
        Scope::Group(group) => worker.group.as_ref() == Some(group),
        Scope::Worker(key) => key.has(worker.key()),
        Scope::Route(_) | Scope::Request { .. } => {
            request.is_some_and(|request| php.routes.get(request.route).is_some_and(|route| screen.scope.has(route)))
        }
    };
    let mut lanes: Vec<Lane> = php
        .workers
        .iter()
        .filter(|worker| in_scope(worker, running.get(&worker.key())))
        .map(|worker| Lane::with(snapshot, worker, running.get(&worker.key()).copied()))
        .filter(|lane| {
            let (key, group) = (lane.worker.key(), lane.worker.group.as_deref().unwrap_or(&lane.worker.pool));
            filter.is_empty()
                || filter.has(&[&lane.what(), &place(lane, php), group])
                || filter.has_number(key.pid)
                || key.tid.is_some_and(|tid| filter.has_number(tid))
        })
        .collect();
    let cpu = |lane: &Lane| screen.lanes.and_then(|lanes| lanes.shares(lane.worker.key())).map_or(-1.0, |(cpu, _)| cpu);
    match pane.sort {
        Some(Sort::Memory) => lanes.sort_by_key(|lane| Reverse(lane.memory())),
        Some(Sort::Cpu) => lanes.sort_by(|a, b| cpu(b).total_cmp(&cpu(a))),
        Some(Sort::Rate) => lanes.sort_by_key(|lane| Reverse(lane.worker.requests)),
        Some(Sort::Name) => lanes.sort_by_cached_key(|lane| lane.what().into_owned()),
        _ => lanes.sort_by(|a, b| {
            let running = |lane: &Lane| lane.worker.state == WorkerState::Running;
            let time = |lane: &Lane| lane.for_ms.unwrap_or(0.0);
            running(b).cmp(&running(a)).then(time(b).total_cmp(&time(a))).then(a.worker.key().cmp(&b.worker.key()))
        }),
    }
    if pane.inverted {
        lanes.reverse();
    }
    lanes
}

struct Columns {
    strip: u16,
    what: u16,
    place: u16,
    growth: bool,
    requests: bool,
    cpu: bool,
}

impl Columns {
    fn of(width: u16) -> Self {
        let strip = (width / 5).clamp(8, 60);
        let (growth, requests, cpu) = (width >= 110, width >= 96, width >= 130);
        let fixed = 8
            + strip
            + 1
            + 9
            + 10
            + if growth { 11 } else { 0 }
            + if requests { 8 } else { 0 }
            + if cpu { 8 } else { 0 };
        let rest = width.saturating_sub(fixed);
        let place = if rest >= 30 { rest * 9 / 20 } else { 0 };
        Self { strip, what: rest.saturating_sub(place + u16::from(place > 0)), place, growth, requests, cpu }
    }
}

fn draw_lane(buffer: &mut Buffer, row: Rect, lane: &Lane, columns: &Columns, screen: &Screen) {
    let (palette, worker) = (screen.palette, lane.worker);
    let (mut x, y) = (row.x, row.y);
    paint::put_right(buffer, (x, y), 7, &worker.tid.unwrap_or(worker.pid).to_string(), palette.text);
    x += 8;
    strip(buffer, (x, y), columns.strip, worker.key(), screen);
    x += columns.strip + 1;
    let is_running = worker.state == WorkerState::Running;
    let (time, style) = match (is_running, lane.for_ms) {
        (true, Some(ms)) if ms >= 10_000.0 => (units::duration_ms(ms), palette.error),
        (true, Some(ms)) if ms >= 1_000.0 => (units::duration_ms(ms), palette.warn),
        (_, Some(ms)) => (units::duration_ms(ms), palette.muted),
        (_, None) => ("-".to_owned(), palette.muted),
    };
    paint::put_right(buffer, (x, y), 8, &time, style);
    x += 9;
    let style = if is_running { palette.title } else { palette.muted };
    paint::put(buffer, (x, y), columns.what, &lane.what(), style);
    x += columns.what + 1;
    if columns.place > 0 {
        let php = screen.snapshot.map(|snapshot| &*snapshot.php);
        let place = php.map_or_else(String::new, |php| place(lane, php));
        paint::put(buffer, (x, y), columns.place, &place, palette.text);
        x += columns.place;
    }
    let lanes = screen.lanes;
    if columns.cpu {
        let shares = lanes.and_then(|lanes| lanes.shares(worker.key()));
        let cpu = shares.map_or_else(|| "-".to_owned(), |(cpu, _)| units::percent(cpu));
        paint::put_right(buffer, (x, y), 7, &cpu, palette.muted);
        x += 8;
    }
    if columns.requests {
        paint::put_right(
            buffer,
            (x, y),
            7,
            &worker.requests.map_or_else(|| "-".to_owned(), units::count),
            palette.muted,
        );
        x += 8;
    }
    let memory = lane.memory().map_or_else(|| "-".to_owned(), units::bytes);
    paint::put_right(buffer, (x, y), 9, &memory, palette.text);
    x += 10;
    if columns.growth {
        let growth = lanes.and_then(|lanes| lanes.growth_per_request(worker.key()));
        let text = growth.map_or_else(|| "-".to_owned(), |growth| growth_text(growth, "/r"));
        paint::put_right(buffer, (x, y), 11, &text, palette.muted);
    }
}

/// Growth with its sign: `▲ 12 KiB/r`; `0` where it is none.
pub(crate) fn growth_text(growth: f64, per: &str) -> String {
    let text = paint::growth(Some(growth), paint::Per::Nothing, 0.0, 1.0);
    if text.is_empty() { "0 B".to_owned() + per } else { text + per }
}

/// The last minute, the newest at the right: a full block for CPU time, a light one for waiting, a dot for nothing.
pub(crate) fn strip(buffer: &mut Buffer, (x, y): (u16, u16), columns: u16, worker: WorkerKey, screen: &Screen) {
    let palette = screen.palette;
    let Some(lanes) = screen.lanes else { return };
    for (column, did) in (0..columns).zip(lanes.strip(worker, usize::from(columns))) {
        let (symbol, style): (&str, Style) = match did {
            Did::Unknown => (" ", palette.muted),
            Did::Nothing => ("·", palette.muted),
            Did::Cpu => ("█", palette.warn),
            Did::Wait => ("░", palette.focus),
        };
        paint::put(buffer, (x + column, y), 1, symbol, style);
    }
}
