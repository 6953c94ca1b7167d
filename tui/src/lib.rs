//! tusktop: memory per process group and hot PHP code, live on one screen.

pub mod aggregate;
pub mod app;
pub mod cli;
pub mod collect;
pub mod command;
pub mod compiled;
pub mod config;
pub mod doctor;
pub mod export;
pub mod groups;
pub mod heap;
pub mod memory;
pub mod model;
pub mod output;
pub mod profile;
pub mod rights;
pub mod session;
pub mod signal;
pub mod terminal;
pub mod text;
pub mod timeline;
pub mod treemap;
pub mod ui;
pub mod units;
pub mod view;
