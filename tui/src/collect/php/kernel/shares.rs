//! Each user's share of the maps, as the programs count it (`tusktop_shared::share`): counted anew from time to time, so that what
//! was counted wrong does not stay, and users who have nothing any more are forgotten.

use std::collections::HashMap;

use aya::maps::{Array, HashMap as BpfHashMap, IterableMap as _, MapData};
use tusktop_shared::share::{self, OTHERS};

use super::KernelError;
use crate::collect::bpf::batch::Batch;

/// The maps that the programs count in.
pub(super) struct Shares {
    shares: BpfHashMap<MapData, u64, u64>,
    used: Array<MapData, u64>,
    batch: Batch<u64, u64>,
}

impl Shares {
    /// Makes the shares of all users for whom there is no room.
    ///
    /// # Errors
    /// The map cannot be written.
    pub(super) fn new(shares: BpfHashMap<MapData, u64, u64>, used: Array<MapData, u64>) -> Result<Self, KernelError> {
        let mut all = Self { shares, used, batch: Batch::new() };
        for map in 0..share::MAPS as u32 {
            let made = all.shares.insert(share::key(map, OTHERS), 0, 0);
            made.map_err(|source| KernelError::Map { name: "SHARES", source })?;
        }
        Ok(all)
    }

    /// Says whose the entries of a map are: the user of each. What cannot be written stays as the programs counted it.
    pub(super) fn count(&mut self, map: u32, users: impl IntoIterator<Item = u32>) {
        let mut counts: HashMap<u64, u64> = HashMap::new();
        let mut all = 0;
        for user in users {
            *counts.entry(share::key(map, user)).or_default() += 1;
            all += 1;
        }
        let mut gone = Vec::new();
        let _ = self.batch.look(self.shares.map(), |key, _| {
            if key as u8 == map as u8 && !counts.contains_key(&key) {
                gone.push(key);
            }
        });
        for key in gone {
            let _ = match key == share::key(map, OTHERS) {
                true => self.shares.insert(key, 0, 0),
                false => self.shares.remove(&key),
            };
        }
        for (key, count) in counts {
            let _ = self.shares.insert(key, count, 0);
        }
        let _ = self.used.set(map, all, 0);
    }
}
