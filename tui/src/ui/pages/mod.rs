//! Everything about one process, function, problem or request, in the place of the pane it was entered from.

pub(crate) mod facts;
mod function;
pub(crate) mod machine_memory;
pub(crate) mod memory_kinds;
pub(crate) mod problem;
pub(crate) mod process;
mod worker;

use jiff::Timestamp;
use ratatui::{buffer::Buffer, layout::Rect};

use self::facts::{Kind, Line, Page, fact, heading};
use super::{
    frame::Screen,
    paint,
    panes::{hot, requests},
};
use crate::{
    model::{MemoryUnknown, Request, Tier},
    view::{Detail, Pane, Scene},
    words::{memory, names, units},
};

/// Draws the detail of a pane.
pub(crate) fn draw(buffer: &mut Buffer, rect: Rect, pane: Pane, screen: &Screen, scene: &mut Scene) {
    let palette = screen.palette;
    let focused = screen.view.focus.0 == pane;
    let Some((detail, scroll)) = &screen.view.pane(pane).detail else { return };
    let (title, parts) = match detail {
        Detail::Process { key, .. } => (process::title(screen, *key), process::parts(screen, *key, rect.width)),
        Detail::Memory(key) => (machine_memory::title(key), machine_memory::parts(screen, key)),
        Detail::Function(key) => (format!("function {}", names::function(key)), vec![function::facts(screen, key)]),
        Detail::Problem(key) => {
            let facts = problem::facts(screen, key).into_iter();
            (format!("problem {}", key.name), vec![facts.map(|(label, value)| fact(label, value)).collect()])
        }
        Detail::Worker(key) => (names::worker(*key), vec![worker::facts(screen, *key)]),
        Detail::Request { pid, started_at } => (format!("request of {pid}"), vec![request(screen, *pid, *started_at)]),
    };
    let style = if focused { palette.focus } else { palette.title };
    let about = match detail {
        Detail::Function(_) => format!("{}   {}", screen.window_name(), hot::scope_name(&screen.scope)),
        Detail::Problem(_) => screen.window_name().into_owned(),
        Detail::Worker(_) | Detail::Request { .. } => "F its calls as a flame".to_owned(),
        _ => String::new(),
    };
    let titles = [(&*title, style), (&*about, palette.muted), ("esc back", palette.muted)];
    let area = paint::pane(buffer, rect, &titles, focused, palette);
    let second = match detail {
        Detail::Process { .. } if area.width >= process::TWO_COLUMNS => Some(process::SECOND),
        _ => None,
    };
    let page = Page::new(parts, area.width, second);
    let beyond = page.height().saturating_sub(usize::from(area.height));
    if focused {
        (scene.scrollable, scene.page) = (beyond, area.height);
    }
    page.draw(buffer, area, (*scroll).min(beyond), screen);
}

fn request(screen: &Screen, pid: u32, started_at: Timestamp) -> Vec<Line> {
    let found = screen.php.requests.iter().find(|r| r.pid == pid && r.started_at == started_at);
    match found {
        Some(request) => request_facts(screen, request),
        None => vec![heading("this request is no longer in the window; esc goes back")],
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
        fact(
            "started",
            screen.snapshot.map_or_else(|| "-".to_owned(), |s| process::started(request.started_at, screen, s)),
        ),
        fact("worker", request.pid.to_string()),
    ];
    lines.extend(memory_facts(screen, request));
    if let Some(route) = route {
        lines.push(fact("route", names::route(route)));
        lines.push(fact("script", &*route.key.script));
        lines.push(fact("group", &*route.key.group));
    }
    lines
}

/// The memory of a request, and how long it lasts at this rate.
pub(super) fn memory_facts(screen: &Screen, request: &Request) -> Vec<Line> {
    let of_limit = |bytes: u64| match request.memory_limit_bytes.filter(|limit| *limit > 0) {
        Some(limit) if bytes > limit => format!("above memory_limit ({})", units::bytes(limit)),
        Some(limit) => {
            format!("{} of memory_limit ({})", units::percent(bytes as f64 / limit as f64), units::bytes(limit))
        }
        None => "no memory_limit".to_owned(),
    };
    let mut lines = Vec::new();
    match request.memory_peak_bytes {
        Some(peak) => lines.push(fact("peak memory", format!("{}   {}", units::bytes(peak), of_limit(peak)))),
        None => {
            let reasons = screen.php.targets.iter().map(|target| &*target.tiers[Tier::Peaks].reason);
            let of_tier = || reasons.into_iter().find(|reason| !reason.is_empty());
            let reason = request.memory_unknown.map(MemoryUnknown::words).or_else(of_tier);
            lines.push(fact("peak memory", reason.map_or_else(|| "-".to_owned(), |reason| format!("-   {reason}"))));
        }
    }
    if let Some(now) = request.memory_bytes {
        lines.push(fact("memory now", units::bytes(now)));
    }
    let growths = [("in PHP", request.growth_bytes_per_minute), ("resident", request.rss_growth_bytes_per_minute)];
    let growths = growths.into_iter().filter_map(|(of, growth)| Some(format!("{of} {}", memory::per_minute(growth?))));
    let growth = growths.collect::<Vec<_>>().join(", ");
    if !growth.is_empty() {
        lines.push(fact("growth", growth));
    }
    let forecast = screen.snapshot.and_then(|snapshot| snapshot.forecast(request));
    if forecast.is_some() {
        lines.push(Line { kind: Kind::Warning, ..fact("limit", memory::forecast(forecast)) });
    }
    lines
}
