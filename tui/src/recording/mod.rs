//! A session in a file (`.tusk`): the layout ([`mod@file`]), writing it, reading it back, redacting it. Nothing is collected or drawn here.

mod changes;
pub mod file;
#[cfg(test)]
mod fuzz;
mod past;
mod reader;
mod redaction;
mod ring;
mod stream;
mod tiers;
mod writer;

pub use self::{
    file::{Entry, PARTS},
    past::Past,
    reader::{Minute, Recording, RecordingError},
    redaction::Redaction,
    ring::{Ring, RingLimits},
    stream::{Damage, Event, Line, Parts, Stream, StreamError, Wrong},
    tiers::Tiers,
    writer::{Container, Writer},
};
pub(crate) use self::{
    file::{GAP, is_news},
    tiers::{Bounds, number_of},
};

#[cfg(test)]
mod tests;
