//! Moving, entering and leaving: how the selection moves between rows and tiles, and what Enter and Esc do.

use super::{Action, App};
use crate::{
    model::ProcessKey,
    view::{
        Detail, Facts, List, Overlay, Pane, Row, Scene, Shown, TileKey, Zoom,
        treemap::{self, Direction},
    },
};

/// Rows that a turn of the mouse wheel moves.
const WHEEL: isize = 3;

impl App {
    pub(super) fn step(&mut self, action: Action, scene: &Scene) {
        let by = if matches!(action, Action::Up | Action::Left) { -1 } else { 1 };
        if self.scroll(by, scene) {
            return;
        }
        let pane = self.view.focus.0;
        match (pane, &scene.tiles) {
            (Pane::Map, Some(layout)) if !self.view.table => {
                let selected = self.view.pane(pane).selected.as_ref();
                let at = layout.tiles.iter().position(|tile| Some(&row_of(tile)) == selected);
                let direction = match action {
                    Action::Left => Direction::Left,
                    Action::Down => Direction::Down,
                    Action::Up => Direction::Up,
                    _ => Direction::Right,
                };
                let next = match at {
                    None => Some(0),
                    Some(at) => treemap::neighbour(&layout.tiles, at, direction),
                };
                match next.and_then(|next| layout.tiles.get(next)) {
                    Some(tile) => self.view.pane_mut(pane).selected = Some(row_of(tile)),
                    // Beyond the right edge of the map lies the next pane.
                    None if action == Action::Right && at.is_some() && scene.pane(Pane::Hot).is_some() => {
                        self.view.focus.0 = Pane::Hot;
                    }
                    None => {}
                }
            }
            (_, _) if action == Action::Left && pane != Pane::Map && scene.pane(Pane::Map).is_some() => {
                self.view.focus.0 = Pane::Map;
            }
            (_, _) if matches!(action, Action::Left | Action::Right) => {}
            _ => self.select_by(pane, by, scene),
        }
    }

    pub(super) fn jump(&mut self, action: Action, scene: &Scene) {
        let pane = self.view.focus.0;
        let height = if scene.page > 0 { scene.page } else { scene.lists[pane as usize].area.height };
        let page = isize::try_from(height.max(2) - 1).unwrap_or(1);
        let by = match action {
            Action::First => isize::MIN / 2,
            Action::Last => isize::MAX / 2,
            Action::PageUp => -page,
            Action::PageDown => page,
            Action::HalfPageUp => -(page / 2).max(1),
            Action::HalfPageDown => (page / 2).max(1),
            Action::PreviousMatch => -1,
            _ => 1,
        };
        if !self.scroll(by, scene) {
            self.select_by(pane, by, scene);
        }
    }

    pub(super) fn wheel(&mut self, pane: Pane, down: bool, scene: &Scene) {
        let by = if down { WHEEL } else { -WHEEL };
        if !self.scroll(by, scene) {
            self.select_by(pane, by, scene);
        }
    }

    /// Scrolls what has no selection: overlays and details. False when there is none.
    fn scroll(&mut self, by: isize, scene: &Scene) -> bool {
        let focus = self.view.focus.0;
        let position = match &mut self.view.overlay {
            Some(Overlay::Help { scroll, .. } | Overlay::Notices { scroll }) => scroll,
            Some(Overlay::Sort | Overlay::Jump { .. } | Overlay::Trace { .. } | Overlay::Signal(_)) => return true,
            None => match &mut self.view.pane_mut(focus).detail {
                Some((_, scroll)) => scroll,
                None => return false,
            },
        };
        *position = position.saturating_add_signed(by).min(scene.scrollable);
        true
    }

    fn select_by(&mut self, pane: Pane, by: isize, scene: &Scene) {
        let List { rows, .. } = &scene.lists[pane as usize];
        let Some(last) = rows.len().checked_sub(1) else { return };
        let selected = self.view.pane(pane).selected.as_ref();
        let at = selected.and_then(|selected| rows.iter().position(|row| row == selected));
        let next = match at {
            Some(at) => at.saturating_add_signed(by).min(last),
            // Nothing is selected yet: the first key selects what the eye is on.
            None if by > isize::MAX / 4 => last,
            None => 0,
        };
        self.view.pane_mut(pane).selected = Some(rows[next].clone());
    }

    pub(super) fn focus_next(&mut self, by: usize) {
        let at = self.view.focus.0 as usize;
        self.view.focus.0 = Pane::ALL[(at + by) % Pane::ALL.len()];
    }

    pub(super) fn enter(&mut self, shown: &Shown) {
        let Shown { scene, facts } = shown;
        if self.view.overlay.is_some() {
            return;
        }
        let focus = self.view.focus.0;
        if let Some((detail, _)) = &mut self.view.pane_mut(focus).detail {
            if let Detail::Process { asked, .. } = detail
                && facts.askable
            {
                *asked += 1;
            }
            return;
        }
        let list = &scene.lists[focus as usize];
        let Some(row) = self.view.pane(focus).selected.clone().or_else(|| list.rows.first().cloned()) else { return };
        if !list.rows.contains(&row) {
            return;
        }
        let detail = match row {
            Row::Tile(TileKey::Group(name)) => {
                self.zoom(Zoom::Group(name));
                None
            }
            Row::Rest => {
                let shown = scene.tiles.iter().flat_map(|layout| &layout.tiles).filter_map(|tile| tile.key.clone());
                self.zoom(Zoom::Rest(shown.collect()));
                None
            }
            Row::Tile(key @ (TileKey::Part(..) | TileKey::Unattributed | TileKey::Shared)) => Some(Detail::Memory(key)),
            Row::Tile(TileKey::Process(pid)) => Some(Detail::Process { key: process_key(pid, facts), asked: 0 }),
            Row::Worker(key) => Some(Detail::Worker(key)),
            Row::Function(key) => Some(Detail::Function(key)),
            Row::Request { pid, started_at } => Some(Detail::Request { pid, started_at }),
            Row::Problem(key) => Some(Detail::Problem(key)),
            Row::Route(key) => {
                self.view.route = (self.view.route.as_ref() != Some(&key)).then_some(key);
                None
            }
            Row::Line { file, .. } => {
                self.view.pane_mut(Pane::Hot).filter = regex::escape(&file);
                None
            }
            Row::File(file) => {
                let pane = self.view.pane_mut(Pane::Hot);
                pane.filter = regex::escape(&file);
                pane.selected = None;
                self.view.hot = crate::view::HotMode::Functions;
                None
            }
        };
        if let Some(detail) = detail {
            self.view.pane_mut(focus).detail = Some((detail, 0));
        }
    }

    fn zoom(&mut self, zoom: Zoom) {
        self.view.zoom.push(zoom);
        let map = self.view.pane_mut(Pane::Map);
        map.selected = None;
        map.filter.clear();
    }

    /// One level up: closes what is on top, never the program.
    pub(super) fn back(&mut self) {
        let view = &mut self.view;
        let focus = view.focus.0;
        if view.overlay.take().is_some() || view.pane_mut(focus).detail.take().is_some() {
            return;
        }
        let pane = view.pane_mut(focus);
        if !pane.filter.is_empty() {
            pane.filter.clear();
        } else if focus != Pane::Map && view.route.take().is_some() {
        } else if focus != Pane::Map {
            if view.pane_mut(focus).selected.take().is_none() {
                view.focus.0 = Pane::Map;
            }
        } else if view.pane(Pane::Map).selected.is_some() && view.zoom.is_empty() {
            view.pane_mut(Pane::Map).selected = None;
        } else if let Some(left) = view.zoom.pop() {
            // What was entered is selected again, as in a file manager.
            view.pane_mut(Pane::Map).selected = Some(match left {
                Zoom::Group(name) => Row::Tile(TileKey::Group(name)),
                Zoom::Rest(_) => Row::Rest,
            });
        } else {
            view.route = None;
        }
    }

    pub(super) fn top(&mut self) {
        let view = &mut self.view;
        view.overlay = None;
        view.zoom.clear();
        view.route = None;
        for pane in &mut view.panes {
            pane.detail = None;
            pane.filter.clear();
        }
        view.pane_mut(Pane::Map).selected = None;
    }
}

/// The row of a tile.
pub(super) fn row_of(tile: &treemap::Tile<TileKey>) -> Row {
    tile.key.clone().map_or(Row::Rest, Row::Tile)
}

/// A process with its start time, so that another one that gets its pid later is not taken for it.
fn process_key(pid: u32, facts: &Facts) -> ProcessKey {
    let target = facts.target.iter().flat_map(|target| &target.processes);
    let known = target.map(|process| process.key).find(|key| key.pid == pid);
    known.unwrap_or(ProcessKey { pid, start_ticks: None })
}
