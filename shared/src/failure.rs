//! Exceptions, errors and compiled files as the maps hold them: a key of content, a count, and the texts of the first one.

use crate::{CLASS_BYTES, FILE_BYTES, SCRIPT_BYTES};

/// Bytes kept of a message: its head.
pub const MESSAGE_BYTES: usize = 512;

/// An exception was thrown.
pub const FAILURE_THROWN: u32 = 1;
/// An exception reached PHP itself, because nothing caught it.
pub const FAILURE_UNCAUGHT: u32 = 2;
/// An error was raised.
pub const FAILURE_ERROR: u32 = 3;

/// A site whose argument is the object thrown (PHP 8).
pub const SITE_THROWN: u32 = 1;
/// A site whose argument is a value that holds the object thrown (PHP 7).
pub const SITE_THROWN_VALUE: u32 = 2;
/// A site whose argument is the text of the name of the class thrown (USDT).
pub const SITE_THROWN_CLASS: u32 = 3;
/// A site whose first argument is an object that nothing caught, and whose second is the level it is reported with.
pub const SITE_UNCAUGHT: u32 = 4;
/// A site where the name of a class is tried by a `catch` (USDT).
pub const SITE_CATCH: u32 = 5;

/// A site with message and file as strings of the engine, line and level.
pub const SITE_ERROR: u32 = 1;
/// A site with message and file as plain text, and line (USDT).
pub const SITE_ERROR_TEXT: u32 = 2;

/// A site whose argument is a file handle of PHP 8.1 or newer.
pub const SITE_COMPILE: u32 = 1;
/// A site whose argument is a file handle of PHP 7.4 or 8.0, where the name is plain text.
pub const SITE_COMPILE_TEXT: u32 = 2;
/// A site with the path and the name of the file as plain text (USDT).
pub const SITE_COMPILE_PATH: u32 = 3;

/// How often something was counted.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Times.
    pub count: u64,
    /// Those of them that were silenced, by `@` or by `error_reporting`.
    pub silenced: u64,
}

/// The texts of the first exception or error of a key. Texts are not closed by a NUL; `*_len` is the length in PHP,
/// which may exceed what is kept.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    /// [`FAILURE_THROWN`], [`FAILURE_UNCAUGHT`] or [`FAILURE_ERROR`].
    pub kind: u32,
    /// PHP's number of the level (`E_WARNING`, ...); 0 when it is not known.
    pub level: u32,
    /// Line, 0 when it is not known.
    pub line: u32,
    /// Key of the image.
    pub image: u32,
    /// Length of the class's name.
    pub class_len: u32,
    /// Length of the message.
    pub message_len: u32,
    /// Length of the path.
    pub file_len: u32,
    /// 1 when everything else is written.
    pub complete: u32,
    /// Head of the class's name.
    pub class: [u8; CLASS_BYTES],
    /// Head of the message.
    pub message: [u8; MESSAGE_BYTES],
    /// Tail of the path.
    pub file: [u8; FILE_BYTES],
    /// Script of the request that it happened in, closed by a NUL; empty outside of requests.
    pub script: [u8; SCRIPT_BYTES],
    /// Where a `catch` looked at it last.
    pub caught: Caught,
}

/// A place with a `catch`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Caught {
    /// Address of the instruction: with the line, a quick sign that it is the same place again.
    pub instruction: u64,
    /// Line; 0 when there is none.
    pub line: u32,
    /// Length of the path.
    pub file_len: u32,
    /// Tail of the path.
    pub file: [u8; FILE_BYTES],
}

/// A message of a place where something went wrong. A place has [`MESSAGE_SLOTS`] of them, and a message the one that its text
/// chooses; the first that comes has it until user space removes the entry.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Message {
    /// Hash of the key of the place.
    pub place: u64,
    /// Key of the text; 0 until it is written.
    pub text_key: u64,
    /// Times.
    pub count: u64,
    /// Times that the place had another message which would have this slot.
    pub others: u64,
    /// Length of the text in PHP.
    pub len: u32,
    /// 1 when the text is written.
    pub complete: u32,
    /// Head of the text.
    pub text: [u8; MESSAGE_BYTES],
}

/// Most messages of one place that are counted at a time.
pub const MESSAGE_SLOTS: u64 = 32;

/// Bits that the hash of every key of a failure has. Without the first one, and with the other, it is what stands for the stack in a
/// [`crate::CountKey`]: how often the failure happened in one request. Keys of stacks that were walked are odd, those that were read
/// from outside are small.
pub const FAILURE_KEY: u64 = 1 | 1 << 63;

/// What stands for the stack where failures are counted by request.
#[inline(always)]
pub const fn counted_as(failure: u64) -> u64 {
    failure & !1
}

/// The hash of the key of the failure that a stack stands for; `None` when it is one.
#[inline(always)]
pub const fn failure_of(stack: u64) -> Option<u64> {
    if stack & FAILURE_KEY == 1 << 63 { Some(stack | 1) } else { None }
}

/// The path of a compiled file.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Compiled {
    /// Key of the image.
    pub image: u32,
    /// Length of the path.
    pub file_len: u32,
    /// 1 when everything else is written.
    pub complete: u32,
    /// Keeps the layout free of padding.
    pub reserved: u32,
    /// Tail of the path.
    pub file: [u8; FILE_BYTES],
}

const _: () = assert!(size_of::<Tally>() == 16);
const _: () = assert!(size_of::<Caught>() == 16 + FILE_BYTES);
const _: () =
    assert!(size_of::<Failure>() == 32 + CLASS_BYTES + MESSAGE_BYTES + FILE_BYTES + SCRIPT_BYTES + size_of::<Caught>());
const _: () = assert!(size_of::<Message>() == 40 + MESSAGE_BYTES);
const _: () = assert!(size_of::<Compiled>() == 16 + FILE_BYTES);
