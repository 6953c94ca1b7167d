//! tusktop: memory per process group and hot PHP code, live on one screen.

#![warn(unreachable_pub)]

pub mod aggregate;
pub mod analysis;
pub mod app;
pub mod cli;
pub mod collect;
pub mod commands;
pub mod config;
pub mod exit;
pub mod export;
#[cfg(test)]
mod fuzz;
pub mod model;
pub mod recording;
pub mod rules;
pub mod screen;
pub(crate) mod session;
pub mod system;
pub mod top;
pub mod trigger;
pub mod ui;
pub mod view;
pub mod words;
