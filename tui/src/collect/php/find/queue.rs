//! Processes that wait to be looked at. Users take turns: next is someone of the user for whom the least has been done, so that
//! whoever has thousands of processes holds up only their own.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

/// Processes that may wait, and those of one user.
const WAITING: usize = 16_384;
const OF_USER: usize = 4_096;
/// Time after which someone waits too long.
const TOO_LONG: Duration = Duration::from_secs(3);

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum What {
    /// Its program, and the libraries of one that usually loads PHP.
    Program,
    /// The same, of one that has run for a while: its libraries are not looked at.
    OldProgram,
    /// The libraries of any program, which are looked at once more later on.
    Libraries,
    /// The same for the last time.
    LibrariesAgain,
    /// The title that names its pool, or its script.
    Name,
    /// What it was started with.
    Master,
    /// What it does: a request that began before it was found.
    Doing,
}

/// The processes of one user.
#[derive(Debug, Default)]
struct OfUser {
    waiting: VecDeque<(u32, What, Instant)>,
    /// Time that was spent on them lately.
    spent: Duration,
}

/// Who waits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    users: BTreeMap<u32, OfUser>,
    known: HashSet<(u32, What)>,
    /// Those who had no room.
    left_out: u64,
}

/// That looking is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind {
    /// Processes that wait, and the user with the most of them.
    pub waiting: usize,
    pub user: u32,
    /// Processes that were not looked at, because so many waited.
    pub left_out: u64,
}

impl Queue {
    /// Has someone wait, at the end of their user's.
    pub(super) fn put(&mut self, user: u32, pid: u32, what: What) {
        if self.known.contains(&(pid, what)) {
            return;
        }
        let of_user = self.users.get(&user).map_or(0, |user| user.waiting.len());
        if of_user >= OF_USER || self.known.len() >= WAITING {
            self.left_out += 1;
            return;
        }
        self.known.insert((pid, what));
        self.users.entry(user).or_default().waiting.push_back((pid, what, Instant::now()));
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Takes the next one, with their user. `may` says whether there is time for someone, for whose user nothing was done lately or
    /// something was.
    pub(super) fn take(&mut self, may: impl FnOnce(bool) -> bool) -> Option<(u32, u32, What)> {
        let with_someone = self.users.iter_mut().filter(|(_, of_user)| !of_user.waiting.is_empty());
        let (&user, of_user) = with_someone.min_by_key(|(_, of_user)| of_user.spent)?;
        if !may(of_user.spent.is_zero()) {
            return None;
        }
        let (pid, what, _) = of_user.waiting.pop_front()?;
        self.known.remove(&(pid, what));
        Some((user, pid, what))
    }

    /// Something was done for a user.
    pub(super) fn spend(&mut self, user: u32, time: Duration) {
        if let Some(of_user) = self.users.get_mut(&user) {
            of_user.spent += time.max(Duration::from_nanos(1));
        }
    }

    /// Forgets what was done for whom.
    pub(super) fn begin(&mut self) {
        self.users.retain(|_, of_user| {
            of_user.spent = Duration::ZERO;
            !of_user.waiting.is_empty()
        });
    }

    /// Whether someone waits for too long, or had no room since the last call.
    pub(super) fn behind(&mut self) -> Option<Behind> {
        let late = |of_user: &OfUser| of_user.waiting.front().is_some_and(|(_, _, since)| since.elapsed() > TOO_LONG);
        let left_out = std::mem::take(&mut self.left_out);
        if left_out == 0 && !self.users.values().any(late) {
            return None;
        }
        let (&user, _) = self.users.iter().max_by_key(|(_, of_user)| of_user.waiting.len())?;
        Some(Behind { waiting: self.known.len(), user, left_out })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_take_turns_and_nobody_waits_twice() {
        let mut queue = Queue::default();
        for pid in 1..=1_000 {
            queue.put(1000, pid, What::Program);
            queue.put(1000, pid, What::Program);
        }
        queue.put(0, 2_000, What::Program);
        queue.put(33, 3_000, What::Name);
        let mut order = Vec::new();
        while let Some((user, pid, _)) = queue.take(|_| true) {
            queue.spend(user, Duration::from_micros(20));
            order.push(pid);
        }
        assert_eq!((&order[..4], order.len()), (&[2_000, 3_000, 1, 2][..], 1_002));
    }

    #[test]
    fn who_has_had_nothing_goes_into_debt_and_others_wait() {
        let mut queue = Queue::default();
        queue.put(1000, 1, What::Program);
        queue.put(1000, 2, What::Program);
        let no_time_left = |has_waited| has_waited;
        assert_eq!(queue.take(no_time_left), Some((1000, 1, What::Program)));
        queue.spend(1000, Duration::from_millis(50));
        assert_eq!(queue.take(no_time_left), None);
        queue.put(0, 3, What::Program);
        assert_eq!(queue.take(no_time_left), Some((0, 3, What::Program)));
        queue.begin();
        assert_eq!(queue.take(no_time_left), Some((1000, 2, What::Program)));
    }

    #[test]
    fn one_user_cannot_fill_it_and_what_had_no_room_is_counted() {
        let mut queue = Queue::default();
        for pid in 0..5_000 {
            queue.put(1000, pid, What::Program);
        }
        queue.put(0, 9_999, What::Program);
        assert_eq!(queue.behind(), Some(Behind { waiting: OF_USER + 1, user: 1000, left_out: 904 }));
        assert_eq!(queue.behind(), None);
        assert_eq!(queue.take(|_| true), Some((0, 9_999, What::Program)));
    }
}
