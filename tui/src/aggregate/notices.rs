//! Which notices follow from a sample: what is incomplete in it.

use super::{PhpReading, sums::MAX_GROUPS};
use crate::{
    collect::proc::{MAX_CGROUPS, ProcessSample, Pss},
    model::{Notice, PssUnknown},
    words::units,
};

/// What could not be read of the processes.
pub(super) fn of_processes(sample: &ProcessSample) -> Vec<Notice> {
    let some = |count: u32| (count > 0).then_some(count);
    let unread = sample.processes.iter().filter(|process| process.swap_bytes.is_none()).count();
    let parts = [
        sample.error.as_ref().map(|error| Notice::sampler_failed(error)),
        some(sample.refused).map(Notice::processes_refused),
        sample.hidden.then(Notice::processes_hidden),
        sample
            .unanswered_first
            .as_ref()
            .map(|(pid, comm)| Notice::processes_not_answering(sample.unanswered, comm, *pid)),
        some(sample.malformed).map(Notice::processes_malformed),
        sample.machine.memory.total.is_none().then(Notice::meminfo_unreadable),
        sample.ended_unknown.as_deref().map(Notice::short_lived_uncounted),
        some(counted(unread)).map(Notice::swap_unread),
    ];
    let cgroups = some(sample.cgroups_without_room).map(|count| Notice::cgroups_left_out(count, MAX_CGROUPS));
    parts.into_iter().flatten().chain(of_pss(sample)).chain(cgroups).collect()
}

/// Whose PSS is not known, and why; not that its turn has not come.
fn of_pss(sample: &ProcessSample) -> Vec<Notice> {
    let with = |why| sample.processes.iter().filter(move |process| process.pss == Pss::Unknown(why));
    let count = |why| Some(counted(with(why).count())).filter(|&count| count > 0);
    let biggest = with(PssUnknown::TooExpensive).max_by_key(|process| process.rss_bytes);
    let expensive = biggest.zip(count(PssUnknown::TooExpensive)).map(|(process, count)| {
        Notice::pss_too_expensive(count, &process.details.comm, process.pid, &units::bytes(process.rss_bytes))
    });
    let refused = count(PssUnknown::Refused).map(Notice::pss_refused);
    let unsupported = count(PssUnknown::Unsupported).map(Notice::pss_unsupported);
    [refused, expensive, unsupported].into_iter().flatten().collect()
}

/// That there are too many groups.
pub(super) fn of_groups(without_room: u32) -> Option<Notice> {
    (without_room > 0).then(|| Notice::groups_left_out(without_room, MAX_GROUPS))
}

/// Why there is nothing about PHP in this snapshot.
pub(super) fn of_php(php: &PhpReading) -> Option<Notice> {
    match php {
        PhpReading::Off | PhpReading::Sample(..) => None,
        PhpReading::Starting => Some(Notice::php_starting()),
        PhpReading::Ended => Some(Notice::php_ended()),
        PhpReading::Late => Some(Notice::php_late()),
    }
}

fn counted(processes: usize) -> u32 {
    u32::try_from(processes).unwrap_or(u32::MAX)
}
