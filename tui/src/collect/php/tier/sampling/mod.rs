//! The sampling tier: stacks by a timer on every CPU.

mod reading;
pub(super) mod status;

pub use reading::{FunctionText, NamedStack, Names};
