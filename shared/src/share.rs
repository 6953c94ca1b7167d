//! How the maps that all processes write to are divided among their users: no user can fill one, so that others have no room.

use crate::sizes;

/// Maps that are divided, by number.
pub const PROCESSES: u32 = 0;
/// See [`PROCESSES`].
pub const REQUESTS: u32 = 1;
/// See [`PROCESSES`].
pub const WAITING: u32 = 2;
/// See [`PROCESSES`].
pub const STACKS: u32 = 3;
/// The first of two maps.
pub const COUNTS: u32 = 4;
/// Exceptions and errors.
pub const FAILURES: u32 = 6;
/// Compiled files.
pub const COMPILES: u32 = 7;
/// The ring of requests that ended: those that were not read yet.
pub const ENDED_REQUESTS: u32 = 8;
/// Exceptions and errors by request: their part of the first of the two maps of counts.
pub const FAILED: u32 = 9;
/// Messages of exceptions and errors.
pub const MESSAGES: u32 = 11;
/// The same ring, divided among programs instead of users: many belong to root, and what floods one of them must not hide the requests of
/// the others.
pub const ENDED_OF_IMAGES: u32 = 12;
/// How many there are.
pub const MAPS: usize = 13;

/// Entries of each.
pub const SIZES: [u32; MAPS] = [
    sizes::PROCESSES,
    sizes::REQUESTS,
    sizes::WAITING,
    sizes::STACKS,
    sizes::COUNTS,
    sizes::COUNTS,
    sizes::FAILURES,
    sizes::COMPILES,
    sizes::ENDED_REQUESTS,
    sizes::FAILED,
    sizes::FAILED,
    sizes::MESSAGES,
    // Less than a user can have, so that there is room for the user's others.
    sizes::ENDED_REQUESTS / 4 * 3,
];

/// Shares that are known at a time: those of users with entries in a map.
pub const SHARES: u32 = 4096;

/// The user whose shares are those of all users who have no share of their own, because there was no room for it.
pub const OTHERS: u32 = u32::MAX;

/// Key of a user's share of a map.
///
/// User ids from 65 536 on are taken in blocks of as many: those of one block belong to the containers of one user
/// (subuid(5)), who could otherwise have a share for each.
#[inline(always)]
pub const fn key(map: u32, user: u32) -> u64 {
    const BLOCK: u32 = 16;
    let user = if user == OTHERS || user >> BLOCK == 0 { user } else { user >> BLOCK << BLOCK };
    (user as u64) << 8 | map as u64
}

/// Whether a user with so many entries of a map of that size may have one more: up to three times as many as are free, `all` being used. So
/// one user alone can have three quarters, and the more users want much, the less each can have; some room is always left
/// (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998).
#[inline(always)]
pub const fn may_add(size: u32, own: u64, all: u64) -> bool {
    own < 3 * (size as u64).saturating_sub(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = SIZES[REQUESTS as usize];

    fn fill(users: usize) -> ([u64; 8], u64) {
        let (mut own, mut all) = ([0; 8], 0);
        loop {
            let before = all;
            for entries in own.iter_mut().take(users) {
                if may_add(SIZE, *entries, all) {
                    *entries += 1;
                    all += 1;
                }
            }
            if all == before {
                return (own, all);
            }
        }
    }

    #[test]
    fn nobody_fills_a_map_and_the_next_user_finds_room() {
        let size = u64::from(SIZE);
        let (own, all) = fill(1);
        assert_eq!(own[0], size / 4 * 3);
        assert!(may_add(SIZE, 0, all) && may_add(SIZE, size / 8, all));
        let (own, all) = fill(4);
        assert!(own[0] > size / 5 && all < size && may_add(SIZE, 0, all));
    }

    #[test]
    fn containers_of_one_user_share() {
        assert_eq!(key(REQUESTS, 100_000), key(REQUESTS, 100_033));
        assert_ne!(key(REQUESTS, 100_000), key(REQUESTS, 200_000));
        assert_ne!(key(REQUESTS, 33), key(REQUESTS, 34));
        assert_ne!(key(REQUESTS, 33), key(WAITING, 33));
        assert_ne!(key(REQUESTS, OTHERS), key(REQUESTS, u32::MAX - 1));
    }
}
