//! Reads /proc/PID/limits (proc_pid_limits(5)).

use crate::model::{Limit, Reading, Unit, Unread};

/// Columns of the name: the kernel prints it with `%-25s` (fs/proc/base.c).
const NAME: usize = 25;
/// Lines that are read; the kernel has 16.
const MOST_LINES: usize = 64;

/// All limits, in the kernel's order. Lines that are something else are left out.
///
/// # Errors
/// [`Unread::Malformed`] when no line is a limit.
pub(super) fn parse(text: &[u8]) -> Reading<Vec<Limit>> {
    let lines = text.split(|&byte| byte == b'\n').take(MOST_LINES);
    let limits: Vec<Limit> = lines.filter_map(|line| limit(std::str::from_utf8(line).ok()?)).collect();
    if limits.is_empty() { Err(Unread::Malformed) } else { Ok(limits) }
}

fn limit(line: &str) -> Option<Limit> {
    let (name, rest) = line.split_at_checked(NAME)?;
    let mut words = rest.split_whitespace();
    let (soft, hard) = (value(words.next()?)?, value(words.next()?)?);
    let unit = match words.next() {
        Some("bytes") => Unit::Bytes,
        Some("seconds") => Unit::Seconds,
        Some("us") => Unit::Microseconds,
        _ => Unit::Count,
    };
    Some(Limit { name: name.trim().strip_prefix("Max ")?.into(), soft, hard, unit })
}

/// `None` inside is unlimited.
fn value(word: &str) -> Option<Option<u64>> {
    if word == "unlimited" { Some(None) } else { word.parse().ok().map(Some) }
}

/// The soft limit of open files, where there is one.
pub(super) fn open_files(limits: &[Limit]) -> Option<u64> {
    limits.iter().find(|limit| &*limit.name == "open files")?.soft
}
