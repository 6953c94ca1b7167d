//! Reads the scoreboards of masters: their mappings are found once, and their headers read at each tick.

use std::{collections::HashMap, io, sync::Arc};

use super::{
    layout::{ENTRY, ENTRY_HEAD, HEADER, entries, may_be_scoreboard, parse, worker_of},
    queue::Queues,
};
use crate::{
    collect::{php::find::maps, reads::Reads},
    model::Scoreboard,
};

/// Pools of one master.
const MAX_POOLS: usize = 1_024;
/// Mappings of one master that may be a scoreboard and are read.
const MAX_MAPPINGS: usize = 2_048;
/// Entries of workers that are looked at for one whose title is known.
const MAX_ENTRIES: usize = 32;
/// Readings after which the mappings of a master are looked through again, in case it has reloaded.
const READINGS_PER_SEARCH: u32 = 30;

/// The scoreboards of all masters, found once and read at each tick.
#[derive(Debug, Default)]
pub(crate) struct Scoreboards {
    masters: HashMap<u32, Boards>,
    queues: Queues,
    /// Masters for which there was no time.
    unread: usize,
}

#[derive(Debug)]
struct Boards {
    boards: Vec<Board>,
    readings: u32,
}

#[derive(Debug, Clone, Copy)]
struct Board {
    address: u64,
    bytes: u64,
}

impl Scoreboards {
    /// Reads the pools of these masters and forgets all others. A master whose memory cannot be read has none, and when there is
    /// no time left the others have none. `titles` are the names of pools in the titles of workers, by master and worker: they have
    /// all of a name that php-fpm has cut.
    pub(crate) fn read(
        &mut self,
        masters: impl IntoIterator<Item = u32>,
        titles: &HashMap<(u32, u32), Arc<str>>,
        reads: &mut Reads,
    ) -> Vec<Scoreboard> {
        let mut known = std::mem::take(&mut self.masters);
        let mut pools = Vec::new();
        self.unread = 0;
        for master in masters {
            if !reads.have_time(true) {
                self.unread += 1;
                self.masters.extend(known.remove(&master).map(|boards| (master, boards)));
                continue;
            }
            let mut of_master = Vec::new();
            let mut memory = |address, bytes: &mut [u8]| reads.memory(master, address, bytes);
            let kept = known.remove(&master).filter(|boards| boards.readings < READINGS_PER_SEARCH);
            let kept = kept.filter(|boards| boards.read(master, titles, &mut memory, &mut of_master).is_ok());
            let boards = match kept {
                Some(boards) => Boards { readings: boards.readings + 1, ..boards },
                None => {
                    of_master.clear();
                    let Ok(boards) = Boards::find(reads, master) else { continue };
                    let mut memory = |address, bytes: &mut [u8]| reads.memory(master, address, bytes);
                    if boards.read(master, titles, &mut memory, &mut of_master).is_err() {
                        continue;
                    }
                    boards
                }
            };
            pools.append(&mut of_master);
            self.masters.insert(master, boards);
        }
        pools
    }
}

impl Scoreboards {
    /// Puts the queues of pools into them, as [`Queues::read`] says.
    pub(crate) fn read_queues(
        &mut self,
        pools: &mut [Scoreboard],
        worker: impl Fn(&Scoreboard) -> Option<u32>,
        reads: &mut Reads,
        now_ns: u64,
    ) -> Vec<Option<u64>> {
        self.queues.read(pools, worker, reads, now_ns)
    }

    /// How many masters were not read the last time, because there was no time left.
    pub(crate) fn unread(&self) -> usize {
        self.unread
    }
}

impl Boards {
    /// Looks for scoreboards among the shared anonymous mappings of a master.
    fn find(reads: &mut Reads, master: u32) -> io::Result<Self> {
        let mut found = Self { boards: Vec::new(), readings: 0 };
        let mut mappings = reads.of(master, move |procfs| maps::of(procfs, master))?;
        mappings.retain(may_be_scoreboard);
        mappings.truncate(MAX_MAPPINGS);
        for mapping in mappings {
            let board = Board { address: mapping.start, bytes: mapping.bytes() };
            let mut memory = |address, bytes: &mut [u8]| reads.memory(master, address, bytes);
            match board.header(&mut memory) {
                Ok(header) if parse(master, &header, board.bytes).is_some() => found.boards.push(board),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
                Ok(_) | Err(_) => {}
            }
            if found.boards.len() >= MAX_POOLS {
                break;
            }
        }
        Ok(found)
    }

    /// Reads all; fails when one of them is none any more.
    fn read(
        &self,
        master: u32,
        titles: &HashMap<(u32, u32), Arc<str>>,
        mut memory: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
        pools: &mut Vec<Scoreboard>,
    ) -> io::Result<()> {
        for &board in &self.boards {
            let header = board.header(&mut memory)?;
            let mut pool = parse(master, &header, board.bytes).ok_or(io::ErrorKind::InvalidData)?;
            if Scoreboard::may_be_cut(&pool.name)
                && let Some(name) = board.whole_name(&pool, &header, titles, &mut memory)
            {
                pool.name = name;
            }
            pools.push(pool);
        }
        Ok(())
    }
}

impl Board {
    /// All of the name that php-fpm has cut: that in the title of the first of its workers whose title is known.
    fn whole_name(
        self,
        pool: &Scoreboard,
        header: &[u8; HEADER],
        titles: &HashMap<(u32, u32), Arc<str>>,
        mut memory: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> Option<Arc<str>> {
        let first = self.address.wrapping_add(entries(header, self.bytes)?);
        (0..u64::from(pool.max_children)).take(MAX_ENTRIES).find_map(|number| {
            let mut entry = [0; ENTRY_HEAD];
            memory(first.wrapping_add(number * ENTRY), &mut entry).ok()?;
            let title = titles.get(&(pool.master, worker_of(&entry)?))?;
            title.starts_with(&*pool.name).then(|| Arc::clone(title))
        })
    }

    fn header(self, mut memory: impl FnMut(u64, &mut [u8]) -> io::Result<()>) -> io::Result<[u8; HEADER]> {
        let mut header = [0; HEADER];
        memory(self.address, &mut header)?;
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_scoreboards_and_one_that_is_gone_have_no_pools() {
        let mut boards = Scoreboards::default();
        assert!(boards.read([std::process::id(), u32::MAX], &HashMap::new(), &mut Reads::default()).is_empty());
    }
}
