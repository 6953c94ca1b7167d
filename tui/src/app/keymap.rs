//! Keys to actions: the default table, changes from the configuration, and the key hints for the footer and the help.

use std::{collections::BTreeMap, fmt};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use thiserror::Error;

use super::action::{ACTIONS, Action, by_name};
use crate::{view::KeyHint, words::nearest::nearest};

/// Why a `[keys]` table cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KeymapError {
    /// There is no such action.
    #[error("[keys] {key:?} = {action:?}: there is no such action{}", suggestion(.near))]
    UnknownAction {
        /// Key as written.
        key: String,
        /// Action as written.
        action: String,
        /// The most similar action.
        near: Option<&'static str>,
    },
    /// The key cannot be read.
    #[error(
        "[keys] {key:?}: not a key; write letters as they are, other keys as enter, esc, tab, space, up, f5, ctrl+f, alt+x, and put spaces between keys of a sequence"
    )]
    UnknownKey {
        /// Key as written.
        key: String,
    },
    /// The same key was given twice in different spellings.
    #[error("[keys] {key:?} is the same key as {other:?}")]
    Duplicate {
        /// Key as written.
        key: String,
        /// The other spelling.
        other: String,
    },
    /// The key starts the other, or reverse order, so one of them could never be typed.
    #[error("[keys] {key:?} ({action}) is also the start of {other:?} ({other_action})")]
    Prefix {
        /// The shorter.
        key: String,
        /// Its action.
        action: &'static str,
        /// The longer.
        other: String,
        /// Its action.
        other_action: &'static str,
    },
}

impl KeymapError {
    /// The key as it is written in the configuration.
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::UnknownAction { key, .. }
            | Self::UnknownKey { key }
            | Self::Duplicate { key, .. }
            | Self::Prefix { key, .. } => key,
        }
    }
}

fn suggestion(name: &Option<&'static str>) -> String {
    name.map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

/// One key press.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
pub(crate) struct Key {
    code: KeyCode,
    modifiers: KeyModifiers,
}

impl Key {
    /// The key of an event. Shift is part of a character already.
    pub(crate) fn of(event: &KeyEvent) -> Self {
        let mut modifiers = event.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
        if matches!(event.code, KeyCode::Char(_) | KeyCode::BackTab) {
            modifiers -= KeyModifiers::SHIFT;
        }
        Self { code: event.code, modifiers }
    }

    fn parse(word: &str) -> Option<Self> {
        let mut modifiers = KeyModifiers::NONE;
        let mut rest = word;
        while let Some((prefix, tail)) = rest.split_once('+').filter(|(_, tail)| !tail.is_empty()) {
            modifiers |= match prefix.to_ascii_lowercase().as_str() {
                "ctrl" => KeyModifiers::CONTROL,
                "alt" => KeyModifiers::ALT,
                "shift" => KeyModifiers::SHIFT,
                _ => return None,
            };
            rest = tail;
        }
        let mut characters = rest.chars();
        let code = match (characters.next(), characters.next()) {
            (Some(c), None) => KeyCode::Char(c),
            _ => match rest.to_ascii_lowercase().as_str() {
                "enter" => KeyCode::Enter,
                "esc" => KeyCode::Esc,
                "tab" => KeyCode::Tab,
                "backtab" => KeyCode::BackTab,
                "space" => KeyCode::Char(' '),
                "backspace" => KeyCode::Backspace,
                "delete" => KeyCode::Delete,
                "insert" => KeyCode::Insert,
                "left" => KeyCode::Left,
                "right" => KeyCode::Right,
                "up" => KeyCode::Up,
                "down" => KeyCode::Down,
                "home" => KeyCode::Home,
                "end" => KeyCode::End,
                "pageup" => KeyCode::PageUp,
                "pagedown" => KeyCode::PageDown,
                name => KeyCode::F(name.strip_prefix('f')?.parse().ok().filter(|n| (1..=24).contains(n))?),
            },
        };
        Some(Self { code, modifiers })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (modifier, name) in
            [(KeyModifiers::CONTROL, "ctrl+"), (KeyModifiers::ALT, "alt+"), (KeyModifiers::SHIFT, "shift+")]
        {
            if self.modifiers.contains(modifier) {
                f.write_str(name)?;
            }
        }
        match self.code {
            KeyCode::Char(' ') => f.write_str("space"),
            KeyCode::Char(c) => write!(f, "{c}"),
            KeyCode::F(n) => write!(f, "f{n}"),
            KeyCode::PageUp => f.write_str("pgup"),
            KeyCode::PageDown => f.write_str("pgdn"),
            KeyCode::BackTab => f.write_str("shift+tab"),
            code => f.write_str(&format!("{code:?}").to_ascii_lowercase()),
        }
    }
}

/// What a sequence of keys means so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Action(Action),
    /// The start of a longer sequence.
    Unfinished,
    None,
}

/// Which keys do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keymap {
    bindings: Vec<(Vec<Key>, Action)>,
}

impl Default for Keymap {
    fn default() -> Self {
        let bindings = ACTIONS
            .iter()
            .flat_map(|entry| entry.keys.iter().filter_map(|keys| Some((parse(keys)?, entry.action))))
            .collect();
        Self { bindings }
    }
}

impl Keymap {
    /// The defaults with `overrides` (key to action name) on top. The action `none` frees a key.
    pub(crate) fn new(overrides: &BTreeMap<String, String>) -> Result<Self, KeymapError> {
        let mut keymap = Self::default();
        let mut given: Vec<(Vec<Key>, &String)> = Vec::new();
        for (key, name) in overrides {
            let keys = parse(key).ok_or_else(|| KeymapError::UnknownKey { key: key.clone() })?;
            if let Some((_, other)) = given.iter().find(|(other, _)| *other == keys) {
                return Err(KeymapError::Duplicate { key: key.clone(), other: (*other).clone() });
            }
            keymap.bindings.retain(|(bound, _)| *bound != keys);
            if name != "none" {
                let action = by_name(name).ok_or_else(|| KeymapError::UnknownAction {
                    key: key.clone(),
                    action: name.clone(),
                    near: nearest(name, ACTIONS.iter().map(|entry| entry.name)),
                })?;
                keymap.bindings.push((keys.clone(), action));
            }
            given.push((keys, key));
        }
        keymap.without_prefixes()
    }

    fn without_prefixes(self) -> Result<Self, KeymapError> {
        for (short, action) in &self.bindings {
            let longer = self.bindings.iter().find(|(keys, _)| keys.len() > short.len() && keys.starts_with(short));
            if let Some((long, other)) = longer {
                return Err(KeymapError::Prefix {
                    key: spell(short),
                    action: name_of(*action),
                    other: spell(long),
                    other_action: name_of(*other),
                });
            }
        }
        Ok(self)
    }

    /// What `keys`, typed in turn, mean.
    pub(crate) fn meaning(&self, keys: &[Key]) -> Meaning {
        for (bound, action) in &self.bindings {
            if bound == keys {
                return Meaning::Action(*action);
            }
            if bound.starts_with(keys) {
                return Meaning::Unfinished;
            }
        }
        Meaning::None
    }

    /// What the footer and the help say, in the order of the table of actions.
    pub(crate) fn hints(&self) -> Vec<KeyHint> {
        ACTIONS
            .iter()
            .filter_map(|entry| {
                let bound: Vec<String> =
                    self.bindings.iter().filter(|(_, a)| *a == entry.action).map(|(keys, _)| spell(keys)).collect();
                Some(KeyHint {
                    key: bound.first()?.clone(),
                    keys: bound.join("  "),
                    action: entry.name,
                    short: entry.short,
                    text: entry.text,
                    section: entry.section,
                })
            })
            .collect()
    }
}

fn parse(keys: &str) -> Option<Vec<Key>> {
    let words: Option<Vec<Key>> = keys.split_whitespace().map(Key::parse).collect();
    words.filter(|words| !words.is_empty())
}

fn spell(keys: &[Key]) -> String {
    keys.iter().map(Key::to_string).collect()
}

fn name_of(action: Action) -> &'static str {
    super::action::entry_of(action).map_or("", |entry| entry.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Keymap, KeymapError> {
        Keymap::new(&pairs.iter().map(|(key, action)| ((*key).to_owned(), (*action).to_owned())).collect())
    }

    fn meaning(keymap: &Keymap, keys: &str) -> Meaning {
        keymap.meaning(&parse(keys).unwrap())
    }

    #[test]
    fn every_default_key_parses_and_none_is_used_twice() {
        let keymap = Keymap::default();
        assert_eq!(keymap.bindings.len(), ACTIONS.iter().map(|entry| entry.keys.len()).sum::<usize>());
        for (index, (keys, _)) in keymap.bindings.iter().enumerate() {
            assert!(!keymap.bindings[index + 1..].iter().any(|(other, _)| other == keys), "{}", spell(keys));
        }
        assert!(keymap.without_prefixes().is_ok());
    }

    #[test]
    fn keys_in_turn_wait_for_the_rest() {
        let keymap = with(&[("g", "none"), ("g g", "first")]).unwrap();
        assert_eq!(meaning(&keymap, "g"), Meaning::Unfinished);
        assert_eq!(meaning(&keymap, "g g"), Meaning::Action(Action::First));
        assert_eq!(meaning(&keymap, "g x"), Meaning::None);
    }

    #[test]
    fn the_configuration_moves_adds_and_frees_keys() {
        let keymap = with(&[("ctrl+q", "quit"), ("space", "page-down"), ("m", "none")]).unwrap();
        assert_eq!(meaning(&keymap, "ctrl+q"), Meaning::Action(Action::Quit));
        assert_eq!(meaning(&keymap, "space"), Meaning::Action(Action::PageDown));
        assert_eq!(meaning(&keymap, "m"), Meaning::None);
        assert!(keymap.hints().iter().any(|hint| hint.action == "pause" && hint.key == "Z"));
    }

    #[test]
    fn mistakes_are_named_with_the_near_miss() {
        let text = with(&[("x", "page-dwn")]).unwrap_err().to_string();
        assert_eq!(text, r#"[keys] "x" = "page-dwn": there is no such action; did you mean "page-down"?"#);
        assert!(with(&[("hyper+x", "quit")]).unwrap_err().to_string().contains("not a key"));
        assert!(matches!(with(&[("ctrl+a", "quit"), ("Ctrl+a", "help")]), Err(KeymapError::Duplicate { .. })));
        assert!(matches!(with(&[("g g", "first")]), Err(KeymapError::Prefix { .. })));
    }
}
