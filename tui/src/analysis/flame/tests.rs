//! Claims about trees of calls.

use proptest::prelude::*;

use super::*;
use crate::model::{Function, HotTime, Route, RouteKey, Stack};

fn function(name: &str, file: &str) -> Function {
    let (name, class, file) = (name.into(), "".into(), file.into());
    Function::seen(FunctionKey { name, class, file, line: 1, kind: FunctionKind::User }.into())
}

fn route(path: &str) -> Route {
    let key = RouteKey { route: path.into(), script: "".into(), method: "GET".into(), group: "www".into() };
    Route::seen(key.into())
}

fn stack(frames: &[usize], samples: u64, wait_ns: u64) -> Stack {
    Stack { route: 0, frames: frames.to_vec(), samples, wait_ns: Some(wait_ns), growth_bytes: None, truncated: false }
}

/// main calls render and query; query waits; render goes through two files of a library and back into the shop.
fn php() -> Php {
    Php {
        functions: vec![
            function("main", "/srv/shop/index.php"),
            function("query", "/srv/shop/db.php"),
            function("render", "/srv/shop/vendor/twig/twig/src/Template.php"),
            function("display", "/srv/shop/vendor/twig/twig/src/Display.php"),
            function("price", "/srv/shop/price.php"),
        ],
        routes: vec![route("/")],
        stacks: vec![stack(&[1, 0], 1, 50), stack(&[4, 3, 2, 0], 3, 0), stack(&[3, 2, 0], 2, 0), stack(&[0], 4, 0)],
        ..Php::default()
    }
}

fn source<'a>(php: &'a Php, fold: Option<&'a Fold>) -> Source<'a> {
    let basis = Basis { time: HotTime::Both, sample_ns: 10 };
    Source { now: (php, 1.0), before: None, scope: &Scope::All, basis, fold }
}

fn names(flame: &Flame, node: usize) -> Vec<(String, u64)> {
    flame.nodes[node].children.iter().map(|&c| (flame.frame(c).name().into_owned(), flame.nodes[c].now)).collect()
}

fn path(flame: &Flame, names: &[&str]) -> Vec<Frame> {
    let mut at = 0;
    let step = |name: &&str| {
        at = *flame.nodes[at].children.iter().find(|&&child| flame.frame(child).name() == **name).unwrap();
        flame.frame(at).clone()
    };
    names.iter().map(step).collect()
}

#[test]
fn a_frame_has_the_time_of_all_that_it_calls_and_its_children_are_by_name() {
    let php = php();
    let flame = source(&php, None).flame();
    assert_eq!(names(&flame, 0), [("main".into(), 150)]);
    let main = flame.nodes[0].children[0];
    assert_eq!(names(&flame, main), [("query".into(), 60), ("render".into(), 50)]);
    assert_eq!((flame.nodes[main].own.samples, flame.nodes[main].cpu), (4, 100));
    assert_eq!(flame.nodes.iter().map(|node| node.depth).max(), Some(4));
}

#[test]
fn a_library_is_one_frame_and_what_it_calls_back_is_not_part_of_it() {
    let php = php();
    let flame = source(&php, Some(&Fold::default())).flame();
    let folded = flame.find(&path(&flame, &["main", "vendor/twig/twig"])).unwrap();
    assert_eq!((flame.nodes[folded].own.samples, flame.nodes[folded].now), (2, 50));
    assert_eq!(names(&flame, folded), [("price".into(), 30)]);
}

#[test]
fn folders_fold_wherever_they_are_and_files_of_that_name_do_not() {
    let fold = Fold::new(["vendor/*/*", "wp-includes"]);
    let label = |file| fold.label(file);
    assert_eq!(label("/a/vendor/x/y/z.php").as_deref(), Some("vendor/x/y"));
    assert_eq!(label("/a/vendor/x/y.php"), None);
    assert_eq!(label("/a/wp-includes/sub/b.php").as_deref(), Some("wp-includes"));
    assert_eq!((label("/a/wp-includes"), label(""), label("x.php")), (None, None, None));
}

#[test]
fn around_a_function_are_all_its_callers_and_callees() {
    let php = php();
    let frame = Frame::Function(php.functions[3].key.clone());
    let callers = source(&php, None).callers(&frame);
    let callees = source(&php, None).callees(&frame);
    assert_eq!(names(&callers, 0), [("render".into(), 50)]);
    assert_eq!(names(&callers, callers.nodes[0].children[0]), [("main".into(), 50)]);
    assert_eq!((names(&callees, 0), callees.nodes[0].own.samples), (vec![("price".into(), 30)], 2));
}

#[test]
fn a_recursion_counts_once() {
    let mut php = php();
    php.stacks = vec![stack(&[1, 1, 1, 0], 2, 0)];
    let callees = source(&php, None).callees(&Frame::Function(php.functions[1].key.clone()));
    assert_eq!((callees.nodes[0].now, callees.nodes.len()), (20, 3));
    let callers = source(&php, None).callers(&Frame::Function(php.functions[1].key.clone()));
    assert_eq!(names(&callers, 0), [("main".into(), 20)]);
}

#[test]
fn what_matches_counts_once_for_each_stack() {
    let php = php();
    let flame = source(&php, None).flame();
    assert_eq!(flame.matching(0, |frame| frame.place().contains("/twig/")), 50);
    assert_eq!(flame.matching(0, |frame| frame.name() == "main"), 150);
    assert_eq!(flame.matching(0, |_| false), 0);
}

#[test]
fn a_stack_whose_outer_frames_are_not_kept_is_not_drawn_as_if_it_began_there() {
    let mut php = php();
    php.stacks[0].truncated = true;
    let flame = source(&php, None).flame();
    assert!(flame.nodes[0].children.iter().any(|&child| *flame.frame(child) == Frame::Cut));
}

#[test]
fn two_spans_are_compared_by_second_and_what_is_gone_keeps_a_place() {
    let (before, mut after) = (php(), php());
    after.stacks = vec![stack(&[1, 0], 400, 0)];
    let source = Source { before: Some((&before, 1.0)), now: (&after, 2.0), ..source(&after, None) };
    let flame = source.flame();
    let at = |names: &[&str]| &flame.nodes[flame.find(&path(&flame, names)).unwrap()];
    let (query, render) = (at(&["main", "query"]), at(&["main", "render"]));
    assert_eq!((query.now, query.before, query.weight), (2000, 60, 2000));
    assert_eq!((render.now, render.before, render.weight), (0, 50, 50));
    assert!(!flame.is_noise(query));
    assert!(flame.is_noise(render), "five samples may be chance");
}

#[test]
fn a_function_is_the_same_before_and_after_a_release() {
    let (mut before, mut after) = (php(), php());
    for (php, release) in [(&mut before, "20261101"), (&mut after, "20261102")] {
        for function in &mut php.functions {
            let key = Arc::make_mut(&mut function.key);
            key.file = key.file.replace("/shop/", &format!("/shop/releases/{release}/")).into();
        }
    }
    let source = Source { before: Some((&before, 1.0)), ..source(&after, None) };
    let flame = source.flame();
    assert_eq!(flame.nodes[0].children.len(), 1);
    assert_eq!((flame.nodes[0].now, flame.nodes[0].before, flame.nodes[0].weight), (150, 150, 150));
}

proptest! {
    #[test]
    fn no_time_is_lost_or_made_up(
        stacks in prop::collection::vec((prop::collection::vec(0_usize..5, 0..9), 0_u64..50, 0_u64..5_000, any::<bool>()), 0..40),
        folds: bool,
    ) {
        let mut php = php();
        php.stacks = stacks.iter().map(|(frames, samples, wait, truncated)| {
            Stack { truncated: *truncated, ..stack(frames, *samples, *wait) }
        }).collect();
        let fold = Fold::default();
        let source = source(&php, folds.then_some(&fold));
        let all: u64 = stacks.iter().map(|(_, samples, wait, _)| samples * 10 + wait).sum();
        let flame = source.flame();
        prop_assert_eq!(flame.nodes[0].now, all);
        for node in &flame.nodes {
            let children: u64 = node.children.iter().map(|&child| flame.nodes[child].now).sum();
            prop_assert_eq!(node.now, children + source.basis.amount(node.own));
            prop_assert!(node.cpu <= node.now);
        }
        // As much as with the function anywhere on the stack, whichever way it is looked at.
        for function in &php.functions {
            let frame = Frame::Function(function.key.clone());
            let around = flame.matching(0, |other| *other == frame);
            prop_assert_eq!(source.callees(&frame).nodes[0].now, around);
            prop_assert_eq!(source.callers(&frame).nodes[0].now, around);
        }
    }
}
