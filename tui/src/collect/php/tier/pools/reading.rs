//! Reads the scoreboards of masters: their mappings are found once, and their headers read at each tick.

use std::{collections::HashMap, fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use super::layout::{HEADER, may_be_scoreboard, parse};
use crate::{
    collect::{php::find::maps, procfs::Procfs},
    model::Scoreboard,
};

/// Pools of one master.
const MAX_POOLS: usize = 256;
/// Mappings of one master that are looked at.
const MAX_CANDIDATES: usize = 4 * MAX_POOLS;
/// Readings after which the mappings of a master are looked through again, in case it has reloaded.
const READINGS_PER_SEARCH: u32 = 30;

/// The scoreboards of all masters, found once and read at each tick.
#[derive(Debug, Default)]
pub(crate) struct Scoreboards {
    masters: HashMap<u32, Boards>,
    procfs: Procfs,
}

#[derive(Debug)]
struct Boards {
    memory: Arc<File>,
    boards: Arc<[Board]>,
    readings: u32,
}

#[derive(Debug, Clone, Copy)]
struct Board {
    address: u64,
    bytes: u64,
}

impl Scoreboards {
    /// Reads the pools of these masters and forgets all others. A master whose memory cannot be read has none.
    pub(crate) fn read(&mut self, masters: impl Iterator<Item = u32>) -> Vec<Scoreboard> {
        let mut known = std::mem::take(&mut self.masters);
        let mut pools = Vec::new();
        for master in masters {
            let mut of_master = Vec::new();
            let kept = known.remove(&master).filter(|boards| boards.readings < READINGS_PER_SEARCH);
            let kept = kept.filter(|boards| boards.read(&self.procfs, master, &mut of_master).is_ok());
            let boards = match kept {
                Some(boards) => Boards { readings: boards.readings + 1, ..boards },
                None => {
                    of_master.clear();
                    let Ok(boards) = Boards::find(&self.procfs, master) else { continue };
                    if boards.read(&self.procfs, master, &mut of_master).is_err() {
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

impl Boards {
    /// Looks for scoreboards among the shared anonymous mappings of a master.
    fn find(procfs: &Procfs, master: u32) -> io::Result<Self> {
        let path = procfs.path(master, "mem");
        let memory = Arc::new(procfs.patience().read(master, move || File::open(path))?);
        let mappings = maps::of(procfs, master)?;
        let candidates = mappings.iter().filter(|mapping| may_be_scoreboard(mapping));
        let candidates = candidates.map(|mapping| Board { address: mapping.start, bytes: mapping.bytes() });
        let mut found = Self { memory, boards: candidates.take(MAX_CANDIDATES).collect(), readings: 0 };
        let headers = found.headers(procfs, master)?;
        let is_one = |(board, header): &(&Board, io::Result<Header>)| {
            header.as_ref().is_ok_and(|header| parse(master, header, board.bytes).is_some())
        };
        found.boards =
            found.boards.iter().zip(headers).filter(is_one).map(|(&board, _)| board).take(MAX_POOLS).collect();
        Ok(found)
    }

    /// Reads all; fails when one of them is none any more, or the process does not answer.
    fn read(&self, procfs: &Procfs, master: u32, pools: &mut Vec<Scoreboard>) -> io::Result<()> {
        if self.boards.is_empty() {
            return Ok(());
        }
        for (board, header) in self.boards.iter().zip(self.headers(procfs, master)?) {
            pools.push(parse(master, &header?, board.bytes).ok_or(io::ErrorKind::InvalidData)?);
        }
        Ok(())
    }

    fn headers(&self, procfs: &Procfs, master: u32) -> io::Result<Vec<io::Result<Header>>> {
        let (memory, boards) = (Arc::clone(&self.memory), Arc::clone(&self.boards));
        procfs.patience().read(master, move || {
            let header = |board: &Board| {
                let mut header = [0; HEADER];
                memory.read_exact_at(&mut header, board.address)?;
                Ok(header)
            };
            Ok(boards.iter().map(header).collect())
        })
    }
}

type Header = [u8; HEADER];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_scoreboards_and_one_that_is_gone_have_no_pools() {
        let mut boards = Scoreboards::default();
        assert!(boards.read([std::process::id(), u32::MAX].into_iter()).is_empty());
    }
}
