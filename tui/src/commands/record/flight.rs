//! The flight recorder: the last minutes are kept in memory, and are written to a file when a condition holds or when it is asked
//! for. The file goes on for a while. What cannot be written is said, and costs no more than that file.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::{Timestamp, Zoned, tz::TimeZone};

use super::{
    files::{self, Kept},
    progress::Written,
    say,
};
use crate::{
    cli::RecordArgs,
    model::{Notice, Snapshot},
    recording::{Container, Past},
    system::{
        growing_file::{GrowingFile, WholeFile},
        host_name,
        new_file::{Existing, NewFile},
    },
    trigger::{Cause, Watch},
    words::units,
};

/// What is kept in memory unless said otherwise.
const KEEP_LAST: Duration = Duration::from_secs(600);
/// How long a file goes on unless said otherwise.
const AFTER: Duration = Duration::from_secs(120);
/// Most bytes in memory: ten minutes of 2 000 processes take about 3 MiB.
const MAX_BYTES: usize = 64 << 20;
/// Longest time that one event after the other makes a file go on.
const MAX_EVENT: Duration = Duration::from_secs(3600);
/// Name of a file that is never there: it is only tried whether one can be written.
const PROBE: &str = "tusktop-event.tusk";
/// Files of earlier runs that are looked at.
const MAX_EARLIER: usize = 10_000;

/// The last minutes, and the file that is written.
pub(super) struct Flight {
    past: Past,
    watch: Watch,
    event: Option<Event>,
    after: Duration,
    max_size: Option<u64>,
    existing: Existing,
    /// The name that was given.
    first: Option<PathBuf>,
    count: u32,
    kept: Kept,
    events: u64,
    /// Bytes of files that are whole.
    bytes: u64,
}

/// A file that is written.
struct Event {
    path: PathBuf,
    file: Container<GrowingFile>,
    begun: Instant,
    until: Instant,
}

impl Flight {
    /// Begins to keep the past.
    ///
    /// # Errors
    /// There is no folder for the files, or it cannot be written.
    pub(super) fn new(arguments: &RecordArgs) -> anyhow::Result<Self> {
        let first = arguments.output.clone();
        if first.as_deref().is_some_and(|path| path.as_os_str() == "-") {
            anyhow::bail!("the flight recorder writes a file for each event; name one with -o in place of `-`");
        }
        let folder = folder(first.as_deref());
        // Said now, and not when something happens.
        drop(NewFile::create(&folder.join(PROBE), Existing::Replace)?);
        let mut kept = Kept::new(arguments.keep);
        if arguments.keep.is_some() && first.is_none() {
            earlier(&folder).into_iter().filter_map(WholeFile::of_earlier).for_each(|file| kept.add(file));
        }
        Ok(Self {
            past: Past::new(arguments.keep_last.unwrap_or(KEEP_LAST), MAX_BYTES)?,
            watch: Watch::new(arguments.when.clone()),
            event: None,
            after: arguments.after.unwrap_or(AFTER),
            max_size: arguments.max_size,
            existing: if arguments.force { Existing::Replace } else { Existing::Keep },
            first,
            count: 0,
            kept,
            events: 0,
            bytes: 0,
        })
    }

    /// Takes the next snapshot. `requested` when the user asked for a file since the last one.
    pub(super) fn push(&mut self, snapshot: &Snapshot, requested: bool) {
        let now = Instant::now();
        let watching = self.watch.take(snapshot);
        for (condition, why) in watching.unknown {
            say(&format!("--when '{condition}' cannot hold: {why}"));
        }
        let mut reasons: Vec<String> =
            watching.causes.iter().filter(|cause| cause.is_new).map(|cause| cause.measured.clone()).collect();
        let mut notices: Vec<Notice> = watching.causes.iter().map(Cause::notice).collect();
        if requested {
            reasons.push("SIGUSR1".into());
            notices.push(Notice::recording_requested());
        }
        let pushed = if notices.is_empty() {
            self.past.push(snapshot, now, self.event.as_mut().map(|event| &mut event.file))
        } else {
            let mut snapshot = snapshot.clone();
            notices.append(&mut snapshot.notices);
            snapshot.notices = notices;
            self.past.push(&snapshot, now, self.event.as_mut().map(|event| &mut event.file))
        };
        if let Err(error) = pushed {
            match self.event.take() {
                Some(event) => give_up(event.file, &event.path, &error),
                None => say(&format!("a snapshot is left out: {error}")),
            }
        }
        if !reasons.is_empty() {
            self.begin(snapshot.at, &reasons.join("; "), now);
        }
        let is_over =
            |event: &Event| now >= event.until || self.max_size.is_some_and(|most| event.file.bytes() >= most);
        if self.event.as_ref().is_some_and(is_over) {
            self.finish();
        }
    }

    /// Ends the file that is being written, if there is one.
    pub(super) fn finish(&mut self) {
        let Some(Event { path, file, .. }) = self.event.take() else { return };
        let bytes = file.bytes();
        let whole = match self.past.finish(file, Instant::now()) {
            Ok(file) => file.finish(),
            Err((Some(file), error)) => return give_up(file, &path, &error),
            Err((None, error)) => Err(error),
        };
        match whole {
            Ok(whole) => self.kept.add(whole),
            Err(error) => return say(&format!("cannot write the end of {}: {error}", files::name(&path))),
        }
        self.bytes += bytes;
        say(&format!("{} is whole: {}", files::name(&path), units::bytes(bytes)));
        if let Err(error) = self.kept.remove_old(0) {
            say(&format!("an old file cannot be removed: {error}"));
        }
    }

    /// How far it is, for the line of progress.
    pub(super) fn state(&self) -> Written {
        let now = Instant::now();
        let kept = units::age(self.past.covered(now).as_secs());
        let short = if self.past.is_short() { ", no room for more" } else { "" };
        let to = match &self.event {
            Some(event) => format!("writes {}", files::name(&event.path)),
            None => format!("keeps the last {kept} ({}{short})", units::bytes(self.past.bytes() as u64)),
        };
        let written = self.bytes + self.event.as_ref().map_or(0, |event| event.file.bytes());
        Written { to, bytes: written, events: Some(self.events) }
    }

    /// Begins a file with what is kept, or goes on with the one that is written.
    fn begin(&mut self, at: Timestamp, reason: &str, now: Instant) {
        let clock = |at: Timestamp| at.to_zoned(TimeZone::system()).strftime("%H:%M:%S").to_string();
        self.events += 1;
        if let Some(event) = &mut self.event {
            event.until = (now + self.after).min(event.begun + MAX_EVENT);
            return say(&format!("{}: {reason}; {} goes on", clock(at), files::name(&event.path)));
        }
        let (first, mut count) = match &self.first {
            Some(first) => (first.clone(), self.count),
            None => (event_name(&host_name(), &at.to_zoned(TimeZone::system())).into(), 0),
        };
        // A file that is in the way is passed over: what happens now is not to be lost.
        let created = match (count == 0).then(|| GrowingFile::create(&first, self.existing)) {
            Some(Ok(file)) => {
                count = 1;
                Ok((first, file))
            }
            // It would be the second.
            Some(Err(_)) => files::create_next(&first, &mut { 1 }, self.existing),
            None => files::create_next(&first, &mut count, self.existing),
        };
        if self.first.is_some() {
            self.count = count;
        }
        let (path, file) = match created {
            Ok(created) => created,
            Err(error) => return say(&format!("{}: {reason}, and {error}", clock(at))),
        };
        match self.past.begin(file) {
            Ok(file) => {
                let from = self.past.first().map_or(String::new(), |first| format!(" from {} on", clock(first)));
                say(&format!("{}: {reason}; writing {}{from}", clock(at), files::name(&path)));
                self.event = Some(Event { path, file, begun: now, until: now + self.after });
            }
            Err((file, error)) => give_up(file, &path, &error),
        }
    }
}

/// Leaves a file with the snapshots that are whole, after it could not be written.
fn give_up(file: Container<GrowingFile>, path: &Path, error: &io::Error) {
    let whole = file.bytes();
    // A part of a snapshot at the end does no harm: whoever reads it says that the end is missing.
    let _ = file.into_sink().cut(whole);
    say(&format!("cannot write {}: {error}; what was written before can be read", files::name(path)));
}

/// The folder of the files.
fn folder(first: Option<&Path>) -> PathBuf {
    let parent = first.and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// `web01-event-2026-11-27-140533.tusk`.
fn event_name(host: &str, at: &Zoned) -> String {
    format!("{}{}", event_start(host), at.strftime("%Y-%m-%d-%H%M%S.tusk"))
}

fn event_start(host: &str) -> String {
    format!("{}-event-", files::plain(host))
}

/// Files of earlier runs, the oldest first: their names have the time.
fn earlier(folder: &Path) -> Vec<PathBuf> {
    let start = event_start(&host_name());
    let is_ours = |name: &str| {
        let time = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(".tusk"));
        time.is_some_and(|time| time.len() >= 17 && time.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'))
    };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_ours(name)).take(MAX_EARLIER).collect();
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_events_of_this_host_are_those_of_earlier_runs() {
        let folder = tempfile::tempdir().unwrap();
        let now: Zoned = "2026-11-27T14:05:33[UTC]".parse().unwrap();
        let event = event_name(&host_name(), &now);
        let older = event.replace("2026-11-27", "2026-11-26");
        let second = event.replace(".tusk", "-2.tusk");
        let others =
            [event_name("another", &now), event.replace(".tusk", ".json"), event.replace("event-2026", "2026")];
        for name in others.iter().chain([&event, &older, &second]) {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found: Vec<String> =
            earlier(folder.path()).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], older);
        assert!(found.contains(&event) && found.contains(&second));
    }
}
