//! The PHP processes that are followed: found in /proc or by an event, named by their pool, forgotten when they end.
//! `discover` says what a process runs; the collector tells the kernel.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tusktop_shared::sizes;

use super::{
    discover::{self, Discovery, Look, Mapped},
    family::Family,
    masters,
};
use crate::{
    collect::{
        php::{PhpProcess, RequestText, image::sapi::Sapi, tier::exact::Candidate},
        pool,
    },
    model::{Master, pool_of_title},
    system::users::Users,
};

/// Processes that are followed.
const PROCESSES: usize = sizes::PROCESSES as usize;
/// Ticks for which a process that may load PHP is looked at again each time.
const LOOKS: u8 = 20;
/// Ticks between two looks later on, and between two checks that followed processes still live.
const SWEEP: u32 = 30;
/// Programs of any name whose libraries are looked at in one tick; each costs about 60 us.
const CLOSE_LOOKS: usize = 16;
/// Processes of the queue that are taken in one tick, those that have ended included.
const QUEUED: usize = 1_024;
/// Time for such looks at the start, when all that run are new.
const CLOSE_LOOKS_AT_START: Duration = Duration::from_millis(500);

/// How often a master is read while it starts, and once more after that: opcache comes later than the engine.
const STARTING: u8 = 60;
const READINGS: u8 = 2;

#[derive(Debug)]
struct Followed {
    image: usize,
    /// Where it came from and where it has the image: one that was forked has it where its parent has it.
    parent: u32,
    bias: Option<u64>,
    /// What it shows of itself, if it is a master, and how often that is still to be read.
    master: Option<Master>,
    readings: u8,
    pool: Option<Arc<str>>,
    /// The pool that its title names, from which the other was found.
    titled: Option<Arc<str>>,
    script: Option<Arc<str>>,
}

/// The processes that run PHP, and those that may soon.
#[derive(Debug, Default)]
pub(crate) struct Following {
    /// The images that they run.
    pub discovery: Discovery,
    processes: HashMap<u32, Followed>,
    ended: Vec<(u32, Followed)>,
    /// Programs that may load PHP as a library, with the frequent looks that are left.
    hosts: HashMap<u32, u8>,
    /// Other programs that can load libraries, with the tick from which on theirs are looked at: once soon after the start, and
    /// once more when it is over.
    new: VecDeque<(u32, u32)>,
    settled: VecDeque<(u32, u32)>,
    /// A server was found: workers that it forked in the meantime are looked for at the next tick.
    servers_found: bool,
    ticks: u32,
    users: Users,
    /// Only the descendants of one process are of interest.
    pub family: Option<Family>,
}

impl Following {
    /// Programs were started that no event told of: they are looked for at the next tick.
    pub(crate) fn missed_starts(&mut self) {
        self.servers_found = true;
    }

    /// Whether what a process does is of interest.
    pub(crate) fn counts(&self, pid: u32) -> bool {
        self.family.as_ref().is_none_or(|family| family.contains(pid))
    }

    /// Looks at every process that lives, at the start.
    pub(crate) fn start(&mut self) -> Vec<(u32, Mapped)> {
        let mut found = self.scan();
        let deadline = Instant::now() + CLOSE_LOOKS_AT_START;
        while let Some((pid, _)) = self.new.pop_front() {
            found.extend(self.look_closely(pid).map(|mapped| (pid, mapped)));
            if Instant::now() > deadline {
                break;
            }
        }
        found
    }

    /// Looks at every process that lives and is not followed yet, and returns those that run PHP.
    fn scan(&mut self) -> Vec<(u32, Mapped)> {
        let pids = self.discovery.procfs.pids();
        let unknown: Vec<u32> = pids.into_iter().filter(|pid| !self.processes.contains_key(pid)).collect();
        let first = self.ticks == 0;
        let mut found = Vec::new();
        for pid in unknown {
            let look = self.discovery.look(pid);
            if matches!(look, Look::Program) && !first {
                continue;
            }
            found.extend(self.judge(pid, look).map(|mapped| (pid, mapped)));
        }
        found
    }

    /// Looks at one process; where it runs PHP, it is followed from now on.
    pub(crate) fn look(&mut self, pid: u32) -> Option<Mapped> {
        let look = self.discovery.look(pid);
        self.judge(pid, look)
    }

    /// Looks at one process and its libraries, and once more later on.
    fn look_closely(&mut self, pid: u32) -> Option<Mapped> {
        match self.discovery.look_closely(pid) {
            Look::Program => {
                put(&mut self.settled, pid, self.ticks.wrapping_add(SWEEP));
                None
            }
            look => self.judge(pid, look),
        }
    }

    fn judge(&mut self, pid: u32, look: Look) -> Option<Mapped> {
        match look {
            Look::Php(mapped) => {
                self.hosts.remove(&pid);
                let parent = self.discovery.procfs.parent(pid).unwrap_or(0);
                self.compare(parent, mapped);
                self.add(pid, mapped.image, parent, Some(mapped.bias));
                self.servers_found |= self.sapi(mapped.image).is_some_and(|sapi| !sapi.runs_scripts());
                return Some(mapped);
            }
            Look::Host if self.hosts.len() < PROCESSES => {
                self.hosts.entry(pid).or_insert(LOOKS);
            }
            Look::Host => {}
            Look::Program => put(&mut self.new, pid, self.ticks.wrapping_add(1)),
            Look::Plain => {
                self.hosts.remove(&pid);
            }
        }
        None
    }

    /// Looks at the libraries of those whose turn it is.
    fn look_at_programs(&mut self) -> Vec<(u32, Mapped)> {
        let mut found = Vec::new();
        let now = self.ticks;
        let mut looks = 0;
        for _ in 0..QUEUED {
            let due = |queue: &mut VecDeque<(u32, u32)>| Some(queue.pop_front_if(|&mut (_, due)| due <= now)?.0);
            let (pid, is_new) = match due(&mut self.new) {
                Some(pid) => (pid, true),
                None => match due(&mut self.settled) {
                    Some(pid) => (pid, false),
                    None => break,
                },
            };
            if self.processes.contains_key(&pid) || !self.discovery.procfs.is_there(pid) {
                continue;
            }
            let mapped = match self.discovery.look_closely(pid) {
                Look::Program if !is_new => None,
                Look::Program => {
                    put(&mut self.settled, pid, now.wrapping_add(SWEEP));
                    None
                }
                look => self.judge(pid, look),
            };
            found.extend(mapped.map(|mapped| (pid, mapped)));
            looks += 1;
            if looks >= CLOSE_LOOKS {
                break;
            }
        }
        found
    }

    fn is_of_fpm(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(|followed| self.sapi(followed.image) == Some(Sapi::Fpm))
    }

    /// The title of a process names this pool.
    fn name_pool(&mut self, pid: u32, titled: &str) {
        let Some(followed) = self.processes.get_mut(&pid) else { return };
        if followed.titled.as_deref() == Some(titled) {
            return;
        }
        let Discovery { procfs, owners, .. } = &self.discovery;
        let parent = if followed.parent == 0 { procfs.parent(pid).unwrap_or(0) } else { followed.parent };
        let who = (pid, procfs.uid(pid), parent);
        followed.pool = Some(pool::of(procfs, owners, &mut self.users, who, titled));
        followed.titled = Some(titled.into());
    }

    fn sapi(&self, image: usize) -> Option<Sapi> {
        self.discovery.image(image).map(|found| found.image.sapi)
    }

    /// Images were released: their processes are looked at again, for the file may be another PHP now.
    pub(crate) fn released(&mut self, images: &[usize]) -> Vec<u32> {
        let released = |followed: &Followed| images.contains(&followed.image);
        self.ended.retain(|(_, followed)| !released(followed));
        let pids: Vec<u32> = self.processes.extract_if(|_, followed| released(followed)).map(|(pid, _)| pid).collect();
        self.servers_found |= !images.is_empty();
        pids
    }

    /// Takes images off the list that no process runs any more, and those whose file was changed in place. Returns their numbers.
    pub(crate) fn release(&mut self) -> Vec<usize> {
        let mut runs = vec![false; self.discovery.images.len()];
        for followed in self.processes.values().chain(self.ended.iter().map(|(_, followed)| followed)) {
            if let Some(runs) = runs.get_mut(followed.image) {
                *runs = true;
            }
        }
        self.discovery.release(Instant::now(), |number| runs[number])
    }

    /// Looks at a parent again that seems to have its child's image elsewhere: Apache loads its modules twice, each time to
    /// another address, and workers that it forks before the kernel is told to follow it are found by a look of their own.
    fn compare(&mut self, parent: u32, child: Mapped) {
        let elsewhere = self
            .processes
            .get(&parent)
            .is_some_and(|known| known.image == child.image && known.bias.is_some_and(|bias| bias != child.bias));
        if elsewhere && matches!(self.discovery.look(parent), Look::Php(now) if now == child) {
            self.moved(parent, child.bias);
        }
    }

    /// A process has its image elsewhere now, and with it those that are only known to have it where it had it.
    fn moved(&mut self, pid: u32, bias: u64) {
        let Some(known) = self.processes.get(&pid) else { return };
        let (image, before) = (known.image, known.bias);
        for (&other, followed) in &mut self.processes {
            let forked = followed.parent == pid && (followed.image, followed.bias) == (image, before);
            if other == pid || forked {
                followed.bias = Some(bias);
            }
        }
    }

    /// Whether a process has started PHP itself: its parent, if that runs PHP, did not fork it.
    fn is_master(&self, followed: &Followed) -> bool {
        let parent = self.processes.get(&followed.parent);
        followed.bias.is_some()
            && parent.is_none_or(|parent| (parent.image, parent.bias) != (followed.image, followed.bias))
    }

    /// Looks again, once a tick, at programs that may have loaded PHP by now; names new workers; now and then forgets
    /// processes whose end was not reported.
    pub(crate) fn tick(&mut self) -> Vec<(u32, Mapped)> {
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(SWEEP) {
            let Discovery { procfs, unobserved, .. } = &mut self.discovery;
            self.processes.retain(|pid, _| procfs.is_there(*pid));
            unobserved.sweep(|pid| procfs.is_there(pid));
        }
        let mut found = if std::mem::take(&mut self.servers_found) { self.scan() } else { Vec::new() };
        self.servers_found = false;
        let nameless: Vec<u32> =
            self.processes.iter().filter(|(_, followed)| followed.pool.is_none()).map(|(&pid, _)| pid).collect();
        for pid in nameless {
            let title = self.is_of_fpm(pid).then(|| discover::title(&self.discovery.procfs, pid)).flatten();
            if let Some(pool) = title.as_deref().and_then(pool_of_title) {
                self.name_pool(pid, pool);
            }
        }
        let sweep = self.ticks.is_multiple_of(SWEEP);
        let mut due = Vec::new();
        for (&pid, looks) in &mut self.hosts {
            if *looks > 0 || sweep {
                due.push(pid);
            }
            *looks = looks.saturating_sub(1);
        }
        found.extend(due.into_iter().filter_map(|pid| Some((pid, self.look(pid)?))));
        found.extend(self.look_at_programs());
        for pid in std::mem::take(&mut self.discovery.again) {
            found.extend(self.look(pid).map(|mapped| (pid, mapped)));
        }
        found
    }

    /// A followed process forked.
    pub(crate) fn fork(&mut self, parent: u32, child: u32) {
        if let Some(family) = &mut self.family {
            family.fork(parent, child);
        }
        if let Some((image, bias)) = self.processes.get(&parent).map(|followed| (followed.image, followed.bias)) {
            self.add(child, image, parent, bias);
        } else {
            self.discovery.unobserved.fork(parent, child);
        }
    }

    /// A request tells the pool of its worker, and that a process runs PHP at all.
    pub(crate) fn request(&mut self, request: &RequestText) {
        let image = request.image as usize;
        if self.discovery.image(image).is_none() {
            return;
        }
        if let Some(family) = &mut self.family {
            family.look(&self.discovery.procfs, request.pid);
        }
        if !self.processes.contains_key(&request.pid) && self.look(request.pid).is_none() {
            self.add(request.pid, image, 0, None);
        }
        if let Some(pool) = request.pool.as_deref().filter(|_| self.is_of_fpm(request.pid)) {
            self.name_pool(request.pid, pool);
        }
    }

    /// A process runs something else now; if that is PHP, it is followed.
    pub(crate) fn exec(&mut self, pid: u32) -> Option<Mapped> {
        if let Some(family) = &mut self.family {
            family.look(&self.discovery.procfs, pid);
        }
        self.end(pid);
        self.look(pid)
    }

    /// A process ended, or runs something else now.
    pub(crate) fn end(&mut self, pid: u32) {
        self.hosts.remove(&pid);
        self.discovery.unobserved.end(pid);
        if let Some(followed) = self.processes.remove(&pid)
            && self.ended.len() < PROCESSES
        {
            self.ended.push((pid, followed));
        }
    }

    /// The processes that live, and those that ended since the last call, in order of pid.
    pub(crate) fn take(&mut self) -> Vec<PhpProcess> {
        let ended = std::mem::take(&mut self.ended);
        let alive = self.processes.iter().map(|(&pid, followed)| (pid, followed, true));
        let mut processes: Vec<_> = alive
            .chain(ended.iter().map(|(pid, followed)| (*pid, followed, false)))
            .filter(|(pid, ..)| self.counts(*pid))
            .filter_map(|(pid, followed, alive)| {
                Some(PhpProcess {
                    pid,
                    image: followed.image,
                    sapi: self.sapi(followed.image)?,
                    pool: followed.pool.clone(),
                    script: followed.script.clone(),
                    alive,
                })
            })
            .collect();
        processes.sort_unstable_by_key(|process| process.pid);
        processes
    }

    /// The masters that live, each with its image, in order of pid. Each is read when it is new and shortly after, not
    /// at every tick: what it was started with does not change.
    pub(crate) fn masters(&mut self) -> Vec<(usize, Master)> {
        let mut pids: Vec<u32> = self
            .processes
            .iter()
            .filter(|(pid, followed)| self.counts(**pid) && self.is_master(followed))
            .map(|(&pid, _)| pid)
            .collect();
        pids.sort_unstable();
        let mut found = Vec::with_capacity(pids.len());
        for pid in pids {
            let Some(followed) = self.processes.get_mut(&pid) else { continue };
            if followed.readings > 0
                && let Some(image) = self.discovery.image(followed.image)
            {
                let (master, starting) = masters::read(&self.discovery.procfs, pid, image, followed.script.as_deref());
                followed.readings = (followed.readings - 1).min(if starting { u8::MAX } else { READINGS });
                followed.master = Some(master);
            }
            found.extend(followed.master.clone().map(|master| (followed.image, master)));
        }
        found
    }

    /// The processes whose calls can be traced: those whose master was started for it, and that run PHP themselves.
    pub(crate) fn candidates(&self, pool: Option<&str>) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (&pid, followed) in &self.processes {
            let Some(found) = self.discovery.image(followed.image) else { continue };
            let starts_others = followed.master.is_some() && matches!(found.image.sapi, Sapi::Fpm | Sapi::Apache);
            if !starts_others
                && !found.moves
                && self.is_traceable(followed)
                && (pool.is_none() || followed.pool.as_deref() == pool)
            {
                candidates.push(Candidate { pid, image: followed.image, active_ns: 0 });
            }
        }
        candidates
    }

    /// Whether the master that a process came from was started with live function probes.
    fn is_traceable(&self, followed: &Followed) -> bool {
        let mut followed = followed;
        // A master forks its workers itself; PHP that forks does so a few times at most.
        for _ in 0..4 {
            if let Some(master) = &followed.master {
                return master.dtrace == Some(true);
            }
            match self.processes.get(&followed.parent) {
                Some(parent) => followed = parent,
                None => return false,
            }
        }
        false
    }

    fn add(&mut self, pid: u32, image: usize, parent: u32, bias: Option<u64>) {
        if self.processes.len() >= PROCESSES {
            return;
        }
        let runs_scripts = self.sapi(image).is_some_and(Sapi::runs_scripts);
        let script = runs_scripts.then(|| discover::script(&self.discovery.procfs, pid)).flatten().map(Arc::from);
        let followed =
            Followed { image, parent, bias, master: None, readings: STARTING, pool: None, titled: None, script };
        self.processes.insert(pid, followed);
    }
}

/// Puts a process into a queue; the one that has waited longest makes room.
fn put(queue: &mut VecDeque<(u32, u32)>, pid: u32, due: u32) {
    if queue.len() >= PROCESSES {
        queue.pop_front();
    }
    queue.push_back((pid, due));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(parent: u32, bias: u64) -> Followed {
        Followed {
            image: 0,
            parent,
            bias: Some(bias),
            master: None,
            readings: 0,
            pool: None,
            titled: None,
            script: None,
        }
    }

    #[test]
    fn workers_are_no_masters_when_their_parent_has_loaded_its_module_to_another_address() {
        let mut following = Following::default();
        // Apache as it was first seen, a worker whose fork was told, one that was found by a look, and PHP that a worker ran.
        let processes = [
            (10, followed(1, 0x1000)),
            (11, followed(10, 0x1000)),
            (12, followed(10, 0x2000)),
            (13, followed(11, 0x3000)),
        ];
        following.processes.extend(processes);
        let masters = |following: &Following| {
            let mut pids: Vec<u32> =
                following.processes.iter().filter(|(_, one)| following.is_master(one)).map(|(&pid, _)| pid).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(masters(&following), [10, 12, 13]);
        following.moved(10, 0x2000);
        assert_eq!(masters(&following), [10, 13]);
    }
}
