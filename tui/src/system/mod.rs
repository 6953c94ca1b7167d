//! Questions to the operating system about this very process: its rights, its heap, its
//! namespace of pids; and its dealings
//! with files that others can touch.

pub mod heap;
pub mod new_file;
pub(crate) mod pid_namespace;
pub(crate) mod rights;
