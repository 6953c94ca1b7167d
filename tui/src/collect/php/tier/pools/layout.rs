//! Where php-fpm's scoreboard has its fields, and what a header says. Pure.
//!
//! What is read comes from another process and is not trusted: a header of fixed size, and it counts only where its numbers fit
//! the mapping that it was found in.

use crate::{
    collect::php::find::maps::Mapping,
    model::{ProcessManager, Scoreboard},
};

/// Size of an entry for one worker (`struct fpm_scoreboard_proc_s`) on 64-bit machines, PHP 7.4 to 8.4.
const ENTRY: u64 = 1168;
/// Bytes of the header that are read.
pub const HEADER: usize = 144;
/// Most workers of a pool that are believed; it bounds what a mapping is taken for a scoreboard.
const MAX_CHILDREN: u32 = 65_536;

/// Where the header of `struct fpm_scoreboard_s` (sapi/fpm/fpm/fpm_scoreboard.h) has its fields, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    pool: usize,
    process_manager: usize,
    idle: usize,
    active: usize,
    max_active: usize,
    requests: usize,
    max_children_reached: usize,
    listen_queue: usize,
    listen_queue_max: usize,
    max_children: usize,
    slow_requests: usize,
    /// First entry of a worker: the end of the header.
    entries: u64,
}

const BEFORE_8_4: Layout = Layout {
    pool: 16,
    process_manager: 48,
    idle: 64,
    active: 68,
    max_active: 72,
    requests: 80,
    max_children_reached: 88,
    listen_queue: 92,
    listen_queue_max: 96,
    max_children: 104,
    slow_requests: 112,
    entries: 128,
};

const SINCE_8_4: Layout = Layout {
    pool: 28,
    process_manager: 60,
    idle: 72,
    active: 76,
    max_active: 80,
    requests: 88,
    max_children_reached: 96,
    listen_queue: 100,
    listen_queue_max: 104,
    max_children: 112,
    slow_requests: 120,
    entries: 144,
};

/// Anonymous memory that is shared, as `fpm_shm_alloc` takes it, of a size that a scoreboard can have.
pub fn may_be_scoreboard(mapping: &Mapping) -> bool {
    mapping.is_shared_anonymous()
        && mapping.permissions.starts_with("rw-")
        && (4096..=ENTRY * u64::from(MAX_CHILDREN)).contains(&mapping.bytes())
}

/// Reads a header by the layout that makes sense of it, which needs no version.
pub fn parse(master: u32, header: &[u8; HEADER], mapped: u64) -> Option<Scoreboard> {
    [BEFORE_8_4, SINCE_8_4].into_iter().find_map(|layout| layout.parse(master, header, mapped))
}

impl Layout {
    fn parse(self, master: u32, header: &[u8; HEADER], mapped: u64) -> Option<Scoreboard> {
        let number = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
        let process_manager = match number(self.process_manager)? {
            1 => ProcessManager::Static,
            2 => ProcessManager::Dynamic,
            3 => ProcessManager::OnDemand,
            _ => return None,
        };
        let name = header.get(self.pool..self.pool + 32)?;
        let name = &name[..name.iter().position(|&byte| byte == 0).filter(|&end| end > 0)?];
        if !name.iter().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let max_children = number(self.max_children)?;
        // The mapping is made for exactly this many workers, in whole pages.
        let bytes = self.entries + ENTRY * u64::from(max_children);
        if !(1..=MAX_CHILDREN).contains(&max_children) || bytes.next_multiple_of(page_bytes()) != mapped {
            return None;
        }
        let (idle, active) = (number(self.idle)?, number(self.active)?);
        if idle > max_children || active > max_children {
            return None;
        }
        Some(Scoreboard {
            master,
            name: String::from_utf8_lossy(name).into(),
            process_manager,
            max_children,
            idle,
            active,
            max_active: number(self.max_active)?,
            max_children_reached: number(self.max_children_reached)?,
            requests: long(self.requests)?,
            slow_requests: long(self.slow_requests)?,
            listen_queue: number(self.listen_queue)?,
            listen_queue_max: number(self.listen_queue_max)?,
        })
    }
}

fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(layout: Layout, name: &str, max_children: u32) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[layout.pool..layout.pool + name.len()].copy_from_slice(name.as_bytes());
        let mut put = |at: usize, value: u32| header[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(layout.process_manager, 2);
        put(layout.max_children, max_children);
        put(layout.idle, 3);
        put(layout.active, 2);
        put(layout.max_children_reached, 7);
        put(layout.requests, 1000);
        put(layout.slow_requests, 4);
        header
    }

    fn mapped(layout: Layout, max_children: u32) -> u64 {
        (layout.entries + ENTRY * u64::from(max_children)).next_multiple_of(page_bytes())
    }

    #[test]
    fn both_layouts_are_told_apart_by_what_they_say() {
        for layout in [BEFORE_8_4, SINCE_8_4] {
            let pool = parse(7, &header(layout, "www", 40), mapped(layout, 40)).unwrap();
            assert_eq!((&*pool.name, pool.master, pool.max_children), ("www", 7, 40));
            assert_eq!((pool.idle, pool.active, pool.max_children_reached), (3, 2, 7));
            assert_eq!((pool.requests, pool.slow_requests), (1000, 4));
            assert_eq!(pool.process_manager, ProcessManager::Dynamic);
        }
    }

    #[test]
    fn what_does_not_fit_its_mapping_is_no_scoreboard() {
        let good = header(BEFORE_8_4, "www", 40);
        assert_eq!(parse(1, &good, mapped(BEFORE_8_4, 40) + page_bytes()), None);
        assert_eq!(parse(1, &header(BEFORE_8_4, "w\x1b[2J", 40), mapped(BEFORE_8_4, 40)), None);
        assert_eq!(parse(1, &header(BEFORE_8_4, "", 40), mapped(BEFORE_8_4, 40)), None);
        assert_eq!(parse(1, &header(BEFORE_8_4, "www", 0), mapped(BEFORE_8_4, 0)), None);
        let mut strange = good;
        strange[48] = 9;
        assert_eq!(parse(1, &strange, mapped(BEFORE_8_4, 40)), None);
    }

    proptest! {
        #[test]
        fn no_memory_makes_a_pool_that_does_not_fit(bytes in proptest::collection::vec(any::<u8>(), HEADER), mapped in any::<u64>()) {
            let header: [u8; HEADER] = bytes.try_into().unwrap();
            if let Some(pool) = parse(1, &header, mapped) {
                prop_assert!(pool.idle <= pool.max_children && u64::from(pool.max_children) * ENTRY < mapped);
            }
        }
    }
}
