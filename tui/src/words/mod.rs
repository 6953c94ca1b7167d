//! Values as words: numbers with units, safe text, memory. What is said where is for the drawing and the export.

pub(crate) mod errors;
pub(crate) mod inspection;
pub(crate) mod memory;
pub(crate) mod names;
pub(crate) mod nearest;
pub mod printable;
pub(crate) mod tracing;
pub(crate) mod units;
