//! The waiting tier: how long threads are blocked, by the switches of the scheduler.

mod reading;
pub(super) mod status;

pub(crate) use reading::Waits;
