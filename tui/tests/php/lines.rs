//! At which lines functions of real PHP are: shares are what they are by construction, and a caller is where it calls.

use std::{fs, path::Path};

use tusktop::model::HotLines;

use crate::servers::{FpmOptions, PhpFpm, Pool, Request, alone};
use crate::watch::Watch;

/// Samples with lines that make a share of 75 % good to 6 points: the standard error is 1.5 points.
const ENOUGH: u64 = 800;

/// The number of the line with this comment.
fn line(mark: &str) -> u32 {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/php/scripts/lines.php");
    let source = fs::read_to_string(script).unwrap();
    1 + source.lines().position(|line| line.ends_with(&format!("// {mark}"))).unwrap() as u32
}

fn samples(lines: &HotLines, line: u32) -> u64 {
    lines.lines.iter().find(|hot| hot.line == line).map_or(0, |hot| hot.samples)
}

/// Runs the script until these functions have enough samples with lines.
fn watched(ini: &[(&str, &str)], opcache: bool, functions: &[&str]) -> Watch {
    let ini = ini.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let pools = vec![Pool::new("www", 1)];
    let fpm = PhpFpm::start(FpmOptions { pools, opcache, ini, ..FpmOptions::default() });
    let mut watch = Watch::start(3989, fpm.site().path());
    let sampled = |watch: &Watch, name: &str| watch.lines.get(name).map_or(0, HotLines::samples);
    while functions.iter().any(|name| sampled(&watch, name) < ENOUGH) {
        let request = Request::get("/lines.php?ms=500").script("lines.php");
        assert_eq!(fpm.send("www", &request).body, "done\n");
        watch.read();
    }
    watch
}

/// Asserts that nearly all samples of a function are at two lines, the first of which has three quarters.
fn assert_three_to_one(hot: &HotLines, three: &str, one: &str) {
    let (three, one) = (samples(hot, line(three)), samples(hot, line(one)));
    let share = three as f64 / (three + one) as f64;
    assert!((share - 0.75).abs() <= 0.06, "{share:.3} of {hot:?}");
    assert!((three + one) as f64 >= 0.98 * hot.samples() as f64, "hardly any sample is at another line: {hot:?}");
}

#[test]
#[ignore = "needs root and PHP"]
fn two_loops_have_the_shares_of_their_lines_and_callers_the_line_of_the_call() {
    let _alone = alone();
    for opcache in [true, false] {
        let watch = watched(&[], opcache, &["two_loops", "computes"]);
        assert_three_to_one(&watch.lines["two_loops"], "three quarters", "one quarter");
        assert_three_to_one(&watch.lines["computes"], "three of four rounds", "one of four rounds");
        let own = |name: &str| watch.lines[name].lines.iter().map(|hot| hot.self_samples).sum::<u64>();
        let clock = &watch.lines["two_loops"];
        assert!((1..clock.samples()).contains(&own("two_loops")), "the clock is a function of its own: {clock:?}");
        assert_eq!(own("computes"), watch.lines["computes"].samples(), "it calls nothing");
        let calls = &watch.lines["calls_them"];
        let called = samples(calls, line("called")) + samples(calls, line("computed"));
        assert!(called as f64 >= 0.95 * calls.samples() as f64, "the rest is the clock: {calls:?}");
        let delegates = &watch.lines["delegates"];
        let delegated = samples(delegates, line("delegated"));
        assert!(delegated as f64 >= 0.98 * delegates.samples() as f64, "it does nothing else: {delegates:?}");
        assert!(
            !watch.lines.contains_key("strlen") && !watch.lines.contains_key("getrusage"),
            "built-in ones have none"
        );
        assert_eq!(watch.dropped, 0);
    }
}

#[test]
#[ignore = "needs root and PHP"]
fn with_jit_callers_still_are_at_the_line_of_the_call() {
    let _alone = alone();
    for jit in ["tracing", "function"] {
        let watch = watched(&[("opcache.jit", jit), ("opcache.jit_buffer_size", "16M")], true, &["two_loops"]);
        let calls = &watch.lines["calls_them"];
        let called = samples(calls, line("called")) + samples(calls, line("computed"));
        assert!(called as f64 >= 0.95 * calls.samples() as f64, "{jit}: the rest is the clock: {calls:?}");
        // Lines that are not known are left out, or are lines of the same function.
        let last = line("one of four rounds") + 2;
        let computes = watch.lines.get("computes").into_iter().flat_map(|hot| &hot.lines);
        assert!(computes.clone().all(|hot| (last - 6..=last).contains(&hot.line)), "{jit}: {computes:?}");
    }
}
