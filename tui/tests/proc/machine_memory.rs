//! The machine's memory on fake proc trees: every file with lines that are missing or odd, and what adds up nevertheless.

use std::time::Instant;

use crate::fake_proc::{Fake, FakeProc};
use jiff::Timestamp;
use tusktop::{
    aggregate::{Aggregate, PhpReading},
    collect::Tick,
    model::{MachineMemory, PartKind, Snapshot},
};

const KIB: u64 = 1024;

const MEMINFO: &str = "MemTotal: 100000 kB\nMemFree: 40000 kB\nMemAvailable: 60000 kB\nBuffers: 0 kB\nCached: 30000 kB\n\
    SwapCached: 0 kB\nActive(anon): 18000 kB\nInactive(anon): 10000 kB\nActive(file): 15000 kB\nInactive(file): 5000 kB\n\
    SwapTotal: 1000 kB\nSwapFree: 400 kB\nAnonPages: 18000 kB\nShmem: 10000 kB\nKReclaimable: 2000 kB\nSReclaimable: 2000 kB\n\
    SUnreclaim: 3000 kB\nKernelStack: 400 kB\nPageTables: 600 kB\nVmallocUsed: 1000 kB\nPercpu: 100 kB\nHugePages_Total: 2\n\
    HugePages_Free: 1\nHugepagesize: 2048 kB\nHugetlb: 4096 kB\n";

fn snapshot(proc: &FakeProc) -> Snapshot {
    let mut sampler = proc.sampler();
    let sample = sampler.pass(Tick { at: Instant::now() });
    Aggregate::default().update(Timestamp::UNIX_EPOCH, sample, PhpReading::Off)
}

fn memory(proc: &FakeProc) -> MachineMemory {
    snapshot(proc).memory.unwrap()
}

fn kibibytes(memory: &MachineMemory, kind: PartKind) -> Option<u64> {
    memory.parts.iter().find(|part| part.kind == kind).map(|part| part.bytes / KIB)
}

fn machine() -> FakeProc {
    let proc = FakeProc::new();
    proc.write("meminfo", MEMINFO.as_bytes());
    proc.write("net/sockstat", b"sockets: used 9\nTCP: inuse 1 orphan 0 tw 0 alloc 1 mem 25\nUDP: inuse 0 mem 0\n");
    proc.write("sysvipc/shm", b"key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap\n0 1 600 4096 1 1 0 0 0 0 0 0 0 0 2048000 0\n");
    proc.process(7, &Fake { rss_pages: 4500, ..Fake::default() });
    proc
}

fn holds(memory: &MachineMemory) {
    let (Some(used), Some(processes), Some(rest)) =
        (memory.used_bytes, memory.processes_bytes, memory.unattributed_bytes)
    else {
        assert_eq!(memory.unattributed_bytes, None);
        return;
    };
    let parts: u64 = memory.used_parts().map(|part| part.bytes).sum();
    assert_eq!(i128::from(used), i128::from(processes) + i128::from(parts) + i128::from(rest));
}

#[test]
fn all_parts_are_found_and_add_up() {
    let memory = memory(&machine());
    // RSS of the process is 18 000 KiB, as much as there is of anonymous memory.
    let page_kib = rustix::param::page_size() as u64 / KIB;
    let expected = [
        (PartKind::SystemV, 2000),
        (PartKind::SharedMemory, 8000),
        (PartKind::Slab, 3000),
        (PartKind::KernelStacks, 400),
        (PartKind::PageTables, 600),
        (PartKind::Vmalloc, 600),
        (PartKind::PerCpu, 100),
        (PartKind::HugePages, 2048),
        (PartKind::HugePagesFree, 2048),
        (PartKind::Sockets, 25 * page_kib),
        (PartKind::Reserve, 40_000 + 20_000 + 2_000 - 60_000),
        (PartKind::PageCache, 20_000),
        (PartKind::SlabReclaimable, 2_000),
        (PartKind::OtherKernel, 10_000 - 8_796 - 25 * page_kib),
    ];
    for (kind, kib) in expected {
        assert_eq!(kibibytes(&memory, kind), Some(kib), "{kind:?}");
    }
    assert_eq!((memory.used_bytes, memory.processes_bytes), (Some(40_000 * KIB), Some(4500 * page_kib * KIB)));
    assert_eq!(memory.parts.iter().find(|part| part.kind == PartKind::SystemV).unwrap().count, Some(1));
    holds(&memory);
}

#[test]
fn any_line_may_be_missing_or_odd() {
    for at in 0..MEMINFO.lines().count() {
        for odd in ["", "x kB", "-5 kB", "99999999999999999999 kB", "5 MB"] {
            let proc = machine();
            let lines = MEMINFO.lines().enumerate().filter_map(|(line, text)| match (line == at, odd) {
                (true, "") => None,
                (true, odd) => Some(format!("{}: {odd}\n", text.split(':').next().unwrap())),
                _ => Some(format!("{text}\n")),
            });
            proc.write("meminfo", lines.collect::<String>().as_bytes());
            let snapshot = snapshot(&proc);
            let memory = snapshot.memory.as_ref().unwrap();
            holds(memory);
            let name = MEMINFO.lines().nth(at).unwrap().split(':').next().unwrap();
            let expected = [
                ("MemTotal", snapshot.host.memory_bytes > 0),
                ("MemAvailable", snapshot.system.memory_available_bytes.is_some()),
                ("SwapFree", snapshot.system.swap_used_bytes.is_some()),
                ("SUnreclaim", kibibytes(memory, PartKind::Slab).is_some()),
                ("PageTables", kibibytes(memory, PartKind::PageTables).is_some()),
                ("Shmem", kibibytes(memory, PartKind::SharedMemory).is_some()),
            ];
            for (line, known) in expected {
                let gone = line == name || (line == "SwapFree" && name == "SwapTotal");
                assert_eq!(known, !gone, "{line} without {name} ({odd})");
            }
        }
    }
}

#[test]
fn without_the_other_files_their_parts_are_missing_and_the_rest_adds_up() {
    for (name, odd) in [
        ("net/sockstat", &b"TCP: mem x\n"[..]),
        ("net/sockstat", b""),
        ("sysvipc/shm", b""),
        ("sysvipc/shm", b"key rss\n1 \xff\n"),
        ("self/mountinfo", b"1 2 0:3 / /nowhere rw - tmpfs t rw\n\xff\xfe broken\n1 2 0:4 /"),
    ] {
        let proc = machine();
        proc.write(name, odd);
        let memory = memory(&proc);
        holds(&memory);
        assert!(kibibytes(&memory, PartKind::Slab).is_some());
        assert_eq!(kibibytes(&memory, PartKind::Tmpfs), None);
    }
}

#[test]
fn a_file_system_in_memory_is_asked_only_where_the_table_says_that_it_is_mounted() {
    // The table names this machine's /dev/shm by another device: it is not the one that is meant.
    let proc = machine();
    proc.write("self/mountinfo", b"25 24 0:9999 / /dev/shm rw - tmpfs tmpfs rw\n");
    assert_eq!(kibibytes(&memory(&proc), PartKind::Tmpfs), None);
}
