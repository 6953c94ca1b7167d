//! Thread-safe builds of PHP (ZTS): php-fpm, and a program of many threads that embeds PHP as FrankenPHP does, on a build that
//! `.ci/packages` makes of Debian's source package.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};
use tusktop::{
    collect::php::{CurrentWait, PhpSample, Start},
    model::Tier,
};

use crate::{
    servers::{FpmOptions, PATIENCE, PhpFpm, Pool, Site, alone, daemon::Daemon, wait_until},
    watch::{Watch, full_name},
};

/// Threads of the server.
const THREADS: usize = 4;
/// Samples that make a share good to 2 points: its standard error is 0.7 points, and less where work alternates.
const ENOUGH: u64 = 3_600;

/// Where the build is.
fn build() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/packages/php-zts");
    folder.canonicalize().unwrap_or_else(|_| panic!("no thread-safe PHP: `.ci/packages test` builds it, once"))
}

/// The program of threads, with a library of its own, so that nothing else that runs matters.
struct Server {
    daemon: Daemon,
    site: Site,
}

impl Server {
    /// A folder with the program under this name.
    fn compile(name: &str, options: &[&str]) -> (Site, PathBuf) {
        let (site, build) = (Site::new(), build());
        let (program, library) = (site.path().join(name), site.path().join("libphp.so"));
        std::fs::copy(build.join("lib/libphp.so"), &library).unwrap();
        let headers = build.join("include/php");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-pthread", "-o"]).arg(&program).args(options);
        compiler.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/php/threads/server.c"));
        for part in ["", "main", "Zend", "TSRM"] {
            compiler.arg("-I").arg(headers.join(part));
        }
        compiler.arg(&library).arg(format!("-Wl,-rpath,{}", site.path().display()));
        assert!(compiler.status().expect("cc is there, as every build of Rust needs it").success());
        (site, program)
    }

    fn start((site, program): (Site, PathBuf), script: Option<&str>) -> Self {
        let mut command = Command::new(program);
        command.arg(site.path().join("socket")).arg(THREADS.to_string()).args(script.map(|script| site.page(script)));
        let mut daemon = Daemon::start(command, &site.path().join("log"), Signal::TERM);
        let log = site.path().join("log");
        daemon
            .wait_ready("the server is ready", || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("ready")));
        Self { daemon, site }
    }

    /// Sends a request and returns its status and what the script printed.
    fn get(&self, uri: &str) -> (u16, String) {
        self.get_of("threads.php", uri)
    }

    /// The same of another script.
    fn get_of(&self, script: &str, uri: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.site.path().join("socket")).unwrap();
        writeln!(stream, "GET {uri} {}", self.site.page(script).display()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (status, body) = answer.split_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    /// The same by as many clients as it has threads, all at once.
    fn get_by_all(&self, uri: impl Fn(usize) -> String + Sync) -> Vec<String> {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..THREADS)
                .map(|number| {
                    scope.spawn({
                        let uri = &uri;
                        move || self.get(&uri(number)).1
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        })
    }

    /// Waits until its requests and stacks are observed.
    fn is_observed(&self, watch: &mut Watch) {
        let pid = self.daemon.pid();
        watch.until("the library is observed", |watch| {
            let target = watch.last.targets.iter().find(|target| target.pids.contains(&pid));
            target.is_some_and(|target| {
                target.zts
                    && [Tier::Requests, Tier::Sampling, Tier::Waiting].iter().all(|&tier| target.tiers.is_on(tier))
            })
        });
    }

    /// N requests are N, each with its URI and status; the time is where the scripts say that it went.
    fn is_seen_in_full(&self, watch: &mut Watch) {
        const EACH: usize = 50;
        let pid = self.daemon.pid();
        let statuses = [200, 404, 503];
        thread::scope(|scope| {
            for number in 0..THREADS {
                scope.spawn(move || {
                    for round in 0..EACH {
                        let status = statuses[(number + round) % 3];
                        assert_eq!(self.get(&format!("/status/{status}/{number}-{round}")).0, status);
                    }
                });
            }
        });
        watch.until("all have ended", |watch| watch.finished.len() >= THREADS * EACH);
        watch.read();
        let mut expected = BTreeMap::new();
        for (number, round) in (0..THREADS).flat_map(|number| (0..EACH).map(move |round| (number, round))) {
            let status = statuses[(number + round) % 3];
            expected.insert((format!("/status/{status}/{number}-{round}"), Some(status)), 1);
        }
        assert_eq!(watch.requests(), expected);
        assert!(watch.finished.iter().all(|finished| finished.request.pid == pid && finished.request.method == "GET"));

        let answers = self.get_by_all(|number| format!("/burn?ms=1200&{number}"));
        let clocks = answers.iter().map(|answer| answer.split_once(' ').unwrap());
        let (hot, mild) = clocks
            .fold((0, 0), |(hot, mild), (a, b)| (hot + a.parse::<u64>().unwrap(), mild + b.parse::<u64>().unwrap()));
        watch.until("there are enough samples", |watch| watch.self_samples(pid).values().sum::<u64>() > ENOUGH);
        let samples = watch.self_samples(pid);
        let share = |hot: f64, mild: f64| hot / (hot + mild);
        let (by_script, by_samples) =
            (share(hot as f64, mild as f64), share(samples["hot"] as f64, samples["mild"] as f64));
        assert!((by_script - by_samples).abs() <= 0.02, "{by_samples:.3}, not {by_script:.3}, of {samples:?}");
        for number in 0..THREADS {
            let uri = format!("/burn?ms=1200&{number}");
            let own =
                watch.stacks_of(pid).filter(|count| count.request.as_ref().is_some_and(|request| request.uri == uri));
            assert!(own.map(|count| count.samples).sum::<u64>() > ENOUGH / (2 * THREADS as u64), "{uri}");
        }
        let burning = watch.finished.iter().filter(|finished| finished.request.uri.starts_with("/burn"));
        let tids: BTreeSet<u32> = burning.map(|finished| finished.request.tid).collect();
        let process = watch.last.processes.iter().find(|process| process.pid == pid).unwrap();
        assert_eq!((tids.len(), &process.threads), (THREADS, &tids.into_iter().collect()), "each thread is told");

        let slept: u64 = self
            .get_by_all(|number| format!("/nap?ms=400&{number}"))
            .iter()
            .map(|answer| answer.parse::<u64>().unwrap())
            .sum();
        let naps = |watch: &Watch| {
            watch
                .finished
                .iter()
                .filter(|finished| finished.request.uri.starts_with("/nap"))
                .cloned()
                .collect::<Vec<_>>()
        };
        watch.until("all naps have ended", |watch| naps(watch).len() == THREADS);
        watch.read();
        let waited: u64 = naps(watch).iter().map(|nap| nap.request.wait_ns).sum();
        let napping = watch
            .stacks_of(pid)
            .filter(|count| count.stack.frames.iter().map(|frame| full_name(frame)).eq(["usleep", "nap", "{main}"]));
        let in_nap: u64 = napping.map(|count| count.wait_ns).sum();
        for (what, ns) in [("of requests", waited), ("of the function", in_nap)] {
            assert!(ns.abs_diff(slept) * 50 <= slept, "waits {what}: {ns}, not {slept}");
        }

        let peaks = self.get_by_all(|number| format!("/memory?mib={}", 8 + 8 * number));
        let by_script: Vec<_> = peaks.iter().map(|peak| Some(peak.parse::<u64>().unwrap())).collect();
        let peak = |watch: &Watch, number| {
            let uri = format!("/memory?mib={}", 8 + 8 * number);
            watch.finished.iter().find(|finished| finished.request.uri == uri)?.request.memory.peak_bytes()
        };
        let by_probe = |watch: &Watch| (0..THREADS).map(|number| peak(watch, number)).collect::<Vec<_>>();
        watch.until("all peaks are known", |watch| by_probe(watch).iter().all(Option::is_some));
        assert_eq!(by_probe(watch), by_script, "each thread has a heap of its own");
        assert_eq!(watch.dropped, 0);
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn threads_that_embed_php_are_seen_whoever_is_first_and_whatever_the_program_is_called() {
    let _alone = alone();
    let server = Server::start(Server::compile("embeds", &[]), None);
    let mut watch = Watch::start(997, server.site.path());
    server.is_observed(&mut watch);
    server.is_seen_in_full(&mut watch);
    watch.stop();

    // A program that is compiled so links to the library's variables in another way.
    let (site, program) = Server::compile("anything", &["-fPIC"]);
    let mut watch = Watch::start(997, site.path());
    let server = Server::start((site, program), None);
    server.is_observed(&mut watch);
    server.is_seen_in_full(&mut watch);
}

#[test]
#[ignore = "needs root and PHP"]
fn a_request_that_never_ends_has_its_samples_and_waits() {
    let _alone = alone();
    let is_seen = |watch: &mut Watch, pid: u32| {
        watch.until("there are enough samples", |watch| watch.self_samples(pid).values().sum::<u64>() > ENOUGH);
        let samples = watch.self_samples(pid);
        let share = samples["hot"] as f64 / (samples["hot"] + samples["mild"]) as f64;
        assert!((share - 0.75).abs() <= 0.02, "{share:.3} of {samples:?}");
        let waits = watch
            .stacks_of(pid)
            .filter(|count| count.stack.frames.first().is_some_and(|leaf| full_name(leaf) == "usleep"));
        assert!(waits.map(|count| count.wait_ns).sum::<u64>() > 0);
        assert!(watch.finished.is_empty());
    };
    let server = Server::start(Server::compile("worker", &[]), Some("threads.php"));
    let mut watch = Watch::start(997, server.site.path());
    is_seen(&mut watch, server.daemon.pid());
    watch.stop();
    drop(server);

    let (site, program) = Server::compile("worker", &[]);
    let mut watch = Watch::start(997, site.path());
    let server = Server::start((site, program), Some("threads.php"));
    is_seen(&mut watch, server.daemon.pid());
}

#[test]
#[ignore = "needs root and PHP"]
fn exceptions_and_errors_of_threads_are_counted_with_what_was_silenced() {
    const EACH: usize = 5;
    let _alone = alone();
    let server = Server::start(Server::compile("embeds", &[]), None);
    let mut watch = Watch::start(99, server.site.path());
    server.is_observed(&mut watch);
    for _ in 0..EACH {
        for page in ["/uncaught", "/caught", "/errors"] {
            server.get_by_all(|number| format!("{page}?{number}"));
        }
    }
    let all = EACH * THREADS;
    watch.until("all have ended", |watch| watch.finished.len() == 3 * all);
    watch.read();
    let mut counts = BTreeMap::new();
    for failure in &watch.failures {
        let place = (format!("{:?}", failure.what.kind), failure.what.message.to_string());
        let (count, silenced) = counts.entry(place).or_insert((0, 0));
        *count += failure.count;
        *silenced += failure.silenced;
    }
    let all = all as u64;
    let expected = [
        (("Error", "loud"), (all, 0)),
        (("Error", "silent"), (all, all)),
        (("Thrown", "caught in a thread"), (all, 0)),
        (("Thrown", "from a thread"), (all, 0)),
        (("Uncaught", "from a thread"), (all, 0)),
    ];
    for ((kind, message), count) in expected {
        assert_eq!(counts.get(&(kind.to_owned(), message.to_owned())), Some(&count), "{kind} {message} in {counts:?}");
    }
    let statuses = watch.finished.iter().filter(|finished| finished.status == Some(500)).count() as u64;
    assert_eq!(statuses, all, "those that were not caught");
}

/// A php-fpm of the build with two workers, with a file of its own in this folder.
fn php_fpm(folder: &Path) -> PhpFpm {
    let binary = folder.join("php-fpm");
    std::fs::copy(build().join("sbin/php-fpm"), &binary).unwrap();
    PhpFpm::start(FpmOptions { binary, pools: vec![Pool::new("threads", 2)], ..FpmOptions::default() })
}

#[test]
#[ignore = "needs root and PHP"]
fn php_fpm_of_a_thread_safe_build_is_seen_as_any_other() {
    const REQUESTS: usize = 200;
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let fpm = php_fpm(folder.path());
    let workers = fpm.workers("threads");
    let mut watch = Watch::start(997, fpm.site().path());
    watch.until("it is observed", |watch| {
        watch
            .last
            .targets
            .iter()
            .any(|target| target.zts && target.sapi.as_ref() == "fpm" && target.pids.contains(&workers[0]))
    });
    for number in 0..REQUESTS {
        assert_eq!(fpm.get("threads", &format!("/post/{number}")).status, 200);
    }
    watch.until("all have ended", |watch| watch.finished.len() >= REQUESTS);
    watch.read();
    let expected: BTreeMap<_, _> = (0..REQUESTS).map(|number| ((format!("/post/{number}"), Some(200)), 1)).collect();
    assert_eq!(watch.requests(), expected);
    assert!(watch.finished.iter().all(|finished| finished.request.pool.as_deref() == Some("threads")));

    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(fpm.get("threads", "/burn?ms=2400").status, 200));
        }
    });
    let samples = |watch: &Watch| {
        let mut samples = BTreeMap::<_, u64>::new();
        for (name, count) in workers.iter().flat_map(|&worker| watch.self_samples(worker)) {
            *samples.entry(name).or_default() += count;
        }
        samples
    };
    watch.until("there are enough samples", |watch| samples(watch).values().sum::<u64>() > ENOUGH);
    let samples = samples(&watch);
    let share = samples["burn"] as f64 / (samples["burn"] + samples["rest"]) as f64;
    assert!((share - 0.8).abs() <= 0.02, "{share:.3} of {samples:?}");

    assert_eq!(fpm.get("threads", "/slow?ms=1000").status, 200);
    let slow =
        |watch: &Watch| watch.finished.iter().find(|finished| finished.request.uri.starts_with("/slow")).cloned();
    watch.until("the slow one has ended", |watch| slow(watch).is_some());
    let waited = slow(&watch).unwrap().request.wait_ns;
    assert!(waited.abs_diff(1_000_000_000) <= 20_000_000, "{waited}");
    assert_eq!(watch.dropped, 0);
}

/// Waits until so many threads of processes are blocked in other calls than that for the next connection.
fn wait_until_stuck(pids: &[u32], count: usize) {
    let tasks = |pid: &u32| std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let is_stuck = |call: String| {
        let call = call.split(' ').next().and_then(|number| number.parse().ok());
        [libc::SYS_clock_nanosleep, libc::SYS_flock, libc::SYS_poll, libc::SYS_recvfrom].map(Some).contains(&call)
    };
    let stuck = || {
        let calls = pids.iter().flat_map(tasks);
        let calls = calls.filter_map(|task| std::fs::read_to_string(task.path().join("syscall")).ok());
        calls.filter(|call| is_stuck(call.clone())).count()
    };
    wait_until(PATIENCE, || format!("{count} threads hang, not {}", stuck()), || stuck() == count);
}

/// The stacks that requests wait in since before they were found, by URI, from the leaf on.
fn waits(sample: &PhpSample) -> BTreeMap<String, Vec<String>> {
    let found = sample.running.iter().filter_map(|request| {
        let of =
            |wait: &&CurrentWait| (wait.pid, wait.request) == (request.pid, request.started_ns) && wait.began_before;
        let wait = sample.waits.iter().find(of)?;
        Some((request.uri.clone(), wait.stack.frames.iter().map(|frame| full_name(frame)).collect()))
    });
    found.collect()
}

#[test]
#[ignore = "needs root and PHP"]
fn threads_that_hang_since_before_have_their_request_their_stack_and_their_wait() {
    let _alone = alone();
    let server = Server::start(Server::compile("embeds", &[]), None);
    let pid = server.daemon.pid();
    let lock = File::open(server.site.write("lock", "")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let database = TcpListener::bind("127.0.0.1:0").unwrap();
    let uris = [
        "/stuck?in=sleep&ms=5000".to_owned(),
        format!("/stuck?in=lock&with={}", server.site.path().join("lock").display()),
        format!("/stuck?in=database&ms=60000&with=tcp://{}", database.local_addr().unwrap()),
    ];
    thread::scope(|scope| {
        let clients: Vec<_> = uris.iter().map(|uri| scope.spawn(|| server.get_of("stuck.php", uri).0)).collect();
        wait_until_stuck(&[pid], 3);
        let mut watch = Watch::start(0, server.site.path());
        let stack =
            |leaf: &str, function: &str| [leaf, function, "Session::hang", "{main}"].map(str::to_owned).to_vec();
        let stacks = [stack("usleep", "wait_for_nothing"), stack("flock", "wait_for_a_lock"), stack("fread", "query")];
        assert_eq!(waits(&watch.last), uris.iter().cloned().zip(stacks).collect());
        assert_eq!((watch.last.running.len(), watch.finished.len()), (3, 0));
        assert!(watch.last.processes.iter().any(|process| process.pid == pid && process.known));
        drop(lock);
        database.accept().unwrap().0.write_all(b"1\n").unwrap();
        watch.until("all have ended", |watch| watch.finished.len() == 3);
        assert!(clients.into_iter().all(|client| client.join().unwrap() == 202));
        assert!(watch.finished.iter().all(|finished| finished.status == Some(202) && !finished.aborted));
        watch.read();
        assert!(watch.last.running.is_empty() && watch.last.waits.is_empty());
        assert_eq!(watch.dropped, 0);
    });
}

#[test]
#[ignore = "needs root and PHP"]
fn a_worker_of_a_thread_safe_php_fpm_that_hangs_since_before_is_seen_and_the_other_is_idle() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let fpm = php_fpm(folder.path());
    let workers = fpm.workers("threads");
    thread::scope(|scope| {
        let client = scope.spawn(|| fpm.get("threads", "/slow?ms=5000").status);
        wait_until_stuck(&workers, 1);
        let mut watch = Watch::start(0, fpm.site().path());
        let stack = ["usleep", "slow_query", "{main}"].map(str::to_owned).to_vec();
        assert_eq!(waits(&watch.last), BTreeMap::from([("/slow?ms=5000".to_owned(), stack)]));
        let request = &watch.last.running[0];
        assert_eq!((request.start, request.pool.as_deref()), (Start::Told, Some("threads")));
        let of_pool = watch.last.processes.iter().filter(|process| workers.contains(&process.pid));
        assert_eq!(of_pool.filter(|process| process.known).count(), 2);
        watch.until("it has ended", |watch| watch.finished.len() == 1);
        assert_eq!((client.join().unwrap(), watch.finished[0].status), (200, Some(200)));
    });
}
