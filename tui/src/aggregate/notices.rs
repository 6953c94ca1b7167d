//! Notices about samples that are not complete.

use super::{PhpReading, groups::MAX_GROUPS};
use crate::{
    collect::proc::ProcessSample,
    model::{Level, Notice},
};

/// What could not be read of the processes.
pub(super) fn of_processes(sample: &ProcessSample) -> Vec<Notice> {
    let mut notices = Vec::new();
    if let Some(error) = &sample.error {
        notices.push(notice(Level::Error, error.to_string(), ""));
    }
    if sample.refused > 0 {
        let text = format!("{} cannot be read and are missing from all sums", processes(sample.refused));
        notices.push(notice(Level::Warning, text, "run as root; see the mount option hidepid in proc(5)"));
    }
    if sample.malformed > 0 {
        let text = format!("{} with a stat file that proc_pid_stat(5) does not explain", processes(sample.malformed));
        notices.push(notice(Level::Warning, text, ""));
    }
    if sample.machine.swap_used_bytes.is_none() {
        notices.push(notice(
            Level::Warning,
            "/proc/meminfo cannot be read: memory of the machine is unknown".into(),
            "",
        ));
    }
    if let Some(why) = &sample.ended_unknown {
        let text = format!("processes that start and end between two snapshots are not counted: {why}");
        notices.push(notice(Level::Info, text, "tusktop doctor says what is missing"));
    }
    let unread = sample.processes.iter().filter(|process| process.swap_bytes.is_none()).count();
    if unread > 0 {
        let text = format!("swap of {} could not be read", processes(u32::try_from(unread).unwrap_or(u32::MAX)));
        notices.push(notice(Level::Info, text, ""));
    }
    notices
}

/// That there are too many groups.
pub(super) fn of_groups(without_room: u32) -> Option<Notice> {
    let text = || format!("{} are in `more groups`: at most {MAX_GROUPS} groups are kept", processes(without_room));
    let hint = "give groups names without a pid, a time or a whole command line; `tusktop groups` shows the rules";
    (without_room > 0).then(|| notice(Level::Warning, text(), hint))
}

/// Why there is nothing about PHP in this snapshot.
pub(super) fn of_php(php: &PhpReading) -> Option<Notice> {
    match php {
        PhpReading::Off | PhpReading::Sample(..) => None,
        PhpReading::Starting => Some(notice(Level::Info, "looking for PHP and attaching to it".into(), "")),
        PhpReading::Ended => Some(notice(
            Level::Error,
            "the PHP collector has stopped: nothing about PHP is known".into(),
            "restart tusktop",
        )),
        PhpReading::Late => Some(notice(
            Level::Info,
            "PHP was not read in time; its counts come with a later snapshot".into(),
            "a longer --interval helps when this stays",
        )),
    }
}

fn processes(count: u32) -> String {
    if count == 1 { "1 process".into() } else { format!("{count} processes") }
}

fn notice(level: Level, text: String, hint: &str) -> Notice {
    Notice { level, text, hint: hint.into() }
}
