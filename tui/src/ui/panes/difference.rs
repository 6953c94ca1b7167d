//! Two spans compared, in the panes of hot functions, routes and problems: what each was, what it is, and the signed difference.
//! What is noise is grey; `analysis::difference` decides that.

use std::borrow::Cow;

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use crate::{
    analysis::difference::{
        Change, Difference, FunctionDifference, FunctionName, ProblemDifference, RouteDifference, Verdict,
    },
    ui::{filter::Filter, frame::Screen, list, paint},
    view::{List, Pane, Scene},
    words::units,
};

/// One value of a row: its name, what is shown of it, and the pane's width from which on it is there.
struct Value<'a> {
    name: &'static str,
    change: &'a Change,
    show: fn(f64) -> String,
    least: u16,
}

/// A name and its values.
type ComparedRow<'a> = (Cow<'a, str>, Vec<Value<'a>>);

/// Columns of a value: its name, before, after, difference.
const COLUMNS: u16 = 30;

/// Draws a pane.
pub(crate) fn draw(
    buffer: &mut Buffer,
    rect: Rect,
    pane: Pane,
    screen: &Screen,
    difference: &Difference,
    scene: &mut Scene,
) {
    let palette = screen.palette;
    let focused = screen.view.focus.0 == pane;
    let title = match pane {
        Pane::Hot => "functions compared",
        Pane::Routes => "routes compared",
        _ => "problems compared",
    };
    let filter = list::filter_title(pane, screen);
    let seconds = |facts: f64| units::age(facts.round() as u64);
    let spans = format!("{} before, {} after", seconds(difference.before.seconds), seconds(difference.after.seconds));
    let style = if focused { palette.focus } else { palette.title };
    let parts = [(title, style), (&*filter, palette.warn), (&*spans, palette.muted)];
    let area = paint::pane(buffer, rect, &parts, focused, palette);
    let rows = rows(difference, pane);
    let matching = Filter::new(&screen.view.pane(pane).filter);
    let rows: Vec<_> = rows.into_iter().filter(|(name, _)| matching.is_empty() || matching.has(&[name])).collect();
    // There is nothing to select: these rows are of two spans.
    scene.lists[pane as usize] = List { area, ..List::default() };
    if rows.is_empty() {
        list::empty(buffer, area, &["nothing was counted in either span"], screen);
        return;
    }
    for ((name, values), y) in rows.iter().zip(area.y..area.bottom()) {
        draw_row(buffer, Rect { y, height: 1, ..area }, name, values, screen);
    }
}

fn rows(difference: &Difference, pane: Pane) -> Vec<ComparedRow<'_>> {
    match pane {
        Pane::Hot => difference.functions.iter().map(of_function).collect(),
        Pane::Routes => difference.routes.iter().map(of_route).collect(),
        _ => difference.problems.iter().map(of_problem).collect(),
    }
}

fn of_function(function: &FunctionDifference) -> ComparedRow<'_> {
    let (own, total) = (&function.self_ms_per_s, &function.total_ms_per_s);
    let values = vec![
        Value { name: "self", change: own, show: per_second, least: 0 },
        Value { name: "total", change: total, show: per_second, least: 90 },
    ];
    (function_name(&function.name), values)
}

fn of_route(route: &RouteDifference) -> ComparedRow<'_> {
    let values = vec![
        Value { name: "p95 ms", change: &route.p95_ms, show: number, least: 0 },
        Value { name: "req/s", change: &route.requests_per_s, show: number, least: 90 },
        Value { name: "busy", change: &route.busy_workers, show: number, least: 122 },
    ];
    (format!("{} {}", route.name.method, route.name.route).into(), values)
}

fn of_problem(problem: &ProblemDifference) -> ComparedRow<'_> {
    let values = vec![Value { name: "/min", change: &problem.per_min, show: number, least: 0 }];
    (format!("{}   {}   {}", problem.name.name, problem.name.file, problem.message).into(), values)
}

fn function_name(name: &FunctionName) -> Cow<'_, str> {
    match &*name.class {
        "" => Cow::Borrowed(&name.name),
        class => format!("{class}::{}", name.name).into(),
    }
}

fn draw_row(buffer: &mut Buffer, row: Rect, name: &str, values: &[Value], screen: &Screen) {
    let palette = screen.palette;
    let shown: Vec<_> = values.iter().filter(|value| row.width >= value.least).collect();
    let taken = (shown.len() as u16 * COLUMNS).min(row.width);
    let is_noise = values.iter().all(|value| value.change.verdict != Verdict::Changed);
    let style = if is_noise { palette.muted } else { palette.title };
    paint::put(buffer, (row.x + 1, row.y), row.width.saturating_sub(taken + 1), name, style);
    let mut x = row.right() - taken;
    for value in shown {
        let change = value.change;
        let text = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), value.show);
        let (sign, style) = signed(change, screen);
        let difference = change.difference.map_or_else(|| "-".to_owned(), |by| (value.show)(by.abs()));
        paint::put(buffer, (x + 1, row.y), 6, value.name, palette.muted);
        paint::put_right(buffer, (x + 8, row.y), 6, &text(change.before), palette.muted);
        let now = if change.verdict == Verdict::Changed { palette.text } else { palette.muted };
        paint::put_right(buffer, (x + 15, row.y), 6, &text(change.after), now);
        paint::put_right(buffer, (x + 22, row.y), 7, &format!("{sign}{difference}"), style);
        x += COLUMNS;
    }
}

/// The sign of a difference and its style: more is red, less is green, noise is grey.
fn signed(change: &Change, screen: &Screen) -> (&'static str, Style) {
    let palette = screen.palette;
    let by = change.difference.unwrap_or(0.0);
    let sign = if by > 0.0 {
        "+"
    } else if by < 0.0 {
        "-"
    } else {
        ""
    };
    match change.verdict {
        Verdict::Changed if by > 0.0 => (sign, palette.error),
        Verdict::Changed => (sign, palette.ok),
        Verdict::Noise | Verdict::Unsure => (sign, palette.muted),
    }
}

/// Milliseconds in a second, as a share of a core or of a worker.
fn per_second(ms: f64) -> String {
    let percent = ms / 10.0;
    if percent < 99.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// A number in four columns.
fn number(value: f64) -> String {
    match value {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
