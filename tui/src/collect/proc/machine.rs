//! The machine as a whole: CPU, memory, load and pressure below a proc root, and the facts that never change.

use std::path::{Path, PathBuf};

use procfs::{CpuPressure, FromRead as _, IoPressure, LoadAverage, Meminfo, MemoryPressure};

use crate::model::{Host, Pressure};

/// CPU time of all CPUs together since boot, in clock ticks, from the first line of /proc/stat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTicks {
    /// Time that was not idle and not waiting for io.
    pub busy: u64,
    /// All time.
    pub total: u64,
}

/// One reading of the machine. What could not be read is `None`.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Name, kernel, size.
    pub host: Host,
    /// CPU time since boot.
    pub cpu: Option<CpuTicks>,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// `MemAvailable`.
    pub memory_available_bytes: Option<u64>,
    /// `SwapTotal` less `SwapFree`.
    pub swap_used_bytes: Option<u64>,
    /// `oom_kill` of /proc/vmstat.
    pub oom_kills: Option<u64>,
    /// Pressure stall information.
    pub pressure: Pressure,
    /// Clock ticks since boot, to compare with start times.
    pub uptime_ticks: Option<u64>,
    /// The id that was given to a process or thread last.
    pub newest_pid: Option<u32>,
}

/// Reads [`Machine`]s.
#[derive(Debug)]
pub(super) struct MachineReader {
    root: PathBuf,
    host: Host,
    ticks_per_second: u64,
}

impl MachineReader {
    /// Asks for what does not change: the names of uname(2), and the CPUs that are online.
    pub(crate) fn new(root: &Path, ticks_per_second: u64) -> Self {
        let system = rustix::system::uname();
        let stat = std::fs::read_to_string(root.join("stat")).unwrap_or_default();
        let host = Host {
            name: system.nodename().to_string_lossy().into_owned(),
            kernel: system.release().to_string_lossy().into_owned(),
            cpus: u32::try_from(cpus(&stat)).unwrap_or(u32::MAX),
            memory_bytes: 0,
            uptime_s: 0,
        };
        Self { root: root.to_owned(), host, ticks_per_second }
    }

    /// Reads everything that changes.
    pub(crate) fn read(&mut self) -> Machine {
        let memory = Meminfo::from_file(self.root.join("meminfo")).ok();
        let uptime_s = self.uptime_s();
        self.host.memory_bytes = memory.as_ref().map_or(self.host.memory_bytes, |memory| memory.mem_total);
        self.host.uptime_s = uptime_s.map_or(self.host.uptime_s, |seconds| seconds as u64);
        let pressure = self.root.join("pressure");
        let load = LoadAverage::from_file(self.root.join("loadavg")).ok();
        Machine {
            host: self.host.clone(),
            cpu: std::fs::read_to_string(self.root.join("stat")).ok().as_deref().and_then(cpu_ticks),
            load: load.as_ref().map(|load| [load.one, load.five, load.fifteen].map(hundredths)).unwrap_or_default(),
            memory_available_bytes: memory.as_ref().and_then(|memory| memory.mem_available),
            swap_used_bytes: memory.as_ref().map(|memory| memory.swap_total.saturating_sub(memory.swap_free)),
            oom_kills: std::fs::read_to_string(self.root.join("vmstat")).ok().as_deref().and_then(oom_kills),
            pressure: Pressure {
                cpu_some: CpuPressure::from_file(pressure.join("cpu")).ok().map(|cpu| hundredths(cpu.some.avg10)),
                io_some: IoPressure::from_file(pressure.join("io")).ok().map(|io| hundredths(io.some.avg10)),
                memory_some: MemoryPressure::from_file(pressure.join("memory"))
                    .ok()
                    .map(|memory| hundredths(memory.some.avg10)),
            },
            newest_pid: load.map(|load| load.latest_pid),
            uptime_ticks: uptime_s.map(|seconds| (seconds * self.ticks_per_second as f64) as u64),
        }
    }

    /// Seconds since boot, with the time spent suspended, as start times of processes count it.
    pub(crate) fn uptime_s(&self) -> Option<f64> {
        let text = std::fs::read_to_string(self.root.join("uptime")).ok()?;
        text.split_whitespace().next()?.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
    }
}

/// The kernel prints two decimals; procfs keeps them in an `f32`, whose error would show.
fn hundredths(value: f32) -> f64 {
    (f64::from(value) * 100.0).round() / 100.0
}

/// `cpu user nice system idle iowait irq softirq steal …`; guest time is already part of user time (proc_stat(5)).
fn cpu_ticks(stat: &str) -> Option<CpuTicks> {
    let mut fields = stat.lines().next()?.split_whitespace();
    if fields.next() != Some("cpu") {
        return None;
    }
    let ticks: Vec<u64> = fields.take(8).map_while(|field| field.parse().ok()).collect();
    let [_, _, _, idle, io_wait, ..] = ticks[..] else { return None };
    let total = ticks.iter().sum();
    Some(CpuTicks { busy: total - idle - io_wait, total })
}

/// A line `oom_kill N`, since Linux 4.13.
fn oom_kills(vmstat: &str) -> Option<u64> {
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Each CPU that is online has a line of its own, `cpu0`, behind the sum of all (proc_stat(5)).
fn cpus(stat: &str) -> usize {
    let numbered =
        |line: &str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    stat.lines().skip(1).take_while(|line| numbered(line)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_with_numbers_are_the_cpus() {
        assert_eq!(cpus("cpu  9 9\ncpu0 1 1\ncpu2 1 1\nintr 5 cpu7\n"), 2);
        assert_eq!((cpus(""), cpus("cpu  9 9\n")), (0, 0));
    }

    #[test]
    fn idle_and_io_wait_are_not_busy() {
        let text = "cpu  100 5 50 800 40 3 2 0 7 0\ncpu0 1 1 1 1 1 1 1 0 0 0\n";
        assert_eq!(cpu_ticks(text), Some(CpuTicks { busy: 160, total: 1000 }));
    }

    #[test]
    fn oom_kills_have_a_line_of_their_own() {
        let text = "nr_free_pages 5\noom_kill_other 9\noom_kill 3\n";
        assert_eq!((oom_kills(text), oom_kills("nr_free_pages 5\n"), oom_kills("oom_kill x")), (Some(3), None, None));
    }

    #[test]
    fn garbage_is_unknown() {
        for text in ["", "cpu", "cpu 1 2 3", "cpu0 1 2 3 4 5", "cpu a b c d e"] {
            assert_eq!(cpu_ticks(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let machine = MachineReader::new(folder.path(), 100).read();
        assert_eq!((machine.cpu, machine.memory_available_bytes, machine.swap_used_bytes), (None, None, None));
        assert_eq!((machine.pressure.cpu_some, machine.uptime_ticks), (None, None));
    }

    #[test]
    fn this_machine_is_read() {
        let machine = MachineReader::new(Path::new("/proc"), 100).read();
        assert!(machine.host.cpus > 0 && machine.host.memory_bytes > 0 && !machine.host.name.is_empty());
        assert!(machine.cpu.unwrap().total > machine.cpu.unwrap().busy);
        assert!(machine.memory_available_bytes.unwrap() <= machine.host.memory_bytes);
        assert!(machine.uptime_ticks.unwrap() > 0);
    }
}
