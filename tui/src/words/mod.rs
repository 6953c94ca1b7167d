//! Values as words: numbers with units, safe text, memory. Drawing and export decide where to show them.

pub(crate) mod errors;
#[cfg(test)]
mod fuzz;
pub(crate) mod inspection;
pub(crate) mod machine_memory;
pub(crate) mod memory;
pub(crate) mod names;
pub(crate) mod nearest;
pub(crate) mod pool_event;
pub mod printable;
pub mod secrets;
pub mod times;
pub(crate) mod tracing;
pub(crate) mod units;
