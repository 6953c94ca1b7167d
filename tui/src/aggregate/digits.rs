//! Leaves out digits that tell nothing: a share of a CPU has no seventeen of them. They would take most of the room of a recording,
//! and the live screen draws the same numbers as a replay of it.

use crate::model::{DiskRates, Snapshot};

/// Rounds what is a rate or a share, but for those of PHP.
pub(super) fn round(snapshot: &mut Snapshot) {
    let Snapshot { groups, processes, system, cost, .. } = snapshot;
    for process in processes {
        round_to(&mut process.cpu_ratio, 1e4);
        round_disk(&mut process.disk);
    }
    // What is summed up over days comes from groups.
    for group in groups {
        round_to(&mut group.cpu_ratio, 1e5);
        round_disk(&mut group.disk);
    }
    for ratio in [&mut system.cpu_ratio, &mut system.io_wait_ratio, &mut system.steal_ratio] {
        round_to(ratio, 1e4);
    }
    round_to(&mut cost.cpu_ratio, 1e5);
    round_to(&mut cost.bpf_ratio, 1e6);
    round_to(&mut cost.probe_hits_per_s, 10.0);
}

fn round_disk(disk: &mut DiskRates) {
    round_to(&mut disk.read_bytes_per_s, 1.0);
    round_to(&mut disk.written_bytes_per_s, 1.0);
}

/// Rounds to one part in `parts`.
fn round_to(value: &mut Option<f64>, parts: f64) {
    if let Some(value) = value {
        *value = (*value * parts).round() / parts;
    }
}

/// Milliseconds with three digits behind the point: the kernel's clock says more.
pub(super) fn milliseconds(ns: u64) -> f64 {
    (ns as f64 / 1e3).round() / 1e3
}

/// Nanoseconds with three digits, but never less than whole microseconds: what is counted of one stack or request in one interval. Such
/// a number is off by 0.5 % at most, and their sums by far less.
pub(super) fn time(ns: u64) -> u64 {
    let mut step = 1000;
    while ns / step >= 1000 {
        step *= 10;
    }
    ns.saturating_add(step / 2) / step * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_whole_microseconds() {
        let times = [0, 499, 1_500, 999_499, 2_467_565, 99_960_000, u64::MAX];
        assert_eq!(times.map(time), [0, 0, 2_000, 999_000, 2_470_000, 100_000_000, 18_400_000_000_000_000_000]);
    }
}
