//! The words that the state (`app`) and the drawing (`ui`) share, so that neither knows the other: what is selected, shown,
//! zoomed and filtered ([`View`]), and where things ended up on the screen ([`Scene`]).

mod grouping;

use std::sync::Arc;

use jiff::Timestamp;
use ratatui::layout::Rect;

pub use self::grouping::Grouping;
use crate::{model, treemap::Layout};

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
}

impl Pane {
    /// All panes in the order of Tab and of the keys 1 to 5.
    pub const ALL: [Self; 5] = [Self::Map, Self::Hot, Self::Routes, Self::Requests, Self::Problems];
}

/// The span of time that the PHP lists are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Window {
    /// The last interval.
    Last,
    /// Ten seconds.
    #[default]
    TenSeconds,
    /// One minute.
    Minute,
    /// Everything since the start.
    All,
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

/// Which time of functions and files counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HotTime {
    /// On the CPU and waiting.
    #[default]
    Both,
    /// On the CPU.
    Cpu,
    /// Waiting.
    Wait,
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

/// Order of a list. Each pane takes the nearest that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Biggest memory first.
    Memory,
    /// Most CPU (self time) first.
    Cpu,
    /// Most time (total time, slowest) first.
    Time,
    /// Most frequent first.
    Rate,
    /// Most errors first.
    Errors,
    /// By name.
    Name,
}

/// What makes a function the same in another snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FunctionKey {
    /// Class; empty for plain functions.
    pub class: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// File.
    pub file: Arc<str>,
    /// Line.
    pub line: u32,
}

impl FunctionKey {
    /// The key of a function.
    pub fn of(function: &model::Function) -> Self {
        Self {
            class: function.class.clone(),
            name: function.name.clone(),
            file: function.file.clone(),
            line: function.line,
        }
    }
}

/// What makes a route the same in another snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteKey {
    /// Process group.
    pub group: Arc<str>,
    /// Script.
    pub script: Arc<str>,
    /// Method.
    pub method: Arc<str>,
    /// Folded path.
    pub route: Arc<str>,
}

impl RouteKey {
    /// The key of a route.
    pub fn of(route: &model::Route) -> Self {
        Self {
            group: route.group.clone(),
            script: route.script.clone(),
            method: route.method.clone(),
            route: route.route.clone(),
        }
    }
}

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// An exception.
    Exception,
    /// An error.
    Error,
    /// A compiled file.
    Compile,
}

/// What makes a problem the same in another snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProblemKey {
    /// Kind.
    pub kind: ProblemKind,
    /// Class, level or server API.
    pub name: Arc<str>,
    /// File.
    pub file: Arc<str>,
    /// Line; 0 when there is none.
    pub line: u32,
}

impl ProblemKey {
    /// The key of an exception.
    pub fn of_exception(of: &model::ExceptionCount) -> Self {
        Self { kind: ProblemKind::Exception, name: of.class.clone(), file: of.file.clone(), line: of.line }
    }

    /// The key of an error.
    pub fn of_error(of: &model::PhpError) -> Self {
        Self { kind: ProblemKind::Error, name: of.level.clone(), file: of.file.clone(), line: of.line }
    }

    /// The key of a compiled file.
    pub fn of_compile(of: &model::CompiledFile) -> Self {
        Self { kind: ProblemKind::Compile, name: of.sapi.clone(), file: of.file.clone(), line: 0 }
    }
}

/// A row of a list, by what it is and never by its number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Row {
    /// A function.
    Function(FunctionKey),
    /// A file.
    File(Arc<str>),
    /// A route.
    Route(RouteKey),
    /// A request.
    Request {
        /// Worker.
        pid: u32,
        /// Start.
        started_at: Timestamp,
    },
    /// An exception, an error or a compiled file.
    Problem(ProblemKey),
    /// A tile or its row in the table.
    Tile(TileKey),
    /// The tile of the merged rest.
    Rest,
    /// A line that calls a built-in function, or an included file.
    Line {
        /// File.
        file: Arc<str>,
        /// Line.
        line: u32,
        /// Function that is called.
        name: Arc<str>,
    },
}

/// What a tile stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TileKey {
    /// A process group.
    Group(Arc<str>),
    /// A process.
    Process(u32),
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
    Process(u32),
    /// Callers, callees and routes of a function.
    Function(FunctionKey),
    /// An exception, an error or a compiled file.
    Problem(ProblemKey),
    /// A request.
    Request {
        /// Worker.
        pid: u32,
        /// Start.
        started_at: Timestamp,
    },
}

/// What lies over the panes.
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
    /// Exact tracing: what it costs, how it stands.
    Trace {
        /// Calls of built-in functions by line, instead of PHP functions.
        lines: bool,
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
    /// State of the panes, in the order of [`Pane::ALL`].
    pub panes: [PaneView; Pane::ALL.len()],
    /// What lies over the panes.
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
    /// The PHP lists are about this route alone.
    pub route: Option<RouteKey>,
    /// New snapshots are not shown.
    pub paused: bool,
    /// What the colour of tiles says.
    pub tile_colour: TileColour,
    /// The mouse is captured.
    pub mouse: bool,
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
    /// State of one pane.
    pub fn pane(&self, pane: Pane) -> &PaneView {
        &self.panes[pane as usize]
    }

    /// State of one pane, to change it.
    pub fn pane_mut(&mut self, pane: Pane) -> &mut PaneView {
        &mut self.panes[pane as usize]
    }
}

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

/// What exact tracing is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceOrder {
    /// Say what it would cost.
    Price {
        /// Calls of built-in functions by line, instead of PHP functions.
        lines: bool,
        /// Only this pool.
        pool: Option<Arc<str>>,
    },
    /// Begin.
    Start {
        /// As for the price.
        lines: bool,
        /// As for the price.
        pool: Option<Arc<str>>,
    },
    /// End.
    Stop,
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
    /// Lists by pane, in the order of [`Pane::ALL`].
    pub lists: [List; Pane::ALL.len()],
    /// Key hints in the footer, with the action's name.
    pub hints: Vec<(Rect, &'static str)>,
    /// The pool that the PHP lists are about, if it is one.
    pub pool: Option<Arc<str>>,
    /// Calls are being traced.
    pub tracing: bool,
    /// Lines of the overlay or detail beyond what is visible, which is how far it scrolls.
    pub scrollable: usize,
}

impl Scene {
    /// Place of a pane, if it is visible.
    pub fn pane(&self, pane: Pane) -> Option<Rect> {
        self.panes.iter().find(|(p, _)| *p == pane).map(|(_, rect)| *rect)
    }
}
