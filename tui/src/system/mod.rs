//! Questions to the operating system about this very process: its rights, its heap, its
//! namespace of pids.

pub mod heap;
pub(crate) mod pid_namespace;
pub(crate) mod rights;
