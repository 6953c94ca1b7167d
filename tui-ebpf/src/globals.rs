//! Where a process has `executor_globals`, PHP's state of one request: the one place that tells a build apart from another.

use tusktop_shared::Image;

/// Their address in a process that has the image at `bias`; `None` where the image does not say where they are.
#[inline(always)]
pub fn globals(image: &Image, bias: u64) -> Option<u64> {
    if image.executor_globals == 0 { None } else { Some(image.executor_globals.wrapping_add(bias)) }
}
