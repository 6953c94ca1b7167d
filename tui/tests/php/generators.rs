//! Stacks of generators that delegate and of fibers are what PHP itself says: no frame is missing, and none is there that PHP does
//! not have.

use std::collections::BTreeSet;

use crate::servers::{FpmOptions, PhpFpm, Pool, Request, alone};
use crate::watch::Watch;
use tusktop::collect::php::StackCount;

/// Says its own stack where it begins to work and to wait, leaf first, and then works and waits there.
const SCRIPT: &str = r#"<?php
function work(): void
{
    $names = array_map(fn (array $frame) => ($frame['class'] ?? '') . ':' . $frame['function'], debug_backtrace());
    echo implode(' ', $names), "\n";
    for ($end = microtime(true) + 0.4; microtime(true) < $end;) {
        for ($i = 0; $i < 2000; $i++) {
        }
    }
    usleep(200000);
}
function inner(): Generator
{
    work();
    yield 1;
    work();
}
function middle(): Generator
{
    yield from inner();
    work();
}
function outer(): Generator
{
    yield 0;
    yield from middle();
}
class Consumer
{
    public static function all(Generator $generator): void
    {
        foreach ($generator as $value) {
        }
    }
}
/** Two generators that delegate to the same one. */
function shared(): void
{
    $inner = inner();
    $of = fn () => yield from $inner;
    [$first, $second] = [$of(), $of()];
    $first->current();
    $second->next();
}
/** A generator that delegates while another one does. */
function nested(): Generator
{
    yield from (function () {
        Consumer::all(outer());
        yield 2;
    })();
}
function in_fiber(): void
{
    work();
    Fiber::suspend();
    Consumer::all(outer());
}
function fibers(): void
{
    $fiber = new Fiber(in_fiber(...));
    $fiber->start();
    (fn () => $fiber->resume())();
}
match ($_GET['case']) {
    'delegates' => Consumer::all(outer()),
    'shared' => shared(),
    'nested' => Consumer::all(nested()),
    'fibers' => fibers(),
};
"#;

/// The stacks that PHP said, and those that were seen at work and waiting.
fn stacks(case: &str) -> [BTreeSet<String>; 3] {
    let fpm = PhpFpm::start(FpmOptions { pools: vec![Pool::new("www", 1)], ..FpmOptions::default() });
    fpm.site().write_page("generators.php", SCRIPT);
    let mut watch = Watch::start(199, fpm.site().path());
    let answer = fpm.send("www", &Request::get(&format!("/generators?case={case}")).script("generators.php"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    watch.until("the request has ended", |watch| watch.finished.len() == 1);
    watch.read();
    let said = answer.body.lines().map(|line| format!("{line} :{{main}}")).collect();
    let seen = |waits: bool| {
        let counts = |count: &&StackCount| if waits { count.wait_ns > 100_000_000 } else { count.samples > 0 };
        let names = watch.stacks.iter().filter(counts).map(|count| {
            let frames = count.stack.frames.iter();
            frames.map(|frame| format!("{}:{}", frame.class, frame.name)).collect::<Vec<_>>().join(" ")
        });
        // Above the function that works are those that it calls.
        names.filter_map(|names| names.find(":work ").map(|at| names[at..].to_owned())).collect()
    };
    [said, seen(false), seen(true)]
}

fn are_what_php_says(case: &str, count: usize) {
    let [said, at_work, waiting] = stacks(case);
    assert_eq!((said.len(), &at_work), (count, &said), "{case}");
    assert_eq!(waiting, said, "{case}");
}

#[test]
#[ignore = "needs root and PHP"]
fn generators_that_delegate_are_in_the_stack() {
    let _alone = alone();
    are_what_php_says("delegates", 2);
    are_what_php_says("shared", 2);
    are_what_php_says("nested", 2);
}

#[test]
#[ignore = "needs root and PHP"]
fn fibers_have_the_frames_that_php_says_and_no_other() {
    let _alone = alone();
    are_what_php_says("fibers", 3);
}
