//! Strokes that all regions share: safe text at a place, frames with shared borders, bars, and the change to ASCII.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};

use super::theme::Palette;
use crate::analysis::timeline::Growth;
use crate::words::printable;

/// Writes text from anywhere, made printable, into at most `max` columns and says in which column it ended.
pub(crate) fn put(buffer: &mut Buffer, (x, y): (u16, u16), max: u16, text: &str, style: Style) -> u16 {
    if y >= buffer.area.bottom() || y < buffer.area.top() || x >= buffer.area.right() || max == 0 {
        return x;
    }
    let safe = printable::printable(text);
    let cut = printable::truncate_end(&safe, usize::from(max));
    buffer.set_stringn(x, y, cut, usize::from(max), style).0
}

/// As [`put`], but what does not fit is cut from the start: for paths.
pub(crate) fn put_tail(buffer: &mut Buffer, place: (u16, u16), max: u16, text: &str, style: Style) -> u16 {
    let safe = printable::printable(text);
    put(buffer, place, max, &printable::truncate_start(&safe, usize::from(max)), style)
}

/// As [`put`], but at the right edge of `width` columns.
pub(crate) fn put_right(buffer: &mut Buffer, (x, y): (u16, u16), width: u16, text: &str, style: Style) {
    let safe = printable::printable(text);
    let taken = printable::width(&safe).min(usize::from(width)) as u16;
    put(buffer, (x + width - taken, y), taken, &safe, style);
}

/// Lines of frames as bits of the directions that meet in a cell, so that frames that touch get the right junctions.
#[derive(Debug)]
pub(crate) struct Frames {
    area: Rect,
    cells: Vec<u8>,
}

const UP: u8 = 1;
const DOWN: u8 = 2;
const LEFT: u8 = 4;
const RIGHT: u8 = 8;

impl Frames {
    /// No lines yet.
    pub(crate) fn new(area: Rect) -> Self {
        Self { area, cells: vec![0; usize::from(area.width) * usize::from(area.height)] }
    }

    /// Adds the frame of a rectangle; its border is inside it.
    pub(crate) fn add(&mut self, rect: Rect) {
        let rect = rect.intersection(self.area);
        if rect.is_empty() {
            return;
        }
        let (right, bottom) = (rect.right() - 1, rect.bottom() - 1);
        for x in rect.x..=right {
            let bits = if x > rect.x { LEFT } else { 0 } | if x < right { RIGHT } else { 0 };
            self.mark(x, rect.y, bits);
            self.mark(x, bottom, bits);
        }
        for y in rect.y..=bottom {
            let bits = if y > rect.y { UP } else { 0 } | if y < bottom { DOWN } else { 0 };
            self.mark(rect.x, y, bits);
            self.mark(right, y, bits);
        }
    }

    fn mark(&mut self, x: u16, y: u16, bits: u8) {
        let at = usize::from(y - self.area.y) * usize::from(self.area.width) + usize::from(x - self.area.x);
        self.cells[at] |= bits;
    }

    /// Draws all lines.
    pub(crate) fn draw(&self, buffer: &mut Buffer, style: Style) {
        for (position, &bits) in self.area.positions().zip(&self.cells) {
            if bits != 0
                && let Some(cell) = buffer.cell_mut(position)
            {
                cell.set_symbol(line(bits)).set_style(style);
            }
        }
    }
}

fn line(bits: u8) -> &'static str {
    match bits {
        0b0101 => "╯",
        0b1001 => "╰",
        0b0110 => "╮",
        0b1010 => "╭",
        0b0111 => "┤",
        0b1011 => "├",
        0b1101 => "┴",
        0b1110 => "┬",
        0b1111 => "┼",
        bits if bits & (UP | DOWN) != 0 => "│",
        _ => "─",
    }
}

/// The frame of a pane with its title in the top line. Returns what is inside.
pub(crate) fn pane(buffer: &mut Buffer, rect: Rect, title: &[(&str, Style)], focused: bool, palette: &Palette) -> Rect {
    let style = if focused { palette.focus } else { palette.border };
    let mut frames = Frames::new(rect);
    frames.add(rect);
    frames.draw(buffer, style);
    titled(buffer, rect, title);
    inner(rect)
}

/// Writes a title into the top line of a frame, parts three columns apart. What there is no room for is left out, the last first:
/// so a filter, without which it would not be seen that something is hidden, comes right behind the name.
pub(crate) fn titled(buffer: &mut Buffer, rect: Rect, title: &[(&str, Style)]) {
    if rect.width < 6 || rect.height == 0 {
        return;
    }
    let (mut x, end) = (rect.x + 1, rect.right() - 2);
    for (index, (part, style)) in title.iter().filter(|(part, _)| !part.is_empty()).enumerate() {
        if x + 4 > end {
            break;
        }
        x = put(buffer, (x, rect.y), end - x, if index == 0 { " " } else { "   " }, *style);
        x = put(buffer, (x, rect.y), end.saturating_sub(x), part, *style);
    }
    put(buffer, (x, rect.y), (end + 1).saturating_sub(x), " ", Style::new());
}

/// What is inside a frame.
pub(crate) fn inner(rect: Rect) -> Rect {
    Rect {
        x: rect.x + rect.width.min(1),
        y: rect.y + rect.height.min(1),
        width: rect.width.saturating_sub(2),
        height: rect.height.saturating_sub(2),
    }
}

/// An eighth is drawn as a quarter: on many screens it cannot be seen, and it is the end of a meter.
const EIGHTHS: [&str; 9] = ["", "▎", "▎", "▍", "▌", "▋", "▊", "▉", "█"];
/// Shades of a cell, from nearly empty to full.
pub(crate) const HEIGHTS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// A bar over `columns`: `solid` of it full, from there to `total` light, the rest empty. Ratios are 0 to 1.
pub(crate) fn bar(columns: u16, solid: f64, total: f64) -> String {
    let eighths = |ratio: f64| (ratio.clamp(0.0, 1.0) * f64::from(columns) * 8.0).round() as usize;
    let (full, part) = (eighths(solid) / 8, eighths(solid) % 8);
    let light = (eighths(total) + 4) / 8;
    let mut bar = String::with_capacity(usize::from(columns) * 3);
    for column in 0..usize::from(columns) {
        let symbol = match column {
            column if column < full => "█",
            column if column == full && part > 0 => EIGHTHS[part],
            column if column < light => "░",
            _ => " ",
        };
        bar.push_str(symbol);
    }
    bar
}

/// Values as a line of blocks, from the smallest to the biggest of them; flat when they hardly differ.
pub(crate) fn sparkline(values: impl Iterator<Item = u64>) -> String {
    let values: Vec<u64> = values.collect();
    let (low, high) = (values.iter().min().copied().unwrap_or(0), values.iter().max().copied().unwrap_or(0));
    // A scale narrower than a twentieth of the value would make noise look like a mountain range.
    let span = (high - low).max(high / 20).max(1) as f64;
    let middle = if high - low < high / 20 { 3.0 } else { 0.0 };
    values.iter().map(|value| HEIGHTS[(((value - low) as f64 / span * 7.0 + middle).round() as usize).min(7)]).collect()
}

/// Growth per minute that is worth a word, of a group and of one process, of which a few KiB matter, too.
pub(crate) const LEAST_GROWTH_BYTES: f64 = 1_048_576.0;
pub(crate) const LEAST_PROCESS_GROWTH_BYTES: f64 = 4096.0;

/// What growth is a rate of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Per {
    /// A minute.
    Minute,
    /// The seconds that were seen, less than a minute.
    Seconds(u32),
    /// Nothing: it is the difference of two spans.
    Nothing,
}

/// How memory changed lately as a number, and what it is a rate of.
pub(crate) fn rate_of(growth: Option<Growth>) -> (Option<f64>, Per) {
    match growth.map(|growth| (growth, growth.per_minute())) {
        None => (None, Per::Minute),
        Some((_, Some(per_minute))) => (Some(per_minute), Per::Minute),
        Some((growth, None)) => (Some(growth.bytes), Per::Seconds(growth.seconds.round() as u32)),
    }
}

/// Growth with its sign and what it is a rate of: `▲ 12 MiB/min`, `+29 MiB in 20 s`; empty when it is not known, less than `least` or less than half
/// a percent of `bytes`.
pub(crate) fn growth(growth: Option<f64>, per: Per, bytes: f64, least: f64) -> String {
    let Some(growth) = growth.filter(|growth| growth.abs() >= (bytes / 200.0).max(least)) else {
        return String::new();
    };
    let size = crate::words::units::bytes(growth.abs() as u64);
    let (up, more) = if growth > 0.0 { ('▲', '+') } else { ('▼', '-') };
    match per {
        Per::Minute => format!("{up} {size}/min"),
        Per::Nothing => format!("{up} {size}"),
        Per::Seconds(seconds) => format!("{more}{size} in {seconds} s"),
    }
}

/// Replaces everything that is not ASCII, for terminals without UTF-8.
pub(crate) fn to_ascii(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        let symbol = cell.symbol();
        if !symbol.is_ascii() {
            let plain = match symbol {
                "─" => "-",
                "│" => "|",
                "╭" | "╮" | "╰" | "╯" | "├" | "┤" | "┬" | "┴" | "┼" => "+",
                "█" | "▉" | "▊" | "▋" | "▌" => "#",
                "░" => ".",
                "▁" | "▂" => "_",
                "▃" | "▄" | "▅" => "=",
                "▆" | "▇" => "#",
                "▍" | "▎" => ":",
                "▏" | "▕" => "|",
                "▲" => "^",
                "▼" => "v",
                "▶" => ">",
                "…" => "~",
                "·" => ".",
                _ => "?",
            };
            cell.set_symbol(plain);
        }
    }
}

/// The style with its text reversed, for what is selected in every colour depth.
pub(crate) fn reversed(style: Style) -> Style {
    style.add_modifier(Modifier::REVERSED | Modifier::BOLD)
}
