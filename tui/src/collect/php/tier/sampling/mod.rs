//! The sampling tier: stacks by a timer on every CPU.

mod lines;
mod names;
mod reading;
pub(super) mod status;

pub(crate) use lines::{Lines, SampledLines};
pub use names::NamedStack;
pub(crate) use names::{Frame, Names, function_of, is_php};
pub(crate) use reading::Stacks;
