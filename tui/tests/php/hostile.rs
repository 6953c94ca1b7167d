//! Names that must not be trusted, in samples and in traced calls: they are cut, harmless, and counted like any other.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::servers::{FpmOptions, PhpCli, PhpFpm, Pool, Request, alone};
use crate::watch::Watch;
use tusktop::{
    collect::php::{NamedStack, Order},
    model::{ExactState, FunctionKey, Snapshot, TraceLimits, TraceOrder, TraceRequest},
};
use tusktop_shared::{CLASS_BYTES, FILE_BYTES, FUNCTION_BYTES};

/// Files whose names are as strange as a file system allows.
fn write_strange_files(folder: &Path) {
    for name in [&b"strange\nline\x1b[31m.php"[..], b"strange_\xff\xfe.php", b"strange_\xe2\x80\xae.php"] {
        fs::write(folder.join(OsStr::from_bytes(name)), "<?php step(); spin(BUDGET);\n").unwrap();
    }
    let long = format!("strange{}.php", "x".repeat(240));
    fs::write(folder.join(long), "<?php step(); spin(BUDGET);\n").unwrap();
}

/// What is asked of every name that comes from outside.
fn assert_bounded(text: &FunctionKey) {
    for (name, bytes) in [(&text.name, FUNCTION_BYTES), (&text.class, CLASS_BYTES), (&text.file, FILE_BYTES)] {
        // A byte that is not UTF-8 becomes a character of three, and what was cut is marked by one more.
        assert!(name.len() <= 3 * bytes + 3, "{} bytes: {name:?}", name.len());
    }
    assert_ne!(&*text.name, "?");
}

/// Names that a test must find, whatever they are cut to.
fn expected() -> [(String, String); 6] {
    let long = format!("{}…", "f".repeat(FUNCTION_BYTES));
    let class = format!("C{}…", "c".repeat(CLASS_BYTES - 1));
    [
        (String::new(), long),
        (String::new(), "invalid_\u{fffd}\u{fffd}\u{fffd}".to_owned()),
        (String::new(), "bidi_\u{202e}live".to_owned()),
        (String::new(), "width_\u{200b}\u{1f418}".to_owned()),
        (class, "method".to_owned()),
        ("class@anonymous".to_owned(), "method".to_owned()),
    ]
}

#[test]
#[ignore = "needs root and PHP"]
fn strange_names_are_sampled() {
    let _alone = alone();
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("www", 1)], ..FpmOptions::default() });
    write_strange_files(&fpm.site().document_root());
    let worker = fpm.workers("www")[0];
    let mut watch = Watch::start(997, fpm.site().path());
    let response = fpm.send("www", &Request::get("/hostile.php?ms=60").script("hostile.php"));
    assert_eq!((response.status, &*response.body), (200, "done\n"), "{}", fpm.log());
    watch.until("the request has ended", |watch| !watch.finished.is_empty());
    watch.read();
    let frames: Vec<_> = watch.stacks_of(worker).flat_map(|count| &count.stack.frames).collect();
    frames.iter().for_each(|frame| assert_bounded(frame));
    for (class, name) in expected() {
        assert!(frames.iter().any(|f| *f.class == *class && *f.name == *name), "no sample of {class:?} {name:?}");
    }
    for end in ["strange\nline\u{1b}[31m.php", "strange_\u{fffd}\u{fffd}.php", "strange_\u{202e}.php", "xxx.php"] {
        assert!(frames.iter().any(|frame| frame.file.ends_with(end)), "no sample of a file {end:?}");
    }
    // One that was taken while the recursion had only begun, or was nearly over, is whole.
    let is_deep = |stack: &NamedStack| stack.frames.iter().any(|frame| &*frame.name == "deep");
    let deep: Vec<_> = watch.stacks_of(worker).map(|count| &count.stack).filter(|stack| is_deep(stack)).collect();
    assert!(deep.iter().any(|stack| stack.truncated), "10 000 frames are more than are kept");
    let is_whole = |stack: &NamedStack| stack.frames.last().is_some_and(|frame| &*frame.name == "{main}");
    assert!(
        deep.iter().all(|stack| stack.truncated != is_whole(stack)),
        "what is cut lacks its end, and nothing else does"
    );
    assert_eq!(watch.dropped, 0);
}

#[test]
#[ignore = "needs root and PHP"]
fn calls_of_strange_names_are_counted_exactly() {
    let _alone = alone();
    let mut script = PhpCli::start_traceable("hostile.php", &["1"]);
    let pid = script.pid();
    write_strange_files(script.page("").as_path());
    let mut watch = Watch::start(0, script.page("").as_path());
    watch.until("its function probes are seen to be live", |watch| {
        watch.last.targets.iter().flat_map(|target| &target.masters).any(|m| m.pid == pid && m.dtrace == Some(true))
    });
    let what = TraceOrder::Start(TraceRequest { pid: Some(pid), ..TraceRequest::default() });
    let limits = TraceLimits { budget: f64::INFINITY, limit: Duration::from_secs(60) };
    watch.order(Order { what, limits });
    watch.until("it is traced", |watch| watch.last.exact.as_ref().is_some_and(|exact| exact.pids == [pid]));
    script.go();
    watch
        .until("it has ended", |watch| watch.last.exact.as_ref().is_some_and(|exact| exact.state == ExactState::Ended));
    assert!(!script.daemon().runs());
    assert_eq!(script.output(), "done\n");
    let exact = watch.last.exact.clone().unwrap();
    assert!(exact.reason.contains(&format!("process {pid} has ended")) && exact.pids.is_empty(), "{exact:?}");
    for (class, name) in expected() {
        let full = if class.is_empty() { name } else { format!("{class}::{name}") };
        // The class is called by its alias, too.
        let calls = if full.starts_with("Ccc") { 2 } else { 1 };
        assert_eq!(watch.calls_of(&full).calls, calls, "{full:?}");
    }
    assert_eq!(watch.calls_of("class@anonymous::__call").calls, 1);
    // Five times by each of eight calls, and once by each of four files.
    assert_eq!(watch.calls_of("step").calls, 5 * 8 + 4);
    assert_eq!(watch.calls_of("deep").calls, 10_000);
    assert!(watch.untimed >= 10_000 - 1024, "{}", watch.untimed);
    assert_eq!(watch.dropped, 0);
}

#[test]
#[ignore = "needs root and PHP"]
fn no_strange_name_reaches_the_output_as_it_is() {
    let _alone = alone();
    let script = PhpCli::start_traceable("hostile.php", &[]);
    let page = script.page("hostile.php");
    write_strange_files(page.parent().unwrap());
    for exact in ["--exact=functions", "--exact=lines", "--hz=997"] {
        let go = page.with_file_name("go");
        fs::write(&go, "").unwrap();
        let snap = |format: &str| {
            let output = Command::new(env!("CARGO_BIN_EXE_tusktop"))
                .args(["snap", "--format", format, exact, "--", "php", "-n"])
                .args([&page, &go])
                .env("HOME", "/nonexistent")
                .env_remove("TUSKTOP_CONFIG")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"done\n"[..]));
            String::from_utf8(output.stderr).unwrap()
        };
        let table = snap("table");
        assert!(table.contains("hostile.php"), "{table}");
        let steers = |c: char| (c.is_control() && c != '\n') || ['\u{202e}', '\u{200b}'].contains(&c);
        assert!(!table.contains(steers), "{table:?}");
        let json = snap("json");
        assert_eq!(json.lines().count(), 1);
        assert!(!json.trim_end().contains(char::is_control));
        let snapshot: Snapshot = serde_json::from_str(&json).unwrap();
        match exact {
            "--exact=functions" => {
                for (class, name) in expected() {
                    let function =
                        snapshot.php.functions.iter().find(|f| *f.key.class == *class && *f.key.name == *name);
                    assert!(function.is_some_and(|function| function.calls.is_some()), "{class:?} {name:?}");
                }
            }
            "--exact=lines" => {
                // Each is compiled, and then it runs.
                for name in ["{compile}", "{main}"] {
                    let files = snapshot.php.lines.iter().flatten().filter(|calls| &*calls.name == name);
                    assert_eq!(files.filter(|calls| calls.file.contains("/strange")).count(), 4, "{name}: {json}");
                }
            }
            _ => assert!(snapshot.php.functions.iter().any(|function| function.self_samples > 0)),
        }
    }
}
