//! Groups with their rules, and why a process is in its group, as text for people.

use std::io::{self, Write};

use super::{
    columns::{
        Align::{Left, Right},
        Columns,
    },
    table::{NAME_COLUMNS, title},
};
use crate::{
    commands::groups::{Explanation, Report},
    words::{
        printable::{printable, truncate_end},
        units,
    },
};

/// Columns of the conditions of a rule, which may be a long pattern.
const CONDITION_COLUMNS: usize = 120;

/// Writes the groups and the rules.
///
/// # Errors
/// What `out` answers.
pub fn write_groups(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut columns = Columns::new([
        ("GROUP", Left),
        ("PROCS", Right),
        ("FOLLOWING", Right),
        ("RSS", Right),
        ("PSS", Right),
        ("RULE", Left),
    ]);
    for entry in &report.groups {
        let rules: Vec<&str> = entry.rules.iter().map(|&rule| &*report.rules[rule].name).collect();
        columns.row([
            truncate_end(&entry.group.name, NAME_COLUMNS).into_owned(),
            entry.group.processes.to_string(),
            if entry.following == 0 { "-".into() } else { entry.following.to_string() },
            entry.group.memory.rss_bytes.map_or_else(|| "-".into(), units::bytes),
            entry.group.memory.pss_bytes.map_or_else(|| "-".into(), units::bytes),
            rules.join(", "),
        ]);
    }
    writeln!(out, "groups")?;
    columns.write(out)?;
    let mut columns =
        Columns::new([("RULE", Left), ("PROCS", Right), ("GROUP NAME", Left), ("FROM", Left), ("CONDITIONS", Left)]);
    for rule in &report.rules {
        let mut conditions = rule.conditions.join("; ");
        if rule.children {
            conditions.push_str("; children follow");
        }
        columns.row([
            rule.name.to_string(),
            rule.processes.to_string(),
            truncate_end(&rule.group_name, NAME_COLUMNS).into_owned(),
            rule.origin.clone(),
            truncate_end(&conditions, CONDITION_COLUMNS).into_owned(),
        ]);
    }
    title(out, "rules, in the order they are tried")?;
    columns.write(out)
}

/// Writes why a process is in its group.
///
/// # Errors
/// What `out` answers.
pub fn write_explanation(explanation: &Explanation, out: &mut impl Write) -> io::Result<()> {
    let Explanation { pid, comm, cmdline, group, rule, follows, tried } = explanation;
    writeln!(out, "process {pid}  {}  {}", printable(comm), truncate_end(&printable(cmdline), CONDITION_COLUMNS))?;
    writeln!(out, "group    {}", printable(group))?;
    match follows {
        None => writeln!(out, "rule     {}", printable(rule))?,
        Some(ancestor) => writeln!(
            out,
            "rule     {}, which matches its ancestor {} ({}); none of your rules matches the process itself",
            printable(rule),
            ancestor.pid,
            printable(&ancestor.comm)
        )?,
    }
    let mut columns = Columns::new([("", Left), ("RULE", Left), ("FROM", Left), ("BECAUSE", Left)]);
    for trial in tried {
        columns.row([
            if trial.takes { "yes" } else { "no" }.into(),
            trial.rule.to_string(),
            trial.origin.clone(),
            trial.reason.clone(),
        ]);
    }
    title(out, "rules that were tried, in order")?;
    columns.write(out)
}
