//! A session in a file (`.tusk`): the layout ([`mod@file`]), writing it, reading it back. Nothing is collected or drawn here.

pub mod file;
#[cfg(test)]
mod fuzz;
mod reader;
mod stream;
mod writer;

pub(crate) use self::file::has_news;
pub use self::{
    file::PARTS,
    reader::{Minute, Recording, RecordingError},
    stream::{Damage, Event, Stream, StreamError, Wrong},
    writer::Writer,
};

#[cfg(test)]
mod tests;
