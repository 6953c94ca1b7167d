//! The list of traced calls: how often, how long in themselves and in all, and which part was traced.

use std::{borrow::Cow, cmp::Reverse, sync::Arc};

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    model::{Exact, ExactKind, ExactState, LineCalls, Tier},
    ui::{
        filter::Filter,
        frame::Screen,
        list, paint,
        panes::{empty, hot},
    },
    view::{Pane, Row, Scene, Sort},
    words::{names, tracing, units},
};

struct CallRow<'a> {
    row: Row,
    name: Cow<'a, str>,
    place: Cow<'a, str>,
    calls: u64,
    self_ns: u64,
    total_ns: u64,
}

/// Draws the pane.
pub(crate) fn draw(buffer: &mut Buffer, rect: Rect, screen: &Screen, scene: &mut Scene) {
    let palette = screen.palette;
    let focused = screen.view.focus.0 == Pane::Hot;
    let exact = screen.snapshot.and_then(|snapshot| snapshot.php.exact.as_ref());
    let title = match exact.map(|exact| exact.kind) {
        Some(ExactKind::Lines) => "traced lines",
        _ => "traced calls",
    };
    let pool = exact.and_then(|exact| exact.pool.as_deref()).unwrap_or("all pools");
    let (state, part) = (exact.map(tracing::state).unwrap_or_default(), exact.map(tracing::part).unwrap_or_default());
    let filter = list::filter_title(Pane::Hot, screen);
    let style = if focused { palette.focus } else { palette.title };
    let parts = [
        (title, style),
        (&*filter, palette.warn),
        (&screen.window_name(), palette.muted),
        (pool, palette.text),
        (&*part, palette.warn),
        (&*state, palette.muted),
    ];
    let area = paint::pane(buffer, rect, &parts, focused, palette);
    let rows = rows(screen);
    if rows.is_empty() {
        list::empty(buffer, area, &why_empty(screen, exact), screen);
        return;
    }
    let all = rows.iter().map(|row| row.self_ns).sum::<u64>().max(1) as f64;
    // What was seen in the traced part, for all of it: an estimate, and marked as one.
    let seconds = screen.covered.as_secs_f64().max(0.001);
    let scale =
        exact.and_then(|exact| exact.traced_ratio).filter(|ratio| *ratio > 0.0).map(|ratio| 1.0 / ratio / seconds);
    let wide = area.width >= 78;
    let bar = (area.width / 8).clamp(4, 12);
    let numbers: u16 = if wide { 9 + 9 + 9 + 9 + 4 } else { 8 + 9 + 2 };
    let rest = area.width.saturating_sub(bar + 1 + numbers + 1);
    let place = if rest >= 26 { rest / 2 } else { 0 };
    let name = rest.saturating_sub(if place > 0 { place + 1 } else { 0 });
    let heading = area.y;
    let mut x = area.x + bar + 1 + name + 1 + if place > 0 { place + 1 } else { 0 };
    for title in if wide { &["calls", "~ per s", "self", "a call"][..] } else { &["calls", "self"][..] } {
        paint::put_right(buffer, (x, heading), 9, title, palette.muted);
        x += 10;
    }
    let area = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let keys = rows.iter().map(|row| row.row.clone()).collect();
    for (index, y, selected) in list::place(keys, Pane::Hot, area, screen, scene) {
        let row = &rows[index];
        let own = row.self_ns as f64 / all;
        let mut x = area.x;
        let heat = if own >= 0.2 { palette.error } else { palette.warn };
        paint::put(buffer, (x, y), bar, &paint::bar(bar, own, row.total_ns as f64 / all), heat);
        x += bar + 1;
        paint::put(buffer, (x, y), name, &row.name, palette.title);
        x += name + 1;
        if place > 0 {
            paint::put_tail(buffer, (x, y), place, &row.place, palette.muted);
            x += place + 1;
        }
        let rate = scale.map_or_else(|| "-".to_owned(), |scale| format!("~{}", amount(row.calls as f64 * scale)));
        let call = units::duration_ns(row.total_ns / row.calls.max(1));
        let own = units::duration_ns(row.self_ns);
        let calls = units::count(row.calls);
        let values = if wide { vec![&calls, &rate, &own, &call] } else { vec![&calls, &own] };
        for value in values {
            paint::put_right(buffer, (x, y), 9, value, palette.text);
            x += 10;
        }
        if selected {
            list::mark(buffer, area, y, Pane::Hot, screen);
        }
    }
}

fn amount(number: f64) -> String {
    if number < 10.0 { format!("{number:.1}") } else { units::count(number as u64) }
}

fn rows<'a>(screen: &'a Screen<'a>) -> Vec<CallRow<'a>> {
    let pane = screen.view.pane(Pane::Hot);
    let filter = Filter::new(&pane.filter);
    let php = screen.php;
    let mut rows: Vec<CallRow> = match &php.lines {
        Some(lines) => lines.iter().map(line).collect(),
        None => php
            .functions
            .iter()
            .filter_map(|function| {
                Some(CallRow {
                    row: Row::Function(function.key.clone()),
                    name: names::function(&function.key),
                    place: names::place_of(&function.key),
                    calls: function.calls.filter(|&calls| calls > 0)?,
                    self_ns: function.self_ns.unwrap_or(0),
                    total_ns: function.total_ns.unwrap_or(0),
                })
            })
            .collect(),
    };
    rows.retain(|row| filter.has(&[&row.name, &row.place]));
    match pane.sort {
        Some(Sort::Time) => rows.sort_by_key(|row| Reverse((row.total_ns, row.self_ns))),
        Some(Sort::Rate) => rows.sort_by_key(|row| Reverse((row.calls, row.self_ns))),
        Some(Sort::Name) => rows.sort_by(|a, b| a.name.cmp(&b.name)),
        _ => rows.sort_by_key(|row| Reverse((row.self_ns, row.total_ns))),
    }
    if pane.inverted {
        rows.reverse();
    }
    rows.truncate(hot::MAX_ROWS);
    rows
}

fn line(line: &LineCalls) -> CallRow<'_> {
    CallRow {
        row: Row::Line { file: Arc::clone(&line.file), line: line.line, name: Arc::clone(&line.name) },
        name: names::line(line),
        place: names::place_of_line(line),
        calls: line.calls,
        self_ns: line.self_ns,
        total_ns: line.total_ns,
    }
}

fn why_empty<'a>(screen: &'a Screen, exact: Option<&'a Exact>) -> Vec<&'a str> {
    if !screen.view.pane(Pane::Hot).filter.is_empty() {
        return empty::FILTERED.to_vec();
    }
    match exact {
        None => vec![Tier::Exact.unseen(), "X shows what tracing costs, and starts it"],
        Some(exact) => match exact.state {
            ExactState::Unavailable | ExactState::Ended => vec![&exact.reason, "X starts it again"],
            ExactState::Tracing => vec!["waiting for the first calls …"],
            ExactState::Counting => vec!["counting calls …"],
            ExactState::Priced | ExactState::Other => {
                vec![Tier::Exact.unseen(), "X shows what tracing costs, and starts it"]
            }
        },
    }
}
