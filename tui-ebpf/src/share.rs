//! Takes room in the maps that all users share, and gives it back (`tusktop_shared::share`). Counts may be off by a few entries,
//! since user space counts again while programs run.

use aya_ebpf::bindings::BPF_NOEXIST;
use tusktop_shared::share::{self, OTHERS};

use crate::{
    maps::{SHARES, USED},
    tally::atomic_add,
};

/// Takes room for an entry of a map, whose number is a constant; `false` when the user has too many already.
#[inline(always)]
pub fn take_share(map: u32, user: u32) -> bool {
    take_of(map, user, share::SIZES[map as usize])
}

/// The same of a map of that size. It is no function of its own: before a call, Linux older than 6.5 takes every value for one that
/// matters, and the walk of a stack would no longer be verified.
#[inline(always)]
pub fn take_of(map: u32, user: u32, size: u32) -> bool {
    let Some(all) = USED.get_ptr_mut(map) else { return false };
    let key = share::key(map, user);
    let mut own = SHARES.get_ptr_mut(key);
    if own.is_none() {
        let _ = SHARES.insert(key, 0, u64::from(BPF_NOEXIST));
        own = SHARES.get_ptr_mut(key);
    }
    if own.is_none() {
        own = SHARES.get_ptr_mut(share::key(map, OTHERS));
    }
    let Some(own) = own else { return false };
    // SAFETY: both are aligned integers of live entries.
    unsafe {
        if !share::may_add(size, own.read_volatile(), all.read_volatile()) {
            return false;
        }
        atomic_add(own, 1);
        atomic_add(all, 1);
    }
    true
}

/// Gives the room of an entry back.
#[inline(always)]
pub fn give_share(map: u32, user: u32) {
    lower(USED.get_ptr_mut(map));
    lower(SHARES.get_ptr_mut(share::key(map, user)));
}

/// Takes one off. One that is 0 was counted again meanwhile.
#[inline(always)]
fn lower(count: Option<*mut u64>) {
    if let Some(count) = count {
        // SAFETY: an aligned integer of a live entry.
        unsafe {
            if count.read_volatile() != 0 {
                atomic_add(count, u64::MAX);
            }
        }
    }
}
