//! Whether waits are seen. Of which images is the matter of stacks, which waits are counted by.

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
