//! Exceptions, errors and compiled files of real PHP: all of a known script are there, with class, message, line and
//! exact counts.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::servers::{Apache, FpmOptions, PATIENCE, PhpCli, PhpFpm, PhpServer, Pool, Request, alone};
use crate::watch::Watch;
use tusktop::{
    aggregate::php::PhpAggregate,
    collect::php::PhpSample,
    model::{ExceptionCount, Php, PhpError, SeenBy, Target, Tier, Tiers},
};

const SCRIPT: &str = include_str!("scripts/failures.php");

/// The line of a mark.
fn line(mark: &str) -> u32 {
    let mark = format!("//@{mark}");
    let at = SCRIPT.lines().position(|line| line.ends_with(&mark)).unwrap_or_else(|| panic!("no {mark}"));
    at as u32 + 1
}

fn start(options: FpmOptions) -> (PhpFpm, Watch) {
    let fpm = PhpFpm::start(options);
    let watch = Watch::start(0, fpm.site().path());
    (fpm, watch)
}

fn run(fpm: &PhpFpm, case: &str) -> u16 {
    fpm.send("www", &Request::get(&format!("/failures.php?case={case}")).script("failures.php")).status
}

/// Reads until `requests` requests have ended, and once more for what was counted meanwhile.
fn settle(watch: &mut Watch, requests: usize) {
    watch.until("all requests have ended", |watch| watch.finished.len() >= requests);
    watch.read();
    assert_eq!((watch.finished.len(), watch.dropped), (requests, 0));
}

/// Everything that was counted, as a snapshot has it.
fn php(watch: &Watch) -> Arc<Php> {
    let sample = PhpSample {
        targets: watch.last.targets.clone(),
        failures: watch.failures.clone(),
        compiles: watch.compiles.clone(),
        finished: watch.finished.clone(),
        ..PhpSample::default()
    };
    PhpAggregate::default().update(sample, 1.0, &|_| None).php
}

fn exceptions(php: &Php) -> BTreeMap<u32, &ExceptionCount> {
    php.exceptions.as_ref().expect("exceptions are collected").iter().map(|entry| (entry.line, entry)).collect()
}

fn errors(php: &Php) -> BTreeMap<u32, &PhpError> {
    php.errors.as_ref().expect("errors are collected").iter().map(|entry| (entry.line, entry)).collect()
}

#[test]
#[ignore = "needs root and PHP"]
fn every_exception_of_a_known_script_is_there_with_its_line_and_count() {
    let _alone = alone();
    let (fpm, mut watch) = start(FpmOptions { pools: vec![Pool::new("www", 1)], ..FpmOptions::default() });
    assert_eq!(run(&fpm, "caught"), 200);
    assert_eq!(run(&fpm, "caught"), 200);
    settle(&mut watch, 2);
    let php = php(&watch);
    let seen: BTreeMap<u32, (&str, &str, u64)> =
        exceptions(&php).into_iter().map(|(line, e)| (line, (&*e.class, &*e.message, e.count))).collect();
    let expected = BTreeMap::from([
        (line("method"), ("Failing\\Declined", "from a method", 4)),
        (line("static"), ("LogicException", "from a static method", 2)),
        (line("function"), ("InvalidArgumentException", "user 0 not found", 6)),
        (line("generator"), ("DomainException", "from a generator", 8)),
        (line("closure"), ("RangeException", "closure 0", 4)),
        (line("internal"), ("DivisionByZeroError", "Division by zero", 10)),
        (line("type"), ("TypeError", "strlen(): Argument #1 ($string) must be of type string, array given", 4)),
        (line("anonymous"), ("Exception@anonymous", "nameless", 2)),
        (line("declared"), ("Failing\\Declined", "declared", 2)),
        (line("inner"), ("OutOfBoundsException", "inner", 4)),
        (line("outer"), ("OutOfRangeException", "outer", 4)),
        (line("again"), ("LengthException", "twice", 4)),
    ]);
    assert_eq!(seen, expected);
    let script = fpm.site().page("failures.php").display().to_string();
    for exception in exceptions(&php).values() {
        assert_eq!((&*exception.file, &*exception.script), (script.as_str(), script.as_str()));
        assert_eq!(exception.uncaught, Some(0), "{exception:?}");
        if exception.line != line("inner") {
            assert_eq!(*exception.caught_at, *format!("{script}:{}", line("catch")), "{exception:?}");
        }
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn every_error_of_a_known_script_is_there_with_its_level_line_and_count() {
    let _alone = alone();
    let (fpm, mut watch) = start(FpmOptions { pools: vec![Pool::new("www", 1)], ..FpmOptions::default() });
    assert_eq!(run(&fpm, "errors"), 200);
    settle(&mut watch, 1);
    let php = php(&watch);
    let seen: BTreeMap<u32, (&str, &str, u64, Option<u64>)> =
        errors(&php).into_iter().map(|(line, e)| (line, (&*e.level, &*e.message, e.count, e.silenced))).collect();
    let expected = BTreeMap::from([
        (line("warning"), ("warning", "Undefined variable $undefined", 3, Some(0))),
        (line("silenced"), ("warning", "Undefined array key \"missing\"", 4, Some(4))),
        (
            line("internal-warning"),
            ("warning", "hex2bin(): Hexadecimal input string must have an even length", 1, Some(0)),
        ),
        (line("user-notice"), ("user notice", "user error level notice", 1, Some(0))),
        (line("user-warning"), ("user warning", "user error level warning", 1, Some(0))),
        (line("user-deprecated"), ("user deprecated", "user error level deprecated", 1, Some(0))),
        (line("masked"), ("user notice", "masked", 1, Some(1))),
        (
            line("deprecated"),
            ("deprecated", "Creation of dynamic property Failing\\Thrower::$dynamic is deprecated", 1, Some(0)),
        ),
        (line("handled"), ("warning", "Undefined variable $handled", 1, Some(0))),
    ]);
    assert_eq!(seen, expected);
    assert!(exceptions(&php).is_empty());
}

#[test]
#[ignore = "needs root and PHP"]
fn what_nobody_caught_is_told_from_what_was_caught_and_fatal_errors_are_errors() {
    let _alone = alone();
    let (fpm, mut watch) = start(FpmOptions { pools: vec![Pool::new("www", 1)], ..FpmOptions::default() });
    fpm.site().write_page("broken.php", "<?php\n\n$x = ;");
    let cases = ["uncaught", "uncaught", "handler", "undefined", "memory", "time", "user-error", "parse", "exit"];
    for case in cases {
        let status = run(&fpm, case);
        assert_eq!(status, if matches!(case, "handler" | "exit") { 200 } else { 500 }, "{case}");
    }
    settle(&mut watch, cases.len());
    let php = php(&watch);
    let seen: Vec<_> = exceptions(&php).into_values().map(|e| (e.line, &*e.class, e.count, e.uncaught)).collect();
    let mut expected = vec![
        (3, "ParseError", 1, Some(1)),
        (line("uncaught"), "Failing\\Declined", 2, Some(2)),
        (line("handler"), "UnexpectedValueException", 1, Some(0)),
        (line("undefined"), "Error", 1, Some(1)),
    ];
    expected.sort_unstable();
    assert_eq!(seen, expected);
    let message = |error: &PhpError| error.message.split(" (tried").next().unwrap_or_default().to_owned();
    let seen: BTreeMap<_, _> =
        errors(&php).into_iter().map(|(line, e)| (line, (e.level.to_string(), message(e), e.count))).collect();
    let expected = [
        (line("uncaught"), "fatal", "Uncaught Failing\\Declined: nobody catches it", 2),
        (line("undefined"), "fatal", "Uncaught Error: Call to undefined function Failing\\no_such_function()", 1),
        (line("memory"), "fatal", "Allowed memory size of 4194304 bytes exhausted", 1),
        (line("time"), "fatal", "Maximum execution time of 1 second exceeded", 1),
        (line("user-error"), "user fatal", "the application gives up", 1),
        (3, "parse", "syntax error, unexpected token \";\"", 1),
    ];
    assert_eq!(
        seen,
        expected
            .into_iter()
            .map(|(line, level, text, count)| (line, (level.to_owned(), text.to_owned(), count)))
            .collect()
    );
}

#[test]
#[ignore = "needs root and PHP"]
fn hostile_texts_are_cut_and_harmless() {
    let _alone = alone();
    let (fpm, mut watch) = start(FpmOptions { pools: vec![Pool::new("www", 1)], ..FpmOptions::default() });
    assert_eq!(run(&fpm, "hostile"), 200);
    settle(&mut watch, 1);
    let php = php(&watch);
    let entries = php.exceptions.as_ref().expect("exceptions are collected");
    let of = |mark: &str| entries.iter().find(|entry| entry.line == line(mark)).unwrap_or_else(|| panic!("no {mark}"));
    assert!(of("long").message.starts_with("long long ") && of("long").message.ends_with('…'));
    assert_eq!(of("long").message.chars().count(), tusktop_shared::MESSAGE_BYTES + 1);
    assert_eq!(&*of("escape").message, "nul\0newline\nescape\u{1b}[2J\u{1b}]0;owned\u{7}");
    assert_eq!(&*of("invalid").message, "\u{fffd}\u{fffd}\u{fffd}( invalid");
    assert_eq!(&*of("empty").message, "");
    assert!(of("long-class").class.starts_with("Classxxx") && of("long-class").class.ends_with('…'));
    assert!(entries.iter().all(|entry| entry.count == 1) && entries.len() == 6, "{entries:#?}");
    let mut table = Vec::new();
    let mut snapshot: tusktop::model::Snapshot =
        serde_json::from_str(include_str!("../fixtures/web01.json")).expect("the fixture is a snapshot");
    snapshot.php = php.clone();
    tusktop::export::write_table(&snapshot, &mut table).expect("a vector takes everything");
    assert!(!table.iter().any(|&byte| byte == 0x1b || byte == 0 || byte == 7));
}

#[test]
#[ignore = "needs root and PHP"]
fn a_place_that_throws_all_the_time_is_one_entry_and_what_is_not_counted_is_said() {
    let _alone = alone();
    let (fpm, mut watch) = start(FpmOptions { pools: vec![Pool::new("www", 4)], ..FpmOptions::default() });
    let throw = |times: u32| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(run(&fpm, &format!("many&times={times}")), 200));
            }
        });
    };
    let counts = |watch: &Watch| -> Vec<_> {
        let php = php(watch);
        exceptions(&php).into_values().map(|e| (e.class.to_string(), e.line, e.count)).collect()
    };
    let place = |count| [("InvalidArgumentException".to_owned(), line("function"), count)];
    throw(500);
    settle(&mut watch, 4);
    assert_eq!(counts(&watch), place(2_000));
    assert_eq!(tiers(&watch, &fpm)[Tier::Exceptions].counted_percent, None);
    throw(20_000);
    settle(&mut watch, 8);
    watch.until(
        "it is said that not all are counted, or that they cost too much to see where they are caught",
        |watch| {
            let status = &tiers(watch, &fpm)[Tier::Exceptions];
            status.counted_percent.is_some() || status.reason.contains("no longer recorded")
        },
    );
    let counted = counts(&watch)[0].2;
    assert_eq!(counts(&watch), place(counted));
    let all = tiers(&watch, &fpm)[Tier::Exceptions].counted_percent.is_none();
    assert!(if all { counted == 82_000 } else { (2_000..=82_000).contains(&counted) }, "{counted}, all: {all}");
}

#[test]
#[ignore = "needs root and PHP"]
fn with_opcache_only_the_first_request_compiles_and_without_it_every_one() {
    let _alone = alone();
    for opcache in [true, false] {
        let (fpm, mut watch) = start(FpmOptions { opcache, ..FpmOptions::default() });
        for number in 1..=5 {
            assert_eq!(fpm.get("www", &format!("/post/{number}")).status, 200);
        }
        settle(&mut watch, 5);
        let php = php(&watch);
        let files = php.compiles.as_ref().expect("compiles are collected");
        let seen: BTreeMap<_, _> = files
            .iter()
            .map(|file| (file.file.rsplit('/').next().unwrap_or_default(), (file.count, &*file.sapi)))
            .collect();
        let meaning = tusktop::analysis::opcache::meaning(&php).expect("files were compiled").text;
        assert_eq!(meaning.contains("opcache is missing"), !opcache, "{meaning}");
        let times = if opcache { 1 } else { 5 };
        assert_eq!(seen, ["index.php", "names.php", "work.php"].map(|name| (name, (times, "fpm"))).into());
    }
}

/// A copy of php-fpm that does not export some functions, as a stripped build would not.
fn without_functions(folder: &Path, names: &[&str]) -> PathBuf {
    let mut bytes = fs::read(FpmOptions::default().binary).expect("php-fpm can be read");
    for name in names {
        // The names of symbols share their ends.
        let wanted = [name.as_bytes(), b"\0"].concat();
        let places: Vec<_> = bytes.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted).collect();
        let places: Vec<usize> = places.into_iter().map(|(at, _)| at).collect();
        assert!(!places.is_empty(), "{name} is exported");
        for at in places {
            bytes[at] = b'X';
        }
    }
    let binary = folder.join("php-fpm");
    fs::write(&binary, bytes).expect("the folder is ours");
    fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).expect("the folder is ours");
    binary
}

fn tiers(watch: &Watch, fpm: &PhpFpm) -> Tiers {
    let runs = |target: &&Target| target.pids.contains(&fpm.workers("www")[0]);
    watch.last.targets.iter().find(runs).expect("its image is found").tiers.clone()
}

#[test]
#[ignore = "needs root and PHP"]
fn counts_by_probes_are_those_by_functions() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let stripped = without_functions(folder.path(), &["zend_throw_exception_internal", "compile_file"]);
    let mut seen = Vec::new();
    for (binary, source) in [(FpmOptions::default().binary, SeenBy::Symbol), (stripped, SeenBy::Usdt)] {
        let env = vec![("USE_ZEND_DTRACE".to_owned(), "1".to_owned())];
        let pools = vec![Pool::new("www", 1)];
        let (fpm, mut watch) = start(FpmOptions { binary, pools, env, opcache: false, ..FpmOptions::default() });
        for case in ["caught", "caught", "uncaught", "handler", "undefined"] {
            run(&fpm, case);
        }
        settle(&mut watch, 5);
        let tiers = tiers(&watch, &fpm);
        assert_eq!(tiers[Tier::Exceptions].seen_by, Some(source));
        assert_eq!(tiers[Tier::Compiles].seen_by, Some(source));
        let php = php(&watch);
        let mut classes: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for exception in php.exceptions.iter().flatten() {
            let sum = classes.entry(exception.class.to_string()).or_default();
            *sum = (sum.0 + exception.count, sum.1 + exception.uncaught.unwrap_or(0));
        }
        let folder = fpm.site().document_root().display().to_string();
        let file = |file: &str| file.strip_prefix(&folder).map(str::to_owned).unwrap_or_default();
        let compiles: BTreeMap<_, _> = php.compiles.iter().flatten().map(|c| (file(&c.file), c.count)).collect();
        assert_eq!(compiles, BTreeMap::from([("/failures.php".to_owned(), 5)]));
        // The place comes from the code that runs: it is that of the throw.
        let lines: Vec<_> = exceptions(&php).into_keys().collect();
        assert!(
            ["method", "generator", "internal", "outer", "uncaught"].iter().all(|mark| lines.contains(&line(mark)))
        );
        seen.push(classes);
    }
    assert_eq!(seen[0], seen[1]);
}

#[test]
#[ignore = "needs root and PHP"]
fn more_places_than_there_is_room_for_are_counted_or_said_to_be_lost() {
    let _alone = alone();
    let (fpm, mut watch) = start(FpmOptions { pools: vec![Pool::new("www", 1)], ..FpmOptions::default() });
    let places = 12_000;
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(run(&fpm, &format!("classes&times={places}")), 200));
        watch.until("the request has ended", |watch| watch.finished.len() == 1);
    });
    watch.read();
    let seen: u64 = watch.failures.iter().map(|failure| failure.count).sum();
    assert_eq!(seen + watch.dropped, places, "{} lost", watch.dropped);
    assert!(seen > 2048, "room is made for new ones: {seen}");
    // What came before does not keep out what comes now.
    let (before, dropped) = (watch.failures.len(), watch.dropped);
    run(&fpm, "caught");
    watch.until("the second request has ended", |watch| watch.finished.len() == 2);
    watch.read();
    assert_eq!((watch.dropped, watch.failures.len() >= before + 12), (dropped, true));
}

#[test]
#[ignore = "needs root and PHP"]
fn apache_and_the_command_line_are_seen_like_fpm() {
    let _alone = alone();
    let apache = Apache::start(2);
    let idle = PhpServer::start();
    let mut watch = Watch::start(0, Path::new("/"));
    for (uri, status) in [("/throw", 500), ("/caught", 200), ("/caught", 200), ("/fatal", 500)] {
        assert_eq!(apache.get(uri).status, status);
    }
    // Its image is known by the server that idles.
    let mut script = PhpCli::start("failures.php", &["uncaught"]);
    assert_eq!(script.daemon().wait(PATIENCE).code(), Some(255));
    let pages = [apache.site().page("index.php"), script.page("failures.php")];
    watch.until("all requests have ended", |watch| {
        let of = |page: &Path| watch.finished.iter().filter(|f| Path::new(&f.request.script) == page).count();
        (of(&pages[0]), of(&pages[1])) == (4, 1)
    });
    watch.read();
    // Other PHP on the machine may fail, too.
    let folders = pages.map(|page| page.parent().unwrap().to_owned());
    let ours = |file: &str| folders.iter().any(|folder| Path::new(file).starts_with(folder));
    watch.failures.retain(|failure| ours(&failure.what.file));
    watch.compiles.retain(|compile| ours(&compile.what.file));
    let php = php(&watch);
    let counts: BTreeMap<&str, (u64, Option<u64>)> =
        php.exceptions.iter().flatten().map(|e| (&*e.class, (e.count, e.uncaught))).collect();
    assert_eq!(counts["DomainException"], (1, Some(1)));
    assert_eq!(counts["LengthException"], (2, Some(0)));
    assert_eq!(counts["Failing\\Declined"], (1, Some(1)));
    let fatal = php.errors.iter().flatten().filter(|e| e.message.starts_with("Allowed memory size"));
    assert_eq!(fatal.map(|e| (&*e.level, e.count)).collect::<Vec<_>>(), [("fatal", 1)]);
    let compiled = php.compiles.iter().flatten().find(|file| file.file.ends_with("/failures.php"));
    assert_eq!(compiled.map(|file| (&*file.sapi, file.count)), Some(("cli", 1)));
    drop(idle);
}
