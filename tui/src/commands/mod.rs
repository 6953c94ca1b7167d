//! The subcommands: what each does and prints, and the command that `snap -- COMMAND` observes.

pub mod cat;
pub mod cut;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod failure;
pub mod groups;
pub mod live;
pub mod observed;
mod options;
mod output;
mod reading;
pub mod record;
pub mod replay;
pub mod snap;
