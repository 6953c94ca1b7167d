//! The live screen on a terminal: the loop over keys and snapshots, raw mode, signals that the user sends.

pub(crate) mod depth;
#[cfg(test)]
mod fuzz;
pub(crate) mod send_signal;
pub mod stage;
pub mod terminal;
pub(crate) mod tty;
