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

/// Runs the script until there are enough samples with lines.
fn watched(ini: &[(&str, &str)], opcache: bool) -> Watch {
    let ini = ini.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let pools = vec![Pool::new("www", 1)];
    let fpm = PhpFpm::start(FpmOptions { pools, opcache, ini, ..FpmOptions::default() });
    let mut watch = Watch::start(997, fpm.site().path());
    let sampled = |watch: &Watch| watch.lines.get("two_loops").map_or(0, HotLines::samples);
    while sampled(&watch) < ENOUGH {
        let request = Request::get("/lines.php?ms=1000").script("lines.php");
        assert_eq!(fpm.send("www", &request).body, "done\n");
        watch.read();
    }
    watch
}

#[test]
#[ignore = "needs root and PHP"]
fn two_loops_have_the_shares_of_their_lines_and_callers_the_line_of_the_call() {
    let _alone = alone();
    for opcache in [true, false] {
        let watch = watched(&[], opcache);
        let hot = &watch.lines["two_loops"];
        let (three, one) = (samples(hot, line("three quarters")), samples(hot, line("one quarter")));
        let share = three as f64 / (three + one) as f64;
        assert!((share - 0.75).abs() <= 0.06, "{share:.3} of {hot:?}");
        assert!((three + one) as f64 >= 0.98 * hot.samples() as f64, "hardly any sample is at another line: {hot:?}");
        let own: u64 = hot.lines.iter().map(|hot| hot.self_samples).sum();
        assert!(own > 0 && own < hot.samples(), "the clock is a function of its own: {hot:?}");
        for (function, mark) in [("calls_them", "called"), ("delegates", "delegated")] {
            let hot = &watch.lines[function];
            assert_eq!(hot.lines.len(), 1, "{function} {hot:?}");
            assert_eq!((hot.lines[0].line, hot.lines[0].self_samples), (line(mark), 0), "{function}");
        }
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
    let jit = [("opcache.jit", "tracing"), ("opcache.jit_buffer_size", "16M")];
    let watch = watched(&jit, true);
    let hot = &watch.lines["calls_them"];
    assert_eq!(hot.lines.iter().map(|hot| hot.line).collect::<Vec<_>>(), [line("called")], "{hot:?}");
    println!("{:?}", watch.lines["two_loops"]);
}
