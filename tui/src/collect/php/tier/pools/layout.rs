//! What the header of a php-fpm scoreboard says, by the layouts of `versions`. Pure.
//!
//! The header comes from another process and is not trusted: it has a fixed size and is used only if its numbers match the
//! mapping that it was found in.

use crate::{
    collect::php::{
        find::maps::Mapping,
        image::versions::{self, ScoreboardLayout},
    },
    model::{ProcessManager, Scoreboard},
};

/// Size of an entry for one worker (`struct fpm_scoreboard_proc_s`) on 64-bit machines, the same in all versions.
pub(crate) const ENTRY: u64 = 1168;
/// Bytes of the header that are read.
pub(crate) const HEADER: usize = 144;
/// Most workers of a pool that are believed; it bounds what a mapping is taken for a scoreboard.
const MAX_CHILDREN: u32 = 65_536;

/// Anonymous memory that is shared, as `fpm_shm_alloc` takes it, of a size that a scoreboard can have.
pub(crate) fn may_be_scoreboard(mapping: &Mapping) -> bool {
    mapping.is_shared_anonymous()
        && mapping.permissions.starts_with("rw-")
        && (4096..=ENTRY * u64::from(MAX_CHILDREN)).contains(&mapping.bytes())
}

/// Reads a header by the layout that makes sense of it, which needs no version.
pub(crate) fn parse(master: u32, header: &[u8; HEADER], mapped: u64) -> Option<Scoreboard> {
    versions::scoreboards().find_map(|layout| layout.parse(master, header, mapped))
}

/// Where the entries of the workers begin in a scoreboard.
pub(crate) fn entries(header: &[u8; HEADER], mapped: u64) -> Option<u64> {
    versions::scoreboards().find(|layout| layout.parse(0, header, mapped).is_some()).map(|layout| layout.entries)
}

/// What is read of an entry of a scoreboard, from its start.
pub(crate) const ENTRY_HEAD: usize = 36;

/// The process of an entry that is used (`used`, `pid`); the same in all versions. In a container it is the number there.
pub(crate) fn worker_of(entry: &[u8; ENTRY_HEAD]) -> Option<u32> {
    let number = |at: usize| Some(u32::from_le_bytes(entry.get(at..at + 4)?.try_into().ok()?));
    (number(16)? == 1).then(|| number(32)).flatten().filter(|pid| *pid > 0)
}

impl ScoreboardLayout {
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
        let name = name_of(&name[..name.iter().position(|&byte| byte == 0).filter(|&end| end > 0)?])?;
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
            name: name.into(),
            queue_since: None,
            process_manager,
            max_children,
            idle,
            active,
            max_active: number(self.max_active)?,
            max_children_reached: number(self.max_children_reached)?,
            requests: long(self.requests)?,
            slow_requests: long(self.slow_requests)?,
            listen_queue: Some(number(self.listen_queue)?),
            listen_queue_max: number(self.listen_queue_max)?,
        })
    }
}

/// The name of a pool: php-fpm takes any, with spaces or not in ASCII. One of 31 bytes may have been cut, in a character perhaps.
fn name_of(bytes: &[u8]) -> Option<&str> {
    let name = match std::str::from_utf8(bytes) {
        Ok(name) => name,
        Err(error) if bytes.len() == Scoreboard::NAME_BYTES && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    (!name.is_empty() && !name.contains(char::is_control)).then_some(name)
}

fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(layout: ScoreboardLayout, name: &str, max_children: u32) -> [u8; HEADER] {
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

    fn mapped(layout: ScoreboardLayout, max_children: u32) -> u64 {
        (layout.entries + ENTRY * u64::from(max_children)).next_multiple_of(page_bytes())
    }

    #[test]
    fn both_layouts_are_told_apart_by_what_they_say() {
        for layout in versions::scoreboards() {
            let pool = parse(7, &header(layout, "www", 40), mapped(layout, 40)).unwrap();
            assert_eq!((&*pool.name, pool.master, pool.max_children), ("www", 7, 40));
            assert_eq!((pool.idle, pool.active, pool.max_children_reached), (3, 2, 7));
            assert_eq!((pool.requests, pool.slow_requests), (1000, 4));
            assert_eq!(pool.process_manager, ProcessManager::Dynamic);
        }
    }

    #[test]
    fn a_name_may_have_spaces_and_any_letters_and_be_cut() {
        let older = versions::scoreboards().next().unwrap();
        let name = |name: &str| parse(7, &header(older, name, 4), mapped(older, 4)).map(|pool| pool.name.to_string());
        assert_eq!(name("shop 1").as_deref(), Some("shop 1"));
        assert_eq!(name("bücher.example").as_deref(), Some("bücher.example"));
        let mut cut = header(older, "", 4);
        let long = "überall-hübsche-bücher-für-alle-müden";
        cut[older.pool..older.pool + Scoreboard::NAME_BYTES]
            .copy_from_slice(&long.as_bytes()[..Scoreboard::NAME_BYTES]);
        let pool = parse(7, &cut, mapped(older, 4)).unwrap();
        assert!(long.starts_with(&*pool.name) && pool.name.len() + 2 > Scoreboard::NAME_BYTES);
        cut[older.pool] = 0xff;
        assert_eq!(parse(7, &cut, mapped(older, 4)), None);
    }

    #[test]
    fn what_does_not_fit_its_mapping_is_no_scoreboard() {
        let older = versions::scoreboards().next().unwrap();
        let good = header(older, "www", 40);
        assert_eq!(parse(1, &good, mapped(older, 40) + page_bytes()), None);
        assert_eq!(parse(1, &header(older, "w\x1b[2J", 40), mapped(older, 40)), None);
        assert_eq!(parse(1, &header(older, "", 40), mapped(older, 40)), None);
        assert_eq!(parse(1, &header(older, "b\u{7}", 40), mapped(older, 40)), None);
        assert_eq!(parse(1, &header(older, "www", 0), mapped(older, 0)), None);
        let mut strange = good;
        strange[48] = 9;
        assert_eq!(parse(1, &strange, mapped(older, 40)), None);
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
