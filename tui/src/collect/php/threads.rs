//! Which threads of a process run PHP: those that were seen in a request and still live. Most PHP has one thread in a process, of
//! which nothing is kept here.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
};

use super::{FinishedRequest, PhpProcess, RequestText};
use crate::collect::reads::Reads;

/// Processes with several threads, and threads of each; more are one worker with their process, or are not listed.
const PROCESSES: usize = 256;
const THREADS: usize = 1_024;

/// The threads that were seen.
#[derive(Debug, Default)]
pub(super) struct Threads(HashMap<u32, BTreeSet<u32>>);

impl Threads {
    /// Takes the requests of an interval, and says of each process which of its threads run PHP.
    pub(super) fn update<'a>(
        &mut self,
        requests: impl Iterator<Item = &'a RequestText>,
        processes: &mut [PhpProcess],
        reads: &mut Reads,
    ) {
        for request in requests.filter(|request| request.tid != 0) {
            let has_room = self.0.len() < PROCESSES;
            let threads = match self.0.get_mut(&request.pid) {
                Some(threads) => threads,
                None if has_room && request.tid != request.pid => self.0.entry(request.pid).or_default(),
                None => continue,
            };
            if threads.len() < THREADS {
                threads.insert(request.tid);
            }
        }
        if self.0.is_empty() {
            return;
        }
        let lives = |pid: &u32| processes.iter().any(|process| process.pid == *pid && process.alive);
        self.0.retain(|pid, _| lives(pid));
        for process in processes.iter_mut().filter(|process| process.alive) {
            let Some(threads) = self.0.get_mut(&process.pid) else { continue };
            if reads.have_time(true) {
                let (pid, seen) = (process.pid, threads.clone());
                let living = reads.of(pid, move |procfs| {
                    let is_there = |tid: &u32| fs::exists(procfs.path(pid, &format!("task/{tid}")));
                    seen.into_iter().filter_map(|tid| is_there(&tid).map(|is| is.then_some(tid)).transpose()).collect()
                });
                if let Ok(living) = living {
                    *threads = living;
                }
            }
            process.threads = threads.iter().copied().collect();
        }
    }
}

/// The requests that ended and those that run.
pub(super) fn requests<'a>(
    finished: &'a [FinishedRequest],
    running: &'a [std::sync::Arc<RequestText>],
) -> impl Iterator<Item = &'a RequestText> {
    finished.iter().map(|finished| &*finished.request).chain(running.iter().map(|request| &**request))
}
