//! The hot list: a bar first (self solid, total light), then the function or file, its place, whether it computes or waits,
//! self and total time, or by how much memory grew. Traced calls have a list of their own, `calls`.

pub(crate) mod calls;

use std::borrow::Cow;

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    analysis::profile::{self, Basis, Scope, Time},
    model::{HotTime, Tier},
    ui::{filter::Filter, frame::Screen, list, paint, panes::empty},
    view::{HotMode, Pane, Row, Scene, Sort},
    words::{names, units},
};

/// Rows kept in the list; what is below is colder than anyone looks.
pub(crate) const MAX_ROWS: usize = 1_000;

/// The scope in words.
pub(crate) fn scope_name(scope: &Scope) -> String {
    match scope {
        Scope::All => "all pools".to_owned(),
        Scope::Group(group) => group.to_string(),
        Scope::Route(key) if key.route.is_empty() => key.script.to_string(),
        Scope::Route(key) => format!("{} {}", key.method, key.route),
        Scope::Worker(worker) => names::worker(*worker),
        Scope::Request { worker, .. } => format!("a request of {}", names::worker(*worker)),
    }
}

struct HotRow<'a> {
    row: Row,
    name: Cow<'a, str>,
    place: Cow<'a, str>,
    own: Time,
    total: Time,
}

/// Draws the pane.
pub(crate) fn draw(buffer: &mut Buffer, rect: Rect, screen: &Screen, scene: &mut Scene) {
    let palette = screen.palette;
    let focused = screen.view.focus.0 == Pane::Hot;
    let scope = &screen.scope;
    let mode = screen.view.hot;
    let title = match mode {
        HotMode::Functions => "hot functions",
        HotMode::Files => "hot files",
        HotMode::Calls => return calls::draw(buffer, rect, screen, scene),
    };
    let pane = screen.view.pane(Pane::Hot);
    let order = match (pane.sort, pane.inverted) {
        (Some(Sort::Time), false) => "by total",
        (Some(Sort::Name), false) => "by name",
        (_, false) => "",
        (_, true) => "inverted",
    };
    let (of, filter) = (scope_name(scope), list::filter_title(Pane::Hot, screen));
    let style = if focused { palette.focus } else { palette.title };
    let parts = [
        (title, style),
        (&*filter, palette.warn),
        (&screen.window_name(), palette.muted),
        (&*of, palette.text),
        (time_name(screen.view.hot_time), palette.muted),
        (order, palette.muted),
    ];
    let area = paint::pane(buffer, rect, &parts, focused, palette);
    let basis = Basis::of(screen.php, screen.view.hot_time);
    let rows = rows(screen, scope, basis);
    if rows.is_empty() {
        list::empty(buffer, area, &why_empty(screen, scope), screen);
        return;
    }
    let all = basis.amount(profile::time(screen.php, scope)).max(1) as f64;
    let columns = Columns::of(area.width, mode, basis.time);
    let keys = rows.iter().map(|hot| hot.row.clone()).collect();
    for (index, y, selected) in list::place(keys, Pane::Hot, area, screen, scene) {
        let hot = &rows[index];
        let (own, total) = (basis.amount(hot.own) as f64 / all, basis.amount(hot.total) as f64 / all);
        let waits = basis.waits(if basis.amount(hot.own) > 0 { hot.own } else { hot.total });
        let mut x = area.x;
        let heat = ratatui::style::Style { bg: None, ..palette.heat(0.0) };
        let heat = if own >= 0.2 {
            palette.error
        } else if own >= 0.05 {
            palette.warn
        } else {
            heat
        };
        paint::put(buffer, (x, y), columns.bar, &paint::bar(columns.bar, own, total), heat);
        x += columns.bar + 1;
        match mode {
            HotMode::Files => paint::put_tail(buffer, (x, y), columns.name, &hot.name, palette.title),
            _ => paint::put(buffer, (x, y), columns.name, &hot.name, palette.title),
        };
        x += columns.name + 1;
        if columns.place > 0 {
            paint::put_tail(buffer, (x, y), columns.place, &hot.place, palette.muted);
            x += columns.place + 1;
        }
        if columns.kind {
            let (word, style) = if waits { ("wait", palette.focus) } else { ("cpu", palette.muted) };
            paint::put(buffer, (x, y), 4, word, style);
            x += 5;
        }
        let text = |time: Time, share: f64| match basis.time {
            HotTime::Memory => units::bytes(time.growth_bytes),
            HotTime::Both | HotTime::Cpu | HotTime::Wait => units::percent_column(share),
        };
        paint::put_right(buffer, (x, y), 7, &text(hot.own, own), palette.text);
        if columns.total {
            paint::put_right(buffer, (x + 8, y), 7, &text(hot.total, total), palette.muted);
        }
        if selected {
            list::mark(buffer, area, y, Pane::Hot, screen);
        }
    }
}

/// An amount of what counts, in words.
pub(crate) fn amount(time: HotTime, amount: u64) -> String {
    match time {
        HotTime::Memory => units::bytes(amount),
        HotTime::Both | HotTime::Cpu | HotTime::Wait => units::duration_ns(amount),
    }
}

/// The tier that sees what counts.
pub(crate) fn tier(time: HotTime) -> Tier {
    match time {
        HotTime::Wait => Tier::Waiting,
        HotTime::Memory => Tier::Growth,
        HotTime::Both | HotTime::Cpu => Tier::Sampling,
    }
}

/// What counts, in words.
pub(crate) fn time_name(time: HotTime) -> &'static str {
    match time {
        HotTime::Both => "cpu + wait",
        HotTime::Cpu => "cpu",
        HotTime::Wait => "wait",
        HotTime::Memory => "memory growth",
    }
}

struct Columns {
    bar: u16,
    name: u16,
    place: u16,
    kind: bool,
    total: bool,
}

impl Columns {
    fn of(width: u16, mode: HotMode, time: HotTime) -> Self {
        let total = width >= 40;
        let kind = width >= 46 && time != HotTime::Memory;
        let bar = (width / 6).clamp(4, 18);
        let rest = width.saturating_sub(bar + 1 + 7 + if total { 8 } else { 0 } + if kind { 5 } else { 0 } + 1);
        let place = if mode == HotMode::Files || rest < 34 { 0 } else { rest * 11 / 20 };
        let name = rest.saturating_sub(if place > 0 { place + 1 } else { 0 });
        Self { bar, name, place, kind, total }
    }
}

fn rows<'a>(screen: &'a Screen<'a>, scope: &Scope, basis: Basis) -> Vec<HotRow<'a>> {
    let filter = Filter::new(&screen.view.pane(Pane::Hot).filter);
    let php = screen.php;
    let mut rows: Vec<HotRow> = if screen.view.hot == HotMode::Files {
        profile::files(php, scope, basis)
            .into_iter()
            .filter(|hot| filter.has(&[&hot.of]))
            .map(|hot| HotRow {
                name: Cow::Owned(hot.of.to_string()),
                place: Cow::Borrowed(""),
                row: Row::File(hot.of),
                own: hot.own,
                total: hot.total,
            })
            .collect()
    } else {
        profile::functions(php, scope, basis)
            .into_iter()
            .filter_map(|hot| {
                let function = &php.functions[hot.of];
                let (name, place) = (names::function(&function.key), names::place_of(&function.key));
                filter.has(&[&name, &place]).then(|| HotRow {
                    row: Row::Function(function.key.clone()),
                    name,
                    place,
                    own: hot.own,
                    total: hot.total,
                })
            })
            .collect()
    };
    let pane = screen.view.pane(Pane::Hot);
    match pane.sort {
        Some(Sort::Time) => rows.sort_by_key(|hot| std::cmp::Reverse((basis.amount(hot.total), basis.amount(hot.own)))),
        Some(Sort::Name) => rows.sort_by(|a, b| a.name.cmp(&b.name)),
        _ => {}
    }
    if pane.inverted {
        rows.reverse();
    }
    rows.truncate(MAX_ROWS);
    rows
}

/// Why there is nothing to show, and what to type.
fn why_empty<'a>(screen: &'a Screen, scope: &Scope) -> Vec<&'a str> {
    empty::why(screen, Pane::Hot, &[tier(screen.view.hot_time)], "waiting for the first samples …", || match scope {
        _ if screen.view.hot_time == HotTime::Wait => {
            vec!["no waiting in this window", "press v for memory growth"]
        }
        _ if screen.view.hot_time == HotTime::Memory => {
            vec!["no process grew in this window", "w: a longer one, v: CPU time"]
        }
        Scope::All => vec!["no PHP activity in this window", "press w for a longer one"],
        _ => vec!["no activity of this pool or route in this window", "w: a longer one, esc: all pools"],
    })
}
