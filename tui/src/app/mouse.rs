//! The mouse: a click selects, a second click on the same thing enters, the wheel scrolls what is under the pointer, a click
//! on a key hint presses it.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use super::{App, Command, action, navigate::row_of};
use crate::view::{Go, Pane, Row, Scene, Shown, treemap};

impl App {
    pub(super) fn mouse(&mut self, event: &MouseEvent, shown: &Shown) -> Option<Command> {
        let scene = &shown.scene;
        let position = Position::new(event.column, event.row);
        let before = self.view.clone();
        match event.kind {
            MouseEventKind::Down(MouseButton::Left) => {
                let hint = scene.hints.iter().find(|(rect, _)| rect.contains(position));
                if let Some(action) = hint.and_then(|(_, name)| action::by_name(name)) {
                    return self.act(action, shown);
                }
                if let Some(line) = scene.scrub.filter(|line| line.contains(position)) {
                    return self.go(Go::Column { column: position.x - line.x, of: line.width });
                }
                if self.view.overlay.is_some() {
                    self.view.overlay = None;
                } else if let Some(flame) = &scene.flame {
                    self.flame_click(position, flame);
                } else {
                    self.click(position, shown);
                }
            }
            MouseEventKind::Drag(MouseButton::Left) => {
                let line = scene.scrub.filter(|line| (line.y..line.bottom()).contains(&position.y))?;
                let column = position.x.clamp(line.x, line.right() - 1) - line.x;
                return self.go(Go::Drag { column, of: line.width });
            }
            MouseEventKind::ScrollDown | MouseEventKind::ScrollUp => {
                let down = event.kind == MouseEventKind::ScrollDown;
                if let (Some(flame), None) = (&scene.flame, &self.view.overlay) {
                    self.flame_wheel(down, flame);
                    return (self.view != before).then_some(Command::Draw);
                }
                let under = pane_at(position, scene).unwrap_or(self.view.focus.0);
                self.wheel(under, down, scene);
            }
            _ => return None,
        }
        (self.view != before).then_some(Command::Draw)
    }

    fn click(&mut self, position: Position, shown: &Shown) {
        let scene = &shown.scene;
        let Some(pane) = pane_at(position, scene) else { return };
        self.view.focus.0 = pane;
        let Some(row) = row_at(pane, position, scene) else { return };
        if self.view.pane(pane).selected.as_ref() == Some(&row) {
            self.enter(shown);
        } else {
            self.view.pane_mut(pane).selected = Some(row);
        }
    }
}

fn pane_at(position: Position, scene: &Scene) -> Option<Pane> {
    scene.panes.iter().find(|(_, rect)| rect.contains(position)).map(|(pane, _)| *pane)
}

fn row_at(pane: Pane, position: Position, scene: &Scene) -> Option<Row> {
    if let (Pane::Map, Some(layout)) = (pane, &scene.tiles) {
        return treemap::tile_at(&layout.tiles, position).map(|index| row_of(&layout.tiles[index]));
    }
    let list = &scene.lists[pane as usize];
    if !list.area.contains(position) {
        return None;
    }
    list.rows.get(list.first + usize::from(position.y - list.area.y)).cloned()
}
