//! The frames of a flame as cells. Edges are drawn to an eighth of a column, with a block whose colour is that of the frame at the
//! left and whose background is that of the frame at the right. Without colours, lines stand between frames and waiting is dotted.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Modifier, Style},
};

use super::Drawn;
use crate::{
    ui::{
        frame::Screen,
        paint,
        theme::{FlamePaint, Palette},
    },
    view::{
        FlameScene,
        flame::{Placed, layout::PARTS},
    },
    words::{printable, units},
};

/// The left parts of a cell, by eighths.
const BLOCKS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
/// Columns from which on a frame has its name, and its share.
const NAMED: u16 = 3;
const SHARED: u16 = 18;

/// What an eighth of a column belongs to: the style, or nothing.
type Ink = Option<Style>;

/// Draws all frames that are in sight.
pub(super) fn draw(buffer: &mut Buffer, drawn: &Drawn, scene: &FlameScene, selected: Option<usize>, screen: &Screen) {
    let area = scene.area;
    let mut lines: Vec<Vec<usize>> = vec![Vec::new(); usize::from(area.height)];
    for (index, placed) in scene.frames.iter().enumerate() {
        if let Some(line) = placed.y.and_then(|y| lines.get_mut(usize::from(y - area.y))) {
            line.push(index);
        }
    }
    let has_colours = screen.palette.flame(FlamePaint::Cpu(0)).is_some();
    for (line, y) in lines.iter().zip(area.y..) {
        let row = Rect { y, height: 1, ..area };
        if has_colours {
            coloured(buffer, row, line, drawn, scene, selected, screen);
        } else {
            lined(buffer, row, line, drawn, scene, selected, screen);
        }
    }
}

/// Columns that are all of a frame.
fn whole_columns(placed: &Placed, area: Rect) -> (u16, u16) {
    let (start, width) = placed.span;
    let (from, to) = (start.div_ceil(PARTS) as u16, ((start + width) / PARTS) as u16);
    (area.x + from, to.saturating_sub(from))
}

fn coloured(
    buffer: &mut Buffer,
    row: Rect,
    line: &[usize],
    drawn: &Drawn,
    scene: &FlameScene,
    selected: Option<usize>,
    screen: &Screen,
) {
    let palette = screen.palette;
    let mut inks: Vec<Ink> = vec![None; usize::from(row.width) * PARTS as usize];
    let mut last = usize::MAX;
    for &index in line {
        let placed = &scene.frames[index];
        let mut number = number(placed);
        // Frames beside each other differ, whatever they are called.
        number += usize::from(number % 3 == last);
        last = number % 3;
        let (cpu, wait) = inks_of(placed, drawn, number, palette);
        let (start, width) = placed.span;
        let (from, middle, to) = (start as usize, (start + placed.cpu) as usize, (start + width) as usize);
        let (cpu, wait) =
            if Some(index) == selected { (paint_selected(palette), paint_selected(palette)) } else { (cpu, wait) };
        for (range, ink) in [(from..middle, cpu), (middle..to, wait)] {
            if let Some(inks) = inks.get_mut(range) {
                inks.fill(Some(ink));
            }
        }
    }
    for (column, inks) in inks.chunks(PARTS as usize).enumerate() {
        if let Some(cell) = buffer.cell_mut((row.x + column as u16, row.y)) {
            let (symbol, style) = cell_of(inks, screen.ascii);
            cell.set_symbol(symbol).set_style(style);
        }
    }
    for &index in line {
        let placed = &scene.frames[index];
        let (x, width) = whole_columns(placed, row);
        label(buffer, (x, row.y), width, placed, drawn, Style::new());
    }
}

/// Reversed, in colours that no frame has.
fn paint_selected(palette: &Palette) -> Style {
    paint::reversed(Style { bg: None, ..palette.title })
}

/// What tells a frame from those beside it: the same for the same name at all times (FNV-1a).
fn number(placed: &Placed) -> usize {
    let name = placed.frame.name();
    name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)) as usize % 3
}

/// The styles of CPU time and waiting of a frame.
fn inks_of(placed: &Placed, drawn: &Drawn, number: usize, palette: &Palette) -> (Style, Style) {
    let style = |paint| palette.flame(paint).unwrap_or(palette.text);
    if drawn.search.is_some() && !placed.found {
        return (style(FlamePaint::Other), style(FlamePaint::Other));
    }
    let flame = drawn.tree(placed.half);
    if !flame.compared {
        return (style(FlamePaint::Cpu(number)), style(FlamePaint::Wait(number)));
    }
    let node = &flame.nodes[placed.node];
    let by = (node.now as f64 - node.before as f64) / node.now.max(node.before).max(1) as f64;
    let style = match by {
        _ if flame.is_noise(node) => style(FlamePaint::Other),
        0.0.. => style(FlamePaint::More(by)),
        _ => style(FlamePaint::Less(-by)),
    };
    (style, style)
}

/// The symbol and the style of a cell whose eighths belong to different frames: one edge is drawn, the first.
fn cell_of(inks: &[Ink], ascii: bool) -> (&'static str, Style) {
    let first = inks.first().copied().flatten();
    let edge = inks.iter().take_while(|ink| **ink == first).count();
    if edge == inks.len() {
        return (" ", back(first));
    }
    let rest = &inks[edge..];
    // What most of the rest is.
    let most = rest.iter().copied().max_by_key(|ink| rest.iter().filter(|other| *other == ink).count()).flatten();
    if ascii {
        return (" ", back(if edge * 2 >= inks.len() { first } else { most }));
    }
    let symbol = BLOCKS[edge.min(7)];
    match (first, most) {
        (Some(left), Some(right)) => (symbol, Style { fg: ground(left), bg: ground(right), ..Style::new() }),
        (Some(left), None) => (symbol, Style { fg: ground(left), ..Style::new() }),
        // The left part is the terminal's own background, which no colour is.
        (None, Some(right)) => (symbol, Style { fg: ground(right), ..Style::new() }.add_modifier(Modifier::REVERSED)),
        (None, None) => (" ", Style::new()),
    }
}

/// The colour that a frame is filled with.
fn ground(style: Style) -> Option<ratatui::style::Color> {
    if style.add_modifier.contains(Modifier::REVERSED) { style.fg } else { style.bg }
}

fn back(ink: Ink) -> Style {
    ink.unwrap_or_default()
}

/// The name of a frame and its share, where there is room.
fn label(buffer: &mut Buffer, (x, y): (u16, u16), width: u16, placed: &Placed, drawn: &Drawn, style: Style) {
    if width < NAMED {
        return;
    }
    let flame = drawn.tree(placed.half);
    let (node, whole) = (&flame.nodes[placed.node], &flame.nodes[0]);
    let share = match flame.compared {
        false => units::percent(node.now as f64 / whole.now.max(1) as f64),
        true => {
            let by = (node.now as f64 - node.before as f64) / 1e7;
            let sign = if by < 0.0 { "" } else { "+" };
            format!("{sign}{by:.1} %")
        }
    };
    let shared = if width >= SHARED { share.len() as u16 + 2 } else { 0 };
    let room = width - shared - u16::from(width > NAMED);
    let (name, place) = (placed.frame.name(), placed.frame.place());
    let name = printable::printable(&name);
    put(buffer, (x, y), room, &name, style);
    // The top-level code of a file says little without the file.
    let taken = printable::width(&name) as u16 + 1;
    if name.starts_with('{') && taken + 6 < room {
        let place = printable::printable(&place).into_owned();
        put(buffer, (x + taken, y), room - taken, &printable::truncate_start(&place, usize::from(room - taken)), style);
    }
    if shared > 0 {
        put(buffer, (x + width - shared + 1, y), shared, &share, style);
    }
}

/// Writes text over the cells of a frame, and leaves their colours.
fn put(buffer: &mut Buffer, (x, y): (u16, u16), max: u16, text: &str, style: Style) {
    let cut = printable::truncate_end(text, usize::from(max));
    buffer.set_stringn(x, y, &*cut, usize::from(max), style);
}

fn lined(
    buffer: &mut Buffer,
    row: Rect,
    line: &[usize],
    drawn: &Drawn,
    scene: &FlameScene,
    selected: Option<usize>,
    screen: &Screen,
) {
    let palette = screen.palette;
    let mut free = row.x;
    for &index in line {
        let placed = &scene.frames[index];
        let (start, width) = placed.span;
        let column = |part: u32| (row.x + (part / PARTS) as u16).min(row.right() - 1);
        // The last column of a frame is the line behind it.
        let (from, middle, end) = (column(start).max(free), column(start + placed.cpu), column(start + width - 1));
        if from > end {
            // It has no column of its own.
            continue;
        }
        free = end + 1;
        let flame = drawn.tree(placed.half);
        let node = &flame.nodes[placed.node];
        let style = if Some(index) == selected {
            paint::reversed(palette.text)
        } else if placed.found || (flame.compared && !flame.is_noise(node)) {
            palette.title
        } else {
            palette.text
        };
        for x in from..=end {
            let symbol = if x == end {
                "│"
            } else if x >= middle {
                "░"
            } else {
                " "
            };
            if let Some(cell) = buffer.cell_mut((x, row.y)) {
                cell.set_symbol(symbol).set_style(style);
            }
        }
        label(buffer, (from, row.y), end - from, placed, drawn, style);
    }
}
