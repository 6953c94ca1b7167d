//! Which memory measure is shown and how it is worded: PSS or RSS, its age, why it is not better, and the usage of the cgroup's limit.

use std::fmt;

use super::units;
use crate::model::{Cgroup, CgroupMost, Forecast, ForecastLimit, Group, Memory, Process, PssUnknown};

/// Growth each minute: `+4.0 MiB a minute`, `-512 KiB a minute`.
pub(crate) fn per_minute(bytes: i64) -> String {
    let sign = if bytes < 0 { '-' } else { '+' };
    format!("{sign}{} a minute", units::bytes(bytes.unsigned_abs()))
}

/// When a limit is reached: `at this rate memory_limit is reached in 40m`; empty where that cannot be told.
pub(crate) fn forecast(forecast: Option<Forecast>) -> String {
    let Some(Forecast { seconds, limit }) = forecast else { return String::new() };
    let limit = match limit {
        ForecastLimit::Php => "memory_limit",
        ForecastLimit::Cgroup => "the limit of the cgroup",
    };
    format!("at this rate {limit} is reached in {}", units::age(seconds))
}

/// How fast what counts against the limit of a cgroup grows, and when it is reached; empty where it is not told.
pub(crate) fn cgroup_growth(cgroup: &Cgroup) -> String {
    let Some(growth) = cgroup.growth_bytes_per_minute else { return String::new() };
    let reached = forecast(cgroup.forecast());
    let separator = if reached.is_empty() { "" } else { ": " };
    format!("{}{separator}{reached}", per_minute(growth))
}

/// Is put before a size that is RSS, wholly or in part, beside others that are PSS.
pub(crate) const ESTIMATED: char = '~';
/// Share of its limit from which a cgroup is nearly full.
const NEARLY_FULL: f64 = 0.9;

/// What the sizes of processes are. Displayed as `PSS, 4 s old`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Proportional set size, and the age of the oldest value in milliseconds.
    Pss(Option<u64>),
    /// Proportional set size of some processes, resident set size of the others.
    Mixed {
        /// Processes whose PSS is known.
        known: usize,
        /// All processes that have memory.
        all: usize,
    },
    /// Resident set size, and why it is not PSS.
    Rss(Option<PssUnknown>),
}

/// Reasons; of two that hold for as many processes the first is told.
const REASONS: [PssUnknown; 6] = [
    PssUnknown::Off,
    PssUnknown::Unsupported,
    PssUnknown::Refused,
    PssUnknown::NotAnswering,
    PssUnknown::TooExpensive,
    PssUnknown::Waiting,
];

impl Measure {
    /// The measure of processes. Those without memory (kernel threads, zombies) say nothing about it.
    pub(crate) fn of<'a>(processes: impl IntoIterator<Item = &'a Process>) -> Self {
        let (mut known, mut all, mut oldest) = (0, 0, None);
        let mut unknown = [0; REASONS.len()];
        for process in processes.into_iter().filter(|process| process.memory.rss_bytes != Some(0)) {
            all += 1;
            if process.memory.pss_bytes.is_some() {
                known += 1;
                oldest = oldest.max(process.memory.pss_age_ms);
            } else if let Some(why) = REASONS.iter().position(|reason| Some(*reason) == process.pss_unknown) {
                unknown[why] += 1;
            }
        }
        let most = (0..REASONS.len()).rev().max_by_key(|&why| unknown[why]).filter(|&why| unknown[why] > 0);
        match known {
            0 => Self::Rss(most.map(|why| REASONS[why])),
            _ if known == all => Self::Pss(oldest),
            _ => Self::Mixed { known, all },
        }
    }

    /// Some sizes are one, some the other.
    pub(crate) fn is_mixed(self) -> bool {
        matches!(self, Self::Mixed { .. })
    }

    /// The size of a group is RSS in part, beside groups whose size is not.
    pub(crate) fn is_estimate(self, group: &Group) -> bool {
        self.is_mixed() && group.pss_processes < group.processes
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pss(Some(age)) if *age >= 1000 => write!(out, "PSS, {} old", units::age(age / 1000)),
            Self::Pss(_) => write!(out, "PSS"),
            Self::Mixed { known, all } => write!(out, "PSS of {known} of {all} procs, RSS of the others"),
            Self::Rss(Some(why)) => write!(out, "RSS (PSS: {})", why_unknown(*why)),
            Self::Rss(None) => write!(out, "RSS"),
        }
    }
}

/// What a group takes, as well as it is known. Snapshots of the first versions have only its RSS.
pub(crate) fn footprint(group: &Group) -> Option<u64> {
    group.footprint_bytes.or(group.memory.rss_bytes)
}

/// A size with its mark; `-` when it is not known.
pub(crate) fn size(bytes: Option<u64>, estimated: bool) -> String {
    match bytes {
        None => "-".to_owned(),
        Some(bytes) if estimated => format!("{ESTIMATED}{}", units::bytes(bytes)),
        Some(bytes) => units::bytes(bytes),
    }
}

/// Why there is no PSS.
pub(crate) fn why_unknown(why: PssUnknown) -> &'static str {
    match why {
        PssUnknown::Waiting => "not read yet",
        PssUnknown::TooExpensive => "too expensive to read",
        PssUnknown::Refused => "not permitted",
        PssUnknown::Unsupported => "not supported by the kernel",
        PssUnknown::NotAnswering => "does not answer",
        PssUnknown::Off => "off",
        PssUnknown::Other => "not known",
    }
}

/// What is known of the memory of a process.
pub(crate) fn sizes(process: &Process) -> String {
    let Memory { rss_bytes, pss_bytes, uss_bytes, shared_bytes, swap_bytes, pss_age_ms, .. } = process.memory;
    let [rss, pss, uss, shared, swap] =
        [rss_bytes, pss_bytes, uss_bytes, shared_bytes, swap_bytes].map(|b| size(b, false));
    let parts = match (pss_bytes, process.pss_unknown, pss_age_ms) {
        (None, Some(why), _) => format!("PSS and USS - ({})", why_unknown(why)),
        (_, _, Some(age)) if age >= 1000 => {
            format!("PSS {pss}   USS {uss}   shared {shared} ({} old)", units::age(age / 1000))
        }
        _ => format!("PSS {pss}   USS {uss}   shared {shared}"),
    };
    format!("RSS {rss}   {parts}   swap {swap}")
}

/// Usage and limit, and whether that is nearly all.
pub(crate) fn cgroup(cgroup: &Cgroup) -> (String, bool) {
    let text = match (cgroup.memory_current_bytes, cgroup.memory_max_bytes) {
        (Some(used), Some(limit)) => units::bytes_of(used, limit),
        (Some(used), None) if cgroup.unlimited => format!("{}, no limit", units::bytes(used)),
        (Some(used), None) => format!("{}, limit unknown", units::bytes(used)),
        (None, Some(limit)) => format!("- of {}", units::bytes(limit)),
        (None, None) => "-".to_owned(),
    };
    let nearly_full = cgroup.used_ratio().is_some_and(|ratio| ratio >= NEARLY_FULL);
    let most = cgroup.most().filter(|_| cgroup.memory_max_bytes.is_some()).map_or("", |most| match most {
        CgroupMost::Processes => "",
        CgroupMost::Cache => ", mostly page cache",
        CgroupMost::Shared => ", mostly tmpfs",
        CgroupMost::Kernel => ", mostly kernel",
    });
    let high = if cgroup.limit_is_high { " (high)" } else { "" };
    (format!("{text}{high}{most}"), nearly_full)
}

/// What the memory of a cgroup is: `processes 20 MiB   tmpfs 400 MiB   cache 12 MiB   kernel 3.0 MiB (slab 2.0 MiB)`; empty where it is not known.
pub(crate) fn cgroup_parts(cgroup: &Cgroup) -> String {
    let Some(parts) = cgroup.parts else { return String::new() };
    let slab = match parts.slab_bytes {
        Some(slab) => format!(" (slab {})", units::bytes(slab)),
        None => " (slab not known)".to_owned(),
    };
    let parts = [
        ("processes", parts.anon_bytes),
        ("tmpfs", parts.shmem_bytes),
        ("cache", parts.file_bytes),
        ("kernel", parts.kernel_bytes),
        ("sockets", parts.sock_bytes),
        ("swap", parts.swap_bytes),
    ];
    let known = parts.into_iter().filter_map(|(name, bytes)| Some((name, bytes.filter(|&bytes| bytes > 0)?)));
    let text = |(name, bytes): (&str, u64)| match name {
        "kernel" => format!("{name} {}{slab}", units::bytes(bytes)),
        _ => format!("{name} {}", units::bytes(bytes)),
    };
    known.map(text).collect::<Vec<_>>().join("   ")
}

/// What happened at the limits of a cgroup: `at its limit 12 times, 1 killed`; empty where nothing did.
pub(crate) fn cgroup_events(cgroup: &Cgroup) -> String {
    let Some(events) = cgroup.events else { return String::new() };
    let parts = [
        ("above memory.high", " times", events.high),
        ("at its limit", " times", events.max),
        ("processes killed:", "", events.oom_kill),
    ];
    let known =
        parts.into_iter().filter_map(|(before, after, count)| Some((before, after, count.filter(|&count| count > 0)?)));
    known
        .map(|(before, after, count)| format!("{before} {}{after}", units::count(count)))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_and_limit_of_a_cgroup_are_worded_as_far_as_they_are_known() {
        let of = |current: Option<u64>, max: Option<u64>, unlimited| {
            cgroup(&Cgroup {
                path: "/a".into(),
                version: 2,
                memory_current_bytes: current,
                memory_max_bytes: max,
                memory_available_bytes: max.zip(current).map(|(max, current)| max.saturating_sub(current)),
                unlimited,
                growth_bytes_per_minute: None,
                limit_is_high: false,
                parts: None,
                events: None,
            })
        };
        assert_eq!(of(Some(1 << 30), Some(4 << 30), false), ("1.0 of 4.0 GiB".into(), false));
        assert_eq!(of(Some(15 << 28), Some(4 << 30), false), ("3.8 of 4.0 GiB".into(), true));
        assert_eq!(of(Some(1 << 30), None, true), ("1.0 GiB, no limit".into(), false));
        assert_eq!(of(Some(1 << 30), None, false), ("1.0 GiB, limit unknown".into(), false));
        assert_eq!(of(None, Some(4 << 30), false), ("- of 4.0 GiB".into(), false));
        assert_eq!(of(None, None, false), ("-".into(), false));
        assert!(!of(Some(1), Some(0), false).1, "a limit of nothing is no division by it");
    }
}
