//! What an inspection found, in words: kinds of mappings, and why something was not read.

use crate::model::{MappingKind, Unread};

/// Why something is not known, as a half sentence.
pub(crate) fn why_unread(why: Unread) -> String {
    match why {
        Unread::Refused => "not permitted: this needs root or CAP_SYS_PTRACE".to_owned(),
        Unread::Absent => "the kernel does not provide it".to_owned(),
        Unread::Ended => "the process ended first".to_owned(),
        Unread::Malformed => "its format is unknown".to_owned(),
        Unread::TooExpensive(time) => format!("reading it takes {} ms or more", time.as_millis().max(1)),
        Unread::Failed(number) => std::io::Error::from_raw_os_error(number).to_string(),
        Unread::Elsewhere => "outside tusktop's namespaces".to_owned(),
        Unread::Other => "not known".to_owned(),
    }
}

/// What a kind of mapping is called.
pub(crate) fn mapping(kind: MappingKind) -> &'static str {
    match kind {
        MappingKind::Heap => "heap",
        MappingKind::PhpHeap => "PHP heap",
        MappingKind::Anonymous => "anonymous",
        MappingKind::Stack => "stack",
        MappingKind::File => "code, libraries",
        MappingKind::SharedFile => "shared files",
        MappingKind::Opcache => "opcache",
        MappingKind::Shared => "shared memory",
        MappingKind::Special => "kernel, devices",
    }
}
