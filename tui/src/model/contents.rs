//! What is in a part of the machine's memory: files, segments, caches of the kernel. It is read on demand and kept beside the
//! snapshot, never in it.

use std::{sync::Arc, time::Duration};

use super::PartKind;

/// Which part is to be looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentsOrder {
    /// What it is.
    pub kind: PartKind,
    /// Where a file system is mounted.
    pub mount: Option<Arc<str>>,
}

/// What is in a part of memory, as far as it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Which part.
    pub of: ContentsOrder,
    /// The biggest, biggest first.
    pub items: Vec<ContentsItem>,
    /// What those take that are not listed.
    pub rest_bytes: u64,
    /// How many were looked at.
    pub seen: u64,
    /// All were looked at; if not, the time or the number of entries was too much.
    pub complete: bool,
    /// How long it took.
    pub took: Duration,
    /// Why nothing could be read; empty where it could.
    pub trouble: String,
}

/// A file, a segment or a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentsItem {
    /// Path below the mount, id of a segment with its owner, or name of a cache.
    pub name: String,
    /// What it takes.
    pub bytes: u64,
    /// Objects of a cache, or processes that attached a segment.
    pub count: Option<u64>,
}
