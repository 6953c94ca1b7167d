//! The line of a recording or of the past: its time from left to right with the requests along it, and the moment that is shown.
//! Above it, where a group is chosen, its memory.

use jiff::Timestamp;
use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use crate::{
    ui::{frame::Screen, paint},
    view::{GroupMemory, Scene, Scrub},
    words::{printable, units},
};

/// Narrowest picture that is worth a place.
const LEAST: u16 = 10;
/// Share of a column of which something has to be known.
const LEAST_COVERED: f64 = 1e-6;
/// Columns of a time.
const CLOCK: u16 = 8;

/// How many lines it takes.
pub(crate) fn height(screen: &Screen, area: Rect) -> u16 {
    match screen.scrub {
        None => 0,
        Some(scrub) if area.height >= 24 && has_memory(scrub) => 2,
        Some(_) => 1,
    }
}

fn has_memory(scrub: &Scrub) -> bool {
    scrub.memory.as_ref().is_some_and(|memory| !memory.points.is_empty())
}

/// Draws it, and says where the picture is, for clicks.
pub(crate) fn draw(buffer: &mut Buffer, area: Rect, screen: &Screen, scene: &mut Scene) {
    let (palette, Some(scrub)) = (screen.palette, screen.scrub) else { return };
    if area.is_empty() {
        return;
    }
    let line = Rect { y: area.bottom() - 1, height: 1, ..area };
    let clock = |at: Timestamp| at.to_zoned(screen.time_zone.clone()).strftime("%H:%M:%S").to_string();
    let (first, last) = scrub.span;
    let state = format!("{} {}x", if scrub.playing { "playing" } else { "stopped" }, scrub.speed);
    let shown = screen.snapshot.map_or(scrub.at, |snapshot| snapshot.at);
    let moment = match scrub.latest {
        Some(latest) => format!("{} ago", units::age(latest.duration_since(shown).as_secs().try_into().unwrap_or(0))),
        None => format!("at {}", clock(shown)),
    };
    let trouble = scrub
        .note
        .as_ref()
        .or(scrub.trouble.as_ref())
        .map(|trouble| format!("   {}", printable::truncate_end(trouble, 60)));
    // What a key needs is the answer to it, so it takes the place of the picture if it must.
    let trouble = trouble.filter(|_| line.width >= 110 || scrub.note.is_some()).unwrap_or_default();
    let right = format!(" {}   {moment} {state}", clock(last));
    let taken = (printable::width(&right) + printable::width(&trouble)) as u16 + 1;
    let (x, end) = (line.x + CLOCK + 2, line.right().saturating_sub(taken));
    if end < x + LEAST {
        paint::put(buffer, (line.x + 1, line.y), line.width, trouble.trim_start(), palette.warn);
        return;
    }
    paint::put(buffer, (line.x + 1, line.y), CLOCK, &clock(first), palette.muted);
    let picture = Rect { x, width: end - x, ..area };
    scene.scrub = Some(picture);
    let at = column(scrub, scrub.at, picture.width);
    let requests = rates(scrub, picture.width);
    draw_row(buffer, Rect { y: line.y, height: 1, ..picture }, &requests, at, palette.ok, screen);
    draw_changes(buffer, Rect { y: line.y, height: 1, ..picture }, scrub, screen);
    let marks = [
        (scrub.marks, palette.focus),
        (scrub.baseline.map_or((None, None), |(a, b)| (Some(a), Some(b))), palette.warn),
    ];
    for ((from, to), style) in marks {
        for (symbol, moment) in [("[", from), ("]", to)] {
            let Some(moment) = moment else { continue };
            let x = picture.x + column(scrub, moment, picture.width) as u16;
            paint::put(buffer, (x, line.y), 1, symbol, paint::reversed(style));
        }
    }
    let x = paint::put(buffer, (end, line.y), taken, &right, palette.muted);
    paint::put(buffer, (x, line.y), line.right().saturating_sub(x), &trouble, palette.warn);
    if let (Some(GroupMemory { group, points }), true) = (&scrub.memory, area.height > 1) {
        let memory = levels(scrub, points, picture.width);
        draw_row(buffer, Rect { height: 1, ..picture }, &memory, at, palette.focus, screen);
        draw_changes(buffer, Rect { height: 1, ..picture }, scrub, screen);
        paint::put(buffer, (area.x + 1, area.y), CLOCK, "memory", palette.muted);
        let highest = points.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
        let room = area.right().saturating_sub(end + 1);
        paint::put(
            buffer,
            (end + 1, area.y),
            room,
            &format!("{group}, up to {}", units::bytes(highest)),
            palette.muted,
        );
    }
}

/// Draws values as heights, the column of the moment marked. Nothing is where nothing is known.
fn draw_row(buffer: &mut Buffer, row: Rect, values: &[Option<f64>], at: usize, style: Style, screen: &Screen) {
    let palette = screen.palette;
    let most = values.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    for (column, value) in values.iter().enumerate() {
        let height = value.filter(|&value| value > 0.0).map(|value| (value / most * 7.0).round() as usize);
        let symbol = match (height, value) {
            (Some(height), _) => paint::HEIGHTS[height.min(7)],
            (None, Some(_)) => "·",
            (None, None) => " ",
        };
        let style = match height {
            _ if column == at => paint::reversed(palette.focus),
            None => palette.muted,
            Some(_) => style,
        };
        paint::put(buffer, (row.x + column as u16, row.y), 1, symbol, style);
    }
}

/// Draws where the machine changes.
fn draw_changes(buffer: &mut Buffer, row: Rect, scrub: &Scrub, screen: &Screen) {
    for &change in &scrub.changes {
        let x = row.x + column(scrub, change, row.width) as u16;
        paint::put(buffer, (x, row.y), 1, "│", paint::reversed(screen.palette.warn));
    }
}

/// The column of a moment.
fn column(scrub: &Scrub, at: Timestamp, columns: u16) -> usize {
    let (first, last) = scrub.span;
    let whole = last.duration_since(first).as_secs_f64().max(1e-3);
    let share = (at.duration_since(first).as_secs_f64() / whole).clamp(0.0, 1.0);
    ((share * f64::from(columns - 1)).round() as usize).min(usize::from(columns) - 1)
}

/// Requests per second by column; `None` where nothing is known of its time, such as while the machine was suspended.
fn rates(scrub: &Scrub, columns: u16) -> Vec<Option<f64>> {
    let (first, last) = scrub.span;
    let width = last.duration_since(first).as_secs_f64().max(1e-3) / f64::from((columns - 1).max(1));
    // A column is around its moment, as in `column`.
    let place = |at: Timestamp| at.duration_since(first).as_secs_f64() / width + 0.5;
    let mut sums = vec![(0.0, 0.0); usize::from(columns)];
    for &(from, until, count) in &scrub.requests {
        let (from, to) = (place(from), place(until));
        let all = (to - from).max(f64::MIN_POSITIVE);
        // A negative number is 0 here.
        for column in from as usize..(to.ceil() as usize).min(sums.len()) {
            let share = (to.min(column as f64 + 1.0) - from.max(column as f64)).max(0.0);
            sums[column].0 += count as f64 * share / all;
            sums[column].1 += share;
        }
    }
    sums.into_iter().map(|(count, covered)| (covered > LEAST_COVERED).then(|| count / (covered * width))).collect()
}

/// The highest value of each column; between two points the one before goes on.
fn levels(scrub: &Scrub, points: &[(Timestamp, u64)], columns: u16) -> Vec<Option<f64>> {
    let mut levels = vec![None; usize::from(columns)];
    for &(at, bytes) in points {
        let level = &mut levels[column(scrub, at, columns)];
        *level = Some(f64::max(level.unwrap_or(0.0), bytes as f64));
    }
    let to = points.last().map_or(0, |&(at, _)| column(scrub, at, columns));
    let changes: Vec<usize> = scrub.changes.iter().map(|&at| column(scrub, at, columns)).collect();
    let mut before = None;
    for (column, level) in levels[..=to].iter_mut().enumerate() {
        before = level.or(before.filter(|_| !changes.contains(&column)));
        *level = before;
    }
    levels
}
