//! The PHP processes that are followed: found in /proc or by an event, named by their pool, forgotten when they end.
//! `discover` says what a process runs, `queue` whose turn it is to be looked at; the collector tells the kernel.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tusktop_shared::sizes;

use super::{
    discover::{self, Discovery, Look, Mapped},
    family::Family,
    masters,
    queue::{Queue, What},
};
use crate::{
    collect::{
        php::{
            PhpProcess, RequestText,
            before::{self, Running, Thread},
            image::sapi::Sapi,
            tier::exact::Candidate,
        },
        pool,
        script::Script,
    },
    model::{Master, Notice, Scoreboard, pool_of_title},
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
/// Processes of a scan that wait at once.
const SCANNED: usize = 1_024;
/// Time for such looks at the start, when all that run are new.
const CLOSE_LOOKS_AT_START: Duration = Duration::from_millis(500);
/// Time for all looks at the start, in which the time for reads is not counted.
const START: Duration = Duration::from_secs(5);
/// Processes that do not answer and are named in the notice.
const NAMED: usize = 4;

/// How often a master is read while it starts, and once more after that: opcache comes later than the engine.
const STARTING: u8 = 60;
const READINGS: u8 = 2;

/// Forks from a master to a worker that are followed back: php-fpm needs one, scripts that fork by themselves a few.
const GENERATIONS: usize = 8;

#[derive(Debug)]
struct Followed {
    image: usize,
    /// Where it came from and where it has the image: one that was forked has it where its parent has it.
    parent: u32,
    bias: Option<u64>,
    /// A parent that has ended by now, or runs something else, has forked it with its PHP.
    orphaned: bool,
    /// What it shows of itself, if it is a master, and how often that is still to be read.
    master: Option<Master>,
    readings: u8,
    pool: Option<Arc<str>>,
    /// The pool that its title names, from which the other was found.
    titled: Option<Arc<str>>,
    script: Option<Script>,
    /// As in [`PhpProcess`].
    known: bool,
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
    queue: Queue,
    /// Processes that are put into the queue when there is room.
    unscanned: Vec<(u32, What)>,
    /// Processes that were found to run PHP since they were last taken.
    found: Vec<(u32, Mapped)>,
    /// What processes did when they were looked at, since it was last taken.
    doing: Vec<(u32, Mapped, Running)>,
    /// The threads of processes with a thread-safe build, as far as they were told.
    threads: HashMap<u32, Vec<Thread>>,
    /// Other programs that can load libraries, with the tick from which on theirs are looked at: once soon after the start, and
    /// once more when it is over.
    new: VecDeque<(u32, u32)>,
    settled: VecDeque<(u32, u32)>,
    /// Processes are there that no event told of: workers that a server forked before it was found, programs that were started too
    /// fast, and those of images that were let go. They are looked for at the next tick.
    scan_due: bool,
    ticks: u32,
    users: Users,
    /// Only the descendants of one process are of interest.
    pub family: Option<Family>,
}

impl Following {
    /// Programs were started that no event told of.
    pub(crate) fn missed_starts(&mut self) {
        self.scan_due = true;
    }

    /// Whether what a process does is of interest.
    pub(crate) fn counts(&self, pid: u32) -> bool {
        self.family.as_ref().is_none_or(|family| family.contains(pid))
    }

    /// Looks at every process that lives, at the start.
    pub(crate) fn start(&mut self) {
        let begun = Instant::now();
        self.discovery.reads.is_free_until(begun + START);
        self.scan(What::Program);
        self.work();
        let deadline = Instant::now() + CLOSE_LOOKS_AT_START;
        while Instant::now() < deadline
            && let Some((pid, _)) = self.new.pop_front()
        {
            self.put(pid, What::Libraries);
            self.work();
        }
        // Where the machine is busy, some answer late.
        self.discovery.reads.wait();
        self.look_at_answered();
        self.work();
        self.discovery.reads.is_free_until(begun);
    }

    /// Processes that were found to run PHP since the last call.
    pub(crate) fn take_found(&mut self) -> Vec<(u32, Mapped)> {
        std::mem::take(&mut self.found)
    }

    /// Has every process that lives and is not followed yet looked at.
    fn scan(&mut self, what: What) {
        let pids = self.discovery.reads.procfs.pids().into_iter();
        self.unscanned = pids.filter(|pid| !self.processes.contains_key(pid)).map(|pid| (pid, what)).collect();
    }

    /// Has a process looked at when it is its user's turn.
    fn put(&mut self, pid: u32, what: What) {
        // Of a process that has ended there is nothing to see.
        if let Some(user) = self.discovery.reads.procfs.uid(pid) {
            self.queue.put(user, pid, what);
        }
    }

    /// Time has passed: more may be looked at. Those that answer after all have their turn.
    pub(crate) fn go_on(&mut self) {
        self.discovery.reads.give_time();
        self.queue.begin();
        self.look_at_answered();
        self.work();
    }

    fn look_at_answered(&mut self) {
        let answered = self.discovery.reads.answered();
        self.discovery.judge_held_up();
        for process in answered {
            self.put(process.pid, What::Program);
        }
    }

    /// Looks at those that wait, as long as there is time.
    fn work(&mut self) {
        loop {
            let next = self.queue.take(|first| self.discovery.reads.have_time(first));
            let Some((user, pid, what)) = next else {
                if self.queue.is_empty() && !self.unscanned.is_empty() && self.discovery.reads.have_time(false) {
                    for (pid, what) in self.unscanned.split_off(self.unscanned.len().saturating_sub(SCANNED)) {
                        self.put(pid, what);
                    }
                    continue;
                }
                break;
            };
            let before = self.discovery.reads.spent();
            if self.discovery.reads.procfs.is_there(pid) {
                self.look_at(pid, what);
            }
            self.queue.spend(user, self.discovery.reads.spent().saturating_sub(before));
        }
    }

    fn look_at(&mut self, pid: u32, what: What) {
        let look = match what {
            What::Name => return self.name(pid),
            What::Master => return self.read_master(pid),
            What::Doing => return self.look_what_it_does(pid),
            What::Libraries | What::LibrariesAgain if self.processes.contains_key(&pid) => return,
            What::Libraries | What::LibrariesAgain => self.discovery.look_closely(pid),
            What::Program | What::OldProgram => self.discovery.look(pid),
        };
        match (look, what) {
            (Look::Program, What::LibrariesAgain | What::OldProgram) => {}
            (Look::Program, What::Libraries) => put(&mut self.settled, pid, self.ticks.wrapping_add(SWEEP)),
            (look, _) => {
                let scan_due = self.scan_due;
                let mapped = self.judge(pid, look);
                self.found.extend(mapped.map(|mapped| (pid, mapped)));
                if what == What::OldProgram {
                    // All are looked at already.
                    self.scan_due = scan_due;
                }
            }
        }
    }

    /// Whether what any of these processes does is to be found by the threads that it has.
    pub(crate) fn have_threads(&self, pids: &[u32]) -> bool {
        let zts = |followed: &Followed| self.discovery.image(followed.image).is_some_and(|found| found.image.zts);
        pids.iter().any(|pid| self.processes.get(pid).is_some_and(zts))
    }

    /// The threads of processes with a thread-safe build.
    pub(crate) fn tell_threads(&mut self, threads: HashMap<u32, Vec<Thread>>) {
        self.threads = threads;
    }

    /// Has it looked at what processes do that run PHP since before they were found.
    pub(crate) fn put_doing(&mut self, pids: impl IntoIterator<Item = u32>) {
        for pid in pids {
            if let Some(followed) = self.processes.get_mut(&pid) {
                followed.known = false;
                self.put(pid, What::Doing);
            }
        }
    }

    /// The names of pools that php-fpm itself may have cut, as workers have them in their titles: by master and worker.
    pub(crate) fn long_titles(&self) -> HashMap<(u32, u32), Arc<str>> {
        let long =
            |followed: &&Followed| followed.titled.as_ref().is_some_and(|pool| pool.len() >= Scoreboard::CUT_FROM);
        let workers = self.processes.iter().filter(|(_, followed)| long(followed));
        workers.filter_map(|(&pid, followed)| Some(((followed.parent, pid), followed.titled.clone()?))).collect()
    }

    /// One worker of each pool, with the name of the pool, by master.
    pub(crate) fn workers(&self) -> HashMap<u32, Vec<(Arc<str>, u32)>> {
        let mut workers: HashMap<u32, Vec<(Arc<str>, u32)>> = HashMap::new();
        for (&pid, followed) in &self.processes {
            let Some(pool) = &followed.titled else { continue };
            let of_master = workers.entry(followed.parent).or_default();
            match of_master.iter_mut().find(|(name, _)| name == pool) {
                // The oldest of them, so that it is the same each time.
                Some((_, known)) => *known = pid.min(*known),
                None => of_master.push((Arc::clone(pool), pid)),
            }
        }
        // The shortest name first, for others may begin with it.
        workers.values_mut().for_each(|pools| pools.sort_unstable_by_key(|(name, _)| name.len()));
        workers
    }

    /// The image of a process, and where it has it.
    pub(crate) fn mapped(&self, pid: u32) -> Option<Mapped> {
        let followed = self.processes.get(&pid)?;
        Some(Mapped { image: followed.image, bias: followed.bias? })
    }

    /// The processes that run an image.
    pub(crate) fn of_image(&self, image: usize) -> Vec<u32> {
        self.processes.iter().filter(|(_, followed)| followed.image == image).map(|(&pid, _)| pid).collect()
    }

    /// Looks at those that wait, at the start, when all are new.
    pub(crate) fn work_at_start(&mut self) {
        let begun = Instant::now();
        self.discovery.reads.is_free_until(begun + START);
        self.work();
        self.discovery.reads.is_free_until(begun);
    }

    fn look_what_it_does(&mut self, pid: u32) {
        let Some((image, Some(bias))) = self.processes.get(&pid).map(|followed| (followed.image, followed.bias)) else {
            return;
        };
        let Some(found) = self.discovery.image(image) else { return };
        let (layout, mapped) = (Arc::clone(&found.image), Mapped { image, bias });
        let threads = match layout.zts {
            true => self.threads.get(&pid).cloned().unwrap_or_default(),
            false => vec![Thread::first(pid)],
        };
        let reads = &mut self.discovery.reads;
        let begun = Instant::now();
        // What cannot be read stays unknown, until a request of it is seen.
        let mut known = !threads.is_empty();
        for thread in threads {
            match before::look(reads, pid, thread, &layout, mapped) {
                Ok(Some(running)) => self.doing.extend(running.map(|running| (pid, mapped, running))),
                Ok(None) | Err(_) => known = false,
            }
        }
        reads.charge(begun.elapsed());
        let Some(followed) = self.processes.get_mut(&pid) else { return };
        followed.known |= known;
        // Its title may say something else, but PHP knows what it runs.
        if let Some((of, _, running)) = self.doing.last()
            && *of == pid
            && layout.sapi.runs_scripts()
            && followed.script.is_none()
        {
            followed.script = running.script().and_then(Script::at);
        }
    }

    /// What processes did when they were looked at, since the last call.
    pub(crate) fn take_doing(&mut self) -> Vec<(u32, Mapped, Running)> {
        std::mem::take(&mut self.doing)
    }

    fn judge(&mut self, pid: u32, look: Look) -> Option<Mapped> {
        match look {
            Look::Php(mapped) => {
                self.hosts.remove(&pid);
                let parent = self.parent(pid).unwrap_or(0);
                self.compare(parent, mapped);
                self.add(pid, mapped.image, parent, Some(mapped.bias));
                self.scan_due |= self.sapi(mapped.image).is_some_and(|sapi| !sapi.runs_scripts());
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
            // It is looked at again when it does.
            Look::Unanswered => {}
        }
        None
    }

    fn parent(&mut self, pid: u32) -> Option<u32> {
        self.discovery.reads.of(pid, move |procfs| Ok(procfs.parent(pid))).ok().flatten()
    }

    /// Has the libraries of those looked at that are due.
    fn put_programs(&mut self) {
        let now = self.ticks;
        let mut looks = 0;
        for _ in 0..QUEUED {
            let due = |queue: &mut VecDeque<(u32, u32)>| Some(queue.pop_front_if(|&mut (_, due)| due <= now)?.0);
            let (pid, what) = match due(&mut self.new) {
                Some(pid) => (pid, What::Libraries),
                None => match due(&mut self.settled) {
                    Some(pid) => (pid, What::LibrariesAgain),
                    None => break,
                },
            };
            if self.processes.contains_key(&pid) || !self.discovery.reads.procfs.is_there(pid) {
                continue;
            }
            self.put(pid, what);
            looks += 1;
            if looks >= CLOSE_LOOKS {
                break;
            }
        }
    }

    fn is_of_fpm(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(|followed| self.sapi(followed.image) == Some(Sapi::Fpm))
    }

    /// Finds out the pool or the script of a process.
    fn name(&mut self, pid: u32) {
        let Some(followed) = self.processes.get(&pid) else { return };
        if self.sapi(followed.image).is_some_and(Sapi::runs_scripts) {
            let script = self.discovery.reads.of(pid, move |procfs| discover::script(procfs, pid));
            if let (Ok(script), Some(followed)) = (script, self.processes.get_mut(&pid)) {
                followed.script = script;
            }
        } else if self.is_of_fpm(pid)
            && let Ok(title) = self.discovery.reads.of(pid, move |procfs| discover::title(procfs, pid))
            && let Some(pool) = pool_of_title(&title)
        {
            self.name_pool(pid, pool);
        }
    }

    /// The title of a process names this pool.
    fn name_pool(&mut self, pid: u32, titled: &str) {
        let Some(followed) = self.processes.get(&pid) else { return };
        if followed.titled.as_deref() == Some(titled) {
            return;
        }
        let parent = if followed.parent == 0 { self.parent(pid).unwrap_or(0) } else { followed.parent };
        let uid = self.discovery.reads.procfs.uid(pid);
        // Where they do not answer, it is asked again at the next tick.
        let Ok(believed) = self.is_believed(pid, uid, parent) else { return };
        let pool = pool::named(&mut self.users, believed, uid, titled);
        let Some(followed) = self.processes.get_mut(&pid) else { return };
        followed.pool = Some(pool);
        followed.titled = Some(titled.into());
    }

    /// Whether the title of a process is believed, as `pool` says.
    fn is_believed(&mut self, pid: u32, uid: Option<u32>, parent: u32) -> io::Result<bool> {
        let Discovery { reads, owners, .. } = &mut self.discovery;
        if pool::is_trusted(owners, uid) {
            return Ok(true);
        }
        if !pool::is_trusted(owners, reads.procfs.uid(parent)) {
            return Ok(false);
        }
        let own = reads.of(pid, move |procfs| Ok(pool::program(procfs, pid)))?;
        let (of_parent, is_master) = reads.of(parent, move |procfs| {
            Ok((pool::program(procfs, parent), pool::is_master(procfs, parent).unwrap_or(false)))
        })?;
        Ok(is_master && pool::is_same(own, of_parent))
    }

    fn sapi(&self, image: usize) -> Option<Sapi> {
        self.discovery.image(image).map(|found| found.image.sapi)
    }

    /// Images were released: their processes are looked at again, for the file may be another PHP now.
    pub(crate) fn released(&mut self, images: &[usize]) -> Vec<u32> {
        let released = |followed: &Followed| images.contains(&followed.image);
        self.ended.retain(|(_, followed)| !released(followed));
        let pids: Vec<u32> = self.processes.extract_if(|_, followed| released(followed)).map(|(pid, _)| pid).collect();
        self.scan_due |= !images.is_empty();
        pids
    }

    /// Takes images off the list that no process runs any more, and those whose file was changed in place. Returns their numbers.
    pub(crate) fn release(&mut self) -> Vec<usize> {
        // The first of those that live, so that it is the same one each time.
        let mut runs: Vec<Option<u32>> = vec![None; self.discovery.images.len()];
        for (pid, image) in self.processes.iter().map(|(&pid, followed)| (pid, followed.image)) {
            if let Some(runs) = runs.get_mut(image) {
                *runs = Some(runs.map_or(pid, |first| first.min(pid)));
            }
        }
        for (_, followed) in &self.ended {
            if let Some(runs) = runs.get_mut(followed.image) {
                *runs = runs.or(Some(0));
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
            && !followed.orphaned
            && parent.is_none_or(|parent| (parent.image, parent.bias) != (followed.image, followed.bias))
    }

    /// The process that started PHP and forked the others until it came to this one; the process itself, if it has done so, or if
    /// nothing is known of its parent.
    pub(crate) fn master_of(&self, pid: u32) -> u32 {
        let mut master = pid;
        for _ in 0..GENERATIONS {
            match self.processes.get(&master) {
                Some(followed) if !self.is_master(followed) && !followed.orphaned => master = followed.parent,
                _ => break,
            }
        }
        master
    }

    /// Has programs looked at again, once a tick, that may have loaded PHP by now, and the names of new workers; now and then
    /// forgets processes whose end was not reported.
    pub(crate) fn tick(&mut self) {
        self.ticks = self.ticks.wrapping_add(1);
        let sweep = self.ticks.is_multiple_of(SWEEP);
        if sweep {
            let Discovery { reads, unobserved, .. } = &mut self.discovery;
            self.processes.retain(|pid, _| reads.procfs.is_there(*pid));
            unobserved.sweep(|pid| reads.procfs.is_there(pid));
        }
        if std::mem::take(&mut self.scan_due) {
            self.scan(What::OldProgram);
        }
        let nameless = |(&pid, followed): (&u32, &Followed)| followed.pool.is_none().then_some(pid);
        let nameless: Vec<u32> =
            self.processes.iter().filter_map(nameless).filter(|&pid| self.is_of_fpm(pid)).collect();
        for pid in nameless {
            self.put(pid, What::Name);
        }
        let mut due = Vec::new();
        for (&pid, looks) in &mut self.hosts {
            if *looks > 0 || sweep {
                due.push(pid);
            }
            *looks = looks.saturating_sub(1);
        }
        due.append(&mut self.discovery.again);
        for pid in due {
            self.put(pid, What::Program);
        }
        self.put_programs();
        self.work();
        self.look_ahead();
        self.read_masters();
    }

    /// Has what is in the place of running programs by now observed before it runs.
    fn look_ahead(&mut self) {
        let mut masters = BTreeMap::new();
        for (&pid, followed) in self.processes.iter().filter(|(_, followed)| self.is_master(followed)) {
            masters.entry(followed.image).and_modify(|first: &mut u32| *first = pid.min(*first)).or_insert(pid);
        }
        for (image, pid) in masters {
            self.discovery.look_ahead(image, pid);
        }
    }

    /// What should be known of processes that cannot be looked at.
    pub(crate) fn notices(&mut self) -> Vec<Notice> {
        let unanswering = self.discovery.reads.unanswering();
        let names: Vec<String> = unanswering
            .iter()
            .take(NAMED)
            .map(|process| match process.pid {
                0 => "a file of PHP that no process runs".to_owned(),
                pid => format!("{} ({pid})", process.comm.as_deref().unwrap_or("?")),
            })
            .collect();
        let silent = (!names.is_empty()).then(|| Notice::php_processes_not_answering(unanswering.len(), &names));
        let behind = self
            .queue
            .behind()
            .map(|behind| Notice::php_behind(behind.waiting, behind.left_out, &self.users.name(behind.user)));
        silent.into_iter().chain(behind).collect()
    }

    /// A followed process forked.
    pub(crate) fn fork(&mut self, parent: u32, child: u32) {
        if let Some(family) = &mut self.family {
            family.fork(parent, child);
        }
        if let Some((image, bias)) = self.processes.get(&parent).map(|followed| (followed.image, followed.bias)) {
            self.add(child, image, parent, bias);
            self.know(child);
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
            family.look(&mut self.discovery.reads, request.pid);
        }
        if !self.processes.contains_key(&request.pid) {
            self.put(request.pid, What::Program);
            self.work();
        }
        if !self.processes.contains_key(&request.pid) {
            self.add(request.pid, image, 0, None);
        }
        self.know(request.pid);
        if let Some(pool) = request.pool.as_deref().filter(|_| self.is_of_fpm(request.pid)) {
            self.name_pool(request.pid, pool);
        }
    }

    /// From now on it is known what a process does.
    pub(crate) fn know(&mut self, pid: u32) {
        if let Some(followed) = self.processes.get_mut(&pid) {
            followed.known = true;
        }
    }

    /// A process runs something else now; if that is PHP, it is followed. Returns whether it was already found to run PHP: `sudo php`
    /// or `sh -c 'exec php'` are several of these events for one process, and when the first of them is followed, the process may be
    /// at the last. So what it does may have begun before.
    pub(crate) fn exec(&mut self, pid: u32) -> bool {
        let was_found = self.processes.contains_key(&pid);
        if let Some(family) = &mut self.family {
            family.look(&mut self.discovery.reads, pid);
        }
        self.end(pid);
        self.put(pid, What::Program);
        self.work();
        was_found
    }

    /// A process ended, or runs something else now.
    pub(crate) fn end(&mut self, pid: u32) {
        self.hosts.remove(&pid);
        self.discovery.unobserved.end(pid);
        let Some(followed) = self.processes.remove(&pid) else { return };
        // After a reload, the master runs the same program at another address, and workers of before finish what they do.
        for other in self.processes.values_mut() {
            other.orphaned |= other.parent == pid && (other.image, other.bias) == (followed.image, followed.bias);
        }
        if self.ended.len() < PROCESSES {
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
                    parent: followed.parent,
                    image: followed.image,
                    sapi: self.sapi(followed.image)?,
                    pool: followed.pool.clone(),
                    script: followed.script.as_ref().map(|script| Arc::clone(&script.path)),
                    script_name: followed.script.as_ref().map(|script| Arc::clone(&script.name)),
                    alive,
                    known: followed.known,
                    threads: Vec::new(),
                })
            })
            .collect();
        processes.sort_unstable_by_key(|process| process.pid);
        processes
    }

    /// The masters that live, each with its image, in order of pid.
    pub(crate) fn masters(&self) -> Vec<(usize, Master)> {
        let masters = self.processes.iter().filter(|(pid, followed)| self.counts(**pid) && self.is_master(followed));
        let mut masters: Vec<_> =
            masters.filter_map(|(_, followed)| Some((followed.image, followed.master.clone()?))).collect();
        // The ring may have had no room for the end of one.
        masters.retain(|(_, master)| self.discovery.reads.procfs.is_there(master.pid));
        masters.sort_unstable_by_key(|(_, master)| master.pid);
        masters
    }

    /// Reads masters. Each is read when it is new and shortly after, not at every tick: what it was started with does not change.
    pub(crate) fn read_masters(&mut self) {
        let due = |(pid, followed): &(&u32, &Followed)| {
            followed.readings > 0 && self.counts(**pid) && self.is_master(followed)
        };
        let mut due: Vec<u32> = self.processes.iter().filter(due).map(|(&pid, _)| pid).collect();
        due.sort_unstable();
        for pid in due {
            self.put(pid, What::Master);
        }
        self.work();
    }

    fn read_master(&mut self, pid: u32) {
        let Some(followed) = self.processes.get_mut(&pid) else { return };
        let Discovery { images, reads, .. } = &mut self.discovery;
        let Some(found) = images.get(followed.image).and_then(Option::as_ref) else { return };
        let (master, starting) =
            match masters::read(reads, pid, found, followed.script.as_ref().map(|script| &*script.path)) {
                Ok(read) => read,
                Err(error) => {
                    // It is asked again.
                    if error.kind() == io::ErrorKind::TimedOut {
                        followed.master.get_or_insert_with(|| {
                            masters::silent(pid, found, followed.script.as_ref().map(|script| &*script.path))
                        });
                    }
                    return;
                }
            };
        followed.readings = (followed.readings.saturating_sub(1)).min(if starting { u8::MAX } else { READINGS });
        followed.master = Some(master);
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
        // One that was forked has the command line of its parent.
        let script = self.processes.get(&parent).filter(|parent| parent.image == image);
        let script = script.and_then(|parent| parent.script.clone());
        if script.is_none() && self.sapi(image).is_some_and(Sapi::runs_scripts) {
            self.put(pid, What::Name);
        }
        let followed = Followed {
            image,
            parent,
            bias,
            orphaned: false,
            master: None,
            readings: STARTING,
            pool: None,
            titled: None,
            script,
            known: false,
        };
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
    use std::{
        fs,
        os::unix::fs::{chown, symlink},
    };

    use super::*;
    use crate::collect::{procfs::fake::Fake, reads::Reads};

    fn followed(parent: u32, bias: u64) -> Followed {
        Followed {
            image: 0,
            parent,
            bias: Some(bias),
            orphaned: false,
            master: None,
            readings: 0,
            pool: None,
            titled: None,
            script: None,
            known: false,
        }
    }

    #[test]
    fn a_thousand_processes_of_one_user_are_looked_at_bit_by_bit_and_another_user_has_a_turn() {
        let fake = Fake::new();
        let program = tempfile::tempdir().unwrap();
        let php = program.path().join("php-x");
        fs::copy("/proc/self/exe", &php).unwrap();
        // Each has 2 000 mappings.
        let maps: String =
            (1..=2_000).map(|at| format!("{at:x}000-{at:x}800 r--p 00000000 fe:01 7 /usr/lib/x\n")).collect();
        fs::write(program.path().join("maps"), maps).unwrap();
        let pids = 1..=1_000;
        for pid in pids.clone().chain([5_000]) {
            fake.write(pid, "cgroup", "");
            symlink(&php, fake.procfs.path(pid, "exe")).unwrap();
            fs::hard_link(program.path().join("maps"), fake.procfs.path(pid, "maps")).unwrap();
        }
        let root = rustix::process::geteuid().is_root();
        if root {
            pids.clone().for_each(|pid| chown(fake.procfs.path(pid, ""), Some(1000), None).unwrap());
        }
        let mut following = Following::default();
        following.discovery.reads = Reads::new(fake.procfs.clone(), "/nonexistent".into());
        pids.chain([5_000]).for_each(|pid| following.put(pid, What::Program));
        following.work();
        let looked_at = following.hosts.len();
        assert!((1..1_000).contains(&looked_at), "{looked_at}");
        assert!(!root || following.hosts.contains_key(&5_000), "the other user waits for nobody");
        following.discovery.reads.is_free_until(Instant::now() + Duration::from_secs(600));
        following.work();
        assert_eq!(following.hosts.len(), 1_001, "all have their turn");
    }

    fn masters(following: &Following) -> Vec<u32> {
        let masters = following.processes.iter().filter(|(_, one)| following.is_master(one));
        let mut pids: Vec<u32> = masters.map(|(&pid, _)| pid).collect();
        pids.sort_unstable();
        pids
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
        assert_eq!(masters(&following), [10, 12, 13]);
        following.moved(10, 0x2000);
        assert_eq!(masters(&following), [10, 13]);
    }

    #[test]
    fn workers_of_before_a_reload_are_no_masters() {
        let mut following = Following::default();
        // A master with two workers; the second runs PHP of its own.
        let processes = [
            (10, followed(1, 0x1000)),
            (11, followed(10, 0x1000)),
            (12, followed(10, 0x1000)),
            (13, followed(12, 0x3000)),
        ];
        following.processes.extend(processes);
        // It runs the program again, and has not been looked at yet; then it has.
        following.end(10);
        assert_eq!(masters(&following), [13]);
        following.processes.extend([(10, followed(1, 0x2000)), (14, followed(10, 0x2000))]);
        assert_eq!(masters(&following), [10, 13]);
        assert_eq!([11, 12, 14].map(|pid| following.master_of(pid)), [11, 12, 10]);
        // A worker that ends leaves what it has started as it is.
        following.end(12);
        assert_eq!(masters(&following), [10, 13]);
    }
}
