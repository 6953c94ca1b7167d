//! The signal window: it keeps the targets that were selected when it opened, whatever the screen shows next. While it is open,
//! no other key acts.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{Action, App, Command};
use crate::{
    exit,
    model::{Signal, SignalOrder, SignalReport},
    view::{Overlay, Pane, Shown, SignalDialog},
};

/// Digits of the biggest number of a signal.
const DIGITS: usize = 2;

impl App {
    /// Opens the window, or says why there is none.
    pub(super) fn open_signal(&mut self, shown: &Shown) {
        let view = &mut self.view;
        let map = view.pane(Pane::Map);
        let chosen = view.focus.0 == Pane::Map && (map.selected.is_some() || map.detail.is_some());
        let target = shown.facts.target.clone().filter(|target| chosen && !target.processes.is_empty());
        view.overlay = Some(Overlay::Signal(match (&view.read_only, target) {
            (Some(why), _) => SignalDialog::Off(why.clone()),
            (None, None) => SignalDialog::Nothing,
            (None, Some(target)) => {
                SignalDialog::Choose { target, signal: Signal::default(), typed: String::new(), asked: false }
            }
        }));
    }

    /// A capital or a digit in the open window chooses. False for any other key.
    pub(super) fn signal_key(&mut self, event: &KeyEvent) -> bool {
        let Some(Overlay::Signal(SignalDialog::Choose { signal, typed, asked, .. })) = &mut self.view.overlay else {
            return false;
        };
        // What was confirmed was another choice.
        *asked &= event.code == KeyCode::Enter;
        match event.code {
            KeyCode::Char(c) if !(event.modifiers - KeyModifiers::SHIFT).is_empty() || !c.is_ascii() => false,
            KeyCode::Char(digit @ '0'..='9') => {
                // `1`, then `5`: 1 and 15. A digit too many starts over.
                if typed.len() >= DIGITS {
                    typed.clear();
                }
                typed.push(digit);
                if let Some(chosen) = typed.parse().ok().and_then(Signal::by_number) {
                    *signal = chosen;
                }
                true
            }
            KeyCode::Char(letter @ 'A'..='Z') => {
                typed.clear();
                if let Some(chosen) = signal.by_letter(letter) {
                    *signal = chosen;
                }
                true
            }
            _ => false,
        }
    }

    /// What an action does while the window is open.
    pub(super) fn signal_action(&mut self, action: Action, calm: bool) -> Option<Command> {
        let Some(Overlay::Signal(dialog)) = &mut self.view.overlay else { return None };
        match (action, dialog) {
            (Action::Interrupt, _) => return Some(Command::Leave(exit::INTERRUPTED)),
            (Action::Suspend, _) => return Some(Command::Suspend),
            (Action::Redraw, _) => return Some(Command::Redraw),
            (Action::Back | Action::Quit, _) => self.view.overlay = None,
            (Action::Left | Action::Up | Action::PreviousPane, SignalDialog::Choose { signal, typed, .. }) => {
                *signal = signal.step(false);
                typed.clear();
            }
            (Action::Right | Action::Down | Action::NextPane, SignalDialog::Choose { signal, typed, .. }) => {
                *signal = signal.step(true);
                typed.clear();
            }
            (Action::Enter, SignalDialog::Choose { .. }) if !calm => return None,
            (Action::Enter, SignalDialog::Choose { target, signal, typed, asked }) => {
                // A number that is no signal here chose none: what is sent is what was typed, or nothing.
                if !typed.is_empty() && typed.parse().ok().and_then(Signal::by_number) != Some(*signal) {
                    return None;
                }
                if target.is_delicate() && !std::mem::replace(asked, true) {
                    return Some(Command::Draw);
                }
                return Some(Command::Signal(SignalOrder { target: target.clone(), signal: *signal }));
            }
            (Action::Enter, _) => self.view.overlay = None,
            _ => return None,
        }
        Some(Command::Draw)
    }

    /// Takes what became of a signal.
    pub fn signalled(&mut self, order: &SignalOrder, report: SignalReport) -> Command {
        let target = order.target.clone();
        self.view.overlay = Some(Overlay::Signal(SignalDialog::Done { target, report: Arc::new(report) }));
        Command::Draw
    }
}

#[cfg(test)]
mod tests;
