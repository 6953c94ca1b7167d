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
        round_to(&mut group.cpu_ratio, 1e4);
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

/// Milliseconds with four digits, but nothing below a microsecond: what is known of one request.
pub(super) fn milliseconds(ns: u64) -> f64 {
    significant(ns, 10_000) as f64 / 1e6
}

/// Milliseconds with three digits, but nothing below a microsecond: what sums up requests.
pub(super) fn summary_ms(ms: f64) -> f64 {
    significant((ms * 1e6) as u64, 1000) as f64 / 1e6
}

/// Nanoseconds that are off by 1 % at most, but never closer than whole microseconds: what is counted of one stack or request in one
/// interval. As they are too long as often as too short, their sums are off by far less.
pub(super) fn time(ns: u64) -> u64 {
    let step = power_of_ten(ns, 1000);
    let steps = match ns / step {
        500.. => 10,
        250.. => 5,
        100.. => 2,
        _ => 1,
    };
    nearest(ns, step.saturating_mul(steps))
}

/// Nanoseconds in whole microseconds, as fewer than so many steps of a power of ten.
fn significant(ns: u64, steps: u64) -> u64 {
    nearest(ns, power_of_ten(ns, steps))
}

/// The smallest power of ten, from a microsecond on, of which there are fewer than so many.
fn power_of_ten(ns: u64, steps: u64) -> u64 {
    let mut step = 1000;
    while ns / step >= steps {
        step *= 10;
    }
    step
}

fn nearest(ns: u64, step: u64) -> u64 {
    ns.saturating_add(step / 2) / step * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_one_interval_are_off_by_a_hundredth_at_most_or_half_a_microsecond() {
        let times = [0, 499, 1_500, 999_499, 2_467_565, 99_960_000];
        assert_eq!(times.map(time), [0, 0, 2_000, 1_000_000, 2_460_000, 100_000_000]);
        for ns in (0..64).flat_map(|bits| [1_u64 << bits, (1 << bits) / 3 * 5]) {
            assert!(time(ns).abs_diff(ns) <= (ns / 100).max(500), "{ns}: {}", time(ns));
        }
    }

    #[test]
    fn times_of_one_request_have_four_digits_and_those_of_several_three() {
        let times = [499, 12_345_678, 1_234_567, 98_765_432_100];
        assert_eq!(times.map(milliseconds), [0.0, 12.35, 1.235, 98_770.0]);
        assert_eq!([12.345, 0.25, 1_999.9].map(summary_ms), [12.3, 0.25, 2_000.0]);
    }
}
