//! What all lists share: which rows are visible, and the mark on the selected one.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{filter, frame::Screen, paint};
use crate::{
    view::{List, Pane, Row, Scene},
    words::printable,
};

/// Places rows in an area so that the selected one is visible, and hands them to the scene.
/// Returns the numbers of the visible rows with their lines and whether they are selected.
pub(crate) fn place(
    rows: Vec<Row>,
    pane: Pane,
    area: Rect,
    screen: &Screen,
    scene: &mut Scene,
) -> Vec<(usize, u16, bool)> {
    let selected = screen.view.pane(pane).selected.as_ref();
    let at = selected.and_then(|selected| rows.iter().position(|row| row == selected));
    let page = usize::from(area.height);
    let first = at.unwrap_or(0).saturating_sub(page / 2).min(rows.len().saturating_sub(page));
    let visible =
        (first..rows.len().min(first + page)).zip(area.y..).map(|(index, y)| (index, y, at == Some(index))).collect();
    scene.lists[pane as usize] = List { rows, first, area };
    visible
}

/// Lays the style of a selected row over it: full in the focused pane, underlined elsewhere.
pub(crate) fn mark(buffer: &mut Buffer, area: Rect, y: u16, pane: Pane, screen: &Screen) {
    let row = Rect { y, height: 1, ..area };
    if screen.view.focus.0 == pane {
        buffer.set_style(row, screen.palette.selection);
    } else {
        buffer.set_style(row, Style::new().add_modifier(ratatui::style::Modifier::UNDERLINED));
    }
}

/// Writes calm sentences into the middle of an empty pane.
pub(crate) fn empty(buffer: &mut Buffer, area: Rect, lines: &[&str], screen: &Screen) {
    let top = area.y + area.height.saturating_sub(lines.len() as u16) / 2;
    for ((index, line), y) in lines.iter().enumerate().zip(top..area.bottom()) {
        let x = area.x + area.width.saturating_sub(printable::width(line) as u16) / 2;
        let style = if index == 0 { screen.palette.text } else { screen.palette.muted };
        paint::put(buffer, (x, y), area.right().saturating_sub(x), line, style);
    }
}

/// `filter: x` for the title of a filtered pane; empty otherwise.
pub(crate) fn filter_title(pane: Pane, screen: &Screen) -> String {
    let filter = &screen.view.pane(pane).filter;
    if filter.is_empty() {
        return String::new();
    }
    match filter::fault(filter) {
        Some(fault) => format!("filter: {filter} (as plain text: {fault})"),
        None => format!("filter: {filter}"),
    }
}
