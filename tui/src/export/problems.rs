//! What went wrong, as tables: exceptions, errors, and compiled files with what they mean.

use std::io::{self, Write};

use super::{
    columns::{
        Align::{Left, Right},
        Columns,
    },
    table::{NAME_COLUMNS, PATH_COLUMNS, ROWS, more, path, title},
};
use crate::{
    analysis::opcache,
    model::Snapshot,
    words::{
        names,
        printable::{printable, truncate_end, truncate_start},
        units,
    },
};

/// Writes the tables of all kinds that were seen.
pub(super) fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    exceptions(snapshot, out)?;
    errors(snapshot, out)?;
    compiles(snapshot, out)
}

fn exceptions(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let Some(exceptions) = snapshot.php.exceptions.as_ref().filter(|list| !list.is_empty()) else { return Ok(()) };
    let mut columns =
        Columns::new([("THROWN", Right), ("UNCAUGHT", Right), ("CLASS", Left), ("MESSAGE", Left), ("WHERE", Left)]);
    for exception in exceptions.iter().take(ROWS) {
        columns.row([
            units::at_least(units::count(exception.count), exception.count, exception.count_error),
            exception.uncaught.map_or_else(|| "-".to_owned(), units::count),
            truncate_start(&exception.class, NAME_COLUMNS).into_owned(),
            message(&exception.message),
            path(&names::place(&exception.file, exception.line)),
        ]);
    }
    let thrown: u64 = exceptions.iter().map(|exception| exception.count).fold(0, u64::saturating_add);
    let uncaught: u64 = exceptions.iter().filter_map(|exception| exception.uncaught).fold(0, u64::saturating_add);
    title(
        out,
        &format!(
            "exceptions ({} thrown, {} uncaught{})",
            units::count(thrown),
            units::count(uncaught),
            more(exceptions.len().saturating_sub(ROWS))
        ),
    )?;
    columns.write(out)
}

fn errors(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let Some(errors) = snapshot.php.errors.as_ref().filter(|list| !list.is_empty()) else { return Ok(()) };
    let mut columns =
        Columns::new([("RAISED", Right), ("SILENCED", Right), ("LEVEL", Left), ("MESSAGE", Left), ("WHERE", Left)]);
    for error in errors.iter().take(ROWS) {
        columns.row([
            units::at_least(units::count(error.count), error.count, error.count_error),
            error.silenced.map_or_else(|| "-".to_owned(), units::count),
            error.level.to_string(),
            message(&error.message),
            path(&names::place(&error.file, error.line)),
        ]);
    }
    let raised: u64 = errors.iter().map(|error| error.count).fold(0, u64::saturating_add);
    title(out, &format!("errors ({} raised{})", units::count(raised), more(errors.len().saturating_sub(ROWS))))?;
    columns.write(out)
}

fn compiles(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    let Some(compiles) = snapshot.php.compiles.as_ref().filter(|list| !list.is_empty()) else { return Ok(()) };
    let mut columns = Columns::new([("COMPILED", Right), ("A MINUTE", Right), ("SAPI", Left), ("FILE", Left)]);
    let minutes = snapshot.interval_ms as f64 / 60_000.0;
    for file in compiles.iter().take(ROWS) {
        let rate = if minutes > 0.0 { units::count((file.count as f64 / minutes).round() as u64) } else { "-".into() };
        let count = units::at_least(units::count(file.count), file.count, file.count_error);
        columns.row([count, rate, file.sapi.to_string(), path(&file.file)]);
    }
    let compiled: u64 = compiles.iter().map(|file| file.count).fold(0, u64::saturating_add);
    title(
        out,
        &format!("compiled files ({} times{})", units::count(compiled), more(compiles.len().saturating_sub(ROWS))),
    )?;
    columns.write(out)?;
    let Some(meaning) = opcache::meaning(&snapshot.php) else { return Ok(()) };
    writeln!(out, "{}", printable(&meaning.text))?;
    if !meaning.hint.is_empty() {
        writeln!(out, "  {}", printable(meaning.hint))?;
    }
    Ok(())
}

fn message(text: &str) -> String {
    truncate_end(text, PATH_COLUMNS).into_owned()
}
