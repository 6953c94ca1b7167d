//! Two spans compared, as tables and as one line of JSON. What changed comes first; a difference that is noise is in brackets.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use serde::Serialize;

use super::{
    columns::{
        Align::{Left, Right},
        Columns,
    },
    json,
    table::{NAME_COLUMNS, PATH_COLUMNS, ROWS, more, name, path, title},
};
use crate::{
    analysis::difference::{Change, Difference, Finding, Outcome, SpanFacts, Unit, Verdict},
    model::{FunctionKind, ProblemKind},
    words::{
        names,
        printable::{printable, truncate_end, truncate_start},
        units,
    },
};

/// Version of the layout of the JSON.
const SCHEMA: u32 = 1;

/// Writes the difference and what became of limits as one line of JSON.
///
/// # Errors
/// What `out` answers.
pub fn write_json(difference: &Difference, findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        schema: u32,
        #[serde(flatten)]
        difference: &'a Difference,
        limits: &'a [Finding],
    }
    json::write_line(&Line { schema: SCHEMA, difference, limits: findings }, out)
}

/// Writes the difference and what became of limits as tables.
///
/// # Errors
/// What `out` answers.
pub fn write(difference: &Difference, findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    span("before", &difference.before, out)?;
    span("after", &difference.after, out)?;
    writeln!(out, "(in brackets: no more than noise; ?: too little to say)")?;
    limits(findings, out)?;
    groups(difference, out)?;
    routes(difference, out)?;
    functions(difference, out)?;
    problems(difference, out)
}

/// What became of a limit, in one sentence.
pub fn finding(finding: &Finding) -> String {
    let mut text = match finding.outcome {
        Outcome::Exceeded => format!("exceeded: {}", finding.limit),
        Outcome::Kept => format!("kept: {}", finding.limit),
        Outcome::Unknown => format!("cannot be told: {}", finding.limit),
    };
    if let Some(change) = finding.change.as_ref().filter(|change| change.before.is_some() || change.after.is_some()) {
        let value = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| unit(finding.unit, value));
        // Writing to a String does not fail.
        let _ = write!(text, ": {} -> {}", value(change.before), value(change.after));
        if let Some(ratio) = change.ratio() {
            let _ = write!(text, ", {}", signed_percent(ratio));
        }
        if !finding.of.is_empty() {
            let _ = write!(text, " ({})", finding.of);
        }
    }
    if !finding.reason.is_empty() {
        let _ = write!(text, ": {}", finding.reason);
    }
    text
}

fn span(which: &str, facts: &SpanFacts, out: &mut impl Write) -> io::Result<()> {
    let clock = |at: Option<jiff::Timestamp>| match at {
        Some(at) => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        None => "-".to_owned(),
    };
    let left_out = match facts.left_out {
        0 => String::new(),
        count => format!("   {} left out, because there is too much to compare", units::count(count)),
    };
    writeln!(
        out,
        "{which:<6}  {} to {}   {}   {} snapshots   {} requests{left_out}",
        clock(facts.from),
        clock(facts.to),
        units::age(facts.seconds.round() as u64),
        units::count(facts.snapshots),
        units::count(facts.requests),
    )
}

fn limits(findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    title(out, "limits")?;
    for found in findings {
        writeln!(out, "{}", printable(&finding(found)))?;
    }
    Ok(())
}

fn groups(difference: &Difference, out: &mut impl Write) -> io::Result<()> {
    let mut columns = Columns::new([
        ("MEMORY", Right),
        ("CHANGE", Right),
        ("", Right),
        ("CPU", Right),
        ("CHANGE", Right),
        ("PROCS", Right),
        ("CHANGE", Right),
        ("GROUP", Left),
    ]);
    for group in difference.groups.iter().take(ROWS) {
        columns.row([
            value(Unit::Bytes, &group.memory_bytes),
            signed(Unit::Bytes, &group.memory_bytes),
            percent(&group.memory_bytes),
            value(Unit::Cores, &group.cpu_ratio),
            signed(Unit::Cores, &group.cpu_ratio),
            value(Unit::Count, &group.processes),
            signed(Unit::Count, &group.processes),
            name(&group.group),
        ]);
    }
    list(out, "groups (averages; CPU in cores", difference.groups.len(), &columns)
}

fn routes(difference: &Difference, out: &mut impl Write) -> io::Result<()> {
    let mut columns = Columns::new([
        ("REQUESTS", Right),
        ("CHANGE", Right),
        ("5XX", Right),
        ("CHANGE", Right),
        ("P50", Right),
        ("CHANGE", Right),
        ("P95", Right),
        ("CHANGE", Right),
        ("P99", Right),
        ("CHANGE", Right),
        ("BUSY", Right),
        ("CHANGE", Right),
        ("METHOD", Left),
        ("ROUTE", Left),
        ("GROUP", Left),
    ]);
    let all = (difference.requests.requests_per_s.before, difference.requests.requests_per_s.after);
    let together = Some(&difference.requests).filter(|_| all != (None, None) && !difference.routes.is_empty());
    for route in together.into_iter().chain(difference.routes.iter().take(ROWS)) {
        columns.row([
            value(Unit::PerSecond, &route.requests_per_s),
            percent(&route.requests_per_s),
            value(Unit::Ratio, &route.error_ratio),
            percent(&route.error_ratio),
            value(Unit::Milliseconds, &route.p50_ms),
            percent(&route.p50_ms),
            value(Unit::Milliseconds, &route.p95_ms),
            percent(&route.p95_ms),
            value(Unit::Milliseconds, &route.p99_ms),
            percent(&route.p99_ms),
            value(Unit::Cores, &route.busy_workers),
            percent(&route.busy_workers),
            route.name.method.to_string(),
            if route.name.route.is_empty() { "all requests".to_owned() } else { path(&route.name.route) },
            name(&route.name.group),
        ]);
    }
    list(out, "routes (BUSY: workers that they occupy on average", difference.routes.len(), &columns)
}

fn functions(difference: &Difference, out: &mut impl Write) -> io::Result<()> {
    let mut columns = Columns::new([
        ("SELF", Right),
        ("CHANGE", Right),
        ("", Right),
        ("TOTAL", Right),
        ("CHANGE", Right),
        ("FUNCTION", Left),
        ("WHERE", Left),
    ]);
    for function in difference.functions.iter().take(ROWS) {
        columns.row([
            value(Unit::MillisecondsPerSecond, &function.self_ms_per_s),
            signed(Unit::MillisecondsPerSecond, &function.self_ms_per_s),
            percent(&function.self_ms_per_s),
            value(Unit::MillisecondsPerSecond, &function.total_ms_per_s),
            percent(&function.total_ms_per_s),
            truncate_start(&function.name.called(), NAME_COLUMNS).into_owned(),
            if function.name.kind == FunctionKind::Internal {
                names::BUILT_IN.to_owned()
            } else {
                path(&names::place(&function.name.file, 0))
            },
        ]);
    }
    list(out, "functions (CPU and waiting time in ms per second", difference.functions.len(), &columns)
}

fn problems(difference: &Difference, out: &mut impl Write) -> io::Result<()> {
    let mut columns = Columns::new([
        ("A MINUTE", Right),
        ("CHANGE", Right),
        ("", Right),
        ("WHAT", Left),
        ("NAME", Left),
        ("MESSAGE", Left),
        ("WHERE", Left),
    ]);
    for problem in difference.problems.iter().take(ROWS) {
        let what = match problem.name.kind {
            ProblemKind::Exception => "exception",
            ProblemKind::Error => "error",
            ProblemKind::Compile => "compile",
        };
        columns.row([
            value(Unit::Count, &problem.per_min),
            signed(Unit::Count, &problem.per_min),
            percent(&problem.per_min),
            what.to_owned(),
            truncate_start(&problem.name.name, NAME_COLUMNS).into_owned(),
            truncate_end(&problem.message, PATH_COLUMNS).into_owned(),
            path(&names::place(&problem.name.file, 0)),
        ]);
    }
    list(out, "exceptions, errors, compiled files (a minute", difference.problems.len(), &columns)
}

fn list<const N: usize>(out: &mut impl Write, text: &str, rows: usize, columns: &Columns<N>) -> io::Result<()> {
    if rows == 0 {
        return Ok(());
    }
    title(out, &format!("{text}{})", more(rows.saturating_sub(ROWS))))?;
    columns.write(out)
}

/// The value afterwards.
fn value(of: Unit, change: &Change) -> String {
    change.after.map_or_else(|| "-".to_owned(), |value| unit(of, value))
}

/// The difference in the unit of the value.
fn signed(of: Unit, change: &Change) -> String {
    match change.difference {
        None => "-".to_owned(),
        Some(difference) => {
            let sign = if difference < 0.0 { '-' } else { '+' };
            marked(format!("{sign}{}", unit(of, difference.abs())), change.verdict)
        }
    }
}

/// The difference in percent; `new` and `gone` where that is no number.
fn percent(change: &Change) -> String {
    let text = match (change.before, change.after) {
        (Some(0.0), Some(0.0)) => return String::new(),
        (Some(0.0), Some(_)) => "new".to_owned(),
        (Some(_), Some(0.0)) => "gone".to_owned(),
        _ => match change.ratio() {
            Some(ratio) => signed_percent(ratio),
            None => return "-".to_owned(),
        },
    };
    marked(text, change.verdict)
}

fn marked(text: String, verdict: Verdict) -> String {
    match verdict {
        Verdict::Changed => text,
        Verdict::Noise => format!("({text})"),
        Verdict::Unsure => format!("{text} ?"),
    }
}

fn signed_percent(ratio: f64) -> String {
    if ratio.abs() < 10.0 { format!("{:+.0} %", ratio * 100.0) } else { format!("x {:.0}", ratio + 1.0) }
}

fn unit(unit: Unit, value: f64) -> String {
    match unit {
        Unit::PerSecond => units::rate(value),
        Unit::PerMinute => format!("{}/min", decimal(value)),
        Unit::Ratio => units::percent(value),
        Unit::Milliseconds => units::duration_ms(value),
        Unit::MillisecondsPerSecond => units::milliseconds(Some(value)),
        Unit::Bytes => units::bytes(value.round() as u64),
        Unit::Cores => format!("{value:.2}"),
        Unit::Count => decimal(value),
    }
}

fn decimal(value: f64) -> String {
    if value < 9.95 { format!("{value:.1}") } else { units::count(value.round() as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(before: f64, after: f64, verdict: Verdict) -> Change {
        Change { before: Some(before), after: Some(after), difference: Some(after - before), verdict }
    }

    #[test]
    fn a_difference_has_a_sign_and_noise_is_in_brackets() {
        assert_eq!(signed(Unit::Bytes, &change(1e8, 5e7, Verdict::Changed)), "-48 MiB");
        assert_eq!(percent(&change(100.0, 143.0, Verdict::Changed)), "+43 %");
        assert_eq!(percent(&change(100.0, 103.0, Verdict::Noise)), "(+3 %)");
        assert_eq!(percent(&change(1.0, 2.0, Verdict::Unsure)), "+100 % ?");
        assert_eq!(percent(&change(1.0, 40.0, Verdict::Changed)), "x 40");
        assert_eq!(percent(&change(0.0, 2.0, Verdict::Changed)), "new");
        assert_eq!(percent(&change(2.0, 0.0, Verdict::Noise)), "(gone)");
        let unknown = Change { before: None, ..change(0.0, 2.0, Verdict::Unsure) };
        assert_eq!(
            (percent(&unknown), signed(Unit::Count, &Change { difference: None, ..unknown })),
            ("-".into(), "-".into())
        );
    }
}
