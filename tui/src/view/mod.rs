//! What the state (`app`) and the drawing (`ui`) share, so that neither depends on the other: what is selected, shown, zoomed
//! and filtered ([`View`]), and where things are on the screen ([`Scene`]).

mod facts;
pub mod flame;
mod recording;
mod row;
mod scene;
mod scrub;
mod signal;
mod sorting;
pub mod treemap;

use std::sync::Arc;

use jiff::Timestamp;

pub use self::{
    facts::{Facts, Shown},
    flame::{FlameScene, FlameView},
    recording::RecordingInProgress,
    row::{Row, TileKey},
    scene::{KeyHint, List, Scene, TIME},
    scrub::{Go, GroupMemory, Scrub},
    signal::SignalDialog,
    sorting::{Sort, orders},
};
use crate::model::{
    ContentsOrder, ExactKind, FunctionKey, Grouping, HotTime, InspectionOrder, PartKind, ProblemKey, ProcessKey,
    RouteKey, Window, WorkerKey,
};

/// A part of the screen that can have the focus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pane {
    /// Memory by group: treemap or table.
    Map,
    /// Hot functions or files.
    Hot,
    /// Routes.
    Routes,
    /// Requests.
    Requests,
    /// Exceptions, errors and compiled files.
    Problems,
    /// Processes that serve PHP; it has all of the screen.
    Workers,
}

impl Pane {
    /// All panes in the order of Tab and of the keys 1 to 6.
    pub(crate) const ALL: [Self; 6] =
        [Self::Map, Self::Hot, Self::Routes, Self::Requests, Self::Problems, Self::Workers];
}

/// What the hot list counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HotMode {
    /// Functions.
    #[default]
    Functions,
    /// Files.
    Files,
    /// Traced calls, by function or by line.
    Calls,
}

/// What the colour of a tile says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TileColour {
    /// Which group it is.
    #[default]
    Group,
    /// How fast it grows.
    Growth,
    /// How much CPU it uses.
    Cpu,
}

/// One step into the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zoom {
    /// The processes of a group.
    Group(Arc<str>),
    /// All but these tiles, which were shown beside the tile of the rest.
    Rest(Vec<TileKey>),
}

/// Everything about one thing, shown in place of the pane it was entered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// A process.
    Process {
        /// Which.
        key: ProcessKey,
        /// How often its mappings were asked for at any price.
        asked: u32,
    },
    /// Memory that no process holds.
    Memory(TileKey),
    /// Callers, callees and routes of a function.
    Function(Arc<FunctionKey>),
    /// An exception, an error or a compiled file.
    Problem(ProblemKey),
    /// A request.
    Request {
        /// Worker.
        pid: u32,
        /// Start.
        started_at: Timestamp,
    },
    /// A worker.
    Worker(WorkerKey),
}

/// The window over the panes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overlay {
    /// All keys; only those that contain the search.
    Help {
        /// Search.
        search: String,
        /// First line shown.
        scroll: usize,
    },
    /// All notices.
    Notices {
        /// First line shown.
        scroll: usize,
    },
    /// Choice of an order.
    Sort,
    /// The moment of a recording to go to.
    Jump {
        /// What is typed.
        text: String,
        /// What is wrong with it.
        wrong: Option<String>,
    },
    /// A signal to processes.
    Signal(SignalDialog),
    /// Exact tracing: what it costs, how far it is.
    Trace {
        /// What would be traced.
        kind: ExactKind,
    },
}

/// State of one pane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PaneView {
    /// The selected row or tile; `None` until one is chosen.
    pub selected: Option<Row>,
    /// Filter; empty shows all.
    pub filter: String,
    /// Order; `None` is the pane's own.
    pub sort: Option<Sort>,
    /// Smallest first.
    pub inverted: bool,
    /// What was entered, and the first line of it that is shown.
    pub detail: Option<(Detail, usize)>,
}

/// What is shown and how. Only `App::update` changes it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct View {
    /// The pane that keys act on.
    pub focus: Focus,
    /// State of the panes, in the order of `Pane::ALL`.
    pub panes: [PaneView; Pane::ALL.len()],
    /// The window over the panes.
    pub overlay: Option<Overlay>,
    /// The filter of the focused pane is being typed.
    pub typing: bool,
    /// What makes processes a group.
    pub grouping: Grouping,
    /// Steps into the map, outermost first.
    pub zoom: Vec<Zoom>,
    /// The map is a table.
    pub table: bool,
    /// What the hot list counts.
    pub hot: HotMode,
    /// Which time the hot list counts.
    pub hot_time: HotTime,
    /// The span of the PHP lists.
    pub window: Window,
    /// The calls as a flame, in place of the panes.
    pub flame: Option<FlameView>,
    /// In it, what libraries do by themselves is one frame.
    pub folded: bool,
    /// The PHP lists are about this route alone.
    pub route: Option<Arc<RouteKey>>,
    /// It is a recording: nothing can be signalled, traced or looked at closely.
    pub recorded: bool,
    /// There are other moments to go to: it is a recording, or the past is kept.
    pub moves: bool,
    /// New snapshots are not shown; a recording does not play.
    pub paused: bool,
    /// What is given back when memory is needed is shown, too.
    pub cache: bool,
    /// What the colour of tiles says.
    pub tile_colour: TileColour,
    /// The mouse is captured.
    pub mouse: bool,
    /// What turned signals off; `None` where they can be sent.
    pub read_only: Option<Arc<str>>,
    /// Our own process id.
    pub own_pid: u32,
}

/// The focused pane; the map unless chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Focus(pub Pane);

impl Default for Focus {
    fn default() -> Self {
        Self(Pane::Map)
    }
}

impl View {
    /// The process whose detail is open, which is looked at closely.
    pub fn inspected(&self) -> Option<InspectionOrder> {
        match self.pane(Pane::Map).detail {
            Some((Detail::Process { key: process, asked }, _)) => Some(InspectionOrder { process, asked }),
            _ => None,
        }
    }

    /// The part of the machine's memory whose page is open, if it is one that can be looked into.
    pub fn looked_into(&self) -> Option<ContentsOrder> {
        let Some((Detail::Memory(TileKey::Part(kind, mount)), _)) = &self.pane(Pane::Map).detail else { return None };
        let contents = [PartKind::Tmpfs, PartKind::SystemV, PartKind::Slab, PartKind::SlabReclaimable];
        contents.contains(kind).then(|| ContentsOrder { kind: *kind, mount: mount.clone() })
    }

    /// The group that is entered in the memory pane, else the one that is selected.
    pub fn group(&self) -> Option<&Arc<str>> {
        let entered = self.zoom.iter().rev().find_map(|zoom| match zoom {
            Zoom::Group(group) => Some(group),
            Zoom::Rest(_) => None,
        });
        let selected = match &self.pane(Pane::Map).selected {
            Some(Row::Tile(TileKey::Group(group))) => Some(group),
            _ => None,
        };
        entered.or(selected)
    }

    /// State of one pane.
    pub fn pane(&self, pane: Pane) -> &PaneView {
        &self.panes[pane as usize]
    }

    /// State of one pane, to change it.
    pub fn pane_mut(&mut self, pane: Pane) -> &mut PaneView {
        &mut self.panes[pane as usize]
    }
}
