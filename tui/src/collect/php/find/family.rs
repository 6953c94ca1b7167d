//! The descendants of one process, known from kernel events and, if an event is missing, from the parents in /proc. A process
//! that has ended stays in the family: its data may be read later.

use std::collections::HashSet;

use crate::collect::reads::Reads;

/// Members that are kept; of more it is not known whose they are.
const MEMBERS: usize = 65_536;
/// Generations that are walked up.
const GENERATIONS: usize = 64;

/// A process and its descendants.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    root: u32,
    members: HashSet<u32>,
}

impl Family {
    /// Of this process.
    pub(crate) fn of(root: u32) -> Self {
        Self { root, members: HashSet::from([root]) }
    }

    /// The process that it was made of.
    pub(crate) fn root(&self) -> u32 {
        self.root
    }

    /// Whether the process belongs to it, as far as is known.
    pub(crate) fn contains(&self, pid: u32) -> bool {
        self.members.contains(&pid)
    }

    /// A process forked.
    pub(crate) fn fork(&mut self, parent: u32, child: u32) {
        if !self.members.contains(&parent) {
            // The number had belonged to another one.
            self.members.remove(&child);
        } else if self.members.len() < MEMBERS {
            self.members.insert(child);
        }
    }

    /// Asks /proc for the ancestors of a process that is not known.
    pub(crate) fn look(&mut self, reads: &mut Reads, pid: u32) {
        self.climb(pid, |pid| reads.of(pid, move |procfs| Ok(procfs.parent(pid))).ok().flatten());
    }

    fn climb(&mut self, pid: u32, mut parent: impl FnMut(u32) -> Option<u32>) {
        let mut line = Vec::new();
        let mut ancestor = pid;
        while !self.members.contains(&ancestor) {
            line.push(ancestor);
            match parent(ancestor) {
                Some(next) if next > 1 && line.len() < GENERATIONS => ancestor = next,
                _ => return,
            }
        }
        if self.members.len() + line.len() <= MEMBERS {
            self.members.extend(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_belong_and_so_do_those_behind_a_generation_that_was_not_reported() {
        let mut family = Family::of(100);
        family.fork(100, 101);
        family.fork(7, 8);
        let parent = |pid| (pid > 1).then(|| if pid > 101 { pid - 1 } else { 1 });
        family.climb(104, parent);
        family.climb(50, parent);
        for (pid, member) in [(100, true), (101, true), (104, true), (103, true), (8, false), (50, false), (1, false)] {
            assert_eq!(family.contains(pid), member, "{pid}");
        }
        family.fork(7, 101);
        assert!(!family.contains(101), "the number was used again");
    }

    #[test]
    fn a_circle_of_parents_ends() {
        let mut family = Family::of(100);
        family.climb(5, |pid| Some(if pid == 5 { 6 } else { 5 }));
        assert!(!family.contains(5));
    }

    #[test]
    fn this_test_descends_from_its_parent() {
        let mut family = Family::of(std::os::unix::process::parent_id());
        family.look(&mut Reads::default(), std::process::id());
        assert!(family.contains(std::process::id()));
    }
}
