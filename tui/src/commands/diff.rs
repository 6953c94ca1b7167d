//! `tusktop diff`: two recordings, or two spans of one, compared; and limits of the difference for scripts.

use std::{
    io::{self, BufWriter, Write as _},
    path::Path,
};

use anyhow::bail;
use jiff::{SignedDuration, Timestamp};

use super::{
    failure,
    reading::{self, Span},
};
use crate::{
    analysis::{
        difference::{self, Finding, Outcome, Summary},
        recorded::just_before,
    },
    cli::{DiffArgs, DifferenceFormat},
    exit, export,
    model::Snapshot,
    words::{printable::printable, times::When},
};

/// Compares, and says whether a limit is exceeded.
///
/// # Errors
/// A recording cannot be read, a span has no snapshot, or the output cannot be written.
pub fn run(arguments: &DiffArgs) -> anyhow::Result<u8> {
    let (mut before, mut after) = (Summary::default(), Summary::default());
    let (against_from, against_to) = arguments.against.map_or((None, None), |against| (against.from, against.to));
    match &arguments.after {
        Some(file) => {
            if reading::is_pipe(&arguments.before) && reading::is_pipe(file) {
                bail!("only one of the two recordings can be standard input");
            }
            read(&arguments.before, &mut before, against_from, against_to)?;
            read(file, &mut after, arguments.from, arguments.to)?;
        }
        None => {
            let spans = |within| {
                let mut span = reading::span(arguments.from, arguments.to, within);
                let mut against = reading::span(against_from, against_to, within);
                match arguments.from {
                    // What lies between is compared with what is before it, and what has its own bounds with them.
                    Some(_) if against_to.is_none() => against = *against.start()..=just_before(*span.start()),
                    None if arguments.against.is_some() => span = just_after(*against.end())..=*span.end(),
                    _ => {}
                }
                vec![against, span]
            };
            let mut machines = [None, None];
            reading::read(&arguments.before, spans, |number, snapshot| {
                same_machine(&arguments.before, &mut machines[number], &snapshot)?;
                if number == 0 {
                    before.add(&snapshot)
                } else {
                    after.add(&snapshot)
                }
                Ok(())
            })?;
            for (summary, which) in [(&before, "to compare with"), (&after, "to compare")] {
                if summary.is_empty() {
                    bail!("{}: there is no snapshot in the span {which}", arguments.before.display());
                }
            }
        }
    }
    let difference = difference::difference(&before, &after);
    let findings: Vec<Finding> = arguments.fail_on.iter().map(|limit| limit.find(&difference)).collect();
    let mut out = BufWriter::new(io::stdout().lock());
    match arguments.format {
        DifferenceFormat::Table => export::write_difference(&difference, &findings, &mut out)?,
        DifferenceFormat::Json => export::write_difference_json(&difference, &findings, &mut out)?,
    }
    out.flush()?;
    for finding in findings.iter().filter(|finding| finding.outcome != Outcome::Kept) {
        failure::say(&anyhow::anyhow!("{}", export::finding(finding)));
    }
    let has = |outcome| findings.iter().any(|finding| finding.outcome == outcome);
    Ok(match (has(Outcome::Exceeded), has(Outcome::Unknown)) {
        (true, _) => exit::LIMIT_EXCEEDED,
        (false, true) => exit::FAILED,
        (false, false) => exit::FINE,
    })
}

fn read(file: &Path, summary: &mut Summary, from: Option<When>, to: Option<When>) -> anyhow::Result<()> {
    let spans = |within| -> Vec<Span> { vec![reading::span(from, to, within)] };
    let mut machine = None;
    reading::read(file, spans, |_, snapshot| {
        same_machine(file, &mut machine, &snapshot)?;
        summary.add(&snapshot);
        Ok(())
    })?;
    if summary.is_empty() {
        bail!("{}: there is no snapshot in the span that is asked for", file.display());
    }
    Ok(())
}

/// Recordings of several machines may be one file; what they did is not added up.
fn same_machine(file: &Path, known: &mut Option<String>, snapshot: &Snapshot) -> anyhow::Result<()> {
    let name = &snapshot.host.name;
    let known = known.get_or_insert_with(|| name.clone());
    if known != name {
        let names = (printable(known), printable(name));
        bail!("{}: this span has {} and {}: choose one of them with --from and --to", file.display(), names.0, names.1);
    }
    Ok(())
}

fn just_after(at: Timestamp) -> Timestamp {
    at.checked_add(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MAX)
}
