//! What makes a row, a tile, a function or a problem the same in another snapshot: things are known by what they are, never by
//! their number in a list.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model;

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
