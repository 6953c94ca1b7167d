//! The panes: memory, hot functions, routes and requests, problems.

pub(crate) mod empty;
pub(crate) mod hot;
pub(crate) mod memory;
pub(crate) mod problems;
pub(crate) mod requests;
