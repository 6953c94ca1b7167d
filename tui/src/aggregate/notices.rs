//! Notices about samples that are not complete.

use super::{PhpReading, sums::MAX_GROUPS};
use crate::{
    collect::proc::{MAX_CGROUPS, ProcessSample, Pss},
    model::{Level, Notice, PssUnknown},
    words::units,
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
    if sample.hidden {
        let text = "processes of other users are hidden and missing from all sums".to_owned();
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
    notices.extend(of_pss(sample));
    if sample.cgroups_without_room > 0 {
        let text = format!(
            "the cgroups of {} are not read: at most {MAX_CGROUPS} are",
            processes(sample.cgroups_without_room)
        );
        notices.push(notice(Level::Info, text, ""));
    }
    notices
}

/// Whose PSS is not known, and why; not that its turn has not come.
fn of_pss(sample: &ProcessSample) -> Vec<Notice> {
    let with = |why| sample.processes.iter().filter(move |process| process.pss == Pss::Unknown(why));
    let count = |why| u32::try_from(with(why).count()).unwrap_or(u32::MAX);
    let mut notices = Vec::new();
    let refused = count(PssUnknown::Refused);
    if refused > 0 {
        let text = format!("PSS of {} is not permitted; RSS counts instead", processes(refused));
        notices.push(notice(
            Level::Info,
            text,
            "run as root, or with CAP_SYS_PTRACE; a process with more capabilities than tusktop stays closed",
        ));
    }
    if let Some(biggest) = with(PssUnknown::TooDear).max_by_key(|process| process.rss_bytes) {
        let text = format!(
            "PSS of {} is too dear to read, of {} ({}) with an RSS of {} for one; RSS counts instead",
            processes(count(PssUnknown::TooDear)),
            biggest.details.comm,
            biggest.pid,
            units::bytes(biggest.rss_bytes)
        );
        notices.push(notice(
            Level::Info,
            text,
            "pss_read_limit in the configuration allows more; it holds them up meanwhile",
        ));
    }
    let unsupported = count(PssUnknown::Unsupported);
    if unsupported > 0 {
        let text = format!("PSS of {} cannot be read; RSS counts instead", processes(unsupported));
        notices.push(notice(Level::Info, text, "smaps_rollup needs Linux 4.14 or newer, and CONFIG_PROC_PAGE_MONITOR"));
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

pub(super) fn notice(level: Level, text: String, hint: &str) -> Notice {
    Notice { level, text, hint: hint.into() }
}
