//! The rings of events as something that a task can wait for.
#![expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]

use std::io;

use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;

/// A ring that tells when there is something to read.
pub(crate) type Ring = AsyncFd<RingBuf<MapData>>;

/// Makes a ring that can be waited for.
///
/// # Errors
/// The runtime cannot watch another descriptor.
fn watch(ring: RingBuf<MapData>) -> io::Result<Ring> {
    // SAFETY: the ring owns its descriptor, returns the same one always and closes it only when it is dropped.
    unsafe { AsyncFd::register(ring) }.map_err(|error| error.into_parts().1)
}

/// The rings that the programs write events to.
pub(crate) struct Rings {
    /// Finished requests.
    pub requests: Ring,
    /// Processes that start and end, and storms.
    pub processes: Ring,
}

impl Rings {
    /// Makes rings that can be waited for.
    ///
    /// # Errors
    /// The runtime cannot watch another descriptor.
    pub(crate) fn watch(rings: Unwatched) -> io::Result<Self> {
        Ok(Self { requests: watch(rings.requests)?, processes: watch(rings.processes)? })
    }
}

/// The rings as they come from the kernel.
pub(crate) struct Unwatched {
    pub requests: RingBuf<MapData>,
    pub processes: RingBuf<MapData>,
}

/// Waits until the kernel says that one of them should be read; forever when there is none.
///
/// # Errors
/// The runtime is shutting down.
pub(crate) async fn readable(rings: &mut Option<Rings>) -> io::Result<()> {
    let Some(Rings { requests, processes }) = rings else { return std::future::pending().await };
    tokio::select! {
        ready = requests.readable_mut() => ready?.clear_ready(),
        ready = processes.readable_mut() => ready?.clear_ready(),
    }
    Ok(())
}
