//! What files were found to be, so that each is read once. It is bounded: what was not asked for in a long time goes first, so a
//! user who makes files all the time costs others a second reading at most.

use std::collections::HashMap;

use super::discover::{FileId, Verdict};

/// Files that are remembered in each of two generations.
const FILES: usize = 2048;

/// Verdicts by file.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    recent: HashMap<FileId, Verdict>,
    /// What was not asked for since `recent` was begun.
    older: HashMap<FileId, Verdict>,
}

impl Verdicts {
    /// What a file was found to be.
    pub(super) fn of(&mut self, id: FileId) -> Option<Verdict> {
        if let Some(&verdict) = self.recent.get(&id) {
            return Some(verdict);
        }
        let verdict = self.older.remove(&id)?;
        Some(self.remember(id, verdict))
    }

    /// Keeps a verdict, and returns it.
    pub(super) fn remember(&mut self, id: FileId, verdict: Verdict) -> Verdict {
        if self.recent.len() >= FILES {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(id, verdict);
        verdict
    }

    /// An image was released: its number may be another one's soon.
    pub(super) fn forget(&mut self, image: usize) {
        let other = |_: &FileId, verdict: &mut Verdict| !matches!(verdict, Verdict::Php(number) if *number == image);
        self.recent.retain(other);
        self.older.retain(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(inode: u64) -> FileId {
        FileId { inode, ..FileId::default() }
    }

    #[test]
    fn what_is_asked_for_stays_while_others_come_and_go() {
        let mut verdicts = Verdicts::default();
        verdicts.remember(id(0), Verdict::Php(3));
        for inode in 1..20 * FILES as u64 {
            verdicts.remember(id(inode), Verdict::Plain);
            assert!(inode % 1000 != 0 || matches!(verdicts.of(id(0)), Some(Verdict::Php(3))));
        }
        assert!(verdicts.of(id(1)).is_none() && verdicts.recent.len() + verdicts.older.len() <= 2 * FILES);
        verdicts.forget(3);
        assert!(verdicts.of(id(0)).is_none());
    }
}
