//! The page of a function: its hot lines, and why there are none.

use std::sync::Arc;

use tusktop::model::{FunctionKind, HotLine, HotLines, Php, Snapshot};

use crate::{snapshot::web01, stage::Stage};

/// A change of the function that the page is about.
fn changed(change: impl Fn(&mut tusktop::model::Function)) -> Snapshot {
    let mut snapshot = web01();
    let php: &mut Php = Arc::make_mut(&mut snapshot.php);
    let function = php.functions.iter_mut().find(|function| &*function.key.name == "_do_query");
    change(function.expect("the fixture has it"));
    snapshot
}

fn lines(counts: &[(u32, u64, u64)]) -> HotLines {
    let line = |&(line, samples, self_samples)| HotLine { line, samples, self_samples };
    HotLines { lines: counts.iter().map(line).collect(), other_samples: 0 }
}

fn page(snapshot: Snapshot, width: u16, height: u16) -> String {
    Stage::showing(snapshot, width, height).keys("2/_do_query<enter><enter>").text()
}

/// The page alone over the whole width.
fn text(change: impl Fn(&mut tusktop::model::Function)) -> String {
    page(changed(change), 200, 50)
}

#[test]
fn hot_lines_are_sorted_with_their_share_of_the_function_120x30() {
    let hot = HotLines { other_samples: 3, ..lines(&[(2363, 1_204, 31), (2357, 97, 97), (12, 5, 0)]) };
    insta::assert_snapshot!(page(changed(|function| function.hot_lines = hot.clone()), 120, 30));
}

#[test]
fn hot_lines_80x24() {
    let hot = lines(&[(2363, 12, 1), (2357, 3, 3)]);
    insta::assert_snapshot!(page(changed(|function| function.hot_lines = hot.clone()), 80, 24));
}

#[test]
fn it_says_how_many_samples_lines_rest_on() {
    let of = |samples| text(|function| function.hot_lines = lines(&[(2363, samples, 0)]));
    assert!(of(1).contains("from 1 sample, few as yet"), "{}", of(1));
    assert!(of(49).contains("from 49 samples, few as yet"));
    assert!(of(50).contains("from 50 samples") && !of(50).contains("few"));
}

#[test]
fn a_jit_is_told_where_it_may_be_on() {
    let with = |jit, hot: &[_]| {
        let mut snapshot = changed(|function| function.hot_lines = lines(hot));
        let masters = &mut Arc::make_mut(&mut snapshot.php).targets[0].masters;
        masters.push(tusktop::model::Master { jit, ..Default::default() });
        page(snapshot, 200, 50)
    };
    let jit = |jit| with(jit, &[(2363, 9, 9)]);
    assert!(with(Some(true), &[]).contains("none: with JIT it is not known where code runs"));
    assert!(jit(Some(true)).contains("with JIT the line of running code may be an earlier one"));
    assert!(!jit(Some(false)).contains("JIT") && !jit(None).contains("JIT"));
}

#[test]
fn where_there_are_no_lines_it_says_why() {
    let none = |kind, samples| {
        text(|function| {
            Arc::make_mut(&mut function.key).kind = kind;
            function.total_samples = samples;
        })
    };
    assert!(none(FunctionKind::User, 99).contains("none: one in sixteen samples has them, and it had few"));
    assert!(none(FunctionKind::User, 0).contains("none: it was not seen on the CPU"));
    assert!(none(FunctionKind::Eval, 500).contains("none: not read, or recorded by an older version"));
    assert!(none(FunctionKind::Internal, 500).contains("none: it is built in; its callers have lines"));
    assert!(!none(FunctionKind::Unknown, 500).contains("hot lines"));
}
