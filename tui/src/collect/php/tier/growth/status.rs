//! Whether it is seen what makes processes grow. It is counted by stack, so the same images are supported as for stacks.

use crate::{
    collect::php::{kernel::Kernel, tier::Missing},
    model::{SeenBy, TierStatus},
};

/// Page faults of a CPU from one look at a stack to the next: about a MiB. A prime number, so that it does not keep step with what a
/// program does again and again.
const FAULTS: u64 = 251;

/// Starts to count, where the programs are loaded and stacks are sampled at all (`hz` is not 0).
pub(crate) fn start(kernel: Option<&mut Kernel>, hz: u32) -> TierStatus {
    match kernel {
        _ if hz == 0 => TierStatus::off("switched off by --hz 0"),
        None => Missing::Programs.status(),
        Some(kernel) if !kernel.knows_pages => Missing::Pages.status(),
        Some(kernel) => match kernel.count_growth(FAULTS) {
            Ok(()) => TierStatus::on(SeenBy::PageFaults),
            Err(error) => Missing::from(error).status(),
        },
    }
}
