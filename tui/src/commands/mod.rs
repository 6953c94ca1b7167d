//! The subcommands: what each prints, and the command that `snap -- COMMAND` observes.

pub mod doctor;
pub mod groups;
pub mod observed;
pub mod output;
