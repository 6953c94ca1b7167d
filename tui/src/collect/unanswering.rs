//! Processes whose files do not answer: who they are, and who is left out because of them. A read of such a file cannot be ended,
//! so whatever does it is left behind. `proc/watchdog` and `reads` decide when that is.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError},
    },
    time::Instant,
};

/// Processes of one user that may be waited for. After that all others of that user are left out, too: each costs time.
const PER_USER: usize = 4;
/// The same for root, who has more processes and no reason to do it on purpose.
const OF_ROOT: usize = 16;
/// Threads that may be left behind. After that no process is read by more than its stat file.
const LEFT_BEHIND: usize = 64;

/// A process as it is known while its first file is read: only then is its start time known, which makes the pid mean one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    pub pid: u32,
    /// `None` while not even its stat file has been read.
    pub start_ticks: Option<u64>,
    /// `None` where it was not asked for.
    pub uid: Option<u32>,
    /// `None` where it is not known.
    pub comm: Option<Arc<str>>,
}

/// Who is not read by more than the stat file, because that took too long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    processes: Vec<Reading>,
    users: Vec<u32>,
    all: bool,
}

impl LeftOut {
    /// The processes themselves, without the others of their users.
    pub(crate) fn processes(&self) -> &[Reading] {
        &self.processes
    }

    /// The stat file of this process does not answer.
    pub(crate) fn silent(&self, pid: u32) -> bool {
        self.processes.iter().any(|process| process.pid == pid && process.start_ticks.is_none())
    }

    /// A process with this pid does not answer. The pid may be another process's by now.
    pub(crate) fn names(&self, pid: u32) -> bool {
        self.processes.iter().any(|process| process.pid == pid)
    }

    /// The other files of this process are not to be read. `uid` is asked only where it matters.
    pub(crate) fn has(&self, pid: u32, start_ticks: Option<u64>, uid: impl FnOnce() -> Option<u32>) -> bool {
        let is = |process: &Reading| process.pid == pid && start_ticks.is_some() && process.start_ticks == start_ticks;
        self.all
            || self.processes.iter().any(is)
            || (!self.users.is_empty() && uid().is_some_and(|uid| self.users.contains(&uid)))
    }

    fn of(processes: Vec<Reading>) -> Self {
        let mut users: Vec<u32> = processes.iter().filter_map(|process| process.uid).collect();
        users.sort_unstable();
        let allowed = |uid| if uid == 0 { OF_ROOT } else { PER_USER };
        let users =
            users.chunk_by(|a, b| a == b).filter(|all| all.len() >= allowed(all[0])).map(|all| all[0]).collect();
        Self { all: processes.len() >= LEFT_BEHIND, users, processes }
    }
}

/// What was left behind waiting for a process, until it comes back.
#[derive(Debug, Default)]
pub(crate) struct LeftBehind {
    /// What each waits for, and what is disconnected when it has come back.
    waiting: Vec<(Reading, Receiver<()>)>,
    left_out: Arc<LeftOut>,
}

impl LeftBehind {
    /// Who is left out at the moment.
    pub(crate) fn left_out(&self) -> &Arc<LeftOut> {
        &self.left_out
    }

    /// Something waits for this process. The other end of `ended` is dropped when it has come back.
    pub(crate) fn add(&mut self, process: Reading, ended: Receiver<()>) {
        self.waiting.push((process, ended));
        self.judge();
    }

    /// Forgets those that have come back, and returns the processes that have answered after all.
    pub(crate) fn answered(&mut self) -> Vec<Reading> {
        let ended = |(_, ended): &mut (Reading, Receiver<()>)| ended.try_recv() == Err(TryRecvError::Disconnected);
        let answered: Vec<Reading> = self.waiting.extract_if(.., ended).map(|(process, _)| process).collect();
        if !answered.is_empty() {
            self.judge();
        }
        answered
    }

    /// Waits until all have come back, at most until `end`.
    pub(crate) fn wait(&self, end: Instant) {
        for (_, ended) in &self.waiting {
            let _ = ended.recv_timeout(end.saturating_duration_since(Instant::now()));
        }
    }

    fn judge(&mut self) {
        self.left_out = Arc::new(LeftOut::of(self.waiting.iter().map(|(process, _)| process.clone()).collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(pid: u32, uid: u32) -> Reading {
        Reading { pid, start_ticks: Some(u64::from(pid)), uid: Some(uid), comm: None }
    }

    #[test]
    fn a_user_with_many_silent_processes_is_left_out_and_others_are_not() {
        let has = |list: &LeftOut, pid, start, uid| list.has(pid, Some(start), || uid);
        let some = LeftOut::of((1..=3).map(|pid| reading(pid, 1000)).collect());
        assert!(has(&some, 2, 2, None) && !has(&some, 2, 3, None) && !has(&some, 9, 9, Some(1000)));
        let many = LeftOut::of((1..=4).map(|pid| reading(pid, 1000)).chain([reading(7, 33), reading(8, 0)]).collect());
        assert!(has(&many, 9, 9, Some(1000)) && !has(&many, 9, 9, Some(33)) && !has(&many, 9, 9, Some(0)));
        let all = LeftOut::of((1..=64).map(|pid| reading(pid, pid)).collect());
        assert!(has(&all, 999, 9, None));
        let silent = LeftOut::of(vec![Reading { start_ticks: None, ..reading(5, 0) }]);
        assert!(silent.silent(5) && !has(&silent, 5, 5, None) && !silent.has(5, None, || None) && !silent.silent(6));
    }

    #[test]
    fn who_answers_is_not_left_out_any_more() {
        let mut left_behind = LeftBehind::default();
        let mut waits: Vec<_> = (1..=4)
            .map(|pid| {
                let (alive, ended) = std::sync::mpsc::channel::<()>();
                left_behind.add(reading(pid, 1000), ended);
                alive
            })
            .collect();
        assert!(left_behind.answered().is_empty() && left_behind.left_out().has(9, Some(9), || Some(1000)));
        drop(waits.remove(0));
        assert_eq!(left_behind.answered(), [reading(1, 1000)]);
        assert!(
            !left_behind.left_out().names(1)
                && left_behind.left_out().names(2)
                && !left_behind.left_out().has(9, Some(9), || Some(1000))
        );
    }
}
