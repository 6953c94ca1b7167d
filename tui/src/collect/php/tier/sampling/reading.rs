//! Samples and waits by process, request and stack, between two ticks.

use std::collections::hash_map::Entry;

use rustix::param::page_size;
use tusktop_shared::{ContentKey, Count, CountKey};

use super::Names;
use crate::{
    collect::php::{StackCount, kernel::Kernel, tier::requests::Requests},
    model::NumberMap,
};

/// Stacks of requests kept between two ticks; samples of more are lost.
const STACKS: usize = 100_000;

/// What was counted since it was last taken.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    stacks: NumberMap<CountKey, StackCount>,
    /// Samples whose stack was not in the kernel's map, or for which there was no room.
    lost: u64,
}

impl Stacks {
    /// Adds what the programs counted, each to the request that it was counted in.
    pub(crate) fn add(
        &mut self,
        counts: impl IntoIterator<Item = (CountKey, Count)>,
        names: &mut Names,
        kernel: &Kernel,
        requests: &Requests,
    ) {
        let page_bytes = page_size() as u64;
        for (key, counted) in counts {
            let full = self.stacks.len() >= STACKS;
            let count = match self.stacks.entry(key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let stack = if full { None } else { names.stack(kernel, ContentKey::new(key.stack, key.user)) };
                    let Some(stack) = stack else {
                        self.lost += counted.samples + counted.waits;
                        continue;
                    };
                    let request = requests.of(key.pid, key.request);
                    new.insert(StackCount { pid: key.pid, request, stack, samples: 0, wait_ns: 0, growth_bytes: 0 })
                }
            };
            count.samples += counted.samples;
            count.wait_ns += counted.wait_ns;
            count.growth_bytes += counted.pages * page_bytes;
        }
    }

    /// What was counted since the last call.
    pub(crate) fn take(&mut self) -> Vec<StackCount> {
        self.stacks.drain().map(|(_, count)| count).collect()
    }

    /// Samples and waits that were lost since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}
