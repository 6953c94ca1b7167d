//! Routes (requests added up) and requests (one by one, those that run first).

use std::{borrow::Cow, cmp::Reverse};

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::hot;
use crate::{
    analysis::profile::{self, Scope},
    model::{Request, Route, Tier},
    ui::{filter::Filter, frame::Screen, list, paint, panes::empty},
    view::{Pane, Row, Scene, Sort},
    words::{names, printable, units},
};

/// Columns for what a request waits in.
const WAITS: usize = 26;

/// Draws the routes.
pub(crate) fn draw_routes(buffer: &mut Buffer, rect: Rect, screen: &Screen, scene: &mut Scene) {
    let palette = screen.palette;
    // A chosen route narrows the other lists; here it is marked among its neighbours.
    let scope = match &screen.scope {
        Scope::Route(_) => &Scope::All,
        scope => scope,
    };
    let pane = screen.view.pane(Pane::Routes);
    let order = match pane.sort {
        Some(Sort::Rate) => "by rate",
        Some(Sort::Errors) => "by errors",
        Some(Sort::Name) => "by name",
        Some(Sort::Cpu) => "by cpu",
        Some(Sort::Memory) => "by memory",
        _ => "by p99",
    };
    let area = frame(buffer, rect, Pane::Routes, "routes", order, scope, screen);
    let routes = routes(screen, scope);
    if routes.is_empty() {
        list::empty(buffer, area, &why_empty(screen, Pane::Routes, scope), screen);
        return;
    }
    let by_memory = pane.sort == Some(Sort::Memory);
    let seconds = screen.covered.as_secs_f64().max(0.001);
    let rows = routes.iter().map(|route| Row::Route(route.key.clone())).collect();
    for (index, y, selected) in list::place(rows, Pane::Routes, area, screen, scene) {
        let route = routes[index];
        let cpu = route.cpu_ns.filter(|_| route.requests > 0).map(|ns| ns as f64 / 1e6 / route.requests as f64);
        let errors = if route.errors > 0 { palette.error } else { palette.muted };
        let rate = units::rate(route.requests as f64 / seconds);
        let values = [
            (9, 0, units::at_least(rate, route.requests, route.count_error), palette.text),
            (9, 62, format!("p50 {:>4}", units::milliseconds(route.duration_ms.p50)), palette.text),
            (9, 78, format!("p95 {:>4}", units::milliseconds(route.duration_ms.p95)), palette.text),
            (12, 44, format!("p99 {:>4} ms", units::milliseconds(route.duration_ms.p99)), palette.text),
            (11, 92, format!("cpu {:>7}", cpu.map_or_else(|| "-".to_owned(), units::duration_ms)), palette.muted),
            (7, 54, format!("err {:>3}", units::count(route.errors)), errors),
            (13, if by_memory { 0 } else { 106 }, peak(route), palette.text),
            (15, if by_memory { 70 } else { 122 }, growth(route), palette.muted),
        ];
        let chosen = screen.view.route.as_ref().is_some_and(|key| *key == route.key);
        let mark = if chosen { "▶" } else { " " };
        let method = match &*route.key.method {
            "" if route.key.is_other() || route.key.is_not_found() => "",
            "" => "cli",
            method => method,
        };
        // Where two groups have the same route, the group is said.
        let is_shared = routes.iter().any(|other| {
            other.key.route == route.key.route
                && other.key.method == route.key.method
                && names::route(other) == names::route(route)
                && other.key.group != route.key.group
        });
        let name: Cow<str> = match is_shared {
            true => format!("{}   {}", names::route(route), route.key.group).into(),
            false => names::route(route).into(),
        };
        let parts = Row1 { mark, left: method, left_width: 5, name: &name, values: &values };
        row(buffer, area, y, &parts, screen);
        if selected {
            list::mark(buffer, area, y, Pane::Routes, screen);
        }
    }
}

/// What 95 of 100 requests of a route stay below.
fn peak(route: &Route) -> String {
    let peak = route.memory.as_ref().map_or_else(|| "-".to_owned(), |memory| units::bytes(memory.p95_bytes));
    format!("peak {peak:>8}")
}

fn growth(route: &Route) -> String {
    let growth = route.rss_growth_bytes.map_or_else(|| "-".to_owned(), |bytes| units::bytes(bytes.unsigned_abs()));
    format!("growth {growth:>8}")
}

/// Draws the requests.
pub(crate) fn draw_requests(buffer: &mut Buffer, rect: Rect, screen: &Screen, scene: &mut Scene) {
    let palette = screen.palette;
    let scope = &screen.scope;
    let by_memory = screen.view.pane(Pane::Requests).sort == Some(Sort::Memory);
    let order = if by_memory { "biggest first" } else { "running, then slowest" };
    let area = frame(buffer, rect, Pane::Requests, "requests", order, scope, screen);
    let requests = requests(screen, scope);
    if requests.is_empty() {
        list::empty(buffer, area, &why_empty(screen, Pane::Requests, scope), screen);
        return;
    }
    let rows = requests.iter().map(|r| Row::Request { pid: r.pid, started_at: r.started_at }).collect();
    for (index, y, selected) in list::place(rows, Pane::Requests, area, screen, scene) {
        let request = requests[index];
        let (status, style) = status(request, screen);
        let cpu = request.cpu_ms.map_or_else(|| "cpu -".to_owned(), |ms| format!("cpu {}", units::duration_ms(ms)));
        let duration = units::duration_ms(request.duration_ms);
        let duration = if request.start_known { duration } else { format!("≥{duration}") };
        let values = [
            (9, 0, duration, if request.finished { palette.text } else { style }),
            (12, 70, cpu, palette.muted),
            (12, 56, format!("pid {}", request.pid), palette.muted),
            (9, 84, since(request, screen), palette.muted),
            (13, if by_memory { 0 } else { 98 }, size(request), palette.text),
            (WAITS as u16, 110, waits(request, screen), palette.warn),
        ];
        let name = if request.uri.is_empty() {
            screen.php.routes.get(request.route).map_or("-", names::route).to_owned()
        } else {
            format!("{} {}", request.method, request.uri)
        };
        let mark = if request.finished { " " } else { "▶" };
        let parts = Row1 { mark, left: &status, left_width: 4, name: &name, values: &values };
        row(buffer, area, y, &parts, screen);
        if selected {
            list::mark(buffer, area, y, Pane::Requests, screen);
        }
    }
}

/// The status of a request and its style.
pub(crate) fn status(request: &Request, screen: &Screen) -> (String, Style) {
    match request.status {
        Some(status) if status >= 500 => (status.to_string(), screen.palette.error),
        Some(status) if status >= 400 => (status.to_string(), screen.palette.warn),
        Some(status) => (status.to_string(), screen.palette.ok),
        None if request.aborted => ("dead".to_owned(), screen.palette.error),
        None if request.finished => ("-".to_owned(), screen.palette.muted),
        None => ("run".to_owned(), screen.palette.warn),
    }
}

/// The most memory that a request had.
fn size(request: &Request) -> String {
    let peak = request.memory_peak_bytes.map_or_else(|| "-".to_owned(), units::bytes);
    format!("peak {peak:>8}")
}

/// What a request that runs waits in.
fn waits(request: &Request, screen: &Screen) -> String {
    let (Some(waiting), Some(snapshot)) = (&request.waiting, screen.snapshot) else { return String::new() };
    let waited = names::waited(waiting, snapshot.at);
    let room = WAITS.saturating_sub(waited.chars().count() + 1);
    format!("{} {waited}", printable::truncate_end(&names::function(&waiting.function), room))
}

fn since(request: &Request, screen: &Screen) -> String {
    let Some(snapshot) = screen.snapshot.filter(|_| request.finished) else { return String::new() };
    let ended = request.started_at.as_millisecond() as f64 + request.duration_ms;
    let age = (snapshot.at.as_millisecond() as f64 - ended).max(0.0) / 1000.0;
    format!("{} ago", units::age(age as u64))
}

/// One row: a mark, a short word, a name that takes what is left, and values at the right edge.
struct Row1<'a> {
    mark: &'a str,
    left: &'a str,
    left_width: u16,
    name: &'a str,
    /// Columns, the width of the pane from which on it is shown, text, style.
    values: &'a [(u16, u16, String, Style)],
}

fn row(buffer: &mut Buffer, area: Rect, y: u16, row: &Row1, screen: &Screen) {
    let palette = screen.palette;
    let shown: Vec<_> = row.values.iter().filter(|(_, least, ..)| area.width >= *least).collect();
    let taken: u16 = shown.iter().map(|(columns, ..)| columns + 2).sum();
    paint::put(buffer, (area.x, y), 1, row.mark, palette.focus);
    paint::put(buffer, (area.x + 2, y), row.left_width, row.left, palette.muted);
    let x = area.x + 2 + row.left_width + 1;
    let end = area.right().saturating_sub(taken).max(x);
    paint::put(buffer, (x, y), end - x, row.name, palette.title);
    let mut x = end;
    for (columns, _, value, style) in shown {
        let room = (*columns).min(area.right().saturating_sub(x + 2));
        paint::put_right(buffer, (x + 2, y), room, value, *style);
        x += columns + 2;
    }
}

fn frame(
    buffer: &mut Buffer,
    rect: Rect,
    pane: Pane,
    title: &str,
    order: &str,
    scope: &Scope,
    screen: &Screen,
) -> Rect {
    let palette = screen.palette;
    let focused = screen.view.focus.0 == pane;
    let style = if focused { palette.focus } else { palette.title };
    let (of, filter) = (hot::scope_name(scope), list::filter_title(pane, screen));
    let inverted = if screen.view.pane(pane).inverted { "inverted" } else { "" };
    let parts = [
        (title, style),
        (&*filter, palette.warn),
        (&screen.window_name(), palette.muted),
        (&*of, palette.text),
        (order, palette.muted),
        (inverted, palette.muted),
    ];
    paint::pane(buffer, rect, &parts, focused, palette)
}

fn routes<'a>(screen: &Screen<'a>, scope: &Scope) -> Vec<&'a Route> {
    let pane = screen.view.pane(Pane::Routes);
    let filter = Filter::new(&pane.filter);
    let mut routes: Vec<&Route> = screen
        .php
        .routes
        .iter()
        // Code outside of any known request has no name of its own; it shows in the hot list.
        .filter(|r| r.requests > 0 || !names::route(r).is_empty())
        .filter(|r| scope.has(r) && filter.has(&[&r.key.route, &r.key.script, &r.key.method, &r.key.group]))
        .collect();
    let by = |a: Option<f64>, b: Option<f64>| b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0));
    match pane.sort {
        Some(Sort::Rate) => routes.sort_by_key(|route| Reverse(route.requests)),
        Some(Sort::Errors) => routes.sort_by_key(|route| Reverse((route.errors, route.requests))),
        Some(Sort::Cpu) => routes.sort_by_key(|route| Reverse(route.cpu_ns)),
        Some(Sort::Memory) => {
            routes.sort_by_key(|route| {
                Reverse((route.memory.as_ref().map(|memory| memory.p95_bytes), route.rss_growth_bytes))
            });
        }
        Some(Sort::Name) => routes.sort_by(|a, b| names::route(a).cmp(names::route(b))),
        _ => routes.sort_by(|a, b| {
            by(a.duration_ms.p99, b.duration_ms.p99).then_with(|| names::route(a).cmp(names::route(b)))
        }),
    }
    if pane.inverted {
        routes.reverse();
    }
    routes
}

fn requests<'a>(screen: &Screen<'a>, scope: &Scope) -> Vec<&'a Request> {
    let pane = screen.view.pane(Pane::Requests);
    let filter = Filter::new(&pane.filter);
    let mut requests = profile::requests(screen.php, scope);
    requests.retain(|request| {
        let route = screen.php.routes.get(request.route).map_or("", names::route);
        let status = request.status.unwrap_or(0);
        filter.has(&[&request.uri, &request.method, route])
            || filter.has_number(request.pid)
            || filter.has_number(u32::from(status))
    });
    match pane.sort {
        Some(Sort::Cpu) => {
            requests.sort_by(|a, b| b.cpu_ms.unwrap_or(-1.0).total_cmp(&a.cpu_ms.unwrap_or(-1.0)));
        }
        Some(Sort::Memory) => requests.sort_by_key(|request| Reverse(request.memory_peak_bytes)),
        Some(Sort::Errors) => requests.sort_by_key(|request| Reverse(request.status)),
        Some(Sort::Name) => requests.sort_by(|a, b| a.uri.cmp(&b.uri)),
        _ => {}
    }
    if pane.inverted {
        requests.reverse();
    }
    requests
}

fn why_empty<'a>(screen: &'a Screen, pane: Pane, scope: &Scope) -> Vec<&'a str> {
    let tiers: &[Tier] = match screen.view.pane(pane).sort {
        Some(Sort::Memory) => &[Tier::Requests, Tier::Peaks],
        _ => &[Tier::Requests],
    };
    empty::why(screen, pane, tiers, "waiting for the first requests …", || match scope {
        Scope::All => vec!["no requests in this window", "press w for a longer one"],
        _ => vec!["no requests of this pool or route in this window", "w: a longer one, esc: all pools"],
    })
}
