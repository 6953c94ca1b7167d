//! tusktop: memory per process group and hot PHP code, live on one screen.

pub mod aggregate;
pub mod cli;
pub mod collect;
pub mod config;
pub mod export;
pub mod model;
pub mod rights;
pub mod session;
pub mod text;
pub mod units;
