//! Hot functions, and traced calls, as tables.

use std::{
    cmp::Reverse,
    io::{self, Write},
};

use super::{
    columns::{
        Align::{Left, Right},
        Columns,
    },
    table::{PATH_COLUMNS, ROWS, more, path, title},
};
use crate::{
    analysis::profile::{self, Basis, Scope},
    model::{Exact, ExactState, Function, FunctionKind, HotTime, LineCalls, Php},
    words::{printable::truncate_start, units},
};

/// Writes the functions in which time passed.
pub(super) fn write(php: &Php, out: &mut impl Write) -> io::Result<()> {
    let basis = Basis::of(php, HotTime::Both);
    let all = profile::time(php, &Scope::All);
    let hot = profile::functions(php, &Scope::All, basis);
    if hot.is_empty() {
        return Ok(());
    }
    let mut columns = Columns::new([
        ("SELF", Right),
        ("TOTAL", Right),
        ("CPU", Right),
        ("WAIT", Right),
        ("FUNCTION", Left),
        ("WHERE", Left),
    ]);
    let share = |ns: u64| units::percent_column(ns as f64 / basis.ns(all).max(1) as f64);
    for row in hot.iter().take(ROWS) {
        let function = &php.functions[row.of];
        columns.row([
            share(basis.ns(row.own)),
            share(basis.ns(row.total)),
            units::duration_ns(row.own.samples * basis.sample_ns),
            units::duration_ns(row.own.wait_ns),
            called(&function.key.class, &function.key.name),
            location(function),
        ]);
    }
    let (samples, waited) = (units::count(all.samples), units::duration_ns(all.wait_ns));
    let left = more(hot.len().saturating_sub(ROWS));
    title(out, &format!("hot functions (self: cpu + wait; {samples} samples, {waited} waiting{left})"))?;
    columns.write(out)
}

/// Writes what tracing found, and which part was traced.
pub(super) fn write_traced(php: &Php, out: &mut impl Write) -> io::Result<()> {
    let Some(exact) = &php.exact else { return Ok(()) };
    title(out, &format!("traced calls ({})", stands(exact)))?;
    let mut columns = Columns::new([
        ("CALLS", Right),
        ("SELF", Right),
        ("TOTAL", Right),
        ("A CALL", Right),
        ("FUNCTION", Left),
        ("WHERE", Left),
    ]);
    let row = |calls: u64, self_ns: u64, total_ns: u64, function: String, place: String| {
        let call = units::duration_ns(total_ns / calls.max(1));
        [units::count(calls), units::duration_ns(self_ns), units::duration_ns(total_ns), call, function, place]
    };
    if let Some(lines) = &php.lines {
        for line in lines.iter().take(ROWS) {
            columns.row(row(line.calls, line.self_ns, line.total_ns, line_name(line), line_place(line)));
        }
    } else {
        let mut traced: Vec<&Function> = php.functions.iter().filter(|function| function.calls.is_some()).collect();
        traced.sort_by_key(|function| Reverse((function.self_ns, function.total_ns, function.calls)));
        // Without a budget all was traced, and whoever asked for that wants to see all of it.
        let rows = if exact.budget_ratio.is_none() { traced.len() } else { ROWS };
        for function in traced.iter().take(rows) {
            let [calls, own, total] =
                [function.calls, function.self_ns, function.total_ns].map(Option::unwrap_or_default);
            columns.row(row(calls, own, total, called(&function.key.class, &function.key.name), location(function)));
        }
        if traced.len() > rows {
            writeln!(out, "the {rows} with the most self time of {}", traced.len())?;
        }
    }
    columns.write(out)
}

/// Which part was traced, in words.
fn stands(exact: &Exact) -> String {
    let mut text = format!("{} calls", units::count(exact.calls));
    match exact.traced_ratio {
        Some(ratio) if ratio < 0.995 => {
            text += &match ratio {
                ..0.001 => ", less than 0.1 % of PHP's work; calls in all are about".to_owned(),
                _ => format!(", about {} of PHP's work; calls in all are about", units::percent(ratio)),
            };
            let all = exact.calls as f64 / ratio.max(f64::MIN_POSITIVE);
            text += &format!(" {}, an estimate", units::count(all as u64));
        }
        Some(_) => text += ", all of PHP's work",
        None => {}
    }
    if let Some(call_ns) = exact.call_ns {
        text += &format!("; {} a call", units::duration_ns(call_ns as u64));
    }
    if let (Some(spent), Some(budget)) = (exact.spent_ratio, exact.budget_ratio) {
        text += &format!(", {} of all CPUs spent of {}", units::percent(spent), units::percent(budget));
    }
    match exact.state {
        ExactState::Ended | ExactState::Unavailable => text += &format!("; {}", exact.reason),
        ExactState::Counting => text += "; still counting calls to find the price",
        ExactState::Priced | ExactState::Tracing | ExactState::Other => {}
    }
    text
}

fn called(class: &str, name: &str) -> String {
    let name = if class.is_empty() { name.to_owned() } else { format!("{class}::{name}") };
    truncate_start(&name, PATH_COLUMNS).into_owned()
}

fn location(function: &Function) -> String {
    match function.key.kind {
        FunctionKind::Internal => "(built in)".into(),
        _ if function.key.file.is_empty() => "-".into(),
        _ if function.key.line == 0 => path(&function.key.file),
        _ => path(&format!("{}:{}", function.key.file, function.key.line)),
    }
}

fn line_name(line: &LineCalls) -> String {
    match &*line.name {
        "{compile}" => "compile".to_owned(),
        _ if line.included => "include".to_owned(),
        _ => called(&line.class, &line.name),
    }
}

fn line_place(line: &LineCalls) -> String {
    if line.included { path(&line.file) } else { path(&format!("{}:{}", line.file, line.line)) }
}
