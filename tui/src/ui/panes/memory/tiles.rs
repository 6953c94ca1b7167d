//! The memory pane as a treemap: tiles with shared borders, facts by the room they have, colour by group, growth or CPU.

use std::cmp::Reverse;

use jiff::Timestamp;
use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{
    entries::{self, Entries, Entry},
    pool,
};
use crate::{
    model::Process,
    ui::{
        frame::Screen,
        list,
        paint::{self, Per},
        panes::empty,
        theme::Palette,
    },
    view::{
        List, Pane, Row, Scene, TileColour, TileKey,
        treemap::{self, Item, MinTile, Tile},
    },
    words::{machine_memory, memory, printable, units},
};

/// Smallest tile with its share of the frame: eleven columns and one line of text.
const MIN_TILE: MinTile = MinTile { width: 12, height: 2 };
/// Processes listed in the tile of their group.
const MAX_MEMBERS: usize = 12;
/// Growth per minute, as a share of the group's size, that counts as hottest.
const HOTTEST_GROWTH: f64 = 0.1;

/// Draws the pane.
pub(crate) fn draw(buffer: &mut Buffer, rect: Rect, screen: &Screen, scene: &mut Scene) {
    let mut entries = screen.entries.clone();
    if entries.total > 0 {
        // What is known to take nothing (kernel threads) has no area; the table has it.
        entries.list.retain(|entry| entry.bytes != Some(0));
    }
    if entries.list.is_empty() {
        draw_empty(buffer, rect, screen, &entries);
        return;
    }
    // The last line and column belong to the frame alone.
    let area = Rect { width: rect.width.saturating_sub(1), height: rect.height.saturating_sub(1), ..rect };
    let items: Vec<Item<TileKey>> =
        entries.list.iter().map(|e| Item { key: e.key.clone(), weight: e.bytes.unwrap_or(0) as f64 }).collect();
    let previous = screen.previous.and_then(|scene| scene.tiles.as_ref());
    let layout = treemap::layout(&items, area, MIN_TILE, previous);
    let mut frames = paint::Frames::new(rect);
    for tile in &layout.tiles {
        frames.add(framed(tile.rect));
    }
    frames.draw(buffer, screen.palette.border);
    let selected = screen.view.pane(Pane::Map).selected.as_ref();
    let focused = screen.view.focus.0 == Pane::Map;
    for tile in &layout.tiles {
        draw_tile(buffer, tile, &entries, layout.merged, screen);
    }
    if focused {
        highlight(buffer, rect, screen.palette.focus);
    }
    let marked = layout.tiles.iter().find(|tile| selected.is_some_and(|selected| *selected == row(tile)));
    if let Some(tile) = marked {
        highlight(buffer, framed(tile.rect), screen.palette.focus);
        let label = Rect { height: 1, ..paint::inner(framed(tile.rect)) };
        buffer.set_style(label, if focused { screen.palette.selection } else { paint::reversed(Style::new()) });
    }
    title(buffer, rect, screen, &entries);
    let rows = layout.tiles.iter().map(row).collect();
    scene.lists[Pane::Map as usize] = List { rows, first: 0, area: Rect { height: 1, ..Rect::ZERO } };
    scene.tiles = Some(layout);
}

fn row(tile: &Tile<TileKey>) -> Row {
    tile.key.clone().map_or(Row::Rest, Row::Tile)
}

/// A tile's frame: it shares its right and bottom line with what follows.
fn framed(rect: Rect) -> Rect {
    Rect { width: rect.width + 1, height: rect.height + 1, ..rect }
}

fn highlight(buffer: &mut Buffer, rect: Rect, style: Style) {
    let (right, bottom) = (rect.right().saturating_sub(1), rect.bottom().saturating_sub(1));
    for edge in [
        Rect { height: 1, ..rect },
        Rect { y: bottom, height: 1, ..rect },
        Rect { width: 1, ..rect },
        Rect { x: right, width: 1, ..rect },
    ] {
        buffer.set_style(edge, style);
    }
}

fn title(buffer: &mut Buffer, rect: Rect, screen: &Screen, entries: &Entries) {
    let palette = screen.palette;
    let style = if screen.view.focus.0 == Pane::Map { palette.focus } else { palette.title };
    let (name, measure) = titles(screen, entries);
    let filter = list::filter_title(Pane::Map, screen);
    let colour = match screen.view.tile_colour {
        TileColour::Group => "",
        TileColour::Growth => "colour: growth",
        TileColour::Cpu => "colour: cpu",
    };
    let (cgroup, cgroup_style) = cgroup_title(entries, palette);
    let parts = [
        (&*name, style),
        (&*filter, palette.warn),
        (&*measure, palette.muted),
        (&*cgroup, cgroup_style),
        (colour, palette.muted),
    ];
    paint::titled(buffer, rect, &parts);
}

/// Usage and limit of the cgroup of the group that is zoomed into; empty where there is none.
pub(crate) fn cgroup_title(entries: &Entries, palette: &Palette) -> (String, Style) {
    let Some(cgroup) = entries.cgroup else { return (String::new(), palette.muted) };
    let (used, nearly_full) = memory::cgroup(cgroup);
    (format!("cgroup {used}"), if nearly_full { palette.error } else { palette.muted })
}

/// The name of the level and the measure, for the title of the map and of the table.
pub(crate) fn titles(screen: &Screen, entries: &Entries) -> (String, String) {
    let rest = screen.view.zoom.iter().any(|step| matches!(step, crate::view::Zoom::Rest(_)));
    let name = match (entries.group, rest) {
        (Some(group), _) => format!("processes of {group}"),
        (None, true) => "other groups".to_owned(),
        (None, false) => format!("memory by {}", screen.view.grouping.name()),
    };
    let Some((machine, used)) = entries.machine.and_then(|machine| Some((machine, machine.used_bytes?))) else {
        return (name, format!("{} {}", entries.measure, units::bytes(entries.total)));
    };
    let cache = units::bytes(machine.cache_bytes());
    let cache = if screen.view.cache { format!(" + cache {cache}") } else { String::new() };
    let twice = machine_memory::counted_twice(machine);
    let twice = twice.map_or_else(String::new, |bytes| format!(", {} counted twice", units::bytes(bytes)));
    (name, format!("used {}{cache}{twice}   {}", units::bytes(used), entries.measure))
}

fn draw_empty(buffer: &mut Buffer, rect: Rect, screen: &Screen, entries: &Entries) {
    let focused = screen.view.focus.0 == Pane::Map;
    let style = if focused { screen.palette.focus } else { screen.palette.title };
    let (name, _) = titles(screen, entries);
    let filter = list::filter_title(Pane::Map, screen);
    let parts = [(&*name, style), (&*filter, screen.palette.warn)];
    let area = paint::pane(buffer, rect, &parts, focused, screen.palette);
    list::empty(buffer, area, &why_empty(screen, entries), screen);
}

/// Why there is nothing to show, and what to type.
pub(crate) fn why_empty(screen: &Screen, entries: &Entries) -> Vec<&'static str> {
    if screen.snapshot.is_none() {
        vec!["reading /proc …"]
    } else if entries.hidden > 0 {
        empty::FILTERED.to_vec()
    } else if entries.group.is_some() {
        vec!["this group has ended", "esc goes back to all groups"]
    } else {
        vec!["no process can be seen", "/proc may be mounted with hidepid; root sees all"]
    }
}

fn draw_tile(buffer: &mut Buffer, tile: &Tile<TileKey>, entries: &Entries, merged: usize, screen: &Screen) {
    let area = paint::inner(framed(tile.rect));
    if area.is_empty() {
        return;
    }
    let Some(key) = &tile.key else {
        let shown = entries.list.len() - merged;
        let rest = &entries.list[shown.min(entries.list.len())..];
        let bytes = rest.iter().filter_map(|entry| entry.bytes).sum();
        let estimated = rest.iter().any(|entry| entry.estimated);
        let style = screen.palette.muted;
        let name = match rest {
            [only] => only.name.to_owned(),
            _ => format!("other ({merged})"),
        };
        lines(
            buffer,
            area,
            style,
            &[(name, size(Some(bytes), estimated, entries.total)), (String::new(), String::new())],
        );
        return;
    };
    let Some(entry) = entries.list.iter().find(|entry| entry.key == *key) else { return };
    let style = colour(entry, screen);
    buffer.set_style(area, style);
    let size = size(entry.bytes, entry.estimated, entries.total);
    let facts = match entry.process {
        None if !matches!(key, TileKey::Group(_)) => vec![(entry.name.to_owned(), size), (part(entry), String::new())],
        None => {
            let processes = format!("{} proc{}", entry.processes, if entry.processes == 1 { "" } else { "s" });
            vec![
                (entry.name.to_owned(), size),
                (
                    fitting(
                        area.width,
                        &[
                            &processes,
                            &each(entry, screen.snapshot.map(|snapshot| snapshot.at)),
                            &cpu(entry),
                            &ended(entry, screen),
                        ],
                    ),
                    growth(entry),
                ),
                (capacity(entry, screen, area.width), String::new()),
            ]
        }
        Some(process) => {
            let running = screen.snapshot.and_then(|snapshot| entries::running_request(snapshot, process.pid));
            let request = running.map_or_else(String::new, |r| {
                format!("▶ {} {} {}", units::duration_ms(r.duration_ms), r.method, r.uri)
            });
            let mut facts = vec![
                (format!("{} {}", process.pid, entry.name), size),
                (join(&[&cpu(entry), &process.user]), String::new()),
            ];
            facts.extend([request, process.cmdline.to_string()].map(|fact| (fact, String::new())));
            facts
        }
    };
    let mut used = lines(buffer, area, style, &facts);
    used += cgroup_line(buffer, area, used, entry, screen);
    if !matches!(key, TileKey::Group(_)) || area.width < 8 {
        return;
    }
    if area.height > used {
        let points = screen.histories.recent(entry.name, usize::from(area.width.min(60)));
        let line = paint::sparkline(points);
        if printable::width(&line) >= 3 {
            paint::put(buffer, (area.x, area.y + used), area.width, &line, style);
            used += 1;
        }
    }
    members(buffer, area, used, entry, screen);
}

/// Usage and limit of a group's cgroup: where there is a limit, or much room and no other group in it, of whose memory it would
/// tell as well. Returns how many lines were used.
fn cgroup_line(buffer: &mut Buffer, area: Rect, used: u16, entry: &Entry, screen: &Screen) -> u16 {
    let room = area.height.saturating_sub(used);
    let is_shared = || {
        let groups = screen.snapshot.map_or(&[][..], |snapshot| &snapshot.groups);
        let index = groups.get(entry.group).and_then(|group| group.cgroup);
        groups.iter().filter(|group| group.cgroup == index).count() > 1
    };
    let Some(cgroup) = entry.cgroup.filter(|cgroup| {
        entry.process.is_none()
            && cgroup.memory_current_bytes.is_some()
            && room > if cgroup.unlimited { 3 } else { 0 }
            && !(cgroup.unlimited && is_shared())
    }) else {
        return 0;
    };
    let (text, nearly_full) = memory::cgroup(cgroup);
    let style = if nearly_full { screen.palette.error } else { colour(entry, screen) };
    paint::put(buffer, (area.x, area.y + used), area.width, &format!("cgroup {text}"), style);
    1
}

/// The biggest processes of a group, where its tile has room to spare.
fn members(buffer: &mut Buffer, area: Rect, used: u16, entry: &Entry, screen: &Screen) {
    let room = usize::from(area.height.saturating_sub(used + 2)).min(MAX_MEMBERS);
    let Some(snapshot) = screen.snapshot.filter(|_| room >= 3 && area.width >= 30 && entry.processes > 1) else {
        return;
    };
    let mut members: Vec<&Process> = snapshot.processes.iter().filter(|p| p.group == entry.group).collect();
    members.sort_by_key(|process| (Reverse(process.memory.footprint_bytes()), process.pid));
    let style = colour(entry, screen);
    for (process, y) in members.iter().take(room).zip(area.y + used + 1..) {
        let cpu = process.cpu_ratio.map_or_else(|| "-".to_owned(), |cores| format!("{:.0} %", cores * 100.0));
        let bytes =
            memory::size(process.memory.footprint_bytes(), entry.estimated && process.memory.pss_bytes.is_none());
        // What a worker serves says more than its command line. Its duration would change with every refresh.
        let running = entries::running_request(snapshot, process.pid).filter(|request| !request.uri.is_empty());
        let name = match running {
            Some(request) => format!("▶ {} {}", request.method, request.uri),
            None if process.cmdline.is_empty() => process.comm.to_string(),
            None => process.cmdline.to_string(),
        };
        paint::put_right(buffer, (area.x, y), 8, &process.pid.to_string(), style);
        paint::put_right(buffer, (area.x + 8, y), 10, &bytes, style);
        paint::put_right(buffer, (area.x + 18, y), 7, &cpu, style);
        paint::put(buffer, (area.x + 27, y), area.width.saturating_sub(27), &name, style);
    }
}

/// Writes pairs of text, one at the left and one at the right edge; the right one goes to a line of its own when there is no
/// room beside. The first text is the label. Returns how many lines were used.
fn lines(buffer: &mut Buffer, area: Rect, style: Style, facts: &[(String, String)]) -> u16 {
    let mut y = area.y;
    for (index, (left, right)) in facts.iter().enumerate() {
        if left.is_empty() && right.is_empty() {
            continue;
        }
        if y >= area.bottom() {
            break;
        }
        let style = if index == 0 { style.add_modifier(ratatui::style::Modifier::BOLD) } else { style };
        let (left_width, right_width) = (printable::width(left) as u16, printable::width(right) as u16);
        if right.is_empty()
            || left_width.min(8) + right_width + 1 > area.width
            || (area.height > 1 && left_width + right_width + 2 > area.width)
        {
            // With one line, the name alone says less than a short name and the size.
            if !right.is_empty() && y + 1 >= area.bottom() && right_width + 3 <= area.width {
                let name = area.width - right_width - 1;
                paint::put(buffer, (area.x, y), name, left, style);
                paint::put_right(buffer, (area.x, y), area.width, right, style);
                return y + 1 - area.y;
            }
            paint::put(buffer, (area.x, y), area.width, left, style);
            if !right.is_empty() && y + 1 < area.bottom() {
                y += 1;
                paint::put(buffer, (area.x, y), area.width, right, style);
            }
        } else {
            paint::put(buffer, (area.x, y), area.width - right_width - 1, left, style);
            paint::put_right(buffer, (area.x, y), area.width, right, style);
        }
        y += 1;
    }
    y - area.y
}

fn size(bytes: Option<u64>, estimated: bool, total: u64) -> String {
    let size = memory::size(bytes, estimated);
    match bytes {
        Some(bytes) if total > 0 => format!("{size} {:.0} %", bytes as f64 * 100.0 / total as f64),
        _ => size,
    }
}

/// Number of processes, size of each, CPU and those that ended: what there is no room for is left out whole, the last first,
/// then the size.
fn fitting(width: u16, [processes, each, cpu, ended]: &[&str; 4]) -> String {
    let facts = [join(&[processes, each, cpu, ended]), join(&[processes, each, cpu]), join(&[processes, cpu])];
    let fitting = facts.into_iter().find(|facts| printable::width(facts) <= usize::from(width));
    fitting.unwrap_or_else(|| (*processes).to_owned())
}

/// How many workers of a pool are set, and how many fit.
fn capacity(entry: &Entry, screen: &Screen, width: u16) -> String {
    let capacity = pool::of_group(screen, entry.name).map(pool::capacity);
    capacity.filter(|text| printable::width(text) <= usize::from(width)).unwrap_or_default()
}

/// How a group's memory grows; nothing for a process.
pub(crate) fn growth(entry: &Entry) -> String {
    paint::growth(entry.growth, entry.per, entry.bytes.unwrap_or(0) as f64, paint::LEAST_GROWTH_BYTES)
}

/// What a process of a group takes, and since when it becomes more.
fn each(entry: &Entry, now: Option<Timestamp>) -> String {
    let Some(bytes) = entry.bytes.filter(|_| entry.processes > 1) else { return String::new() };
    let size = bytes / u64::from(entry.processes);
    let (growth, per, since) =
        entry.process_growth.map_or((None, Per::Minute, None), |(g, per, since)| (Some(g), per, since));
    let grows = !paint::growth(growth, per, size as f64, paint::LEAST_PROCESS_GROWTH_BYTES).is_empty();
    let sign = match growth {
        Some(growth) if grows && growth > 0.0 => {
            let since = since.zip(now).map(|(since, now)| now.duration_since(since).as_secs());
            let since = since.and_then(|seconds| u64::try_from(seconds).ok()).filter(|&seconds| seconds > 0);
            since.map_or_else(|| " ▲".to_owned(), |seconds| format!(" ▲ for {}", units::age(seconds)))
        }
        Some(_) if grows => " ▼".to_owned(),
        _ => String::new(),
    };
    format!("{} each{sign}", units::bytes(size))
}

fn cpu(entry: &Entry) -> String {
    entry.cpu.map_or_else(String::new, |cores| format!("cpu {:.0} %", cores * 100.0))
}

/// How many short-lived processes the group had; nothing where there were none, or where it is not known.
pub(crate) fn ended(entry: &Entry, screen: &Screen) -> String {
    let group = screen.snapshot.and_then(|snapshot| snapshot.groups.get(entry.group));
    let ended = group.and_then(|group| group.ended).filter(|&ended| ended > 0);
    ended.map_or_else(String::new, |ended| format!("+{ended} ended"))
}

/// What there is to say of memory that no process holds.
fn part(entry: &Entry) -> String {
    let Some(part) = entry.part else { return String::new() };
    let kind = if part.mount.is_some() { machine_memory::kind(part.kind) } else { "" };
    let limit = part.limit_bytes.map_or_else(String::new, |limit| format!("limit {}", units::bytes(limit)));
    let mapped = part.size_bytes.filter(|&size| size > part.bytes);
    let mapped = mapped.map_or_else(String::new, |size| format!("{} with what processes map", units::bytes(size)));
    let count = part.count.map_or_else(String::new, |count| units::count(count.into()));
    join(&[kind, &count, &limit, &mapped])
}

fn join(parts: &[&str]) -> String {
    parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("  ")
}

fn colour(entry: &Entry, screen: &Screen) -> Style {
    let palette = screen.palette;
    match screen.view.tile_colour {
        TileColour::Group => palette.group(entry.family),
        TileColour::Cpu => palette.heat(entry.cpu.unwrap_or(0.0)),
        TileColour::Growth => {
            let share = entry.growth.unwrap_or(0.0) / entry.bytes.unwrap_or(1).max(1) as f64;
            palette.heat(share / HOTTEST_GROWTH)
        }
    }
}
