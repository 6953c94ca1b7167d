//! The machine as a whole: CPU, memory, load and pressure below a proc root, and the facts that never change.

mod meminfo;
mod namespaces;
mod shared;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub(in crate::collect) use self::shared::bounded;
pub use self::{
    meminfo::MemoryInfo,
    shared::{MemoryMount, Segments},
};
use self::{namespaces::Namespaces, shared::SharedReader};
use crate::model::{Host, Pressure};

/// CPU time for the lists of CPUs in a pass, in the long run.
const ZONES_US: u128 = 150;
/// Devices of zram that are asked at most.
const MAX_ZRAM: usize = 32;

/// CPU time of all CPUs together since boot, in clock ticks, from the first line of /proc/stat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTicks {
    /// Time that was not idle and not waiting for io.
    pub busy: u64,
    /// All time.
    pub total: u64,
    /// Time in which a CPU had nothing to do and a task waited for a disk.
    pub io_wait: u64,
    /// Time that the hypervisor gave to other guests.
    pub steal: u64,
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
    /// Where its memory is.
    pub memory: MemoryInfo,
    /// File systems in memory, also of other mount namespaces.
    pub mounts: Vec<MemoryMount>,
    /// System V segments.
    pub segments: Option<Segments>,
    /// Buffers of TCP and UDP sockets, in all network namespaces.
    pub socket_bytes: Option<u64>,
    /// Free pages that CPUs keep in lists of their own, which count neither as free nor as available.
    pub cpu_free_bytes: Option<u64>,
    /// What zram devices take.
    pub zram_bytes: Option<u64>,
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
    page_bytes: u64,
    shared: SharedReader,
    /// `None` where there is no thread for them.
    namespaces: Option<Namespaces>,
    /// Free pages of CPUs, and passes until they are read again: their file is long where there are many CPUs.
    cpu_free: (Option<u64>, u32),
}

impl MachineReader {
    /// Asks for what does not change: the names of uname(2).
    pub(crate) fn new(root: &Path, ticks_per_second: u64) -> Self {
        let system = rustix::system::uname();
        let host = Host {
            name: system.nodename().to_string_lossy().into_owned(),
            kernel: system.release().to_string_lossy().into_owned(),
            cpus: 0,
            memory_bytes: 0,
            uptime_s: 0,
        };
        let page_bytes = rustix::param::page_size() as u64;
        let (shared, namespaces) = (SharedReader::new(root), Namespaces::start(root));
        Self { root: root.to_owned(), host, ticks_per_second, page_bytes, shared, namespaces, cpu_free: (None, 0) }
    }

    /// Reads everything that changes.
    pub(crate) fn read(&mut self) -> Machine {
        self.read_cpu_free();
        let (mut mounts, segments) = (self.shared.mounts(), self.shared.segments());
        if let Some(namespaces) = &mut self.namespaces {
            mounts.extend_from_slice(namespaces.look());
        }
        let text = |name: &str| std::fs::read_to_string(self.root.join(name)).ok();
        let memory = text("meminfo").as_deref().map(MemoryInfo::parse).unwrap_or_default();
        let uptime_s = self.uptime_s();
        self.host.memory_bytes = memory.total.unwrap_or(self.host.memory_bytes);
        self.host.uptime_s = uptime_s.map_or(self.host.uptime_s, |seconds| seconds as u64);
        let load = text("loadavg").as_deref().and_then(load);
        let pressure = |name: &str| text(name).as_deref().and_then(pressure);
        let stat = text("stat");
        let online = stat.as_deref().map_or(0, cpus);
        if online > 0 {
            self.host.cpus = u32::try_from(online).unwrap_or(u32::MAX);
        }
        Machine {
            host: self.host.clone(),
            cpu: stat.as_deref().and_then(cpu_ticks),
            load: load.map(|(load, _)| load).unwrap_or_default(),
            memory,
            mounts,
            segments,
            socket_bytes: text("net/sockstat").as_deref().and_then(|text| sockets(text, self.page_bytes)),
            cpu_free_bytes: self.cpu_free.0,
            zram_bytes: zram(&self.root.join("../sys/block")),
            oom_kills: text("vmstat").as_deref().and_then(oom_kills),
            pressure: Pressure {
                cpu_some: pressure("pressure/cpu"),
                io_some: pressure("pressure/io"),
                memory_some: pressure("pressure/memory"),
            },
            newest_pid: load.map(|(_, newest)| newest),
            uptime_ticks: uptime_s.map(|seconds| (seconds * self.ticks_per_second as f64) as u64),
        }
    }

    /// Reads the lists of the CPUs, the less often the more it costs.
    fn read_cpu_free(&mut self) {
        if self.cpu_free.1 > 0 {
            self.cpu_free.1 -= 1;
            return;
        }
        let started = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let text = std::fs::read_to_string(self.root.join("zoneinfo")).ok();
        let bytes = text.as_deref().and_then(|text| cpu_free(text, self.page_bytes));
        let ended = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let cost = Duration::try_from(ended - started).unwrap_or_default();
        self.cpu_free = (bytes, u32::try_from(cost.as_micros() / ZONES_US).unwrap_or(u32::MAX));
    }

    /// Seconds since boot, with the time spent suspended, as start times of processes count it.
    pub(crate) fn uptime_s(&self) -> Option<f64> {
        let text = std::fs::read_to_string(self.root.join("uptime")).ok()?;
        text.split_whitespace().next()?.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
    }
}

/// Load over 1, 5 and 15 minutes and the newest id, of /proc/loadavg (proc_loadavg(5)).
pub(super) fn load(text: &str) -> Option<([f64; 3], u32)> {
    let mut fields = text.split_whitespace();
    let mut average = || fields.next()?.parse().ok().filter(|load: &f64| load.is_finite() && *load >= 0.0);
    let loads = [average()?, average()?, average()?];
    Some((loads, fields.nth(1)?.parse().ok()?))
}

/// Share of the last 10 seconds in which any task waited, in percent, of a file of /proc/pressure (the kernel's
/// Documentation/accounting/psi.rst).
pub(super) fn pressure(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let share = some.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?;
    share.parse().ok().filter(|share| (0.0..=100.0).contains(share))
}

/// `cpu user nice system idle iowait irq softirq steal …`; guest time is already part of user time (proc_stat(5)).
pub(super) fn cpu_ticks(stat: &str) -> Option<CpuTicks> {
    let mut fields = stat.lines().next()?.split_whitespace();
    if fields.next() != Some("cpu") {
        return None;
    }
    let ticks: Vec<u64> = fields.take(8).map_while(|field| field.parse().ok()).collect();
    let [_, _, _, idle, io_wait, ..] = ticks[..] else { return None };
    let total = ticks.iter().try_fold(0_u64, |sum, &ticks| sum.checked_add(ticks))?;
    let steal = ticks.get(7).copied().unwrap_or(0);
    Some(CpuTicks { busy: total - idle - io_wait, total, io_wait, steal })
}

/// The pages in the lists of all CPUs: lines `count: N` below `pagesets` (proc_zoneinfo(5)).
pub(super) fn cpu_free(text: &str, page_bytes: u64) -> Option<u64> {
    let counts = text.lines().filter_map(|line| line.trim_start().strip_prefix("count:"));
    let pages = counts.map(|count| count.trim().parse::<u64>().ok()).reduce(|a, b| a?.checked_add(b?));
    pages??.checked_mul(page_bytes)
}

/// The buffers of sockets, in bytes: lines such as `TCP: inuse 5 orphan 0 tw 0 alloc 7 mem 1`, in pages (`sockstat_seq_show` in
/// the kernel's net/ipv4/proc.c).
pub(super) fn sockets(text: &str, page_bytes: u64) -> Option<u64> {
    let memory = |line: &str| {
        let mut fields = line.split_whitespace();
        fields.by_ref().find(|field| *field == "mem")?;
        fields.next()?.parse::<u64>().ok()?.checked_mul(page_bytes)
    };
    let lines = text.lines().filter(|line| line.starts_with("TCP:") || line.starts_with("UDP:"));
    lines.filter_map(memory).reduce(u64::saturating_add)
}

/// What all zram devices take, by the third number of their `mm_stat` (`mem_used_total` in the kernel's blockdev/zram.rst).
fn zram(block: &Path) -> Option<u64> {
    let devices = std::fs::read_dir(block).ok()?.flatten();
    let devices = devices.filter(|entry| entry.file_name().to_string_lossy().starts_with("zram")).take(MAX_ZRAM);
    let used = |text: &str| text.split_whitespace().nth(2)?.parse::<u64>().ok();
    let taken = devices.filter_map(|entry| used(&std::fs::read_to_string(entry.path().join("mm_stat")).ok()?));
    Some(taken.fold(0, u64::saturating_add))
}

/// A line `oom_kill N`, since Linux 4.13.
pub(super) fn oom_kills(vmstat: &str) -> Option<u64> {
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Each CPU that is online has a line of its own, `cpu0`, behind the sum of all (proc_stat(5)).
pub(super) fn cpus(stat: &str) -> usize {
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
        assert_eq!(cpu_ticks(text), Some(CpuTicks { busy: 160, total: 1000, io_wait: 40, steal: 0 }));
    }

    #[test]
    fn oom_kills_have_a_line_of_their_own() {
        let text = "nr_free_pages 5\noom_kill_other 9\noom_kill 3\n";
        assert_eq!((oom_kills(text), oom_kills("nr_free_pages 5\n"), oom_kills("oom_kill x")), (Some(3), None, None));
    }

    #[test]
    fn garbage_is_unknown() {
        for text in ["", "cpu", "cpu 1 2 3", "cpu0 1 2 3 4 5", "cpu a b c d e", "cpu 18446744073709551615 1 1 1 1"] {
            assert_eq!(cpu_ticks(text), None, "{text}");
        }
    }

    #[test]
    fn load_and_pressure_are_read_or_unknown() {
        assert_eq!(load("0.52 1.25 12.00 3/812 40211\n"), Some(([0.52, 1.25, 12.0], 40_211)));
        for text in ["", "0.52 1.25", "0.52 1.25 inf 3/812 7", "0.52 1.25 -1 3/812 7", "0.52 1.25 12.00 3/812 -7"] {
            assert_eq!(load(text), None, "{text}");
        }
        let text = "some avg10=0.12 avg60=3.00 avg300=0.00 total=123456\nfull avg10=7.00 avg60=0.00 total=0\n";
        assert_eq!(pressure(text), Some(0.12));
        for text in ["", "some", "full avg10=7.00", "some avg60=1.00\n", "some avg10=NaN", "some avg10=1e9"] {
            assert_eq!(pressure(text), None, "{text}");
        }
    }

    #[test]
    fn buffers_of_sockets_are_counted_in_pages() {
        let text = "sockets: used 25\nTCP: inuse 5 orphan 0 tw 0 alloc 7 mem 3\nUDP: inuse 1 mem 2\nRAW: inuse 0\n\
                    FRAG: inuse 0 memory 0\n";
        assert_eq!(sockets(text, 4096), Some(5 * 4096));
        assert_eq!(sockets("TCP: inuse 5 mem\nUDP: inuse 1 mem 2\n", 4096), Some(2 * 4096));
        for odd in ["", "TCP: mem -1\n", "TCP: mem 18446744073709551615\n", "sockets: mem 7\n"] {
            assert_eq!(sockets(odd, 4096), None, "{odd}");
        }
    }

    #[test]
    fn free_pages_of_cpus_are_added_up_over_zones() {
        let text = "Node 0, zone DMA\n  pages free 5\n  pagesets\n    cpu: 0\n              count:    3\n              high:     0\n    \
                    cpu: 1\n              count:    4\n  node_unreclaimable:  0\n";
        assert_eq!(cpu_free(text, 4096), Some(7 * 4096));
        for odd in ["", "pagesets\n", "count: x\n", "count: 1\ncount: -1\n", "count: 18446744073709551615\ncount: 1\n"]
        {
            assert_eq!(cpu_free(odd, 4096), None, "{odd}");
        }
    }

    #[test]
    fn zram_takes_what_its_devices_say() {
        let folder = tempfile::tempdir().unwrap();
        for (device, text) in
            [("zram0", "1 2 4096 0 5 6 7 8 9\n"), ("zram1", "1 2 100"), ("zram2", "1 x y"), ("sda", "1 2 9")]
        {
            std::fs::create_dir(folder.path().join(device)).unwrap();
            std::fs::write(folder.path().join(device).join("mm_stat"), text).unwrap();
        }
        assert_eq!((zram(folder.path()), zram(&folder.path().join("none"))), (Some(4196), None));
    }

    #[test]
    fn what_is_missing_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let machine = MachineReader::new(folder.path(), 100).read();
        assert_eq!((machine.cpu, machine.memory, machine.segments), (None, MemoryInfo::default(), None));
        assert_eq!((machine.pressure.cpu_some, machine.uptime_ticks), (None, None));
    }

    #[test]
    fn this_machine_is_read() {
        let machine = MachineReader::new(Path::new("/proc"), 100).read();
        assert!(machine.host.cpus > 0 && machine.host.memory_bytes > 0 && !machine.host.name.is_empty());
        assert!(machine.cpu.unwrap().total > machine.cpu.unwrap().busy);
        assert!(machine.memory.available.unwrap() <= machine.host.memory_bytes);
        assert!(machine.uptime_ticks.unwrap() > 0);
    }
}
