//! tusktop: memory per process group and hot PHP code, live on one screen.

pub mod aggregate;
pub mod app;
pub mod collect;
pub mod model;
pub mod profile;
pub mod terminal;
pub mod text;
pub mod timeline;
pub mod treemap;
pub mod ui;
pub mod units;
pub mod view;
