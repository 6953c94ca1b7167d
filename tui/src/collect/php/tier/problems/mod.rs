//! The tiers of what goes wrong: exceptions, errors and compiled files. They share programs and maps.

mod by_request;
mod messages;
mod reading;
pub(super) mod sites;

pub use by_request::RequestFailures;
pub(crate) use reading::Failures;
pub use reading::{CatchPlace, CompileCount, CompiledText, FailureCount, FailureKind, FailureText};

/// Exceptions between two readings, more than which it is no longer worth its price to see where they are caught.
pub(crate) const CATCHES: u64 = 5_000;

/// What is said of exceptions once [`sites::catches`] are detached.
pub(super) const LEFT: &str = "there are too many, so the places where they are caught are no longer recorded";
