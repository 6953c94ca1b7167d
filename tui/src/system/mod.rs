//! Questions to the operating system about this very process: its rights, its heap, its namespace of pids; and the file that it
//! writes.

pub mod heap;
pub mod new_file;
pub(crate) mod pid_namespace;
pub(crate) mod rights;
