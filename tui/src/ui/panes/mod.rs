//! The panes: memory, hot functions, routes and requests, problems; two spans compared.

pub(crate) mod difference;
pub(crate) mod empty;
pub(crate) mod hot;
pub(crate) mod memory;
pub(crate) mod problems;
pub(crate) mod requests;
pub(crate) mod workers;
