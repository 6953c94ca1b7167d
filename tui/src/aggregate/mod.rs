//! Turns samples into snapshots: the only place with rates, groups and routes.

pub mod php;
