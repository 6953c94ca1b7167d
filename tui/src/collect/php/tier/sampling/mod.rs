//! The sampling tier: stacks by a timer on every CPU.

mod names;
mod reading;
pub(super) mod status;

pub use names::{NamedStack, Names};
pub use reading::Stacks;
