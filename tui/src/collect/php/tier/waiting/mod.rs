//! The waiting tier: how long threads are blocked, by the switches of the scheduler.

pub(crate) mod now;
mod reading;
pub(super) mod status;

pub use now::CurrentWait;
pub(crate) use reading::Waits;
