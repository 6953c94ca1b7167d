//! Inspects one process on demand: orders come through one `watch` channel, results go out through another.
//! It runs only while there is an order, and takes at most one percent of the time unless the user asks for more.

mod cgroup;
mod files;
mod folder;
#[cfg(test)]
mod fuzz;
mod limits;
mod mapping;
mod smaps;
mod state;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rustix::fs::OFlags;
use tokio::sync::watch;

use self::{cgroup::Hierarchies, folder::Folder};
use super::{proc::stat::Stat, procfs::Procfs};
use crate::{
    model::{Inspection, InspectionOrder, Mappings, ProcessKey, Reading, Unread},
    words::secrets::Secrets,
};

/// Shortest time between two readings.
const EVERY: Duration = Duration::from_secs(2);
/// A reading is followed by this many times its cost without one.
const REST: u32 = 100;
/// Longest time that reading the mappings may take unasked: a process that maps or frees memory has to wait for it.
const EXPENSIVE: Duration = Duration::from_millis(100);
/// Longest time that it may take when it was asked for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it is believed where the hierarchies of control groups are mounted.
const MOUNTED: Duration = Duration::from_secs(60);
/// Time that a resident page takes, where this process has not been read yet. Measured: 40 to 70 ns; more where pages are
/// shared by many.
const PER_PAGE: Duration = Duration::from_nanos(100);

/// Starts looking at what is ordered, on the current tokio runtime. It ends when the sender of the orders is dropped.
/// `root` is where procfs is mounted.
pub fn spawn(
    root: PathBuf,
    secrets: Secrets,
    orders: watch::Receiver<Option<InspectionOrder>>,
) -> watch::Receiver<Option<Arc<Inspection>>> {
    let (readings, receiver) = watch::channel(None);
    tokio::spawn(run(Reader::new(root, secrets), orders, readings));
    receiver
}

async fn run(
    mut reader: Reader,
    mut orders: watch::Receiver<Option<InspectionOrder>>,
    readings: watch::Sender<Option<Arc<Inspection>>>,
) {
    let mut last: Option<(InspectionOrder, Arc<Inspection>)> = None;
    loop {
        let order = *orders.borrow_and_update();
        let rest = match order {
            None => {
                last = None;
                readings.send_if_modified(|reading| reading.take().is_some());
                None
            }
            Some(order) => {
                let before = last.take().filter(|(of, _)| of.process == order.process);
                let asked = order.asked > before.as_ref().map_or(0, |(of, _)| of.asked);
                let task = tokio::task::spawn_blocking(move || {
                    let inspection =
                        reader.inspect(order.process, before.as_ref().map(|(_, reading)| &**reading), asked);
                    (reader, inspection)
                });
                let Ok((back, inspection)) = task.await else { return };
                reader = back;
                let inspection = Arc::new(inspection);
                // Another order may have come meanwhile; then this is not of interest any more.
                if orders.borrow().is_some_and(|now| now.process == order.process) {
                    readings.send_replace(Some(inspection.clone()));
                }
                let rest = (!inspection.ended).then_some(inspection.every);
                last = Some((order, inspection));
                rest
            }
        };
        if !wait(&mut orders, rest).await {
            return;
        }
    }
}

/// Waits for another order, or until it is time to look again; `false` when nothing can be ordered any more.
pub(super) async fn wait<T>(orders: &mut watch::Receiver<T>, rest: Option<Duration>) -> bool {
    match rest {
        None => orders.changed().await.is_ok(),
        Some(rest) => tokio::select! {
            changed = orders.changed() => changed.is_ok(),
            () = tokio::time::sleep(rest) => true,
        },
    }
}

/// Reads processes, one at a time.
#[derive(Debug)]
pub struct Reader {
    root: PathBuf,
    procfs: Procfs,
    secrets: Secrets,
    hierarchies: Hierarchies,
    /// When they were read.
    hierarchies_at: Instant,
    chunk: Vec<u8>,
}

impl Reader {
    /// Reads below a proc root.
    pub fn new(root: PathBuf, secrets: Secrets) -> Self {
        Self {
            hierarchies: Hierarchies::read(&root),
            hierarchies_at: Instant::now(),
            procfs: Procfs::new(&root),
            root,
            secrets,
            chunk: Vec::new(),
        }
    }

    /// Reads a process. What `before` knew stays where it is not read again: all of it when the process has ended, the mappings
    /// when they take too long. `asked` reads the mappings at any price.
    pub fn inspect(&mut self, process: ProcessKey, before: Option<&Inspection>, asked: bool) -> Inspection {
        match self.look(process, before, asked) {
            Ok(inspection) => inspection,
            Err(why) => match before {
                Some(before) => Inspection { ended: why == Unread::Ended, every: EVERY, ..before.clone() },
                None => nothing(process, why),
            },
        }
    }

    fn look(&mut self, process: ProcessKey, before: Option<&Inspection>, asked: bool) -> Reading<Inspection> {
        let started = Instant::now();
        let first = Folder::open(&self.procfs, process.pid)?;
        let text = first.bytes("stat", state::STAT_BYTES)?;
        let stat = Stat::parse(&text, rustix::param::clock_ticks_per_second()).ok_or(Unread::Malformed)?;
        let living = if stat.state == 'Z' && stat.threads > 1 { first.living_thread() } else { None };
        let (folder, stat) = match living {
            Some((folder, state, rss_pages)) => (folder, Stat { state, rss_pages, ..stat }),
            None => (first, stat),
        };
        let start = before.and_then(|before| before.process.start_ticks).or(process.start_ticks);
        if start.is_some_and(|start| start != stat.start_ticks) || stat.state == 'Z' && before.is_some() {
            // The pid is another's by now, or the process waits for its parent only.
            return Err(Unread::Ended);
        }
        let scheduling = state::scheduling(&text);
        let status = folder.bytes("status", state::STATUS_BYTES);
        let limits = folder.bytes("limits", state::STATUS_BYTES).and_then(|text| limits::parse(&text));
        let files = files::count(&folder, limits.as_ref().ok().and_then(|limits| limits::open_files(limits)));
        if self.hierarchies_at.elapsed() >= MOUNTED {
            (self.hierarchies, self.hierarchies_at) = (Hierarchies::read(&self.root), Instant::now());
        }
        let cgroup = self.hierarchies.limits(&folder);
        let at = Timestamp::now();
        let cost = started.elapsed();
        let (mappings, mappings_at, mappings_cost) = self.mappings(&folder, stat.rss_pages, before, asked);
        let inspection = Inspection {
            process: ProcessKey { pid: process.pid, start_ticks: Some(stat.start_ticks) },
            comm: String::from_utf8_lossy(stat.comm).into(),
            at,
            mappings_at,
            mappings_cost,
            cost,
            every: EVERY.max(cost * REST).max(if asked { EVERY } else { started.elapsed() * REST }),
            ended: false,
            mappings,
            limits,
            files,
            cgroup,
            oom_score: state::number(&folder, "oom_score"),
            oom_score_adj: state::number(&folder, "oom_score_adj"),
            wchan: state::wchan(&folder, stat.state),
            nice: scheduling.map(|(nice, _)| nice),
            policy: scheduling.map(|(_, policy)| policy.into()),
            switches: status.and_then(|text| state::switches(&text)),
            exe: folder.link("exe"),
            cwd: folder.link("cwd"),
            arguments: state::arguments(&folder, self.secrets),
        };
        // Where it ended while it was read, what is missing is missing for that reason.
        folder.bytes("stat", state::STAT_BYTES).map_err(|_| Unread::Ended)?;
        Ok(inspection)
    }

    /// The mappings, when they were read, and how long that took.
    fn mappings(
        &mut self,
        folder: &Folder,
        rss_pages: u64,
        before: Option<&Inspection>,
        asked: bool,
    ) -> (Reading<Mappings>, Timestamp, Duration) {
        let known = before.filter(|before| before.mappings.is_ok());
        let pages = u32::try_from(rss_pages).unwrap_or(u32::MAX);
        let expected = known.map_or_else(|| PER_PAGE.saturating_mul(pages), |known| known.mappings_cost);
        let refused = before.and_then(|before| match before.mappings {
            Err(Unread::TooExpensive(time)) => Some(time),
            _ => None,
        });
        let expected = refused.map_or(expected, |time| time.max(expected));
        let started = Instant::now();
        let mappings = if !asked && expected > EXPENSIVE {
            Err(Unread::TooExpensive(expected))
        } else {
            let patience = if asked { PATIENCE } else { EXPENSIVE };
            let file = folder.file("smaps", OFlags::empty());
            file.and_then(|file| smaps::read(std::fs::File::from(file), patience, &mut self.chunk))
        };
        match (mappings, known) {
            (Err(_), Some(known)) => (known.mappings.clone(), known.mappings_at, known.mappings_cost),
            (mappings, _) => (mappings, Timestamp::now(), started.elapsed()),
        }
    }
}

/// Of a process that could not be read at all.
fn nothing(process: ProcessKey, why: Unread) -> Inspection {
    let now = Timestamp::now();
    Inspection {
        process,
        comm: "".into(),
        at: now,
        mappings_at: now,
        mappings_cost: Duration::ZERO,
        cost: Duration::ZERO,
        every: EVERY,
        ended: why == Unread::Ended,
        mappings: Err(why),
        limits: Err(why),
        files: Err(why),
        cgroup: Err(why),
        oom_score: Err(why),
        oom_score_adj: Err(why),
        wchan: Err(why),
        nice: Err(why),
        policy: Err(why),
        switches: Err(why),
        exe: Err(why),
        cwd: Err(why),
        arguments: Err(why),
    }
}

/// The start time in the text of a /proc/PID/stat, in clock ticks after boot; `None` when it is something else.
pub fn start_ticks(stat: &[u8]) -> Option<u64> {
    Stat::parse(stat, rustix::param::clock_ticks_per_second()).map(|stat| stat.start_ticks)
}
