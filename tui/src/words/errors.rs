//! The levels of PHP's errors: the number that PHP has for each (Zend/zend_errors.h), its name here, and how severe it is.

/// Level of an exception that ended a request, and of what PHP calls `E_ERROR`.
pub(crate) const FATAL: &str = "fatal";
/// Level of a file that is not PHP.
pub(crate) const PARSE: &str = "parse";
/// Level of a file that PHP understands and refuses.
pub(crate) const COMPILE_FATAL: &str = "compile fatal";
/// Level of a number that this table does not have.
const OTHER: &str = "error";

/// What an error does to the request that it happens in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// It ends the request.
    Fatal,
    /// The request goes on, perhaps with a wrong result.
    Failure,
    /// It is good to know.
    Note,
}

use Severity::{Failure, Fatal, Note};

const LEVELS: [(u32, &str, Severity); 15] = [
    (1, FATAL, Fatal),
    (2, "warning", Failure),
    (4, PARSE, Fatal),
    (8, "notice", Note),
    (16, "core fatal", Fatal),
    (32, "core warning", Failure),
    (64, COMPILE_FATAL, Fatal),
    (128, "compile warning", Failure),
    (256, "user fatal", Fatal),
    (512, "user warning", Failure),
    (1024, "user notice", Note),
    (2048, "strict", Note),
    (4096, "recoverable", Fatal),
    (8192, "deprecated", Note),
    (16384, "user deprecated", Note),
];

/// Name of a level by PHP's number.
pub(crate) fn level(number: u32) -> &'static str {
    LEVELS.iter().find(|(known, ..)| *known == number).map_or(OTHER, |(_, name, _)| name)
}

/// How severe a level of this name is. One that is not known, of a newer recording perhaps, is a note.
pub(crate) fn severity(level: &str) -> Severity {
    match LEVELS.iter().find(|(_, name, _)| *name == level) {
        Some((.., severity)) => *severity,
        None if level == OTHER => Failure,
        None => Note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_a_name_of_its_own_and_its_severity() {
        for (index, (number, name, severe)) in LEVELS.into_iter().enumerate() {
            assert_eq!((number, level(number), severity(name)), (1 << index, name, severe));
        }
        assert_eq!((level(3), severity(level(3)), severity("of the future")), ("error", Failure, Note));
    }
}
