//! The live screen on a terminal: the loop over keys and snapshots, raw mode, signals that the user sends.

pub mod depth;
pub mod send_signal;
pub mod stage;
pub mod terminal;
pub mod tty;
