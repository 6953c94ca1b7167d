//! Drawn screens: snapshots and keys in, cells or lines out. Nothing of the machine is read.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod inspection;
mod measured;
mod snapshot;
mod stage;

mod export;
mod flame;
mod function;
mod history;
mod memory;
mod problems;
mod process;
mod record;
mod replay;
mod trace;
mod treemap_steadiness;
mod whole;
mod workers;
