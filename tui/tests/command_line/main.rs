//! The binary as it is run: by a shell, and in a terminal.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod terminal;

mod cli;
mod faults;
mod flight;
mod pty;
mod record;
mod share;
