//! Clients that keep a server busy for as long as something is done.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `during` while so many clients send `request` after `request`. One that fails is sent again: the worker that it was
/// sent to may have been killed.
pub fn under_load<T>(clients: usize, request: impl Fn() + Sync, during: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = catch_unwind(AssertUnwindSafe(&request));
                }
            });
        }
        let result = catch_unwind(AssertUnwindSafe(during));
        done.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|failure| resume_unwind(failure))
    })
}
