//! Where PHP's structures keep what is read, by PHP version. 64-bit builds; x86-64 and arm64 agree.
//!
//! Sources: Zend/zend_compile.h, Zend/zend_globals.h, main/SAPI.h and main/fastcgi.c of each version; the tables of
//! phpspy (structs/) and of the OpenTelemetry profiler (7.3 to 8.5) agree. 7.4, 8.2 and 8.4 were checked on real binaries.

/// A PHP version without its patch level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl Version {
    /// Reads "8.2.36" or "8.4.0RC1".
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (major, minor) = (parts.next()?, parts.next()?);
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

/// Byte offsets inside PHP's structures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// `zend_executor_globals.current_execute_data`.
    pub current_execute_data: u32,
    /// `zend_execute_data.prev_execute_data`.
    pub previous_execute_data: u32,
    /// `zend_op_array.filename`; `.line_start` stands 8 bytes behind it in every version.
    pub filename: u32,
    /// `sapi_globals_struct.sapi_headers.http_response_code`.
    pub response_code: u32,
    /// `fcgi_request.env.hash_table`.
    pub fastcgi_environment: u32,
    /// Functions say that they come from a trait (`ZEND_ACC_TRAIT_CLONE`), and strings that they are interned.
    pub tells_traits: bool,
}

/// Its `zend_execute_data` has one field more than all later versions.
const OLDEST: Version = Version { major: 7, minor: 0 };

/// The offsets of a version; `None` when its layout is not known.
pub fn of(version: Version) -> Option<Offsets> {
    let (current_execute_data, filename) = match (version.major, version.minor) {
        (7, 0..=2) => (480, 120),
        (7, 3) => (488, 128),
        (7, 4) => (488, 136),
        (8, 0 | 1) => (488, 144),
        (8, 2) => (488, 152),
        (8, 3) => (488, 144),
        (8, 4) => (488, 168),
        (8, 5) => (512, 168),
        _ => return None,
    };
    Some(Offsets {
        current_execute_data,
        previous_execute_data: if version == OLDEST { 56 } else { 48 },
        filename,
        response_code: 216,
        fastcgi_environment: 8296,
        tells_traits: (version.major, version.minor) >= (7, 4),
    })
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
