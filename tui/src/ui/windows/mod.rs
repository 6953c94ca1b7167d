//! Windows over the panes: the help with its search, all notices, the choice of an order.

pub(crate) mod signal;
pub(crate) mod trace;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    widgets::{Clear, Widget},
};

use super::{frame::Screen, paint};
use crate::{
    model::Level,
    view::{Overlay, Scene, orders},
    words::{names, printable},
};

/// Draws the overlay, if there is one.
pub(crate) fn draw(buffer: &mut Buffer, area: Rect, screen: &Screen, scene: &mut Scene) {
    match &screen.view.overlay {
        None => {}
        Some(Overlay::Help { search, scroll }) => {
            let title =
                if search.is_empty() { "help   type to search".to_owned() } else { format!("help   search: {search}") };
            window(buffer, area, &title, help(screen, search), *scroll, screen, scene);
        }
        Some(Overlay::Notices { scroll }) => {
            window(buffer, area, "notices", notices(screen, area.width), *scroll, screen, scene);
        }
        Some(Overlay::Trace { kind }) => {
            let room = usize::from(area.width.saturating_sub(10)).max(10);
            window(buffer, area, "exact tracing", trace::lines(screen, *kind, room), 0, screen, scene);
        }
        Some(Overlay::Signal(dialog)) => {
            let room = usize::from(area.width.saturating_sub(10)).max(10);
            window(buffer, area, "signal", signal::lines(screen, dialog, room, area.height), 0, screen, scene);
        }
        Some(Overlay::Jump { text, wrong }) => {
            let palette = screen.palette;
            let mut lines = vec![vec![(text.clone(), palette.title), (" ".to_owned(), paint::reversed(palette.text))]];
            let room = usize::from(area.width.saturating_sub(10)).max(10);
            let what = wrong.as_deref().unwrap_or("14:05   3m ago, before the end   2026-11-27T14:05:33Z");
            let style = if wrong.is_some() { palette.warn } else { palette.muted };
            lines.extend(wrap(what, room).into_iter().map(|line| vec![(line, style)]));
            window(buffer, area, "go to", lines, 0, screen, scene);
        }
        Some(Overlay::Sort) => {
            window(buffer, area, "order of this pane", sorts(screen), 0, screen, scene);
        }
    }
}

/// Parts of a line with their styles.
pub(crate) type Line = Vec<(String, Style)>;

fn window(
    buffer: &mut Buffer,
    area: Rect,
    title: &str,
    lines: Vec<Line>,
    scroll: usize,
    screen: &Screen,
    scene: &mut Scene,
) {
    let palette = screen.palette;
    let widest =
        lines.iter().map(|line| line.iter().map(|(part, _)| printable::width(part)).sum::<usize>()).max().unwrap_or(0);
    let width = (widest.max(printable::width(title)) as u16 + 6).max(30).min(area.width);
    let height = (lines.len() as u16 + 2).min(area.height);
    let rect = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(rect, buffer);
    buffer.set_style(rect, palette.text);
    let room = if rect.height >= 3 && rect.width >= 8 {
        paint::pane(buffer, rect, &[(title, palette.focus)], true, palette)
    } else {
        rect
    };
    (scene.scrollable, scene.page) = (lines.len().saturating_sub(usize::from(room.height)), room.height);
    let first = scroll.min(scene.scrollable);
    for (line, y) in lines.iter().skip(first).zip(room.y..room.bottom()) {
        let mut x = room.x + 1;
        for (part, style) in line {
            x = paint::put(buffer, (x, y), room.right().saturating_sub(x), part, *style);
        }
    }
}

fn help(screen: &Screen, search: &str) -> Vec<Line> {
    let palette = screen.palette;
    let search = search.to_lowercase();
    let mut lines: Vec<Line> = Vec::new();
    let mut sections: Vec<&str> = Vec::new();
    for hint in screen.hints {
        if !sections.contains(&hint.section) {
            sections.push(hint.section);
        }
    }
    let keys = screen.hints.iter().map(|hint| printable::width(&hint.keys)).max().unwrap_or(0);
    for section in sections {
        let found: Vec<_> = screen
            .hints
            .iter()
            .filter(|hint| hint.section == section)
            .filter(|h| [&*h.keys, h.action, h.text].iter().any(|text| text.to_lowercase().contains(&search)))
            .collect();
        if found.is_empty() {
            continue;
        }
        if !lines.is_empty() {
            lines.push(Vec::new());
        }
        lines.push(vec![(section.to_owned(), palette.focus)]);
        for hint in found {
            lines.push(vec![
                (printable::pad(&hint.keys, keys + 2), palette.title),
                (printable::pad(hint.action, 18), palette.muted),
                (hint.text.to_owned(), palette.text),
            ]);
        }
    }
    if lines.is_empty() {
        return vec![vec![("no matching key; backspace shortens the search".to_owned(), palette.muted)]];
    }
    if search.is_empty() {
        let facts = [
            "Sizes are in units of 1024. CPU is in percent of one core. Shift and drag selects text.",
            "A ~ before a size: it contains RSS, because PSS is not known for all processes.",
            "A bar shows self time (solid) and total time (light) as a share of all samples.",
        ];
        lines.push(Vec::new());
        lines.extend(facts.map(|fact| vec![(fact.to_owned(), palette.muted)]));
    }
    lines
}

/// The orders that the pane has, the one that it is in marked.
fn sorts(screen: &Screen) -> Vec<Line> {
    let (palette, pane) = (screen.palette, screen.view.focus.0);
    let orders = orders(screen.view, pane);
    let state = screen.view.pane(pane);
    let now = state.sort.or(orders.first().map(|(sort, _)| *sort));
    let line = |action: &str, text: &str, marked: bool| {
        let key = screen.hints.iter().find(|hint| hint.action == action).map_or("-", |hint| &hint.key);
        let mark = if marked { "▶ " } else { "  " };
        let style = if marked { palette.focus } else { palette.text };
        vec![(format!("{mark}{}", printable::pad(key, 4)), palette.title), (text.to_owned(), style)]
    };
    let mut lines: Vec<Line> =
        orders.iter().map(|(sort, text)| line(sort.action(), text, Some(*sort) == now)).collect();
    lines.push(line("invert", "reverse order", state.inverted));
    lines
}

fn notices(screen: &Screen, width: u16) -> Vec<Line> {
    let palette = screen.palette;
    let room = usize::from(width.saturating_sub(10)).max(10);
    let notices = screen.snapshot.map_or(&[][..], |snapshot| &snapshot.notices);
    let mut sorted: Vec<_> = notices.iter().collect();
    sorted.sort_by_key(|notice| std::cmp::Reverse(notice.level));
    let mut lines: Vec<Line> = Vec::new();
    for notice in sorted {
        let style = match notice.level {
            Level::Error => palette.error,
            Level::Warning => palette.warn,
            Level::Info => palette.muted,
        };
        for (index, part) in wrap(&notice.text, room).into_iter().enumerate() {
            let name = if index == 0 { format!("{}: ", names::level(notice.level)) } else { "  ".to_owned() };
            lines.push(vec![(name, style), (part, palette.text)]);
        }
        for part in wrap(&notice.hint, room) {
            lines.push(vec![("  ".to_owned(), style), (part, palette.title)]);
        }
    }
    if lines.is_empty() {
        lines.push(vec![("nothing to report".to_owned(), palette.muted)]);
    }
    lines
}

/// Breaks text at spaces into lines of at most `room` columns.
pub(crate) fn wrap(text_in: &str, room: usize) -> Vec<String> {
    let safe = printable::printable(text_in);
    let mut lines: Vec<String> = Vec::new();
    for word in safe.split_whitespace() {
        match lines.last_mut() {
            Some(line) if printable::width(line) + 1 + printable::width(word) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
