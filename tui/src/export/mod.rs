//! Snapshots as text for other programs and for people without a screen; each format is a function of a snapshot.

mod columns;
mod difference;
mod functions;
mod groups;
mod json;
mod pools;
mod problems;
mod table;

pub use difference::{finding, write as write_difference, write_json as write_difference_json};
pub use groups::{write_explanation, write_groups};
pub use json::{write as write_json, write_line};
pub use table::write as write_table;
