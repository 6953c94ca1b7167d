//! Collectors: each answers a [`Tick`] with one [`Sample`] of raw readings over a bounded channel.
//! They compute no rates and know nothing of groups, screens or files; that is `aggregate`'s work.

mod bpf;
pub mod contents;
pub mod inspect;
pub mod memory;
pub mod php;
mod pool;
pub mod proc;
pub(crate) mod procfs;
mod reads;
pub(crate) mod script;
pub mod tasks;
mod trust;
mod unanswering;

use std::time::Instant;

/// Asks a collector for its reading of the interval that ends now.
#[derive(Debug, Clone, Copy)]
pub struct Tick {
    /// When the interval ended.
    pub at: Instant,
}

/// One reading of one collector.
#[derive(Debug)]
pub enum Sample {
    /// All processes and the machine.
    Processes(Box<proc::ProcessSample>),
    /// What the BPF programs saw since the last reading.
    Php(Box<php::PhpSample>),
}
