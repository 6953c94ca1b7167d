//! Reads a snapshot back from its JSON: the schema is checked, fields and words of other versions are taken as they come. Parts of
//! one can be read without the rest, for those who go through many.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer as _,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

use super::{Group, Notice, Php, ProblemRoute, SCHEMA, Snapshot};

/// Bytes of one snapshot: one with 100 000 processes has about 40 MB.
const LONGEST: usize = 256 << 20;

/// Why a snapshot could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is made by a newer version, whose layout is another one.
    #[error("this snapshot has schema {0}, and this tusktop reads up to {SCHEMA}: use a newer tusktop")]
    Newer(u32),
    /// It is JSON, but not of a snapshot.
    #[error("this is not a snapshot of tusktop: it has no \"schema\"")]
    Other,
    /// It is longer than any snapshot.
    #[error("this has {0} bytes, too many for a snapshot")]
    TooLong(usize),
    /// A part refers to one that is not there.
    #[error("this snapshot cannot be read: {0} refer to {1} that are not in it")]
    Missing(&'static str, &'static str),
    /// It is no JSON, or a snapshot with a part that cannot be understood.
    #[error("this snapshot cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// What the JSON of a snapshot begins with, up to its time.
const START: &[u8] = b"{\"schema\":1,\"at\":\"";

/// What is looked at before the rest.
#[derive(Deserialize)]
struct Head {
    schema: Option<u32>,
}

impl Snapshot {
    /// Reads the JSON of a snapshot. Fields that this version does not know are left out; words that it does not know become
    /// `Other`; what an older version did not write gets the value that says so.
    ///
    /// # Errors
    /// [`SnapshotError`]: no snapshot, a newer one, or a broken one.
    pub fn read(json: &[u8]) -> Result<Self, SnapshotError> {
        if json.len() > LONGEST {
            return Err(SnapshotError::TooLong(json.len()));
        }
        match serde_json::from_slice::<Head>(json)?.schema {
            None => return Err(SnapshotError::Other),
            Some(schema) if schema > SCHEMA => return Err(SnapshotError::Newer(schema)),
            Some(_) => {}
        }
        let mut snapshot: Self = serde_json::from_slice(json)?;
        std::sync::Arc::make_mut(&mut snapshot.php).of_interval(snapshot.interval_ms);
        snapshot.check_references()?;
        Ok(snapshot)
    }

    /// The time of a snapshot, from its JSON.
    ///
    /// # Errors
    /// As [`Snapshot::read`].
    pub fn read_time(json: &[u8]) -> Result<Timestamp, SnapshotError> {
        #[derive(Deserialize)]
        struct Part {
            at: Timestamp,
        }
        // It is written behind the schema, which is looked at when the rest is read.
        let text = json.strip_prefix(START).and_then(|rest| rest.split(|&byte| byte == b'"').next());
        let at = text.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        at.map_or_else(|| Ok(serde_json::from_slice::<Part>(json)?.at), Ok)
    }

    /// The groups of a snapshot, from its JSON: what is behind them is not looked at.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read_groups(json: &[u8]) -> Result<Vec<Group>, SnapshotError> {
        let mut groups = None;
        let read = serde_json::Deserializer::from_slice(json).deserialize_map(Groups(&mut groups));
        groups.map_or_else(|| Err(read.err().unwrap_or_else(|| serde_json::Error::missing_field("groups")).into()), Ok)
    }

    /// What PHP did, from the JSON of a snapshot. Indexes in it may lead nowhere.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_php(json: &[u8]) -> Result<Php, SnapshotError> {
        #[derive(Deserialize)]
        struct Part {
            interval_ms: u64,
            php: Php,
        }
        let Part { interval_ms, mut php } = serde_json::from_slice(json)?;
        php.of_interval(interval_ms);
        Ok(php)
    }

    /// The notices of a snapshot, from its JSON.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read_notices(json: &[u8]) -> Result<Vec<Notice>, SnapshotError> {
        #[derive(Deserialize)]
        struct Part {
            notices: Vec<Notice>,
        }
        Ok(serde_json::from_slice::<Part>(json)?.notices)
    }

    /// Whether all indexes lead somewhere, so that those who draw need not ask.
    fn check_references(&self) -> Result<(), SnapshotError> {
        let (groups, cgroups, php) = (self.groups.len(), self.cgroups.len(), &self.php);
        let known = |cgroup: Option<usize>| cgroup.is_none_or(|index| index < cgroups);
        let in_routes = |problem: &ProblemRoute| problem.route < php.routes.len();
        let checks = [
            (self.processes.iter().all(|process| process.group < groups), "processes", "groups"),
            (self.processes.iter().all(|process| known(process.cgroup)), "processes", "control groups"),
            (self.groups.iter().all(|group| known(group.cgroup)), "groups", "control groups"),
            (php.requests.iter().all(|request| request.route < php.routes.len()), "requests", "routes"),
            (php.exhausted.iter().flatten().all(|exhausted| exhausted.route < php.routes.len()), "requests", "routes"),
            (
                php.exceptions.iter().flatten().flat_map(|exception| exception.routes.iter()).all(in_routes),
                "exceptions",
                "routes",
            ),
            (php.errors.iter().flatten().flat_map(|error| error.routes.iter()).all(in_routes), "errors", "routes"),
            (php.stacks.iter().all(|stack| stack.route < php.routes.len()), "stacks", "routes"),
            (
                php.stacks.iter().flat_map(|stack| &stack.frames).all(|&frame| frame < php.functions.len()),
                "stacks",
                "functions",
            ),
            (php.request_stacks.iter().all(|row| row.stack < php.stacks.len()), "requests", "stacks"),
            (
                php.workers.iter().flat_map(|worker| &worker.stack).all(|&frame| frame < php.functions.len()),
                "workers",
                "functions",
            ),
        ];
        match checks.iter().find(|(whole, ..)| !whole) {
            Some(&(_, what, parts)) => Err(SnapshotError::Missing(what, parts)),
            None => Ok(()),
        }
    }
}

impl Php {
    /// Older versions had one interval for processes and PHP.
    fn of_interval(&mut self, interval_ms: u64) {
        if self.interval_ms == 0 && self.state == super::PhpState::Read {
            self.interval_ms = interval_ms;
        }
    }
}

/// Takes the groups, and has the reader give up behind them.
struct Groups<'a>(&'a mut Option<Vec<Group>>);

impl<'de> Visitor<'de> for Groups<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a snapshot")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == "groups" {
                *self.0 = Some(map.next_value()?);
                return Err(A::Error::custom("the rest is not needed"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{ExactState, Level, NoticeKind, PssUnknown, Tier, TierState};

    /// A snapshot as version 0.1 wrote it. It is never written again.
    const FROZEN: &str = include_str!("../../tests/fixtures/schema1.json");

    #[test]
    fn the_frozen_snapshot_of_schema_1_opens_with_all_that_is_in_it() {
        let snapshot = Snapshot::read(FROZEN.as_bytes()).unwrap();
        assert_eq!((snapshot.schema, &*snapshot.host.name, snapshot.interval_ms), (1, "web01", 1000));
        assert_eq!(snapshot.php.interval_ms, 1000, "it had one interval for all");
        let www = snapshot.groups.iter().find(|group| &*group.name == "php-fpm: www").unwrap();
        assert!(www.processes > 1 && www.footprint_bytes.is_some() && www.cpu_ratio.is_some());
        let too_expensive = snapshot.processes.iter().filter(|p| p.pss_unknown == Some(PssUnknown::TooExpensive));
        assert_eq!(too_expensive.count(), 1, "`too_expensive` was the word for it");
        let target = &snapshot.php.targets[0];
        assert_eq!(target.tiers[Tier::Requests].state, TierState::On);
        assert!(target.tiers[Tier::Requests].seen_by.is_some(), "`source` was the name of it");
        assert_eq!(snapshot.php.exact.as_ref().unwrap().state, ExactState::Tracing);
        assert!(snapshot.php.functions.iter().any(|function| function.calls.is_some()));
        assert!(!snapshot.php.routes.is_empty() && !snapshot.php.stacks.is_empty() && !snapshot.php.pools.is_empty());
        assert!(snapshot.php.exceptions.as_ref().is_some_and(|list| !list.is_empty()));
        assert!(snapshot.notices.iter().all(|n| n.kind == NoticeKind::Other && n.level >= Level::Info));
    }

    #[test]
    fn parts_that_are_read_alone_are_those_of_the_snapshot() {
        let snapshot = Snapshot::read(FROZEN.as_bytes()).unwrap();
        for json in [FROZEN.as_bytes(), &serde_json::to_vec(&snapshot).unwrap()] {
            assert_eq!(Snapshot::read_time(json).unwrap(), snapshot.at);
            assert_eq!(Snapshot::read_groups(json).unwrap(), snapshot.groups);
            assert_eq!(Snapshot::read_php(json).unwrap(), *snapshot.php);
            assert_eq!(Snapshot::read_notices(json).unwrap(), snapshot.notices);
        }
        let start = format!("{{\"schema\":{SCHEMA},\"at\":\"");
        assert_eq!(start.as_bytes(), START, "the short way to the time is taken");
        for json in ["", "{", "[]", "{\"schema\":1,\"at\":\"x"] {
            assert!(Snapshot::read_time(json.as_bytes()).is_err());
            assert!(Snapshot::read_groups(json.as_bytes()).is_err());
        }
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let snapshot = Snapshot::read(FROZEN.as_bytes()).unwrap();
        let json = serde_json::to_vec(&snapshot).unwrap();
        assert_eq!(Snapshot::read(&json).unwrap(), snapshot);
    }

    /// The frozen snapshot with another text in place of one.
    fn changed(from: &str, to: &str) -> Result<Snapshot, SnapshotError> {
        assert!(FROZEN.contains(from), "{from}");
        Snapshot::read(FROZEN.replacen(from, to, 1).as_bytes())
    }

    #[test]
    fn fields_and_words_of_a_later_version_are_taken_as_they_come() {
        let snapshot = changed("\"schema\": 1,", "\"schema\": 1, \"from_the_future\": {\"a\": [1, null]},").unwrap();
        assert_eq!(&*snapshot.host.name, "web01");
        let snapshot = changed("\"state\": \"tracing\"", "\"state\": \"resting\"").unwrap();
        assert_eq!(snapshot.php.exact.as_ref().unwrap().state, ExactState::Other);
        let snapshot = changed("\"too_dear\"", "\"too_far\"").unwrap();
        assert!(snapshot.processes.iter().any(|process| process.pss_unknown == Some(PssUnknown::Other)));
    }

    #[test]
    fn what_is_no_snapshot_gives_a_message_and_not_a_panic() {
        let error = changed("\"schema\": 1,", "\"schema\": 2,").unwrap_err();
        assert!(matches!(error, SnapshotError::Newer(2)) && error.to_string().contains("newer tusktop"), "{error}");
        for json in ["", "{", "[]", "null", "{\"schema\": 1}", "{\"schema\": -1}", "{\"schema\": 99999999999}"] {
            assert!(matches!(Snapshot::read(json.as_bytes()), Err(SnapshotError::Malformed(_))), "{json}");
        }
        assert!(matches!(Snapshot::read(b"{}"), Err(SnapshotError::Other)));
        let error = changed("\"group\": 0", "\"group\": 99999").unwrap_err();
        assert!(matches!(error, SnapshotError::Missing("processes", "groups")), "{error}");
        let deep = format!("{{\"schema\": 1, \"x\": {}", "[".repeat(1_000_000));
        assert!(matches!(Snapshot::read(deep.as_bytes()), Err(SnapshotError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn no_change_of_its_bytes_makes_reading_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>()) {
            let mut json = FROZEN.as_bytes().to_vec();
            for (at, byte) in changes {
                let at = at.index(json.len());
                json[at] = byte;
            }
            json.truncate(cut.index(2 * FROZEN.len()).min(json.len()));
            let _ = Snapshot::read(&json);
            let _ = (Snapshot::read_time(&json), Snapshot::read_groups(&json), Snapshot::read_php(&json));
        }
    }
}
