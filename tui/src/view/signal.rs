//! The window in which a signal is chosen and its outcome is shown.

use std::sync::Arc;

use crate::model::{Signal, SignalReport, SignalTarget};

/// The window about a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalDialog {
    /// Signals are off, and what turned them off.
    Off(Arc<str>),
    /// Nothing is selected that could get one.
    Nothing,
    /// Which signal?
    Choose {
        /// The processes that it is for; fixed when the window opened.
        target: Arc<SignalTarget>,
        /// Chosen.
        signal: Signal,
        /// Digits of a number that is being typed.
        typed: String,
        /// It was confirmed once, of two times.
        asked: bool,
    },
    /// It was sent, or not.
    Done {
        /// The processes that it was for.
        target: Arc<SignalTarget>,
        /// What became of it.
        report: Arc<SignalReport>,
    },
}
