//! What real PHP was doing before tusktop came: what hangs is seen although it does nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Write as _,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use tusktop::collect::php::{PhpSample, Start};

use crate::servers::{Apache, FpmOptions, PhpCli, PhpFpm, Pool, Request, alone, copies, daemon::wait_until};
use crate::watch::{Watch, full_name};

const PATIENCE: Duration = Duration::from_secs(30);

/// The system call that a process is blocked in.
fn system_call(pid: u32) -> Option<u32> {
    fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?.split(' ').next()?.parse().ok()
}

/// Waits until so many of these processes are blocked in other calls than that for the next connection, and for good.
fn wait_until_stuck(pids: &[u32], count: usize) {
    let stuck = |pid: &&u32| {
        let call = system_call(**pid).map(i64::from);
        [libc::SYS_clock_nanosleep, libc::SYS_flock, libc::SYS_poll, libc::SYS_recvfrom].map(Some).contains(&call)
    };
    wait_until(PATIENCE, || format!("{count} of {pids:?} hang"), || pids.iter().filter(stuck).count() == count);
}

/// The stacks that requests wait in, by URI or script, from the leaf on.
fn waits(sample: &PhpSample) -> BTreeMap<String, Vec<String>> {
    let of = |request: &tusktop::collect::php::RequestText| {
        let wait = sample.waits.iter().find(|wait| (wait.pid, wait.request) == (request.pid, request.started_ns))?;
        assert!(wait.began_before, "{wait:?}");
        let name = if request.uri.is_empty() { &request.script } else { &request.uri };
        Some((name.clone(), wait.stack.frames.iter().map(|frame| full_name(frame)).collect()))
    };
    sample.running.iter().filter_map(|request| of(request)).collect()
}

#[test]
#[ignore = "needs root and PHP"]
fn workers_that_hang_since_before_have_their_request_their_stack_and_their_wait() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("www", 4)], ..FpmOptions::default() });
    let workers = fpm.workers("www");
    let lock = File::open(fpm.site().write("lock", "")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let database = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", database.local_addr().unwrap());
    let uris = [
        "/stuck?in=sleep&ms=20000".to_owned(),
        format!("/stuck?in=lock&with={}", fpm.site().path().join("lock").display()),
        format!("/stuck?in=database&ms=60000&with={address}"),
    ];
    std::thread::scope(|scope| {
        let sent = Instant::now();
        let clients: Vec<_> = uris
            .iter()
            .map(|uri| scope.spawn(|| fpm.send("www", &Request::get(uri).script("stuck.php")).status))
            .collect();
        wait_until_stuck(&workers, 3);
        let output = Command::new(env!("CARGO_BIN_EXE_tusktop"))
            .args(["snap", "--duration", "1s", "--format", "json"])
            .output()
            .unwrap();
        let snapshot: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let states: Vec<_> = snapshot["php"]["workers"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|worker| workers.contains(&(worker["pid"].as_u64().unwrap() as u32)))
            .map(|worker| worker["state"].as_str().unwrap())
            .collect();
        assert_eq!(states.iter().filter(|state| **state == "running").count(), 3, "{states:?}");
        assert_eq!(states.iter().filter(|state| **state == "idle").count(), 1, "{states:?}");
        let requests = snapshot["php"]["requests"].as_array().unwrap();
        let sleeper = requests.iter().find(|request| request["uri"] == uris[0].as_str()).unwrap();
        assert_eq!(sleeper["waiting"]["function"]["name"], "usleep", "{sleeper:#}");
        assert_eq!(sleeper["waiting"]["caller"]["name"], "wait_for_nothing");
        assert_eq!(sleeper["waiting"]["since_known"], false);
        assert!(sleeper["waiting"]["kernel"].as_str().unwrap().contains("nanosleep"), "{sleeper:#}");

        let found = sent.elapsed();
        let mut watch = Watch::start(0, fpm.site().path());
        let stacks = waits(&watch.last);
        let expected =
            |leaf: &str, function: &str| [leaf, function, "Session::hang", "{main}"].map(str::to_owned).to_vec();
        assert_eq!(stacks[&uris[0]], expected("usleep", "wait_for_nothing"));
        assert_eq!(stacks[&uris[1]], expected("flock", "wait_for_a_lock"));
        assert_eq!(stacks[&uris[2]], expected("fread", "query"));
        for request in &watch.last.running {
            assert_eq!((request.start, request.pool.as_deref()), (Start::Told, Some("www")), "{request:?}");
            let age = Duration::from_nanos(watch.last.now.monotonic_ns - request.started_ns);
            assert!(age >= found / 2 && age <= sent.elapsed(), "{age:?} of {:?}", sent.elapsed());
        }
        assert_eq!((watch.last.running.len(), watch.finished.len()), (3, 0));
        let idle = |pid: &u32| watch.last.running.iter().all(|request| request.pid != *pid);
        assert_eq!(workers.iter().filter(|pid| idle(pid)).count(), 1);
        assert!(
            watch.last.processes.iter().filter(|process| workers.contains(&process.pid)).all(|worker| worker.known)
        );

        drop(lock);
        database.accept().unwrap().0.write_all(b"1\n").unwrap();
        watch.until("all have ended", |watch| watch.finished.len() == 3);
        let statuses: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert_eq!(statuses, [202; 3]);
        for finished in &watch.finished {
            assert_eq!(finished.status, Some(202));
            assert!(Duration::from_nanos(finished.duration_ns) > found / 2 && finished.cpu_ns.is_none());
        }
        watch.read();
        assert!(watch.last.running.is_empty() && watch.last.waits.is_empty());
        let slept: u64 = watch
            .stacks
            .iter()
            .filter(|count| full_name(&count.stack.frames[0]) == "usleep" && workers.contains(&count.pid))
            .map(|count| count.wait_ns)
            .sum();
        assert!(Duration::from_nanos(slept) <= sent.elapsed(), "it is not known how long it slept before");
        assert!(slept > 0 && watch.dropped == 0);
    });
}

#[test]
#[ignore = "needs root and PHP"]
fn mod_php_and_scripts_that_hang_since_before_are_seen_and_a_worker_at_rest_is_idle() {
    let _alone = alone();
    let apache = Apache::start(2);
    for _ in 0..4 {
        assert_eq!(apache.get("/post/1").status, 200);
    }
    let script = PhpCli::start("stuck.php", &["sleep", "60000"]);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| apache.get("/stuck.php?in=sleep&ms=5000").status);
        wait_until_stuck(&apache.workers(), 1);
        wait_until_stuck(&[script.pid()], 1);
        let mut watch = Watch::start(0, apache.site().path());
        let stack = ["usleep", "wait_for_nothing", "Session::hang", "{main}"];
        assert_eq!(waits(&watch.last)["/stuck.php?in=sleep&ms=5000"], stack);
        let request = &watch.last.running[0];
        assert_eq!((request.start, request.method.as_str()), (Start::Told, "GET"));
        let rest: Vec<_> = apache.workers().into_iter().filter(|pid| *pid != request.pid).collect();
        assert!(watch.last.processes.iter().any(|process| rest.contains(&process.pid) && process.known));
        assert_eq!(watch.last.running.len(), 1);
        watch.until("it has ended", |watch| watch.finished.len() == 1);
        assert_eq!((watch.finished[0].status, client.join().unwrap()), (Some(202), 202));
    });
    let watch = Watch::start(0, script.page("stuck.php").parent().unwrap());
    let stack = ["usleep", "wait_for_nothing", "Session::hang", "{main}"];
    assert_eq!(waits(&watch.last)[script.page("stuck.php").to_str().unwrap()], stack);
    assert_eq!((watch.last.running[0].pid, watch.last.running[0].start), (script.pid(), Start::Told));
}

#[test]
#[ignore = "needs root and PHP"]
fn a_script_that_was_found_before_its_first_line_ran_is_counted_at_its_end() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("prepended.php");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // PHP opens it within the request, before it has any code to run, and waits for somebody who writes.
    let script = PhpCli::start_with(&["-d", &format!("auto_prepend_file={}", fifo.display())], "spend.php", &["50"]);
    let pid = script.pid();
    wait_until(
        PATIENCE,
        || "it opens the file".to_owned(),
        || system_call(pid).map(i64::from) == Some(libc::SYS_openat),
    );
    let mut watch = Watch::start(0, script.page("spend.php").parent().unwrap());
    watch.until("it is in its request", |watch| watch.last.running.iter().any(|request| request.pid == pid));
    fs::write(&fifo, "").unwrap();
    watch.until("its end is seen", |watch| watch.finished.iter().any(|finished| finished.request.pid == pid));
    assert!(watch.finished.len() == 1 && !watch.finished[0].aborted, "{:?}", watch.finished);
}

#[test]
#[ignore = "needs root and PHP"]
fn scripts_of_programs_that_are_new_are_counted_whatever_ran_in_their_processes_before() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let programs: Vec<_> = (0..4).map(|number| folder.path().join(format!("php-{number}"))).collect();
    for program in &programs {
        copies::copy(Path::new("/usr/bin/php"), program, |_| {});
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/php/scripts/spend.php");
    let mut watch = Watch::start(0, script.parent().unwrap());
    // While one of the programs is read and attached, the processes of the others go through all of theirs.
    let mut children: Vec<_> = programs
        .iter()
        .map(|program| {
            let mut command = Command::new("sh");
            command
                .args(["-c", r#"exec sh -c 'exec env "$@"' sh "$@""#, "sh"])
                .arg(program)
                .arg("-n")
                .arg(&script)
                // Long enough for four programs to be read and attached, one after the other.
                .arg("4000");
            command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    assert!(children.iter_mut().all(|child| child.wait().unwrap().success()));
    let pids: BTreeSet<u32> = children.iter().map(|child| child.id()).collect();
    watch.until("their ends are seen", |watch| {
        watch.finished.iter().filter(|f| pids.contains(&f.request.pid)).count() >= 4
    });
    watch.read();
    let seen: Vec<_> = watch.finished.iter().filter(|f| pids.contains(&f.request.pid)).collect();
    assert!(seen.len() == 4 && seen.iter().all(|finished| !finished.aborted), "{seen:?}");
}
