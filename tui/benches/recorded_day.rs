//! How fast a recording of 24 hours opens, jumps and plays, and the memory that this takes. `cargo bench --bench recorded_day --
//! write FILE` makes one (300 processes in 40 groups, 300 functions, 100 requests a second, a snapshot a second), `… -- FILE` opens
//! it on a screen of 200x50 in memory. Times are CPU time of the one thread that does all of it, so that other programs do not count.
#![expect(clippy::unwrap_used, reason = "a benchmark ends at the first surprise")]

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use ratatui::{buffer::Buffer, layout::Rect};
use tusktop::{
    analysis::timeline::Worked,
    model::{
        Function, FunctionKey, FunctionKind, Group, Php, Process, Request, Route, RouteKey, Snapshot, Stack, Worker,
        WorkerState,
    },
    recording::{Recording, RingLimits, Writer},
    screen::stage::{Options, Stage},
    ui::theme::{self, ColorDepth},
};

const SECONDS: i64 = 24 * 3600;
const PROCESSES: u32 = 300;
const GROUPS: usize = 40;
const FUNCTIONS: usize = 300;
const ROUTES: usize = 40;
const STACKS: usize = 250;
const REQUESTS: u64 = 100;
/// Requests that a snapshot names: `aggregate` keeps about as many.
const NAMED: usize = 40;
const JUMPS: usize = 200;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments[..] {
        [write, file] if write == "write" => write_day(Path::new(file)),
        [file] => measure(Path::new(file)),
        // `cargo test --benches` and `cargo bench` without arguments run this, too.
        _ => Ok(()),
    }
}

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }

    fn share(&mut self) -> f64 {
        self.below(1 << 20) as f64 / f64::from(1 << 20)
    }
}

fn write_day(path: &Path) -> std::io::Result<()> {
    let mut writer = Writer::new(BufWriter::new(File::create(path)?))?;
    let mut day = Day::new();
    for second in 0..SECONDS {
        writer.push(&day.snapshot(second))?;
    }
    let bytes = writer.bytes();
    writer.finish()?.flush()?;
    writeln!(std::io::stdout(), "{SECONDS} snapshots, {bytes} bytes, {:.0} a snapshot", bytes as f64 / SECONDS as f64)
}

/// A server through a day.
struct Day {
    random: Random,
    base: Snapshot,
    functions: Vec<Arc<FunctionKey>>,
    routes: Vec<Arc<RouteKey>>,
    stacks: Vec<(usize, Vec<usize>)>,
}

impl Day {
    fn new() -> Self {
        let mut random = Random(0x5eed);
        let mut base = Snapshot::read(include_bytes!("../tests/fixtures/web01.json")).unwrap();
        let pattern = base.processes[0].clone();
        base.processes = (0..PROCESSES).map(|number| process(number, &pattern, &mut random)).collect();
        base.groups = (0..GROUPS).map(|group| Group::empty(group_name(group), "built-in".into())).collect();
        let functions = (0..FUNCTIONS).map(|number| {
            Arc::new(FunctionKey {
                name: format!("handle{number}").into(),
                class: format!("App\\Service\\Part{}", number / 7).into(),
                file: format!("/var/www/shop/src/Service/Part{}.php", number / 7).into(),
                line: 10 + number as u32,
                kind: if number % 5 == 0 { FunctionKind::Internal } else { FunctionKind::User },
            })
        });
        let functions = functions.collect();
        let routes = (0..ROUTES).map(|number| {
            Arc::new(RouteKey {
                route: format!("/shop/section{number}/*").into(),
                script: "/var/www/shop/public/index.php".into(),
                method: if number % 4 == 0 { "POST" } else { "GET" }.into(),
                group: group_name(0),
            })
        });
        let routes = routes.collect();
        let stacks = (0..STACKS).map(|number| {
            let frames = (0..5 + random.below(15)).map(|_| random.below(FUNCTIONS as u64) as usize).collect();
            (number % ROUTES, frames)
        });
        let stacks = stacks.collect();
        Self { random, base, functions, routes, stacks }
    }

    fn snapshot(&mut self, second: i64) -> Snapshot {
        let random = &mut self.random;
        // Quiet at night.
        let busy = 0.6 - 0.4 * (second as f64 / SECONDS as f64 * std::f64::consts::TAU).cos();
        for process in &mut self.base.processes {
            let changes = random.below(3) == 0;
            process.cpu_ratio = Some(if changes { (random.share() * busy * 100.0).round() / 1000.0 } else { 0.0 });
            if changes && process.pid % 2 == 0 {
                let by = random.below(64) << 12;
                let memory = &mut process.memory;
                let moved = |bytes: Option<u64>| {
                    bytes.map(|bytes| if by.is_multiple_of(8192) { bytes + by } else { bytes.saturating_sub(by) })
                };
                (memory.rss_bytes, memory.pss_bytes) = (moved(memory.rss_bytes), moved(memory.pss_bytes));
                memory.uss_bytes = moved(memory.uss_bytes);
            }
        }
        let mut snapshot = self.base.clone();
        snapshot.at = self.base.at + SignedDuration::from_secs(second);
        for process in &snapshot.processes {
            snapshot.groups[process.group].add(process);
        }
        snapshot.groups.sort_by_key(|group| std::cmp::Reverse(group.memory.rss_bytes));
        let places: BTreeMap<Arc<str>, usize> =
            snapshot.groups.iter().enumerate().map(|(at, group)| (group.name.clone(), at)).collect();
        for process in &mut snapshot.processes {
            process.group = places[&group_name(process.group)];
        }
        snapshot.php = Arc::new(self.php(&snapshot, busy));
        snapshot.notices.retain(|_| second % 3600 < 60);
        snapshot
    }

    fn php(&mut self, snapshot: &Snapshot, busy: f64) -> Php {
        let random = &mut self.random;
        let mut php = Php { requests: Vec::new(), ..(*self.base.php).clone() };
        let sampled =
            |random: &mut Random, number: usize| random.below((40.0 * busy) as u64 / (1 + number as u64 / 8) + 2);
        php.functions = self
            .functions
            .iter()
            .enumerate()
            .map(|(number, key)| {
                let own = sampled(random, number);
                let mut function = Function::seen(key.clone());
                (function.self_samples, function.total_samples) = (own, own + random.below(8));
                function.self_wait_ns = Some(random.below(3) * random.below(1 << 22));
                function.total_wait_ns = function.self_wait_ns;
                function
            })
            .collect();
        php.routes = self.routes.iter().map(|key| Route::seen(key.clone())).collect();
        for _ in 0..(REQUESTS as f64 * busy / 0.6) as u64 {
            let number = random.below(ROUTES as u64) as usize;
            let route = &mut php.routes[random.below(number as u64 + 1) as usize];
            route.requests += 1;
            route.histogram.record(2_000_000 + random.below(40) * random.below(2_000_000));
            route.errors += u64::from(random.below(200) == 0);
        }
        php.stacks = self
            .stacks
            .iter()
            .map(|(route, frames)| {
                let (samples, wait_ns) = (random.below(4), Some(random.below(2) << 18));
                Stack { route: *route, frames: frames.clone(), samples, wait_ns, growth_bytes: None, truncated: false }
            })
            .collect();
        let pids: Vec<u32> = snapshot.processes.iter().map(|process| process.pid).take(50).collect();
        php.requests = (0..NAMED)
            .map(|number| Request {
                pid: pids[number % pids.len()],
                tid: None,
                uri: format!("/shop/section{}/{}", random.below(ROUTES as u64), random.below(100_000)).into(),
                method: "GET".into(),
                status: Some(200),
                started_at: snapshot.at - SignedDuration::from_millis(random.below(1000) as i64),
                duration_ms: random.below(90_000) as f64 / 1000.0,
                cpu_ms: Some(random.below(40_000) as f64 / 1000.0),
                wait_ms: Some(random.below(40_000) as f64 / 1000.0),
                memory_peak_bytes: Some((2 + random.below(60)) << 20),
                memory_bytes: None,
                memory_limit_bytes: Some(128 << 20),
                growth_bytes_per_minute: None,
                rss_growth_bytes_per_minute: None,
                memory_unknown: None,
                start_known: true,
                waiting: None,
                aborted: false,
                finished: number > 5,
                route: random.below(ROUTES as u64) as usize,
            })
            .collect();
        php.workers = pids
            .iter()
            .map(|&pid| Worker {
                state: if random.below(3) == 0 { WorkerState::Running } else { WorkerState::Idle },
                requests: Some(random.below(5)),
                since: Some(snapshot.at),
                ..Worker::seen(pid, "www".into(), Some(group_name(0)))
            })
            .collect();
        php
    }
}

fn group_name(group: usize) -> Arc<str> {
    if group == 0 { "php-fpm: www".into() } else { format!("service {group}").into() }
}

fn process(number: u32, pattern: &Process, random: &mut Random) -> Process {
    let mut process = pattern.clone();
    process.pid = 1000 + number * 7;
    process.group = if number < 50 { 0 } else { number as usize % GROUPS };
    process.comm = format!("service{}", number % 40).into();
    process.cmdline = format!("/usr/sbin/service{} --config /etc/service/{number}.conf", number % 40).into();
    process.start_ticks = Some(random.below(1 << 24));
    process.memory.rss_bytes = Some((16 << 20) + (random.below(1 << 16) << 12));
    process.memory.pss_bytes = process.memory.rss_bytes.map(|bytes| bytes * 3 / 4);
    process.memory.uss_bytes = process.memory.rss_bytes.map(|bytes| bytes / 2);
    process
}

/// CPU time of this thread since a moment.
struct Watch(Duration);

impl Watch {
    fn start() -> Self {
        Self(Self::now())
    }

    fn elapsed(&self) -> Duration {
        Self::now() - self.0
    }

    fn now() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// A screen in memory.
struct Screen {
    stage: Stage,
    buffer: Buffer,
}

impl Screen {
    fn press(&mut self, code: KeyCode) {
        let event = Event::Key(KeyEvent::new(code, KeyModifiers::NONE));
        self.stage.event(&event, Instant::now());
    }

    fn draw(&mut self) {
        self.buffer.reset();
        self.stage.draw(&mut self.buffer);
    }

    /// From the last key of a jump to the drawing.
    fn jump(&mut self, to: Timestamp) -> Duration {
        self.press(KeyCode::Char(':'));
        to.to_string().chars().for_each(|c| self.press(KeyCode::Char(c)));
        let started = Watch::start();
        self.press(KeyCode::Enter);
        self.draw();
        started.elapsed()
    }

    /// Reads all that is left, and says how long that took and how long the longest part did.
    fn settle(&mut self) -> (Duration, Duration) {
        let (started, mut longest) = (Watch::start(), Duration::ZERO);
        loop {
            let part = Watch::start();
            if self.stage.work() == Worked::Nothing {
                return (started.elapsed(), longest);
            }
            longest = longest.max(part.elapsed());
        }
    }
}

fn measure(path: &Path) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let options = Options {
        theme: theme::load("dark", None, None).unwrap(),
        depth: ColorDepth::Truecolor,
        ascii: false,
        mouse: false,
        keys: BTreeMap::new(),
        time_zone: TimeZone::UTC,
        read_only: None,
        past: RingLimits::default(),
        fold: tusktop::analysis::flame::Fold::default(),
        folded: false,
    };
    let started = Watch::start();
    let recording = Recording::open(path).unwrap();
    let (first, last) = recording.span();
    let mut screen = Screen { stage: Stage::new(&options).unwrap(), buffer: Buffer::empty(Rect::new(0, 0, 200, 50)) };
    screen.stage.replay(recording);
    screen.draw();
    writeln!(
        out,
        "first paint                            {:>8.1?}   ({} MiB, {first} to {last})",
        started.elapsed(),
        std::fs::metadata(path)?.len() >> 20
    )?;
    let (whole, longest) = screen.settle();
    writeln!(out, "memory of groups over the whole day    {whole:>8.1?}   in parts of {longest:.1?} at most")?;

    let mut random = Random(0x0da7);
    let mut at = || first + SignedDuration::from_secs(random.below(last.duration_since(first).as_secs() as u64) as i64);
    let mut jumps: Vec<Duration> = (0..JUMPS).map(|_| screen.jump(at())).collect();
    report(&mut out, "a jump to any second", &mut jumps)?;
    let (mut wholes, mut parts): (Vec<_>, Vec<_>) = (0..20)
        .map(|_| {
            screen.jump(at());
            screen.settle()
        })
        .unzip();
    report(&mut out, "histories of two hours after a jump", &mut wholes)?;
    report(&mut out, "the longest part of reading them", &mut parts)?;
    let mut back: Vec<Duration> = (0..50).map(|_| timed(&mut screen, KeyCode::Char(','))).collect();
    report(&mut out, "a step back", &mut back)?;
    let mut on: Vec<Duration> = (0..50).map(|_| timed(&mut screen, KeyCode::Char('.'))).collect();
    report(&mut out, "a step forward", &mut on)?;
    screen.press(KeyCode::Char(' '));
    for speed in [1, 16, 128] {
        // A key waits for what is being played, and is drawn then.
        let mut answers: Vec<Duration> = (0..150)
            .map(|_| {
                let started = Watch::start();
                if screen.stage.play(Duration::from_millis(100)) {
                    screen.draw();
                }
                screen.press(KeyCode::Char('?'));
                screen.draw();
                let answer = started.elapsed();
                screen.press(KeyCode::Esc);
                answer
            })
            .collect();
        report(&mut out, &format!("key to answer while playing at {speed}x"), &mut answers)?;
        (0..if speed == 1 { 4 } else { 3 }).for_each(|_| screen.press(KeyCode::Char('+')));
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("-").trim().to_owned();
    writeln!(out, "own memory, at its most {} (at the end {})", line("VmHWM:"), line("VmRSS:"))
}

fn timed(screen: &mut Screen, key: KeyCode) -> Duration {
    let started = Watch::start();
    screen.press(key);
    screen.draw();
    started.elapsed()
}

fn report(out: &mut impl std::io::Write, name: &str, times: &mut [Duration]) -> std::io::Result<()> {
    times.sort();
    let (middle, last) = (times[times.len() / 2], times[times.len() - 1]);
    writeln!(out, "{name:<38} {middle:>8.1?}   slowest of {}: {last:.1?}", times.len())
}
