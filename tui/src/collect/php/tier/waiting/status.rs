//! Whether waits are seen. They are counted by stack, so the same images are supported as for stacks.

use crate::{
    collect::php::{kernel::Kernel, tier::Missing},
    model::{SeenBy, TierStatus},
};

/// Whether waits are seen on this machine; the program for them is attached with the kernel's part.
pub(crate) fn start(kernel: Option<&Kernel>) -> TierStatus {
    match kernel {
        None => Missing::Programs.status(),
        Some(kernel) if kernel.knows_waits => TierStatus::on(SeenBy::SchedSwitch),
        Some(_) => Missing::ThreadState.status(),
    }
}
