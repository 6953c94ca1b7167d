//! Everything about one PHP function: its time, its hot lines, who calls it, what it calls, and in which routes.

use super::{
    super::{frame::Screen, paint, panes::hot},
    facts::{Kind, Line, fact, heading},
};
use crate::{
    analysis::{profile, profile::Scope},
    model::{Function, FunctionKey, FunctionKind, HotLine, Php},
    words::{names, units},
};

/// Fewer samples than this do not tell the shares of lines.
const FEW: u64 = 50;

/// What tracing says of a function.
fn traced(php: &Php, key: &FunctionKey) -> Vec<Line> {
    let function = php.functions.iter().find(|function| *function.key == *key);
    let Some((function, calls)) = function.and_then(|function| Some((function, function.calls?))) else {
        return Vec::new();
    };
    let time = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), units::duration_ns);
    let mut lines = vec![
        fact("traced calls", units::count(calls)),
        fact("traced self", time(function.self_ns)),
        fact("traced total", time(function.total_ns)),
    ];
    let durations = function.durations_log2.as_deref().unwrap_or_default();
    let most = durations.iter().copied().max().unwrap_or(0).max(1);
    let first = durations.iter().position(|&calls| calls > 0).unwrap_or(0);
    for (bucket, &calls) in durations.iter().enumerate().skip(first) {
        let bar = paint::bar(20, calls as f64 / most as f64, 0.0);
        let label = format!("from {}", units::duration_ns(1 << bucket));
        lines.push(fact(&label, format!("{bar} {}", units::count(calls))));
    }
    lines
}

/// At which lines it is when it runs, or why that is not known.
fn hot_lines(screen: &Screen, key: &FunctionKey) -> Vec<Line> {
    let part = |value: String| [heading(""), Line { value, ..heading("hot lines") }];
    let Some(function) = screen.php.functions.iter().find(|function| *function.key == *key) else { return Vec::new() };
    let hot = &function.hot_lines;
    let all = hot.samples();
    let jit = screen.php.targets.iter().flat_map(|target| &target.masters).any(|master| master.jit == Some(true));
    if all == 0 {
        return no_lines(function, jit).map_or_else(Vec::new, |why| part(format!("none: {why}")).into());
    }
    let few = if all < FEW { ", few as yet" } else { "" };
    let scope = if screen.scope == Scope::All { "" } else { ", of all requests" };
    let mut lines: Vec<Line> = part(format!("from {}{few}{scope}", in_samples(all))).into();
    if jit {
        let label = "with JIT the line of running code may be an earlier one".to_owned();
        lines.push(Line { label, value: String::new(), kind: Kind::Muted });
    }
    let digits = hot.lines.iter().map(|line| line.line.to_string().len()).max().unwrap_or(0);
    let share = |samples: u64| samples as f64 / all as f64;
    lines.extend(hot.lines.iter().map(|&HotLine { line, samples, self_samples }| {
        let bar = paint::bar(16, share(self_samples), share(samples));
        let own = units::count(self_samples);
        let value = format!("line {line:>digits$}  {bar}  {}, {own} self", in_samples(samples));
        fact(&units::percent_column(share(samples)), value)
    }));
    if hot.other_samples > 0 {
        let value = format!("at other lines, {}", in_samples(hot.other_samples));
        lines.push(fact(&units::percent_column(share(hot.other_samples)), value));
    }
    lines
}

/// Why no sample of a function has a line; `None` where there is nothing that could have one.
fn no_lines(function: &Function, jit: bool) -> Option<&'static str> {
    match (function.key.kind, function.total_samples) {
        (FunctionKind::Unknown, _) => None,
        (FunctionKind::Internal, _) => Some("it is built in; its callers have lines"),
        (_, 0) => Some("it was not seen on the CPU"),
        (_, samples) if samples < 2 * FEW => Some("one in sixteen samples has them, and it had few"),
        _ if jit => Some("with JIT it is not known where code runs"),
        _ => Some("not read, or recorded by an older version"),
    }
}

/// What is known of it in this window and scope.
pub(super) fn facts(screen: &Screen, key: &FunctionKey) -> Vec<Line> {
    let scope = &screen.scope;
    let php = screen.php;
    let basis = profile::Basis::of(php, screen.view.hot_time);
    let around = profile::around(php, key, scope, basis);
    let all = basis.amount(profile::time(php, scope)).max(1) as f64;
    let share = |ns: u64| units::percent_column(ns as f64 / all);
    let times = |time: profile::Time| {
        let samples = in_samples(time.samples);
        let wait = units::duration_ns(time.wait_ns);
        let growth = match time.growth_bytes {
            0 => String::new(),
            growth => format!(", {} growth", units::bytes(growth)),
        };
        format!("{}   {samples} on the CPU, {wait} waiting{growth}", share(basis.amount(time)))
    };
    let mut lines = vec![
        fact("file", names::place_of(key)),
        fact("time", hot::time_name(screen.view.hot_time)),
        fact("self", times(around.own)),
        fact("total", times(around.total)),
    ];
    lines.extend(traced(php, key));
    lines.extend(hot_lines(screen, key));
    if around.total == profile::Time::default() {
        lines.push(heading("no samples of it in this window and scope"));
    }
    for (title, list) in [("called by", &around.callers), ("calls", &around.callees)] {
        if !list.is_empty() {
            lines.extend([heading(""), heading(title)]);
        }
        for (index, samples) in list.iter().take(50) {
            let Some(function) = php.functions.get(*index) else { continue };
            let function = format!("{}   {}", names::function(&function.key), names::place_of(&function.key));
            lines.push(fact(&share(*samples), function));
        }
    }
    if !around.routes.is_empty() {
        lines.extend([heading(""), heading("in routes")]);
    }
    for (index, samples) in around.routes.iter().take(50) {
        let Some(route) = php.routes.get(*index) else { continue };
        let name = format!("{} {}   {}", route.key.method, names::route(route), route.key.group);
        lines.push(fact(&share(*samples), name));
    }
    lines
}

fn in_samples(count: u64) -> String {
    format!("{} sample{}", units::count(count), if count == 1 { "" } else { "s" })
}
