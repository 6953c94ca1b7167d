//! tusktop: memory per process group and hot PHP code, live on one screen.

pub mod aggregate;
pub mod collect;
pub mod model;
pub mod text;
pub mod treemap;
pub mod units;
