//! Counts of exceptions, errors and compiled files since the last reading, with their texts. The kernel's counts only grow, so
//! the difference is new. Texts are read once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tusktop_shared::{Compiled, ContentKey, FAILURE_THROWN, FAILURE_UNCAUGHT, Failure, MESSAGE_BYTES, Tally};

use super::{
    by_request::{ByRequest, RequestFailures},
    messages::Messages,
};
use crate::{
    collect::{
        bpf::wire::{Plain, Wire},
        php::kernel::{
            FailureMaps, Tallies,
            kept::{class, head, tail},
        },
    },
    words::secrets::Secrets,
};

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// An exception was thrown.
    Thrown,
    /// An exception reached PHP itself, because nothing caught it.
    Uncaught,
    /// An error was raised.
    Error,
}

/// What happened at one place. The message is that of the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureText {
    /// What it is.
    pub kind: FailureKind,
    /// PHP's number of the level (`E_WARNING`, ...); 0 when it is not known, and for exceptions that were thrown.
    pub level: u32,
    /// Class of an exception; empty for errors.
    pub class: Arc<str>,
    /// Message, with its secrets masked; empty when it is not known.
    pub message: Arc<str>,
    /// File; empty when it is not known.
    pub file: Arc<str>,
    /// Line; 0 when it is not known.
    pub line: u32,
    /// Script of the first request that it happened in; empty outside of requests.
    pub script: Arc<str>,
    /// Number of the image.
    pub image: u32,
}

/// A place with a `catch`, where an exception ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatchPlace {
    /// File.
    pub file: Arc<str>,
    /// Line.
    pub line: u32,
}

/// How often something happened since the last reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureCount {
    /// What.
    pub what: Arc<FailureText>,
    /// Times.
    pub count: u64,
    /// Those of them that were silenced by `@` or `error_reporting`.
    pub silenced: u64,
    /// The `catch` that looked at it last; `None` when it is not known.
    pub caught_at: Option<CatchPlace>,
    /// In which requests; those that are missing found no room.
    pub requests: Vec<RequestFailures>,
    /// Messages that came often, each with how often at least.
    pub messages: Vec<(Arc<str>, u64)>,
}

/// A file that was compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledText {
    /// Path, or the name as it was written where the path is not known.
    pub file: Arc<str>,
    /// Number of the image.
    pub image: u32,
}

/// How often a file was compiled since the last reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileCount {
    /// Which.
    pub what: Arc<CompiledText>,
    /// Times.
    pub count: u64,
}

/// What was counted since the last reading that took it.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    secrets: Secrets,
    failures: Known<FailureText>,
    compiles: Known<CompiledText>,
    /// Exceptions and errors by request.
    pub by_request: ByRequest,
    messages: Messages,
    /// All exceptions that the kernel had counted at the last reading.
    thrown: u64,
}

/// Readings that a text may be late by, before its tally is given up.
const LATE: u32 = 3;

/// Readings without a change after which a key is forgotten: each one that is kept costs every reading two system calls,
/// and a deploy leaves thousands of them.
const REST: u32 = 60;

/// Keys that were met, with what was counted until the last reading.
#[derive(Debug)]
struct Known<T> {
    entries: HashMap<ContentKey, Entry<T>>,
    /// Counts that no text was found for.
    nameless: u64,
    /// Keys were removed from the kernel's maps.
    removed: bool,
}

#[derive(Debug)]
struct Entry<T> {
    text: Option<Arc<T>>,
    /// What was handed over.
    taken: Tally,
    /// What the kernel said last.
    now: Tally,
    /// Readings in which it did not change, or in which its text was missing.
    idle: u32,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), nameless: 0, removed: false }
    }
}

impl<T> Known<T> {
    /// Reads all tallies of the kernel, and makes room there when it is getting scarce.
    fn read<R: Plain>(&mut self, maps: &mut Tallies<R>, text: impl Fn(&R) -> Option<T>)
    where
        Wire<R>: aya::Pod,
    {
        let mut seen = HashSet::new();
        let tallies: Vec<_> = maps.iter().collect();
        for (key, tally) in tallies {
            seen.insert(key);
            let empty = || Entry { text: None, taken: Tally::default(), now: Tally::default(), idle: 0 };
            let entry = self.entries.entry(key).or_insert_with(empty);
            if entry.text.is_none() {
                entry.text = maps.text(key).and_then(|raw| text(&raw)).map(Arc::new);
            }
            let changed = entry.now != tally && entry.text.is_some();
            entry.idle = if changed { 0 } else { entry.idle.saturating_add(1) };
            entry.now = tally;
        }
        // One user alone can have three quarters.
        let scarce = seen.len() > maps.room / 2;
        let (nameless, removed) = (&mut self.nameless, &mut self.removed);
        self.entries.retain(|key, entry| {
            let lost = entry.text.is_none() && entry.idle > LATE;
            if lost {
                *nameless += entry.now.count;
            }
            let rests = entry.idle > REST || (scarce && entry.idle > 0);
            if lost || (rests && entry.taken == entry.now) {
                maps.remove(*key);
                *removed = true;
                return false;
            }
            seen.contains(key)
        });
    }

    /// Forgets entries, here and in the kernel. Those without a text have no image that is known, and age by themselves.
    fn forget<R: Plain>(&mut self, maps: &mut Tallies<R>, is_it: impl Fn(&T) -> bool)
    where
        Wire<R>: aya::Pod,
    {
        let removed = &mut self.removed;
        self.entries.retain(|key, entry| {
            let forgotten = entry.text.as_deref().is_some_and(&is_it);
            if forgotten {
                maps.remove(*key);
                *removed = true;
            }
            !forgotten
        });
    }

    /// What was counted since the last call.
    fn take(&mut self) -> Vec<(ContentKey, Arc<T>, Tally)> {
        let mut changed = Vec::new();
        for (key, entry) in &mut self.entries {
            let Some(text) = &entry.text else { continue };
            let count = entry.now.count.saturating_sub(entry.taken.count);
            if count > 0 {
                let silenced = entry.now.silenced.saturating_sub(entry.taken.silenced);
                changed.push((*key, text.clone(), Tally { count, silenced }));
            }
            entry.taken = entry.now;
        }
        changed
    }
}

impl Failures {
    /// Counts whose texts have their secrets masked or not.
    pub(crate) fn new(secrets: Secrets) -> Self {
        Self { secrets, ..Self::default() }
    }

    /// Reads the kernel's maps and says how many exceptions were thrown since the last time.
    pub(crate) fn gather(&mut self, maps: &mut FailureMaps) -> u64 {
        self.failures.read(&mut maps.failures, |raw| failure(raw, self.secrets));
        self.compiles.read(&mut maps.compiles, compiled);
        self.messages.read(maps, self.secrets);
        let thrown = |text: &FailureText| text.kind == FailureKind::Thrown;
        let entries = self.failures.entries.values();
        let thrown = entries.filter(|entry| entry.text.as_deref().is_some_and(thrown)).map(|entry| entry.now.count);
        let before = std::mem::replace(&mut self.thrown, thrown.sum());
        self.thrown.saturating_sub(before)
    }

    /// What a key stands for; `None` when that was not kept.
    pub(crate) fn of(&self, key: ContentKey, maps: &FailureMaps) -> Option<Arc<FailureText>> {
        let known = self.failures.entries.get(&key).and_then(|entry| entry.text.clone());
        known.or_else(|| maps.failures.text(key).and_then(|raw| failure(&raw, self.secrets)).map(Arc::new))
    }

    /// An image was released: another one may have its number soon, which must not get its counts.
    pub(crate) fn forget(&mut self, image: u32, maps: &mut FailureMaps) {
        self.failures.forget(&mut maps.failures, |text| text.image == image);
        self.compiles.forget(&mut maps.compiles, |text| text.image == image);
    }

    /// What was counted since the last call.
    pub(crate) fn take(&mut self, maps: &FailureMaps) -> (Vec<FailureCount>, Vec<CompileCount>) {
        let taken = self.failures.take();
        let known = &self.failures.entries;
        let mut requests = self.by_request.take(taken.iter().map(|(key, ..)| *key), |key| known.contains_key(&key));
        let mut messages = self.messages.take();
        let failures = taken.into_iter().map(|(key, what, tally)| FailureCount {
            caught_at: (what.kind == FailureKind::Thrown).then(|| caught_at(maps, key)).flatten(),
            what,
            count: tally.count,
            silenced: tally.silenced,
            requests: requests.remove(&key).unwrap_or_default(),
            messages: messages.remove(&key).into_iter().flatten().collect(),
        });
        let compiles = self.compiles.take().into_iter();
        (failures.collect(), compiles.map(|(_, what, tally)| CompileCount { what, count: tally.count }).collect())
    }

    /// Whether there is room in the kernel's maps that there was not at the last call.
    pub(crate) fn has_made_room(&mut self) -> bool {
        std::mem::take(&mut self.failures.removed) | std::mem::take(&mut self.compiles.removed)
    }

    /// Counts that no text was found for since the last call.
    pub(crate) fn take_nameless(&mut self) -> u64 {
        std::mem::take(&mut self.failures.nameless) + std::mem::take(&mut self.compiles.nameless)
    }
}

fn caught_at(maps: &FailureMaps, key: ContentKey) -> Option<CatchPlace> {
    let raw = maps.failures.text(key)?;
    (raw.caught.line != 0)
        .then(|| CatchPlace { file: tail(&raw.caught.file, raw.caught.file_len).into(), line: raw.caught.line })
}

/// `None` while the programs still write it.
fn failure(raw: &Failure, secrets: Secrets) -> Option<FailureText> {
    (raw.complete != 0).then(|| FailureText {
        kind: match raw.kind {
            FAILURE_THROWN => FailureKind::Thrown,
            FAILURE_UNCAUGHT => FailureKind::Uncaught,
            _ => FailureKind::Error,
        },
        level: raw.level,
        class: class(&raw.class, raw.class_len).into(),
        message: secrets.message(&head(&raw.message, raw.message_len, MESSAGE_BYTES)).into(),
        file: tail(&raw.file, raw.file_len).into(),
        line: raw.line,
        script: closed(&raw.script).into(),
        image: raw.image,
    })
}

fn compiled(raw: &Compiled) -> Option<CompiledText> {
    (raw.complete != 0).then(|| CompiledText { file: tail(&raw.file, raw.file_len).into(), image: raw.image })
}

fn closed(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    if text == "-" { String::new() } else { text }
}

#[cfg(test)]
mod tests {
    use tusktop_shared::{CLASS_BYTES, Caught, FAILURE_ERROR, FILE_BYTES, SCRIPT_BYTES};

    use super::*;

    fn raw(class: &[u8], message: &[u8], file: &[u8]) -> Failure {
        let mut raw = Failure {
            kind: FAILURE_ERROR,
            level: 2,
            line: 7,
            image: 1,
            class_len: class.len() as u32,
            message_len: message.len() as u32,
            file_len: file.len() as u32,
            complete: 1,
            class: [0; CLASS_BYTES],
            message: [0; MESSAGE_BYTES],
            file: [0; FILE_BYTES],
            script: [0; SCRIPT_BYTES],
            caught: Caught { instruction: 0, line: 0, file_len: 0, file: [0; FILE_BYTES] },
        };
        raw.class[..class.len()].copy_from_slice(class);
        let kept = message.len().min(MESSAGE_BYTES);
        raw.message[..kept].copy_from_slice(&message[..kept]);
        let kept = file.len().min(FILE_BYTES);
        raw.file[..kept].copy_from_slice(&file[file.len() - kept..]);
        raw.script[..2].copy_from_slice(b"-\0");
        raw
    }

    fn decoded(raw: &Failure) -> Option<FailureText> {
        failure(raw, Secrets::Masked)
    }

    #[test]
    fn texts_are_cut_where_they_say_least_and_never_inside_a_character() {
        let message = format!("{}é and more", "x".repeat(MESSAGE_BYTES - 1));
        let text = decoded(&raw(b"class@anonymous\0/a.php:3$0", message.as_bytes(), &[b'/'; 300])).unwrap();
        assert_eq!((&*text.class, &*text.script), ("class@anonymous", ""));
        assert_eq!(*text.message, *format!("{}…", "x".repeat(MESSAGE_BYTES - 1)));
        assert!(text.file.starts_with("…//"));
        let text = decoded(&raw(b"", b"\xff\xfe", b"")).unwrap();
        assert_eq!(&*text.message, "\u{fffd}\u{fffd}");
    }

    #[test]
    fn what_is_still_written_is_not_read_and_lengths_that_lie_do_not_panic() {
        let mut failing = raw(b"c", b"m", b"/a.php");
        (failing.class_len, failing.message_len, failing.file_len) = (u32::MAX, u32::MAX, u32::MAX);
        assert!(decoded(&failing).is_some());
        failing.complete = 0;
        assert!(decoded(&failing).is_none());
    }
}
