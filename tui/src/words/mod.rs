//! Values as words: numbers with units, safe text, memory. What is said where is for the drawing and the export.

pub mod errors;
pub mod memory;
pub mod names;
pub mod nearest;
pub mod printable;
pub mod tracing;
pub mod units;
