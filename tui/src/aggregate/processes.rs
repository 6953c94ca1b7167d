//! Readings of processes become the snapshot's processes and groups: this is where CPU rates come from.

use std::{sync::Arc, time::Instant};

use super::groups::{GroupId, Groups, Share};
use crate::{
    collect::proc::{CpuTicks, Details, ProcessReading, ProcessSample},
    model::{Group, Memory, Process},
};

/// What one [`ProcessSample`] adds to a snapshot.
#[derive(Debug, Default)]
pub(super) struct ProcessPart {
    pub groups: Vec<Group>,
    pub processes: Vec<Process>,
    /// Time since the previous sample; `None` for the first.
    pub interval_s: Option<f64>,
    /// Busy share of all CPUs.
    pub system_cpu_ratio: Option<f64>,
    /// CPU of this program in cores.
    pub own_cpu_ratio: Option<f64>,
    /// Memory of this program.
    pub own_rss_bytes: Option<u64>,
}

/// Keeps the previous readings.
#[derive(Debug, Default)]
pub(super) struct ProcessAggregate {
    groups: Groups,
    /// In order of pid, as samples are.
    previous: Vec<Previous>,
    machine: Option<PreviousMachine>,
}

#[derive(Debug)]
struct Previous {
    pid: u32,
    start_ticks: u64,
    cpu_ticks: u64,
    details: Arc<Details>,
    group: GroupId,
}

#[derive(Debug, Clone, Copy)]
struct PreviousMachine {
    at: Instant,
    cpu: Option<CpuTicks>,
    own_cpu: std::time::Duration,
    uptime_ticks: Option<u64>,
}

impl ProcessAggregate {
    /// Makes the processes and groups of one sample.
    pub fn update(&mut self, sample: &ProcessSample) -> ProcessPart {
        let now = sample.at.map(|at| PreviousMachine {
            at,
            cpu: sample.machine.cpu,
            own_cpu: sample.own_cpu,
            uptime_ticks: sample.machine.uptime_ticks,
        });
        let before = self.machine;
        let interval_s = match (before, now) {
            (Some(before), Some(now)) => Some(now.at.saturating_duration_since(before.at).as_secs_f64()),
            _ => None,
        }
        .filter(|&seconds| seconds > 0.0);
        // What starts after the previous pass has used all its CPU since then.
        let born_after = before.and_then(|before| before.uptime_ticks);
        let interval_ticks = interval_s.map(|seconds| seconds * sample.ticks_per_second as f64);

        let mut processes = Vec::with_capacity(sample.processes.len());
        let mut current = Vec::with_capacity(sample.processes.len());
        let mut previous = std::mem::take(&mut self.previous).into_iter().peekable();
        for reading in &sample.processes {
            while previous.next_if(|previous| previous.pid < reading.pid).is_some() {}
            let known = previous
                .next_if(|previous| previous.pid == reading.pid)
                .filter(|previous| previous.start_ticks == reading.start_ticks);
            let used_ticks = match &known {
                Some(known) => Some(reading.cpu_ticks.saturating_sub(known.cpu_ticks)),
                None => born_after.filter(|&uptime| reading.start_ticks > uptime).map(|_| reading.cpu_ticks),
            };
            let cpu_ratio = used_ticks.zip(interval_ticks).map(|(used, interval)| used as f64 / interval);
            let group = match known {
                Some(known) if Arc::ptr_eq(&known.details, &reading.details) => known.group,
                _ => self.groups.assign(&reading.details),
            };
            self.groups.add(
                group,
                Share {
                    threads: reading.threads,
                    cpu_ratio,
                    rss_bytes: reading.rss_bytes,
                    swap_bytes: reading.swap_bytes,
                },
            );
            processes.push(process(reading, group, cpu_ratio));
            current.push(Previous {
                pid: reading.pid,
                start_ticks: reading.start_ticks,
                cpu_ticks: reading.cpu_ticks,
                details: Arc::clone(&reading.details),
                group,
            });
        }
        self.previous = current;
        self.machine = now;

        let (groups, places) = self.groups.finish();
        for process in &mut processes {
            process.group = places[process.group];
        }
        let own = sample.own_pid.and_then(|pid| find(&sample.processes, pid));
        ProcessPart {
            groups,
            processes,
            interval_s,
            system_cpu_ratio: before.and_then(|before| busy_ratio(before.cpu?, sample.machine.cpu?)),
            own_cpu_ratio: before
                .zip(interval_s)
                .map(|(before, seconds)| sample.own_cpu.saturating_sub(before.own_cpu).as_secs_f64() / seconds),
            own_rss_bytes: own.map(|own| own.rss_bytes),
        }
    }
}

fn find(readings: &[ProcessReading], pid: u32) -> Option<&ProcessReading> {
    readings.binary_search_by_key(&pid, |reading| reading.pid).ok().map(|place| &readings[place])
}

fn busy_ratio(before: CpuTicks, now: CpuTicks) -> Option<f64> {
    let total = now.total.checked_sub(before.total).filter(|&total| total > 0)?;
    // Waiting for io can be counted back by the kernel, so that busy time seems to grow by more than there was.
    Some((now.busy.saturating_sub(before.busy) as f64 / total as f64).min(1.0))
}

/// `group` is a [`GroupId`] until all sums are known.
fn process(reading: &ProcessReading, group: GroupId, cpu_ratio: Option<f64>) -> Process {
    let details = &*reading.details;
    Process {
        pid: reading.pid,
        ppid: reading.ppid,
        started_at: details.started_at,
        comm: Arc::clone(&details.comm),
        cmdline: Arc::clone(&details.cmdline),
        user: Arc::clone(&details.user),
        group,
        state: reading.state,
        threads: reading.threads,
        cpu_ratio,
        memory: Memory { rss_bytes: Some(reading.rss_bytes), swap_bytes: reading.swap_bytes, ..Memory::default() },
        unit: details.unit.clone(),
        container: details.container.clone(),
    }
}
