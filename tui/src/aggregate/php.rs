//! The PHP half of a snapshot: raw counts by pid become functions, stacks, routes and requests.

use std::sync::Arc;

use crate::{
    collect::php::PhpSample,
    model::{Cost, Drops, Notice, Php},
};

/// What one [`PhpSample`] adds to a snapshot.
#[derive(Debug, Default)]
pub struct PhpPart {
    /// The `php` section.
    pub php: Arc<Php>,
    /// What was lost.
    pub drops: Drops,
    /// `bpf_ratio` and `probe_hits_per_s`; the other fields are `None`.
    pub cost: Cost,
    /// What cannot be observed, and why.
    pub notices: Vec<Notice>,
}

/// Keeps what outlives one interval: running requests, names of routes, groups of ended workers.
#[derive(Debug, Default)]
pub struct PhpAggregate {}

impl PhpAggregate {
    /// Makes the PHP part of the snapshot for an interval of `interval_s` seconds.
    /// `group_of` names the group of a live process.
    pub fn update(
        &mut self,
        _sample: PhpSample,
        _interval_s: f64,
        _group_of: &dyn Fn(u32) -> Option<Arc<str>>,
    ) -> PhpPart {
        PhpPart::default()
    }
}
