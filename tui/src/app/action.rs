//! Everything a key can do: names for the configuration, texts for the footer and the help, default keys.
//! It owns the table only; what an action changes is in the parent module.

use crate::view::TIME;

/// What a key can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the table below says what each one does")]
pub enum Action {
    Left,
    Down,
    Up,
    Right,
    First,
    Last,
    PageUp,
    PageDown,
    HalfPageUp,
    HalfPageDown,
    Enter,
    Back,
    Top,
    NextPane,
    PreviousPane,
    MapPane,
    HotPane,
    RoutesPane,
    RequestsPane,
    ProblemsPane,
    WorkersPane,
    Filter,
    NextMatch,
    PreviousMatch,
    Sort,
    SortMemory,
    SortCpu,
    SortTime,
    SortRate,
    SortErrors,
    SortName,
    SortUser,
    SortDisk,
    Invert,
    Files,
    HotTime,
    Flame,
    Callers,
    Fold,
    Trace,
    Window,
    Table,
    Cache,
    Group,
    Colour,
    Pause,
    StepBack,
    StepForward,
    MinuteBack,
    MinuteForward,
    TenMinutesBack,
    TenMinutesForward,
    PreviousEvent,
    NextEvent,
    Now,
    MarkStart,
    MarkEnd,
    ClearMarks,
    Compare,
    Jump,
    Faster,
    Slower,
    Notices,
    Signal,
    Help,
    Mouse,
    Redraw,
    Suspend,
    Record,
    Interrupt,
    Quit,
}

/// One line of the table of actions.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub action: Action,
    /// Its name in `[keys]` of the configuration.
    pub name: &'static str,
    /// Its keys unless the configuration says otherwise; words apart are keys in turn.
    pub keys: &'static [&'static str],
    /// For the footer; empty where it is not worth a place there.
    pub short: &'static str,
    /// For the help.
    pub text: &'static str,
    /// Section of the help.
    pub section: &'static str,
}

const fn entry(
    action: Action,
    name: &'static str,
    keys: &'static [&'static str],
    (section, short, text): (&'static str, &'static str, &'static str),
) -> Entry {
    Entry { action, name, keys, short, text, section }
}

const MOVE: &str = "Move";
const LOOK: &str = "Look";
const LISTS: &str = "Lists";
const ACT: &str = "Act";
const SESSION: &str = "Session";

/// All actions. The footer shows those with a short text, in this order, as many as fit.
pub const ACTIONS: [Entry; 71] = [
    entry(Action::Quit, "quit", &["q", "f10"], (SESSION, "quit", "quit")),
    entry(Action::Help, "help", &["?", "f1"], (SESSION, "help", "this help; type to search in it")),
    entry(
        Action::Enter,
        "enter",
        &["enter"],
        (MOVE, "zoom", "open the selected tile, process, function, route, request or problem"),
    ),
    entry(Action::Back, "back", &["esc", "backspace"], (MOVE, "", "one level up; never quits")),
    entry(Action::NextPane, "next-pane", &["tab"], (MOVE, "next", "next pane")),
    entry(
        Action::Filter,
        "filter",
        &["/"],
        (LISTS, "filter", "filter as you type: a regular expression, also after user: name: pid:"),
    ),
    entry(Action::Sort, "sort", &["s", "f6"], (LISTS, "sort", "choose the order of the pane")),
    entry(Action::Files, "files", &["f"], (LOOK, "files", "functions or files in the hot list")),
    entry(
        Action::Flame,
        "flame",
        &["F"],
        (LOOK, "flame", "the calls as a flame, or back; of the selected route, pool, worker or request"),
    ),
    entry(Action::Trace, "trace", &["X"], (LOOK, "trace", "trace every call: shows the cost, starts, stops")),
    entry(Action::HotTime, "time", &["v"], (LOOK, "cpu/wait", "CPU time, waiting time, both, or growth of memory")),
    entry(Action::Window, "window", &["w"], (LOOK, "window", "span of the PHP lists: 1 s, 10 s, 1 m, all")),
    entry(Action::Pause, "pause", &["space", "Z"], (SESSION, "pause", "pause or resume the screen")),
    entry(Action::StepBack, "step-back", &[","], (TIME, "", "to the snapshot before")),
    entry(Action::StepForward, "step-forward", &["."], (TIME, "step", "to the next snapshot")),
    entry(Action::MinuteBack, "minute-back", &["("], (TIME, "", "a minute back")),
    entry(Action::MinuteForward, "minute-forward", &[")"], (TIME, "minute", "a minute forward")),
    entry(Action::TenMinutesBack, "ten-minutes-back", &["{"], (TIME, "", "ten minutes back")),
    entry(Action::TenMinutesForward, "ten-minutes-forward", &["}"], (TIME, "", "ten minutes forward")),
    entry(Action::PreviousEvent, "previous-event", &["'"], (TIME, "", "to the last new notice or spike of requests")),
    entry(Action::NextEvent, "next-event", &[";"], (TIME, "event", "to the next new notice or spike of requests")),
    entry(Action::Now, "now", &["L"], (TIME, "now", "back to now; in a recording, to its end")),
    entry(
        Action::MarkStart,
        "mark-start",
        &["["],
        (TIME, "", "mark where a span begins: the lists are about all of it"),
    ),
    entry(
        Action::MarkEnd,
        "mark-end",
        &["]"],
        (TIME, "mark", "mark where it ends; dragging along the line marks both"),
    ),
    entry(Action::ClearMarks, "clear-marks", &["\\"], (TIME, "", "no span, and no comparison")),
    entry(Action::Compare, "compare", &["="], (TIME, "compare", "compare the marked span with the next one")),
    entry(
        Action::Jump,
        "jump",
        &[":"],
        (TIME, "jump", "to a moment: 14:05, 3m ago (before the end), 2026-11-27T14:05:33Z"),
    ),
    entry(Action::Faster, "faster", &["+"], (TIME, "faster", "play faster")),
    entry(Action::Slower, "slower", &["-"], (TIME, "", "play slower")),
    entry(
        Action::Callers,
        "callers",
        &["C"],
        (LOOK, "", "in the flame and the hot list: the callers of a function, and what it calls"),
    ),
    entry(
        Action::Fold,
        "fold",
        &["V"],
        (LOOK, "", "in the flame: a library or framework is one frame (vendor/, wp-includes/)"),
    ),
    entry(Action::Colour, "colour", &["c"], (LOOK, "colour", "what the colour of a tile shows: group, growth, cpu")),
    entry(Action::Table, "table", &["t"], (LOOK, "table", "memory pane as tiles or as a table")),
    entry(
        Action::Cache,
        "cache",
        &["b"],
        (LOOK, "", "show or hide what is given back when memory is needed: page cache"),
    ),
    entry(Action::Group, "group", &["g"], (LOOK, "group", "group by rules, pool, unit, container or user")),
    entry(Action::Notices, "notices", &["!"], (LOOK, "notices", "all notices, with hints")),
    entry(
        Action::Signal,
        "signal",
        &["x", "f9"],
        (ACT, "signal", "send a signal to the selected process or group; asks first"),
    ),
    entry(Action::Left, "left", &["h", "left"], (MOVE, "", "left")),
    entry(Action::Down, "down", &["j", "down"], (MOVE, "", "down")),
    entry(Action::Up, "up", &["k", "up"], (MOVE, "", "up")),
    entry(Action::Right, "right", &["l", "right"], (MOVE, "", "right")),
    entry(Action::First, "first", &["home", "<"], (MOVE, "", "first")),
    entry(Action::Last, "last", &["G", "end", ">"], (MOVE, "", "last")),
    entry(Action::PageUp, "page-up", &["pageup", "ctrl+b"], (MOVE, "", "a page up")),
    entry(Action::PageDown, "page-down", &["pagedown", "ctrl+f"], (MOVE, "", "a page down")),
    entry(Action::HalfPageUp, "half-page-up", &["ctrl+u"], (MOVE, "", "half a page up")),
    entry(Action::HalfPageDown, "half-page-down", &["ctrl+d"], (MOVE, "", "half a page down")),
    entry(Action::Top, "top", &["0"], (MOVE, "", "back to the top level")),
    entry(Action::PreviousPane, "previous-pane", &["backtab"], (MOVE, "", "previous pane")),
    entry(Action::MapPane, "memory-pane", &["1"], (MOVE, "", "to the memory pane")),
    entry(Action::HotPane, "hot-pane", &["2"], (MOVE, "", "to the hot functions")),
    entry(Action::RoutesPane, "routes-pane", &["3"], (MOVE, "", "to the routes")),
    entry(Action::RequestsPane, "requests-pane", &["4"], (MOVE, "", "to the requests")),
    entry(
        Action::ProblemsPane,
        "problems-pane",
        &["5"],
        (MOVE, "problems", "to the problems: exceptions, errors, compiled files"),
    ),
    entry(
        Action::WorkersPane,
        "workers-pane",
        &["6"],
        (MOVE, "workers", "to the workers: what each does now, and did in the last minute"),
    ),
    entry(Action::NextMatch, "next-match", &["n"], (LISTS, "", "next match")),
    entry(Action::PreviousMatch, "previous-match", &["N"], (LISTS, "", "previous match")),
    entry(Action::SortMemory, "sort-memory", &["M"], (LISTS, "", "by memory")),
    entry(Action::SortCpu, "sort-cpu", &["P"], (LISTS, "", "by CPU; functions by self time")),
    entry(Action::SortTime, "sort-time", &["T"], (LISTS, "", "by time; functions by total time")),
    entry(
        Action::SortRate,
        "sort-rate",
        &["#"],
        (LISTS, "", "by frequency; groups by process count, processes by pid"),
    ),
    entry(Action::SortErrors, "sort-errors", &["E"], (LISTS, "", "by errors")),
    entry(Action::SortName, "sort-name", &["A"], (LISTS, "", "by name")),
    entry(Action::SortUser, "sort-user", &["U"], (LISTS, "", "processes by user")),
    entry(Action::SortDisk, "sort-disk", &["D"], (LISTS, "", "by disk reads and writes")),
    entry(Action::Invert, "invert", &["I"], (LISTS, "", "reverse order")),
    entry(
        Action::Record,
        "record",
        &["R"],
        (SESSION, "", "record to a file here, or stop; without the screen: tusktop record"),
    ),
    entry(Action::Mouse, "mouse", &["m"], (SESSION, "", "mouse on or off; off lets the terminal select text")),
    entry(Action::Redraw, "redraw", &["ctrl+l"], (SESSION, "", "redraw everything")),
    entry(Action::Suspend, "suspend", &["ctrl+z"], (SESSION, "", "suspend (fg resumes)")),
    entry(Action::Interrupt, "interrupt", &["ctrl+c"], (SESSION, "", "quit immediately, exit code 130")),
];

/// The entry of an action.
pub(crate) fn entry_of(action: Action) -> Option<&'static Entry> {
    ACTIONS.iter().find(|entry| entry.action == action)
}

/// The action of a name.
pub(crate) fn by_name(name: &str) -> Option<Action> {
    ACTIONS.iter().find(|entry| entry.name == name).map(|entry| entry.action)
}
