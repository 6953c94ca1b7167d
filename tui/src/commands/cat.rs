//! `tusktop cat`: the snapshots of a recording as lines of JSON.

use std::io::{self, BufReader, BufWriter, Write};

use jiff::{Timestamp, tz::TimeZone};

use super::failure;
use crate::{
    cli::CatArgs,
    exit, export,
    recording::{Event, Recording, Stream, Wrong},
};

/// Prints what lies between two moments. What is damaged is said on standard error, and all else is printed.
///
/// # Errors
/// The recording cannot be read at all, or the output cannot be written.
pub fn run(arguments: &CatArgs) -> anyhow::Result<u8> {
    let mut out = BufWriter::new(io::stdout().lock());
    let zone = TimeZone::system();
    let bounds = |span: (Timestamp, Timestamp)| {
        let from = arguments.from.map_or(Timestamp::MIN, |from| from.within(span, &zone));
        from..=arguments.to.map_or(Timestamp::MAX, |to| to.within(span, &zone))
    };
    let mut code = exit::FINE;
    let name = arguments.file.display();
    let mut damaged = |damage: &dyn std::fmt::Display, is_loss: bool| {
        failure::say(&anyhow::anyhow!("{name}: {damage}"));
        if is_loss {
            code = exit::FAILED;
        }
    };
    if arguments.file.as_os_str() == "-" {
        let now = Timestamp::now();
        let bounds = bounds((now, now));
        let mut stream = Stream::new(BufReader::new(io::stdin().lock()))?;
        while let Some(event) = stream.next_event()? {
            match event {
                Event::Snapshot(snapshot) if bounds.contains(&snapshot.at) => {
                    export::write_json(&snapshot, &mut out)?;
                    // Who follows a recording wants each snapshot now.
                    out.flush()?;
                }
                Event::Snapshot(_) => {}
                Event::Damage(damage) => damaged(&damage, !matches!(damage.what, Wrong::Torn)),
            }
        }
        return Ok(code);
    }
    let recording = Recording::open(&arguments.file)?;
    for damage in recording.damage() {
        damaged(damage, !matches!(damage.what, Wrong::Torn));
    }
    let bounds = bounds(recording.span());
    for &minute in recording.minutes() {
        if minute.last < *bounds.start() || minute.first > *bounds.end() {
            continue;
        }
        let mut printed = Ok(());
        recording.read(minute, |event| match event {
            Event::Snapshot(snapshot) if printed.is_ok() && bounds.contains(&snapshot.at) => {
                printed = export::write_json(&snapshot, &mut out);
            }
            Event::Snapshot(_) => {}
            // It is known from opening the file.
            Event::Damage(damage) if matches!(damage.what, Wrong::Torn) => {}
            Event::Damage(damage) => damaged(&damage, true),
        })?;
        printed?;
    }
    out.flush()?;
    Ok(code)
}
