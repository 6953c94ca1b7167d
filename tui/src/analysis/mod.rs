//! What snapshots say over time: windows, histories, hot functions, two spans compared, calls as a tree, what compiled files mean. Pure functions of snapshots.

pub mod difference;
pub mod flame;
pub(crate) mod history;
pub(crate) mod lanes;
pub mod opcache;
mod outline;
pub(crate) mod profile;
pub(crate) mod recorded;
pub(crate) mod regroup;
pub(crate) mod rollup;
pub mod timeline;
pub(crate) mod windows;

#[cfg(test)]
mod tests;
