//! What snapshots say over time: windows, histories, hot functions, what compiled files mean. Pure functions of snapshots.

pub mod history;
pub mod opcache;
pub mod profile;
pub mod regroup;
pub mod source;
pub mod timeline;
pub mod windows;

#[cfg(test)]
mod tests;
