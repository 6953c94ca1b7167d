//! Who was killed because memory was gone, with what the snapshot before says of them.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    collect::proc::OomKillReading,
    model::{Cgroup, Group, Notice, OomKill, Process},
    words::units,
};

/// The most that one snapshot holds.
const MOST: usize = 64;

/// Who was where in the snapshot before.
#[derive(Debug, Default)]
pub(super) struct Before {
    at: Option<Timestamp>,
    processes: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    pid: u32,
    comm: Arc<str>,
    group: Option<Arc<str>>,
    cgroup: Option<Arc<str>>,
    rss_bytes: Option<u64>,
    swap_bytes: Option<u64>,
}

impl Before {
    /// Keeps who is where. The texts are shared, and room is used again.
    pub(crate) fn keep(&mut self, at: Timestamp, processes: &[Process], groups: &[Group], cgroups: &[Cgroup]) {
        self.at = Some(at);
        self.processes.clear();
        self.processes.extend(processes.iter().map(|process| Known {
            pid: process.pid,
            comm: Arc::clone(&process.comm),
            group: groups.get(process.group).map(|group| Arc::clone(&group.name)),
            cgroup: process.cgroup.and_then(|index| Some(Arc::clone(&cgroups.get(index)?.path))),
            rss_bytes: process.memory.rss_bytes,
            swap_bytes: process.memory.swap_bytes,
        }));
    }

    /// The kills of an interval that ended at `at`.
    pub(crate) fn kills(&self, at: Timestamp, readings: &[OomKillReading]) -> Vec<OomKill> {
        readings.iter().take(MOST).map(|reading| self.kill(at, reading)).collect()
    }

    fn kill(&self, at: Timestamp, reading: &OomKillReading) -> OomKill {
        let known = self.processes.binary_search_by_key(&reading.pid, |known| known.pid).ok();
        let known = known.map(|place| &self.processes[place]);
        // The number may have been used again since.
        let known = known.filter(|known| reading.comm.as_ref().is_none_or(|comm| *comm == known.comm));
        let comm = reading.comm.clone().or_else(|| known.map(|known| Arc::clone(&known.comm)));
        OomKill {
            // The clock may have been set since the machine was booted.
            at: reading.at.filter(|&then| then <= at && self.at.is_none_or(|before| then >= before)).unwrap_or(at),
            pid: reading.pid,
            comm: comm.unwrap_or_default(),
            group: known.and_then(|known| known.group.clone()),
            cgroup: known.and_then(|known| known.cgroup.clone()),
            limit_bytes: reading.limit_bytes,
            rss_bytes: reading.rss_bytes.or(known.and_then(|known| known.rss_bytes)),
            swap_bytes: reading.swap_bytes.or(known.and_then(|known| known.swap_bytes)),
            before: self.at,
        }
    }
}

/// What the user should know of them.
pub(super) fn notice(kill: &OomKill) -> Notice {
    let size = kill.rss_bytes.map_or_else(|| "unknown size".to_owned(), units::bytes);
    let group = kill.group.as_deref().map_or_else(String::new, |group| format!(" of {group}"));
    let why = match (kill.limit_bytes, kill.cgroup.as_deref()) {
        (None, _) => "the machine had no memory left".to_owned(),
        (Some(limit), Some(path)) => format!("its cgroup {path} is limited to {}", units::bytes(limit)),
        (Some(limit), None) => format!("its cgroup is limited to {}", units::bytes(limit)),
    };
    Notice::oom_killed(&kill.comm, kill.pid, &group, &size, &why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(pid: u32, comm: Option<&str>) -> OomKillReading {
        OomKillReading {
            at: None,
            pid,
            comm: comm.map(Arc::from),
            rss_bytes: comm.map(|_| 5 << 20),
            swap_bytes: None,
            limit_bytes: Some(8 << 20),
        }
    }

    #[test]
    fn the_snapshot_before_says_whose_it_was() {
        let (before, at) = (Timestamp::from_second(100).unwrap(), Timestamp::from_second(101).unwrap());
        let mut known = Before::default();
        let mut process = Process::named(7, "php");
        process.memory.rss_bytes = Some(3 << 20);
        known.keep(before, &[process], &[Group::empty("php-fpm: www".into(), "php pool".into())], &[]);
        let kills =
            known.kills(at, &[reading(7, Some("php")), reading(7, None), reading(7, Some("other")), reading(8, None)]);
        let facts: Vec<_> = kills.iter().map(|kill| (&*kill.comm, kill.group.as_deref(), kill.rss_bytes)).collect();
        let www = Some("php-fpm: www");
        let expected = [
            ("php", www, Some(5 << 20)),
            ("php", www, Some(3 << 20)),
            ("other", None, Some(5 << 20)),
            ("", None, None),
        ];
        assert_eq!(facts, expected);
        assert!(kills.iter().all(|kill| (kill.at, kill.before) == (at, Some(before))));
        let text = notice(&kills[0]).text;
        assert_eq!(
            text,
            "the kernel killed php (7) of php-fpm: www, which had 5.0 MiB: its cgroup is limited to 8.0 MiB"
        );
    }

    #[test]
    fn a_time_outside_of_the_interval_is_not_believed() {
        let time = |second| Timestamp::from_second(second).unwrap();
        let mut known = Before::default();
        known.keep(time(100), &[], &[], &[]);
        for (then, expected) in [(99, 110), (100, 100), (105, 105), (111, 110)] {
            let reading = OomKillReading { at: Some(time(then)), ..reading(1, None) };
            assert_eq!(known.kills(time(110), &[reading])[0].at, time(expected), "{then}");
        }
    }
}
