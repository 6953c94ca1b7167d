//! What the requests that run wait in at this moment: the PHP function, since when, and what the kernel says of a long wait.

use std::{collections::HashMap, sync::Arc};

use tusktop_shared::{ContentKey, NOT_WALKED, SKIPPED, Wait};

use crate::collect::{
    php::{NamedStack, RequestText, kernel::Kernel, tier::sampling::Names},
    reads::Reads,
};

/// Requests of which that is asked: as many as a snapshot lists.
const ASKED: usize = 200;
/// From then on the kernel is asked what a thread waits in: that is a file to read.
const LONG_NS: u64 = 500_000_000;
/// Bytes of the name of a kernel function.
const NAME: u64 = 128;

/// A wait that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentWait {
    /// Process.
    pub pid: u32,
    /// Start of its request.
    pub request: u64,
    /// Where in PHP.
    pub stack: Arc<NamedStack>,
    /// `CLOCK_MONOTONIC` at its start.
    pub since_ns: u64,
    /// It began before that: `since_ns` is when it was found.
    pub began_before: bool,
    /// Function of the kernel that it waits in (/proc/PID/wchan), once it is long.
    pub kernel: Option<Arc<str>>,
}

/// What the kernel said of the waits of processes, each with its start.
#[derive(Debug, Default)]
pub(crate) struct KernelFunctions(HashMap<u32, (u64, Option<Arc<str>>)>);

/// The waits that these requests are in, of those that `lasting` names by pid << 32 | tid.
pub(crate) fn of(
    running: &[Arc<RequestText>],
    lasting: impl Iterator<Item = (u64, Wait, bool)>,
    now_ns: u64,
    functions: &mut KernelFunctions,
    names: &mut Names,
    kernel: &Kernel,
    reads: &mut Reads,
) -> Vec<CurrentWait> {
    let waits: HashMap<(u32, u64), (u64, Wait, bool)> = lasting
        .filter(|(_, wait, _)| wait.request != 0 && !matches!(wait.stack, NOT_WALKED | SKIPPED))
        .map(|(thread, wait, before)| (((thread >> 32) as u32, wait.request), (thread, wait, before)))
        .collect();
    let known = std::mem::take(&mut functions.0);
    let mut current = Vec::new();
    for request in running.iter().take(ASKED) {
        let pid = request.pid;
        let Some(&(thread, wait, began_before)) = waits.get(&(pid, request.started_ns)) else { continue };
        let Some(stack) = names.stack(kernel, ContentKey::new(wait.stack, wait.user)) else { continue };
        let before = known.get(&pid).filter(|(since_ns, _)| *since_ns == wait.since_ns);
        let function = match before {
            Some((_, function)) => function.clone(),
            None if now_ns.saturating_sub(wait.since_ns) < LONG_NS || !reads.have_time(false) => None,
            None => {
                let file = format!("task/{}/wchan", thread as u32);
                let name = reads.of(pid, move |procfs| procfs.text(pid, &file, NAME)).unwrap_or_default();
                // 0 is what it says of a thread that runs, and where it does not tell.
                let function = Some(name.trim()).filter(|name| !matches!(*name, "" | "0")).map(Arc::from);
                functions.0.insert(pid, (wait.since_ns, function.clone()));
                function
            }
        };
        if let Some(before) = before {
            functions.0.insert(pid, before.clone());
        }
        current.push(CurrentWait {
            pid,
            request: wait.request,
            stack,
            since_ns: wait.since_ns,
            began_before,
            kernel: function,
        });
    }
    current
}
