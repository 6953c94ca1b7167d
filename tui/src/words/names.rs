//! What things are called, on the screen and in tables: functions, places in files, routes, and how much a notice matters.

use std::borrow::Cow;

use jiff::Timestamp;

use super::units;
use crate::model::{FunctionKey, FunctionKind, Level, LineCalls, Route, Waiting, WorkerKey};

/// A worker: its process, or its thread.
pub(crate) fn worker(key: WorkerKey) -> String {
    match key.tid {
        None => format!("worker {}", key.pid),
        Some(tid) => format!("thread {tid} of {}", key.pid),
    }
}

/// Where PHP's own functions are.
pub(crate) const BUILT_IN: &str = "built-in";
/// Where nothing is known.
pub(crate) const UNKNOWN: &str = "-";

/// `class::name`, or the name where there is no class.
pub(crate) fn called<'a>(class: &str, name: &'a str) -> Cow<'a, str> {
    if class.is_empty() { Cow::Borrowed(name) } else { Cow::Owned(format!("{class}::{name}")) }
}

/// `class::name` of a function, or `{main}` of a file.
pub(crate) fn function(function: &FunctionKey) -> Cow<'_, str> {
    called(&function.class, &function.name)
}

/// `file:line`, the file where no line is known, [`UNKNOWN`] where no file is.
pub(crate) fn place(file: &str, line: u32) -> Cow<'_, str> {
    match (file, line) {
        ("", _) => Cow::Borrowed(UNKNOWN),
        (file, 0) => Cow::Borrowed(file),
        (file, line) => Cow::Owned(format!("{file}:{line}")),
    }
}

/// Where a function is: its [`place`], or [`BUILT_IN`].
pub(crate) fn place_of(function: &FunctionKey) -> Cow<'_, str> {
    match function.kind {
        FunctionKind::Internal => Cow::Borrowed(BUILT_IN),
        _ => place(&function.file, function.line),
    }
}

/// What a traced line calls; `include` or `compile` for a file.
pub(crate) fn line(line: &LineCalls) -> Cow<'_, str> {
    match &*line.name {
        "{compile}" if line.included => Cow::Borrowed("compile"),
        _ if line.included => Cow::Borrowed("include"),
        name => called(&line.class, name),
    }
}

/// Where a traced line is; the file where a whole file is meant.
pub(crate) fn place_of_line(line: &LineCalls) -> Cow<'_, str> {
    place(&line.file, if line.included { 0 } else { line.line })
}

/// Path of a route, or its script when it has none.
pub(crate) fn route(route: &Route) -> &str {
    if route.key.route.is_empty() { &route.key.script } else { &route.key.route }
}

/// What a thread waits in: `usleep in slow_query for 2.10 s (hrtimer_nanosleep)`.
pub(crate) fn waiting(waiting: &Waiting, now: Timestamp) -> String {
    let called_in = waiting.caller.as_ref().map_or_else(String::new, |caller| format!(" in {}", function(caller)));
    let kernel = waiting.kernel.as_ref().map_or_else(String::new, |kernel| format!(" ({kernel})"));
    format!("{}{called_in} for {}{kernel}", function(&waiting.function), waited(waiting, now))
}

/// How long a wait has lasted so far.
pub(crate) fn waited(waiting: &Waiting, now: Timestamp) -> String {
    let ms = now.duration_since(waiting.since).as_secs_f64().max(0.0) * 1e3;
    format!("{}{}", if waiting.since_known { "" } else { "≥ " }, units::duration_ms(ms))
}

/// How much a notice matters.
pub(crate) fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "note",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_says_what_is_known_of_it() {
        assert_eq!(
            (place("", 3), place("/a.php", 0), place("/a.php", 3)),
            ("-".into(), "/a.php".into(), "/a.php:3".into())
        );
    }

    #[test]
    fn a_wait_is_said_with_who_waits_for_how_long_and_where_in_the_kernel() {
        let key = |name: &str, kind| {
            let (name, none) = (name.into(), std::sync::Arc::<str>::from(""));
            std::sync::Arc::new(FunctionKey { name, class: none.clone(), file: none, line: 0, kind })
        };
        let since: Timestamp = "2026-11-22T14:00:00Z".parse().unwrap();
        let mut wait = Waiting {
            function: key("usleep", FunctionKind::Internal),
            caller: Some(key("slow_query", FunctionKind::User)),
            since,
            since_known: false,
            kernel: Some("hrtimer_nanosleep".into()),
        };
        let now = since + jiff::SignedDuration::from_millis(2100);
        assert_eq!(waiting(&wait, now), "usleep in slow_query for ≥ 2.10 s (hrtimer_nanosleep)");
        (wait.caller, wait.kernel, wait.since_known) = (None, None, true);
        assert_eq!(waiting(&wait, now), "usleep for 2.10 s");
    }

    #[test]
    fn a_method_is_named_with_its_class() {
        assert_eq!((called("wpdb", "query"), called("", "strlen")), ("wpdb::query".into(), "strlen".into()));
    }
}
