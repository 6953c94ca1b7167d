//! The line of a recording: its time from left to right with the requests along it, and the moment that is shown.

use ratatui::{buffer::Buffer, layout::Rect};

use crate::{
    ui::{frame::Screen, paint},
    view::Scene,
    words::printable,
};

/// Narrowest picture that is worth a place.
const LEAST: u16 = 10;

/// Draws the line, and says where the picture is, for clicks.
pub(crate) fn draw(buffer: &mut Buffer, line: Rect, screen: &Screen, scene: &mut Scene) {
    let (palette, Some(scrub)) = (screen.palette, screen.scrub) else { return };
    let clock = |at: jiff::Timestamp| at.to_zoned(screen.time_zone.clone()).strftime("%H:%M:%S").to_string();
    let (first, last) = scrub.span;
    let state = format!("{} {}x", if scrub.playing { "playing" } else { "stopped" }, scrub.speed);
    let moment = screen.snapshot.map_or(scrub.at, |snapshot| snapshot.at);
    let mut x = paint::put(buffer, (line.x + 1, line.y), line.width, &clock(first), palette.muted) + 1;
    let trouble = scrub.trouble.as_deref().map(|trouble| format!("   {}", printable::truncate_end(trouble, 40)));
    let trouble = trouble.filter(|_| line.width >= 110).unwrap_or_default();
    let right = format!(" {}   at {} {state}", clock(last), clock(moment));
    let taken = (printable::width(&right) + printable::width(&trouble)) as u16 + 1;
    let end = line.right().saturating_sub(taken);
    if end < x + LEAST {
        return;
    }
    let area = Rect { x, width: end - x, ..line };
    scene.scrub = Some(area);
    let (heights, at) = picture(screen, area.width);
    for (column, height) in heights.into_iter().enumerate() {
        let symbol = height.map_or("·", |height| paint::HEIGHTS[height]);
        let style = if column == at { paint::reversed(palette.focus) } else { palette.ok };
        let style = if height.is_none() && column != at { palette.muted } else { style };
        paint::put(buffer, (area.x + column as u16, line.y), 1, symbol, style);
    }
    x = paint::put(buffer, (end, line.y), taken, &right, palette.muted);
    paint::put(buffer, (x, line.y), line.right().saturating_sub(x), &trouble, palette.warn);
}

/// A height for each column, `None` where there was no request or no snapshot; and the column of the moment.
fn picture(screen: &Screen, columns: u16) -> (Vec<Option<usize>>, usize) {
    let mut sums = vec![0_u64; usize::from(columns)];
    let Some(scrub) = screen.scrub else { return (Vec::new(), 0) };
    let (first, last) = scrub.span;
    let whole = last.duration_since(first).as_secs_f64().max(1e-3);
    let column = |at: jiff::Timestamp| {
        let share = (at.duration_since(first).as_secs_f64() / whole).clamp(0.0, 1.0);
        ((share * f64::from(columns - 1)).round() as usize).min(usize::from(columns) - 1)
    };
    for &(at, count) in &scrub.requests {
        sums[column(at)] += u64::from(count);
    }
    let most = sums.iter().max().copied().unwrap_or(0).max(1) as f64;
    let height = |&sum: &u64| (sum > 0).then(|| ((sum as f64 / most * 7.0).round() as usize).min(7));
    (sums.iter().map(height).collect(), column(scrub.at))
}
