//! The memory pane as a table, and the plain table that is left on the smallest terminals.

use ratatui::{buffer::Buffer, layout::Rect};

use super::{entries, tiles};
use crate::{
    ui::{frame::Screen, list, paint},
    view::{Pane, Row, Scene},
    words::{memory, printable, units},
};

/// Columns of a part of memory, and the width from which the parts are shown.
const PART: u16 = 8;
const PARTS_FROM: u16 = 110;
/// Width from which what is read from and written to disks is shown.
const DISK_FROM: u16 = 130;

/// Draws the plain table and says where its rows are.
pub(crate) fn draw(buffer: &mut Buffer, area: Rect, screen: &Screen, scene: &mut Scene) -> Rect {
    let palette = screen.palette;
    let Some(snapshot) = screen.snapshot else {
        paint::put(buffer, (area.x, area.y), area.width, "reading /proc …", palette.muted);
        return area;
    };
    let mut rows = area;
    if area.height >= 4 {
        let state = if screen.view.paused { "PAUSED" } else { "" };
        let used = snapshot.system.memory_available_bytes.map(|a| snapshot.host.memory_bytes.saturating_sub(a));
        let memory =
            used.map_or_else(String::new, |used| format!("mem {}", units::bytes_of(used, snapshot.host.memory_bytes)));
        let mut x = area.x;
        for part in [&*snapshot.host.name, state, &memory].into_iter().filter(|part| !part.is_empty()) {
            x = paint::put(buffer, (x, area.y), area.right().saturating_sub(x), part, palette.title) + 2;
        }
        rows = Rect { y: area.y + 1, height: area.height - 1, ..area };
    }
    if screen.view.typing {
        let line = Rect { y: area.bottom() - 1, height: 1, ..area };
        let filter = format!("/{}", screen.view.pane(Pane::Map).filter);
        paint::put(buffer, (line.x, line.y), line.width, &filter, palette.focus);
        rows.height = rows.height.saturating_sub(1);
    }
    draw_rows(buffer, rows, screen, scene);
    rows
}

/// Draws the table in the frame of the memory pane.
pub(crate) fn draw_pane(buffer: &mut Buffer, rect: Rect, screen: &Screen, scene: &mut Scene) {
    let focused = screen.view.focus.0 == Pane::Map;
    let palette = screen.palette;
    let style = if focused { palette.focus } else { palette.title };
    let entries = &screen.entries;
    let (name, measure) = tiles::titles(screen, entries);
    let filter = list::filter_title(Pane::Map, screen);
    let (cgroup, cgroup_style) = tiles::cgroup_title(entries, palette);
    let parts = [(&*name, style), (&*filter, palette.warn), (&*measure, palette.muted), (&*cgroup, cgroup_style)];
    let area = paint::pane(buffer, rect, &parts, focused, palette);
    draw_rows(buffer, area, screen, scene);
}

/// Names the columns of the parts, whose numbers look alike. Returns what is left.
fn titled_parts(buffer: &mut Buffer, area: Rect, screen: &Screen) -> Rect {
    let disk = if area.width >= DISK_FROM { 2 } else { 0 };
    let titles =
        [("RSS", 3 + disk), ("PSS", 2 + disk), ("USS", 1 + disk), ("swap", disk), ("read/s", 1), ("write/s", 0)];
    for (title, from_right) in titles.into_iter().take(if disk > 0 { 6 } else { 4 }) {
        let x = area.right() - (PART + 1) * (from_right + 1) + 1;
        paint::put_right(buffer, (x, area.y), PART, title, screen.palette.muted);
    }
    Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area }
}

/// A rate below a title that says that it is one.
fn rate(per_s: Option<f64>) -> String {
    memory::size(per_s.map(|per_s| per_s.max(0.0) as u64), false)
}

fn draw_rows(buffer: &mut Buffer, area: Rect, screen: &Screen, scene: &mut Scene) {
    let palette = screen.palette;
    let entries = &screen.entries;
    if entries.list.is_empty() {
        list::empty(buffer, area, &tiles::why_empty(screen, entries), screen);
        return;
    }
    let pane = screen.view.pane(Pane::Map);
    let mut list = entries.list.clone();
    entries::sort_for_table(&mut list, pane.sort, pane.inverted);
    let rows = list.iter().map(|entry| Row::Tile(entry.key.clone())).collect();
    let width = area.width;
    let area = if width >= PARTS_FROM { titled_parts(buffer, area, screen) } else { area };
    for (index, y, selected) in list::place(rows, Pane::Map, area, screen, scene) {
        let entry = &list[index];
        let bytes = memory::size(entry.bytes, entry.estimated);
        let share = entry.bytes.map_or(0.0, |bytes| bytes as f64 / entries.total.max(1) as f64);
        let cpu = entry.cpu.map_or_else(|| "-".to_owned(), |cores| format!("{:.0} %", cores * 100.0));
        let last = match entry.process {
            Some(process) => process.user.to_string(),
            None => match tiles::growth(entry) {
                growth if growth.is_empty() => tiles::ended(entry, screen),
                growth => growth.replace(" in ", "/"),
            },
        };
        let columns = [
            (10, 14, bytes),
            (6, 22, format!("{:.0} %", share * 100.0)),
            (9, 34, format!("cpu {cpu:>5}")),
            (
                6,
                44,
                match entry.process {
                    Some(process) => process.pid.to_string(),
                    None if entry.processes == 0 => String::new(),
                    None => format!("{}×", entry.processes),
                },
            ),
            (14, 66, last),
            (PART, PARTS_FROM, memory::size(entry.memory.rss_bytes, false)),
            (PART, PARTS_FROM, memory::size(entry.memory.pss_bytes, false)),
            (PART, PARTS_FROM, memory::size(entry.memory.uss_bytes, false)),
            (PART, PARTS_FROM, memory::size(entry.memory.swapped_bytes(), false)),
            (PART, DISK_FROM, rate(entry.disk.read_bytes_per_s)),
            (PART, DISK_FROM, rate(entry.disk.written_bytes_per_s)),
        ];
        let shown: Vec<&(u16, u16, String)> = columns.iter().filter(|(_, least, _)| width >= *least).collect();
        let taken: u16 = shown.iter().map(|(columns, ..)| columns + 1).sum();
        let name = width.saturating_sub(taken);
        let label = match entry.process {
            Some(process) if !process.cmdline.is_empty() && name > 30 => &process.cmdline,
            _ => entry.name,
        };
        paint::put(buffer, (area.x, y), name, label, palette.title);
        let mut x = area.x + name;
        for (columns, _, value) in shown {
            let value = printable::truncate_end(value, usize::from(*columns));
            paint::put_right(buffer, (x + 1, y), *columns, &value, palette.text);
            x += columns + 1;
        }
        if selected {
            list::mark(buffer, area, y, Pane::Map, screen);
        }
    }
}
