//! Which processes run PHP, what they run, and what their servers were started with.

pub(crate) mod advice;
pub(crate) mod discover;
pub(crate) mod family;
pub(crate) mod following;
#[cfg(test)]
mod fuzz;
pub(crate) mod installed;
pub(crate) mod maps;
pub(crate) mod masters;
pub(crate) mod moves;
mod queue;
pub(crate) mod runtime;
mod setting;
pub(crate) mod unobserved;
mod verdicts;
