//! A snapshot as CSV (RFC 4180): a line for each value, so that one file has all lists and a pivot table takes it. Unknown values have no
//! line.

use std::io::{self, Write};

use crate::{
    analysis::profile::{self, Basis, Scope},
    model::{HotTime, Snapshot},
    words::{names, printable},
};

/// Writes a header, and a line for each value.
///
/// # Errors
/// What `out` answers.
pub fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let mut lines = Lines { out, at: snapshot.at.to_string() };
    lines.header()?;
    groups(snapshot, &mut lines)?;
    functions(snapshot, &mut lines)?;
    routes(snapshot, &mut lines)?;
    problems(snapshot, &mut lines)
}

struct Lines<'a, W> {
    out: &'a mut W,
    at: String,
}

/// What a line is about: the list, the group, what it is, and where.
type Of<'a> = (&'static str, &'a str, &'a str, &'a str);

impl<W: Write> Lines<'_, W> {
    fn header(&mut self) -> io::Result<()> {
        self.out.write_all(b"at,list,group,name,place,measure,value\r\n")
    }

    fn value(&mut self, (list, group, name, place): Of, measure: &str, value: Option<f64>) -> io::Result<()> {
        let Some(value) = value else { return Ok(()) };
        let (group, name, place) = (cell(group), cell(name), cell(place));
        write!(self.out, "{},{list},{group},{name},{place},{measure},{value}\r\n", self.at)
    }
}

/// A text from outside: in quotes where CSV needs them, and with an apostrophe before what a spreadsheet would take for a formula.
fn cell(text: &str) -> String {
    let text = printable::printable(text);
    let formula = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{formula}{}\"", text.replace('"', "\"\"")),
        false => format!("{formula}{text}"),
    }
}

fn bytes(bytes: Option<u64>) -> Option<f64> {
    bytes.map(|bytes| bytes as f64)
}

fn groups<W: Write>(snapshot: &Snapshot, lines: &mut Lines<W>) -> io::Result<()> {
    for group in &snapshot.groups {
        let of = ("groups", &*group.name, "", "");
        for (measure, value) in [
            ("processes", Some(f64::from(group.processes))),
            ("cpu_ratio", group.cpu_ratio),
            ("footprint_bytes", bytes(group.footprint_bytes)),
            ("pss_bytes", bytes(group.memory.pss_bytes)),
            ("rss_bytes", bytes(group.memory.rss_bytes)),
            ("uss_bytes", bytes(group.memory.uss_bytes)),
            ("swap_bytes", bytes(group.memory.swap_bytes)),
        ] {
            lines.value(of, measure, value)?;
        }
    }
    Ok(())
}

fn functions<W: Write>(snapshot: &Snapshot, lines: &mut Lines<W>) -> io::Result<()> {
    let php = &*snapshot.php;
    let basis = Basis::of(php, HotTime::Both);
    for hot in profile::functions(php, &Scope::All, basis) {
        let function = &php.functions[hot.of];
        let (name, place) = (names::function(&function.key), names::place_of(&function.key));
        let of = ("functions", "", &*name, &*place);
        let ms = |ns: u64| Some(ns as f64 / 1e6);
        for (measure, value) in [
            ("self_samples", Some(hot.own.samples as f64)),
            ("self_cpu_ms", ms(hot.own.samples.saturating_mul(basis.sample_ns))),
            ("self_wait_ms", ms(hot.own.wait_ns)),
            ("total_cpu_ms", ms(hot.total.samples.saturating_mul(basis.sample_ns))),
            ("total_wait_ms", ms(hot.total.wait_ns)),
            ("calls", bytes(function.calls)),
        ] {
            lines.value(of, measure, value)?;
        }
    }
    Ok(())
}

fn routes<W: Write>(snapshot: &Snapshot, lines: &mut Lines<W>) -> io::Result<()> {
    for route in &snapshot.php.routes {
        let name = match &*route.key.method {
            "" => names::route(route).to_owned(),
            method => format!("{method} {}", names::route(route)),
        };
        let of = ("routes", &*route.key.group, &*name, &*route.key.script);
        for (measure, value) in [
            ("requests", Some(route.requests as f64)),
            ("errors", Some(route.errors as f64)),
            ("p50_ms", route.duration_ms.p50),
            ("p95_ms", route.duration_ms.p95),
            ("p99_ms", route.duration_ms.p99),
            ("max_ms", route.duration_ms.max),
            ("cpu_ms", route.cpu_ns.map(|ns| ns as f64 / 1e6)),
            ("wait_ms", route.wait_ns.map(|ns| ns as f64 / 1e6)),
        ] {
            lines.value(of, measure, value)?;
        }
    }
    Ok(())
}

fn problems<W: Write>(snapshot: &Snapshot, lines: &mut Lines<W>) -> io::Result<()> {
    let php = &*snapshot.php;
    for exception in php.exceptions.iter().flatten() {
        let place = names::place(&exception.file, exception.line);
        let of = ("exceptions", "", &*exception.class, &*place);
        lines.value(of, "count", Some(exception.count as f64))?;
        lines.value(of, "uncaught", bytes(exception.uncaught))?;
    }
    for error in php.errors.iter().flatten() {
        let place = names::place(&error.file, error.line);
        lines.value(("errors", "", &error.level, &place), "count", Some(error.count as f64))?;
    }
    for compiled in php.compiles.iter().flatten() {
        lines.value(("compiles", "", &compiled.sapi, &compiled.file), "count", Some(compiled.count as f64))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(snapshot: &Snapshot) -> Vec<csv::StringRecord> {
        let mut out = Vec::new();
        write(snapshot, &mut out).unwrap();
        let mut reader = csv::Reader::from_reader(&*out);
        assert_eq!(reader.headers().unwrap(), ["at", "list", "group", "name", "place", "measure", "value"].as_slice());
        reader.records().map(|record| record.unwrap()).collect()
    }

    fn web01() -> Snapshot {
        Snapshot::read(include_bytes!("../../tests/fixtures/web01.json")).unwrap()
    }

    #[test]
    fn every_value_is_a_number_with_its_measure() {
        let snapshot = web01();
        let records = records(&snapshot);
        assert!(records.iter().all(|record| record[6].parse::<f64>().is_ok()));
        for list in ["groups", "functions", "routes", "exceptions", "errors"] {
            assert!(records.iter().any(|record| &record[1] == list), "{list}");
        }
        let requests: f64 = records
            .iter()
            .filter(|record| &record[5] == "requests")
            .map(|record| record[6].parse::<f64>().unwrap())
            .sum();
        assert_eq!(requests, snapshot.php.routes.iter().map(|route| route.requests as f64).sum::<f64>());
    }

    #[test]
    fn no_name_becomes_a_formula_a_further_column_or_a_line() {
        let mut snapshot = web01();
        for (index, name) in ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "a,\"b\"\r\n=2", "\u{1b}[31m"].iter().enumerate()
        {
            snapshot.groups[index].name = (*name).into();
        }
        let names: std::collections::BTreeSet<String> = records(&snapshot)
            .iter()
            .filter(|record| &record[1] == "groups")
            .map(|record| record[2].to_owned())
            .collect();
        for expected in ["'=cmd|' /C calc'!A0", "'+1", "'-1", "'@x", "a,\"b\"··=2", "·[31m"] {
            assert!(names.contains(expected), "{expected} in {names:?}");
        }
    }
}
