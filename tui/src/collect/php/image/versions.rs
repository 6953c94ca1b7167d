//! Where PHP's structures keep what is read, by PHP version. 64-bit builds; x86-64 and arm64 agree.
//!
//! Sources: Zend/zend_compile.h, Zend/zend_globals.h, main/SAPI.h and main/fastcgi.c of each version; the tables of
//! phpspy (structs/) and of the OpenTelemetry profiler (7.3 to 8.5) agree. 7.4, 8.2 and 8.4 were checked on real binaries.

use std::fmt;

/// A PHP version without its patch level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub major: u32,
    pub minor: u32,
}

impl Version {
    /// Reads "8.2.36" or "8.4.0RC1".
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (major, minor) = (parts.next()?, parts.next()?);
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Byte offsets inside PHP's structures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offsets {
    /// `zend_executor_globals.current_execute_data`.
    pub current_execute_data: u32,
    /// `zend_execute_data.prev_execute_data`.
    pub previous_execute_data: u32,
    /// `zend_op_array.filename`; `.line_start` is 8 bytes behind it in every version.
    pub filename: u32,
    /// `sapi_globals_struct.sapi_headers.http_response_code`.
    pub response_code: u32,
    /// `fcgi_request.env.hash_table`.
    pub fastcgi_environment: u32,
    /// Functions say that they come from a trait (`ZEND_ACC_TRAIT_CLONE`), and strings that they are interned.
    pub tells_traits: bool,
}

/// Versions from which on something is different.
pub(crate) const V7_4: Version = Version { major: 7, minor: 4 };
pub(crate) const V8_0: Version = Version { major: 8, minor: 0 };
pub(crate) const V8_1: Version = Version { major: 8, minor: 1 };
pub(crate) const V8_4: Version = Version { major: 8, minor: 4 };

/// Every version that is known, the oldest first, with the offsets that differ: of `current_execute_data` and `filename`.
const KNOWN: [(Version, u32, u32); 11] = [
    (Version { major: 7, minor: 0 }, 480, 120),
    (Version { major: 7, minor: 1 }, 480, 120),
    (Version { major: 7, minor: 2 }, 480, 120),
    (Version { major: 7, minor: 3 }, 488, 128),
    (V7_4, 488, 136),
    (V8_0, 488, 144),
    (V8_1, 488, 144),
    (Version { major: 8, minor: 2 }, 488, 152),
    (Version { major: 8, minor: 3 }, 488, 144),
    (V8_4, 488, 168),
    (Version { major: 8, minor: 5 }, 512, 168),
];
const OLDEST: Version = KNOWN[0].0;
const NEWEST: Version = KNOWN[KNOWN.len() - 1].0;

/// The versions that are known, in words: `7.0 to 8.5`.
pub(crate) fn range() -> String {
    format!("{OLDEST} to {NEWEST}")
}

/// The offsets of a version; `None` when its layout is not known.
pub(crate) fn of(version: Version) -> Option<Offsets> {
    let (_, current_execute_data, filename) = *KNOWN.iter().find(|(known, ..)| *known == version)?;
    Some(Offsets {
        current_execute_data,
        // The `zend_execute_data` of the oldest has one field more than all later ones.
        previous_execute_data: if version == OLDEST { 56 } else { 48 },
        filename,
        response_code: 216,
        fastcgi_environment: 8296,
        tells_traits: version >= V7_4,
    })
}

/// Where the header of `struct fpm_scoreboard_s` (sapi/fpm/fpm/fpm_scoreboard.h) has its fields, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScoreboardLayout {
    /// Name of the pool, 32 bytes.
    pub pool: usize,
    /// How workers are started.
    pub process_manager: usize,
    /// Workers without a request.
    pub idle: usize,
    /// Workers with one.
    pub active: usize,
    /// Most of them at a time.
    pub max_active: usize,
    /// Requests since the start, 64 bits.
    pub requests: usize,
    /// Times that there was no worker left to start.
    pub max_children_reached: usize,
    /// Connections that wait.
    pub listen_queue: usize,
    /// Most of them at a time.
    pub listen_queue_max: usize,
    pub max_children: usize,
    /// Requests that took longer than `request_slowlog_timeout`.
    pub slow_requests: usize,
    /// First entry of a worker: the end of the header.
    pub entries: u64,
}

/// Before [`V8_4`].
const BEFORE_8_4: ScoreboardLayout = ScoreboardLayout {
    pool: 16,
    process_manager: 48,
    idle: 64,
    active: 68,
    max_active: 72,
    requests: 80,
    max_children_reached: 88,
    listen_queue: 92,
    listen_queue_max: 96,
    max_children: 104,
    slow_requests: 112,
    entries: 128,
};

/// From [`V8_4`] on.
const SINCE_8_4: ScoreboardLayout = ScoreboardLayout {
    pool: 28,
    process_manager: 60,
    idle: 72,
    active: 76,
    max_active: 80,
    requests: 88,
    max_children_reached: 96,
    listen_queue: 100,
    listen_queue_max: 104,
    max_children: 112,
    slow_requests: 120,
    entries: 144,
};

/// The layouts of all versions, the oldest first.
pub(crate) fn scoreboards() -> impl Iterator<Item = ScoreboardLayout> {
    [BEFORE_8_4, SINCE_8_4].into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_between_the_oldest_and_the_newest_is_known() {
        for (major, minors) in [(7, 0..=4), (8, 0..=5)] {
            for minor in minors {
                assert!(of(Version { major, minor }).is_some(), "{major}.{minor}");
            }
        }
        assert_eq!(range(), "7.0 to 8.5");
        assert!(KNOWN.is_sorted_by_key(|(version, ..)| *version));
        assert_eq!(of(Version { major: 8, minor: 6 }), None);
        assert_eq!(of(Version { major: 5, minor: 6 }), None);
    }

    #[test]
    fn versions_with_suffixes_are_read() {
        assert_eq!(Version::parse("8.2.36"), Some(Version { major: 8, minor: 2 }));
        assert_eq!(Version::parse("8.5.0RC1"), Some(Version { major: 8, minor: 5 }));
        assert_eq!(Version::parse("eight"), None);
    }
}
