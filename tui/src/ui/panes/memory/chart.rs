//! The history of the group that was entered, as charts below its tiles: memory, memory per process, number of processes, CPU.

use jiff::Timestamp;
use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{entries, pool};
use crate::{
    analysis::timeline::{Growth, Point, Span},
    model::Window,
    ui::{frame::Screen, paint},
    view::Pane,
    words::{printable, units},
};

/// Spans that a chart can have, in seconds and by name: it has the shortest that holds what is known.
const SPANS: [(u32, &str); 7] = [
    (60, "last 1 m"),
    (120, "last 2 m"),
    (300, "last 5 m"),
    (600, "last 10 m"),
    (1800, "last 30 m"),
    (3600, "last 1 h"),
    (7200, "last 2 h"),
];
/// Seconds that the points of the short span reach back.
const SHORT_S: u32 = 600;

struct Chart {
    name: String,
    value: String,
    trend: String,
    points: Vec<(Timestamp, f64)>,
    show: fn(f64) -> String,
}

/// The part of the memory pane that is left for tiles and the part for charts, when a group was entered and there is room.
pub(crate) fn split(rect: Rect, screen: &Screen) -> (Rect, Option<Rect>) {
    let rows = match rect.height {
        40.. => 18,
        30.. => 10,
        20.. => 6,
        14.. => 4,
        _ => 0,
    };
    let Some(group) = entries::zoomed_group(&screen.view.zoom) else { return (rect, None) };
    let known = screen.histories.points(group, Span::TenMinutes).nth(1).is_some();
    let pool = pool::of_group(screen, group)
        .map_or(0, |pool| 1 + u16::from(rows >= 6 && pool::arithmetic(pool).is_some()) + pool::event_lines(pool, rows));
    let rows = rows + if rows > 0 { pool } else { 0 };
    if rows == 0 || !known || rect.width < 40 {
        return (rect, None);
    }
    let upper = rect.height - rows;
    (Rect { height: upper, ..rect }, Some(Rect { y: rect.y + upper, height: rows, ..rect }))
}

/// Draws the charts.
pub(crate) fn draw(buffer: &mut Buffer, rect: Rect, screen: &Screen) {
    let Some(group) = entries::zoomed_group(&screen.view.zoom) else { return };
    let points = |span| screen.histories.points(group, span);
    let known_s = |span| {
        let (mut ends, mut known) = (points(span), 0.0);
        if let (Some(first), Some(last)) = (ends.next(), ends.last()) {
            known = last.at.duration_since(first.at).as_secs_f64();
        }
        known
    };
    let long = screen.view.window == Window::All && known_s(Span::TwoHours) > f64::from(SHORT_S);
    let span = if long { Span::TwoHours } else { Span::TenMinutes };
    let known_s = known_s(span);
    let fits = SPANS.into_iter().find(|(span_s, _)| f64::from(*span_s) >= known_s);
    let (span_s, last) = fits.unwrap_or(SPANS[SPANS.len() - 1]);
    let points: Vec<Point> = points(span).copied().collect();
    let Some(now) = points.last().map(|point| point.at) else { return };

    let palette = screen.palette;
    let parts = [("history", palette.title), (last, palette.muted)];
    let mut area = paint::pane(buffer, rect, &parts, screen.view.focus.0 == Pane::Map, palette);
    if let Some(pool) = pool::of_group(screen, group) {
        pool::draw(buffer, Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area }, pool, screen);
        (area.y, area.height) = (area.y + 1, area.height.saturating_sub(1));
        if let Some(text) = pool::arithmetic(pool).filter(|_| rect.height >= 8) {
            paint::put(buffer, (area.x + 1, area.y), area.width.saturating_sub(2), &text, palette.muted);
            (area.y, area.height) = (area.y + 1, area.height.saturating_sub(1));
        }
        let lines = pool::event_lines(pool, rect.height).min(area.height);
        let place = Rect { x: area.x + 1, width: area.width.saturating_sub(2), height: lines, ..area };
        pool::draw_events(buffer, place, pool, screen);
        (area.y, area.height) = (area.y + lines, area.height.saturating_sub(lines));
    }
    let charts = charts(screen, group, &points);
    // Each has a line of its own for the name, and some for the picture.
    let rows = match area.height {
        16.. => (charts.len().div_ceil(2) as u16).clamp(2, 4),
        4.. => 2,
        _ => 1,
    };
    let (width, height) = ((area.width.saturating_sub(3)) / 2, area.height / rows);
    // With one row, what matters comes first: memory and what each process has.
    for (index, chart) in charts.iter().take(usize::from(rows) * 2).enumerate() {
        let (column, row) = (index as u16 % 2, index as u16 / 2);
        let place = Rect { x: area.x + 1 + column * (width + 1), y: area.y + row * height, width, height };
        draw_chart(buffer, place, chart, (now, span_s), screen);
    }
}

/// All charts of a group, the most important first. What it never had has none.
fn charts(screen: &Screen, group: &str, points: &[Point]) -> Vec<Chart> {
    let histories = screen.histories;
    let (whole, each) = (histories.measure(group), histories.process_measure(group));
    let values = |value: &dyn Fn(&Point) -> Option<f64>| -> Vec<(Timestamp, f64)> {
        points.iter().filter_map(|point| Some((point.at, value(point)?))).collect()
    };
    let bytes: fn(f64) -> String = |value| units::bytes(value.max(0.0) as u64);
    let trend = |change: Option<Growth>, values: &[(Timestamp, f64)]| {
        let size = values.last().map_or(0.0, |(_, value)| *value);
        let (growth, per) = paint::rate_of(change);
        paint::growth(growth, per, size, paint::LEAST_PROCESS_GROWTH_BYTES)
    };
    let memory = values(&|point| point.memory(whole).map(|bytes| bytes as f64));
    let process = values(&|point| point.per_process(each));
    let count = values(&|point| Some(f64::from(point.processes)));
    let cpu = values(&|point| point.cpu_ratio);
    let chart = |name: String, points: Vec<(Timestamp, f64)>, trend, show: fn(f64) -> String| Chart {
        name,
        value: points.last().map_or_else(|| "-".to_owned(), |(_, value)| show(*value)),
        trend,
        points,
        show,
    };
    let memory_trend = trend(histories.growth(group), &memory);
    let process_trend = trend(histories.process_growth(group), &process);
    let mut charts = vec![
        chart(whole.name().to_owned(), memory, memory_trend, bytes),
        chart(format!("{} each", each.name()), process, process_trend, bytes),
    ];
    let part = |name: &str, value: &dyn Fn(&Point) -> Option<u64>| {
        let points = values(&|point| value(point).map(|bytes| bytes as f64));
        let any = points.iter().any(|(_, bytes)| *bytes > 0.0);
        any.then(|| chart(name.to_owned(), points, String::new(), bytes))
    };
    let shared = |point: &Point| {
        Some(point.pss_bytes?.saturating_sub(point.uss_bytes?).saturating_sub(point.shmem_bytes.unwrap_or(0)))
    };
    let parts = [
        part("private", &|point| point.uss_bytes),
        part("shared", &shared),
        part("tmpfs, opcache", &|point| point.shmem_bytes),
        part("swap", &|point| point.swap_bytes),
    ];
    let mut rest = vec![
        chart("processes".to_owned(), count, String::new(), |value| format!("{value:.0}")),
        chart("cpu".to_owned(), cpu, String::new(), |value| format!("{:.0} %", value * 100.0)),
    ];
    // With little room, how many there are and what they do comes before what their memory is made of.
    charts.append(&mut rest);
    charts.extend(parts.into_iter().flatten());
    charts
}

fn draw_chart(buffer: &mut Buffer, area: Rect, chart: &Chart, (now, span_s): (Timestamp, u32), screen: &Screen) {
    let palette = screen.palette;
    let (low, high) = scale(&chart.points);
    let plot = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let mut x = paint::put(buffer, (area.x, area.y), area.width, &chart.name, palette.muted) + 1;
    let mut left = |text: &str, style: Style| {
        if !text.is_empty() {
            x = paint::put(buffer, (x, area.y), area.right().saturating_sub(x), text, style) + 1;
        }
    };
    left(&chart.value, palette.title);
    // Without room for the figure, the sign still says which way it goes.
    let taken = printable::width(&chart.name) + printable::width(&chart.value) + printable::width(&chart.trend) + 2;
    let trend =
        if taken <= usize::from(area.width) { &*chart.trend } else { chart.trend.split(' ').next().unwrap_or("") };
    let grows = chart.trend.starts_with(['▲', '+']);
    left(trend, if grows { palette.warn } else { palette.ok });
    let line = columns(&chart.points, area.width, now, f64::from(span_s));
    if plot.height == 0 {
        // One line for all: the chart goes beside its value.
        let room = area.right().saturating_sub(x);
        let skipped = usize::from(area.width - room.min(area.width));
        for (value, x) in line.iter().skip(skipped).zip(x..) {
            column(buffer, Rect { x, width: 1, ..area }, *value, (low, high), palette.ok);
        }
        return;
    }
    let range = match ((chart.show)(low), (chart.show)(high)) {
        (low, high) if low == high => String::new(),
        (low, high) => format!("{low} to {high}"),
    };
    if printable::width(&range) as u16 + 1 < area.right().saturating_sub(x) {
        paint::put_right(buffer, (area.x, area.y), area.width, &range, palette.muted);
    }
    for (value, x) in line.iter().zip(plot.x..) {
        column(buffer, Rect { x, width: 1, ..plot }, *value, (low, high), palette.ok);
    }
}

/// The scale of a chart: from 0 when values go down to less than half of the highest, else close around them, but never so
/// narrow that noise looks like a mountain range.
fn scale(points: &[(Timestamp, f64)]) -> (f64, f64) {
    let values = points.iter().map(|(_, value)| *value);
    let high = values.clone().fold(0.0, f64::max);
    let low = values.fold(f64::INFINITY, f64::min);
    let low = if low.is_finite() && low >= high / 2.0 { low } else { 0.0 };
    (low.min(high * 0.95), high)
}

/// The value at each column, the last one being now; `None` before the first that is known.
fn columns(points: &[(Timestamp, f64)], width: u16, now: Timestamp, span_s: f64) -> Vec<Option<f64>> {
    let age = |at: Timestamp| now.duration_since(at).as_secs_f64();
    let mut points = points.iter().peekable();
    let mut latest = None;
    (1..=width)
        .map(|column| {
            let ends = span_s * (1.0 - f64::from(column) / f64::from(width));
            // A peak between two columns must not be lost.
            let mut highest: Option<f64> = None;
            while let Some((_, value)) = points.next_if(|(at, _)| age(*at) >= ends) {
                highest = Some(highest.map_or(*value, |highest| highest.max(*value)));
                latest = Some(*value);
            }
            highest.or(latest)
        })
        .collect()
}

fn column(buffer: &mut Buffer, area: Rect, value: Option<f64>, (low, high): (f64, f64), style: Style) {
    let Some(value) = value else { return };
    let span = high - low;
    let ratio = if span > 0.0 { ((value - low) / span).clamp(0.0, 1.0) } else { 0.0 };
    // What is known has at least the lowest line, so that it can be told from what is not.
    let eighths = ((ratio * f64::from(area.height) * 8.0).round() as usize).max(1);
    for row in 0..usize::from(area.height) {
        let filled = eighths.saturating_sub(row * 8).min(8);
        if filled > 0
            && let Some(cell) = buffer.cell_mut((area.x, area.bottom() - 1 - row as u16))
        {
            cell.set_symbol(paint::HEIGHTS[filled - 1]).set_style(style);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000 + second).unwrap()
    }

    #[test]
    fn the_scale_starts_at_zero_only_for_what_varies_much() {
        assert_eq!(scale(&[(at(0), 10.0), (at(5), 100.0)]), (0.0, 100.0));
        assert_eq!(scale(&[(at(0), 80.0), (at(5), 100.0)]), (80.0, 100.0));
        assert_eq!(scale(&[(at(0), 100.0), (at(5), 100.0)]), (95.0, 100.0));
        assert_eq!(scale(&[]), (0.0, 0.0));
    }

    #[test]
    fn columns_end_now_and_begin_where_something_is_known() {
        let points: Vec<_> = (6..12).map(|step| (at(step * 5), step as f64)).collect();
        let line = columns(&points, 12, at(55), 60.0);
        assert_eq!(line[..6], [None, None, None, None, None, None].map(|none: Option<f64>| none)[..6]);
        assert_eq!(line[11], Some(11.0));
        assert!(line.iter().flatten().is_sorted());
    }

    #[test]
    fn a_peak_between_two_columns_is_seen() {
        let points = [(at(0), 1.0), (at(5), 9.0), (at(10), 1.0), (at(60), 1.0)];
        assert!(columns(&points, 4, at(60), 60.0).contains(&Some(9.0)));
    }
}
