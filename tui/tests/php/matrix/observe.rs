//! What is expected of every row: counts, statuses, the hot function, a wait, a peak, exceptions, the memory group, and what is
//! said about the build. What PHP says of itself is compared with it. What was dropped may be that of other servers on the machine; what is
//! missing here is seen by the counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use serde::Deserialize;
use tusktop::{
    collect::php::{FailureKind, RequestMemory},
    model::{SeenBy, Target, Tier, TierState},
};

use super::Sapi;
use super::server::Server;
use crate::memory::snapshot_of;
use crate::requests::send_pages;
use crate::servers::{PATIENCE, PhpCli, Request};
use crate::watch::{Watch, full_name};

/// What differs between rows.
#[derive(Clone, Copy)]
pub struct Expected {
    pub version: Option<&'static str>,
    pub probes: bool,
    pub opcache: bool,
    pub jit: bool,
    pub preloaded: bool,
    /// Another php-fpm with a pool of the same name runs.
    pub beside_another: bool,
    pub sapi: Sapi,
}

/// What PHP says of itself (`scripts/state.php`).
#[derive(Debug, Deserialize)]
struct State {
    version: String,
    sapi: String,
    opcache: bool,
    jit: bool,
    peak: u64,
}

/// What was seen, for the report.
pub struct Seen {
    version: String,
    sapi: String,
    requests: usize,
    hot: f64,
    wait: Duration,
    peak: u64,
    by: SeenBy,
    group: String,
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = if self.by == SeenBy::Usdt { "USDT" } else { "functions" };
        write!(
            formatter,
            "PHP {} {}, {} requests by {by}, hot {:.1} %, waited {:.1} ms, peak {:.1} MiB, group {}",
            self.version,
            self.sapi,
            self.requests,
            self.hot * 100.0,
            self.wait.as_secs_f64() * 1e3,
            self.peak as f64 / f64::from(1 << 20),
            self.group
        )
    }
}

const ROUNDS: usize = 5;
const SLEEPS: u32 = 3;
const SLEEP: Duration = Duration::from_millis(500);
const BURN_MS: u64 = 2000;
/// Of 2 000 due: where others take the CPU, time passes that is not PHP's, but its own is what it asked for.
const ENOUGH: u64 = 1700;

/// Looks at a server.
pub fn observe(watch: &mut Watch, server: &Server, expected: &Expected) -> Seen {
    let (site, workers) = (server.site(), server.workers());
    let mut sent = send_pages(ROUNDS, |request| server.send(request));
    let mut ask = |uri: &str| {
        let response = server.send(&Request::get(uri));
        assert_eq!(response.status, 200, "{uri}");
        *sent.entry((uri.to_owned(), Some(200))).or_default() += 1;
        response.body
    };
    let state = state(&ask("/state?mib=40"), expected);
    let burn = format!("/burn?ms={BURN_MS}");
    ask(&burn);
    let slept: Duration = (0..SLEEPS).map(|_| slept(&ask(&format!("/slow?ms={}", SLEEP.as_millis())))).sum();
    if expected.preloaded {
        ask("/preloaded?ms=500");
    }

    watch.until("all requests are seen", |watch| requests(watch, &site) == sent);
    let of = |uri: &str| {
        let (site, uri) = (site.clone(), uri.to_owned());
        move |count: &tusktop::collect::php::StackCount| {
            count.request.as_ref().is_some_and(|request| request.script.starts_with(&site) && request.uri == uri)
        }
    };
    let of_burn = of(&burn);
    watch.until("there are enough samples", |watch| {
        leaves(watch, &of_burn).values().map(|leaf| leaf.0).sum::<u64>() > ENOUGH
    });
    watch.read();
    let hot = hot_share(&leaves(watch, &of_burn));
    let wait = waited(&leaves(watch, of(&format!("/slow?ms={}", SLEEP.as_millis()))), slept);
    if expected.preloaded {
        let leaves = leaves(watch, of("/preloaded?ms=500"));
        let all: u64 = leaves.values().map(|leaf| leaf.0).sum();
        assert!(leaves["burn_preloaded"].0 * 10 > all * 9, "{leaves:?}");
    }

    let finished =
        watch.finished.iter().find(|f| f.request.script.starts_with(&site) && f.request.uri == "/state?mib=40");
    let peak = peak(&finished.unwrap().request.memory, &state);
    for finished in watch.finished.iter().filter(|finished| finished.request.script.starts_with(&site)) {
        assert!(workers.contains(&finished.request.pid) && !finished.aborted, "{finished:?}");
    }
    let thrown = |class: &str| -> u64 {
        let ours =
            watch.failures.iter().filter(|f| f.what.kind == FailureKind::Thrown && f.what.file.starts_with(&site));
        ours.filter(|f| &*f.what.class == class).map(|f| f.count).sum()
    };
    assert_eq!((thrown("DomainException"), thrown("LengthException")), (ROUNDS as u64, ROUNDS as u64));
    let by = target(watch, &workers, &state, expected);
    if let Server::Fpm(fpm) = server {
        let mut masters = watch.last.targets.iter().flat_map(|target| &target.masters);
        let master = masters.find(|master| master.pid == fpm.master()).expect("the master is known");
        assert_eq!((master.opcache, master.jit), (Some(state.opcache), Some(state.jit)), "{master:?}");
    }
    let group = match server {
        Server::Fpm(_) => "php-fpm: matrix",
        Server::BuiltIn(_) => "php -S",
        Server::Cgi(_) => "php cgi: root",
        Server::Apache(_) => "apache",
    };
    let group = match server {
        // Its pool has the name of another server's pool: one of them has the plain name, and they are two groups all the same.
        Server::Fpm(fpm) if expected.beside_another => {
            memory_group(&[group, &format!("{group} (master {})", fpm.master())], &workers)
        }
        _ => memory_group(&[group], &workers),
    };
    Seen { version: state.version, sapi: state.sapi, requests: sent.values().sum(), hot, wait, peak, by, group }
}

/// Looks at a script on the command line, which is run some times, and at one that goes on.
pub fn observe_script(watch: &mut Watch, start: impl Fn(&str, &[&str]) -> PhpCli, expected: &Expected) -> Seen {
    const RUNS: usize = 3;
    let (mut seen, mut pids, mut all_slept) = (Vec::new(), Vec::new(), Duration::ZERO);
    for _ in 0..RUNS {
        let burn = (BURN_MS / RUNS as u64).to_string();
        let mut script = start("everything.php", &[&burn, &SLEEP.as_millis().to_string(), "40"]);
        let pid = script.pid();
        pids.push(pid);
        assert!(script.daemon().wait(PATIENCE).success(), "{}", script.output());
        let state = state(&script.output(), expected);
        all_slept += slept(&script.output());
        watch.until("its end is seen", |watch| watch.finished.iter().any(|finished| finished.request.pid == pid));
        let page = script.page("everything.php");
        let finished: Vec<_> = watch.finished.iter().filter(|f| f.request.pid == pid).collect();
        assert_eq!((finished.len(), &*finished[0].request.script), (1, page.to_str().unwrap()));
        let peak = peak(&finished[0].request.memory, &state);
        seen.push((state, peak));
    }
    watch.read();
    let leaves = leaves(watch, |count| pids.contains(&count.pid));
    let (hot, wait) = (hot_share(&leaves), waited(&leaves, all_slept));
    let script = start("forever.php", &["1"]);
    watch.until("the script is found", |watch| watch.last.processes.iter().any(|process| process.pid == script.pid()));
    let (state, peak) = seen.pop().unwrap();
    let by = target(watch, &[script.pid()], &state, expected);
    let group = memory_group(&["php: forever.php"], &[script.pid()]);
    Seen { version: state.version, sapi: state.sapi, requests: RUNS, hot, wait, peak, by, group }
}

/// Reads what PHP said, and makes sure that it is what the row is about.
fn state(text: &str, expected: &Expected) -> State {
    let line = text.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no state in {text:?}"));
    let state: State = serde_json::from_str(line).unwrap();
    assert!(expected.version.is_none_or(|version| state.version.starts_with(version)), "{state:?}");
    assert_eq!((state.opcache, state.jit), (expected.opcache, expected.jit), "{state:?}");
    state
}

/// Finished requests for scripts of a site, by URI and status.
fn requests(watch: &Watch, site: &str) -> BTreeMap<(String, Option<u16>), usize> {
    let mut requests = BTreeMap::new();
    for finished in watch.finished.iter().filter(|finished| finished.request.script.starts_with(site)) {
        *requests.entry((finished.request.uri.clone(), finished.status)).or_default() += 1;
    }
    requests
}

/// Samples and waiting time by the function on top.
fn leaves(watch: &Watch, which: impl Fn(&tusktop::collect::php::StackCount) -> bool) -> BTreeMap<String, (u64, u64)> {
    let mut leaves: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for count in watch.stacks.iter().filter(|count| which(count)) {
        let leaf = count.stack.frames.first().map(|leaf| full_name(leaf)).unwrap_or_default();
        let (samples, wait_ns) = leaves.entry(leaf).or_default();
        *samples += count.samples;
        *wait_ns += count.wait_ns;
    }
    leaves
}

/// The part of `burn` in what it and `rest` use; by the script's own clock it is four fifths.
fn hot_share(leaves: &BTreeMap<String, (u64, u64)>) -> f64 {
    let samples = |name: &str| leaves.get(name).map_or(0, |leaf| leaf.0) as f64;
    let share = samples("burn") / (samples("burn") + samples("rest"));
    assert!((share - 0.8).abs() <= 0.02, "{share:.3} of {leaves:?}");
    share
}

/// How long PHP slept by its own clock.
fn slept(text: &str) -> Duration {
    let ns = text.lines().find_map(|line| line.strip_prefix("slow ")).and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or_else(|| panic!("it does not say how long it slept: {text:?}")))
}

/// What was waited in `usleep`, for each call: within 2 percent of what it asked for, or of what it got where a busy machine gave it
/// more.
fn waited(leaves: &BTreeMap<String, (u64, u64)>, slept: Duration) -> Duration {
    let wait = Duration::from_nanos(leaves.get("usleep").map_or(0, |leaf| leaf.1));
    let wanted = SLEEP * SLEEPS;
    assert!(wait * 50 >= wanted * 49 && wait * 50 <= slept.max(wanted) * 51, "{wait:?} of {slept:?}, {leaves:?}");
    wait / SLEEPS
}

fn peak(memory: &RequestMemory, state: &State) -> u64 {
    let RequestMemory::Known { peak_bytes, .. } = *memory else { panic!("{memory:?}") };
    assert!(peak_bytes.abs_diff(state.peak) * 100 <= state.peak, "{peak_bytes}, PHP says {}", state.peak);
    peak_bytes
}

/// What is said about the build, and what its requests are seen by.
fn target(watch: &Watch, workers: &[u32], state: &State, expected: &Expected) -> SeenBy {
    let mut targets = watch.last.targets.iter();
    let target: &Target = targets.find(|target| workers.iter().all(|pid| target.pids.contains(pid))).unwrap();
    let sapi = match expected.sapi {
        Sapi::Fpm => "fpm",
        Sapi::Cli | Sapi::BuiltIn => "cli",
        Sapi::Cgi => "cgi",
        Sapi::Apache => "apache",
    };
    assert_eq!((target.version.as_deref(), &*target.sapi, target.zts), (Some(&*state.version), sapi, false));
    assert_eq!(target.probes.is_empty(), !expected.probes, "{:?}", target.probes);
    for tier in [Tier::Requests, Tier::Sampling, Tier::Waiting, Tier::Exceptions, Tier::Compiles, Tier::Peaks] {
        assert_eq!(target.tiers[tier].state, TierState::On, "{}: {:?}", tier.name(), target.tiers[tier]);
    }
    let exact = &target.tiers[Tier::Exact];
    if expected.probes {
        assert_ne!(exact.state, TierState::On);
    } else {
        assert!(exact.state == TierState::Unavailable && exact.reason.contains("USDT"), "{exact:?}");
    }
    let by = target.tiers[Tier::Requests].seen_by.unwrap();
    assert_eq!(by, if expected.probes { SeenBy::Usdt } else { SeenBy::Symbol });
    by
}

/// The group with memory that all these processes are in, as `snap` says: one of these names. A pool has no others in it.
fn memory_group(names: &[&str], workers: &[u32]) -> String {
    let snapshot = snapshot_of("1s", 0, || {});
    let processes: Vec<_> = snapshot.processes.iter().filter(|process| workers.contains(&process.pid)).collect();
    assert_eq!(processes.len(), workers.len());
    let groups: BTreeSet<usize> = processes.iter().map(|process| process.group).collect();
    let group = &snapshot.groups[processes[0].group];
    assert!(groups.len() == 1 && names.contains(&&*group.name), "{} of {groups:?} is not {names:?}", group.name);
    assert!(&*group.rule != "php pool" || group.processes as usize == workers.len(), "{group:?}");
    let resident: u64 = processes.iter().map(|process| process.memory.rss_bytes.unwrap()).sum();
    assert!(resident > 0 && group.memory.rss_bytes.is_some_and(|bytes| bytes >= resident), "{group:?}");
    assert!(group.memory.pss_bytes.is_some_and(|bytes| bytes > 0), "{group:?}");
    group.name.to_string()
}
