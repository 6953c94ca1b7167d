//! The findings for people: plain text, 80 columns, nothing that steers a terminal.

use std::io::{self, Write};

use super::{
    report::{Program, Report, TierLine},
    system::State,
};
use crate::{
    model::{Master, TierState},
    words::{
        names,
        printable::{pad, printable, width},
    },
};

const COLUMNS: usize = 80;
/// Where what was found begins, behind the verdict and the name.
const FOUND: usize = 25;

pub(super) fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "tusktop {} on {}\n\nmachine", report.tusktop, printable(&report.host))?;
    for check in &report.system {
        let verdict = match check.state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Missing => "missing",
        };
        line(out, verdict, check.name, &check.found)?;
        for hint in &check.hint {
            wrapped(out, FOUND, &format!("> {hint}"))?;
        }
    }
    if !report.running {
        writeln!(out)?;
        let text = match report.php.is_empty() {
            true => "No PHP is running, and none is in the usual folders.",
            false => "No PHP is running. The rest is about installed programs.",
        };
        wrapped(out, 0, text)?;
    }
    for program in &report.php {
        writeln!(out)?;
        write_program(program, out)?;
    }
    for notice in &report.notices {
        writeln!(out)?;
        let level = names::level(notice.level);
        wrapped(out, 0, &format!("{level}: {}", notice.text))?;
        wrapped(out, 2, &notice.hint)?;
    }
    writeln!(out)?;
    wrapped(out, 0, summary(report))
}

fn summary(report: &Report) -> &'static str {
    match (report.complete, report.running) {
        (true, true) => "Everything works for every running PHP.",
        (true, false) => "Everything that can be checked without a running PHP works.",
        (false, _) => "Something is missing; see the hints above. Memory is shown in any case.",
    }
}

fn write_program(program: &Program, out: &mut impl Write) -> io::Result<()> {
    let version = program.version.as_deref().unwrap_or("of unknown version");
    let threads = if program.zts { ", thread-safe (ZTS)" } else { "" };
    wrapped(out, 0, &format!("PHP {version} ({}{threads})  {}", program.sapi, program.exe))?;
    let probes = match program.probes.len() {
        0 => "no USDT probes".to_owned(),
        number => format!("{number} USDT probes"),
    };
    wrapped(
        out,
        2,
        &format!(
            "{}, {probes}, {} exported functions to attach to",
            count(program.processes, "process", "processes"),
            program.functions.len()
        ),
    )?;
    for tier in &program.tiers {
        let verdict = match tier.state {
            _ if !tier.works => "missing",
            TierState::Off if !tier.on_demand => "off",
            _ => "ok",
        };
        line(out, verdict, tier.name, &found(tier))?;
    }
    for master in &program.masters {
        wrapped(out, 2, &facts(master))?;
    }
    if program.masters_left_out > 0 {
        wrapped(out, 2, &format!("and {} more, not listed", program.masters_left_out))?;
    }
    write_hints(&program.masters, out)
}

fn found(tier: &TierLine) -> String {
    match (&*tier.how, &*tier.reason) {
        (how, "") => how.to_owned(),
        ("", reason) => reason.to_owned(),
        (how, reason) => format!("{how}; {reason}"),
    }
}

fn facts(master: &Master) -> String {
    let state = |value: Option<bool>| match value {
        Some(true) => "on",
        Some(false) => "off",
        None => "unknown",
    };
    let keeper = match (&master.unit, &master.container) {
        (_, Some(container)) => format!("container {container}, "),
        (Some(unit), None) => format!("{unit}, "),
        (None, None) => String::new(),
    };
    let variable = match (master.dtrace, master.variable) {
        (None, Some(true)) => "on in the environment",
        (dtrace, _) => state(dtrace),
    };
    format!(
        "pid {}: {keeper}USE_ZEND_DTRACE {variable}, opcache {}, JIT {}",
        master.pid,
        state(master.opcache),
        state(master.jit)
    )
}

/// What to type, once for all masters that need the same.
fn write_hints(masters: &[Master], out: &mut impl Write) -> io::Result<()> {
    let mut written: Vec<&[String]> = Vec::new();
    for master in masters.iter().filter(|master| !master.hint.is_empty()) {
        if written.contains(&&*master.hint) {
            continue;
        }
        written.push(&master.hint);
        let same: Vec<_> =
            masters.iter().filter(|other| other.hint == master.hint).map(|other| other.pid.to_string()).collect();
        wrapped(out, 2, &format!("pid {}: {}", same.join(", "), master.reason))?;
        for hint in &master.hint {
            // Not wrapped: it may be something to paste.
            writeln!(out, "    {}", printable(hint))?;
        }
    }
    Ok(())
}

fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// A verdict, what it is about, and what was found.
fn line(out: &mut impl Write, verdict: &str, name: &str, found: &str) -> io::Result<()> {
    let head = format!("  {}{}", pad(verdict, 9), pad(name, FOUND - 11));
    let mut lines = wrap(found, COLUMNS - FOUND).into_iter();
    writeln!(out, "{}", format!("{head}{}", lines.next().unwrap_or_default()).trim_end())?;
    for more in lines {
        writeln!(out, "{:FOUND$}{more}", "")?;
    }
    Ok(())
}

/// Text behind an indent; nothing for an empty one.
fn wrapped(out: &mut impl Write, indent: usize, text: &str) -> io::Result<()> {
    for line in wrap(text, COLUMNS - indent) {
        writeln!(out, "{:indent$}{line}", "")?;
    }
    Ok(())
}

/// Lines of at most `columns`, broken between words; a longer word stays whole, because it may be something to paste.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in printable(text).split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(word) <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
