//! Joins discovery, the kernel's maps and the names: one task that owns them all and answers ticks.

use std::{
    collections::HashMap,
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aya::maps::{MapData, RingBuf};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;
use tusktop_shared::{CountKey, stat};

use super::{
    FinishedRequest, Now, Options, PhpProcess, PhpSample, StackCount, Work,
    discover::{self, Discovery, Look, Mapped, Sapi},
    event::{Event, RequestText},
    image::Source,
    kernel::{Kernel, KernelError},
    names::Names,
    ring::{self, Ring},
};
use crate::{
    collect::{Sample, Tick},
    model::{Drops, ExactTier, Level, Notice, RequestsTier, SamplingTier, Target, TierState, Tiers},
};

/// Requests kept between two ticks; more are counted as dropped events.
const FINISHED: usize = 20_000;
/// Processes that are followed.
const PROCESSES: usize = 16_384;
/// Ticks for which a process that may load PHP is looked at again.
const LOOKS: u8 = 20;
/// Ticks between two checks that followed processes still live, for exits that were not reported.
const SWEEP: u32 = 30;

/// Longest time between two readings of the counts, so that their maps do not fill up under a long interval.
const READING: Duration = Duration::from_secs(1);

/// Runs until the ticks end.
pub async fn run(options: Options, mut ticks: mpsc::Receiver<Tick>, samples: mpsc::Sender<Sample>) {
    // Loading takes a moment (the kernel verifies the programs), and it must not hold up the other tasks.
    let Ok((mut collector, ring)) = tokio::task::spawn_blocking(move || Collector::start(options)).await else {
        return;
    };
    let mut ring = ring.and_then(|ring| collector.watch(ring));
    let mut reading = tokio::time::interval(READING);
    reading.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            tick = ticks.recv() => {
                if tick.is_none() {
                    return;
                }
                collector.gather(ring.as_mut());
                reading.reset();
                if samples.send(Sample::Php(Box::new(collector.sample()))).await.is_err() {
                    return;
                }
            }
            _ = reading.tick() => collector.gather(ring.as_mut()),
            Ok(()) = ring::readable(&mut ring) => collector.drain(ring.as_mut()),
        }
    }
}

/// A process that is followed.
#[derive(Debug, Clone)]
struct Followed {
    image: usize,
    pool: Option<Arc<str>>,
    script: Option<Arc<str>>,
}

struct Collector {
    options: Options,
    kernel: Option<Kernel>,
    failure: Option<Notice>,
    discovery: Discovery,
    /// State of the requests tier, by image.
    requests: Vec<RequestsTier>,
    sampling: SamplingTier,
    names: Names,
    processes: HashMap<u32, Followed>,
    ended: Vec<(u32, Followed)>,
    hosts: HashMap<u32, u8>,
    finished: Vec<FinishedRequest>,
    running: Vec<Arc<RequestText>>,
    /// Requests that samples may belong to, by pid and start.
    recent: HashMap<(u32, u64), Arc<RequestText>>,
    stacks: HashMap<CountKey, StackCount>,
    /// Samples whose stack was not in the kernel's map.
    unnamed: u64,
    dropped: u64,
    stats: [u64; stat::COUNT as usize],
    ticks: u32,
}

impl Collector {
    fn start(options: Options) -> (Self, Option<RingBuf<MapData>>) {
        let (kernel, ring, failure) = match Kernel::load() {
            Ok((kernel, ring)) => (Some(kernel), Some(ring), None),
            Err(error) => (None, None, Some(failure(&error))),
        };
        let mut collector = Self {
            options,
            kernel,
            failure,
            discovery: Discovery::default(),
            requests: Vec::new(),
            sampling: SamplingTier { state: TierState::Off, hz: None, reason: "switched off by --hz 0".to_owned() },
            names: Names::default(),
            processes: HashMap::new(),
            ended: Vec::new(),
            hosts: HashMap::new(),
            finished: Vec::new(),
            running: Vec::new(),
            recent: HashMap::new(),
            stacks: HashMap::new(),
            unnamed: 0,
            dropped: 0,
            stats: [0; stat::COUNT as usize],
            ticks: 0,
        };
        collector.start_sampling();
        collector.scan();
        (collector, ring)
    }

    fn start_sampling(&mut self) {
        let hz = self.options.hz;
        let unavailable = |reason| SamplingTier { state: TierState::Unavailable, hz: None, reason };
        match &mut self.kernel {
            _ if hz == 0 => {}
            None => self.sampling = unavailable("the BPF programs are not loaded".to_owned()),
            Some(kernel) => match kernel.sample(hz) {
                Ok(()) => {
                    self.sampling = SamplingTier { state: TierState::On, hz: Some(hz), reason: String::new() };
                }
                Err(error) => self.sampling = unavailable(error.to_string()),
            },
        }
    }

    fn watch(&mut self, ring: RingBuf<MapData>) -> Option<Ring> {
        match ring::watch(ring) {
            Ok(ring) => Some(ring),
            Err(error) => {
                self.failure = Some(Notice {
                    level: Level::Error,
                    text: format!("events of the BPF programs cannot be waited for: {error}"),
                    hint: String::new(),
                });
                None
            }
        }
    }

    /// Looks at every process that lives.
    fn scan(&mut self) {
        let Ok(entries) = fs::read_dir("/proc") else { return };
        for pid in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
            self.look(pid);
        }
    }

    fn look(&mut self, pid: u32) {
        match self.discovery.look(pid) {
            Look::Php(mapped) => {
                self.hosts.remove(&pid);
                self.follow(pid, mapped);
            }
            Look::Host if self.hosts.len() < PROCESSES => {
                self.hosts.entry(pid).or_insert(LOOKS);
            }
            Look::Host => {}
            Look::Plain => {
                self.hosts.remove(&pid);
            }
        }
    }

    fn follow(&mut self, pid: u32, mapped: Mapped) {
        self.attach_new_images();
        if let Some(kernel) = &mut self.kernel
            && kernel.add_process(pid, mapped.image as u32, mapped.bias).is_err()
        {
            self.dropped += 1;
        }
        self.remember(pid, mapped.image);
    }

    fn remember(&mut self, pid: u32, image: usize) {
        if self.processes.len() >= PROCESSES {
            return;
        }
        let sapi = self.discovery.images[image].sapi;
        let script = (sapi == Sapi::Cli).then(|| discover::script(pid)).flatten().map(Arc::from);
        self.processes.insert(pid, Followed { image, pool: None, script });
    }

    /// Attaches the images that discovery has found since the last call.
    fn attach_new_images(&mut self) {
        for id in self.requests.len()..self.discovery.images.len() {
            let found = &self.discovery.images[id];
            let refused = |reason| RequestsTier { state: TierState::Unavailable, source: None, reason };
            let tier = match (&mut self.kernel, &found.image.requests) {
                (None, _) => refused("the BPF programs are not loaded".to_owned()),
                (_, Err(reason)) => refused(reason.clone()),
                (Some(kernel), Ok(sites)) => {
                    let added = kernel
                        .add_image(id as u32, &found.image, found.sapi.uri_source())
                        .and_then(|()| kernel.attach_requests(id as u32, &found.handle(), sites));
                    match added {
                        Ok(()) => RequestsTier {
                            state: TierState::On,
                            source: Some(source_name(sites.source).into()),
                            reason: String::new(),
                        },
                        Err(error) => {
                            kernel.detach(id as u32);
                            refused(error.to_string())
                        }
                    }
                }
            };
            self.requests.push(tier);
        }
    }

    /// Handles all events that wait in the ring.
    fn drain(&mut self, ring: Option<&mut Ring>) {
        let Some(ring) = ring.map(Ring::get_mut) else { return };
        while let Some(record) = ring.next() {
            let event = Event::decode(&record);
            drop(record);
            match event {
                Some(Event::Request(request)) => self.request_ended(*request),
                Some(Event::Exec { pid }) => {
                    self.end(pid);
                    self.look(pid);
                }
                Some(Event::Fork { parent, child }) => {
                    if let Some(image) = self.processes.get(&parent).map(|followed| followed.image) {
                        self.remember(child, image);
                    }
                }
                Some(Event::Exit { pid }) => self.end(pid),
                None => self.dropped += 1,
            }
        }
    }

    fn request_ended(&mut self, finished: FinishedRequest) {
        self.note_request(&finished.request);
        if self.recent.len() < FINISHED {
            self.recent.insert((finished.request.pid, finished.request.started_ns), finished.request.clone());
        }
        if self.finished.len() < FINISHED {
            self.finished.push(finished);
        } else {
            self.dropped += 1;
        }
    }

    /// A request tells the pool of its worker, and that a process runs PHP at all.
    fn note_request(&mut self, request: &RequestText) {
        let image = request.image as usize;
        if image >= self.discovery.images.len() {
            return;
        }
        if !self.processes.contains_key(&request.pid) {
            self.remember(request.pid, image);
        }
        if let (Some(followed), Some(pool)) = (self.processes.get_mut(&request.pid), &request.pool) {
            followed.pool = Some(pool.clone());
        }
    }

    fn end(&mut self, pid: u32) {
        self.hosts.remove(&pid);
        if let Some(followed) = self.processes.remove(&pid)
            && self.ended.len() < PROCESSES
        {
            self.ended.push((pid, followed));
        }
    }

    /// Takes events and counts out of the kernel.
    ///
    /// The order matters: a sample that was counted before the maps are turned belongs to a request that still runs
    /// afterwards, or whose end is in the ring by then.
    fn gather(&mut self, ring: Option<&mut Ring>) {
        let Some(mut kernel) = self.kernel.take() else { return };
        let turned = kernel.turn_counts();
        self.running = kernel.requests().map(|request| Arc::new(RequestText::decode(&request))).collect();
        self.kernel = Some(kernel);
        self.drain(ring);
        for request in self.running.clone() {
            self.note_request(&request);
            self.recent.insert((request.pid, request.started_ns), request);
        }
        let Some(kernel) = &mut self.kernel else { return };
        match turned.and_then(|()| kernel.take_counts()) {
            Ok(counts) => {
                for (key, samples) in counts {
                    let Some(stack) = self.names.stack(kernel, key.stack) else {
                        self.unnamed += samples;
                        continue;
                    };
                    let count = self.stacks.entry(key).or_insert_with(|| StackCount {
                        pid: key.pid,
                        request: self.recent.get(&(key.pid, key.request)).cloned(),
                        stack,
                        samples: 0,
                    });
                    count.samples += samples;
                }
            }
            Err(error) => {
                self.failure = Some(Notice {
                    level: Level::Error,
                    text: format!("samples cannot be read: {error}"),
                    hint: String::new(),
                });
            }
        }
        self.names.make_room(kernel);
        self.recent.clear();
    }

    /// Makes the sample of the interval that ends now.
    fn sample(&mut self) -> PhpSample {
        self.ticks += 1;
        self.look_again();
        self.name_pools();
        let mut sample = PhpSample {
            now: now(),
            stacks: self.stacks.drain().map(|(_, count)| count).collect(),
            finished: std::mem::take(&mut self.finished),
            running: std::mem::take(&mut self.running),
            targets: self.targets(),
            processes: self.followed(),
            notices: self.failure.iter().cloned().collect(),
            ..PhpSample::default()
        };
        self.count(&mut sample);
        sample.notices.extend(self.discovery.failures().map(|error| Notice {
            level: Level::Warning,
            text: format!("a program that may be PHP is not observed: {error}"),
            hint: String::new(),
        }));
        sample
    }

    fn count(&mut self, sample: &mut PhpSample) {
        let Some(kernel) = &self.kernel else { return };
        let stats = kernel.stats();
        let since = |counter: u32| stats[counter as usize].saturating_sub(self.stats[counter as usize]);
        sample.drops = Drops {
            events: since(stat::RING_FULL) + since(stat::REQUESTS_FULL) + std::mem::take(&mut self.dropped),
            stacks: since(stat::STACKS_FULL)
                + since(stat::COUNTS_FULL)
                + since(stat::SAMPLES_BROKEN)
                + std::mem::take(&mut self.unnamed),
            names: since(stat::NAMES_FULL) + since(stat::NAMES_UNREAD),
        };
        sample.work = Work {
            samples: since(stat::SAMPLES),
            sample_runs: since(stat::SAMPLE_RUNS),
            sample_ns: since(stat::SAMPLE_NS),
            frames: since(stat::FRAMES),
            probe_hits: since(stat::PROBE_HITS),
            probe_ns: since(stat::PROBE_NS),
        };
        self.stats = stats;
    }

    /// Looks again at programs that may have loaded PHP by now, and for processes that ended unseen.
    fn look_again(&mut self) {
        let hosts: Vec<_> = self.hosts.keys().copied().collect();
        for pid in hosts {
            if let Some(looks) = self.hosts.get_mut(&pid) {
                *looks = looks.saturating_sub(1);
                if *looks == 0 {
                    self.hosts.remove(&pid);
                } else {
                    self.look(pid);
                }
            }
        }
        if self.ticks.is_multiple_of(SWEEP) {
            self.processes.retain(|pid, _| fs::metadata(format!("/proc/{pid}")).is_ok());
        }
    }

    /// Reads the pool of workers that have not served a request yet.
    fn name_pools(&mut self) {
        for (&pid, followed) in &mut self.processes {
            if followed.pool.is_none() && self.discovery.images[followed.image].sapi == Sapi::Fpm {
                followed.pool = discover::pool(pid);
            }
        }
    }

    fn followed(&mut self) -> Vec<PhpProcess> {
        let ended = std::mem::take(&mut self.ended);
        let images = &self.discovery.images;
        let process = |pid: u32, followed: &Followed, alive| PhpProcess {
            pid,
            target: followed.image,
            sapi: images[followed.image].sapi,
            pool: followed.pool.clone(),
            script: followed.script.clone(),
            alive,
        };
        let mut processes: Vec<_> =
            self.processes.iter().map(|(&pid, followed)| process(pid, followed, true)).collect();
        processes.extend(ended.iter().map(|(pid, followed)| process(*pid, followed, false)));
        processes.sort_unstable_by_key(|process| process.pid);
        processes
    }

    fn targets(&self) -> Vec<Target> {
        let mut targets: Vec<_> = self
            .discovery
            .images
            .iter()
            .zip(&self.requests)
            .map(|(found, requests)| Target {
                exe: found.path.to_string_lossy().into(),
                version: found.image.version.as_deref().map(Arc::from),
                sapi: found.sapi.name().into(),
                zts: found.image.zts,
                pids: Vec::new(),
                tiers: Tiers {
                    requests: requests.clone(),
                    sampling: self.sampling_of(&found.image),
                    exact: ExactTier {
                        state: TierState::Unavailable,
                        reason: "exact tracing is not part of this version".to_owned(),
                    },
                },
            })
            .collect();
        for (&pid, followed) in &self.processes {
            targets[followed.image].pids.push(pid);
        }
        for target in &mut targets {
            target.pids.sort_unstable();
        }
        targets
    }

    fn sampling_of(&self, image: &super::image::Image) -> SamplingTier {
        let reason = if self.sampling.state != TierState::On {
            return self.sampling.clone();
        } else if image.zts {
            "it is built for threads (ZTS), whose stacks this version does not read".to_owned()
        } else if image.executor_globals.is_none() {
            "it does not export executor_globals".to_owned()
        } else if let (None, version) = (&image.offsets, &image.version) {
            format!("the layout of PHP {} is not known", version.as_deref().unwrap_or("of unknown version"))
        } else {
            return self.sampling.clone();
        };
        SamplingTier { state: TierState::Unavailable, hz: None, reason }
    }
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::Usdt => "usdt",
        Source::Symbol => "symbol",
    }
}

fn failure(error: &KernelError) -> Notice {
    let hint = match error {
        _ if !rustix::process::geteuid().is_root() => "run it as root: sudo tusktop".to_owned(),
        KernelError::Permission { .. } => {
            "BPF is locked down or this is a container: run it on the host, with CAP_SYS_ADMIN".to_owned()
        }
        _ => "Linux 5.15 or newer with uprobes, BPF and BTF is needed".to_owned(),
    };
    Notice { level: Level::Warning, text: format!("PHP is not observed: {error}"), hint }
}

fn now() -> Now {
    let monotonic = clock_gettime(ClockId::Monotonic);
    let monotonic = Duration::new(monotonic.tv_sec.unsigned_abs(), monotonic.tv_nsec.unsigned_abs() as u32);
    let at = SystemTime::now().try_into().unwrap_or_default();
    Now { at, monotonic_ns: monotonic.as_nanos() as u64 }
}
