//! Snapshots as text for other programs and for people without a screen; each format is a function of a snapshot.

mod columns;
mod csv;
mod difference;
mod functions;
mod groups;
mod json;
mod pools;
mod problems;
mod profilers;
mod table;

pub use csv::write as write_csv;
pub use difference::{finding, write as write_difference, write_json as write_difference_json};
pub use groups::{write_explanation, write_groups};
pub use json::{write as write_json, write_line};
pub use profilers::{write_firefox, write_folded, write_pprof, write_speedscope, write_svg};
pub use table::write as write_table;
