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
    model::{Function, HotTime, Php},
    words::{names, printable::truncate_start, tracing, units},
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
    let share = |ns: u64| units::percent_column(ns as f64 / basis.amount(all).max(1) as f64);
    for row in hot.iter().take(ROWS) {
        let function = &php.functions[row.of];
        columns.row([
            share(basis.amount(row.own)),
            share(basis.amount(row.total)),
            units::duration_ns(row.own.samples * basis.sample_ns),
            units::duration_ns(row.own.wait_ns),
            called(&function.key.class, &function.key.name),
            path(&names::place_of(&function.key)),
        ]);
    }
    let (samples, waited) = (units::count(all.samples), units::duration_ns(all.wait_ns));
    let left = more(hot.len().saturating_sub(ROWS));
    title(out, &format!("hot functions (self: cpu + wait; {samples} samples, {waited} waiting{left})"))?;
    columns.write(out)
}

/// Writes the functions that made processes grow.
pub(super) fn write_growth(php: &Php, out: &mut impl Write) -> io::Result<()> {
    let basis = Basis::of(php, HotTime::Memory);
    let hot = profile::functions(php, &Scope::All, basis);
    if hot.is_empty() {
        return Ok(());
    }
    let mut columns = Columns::new([("SELF", Right), ("TOTAL", Right), ("FUNCTION", Left), ("WHERE", Left)]);
    for row in hot.iter().take(ROWS) {
        let function = &php.functions[row.of];
        columns.row([
            units::bytes(row.own.growth_bytes),
            units::bytes(row.total.growth_bytes),
            called(&function.key.class, &function.key.name),
            path(&names::place_of(&function.key)),
        ]);
    }
    let all = units::bytes(profile::time(php, &Scope::All).growth_bytes);
    let left = more(hot.len().saturating_sub(ROWS));
    title(out, &format!("functions that made processes grow ({all} in all, about{left})"))?;
    columns.write(out)
}

/// Writes what tracing found, and which part was traced.
pub(super) fn write_traced(php: &Php, out: &mut impl Write) -> io::Result<()> {
    let Some(exact) = &php.exact else { return Ok(()) };
    title(out, &format!("traced calls ({})", tracing::summary(exact)))?;
    let mut columns = Columns::new([
        ("CALLS", Right),
        ("SELF", Right),
        ("TOTAL", Right),
        ("PER CALL", Right),
        ("FUNCTION", Left),
        ("WHERE", Left),
    ]);
    let row = |calls: u64, self_ns: u64, total_ns: u64, function: String, place: String| {
        let call = units::duration_ns(total_ns / calls.max(1));
        [units::count(calls), units::duration_ns(self_ns), units::duration_ns(total_ns), call, function, place]
    };
    if let Some(lines) = &php.lines {
        for line in lines.iter().take(ROWS) {
            columns.row(row(
                line.calls,
                line.self_ns,
                line.total_ns,
                truncate_start(&names::line(line), PATH_COLUMNS).into_owned(),
                path(&names::place_of_line(line)),
            ));
        }
    } else {
        let mut traced: Vec<&Function> = php.functions.iter().filter(|function| function.calls.is_some()).collect();
        traced.sort_by_key(|function| Reverse((function.self_ns, function.total_ns, function.calls)));
        // Without a budget all was traced, and whoever asked for that wants to see all of it.
        let rows = if exact.budget_ratio.is_none() { traced.len() } else { ROWS };
        for function in traced.iter().take(rows) {
            let [calls, own, total] =
                [function.calls, function.self_ns, function.total_ns].map(Option::unwrap_or_default);
            let name = called(&function.key.class, &function.key.name);
            columns.row(row(calls, own, total, name, path(&names::place_of(&function.key))));
        }
        if traced.len() > rows {
            writeln!(out, "the {rows} with the most self time of {}", traced.len())?;
        }
    }
    columns.write(out)
}

fn called(class: &str, name: &str) -> String {
    truncate_start(&names::called(class, name), PATH_COLUMNS).into_owned()
}
