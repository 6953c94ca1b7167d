//! The ring of events as something that a task can wait for.
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
pub(crate) fn watch(ring: RingBuf<MapData>) -> io::Result<Ring> {
    // SAFETY: the ring owns its descriptor, returns the same one always and closes it only when it is dropped.
    unsafe { AsyncFd::register(ring) }.map_err(|error| error.into_parts().1)
}

/// Waits until the kernel says that the ring should be read; forever when there is none.
///
/// # Errors
/// The runtime is shutting down.
pub(crate) async fn readable(ring: &mut Option<Ring>) -> io::Result<()> {
    match ring {
        Some(ring) => {
            ring.readable_mut().await?.clear_ready();
            Ok(())
        }
        None => std::future::pending().await,
    }
}
