//! The memory pane: as a treemap, as a table, with charts of the group that was entered.

pub(crate) mod chart;
pub(crate) mod entries;
pub(crate) mod pool;
pub(crate) mod table;
pub(crate) mod target;
pub(crate) mod tiles;
