//! Where things are on the screen: panes, tiles, rows and hints.

use ratatui::layout::Rect;

use super::{FlameScene, Pane, Row, TileKey, treemap::Layout};

/// Section of the help about other moments: a recording has them, and a live screen whose past is kept.
pub const TIME: &str = "Time";

/// A key and what it does, for the footer and the help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHint {
    /// Keys, such as `ctrl+f  PgDn`.
    pub keys: String,
    /// The first of the keys.
    pub key: String,
    /// Name of the action, as in the configuration.
    pub action: &'static str,
    /// One or two words for the footer; empty where it is not worth a place there.
    pub short: &'static str,
    /// What it does.
    pub text: &'static str,
    /// Section of the help.
    pub section: &'static str,
}

/// Rows of a list as they are on the screen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List {
    /// All rows, in order.
    pub rows: Vec<Row>,
    /// The first that is visible.
    pub first: usize,
    /// Where the visible rows are, one line each.
    pub area: Rect,
}

/// Where things are on the screen, for keys that depend on it and for the mouse.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scene {
    /// The whole screen.
    pub area: Rect,
    /// Visible panes.
    pub panes: Vec<(Pane, Rect)>,
    /// Tiles of the map, in lattice cells: a tile's frame reaches one cell further to the right and below.
    pub tiles: Option<Layout<TileKey>>,
    /// Lists by pane, in the order of `Pane::ALL`.
    pub lists: [List; Pane::ALL.len()],
    /// The flame, if it is shown in place of the panes.
    pub flame: Option<FlameScene>,
    /// The line of a recording, if it is one.
    pub scrub: Option<Rect>,
    /// Key hints in the footer, with the action's name.
    pub hints: Vec<(Rect, &'static str)>,
    /// Lines of the overlay or detail beyond what is visible, which is how far it scrolls.
    pub scrollable: usize,
    /// Visible lines of the overlay or detail; 0 without one.
    pub page: u16,
}

impl Scene {
    /// Place of a pane, if it is visible.
    pub(crate) fn pane(&self, pane: Pane) -> Option<Rect> {
        self.panes.iter().find(|(p, _)| *p == pane).map(|(_, rect)| *rect)
    }
}
