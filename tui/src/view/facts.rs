//! What keys would act on: facts about what is selected and about the server, which decide what a key means.

use std::sync::Arc;

use super::Scene;
use crate::model::{SignalTarget, WorkerKey};

/// What a key needs to know beside the places of things.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The pool that the PHP lists are about, if it is one.
    pub pool: Option<Arc<str>>,
    /// What is selected in the memory pane, or what Enter would enter there, or the process whose page is open.
    pub target: Option<Arc<SignalTarget>>,
    /// The mappings of the process whose page is open were not read, or are old, because reading them takes long.
    pub askable: bool,
    /// The process whose page is open, if it is a worker of PHP.
    pub worker: Option<WorkerKey>,
    /// Calls are being traced now, whatever moment is shown.
    pub tracing: bool,
}

/// The last drawing: where things are on the screen, and what keys would act on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shown {
    /// Where things are.
    pub scene: Scene,
    /// What keys would act on.
    pub facts: Facts,
}
