//! Keys and the mouse in the flame view: moving by frames, zooming, looking around a function, searching. Keys that mean the same
//! everywhere (the window, the time that counts, moments, quitting) are left to the parent module.

use ratatui::layout::Position;

use super::{Action, App, Command};
use crate::{
    model::WorkerKey,
    view::{
        Detail, Facts, FlameScene, FlameView, Pane, Row, Shown,
        flame::{Frame, Half, Scope, Spot, Step},
        treemap::Direction,
    },
};

impl App {
    /// What an action does in the flame view; `None` where it means what it means elsewhere.
    pub(super) fn flame_action(&mut self, action: Action, shown: &Shown) -> Option<Command> {
        let before = self.view.clone();
        let none = FlameScene::default();
        let scene = shown.scene.flame.as_ref().unwrap_or(&none);
        match action {
            Action::Left => self.flame_step(scene, Direction::Left),
            Action::Right => self.flame_step(scene, Direction::Right),
            Action::Up => self.flame_step(scene, Direction::Up),
            Action::Down => self.flame_step(scene, Direction::Down),
            Action::First | Action::Last => {
                let ends = scene.frames.iter().enumerate().filter(|(_, placed)| placed.half == Half::Callees);
                let level = |(_, placed): &(usize, &crate::view::flame::Placed)| placed.level;
                let at = if action == Action::First { ends.min_by_key(level) } else { ends.max_by_key(level) };
                self.select_frame(scene, at.map(|(index, _)| index));
            }
            Action::PageDown | Action::HalfPageDown => (0..8).for_each(|_| self.flame_step(scene, Direction::Down)),
            Action::PageUp | Action::HalfPageUp => (0..8).for_each(|_| self.flame_step(scene, Direction::Up)),
            Action::NextMatch => self.flame_match(scene, true),
            Action::PreviousMatch => self.flame_match(scene, false),
            Action::Enter => self.flame_enter(scene),
            Action::Callers => self.flame_around(scene),
            Action::Back => self.flame_back(),
            Action::Top => {
                if let Some(flame) = &mut self.view.flame {
                    *flame = FlameView { of: flame.of.take(), ..FlameView::default() };
                }
            }
            Action::Flame => self.view.flame = None,
            Action::Filter => self.view.typing = true,
            Action::MapPane
            | Action::HotPane
            | Action::RoutesPane
            | Action::RequestsPane
            | Action::ProblemsPane
            | Action::WorkersPane => {
                self.view.flame = None;
                return None;
            }
            // These are about panes that are not in sight.
            Action::Signal
            | Action::Sort
            | Action::SortMemory
            | Action::SortCpu
            | Action::SortTime
            | Action::SortRate
            | Action::SortErrors
            | Action::SortName
            | Action::SortUser
            | Action::Invert
            | Action::Files
            | Action::Table
            | Action::Group
            | Action::Colour
            | Action::NextPane
            | Action::PreviousPane => {}
            _ => return None,
        }
        (self.view != before).then_some(Command::Draw).or(Some(Command::Draw))
    }

    /// Opens the flame. What is selected or open decides what it is about: a worker, a request, a route, or else what PHP's lists
    /// are about.
    pub(super) fn open_flame(&mut self, facts: &Facts) {
        let view = &mut self.view;
        let pane = view.pane(view.focus.0);
        let request = |pid, started_at| Scope::Request { worker: WorkerKey::of_process(pid), started_at };
        let of = match (&pane.detail, &pane.selected) {
            (Some((Detail::Worker(key), _)), _) | (None, Some(Row::Worker(key))) => Some(Scope::Worker(*key)),
            (Some((Detail::Request { pid, started_at }, _)), _) | (None, Some(Row::Request { pid, started_at })) => {
                Some(request(*pid, *started_at))
            }
            (Some((Detail::Process { .. }, _)), _) => facts.worker.map(Scope::Worker),
            _ => None,
        };
        if view.focus.0 == Pane::Routes
            && view.pane(Pane::Routes).detail.is_none()
            && let Some(Row::Route(key)) = view.pane(Pane::Routes).selected.clone()
        {
            view.route = Some(key);
        }
        view.flame = Some(FlameView { of, ..FlameView::default() });
    }

    /// Opens the flame around the function that is selected in the hot list, or whose page is open.
    pub(super) fn open_callers(&mut self) {
        let hot = self.view.pane(Pane::Hot);
        let key = match (&hot.detail, &hot.selected) {
            (Some((Detail::Function(key), _)), _) | (None, Some(Row::Function(key))) => key.clone(),
            _ => return,
        };
        if self.view.focus.0 == Pane::Hot {
            let steps = vec![Step::Around(Frame::Function(key))];
            self.view.flame = Some(FlameView { steps, ..FlameView::default() });
        }
    }

    fn selected_frame(&self, scene: &FlameScene) -> Option<usize> {
        scene.find(self.view.flame.as_ref()?.selected.as_ref()?)
    }

    fn select_frame(&mut self, scene: &FlameScene, at: Option<usize>) {
        if let (Some(flame), Some(spot)) = (&mut self.view.flame, at.and_then(|at| scene.spot(at))) {
            flame.selected = Some(spot);
        }
    }

    fn flame_step(&mut self, scene: &FlameScene, direction: Direction) {
        let next = match self.selected_frame(scene) {
            Some(at) => scene.neighbour(at, direction),
            // The first key selects the outermost frame that is widest.
            None => {
                let widest = |(index, placed): &(usize, &crate::view::flame::Placed)| {
                    (std::cmp::Reverse(placed.level), placed.span.1, std::cmp::Reverse(*index))
                };
                let frames = scene.frames.iter().enumerate().filter(|(_, placed)| placed.half == Half::Callees);
                frames.max_by_key(widest).map(|(index, _)| index)
            }
        };
        self.select_frame(scene, next);
    }

    /// The next frame that is searched for, from the top to the bottom and from left to right.
    fn flame_match(&mut self, scene: &FlameScene, forward: bool) {
        let mut found: Vec<usize> = (0..scene.frames.len()).filter(|&index| scene.frames[index].found).collect();
        found.sort_by_key(|&index| {
            (scene.frames[index].half == Half::Callees, scene.frames[index].level, scene.frames[index].span.0)
        });
        let selected = self.selected_frame(scene);
        let at = selected.and_then(|selected| found.iter().position(|&index| index == selected));
        let next = match (at, forward) {
            (None, true) => 0,
            (None, false) => found.len().saturating_sub(1),
            (Some(at), true) => (at + 1) % found.len(),
            (Some(at), false) => (at + found.len() - 1) % found.len(),
        };
        self.select_frame(scene, found.get(next).copied());
    }

    /// Zooms into the selected frame; around a function, looks around the selected one.
    fn flame_enter(&mut self, scene: &FlameScene) {
        let Some(index) = self.selected_frame(scene) else { return self.flame_step(scene, Direction::Down) };
        let (Some(spot), Some(flame)) = (scene.spot(index), &mut self.view.flame) else { return };
        match flame.steps.last() {
            Some(Step::Around(_)) => self.flame_around(scene),
            last => {
                let step = Step::Zoom(spot.path);
                if last != Some(&step) {
                    flame.steps.push(step);
                }
            }
        }
    }

    /// The callers and callees of the selected frame.
    fn flame_around(&mut self, scene: &FlameScene) {
        let Some(index) = self.selected_frame(scene) else { return self.flame_step(scene, Direction::Down) };
        let (frame, Some(flame)) = (scene.frames[index].frame.clone(), &mut self.view.flame) else { return };
        let step = Step::Around(frame.clone());
        if flame.steps.last() != Some(&step) {
            flame.steps.push(step);
            flame.selected = Some(Spot { half: Half::Callees, path: vec![frame] });
        }
    }

    /// One level up: out of the last step, then of the search, then of the flame.
    fn flame_back(&mut self) {
        let Some(flame) = &mut self.view.flame else { return };
        match flame.steps.pop() {
            // What was entered is selected again.
            Some(Step::Zoom(path)) => flame.selected = Some(Spot { half: Half::Callees, path }),
            Some(Step::Around(_)) => flame.selected = None,
            None if !flame.search.is_empty() => flame.search.clear(),
            None => self.view.flame = None,
        }
    }

    /// A click selects, a second one enters; on the line of the way it goes back.
    pub(super) fn flame_click(&mut self, position: Position, scene: &FlameScene) {
        if scene.way.is_some_and(|line| line.contains(position)) {
            return self.flame_back();
        }
        let Some(index) = scene.at(position) else { return };
        if self.selected_frame(scene) == Some(index) {
            self.flame_enter(scene);
        } else {
            self.select_frame(scene, Some(index));
        }
    }

    /// The wheel goes inwards and outwards.
    pub(super) fn flame_wheel(&mut self, down: bool, scene: &FlameScene) {
        self.flame_step(scene, if down { Direction::Down } else { Direction::Up });
    }
}
