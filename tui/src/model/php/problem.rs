//! Problems by place: exceptions, errors, and files that are compiled again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ProblemMessage, ProblemRoutes, is_zero};
use crate::model::{ProblemKey, ProblemKind};

/// An exception class thrown at one place: the line where the exception was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionCount {
    /// Class.
    pub class: Arc<str>,
    /// The most frequent message, of those that were kept; empty when unknown.
    pub message: Arc<str>,
    /// The most frequent messages, where there were several; see [`ProblemMessage`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<ProblemMessage>,
    /// File.
    pub file: Arc<str>,
    /// Line.
    pub line: u32,
    /// Times thrown. Throwing a caught exception once more counts again.
    pub count: u64,
    /// At most so many more are counted in `(more places)`, as [`super::Route::count_error`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count_error: u64,
    /// Those of them that reached PHP itself, because nothing caught them; `None` when not known.
    #[serde(default)]
    pub uncaught: Option<u64>,
    /// The `catch` that looked at it last, as `file:line`; empty when unknown.
    #[serde(default = "empty")]
    pub caught_at: Arc<str>,
    /// Script of the first request that it happened in; empty when unknown.
    #[serde(default = "empty")]
    pub script: Arc<str>,
    /// In which routes: in JSON `routes`, `route_counts` and `route_uncaught`.
    #[serde(flatten)]
    pub routes: ProblemRoutes,
}

/// A PHP error (warning, notice, fatal …) raised at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhpError {
    /// Level, such as `warning`.
    pub level: Arc<str>,
    /// The most frequent message, of those that were kept; empty when unknown.
    pub message: Arc<str>,
    /// The most frequent messages, where there were several; see [`ProblemMessage`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<ProblemMessage>,
    /// File.
    pub file: Arc<str>,
    /// Line.
    pub line: u32,
    /// Times raised.
    pub count: u64,
    /// At most so many more are counted in `(more places)`, as [`super::Route::count_error`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count_error: u64,
    /// Those of them that were silenced by `@` or `error_reporting`; `None` when not known.
    #[serde(default)]
    pub silenced: Option<u64>,
    /// Script of the first request that it happened in; empty when unknown.
    #[serde(default = "empty")]
    pub script: Arc<str>,
    /// In which routes: in JSON `routes`, `route_counts` and `route_silenced`.
    #[serde(flatten)]
    pub routes: ProblemRoutes,
}

/// A file that PHP compiled because opcache did not have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompiledFile {
    /// File; as it was written in the code where its path is not known.
    pub file: Arc<str>,
    /// Server API that compiled it, as in [`super::Target::sapi`].
    #[serde(default = "empty")]
    pub sapi: Arc<str>,
    /// Times compiled.
    pub count: u64,
    /// At most so many more are counted in `(more places)`, as [`super::Route::count_error`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count_error: u64,
}

impl ExceptionCount {
    /// What makes it the same in another snapshot.
    pub fn key(&self) -> ProblemKey {
        ProblemKey { kind: ProblemKind::Exception, name: self.class.clone(), file: self.file.clone(), line: self.line }
    }
}

impl PhpError {
    /// What makes it the same in another snapshot.
    pub fn key(&self) -> ProblemKey {
        ProblemKey { kind: ProblemKind::Error, name: self.level.clone(), file: self.file.clone(), line: self.line }
    }
}

impl CompiledFile {
    /// What makes it the same in another snapshot.
    pub fn key(&self) -> ProblemKey {
        ProblemKey { kind: ProblemKind::Compile, name: self.sapi.clone(), file: self.file.clone(), line: 0 }
    }
}

fn empty() -> Arc<str> {
    "".into()
}
