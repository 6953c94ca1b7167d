//! The small files of a process: what it waits for, how it is scheduled, its arguments.

use std::sync::Arc;

use super::folder::Folder;
use crate::{
    model::{Reading, Unread},
    words::secrets::Secrets,
};

/// Bytes of /proc/PID/stat that are read: it is shorter.
pub(super) const STAT_BYTES: u64 = 4096;
/// Bytes of /proc/PID/status and limits that are read: they are shorter.
pub(super) const STATUS_BYTES: u64 = 64 * 1024;
/// Bytes of a command line that are read.
const MOST_ARGUMENTS: u64 = 32 * 1024;

/// Nice value and policy: fields 19 and 41 of proc_pid_stat(5).
pub(super) fn scheduling(stat: &[u8]) -> Reading<(i64, &'static str)> {
    // The name in brackets may hold anything; no field after it holds a bracket.
    let end = stat.iter().rposition(|&byte| byte == b')').ok_or(Unread::Malformed)?;
    let fields = std::str::from_utf8(&stat[end + 1..]).map_err(|_| Unread::Malformed)?;
    // The first field after the name is number 3.
    let field = |number: usize| fields.split_ascii_whitespace().nth(number - 3)?.parse::<i64>().ok();
    let nice = field(19).filter(|nice| (-20..=19).contains(nice)).ok_or(Unread::Malformed)?;
    // Numbers of sched(7) in the kernel's include/uapi/linux/sched.h.
    let policy = match field(41).ok_or(Unread::Malformed)? {
        0 => "normal",
        1 => "FIFO, real time",
        2 => "round robin, real time",
        3 => "batch",
        5 => "idle",
        6 => "deadline",
        7 => "extensible",
        _ => "unknown",
    };
    Ok((nice, policy))
}

/// Voluntary and involuntary context switches of the main thread, from /proc/PID/status.
pub(super) fn switches(status: &[u8]) -> Reading<(u64, u64)> {
    let value = |name: &str| {
        let line = status.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name.as_bytes()))?;
        std::str::from_utf8(line).ok()?.trim().parse().ok()
    };
    let both = value("voluntary_ctxt_switches:").zip(value("nonvoluntary_ctxt_switches:"));
    both.ok_or(Unread::Malformed)
}

/// The kernel function that it waits in; `None` while it runs.
pub(super) fn wchan(folder: &Folder, state: char) -> Reading<Option<Arc<str>>> {
    let text = folder.bytes("wchan", 128)?;
    let name = String::from_utf8_lossy(&text);
    match name.trim() {
        // What the kernel says of a process that waits, too, to those who may not know (proc_pid_wchan(5)).
        "" | "0" if matches!(state, 'S' | 'D' | 'I') => Err(Unread::Refused),
        "" | "0" => Ok(None),
        name => Ok(Some(name.into())),
    }
}

/// The number in a file.
pub(super) fn number(folder: &Folder, name: &str) -> Reading<i64> {
    let text = folder.bytes(name, 64)?;
    std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok()).ok_or(Unread::Malformed)
}

/// The arguments, with a space between them and their secrets masked, and whether there are more than were read.
/// [`Unread::Absent`] without any.
pub(super) fn arguments(folder: &Folder, secrets: Secrets) -> Reading<(Arc<str>, bool)> {
    let mut bytes = folder.bytes("cmdline", MOST_ARGUMENTS + 1)?;
    let cut = bytes.len() as u64 > MOST_ARGUMENTS;
    bytes.truncate(MOST_ARGUMENTS as usize);
    // Programs that set their title leave the rest of the area filled with these.
    let end = bytes.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |last| last + 1);
    bytes.truncate(end);
    if bytes.is_empty() {
        return Err(Unread::Absent);
    }
    Ok((secrets.command_line(&String::from_utf8_lossy(&bytes)).into(), cut))
}
