//! The window of exact tracing: its cost here, its progress, what it needs, and the keys.

use super::{Line, wrap};
use crate::{
    model::{Exact, ExactKind, ExactState, Target, Tier, TierState},
    ui::frame::Screen,
    words::{printable, tracing, units},
};

/// The lines of the window; `room` columns wide at most.
pub(crate) fn lines(screen: &Screen, kind: ExactKind, room: usize) -> Vec<Line> {
    let palette = screen.palette;
    let room = room.min(76);
    let mut lines: Vec<Line> = Vec::new();
    if screen.view.recorded {
        let what = "This is a recording: nothing runs here that could be traced.";
        return wrap(what, room).into_iter().map(|part| vec![(part, palette.text)]).collect();
    }
    let mut say = |text: &str, style| {
        lines.extend(wrap(text, room).into_iter().map(|part| vec![(part, style)]));
    };
    say(
        if kind == ExactKind::Lines {
            "Every call of a built-in function, by the line of the call, and every included file, with its time."
        } else {
            "Every call of a PHP function with its time: exact counts, self and total time, durations."
        },
        palette.text,
    );
    say(
        "Each call costs two traps, so only some workers are traced, only for a part of the time, and it ends by itself. \
         The others run as usual.",
        palette.muted,
    );
    let Some(snapshot) = screen.snapshot else { return lines };
    let exact = screen.exact;
    let targets = &snapshot.php.targets;
    let can = targets.iter().any(|target| target.tiers[Tier::Exact].state != TierState::Unavailable);
    let not_for_all = targets.iter().flat_map(|target| &target.masters).any(|master| master.dtrace != Some(true));
    lines.push(Vec::new());
    match exact {
        Some(exact) => lines.extend(facts(screen, exact, room)),
        None => lines.push(vec![("counting calls …".to_owned(), palette.muted)]),
    }
    if !can || not_for_all || exact.is_some_and(|exact| exact.state == ExactState::Unavailable) {
        lines.extend(needs(screen, room));
    }
    lines.push(Vec::new());
    let keys: &[(&str, &str)] = match exact.map(|exact| exact.state) {
        Some(ExactState::Tracing) => &[("enter", "stops it"), ("esc", "closes this window; tracing goes on")],
        Some(ExactState::Unavailable) => &[("tab", "functions or lines"), ("esc", "closes")],
        _ => &[("enter", "starts it"), ("tab", "functions or lines"), ("esc", "closes")],
    };
    for (key, what) in keys {
        lines.push(vec![(printable::pad(key, 7), palette.title), ((*what).to_owned(), palette.text)]);
    }
    lines
}

fn facts(screen: &Screen, exact: &Exact, room: usize) -> Vec<Line> {
    let palette = screen.palette;
    let mut lines: Vec<Line> = Vec::new();
    let mut fact = |label: &str, value: String| {
        lines.push(vec![(printable::pad(label, 18), palette.muted), (value, palette.title)]);
    };
    let scope = exact.pool.as_deref().map_or_else(|| "all pools".to_owned(), |pool| format!("pool {pool}"));
    fact("scope", format!("{scope}, {} processes can be traced", exact.candidates));
    if let (Some(calls), Some(cost)) = (exact.calls_per_cpu_s, exact.call_ns) {
        fact("calls", format!("{} per CPU second of PHP", units::count(calls as u64)));
        fact("price", format!("{} a call", units::duration_ns(cost as u64)));
    }
    if exact.state == ExactState::Counting {
        fact("calls", "being counted …".to_owned());
    }
    if let Some(slowdown) = exact.slowdown {
        fact("while traced", format!("a worker takes {slowdown:.1} times as long"));
    }
    match exact.budget_ratio {
        Some(budget) => fact("budget", format!("{} of all CPUs", units::percent(budget))),
        None => fact("budget", "no limit".to_owned()),
    }
    if exact.state == ExactState::Tracing {
        if let Some(spent) = exact.spent_ratio {
            fact("spent", format!("about {} of all CPUs", units::percent(spent)));
        }
        fact("traced now", format!("{} processes", exact.pids.len()));
        fact("traced so far", format!("{} calls   {}", units::count(exact.calls), tracing::part(exact)));
    }
    if let Some(left) = exact.left_ms {
        fact("ends in", tracing::left_s(left));
    }
    if !exact.reason.is_empty() {
        lines.extend(wrap(&exact.reason, room).into_iter().map(|part| vec![(part, palette.warn)]));
    }
    lines
}

/// What PHP here would need, and what to type.
fn needs(screen: &Screen, room: usize) -> Vec<Line> {
    let palette = screen.palette;
    let mut lines: Vec<Line> = Vec::new();
    let Some(snapshot) = screen.snapshot else { return lines };
    let observed = |target: &&Target| !target.pids.is_empty() && target.not_observed.is_none();
    for target in snapshot.php.targets.iter().filter(observed) {
        let tier = &target.tiers[Tier::Exact];
        if tier.reason.is_empty() {
            continue;
        }
        let name = format!("PHP {} ({}): {}", target.version.as_deref().unwrap_or("?"), target.sapi, tier.reason);
        lines.push(Vec::new());
        lines.extend(wrap(&name, room).into_iter().map(|part| vec![(part, palette.text)]));
        for hint in &tier.hint {
            lines.extend(wrap(hint, room).into_iter().map(|part| vec![(format!("  {part}"), palette.title)]));
        }
    }
    lines
}
