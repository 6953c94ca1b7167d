//! Questions to the operating system about this very process: its rights, its heap.

pub mod heap;
pub(crate) mod rights;
