//! The requests tier: each request by its start and its end.

mod reading;
pub(super) mod sites;

pub(crate) use reading::Requests;
pub use reading::{FinishedRequest, RequestMemory, RequestText, Start};
