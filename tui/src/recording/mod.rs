//! A session in a file (`.tusk`): the layout ([`mod@file`]), writing it, reading it back, redacting it. Nothing is collected or drawn here.

pub mod file;
#[cfg(test)]
mod fuzz;
mod past;
mod reader;
mod redaction;
mod ring;
mod stream;
mod writer;

pub(crate) use self::file::is_news;
pub use self::{
    file::PARTS,
    past::Past,
    reader::{Minute, Recording, RecordingError},
    redaction::Redaction,
    ring::{Ring, RingLimits},
    stream::{Damage, Event, Stream, StreamError, Wrong},
    writer::{Container, Writer},
};

#[cfg(test)]
mod tests;
