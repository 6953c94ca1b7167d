//! The snapshots of a recording between moments, for the commands that read one through: from a file, of which only the minutes that
//! are needed are decoded, or from a pipe. What is damaged is said on standard error, and all else is read.

use std::{
    io::{self, BufReader},
    ops::RangeInclusive,
    path::Path,
};

use jiff::{Timestamp, tz::TimeZone};

use super::failure;
use crate::{
    model::Snapshot,
    recording::{Event, Recording, Stream, Wrong},
    words::times::When,
};

/// A span of time, both ends included.
pub(super) type Span = RangeInclusive<Timestamp>;

/// Whether a recording is a pipe.
pub(super) fn is_pipe(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// The span between two moments of a recording, whose first and last time is `within`; open where there is none.
pub(super) fn span(from: Option<When>, to: Option<When>, within: (Timestamp, Timestamp)) -> Span {
    let zone = TimeZone::system();
    from.map_or(Timestamp::MIN, |from| from.within(within, &zone))
        ..=to.map_or(Timestamp::MAX, |to| to.within(within, &zone))
}

/// Hands over each snapshot that is in a span, once for each, with the number of the span. `spans` is asked with the first and the
/// last time of the recording; of a pipe that is now. It says whether all that was written could be read.
///
/// # Errors
/// The recording cannot be read at all, or `each` fails.
pub(super) fn read(
    file: &Path,
    spans: impl FnOnce((Timestamp, Timestamp)) -> Vec<Span>,
    mut each: impl FnMut(usize, Box<Snapshot>) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let mut whole = true;
    let mut damaged = |damage: &crate::recording::Damage| {
        failure::say(&anyhow::anyhow!("{}: {damage}", file.display()));
        // Without its end a recording is what its writer could write.
        whole &= matches!(damage.what, Wrong::Torn);
    };
    let mut hand_over = |spans: &[Span], snapshot: Box<Snapshot>| -> anyhow::Result<()> {
        let mut numbers = (0..spans.len()).filter(|&number| spans[number].contains(&snapshot.at)).peekable();
        while let Some(number) = numbers.next() {
            if numbers.peek().is_none() {
                return each(number, snapshot);
            }
            each(number, snapshot.clone())?;
        }
        Ok(())
    };
    if is_pipe(file) {
        let now = Timestamp::now();
        let spans = spans((now, now));
        let mut stream = Stream::new(BufReader::new(io::stdin().lock()))?;
        while let Some(event) = stream.next_event()? {
            match event {
                Event::Snapshot(snapshot) => hand_over(&spans, snapshot)?,
                Event::Damage(damage) => damaged(&damage),
            }
        }
        return Ok(whole);
    }
    let recording = Recording::open(file)?;
    recording.damage().iter().for_each(&mut damaged);
    let spans = spans(recording.span());
    for &minute in recording.minutes() {
        if !spans.iter().any(|span| minute.last >= *span.start() && minute.first <= *span.end()) {
            continue;
        }
        let mut handed_over = Ok(());
        recording.read(minute, |event| match event {
            Event::Snapshot(snapshot) if handed_over.is_ok() => handed_over = hand_over(&spans, snapshot),
            Event::Snapshot(_) => {}
            // It is known from opening the file.
            Event::Damage(damage) if matches!(damage.what, Wrong::Torn) => {}
            Event::Damage(damage) => damaged(&damage),
        })?;
        handed_over?;
    }
    Ok(whole)
}
