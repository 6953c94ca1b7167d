//! Claims about mounts, limits, rotation and bounds, on hierarchies in a temporary folder.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::model::{CgroupEvents, CgroupMost, CgroupParts};

/// A proc root whose mountinfo leads to two hierarchies beside it.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        let at = this.folder.path().display();
        this.write(
            "proc/self/mountinfo",
            &format!(
                "31 23 0:28 / /sys rw - tmpfs tmpfs rw,mode=755\n\
                 35 31 0:32 / {at}/one rw,relatime - cgroup cgroup rw,cpu,memory\n\
                 36 31 0:33 / {at}/cpu rw - cgroup cgroup rw,cpuset\n\
                 41 31 0:38 /box {at}/part rw - cgroup2 cgroup2 rw\n\
                 42 31 0:38 / {at}/two rw shared:1 - cgroup2 cgroup2 rw\n\
                 broken\n"
            ),
        );
        this
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn reader(&self) -> CgroupReader {
        CgroupReader::new(&self.folder.path().join("proc"))
    }
}

fn details(path: &str, version: u8) -> Arc<Details> {
    Arc::new(Details {
        pid: 7,
        comm: "x".into(),
        exe: "x".into(),
        cmdline: "x".into(),
        php: false,
        script: None,
        pool: None,
        user: "root".into(),
        unit: None,
        container: None,
        cgroups: Arc::default(),
        memory_cgroup: Some(MemoryCgroup { path: path.into(), version }),
        kernel_thread: false,
        started_at: None,
    })
}

/// One pass over processes with these seats.
fn pass(reader: &mut CgroupReader, processes: &mut [(Seat, Arc<Details>)]) -> (Vec<Option<usize>>, Vec<Cgroup>, u32) {
    reader.begin();
    let places = processes.iter_mut().map(|(seat, details)| reader.place(seat, details)).collect();
    let (cgroups, without_room) = reader.read();
    (places, cgroups, without_room)
}

fn seated(path: &str, version: u8) -> (Seat, Arc<Details>) {
    (Seat::default(), details(path, version))
}

#[test]
fn usage_and_the_lowest_limit_of_it_and_of_those_above_are_read() {
    let machine = Machine::new();
    machine.write("two/a.slice/memory.max", "1000000\n");
    machine.write("two/a.slice/b.service/memory.max", "max\n");
    machine.write("two/a.slice/b.service/memory.current", "500\n");
    machine.write("two/c/memory.max", "max\n");
    machine.write("two/c/memory.current", "7\n");
    machine.write("one/d/memory.usage_in_bytes", "9\n");
    machine.write("one/d/memory.limit_in_bytes", "9223372036854771712\n");
    machine.write("one/d/e/memory.usage_in_bytes", "3\n");
    machine.write("one/d/e/memory.limit_in_bytes", "4096\n");
    let mut processes = [
        seated("/a.slice/b.service", 2),
        seated("/c", 2),
        seated("/d", 1),
        seated("/d/e", 1),
        seated("/c", 2),
        seated("/gone", 2),
    ];
    let (places, cgroups, without_room) = pass(&mut machine.reader(), &mut processes);
    assert_eq!(places, [0, 1, 2, 3, 1, 4].map(Some));
    assert_eq!(without_room, 0);
    let known: Vec<_> = cgroups.iter().map(|c| (c.memory_current_bytes, c.memory_max_bytes, c.unlimited)).collect();
    assert_eq!(
        known,
        [
            (Some(500), Some(1_000_000), false),
            (Some(7), None, true),
            (Some(9), None, true),
            (Some(3), Some(4096), false),
            (None, None, false),
        ]
    );
}

#[test]
fn what_is_left_counts_from_where_the_limit_is_and_without_idle_page_cache() {
    let machine = Machine::new();
    for (name, limit, used, inactive) in
        [("two/pod", "1000", "900", 300), ("two/pod/a", "max", "500", 100), ("two/own", "600", "200", 50)]
    {
        machine.write(&format!("{name}/memory.max"), limit);
        machine.write(&format!("{name}/memory.current"), used);
        machine.write(&format!("{name}/memory.stat"), &format!("anon 7\ninactive_file {inactive}\nactive_file 5\n"));
    }
    machine.write("one/d/memory.usage_in_bytes", "90\n");
    machine.write("one/d/memory.limit_in_bytes", "100\n");
    machine.write("one/d/memory.stat", "inactive_file 80\ntotal_inactive_file 20\n");
    machine.write("two/blind/memory.max", "100");
    machine.write("two/blind/memory.current", "50");
    let mut processes = [seated("/pod/a", 2), seated("/own", 2), seated("/d", 1), seated("/blind", 2)];
    let (_, cgroups, _) = pass(&mut machine.reader(), &mut processes);
    let left: Vec<_> = cgroups.iter().map(|c| (c.memory_current_bytes, c.memory_available_bytes)).collect();
    // Of the pod 900 are used, 300 of them idle cache; a itself is without a limit.
    assert_eq!(left, [(Some(500), Some(400)), (Some(200), Some(450)), (Some(90), Some(30)), (Some(50), None)]);
    assert!((cgroups[0].used_ratio().unwrap() - 0.6).abs() < 1e-9);
    assert_eq!(cgroups[3].used_ratio(), None);
}

#[test]
fn memory_high_is_a_limit_where_it_is_the_lowest() {
    let machine = Machine::new();
    let files =
        [("two/a", "max", "1000"), ("two/b", "600", "1000"), ("two/c", "max", "max"), ("two/c/d", "max", "max")];
    for (name, max, high) in files {
        machine.write(&format!("{name}/memory.max"), max);
        machine.write(&format!("{name}/memory.high"), high);
        machine.write(&format!("{name}/memory.current"), "400");
        machine.write(&format!("{name}/memory.stat"), "inactive_file 100\n");
    }
    machine.write("two/a/e/memory.max", "2000");
    machine.write("two/a/e/memory.high", "max");
    machine.write("two/a/e/memory.current", "50");
    let mut processes =
        [seated("/a", 2), seated("/b", 2), seated("/c", 2), seated("/c/d", 2), seated("/a/e", 2), seated("/a", 2)];
    let (_, cgroups, _) = pass(&mut machine.reader(), &mut processes);
    let limits: Vec<_> =
        cgroups.iter().map(|c| (c.memory_max_bytes, c.limit_is_high, c.memory_available_bytes)).collect();
    let expected = [
        (Some(1000), true, Some(700)),
        (Some(600), false, Some(300)),
        (None, false, None),
        (None, false, None),
        // That of the one above.
        (Some(1000), true, Some(700)),
    ];
    assert_eq!(limits, expected);
}

#[test]
fn what_the_memory_is_and_what_happened_is_taken_line_by_line() {
    let machine = Machine::new();
    machine.write(
        "two/a/memory.stat",
        "anon 10\nfile 50\nkernel 9\nshmem 20\nsock odd\nslab_unreclaimable 4\nslab_unreclaimable_x 7\nbroken\n\n",
    );
    machine.write("two/a/memory.events", "low 0\nhigh 3\nmax\noom -1\noom_kill 2\noom_group_kill 1\n");
    machine.write("two/a/memory.swap.current", "6\n");
    // Before Linux 5.18 there is no sum of what is the kernel's.
    machine.write("two/old/memory.stat", "anon 1\nslab 5\nkernel_stack 2\npagetables 99999999999999999999999\n");
    machine.write("two/old/memory.events", "");
    machine.write("two/none/memory.current", "1\n");
    machine.write("two/none/memory.stat", "\n");
    let mut processes = [seated("/a", 2), seated("/old", 2), seated("/none", 2), seated("/gone", 2)];
    let (_, cgroups, _) = pass(&mut machine.reader(), &mut processes);
    let parts = |anon, file, shmem, slab, kernel, swap| {
        let (anon_bytes, file_bytes, shmem_bytes, slab_bytes) = (anon, file, shmem, slab);
        let (sock_bytes, kernel_bytes, swap_bytes) = (None, kernel, swap);
        Some(CgroupParts { anon_bytes, file_bytes, shmem_bytes, slab_bytes, sock_bytes, kernel_bytes, swap_bytes })
    };
    let known: Vec<_> = cgroups.iter().map(|cgroup| cgroup.parts).collect();
    assert_eq!(
        known,
        [
            parts(Some(10), Some(30), Some(20), Some(4), Some(9), Some(6)),
            parts(Some(1), None, None, None, Some(7), None),
            parts(None, None, None, None, None, None),
            None
        ]
    );
    let events: Vec<_> = cgroups.iter().map(|cgroup| cgroup.events).collect();
    let seen = CgroupEvents { high: Some(3), max: None, oom: None, oom_kill: Some(2) };
    assert_eq!(events, [Some(seen), Some(CgroupEvents::default()), None, None]);
    let most: Vec<_> = cgroups.iter().map(Cgroup::most).collect();
    assert_eq!(most, [Some(CgroupMost::Cache), Some(CgroupMost::Kernel), None, None]);
}

#[test]
fn version_1_has_its_sums_and_its_slab_where_the_kernel_lists_it() {
    let machine = Machine::new();
    let page = rustix::param::page_size() as u64;
    let stat = "cache 1\nrss 2\ntotal_cache 70\ntotal_rss 30\ntotal_shmem 60\ntotal_swap 5\n";
    let table = "slabinfo - version: 2.1\n# name <active_objs> ...\n\
        dentry 10 21 192 21 1 : tunables 0 0 0 : slabdata 7 7 0\n\
        filp 5 6 256 16 2 : tunables 0 0 0 : slabdata 3 3 0\nodd 1 2 : slabdata 1\n";
    for (name, table) in [("one/old", table), ("one/new", "")] {
        machine.write(&format!("{name}/memory.stat"), stat);
        machine.write(&format!("{name}/memory.kmem.slabinfo"), table);
        machine.write(&format!("{name}/memory.kmem.usage_in_bytes"), "90\n");
        machine.write(&format!("{name}/memory.kmem.tcp.usage_in_bytes"), "8\n");
        machine.write(&format!("{name}/memory.failcnt"), "4\n");
        machine.write(&format!("{name}/memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n");
    }
    machine.write("one/odd/memory.failcnt", "many");
    machine.write("one/odd/memory.oom_control", "oom_kill_disable 0\n");
    let (_, cgroups, _) = pass(&mut machine.reader(), &mut [seated("/old", 1), seated("/new", 1), seated("/odd", 1)]);
    for (cgroup, slab_bytes) in cgroups.iter().zip([Some(13 * page), None]) {
        let parts = CgroupParts {
            anon_bytes: Some(30),
            file_bytes: Some(10),
            shmem_bytes: Some(60),
            slab_bytes,
            sock_bytes: Some(8),
            kernel_bytes: Some(90),
            swap_bytes: Some(5),
        };
        assert_eq!(cgroup.parts, Some(parts));
        let events = CgroupEvents { max: Some(4), oom_kill: Some(1), ..CgroupEvents::default() };
        assert_eq!(cgroup.events, Some(events));
    }
    assert_eq!((cgroups[2].parts, cgroups[2].events), (None, None));
}

#[test]
fn garbage_and_paths_that_lead_out_are_unknown() {
    let machine = Machine::new();
    machine.write("two/a/memory.max", "many\n");
    machine.write("two/a/memory.current", "-5\n");
    machine.write("secret/memory.current", "5\n");
    machine.write("secret/memory.max", "5\n");
    let mut processes = [seated("/a", 2), seated("/../secret", 2)];
    let (_, cgroups, _) = pass(&mut machine.reader(), &mut processes);
    for cgroup in cgroups {
        assert_eq!((cgroup.memory_current_bytes, cgroup.memory_max_bytes, cgroup.unlimited), (None, None, false));
    }
}

#[test]
fn many_are_read_in_rotation_and_too_many_are_counted() {
    let machine = Machine::new();
    let mut processes: Vec<_> = (0..MAX_CGROUPS + 10)
        .map(|i| {
            machine.write(&format!("two/{i}/memory.current"), &format!("{i}\n"));
            machine.write(&format!("two/{i}/memory.max"), "max\n");
            seated(&format!("/{i}"), 2)
        })
        .collect();
    let mut reader = machine.reader();
    for turn in 1..=MAX_CGROUPS / PER_PASS {
        let (_, cgroups, without_room) = pass(&mut reader, &mut processes);
        let known = cgroups.iter().filter(|cgroup| cgroup.memory_current_bytes.is_some()).count();
        assert_eq!((cgroups.len(), known, without_room), (MAX_CGROUPS, turn * PER_PASS, 10));
    }
    // Twenty end: there is room for those that had none, and what was known of the others stays theirs.
    processes.drain(100..120);
    let (places, ..) = pass(&mut reader, &mut processes);
    assert_eq!(places.iter().flatten().count(), MAX_CGROUPS - 20);
    for _ in 0..10 {
        pass(&mut reader, &mut processes);
    }
    let (places, cgroups, without_room) = pass(&mut reader, &mut processes);
    assert_eq!(without_room, 0);
    for ((_, details), place) in processes.iter().zip(places) {
        let cgroup = &cgroups[place.unwrap()];
        assert_eq!(cgroup.path, details.memory_cgroup.as_ref().unwrap().path);
        assert_eq!(Some(cgroup.path[1..].parse().unwrap()), cgroup.memory_current_bytes);
    }
}

#[test]
fn a_process_that_moves_is_found_where_it_is() {
    let machine = Machine::new();
    for (name, bytes) in [("a", "1"), ("b", "2")] {
        machine.write(&format!("two/{name}/memory.current"), bytes);
        machine.write(&format!("two/{name}/memory.max"), "max");
    }
    let mut reader = machine.reader();
    let mut processes = [seated("/a", 2)];
    assert_eq!(pass(&mut reader, &mut processes).1[0].memory_current_bytes, Some(1));
    processes[0].1 = details("/b", 2);
    let (_, cgroups, _) = pass(&mut reader, &mut processes);
    assert_eq!(cgroups.iter().map(|cgroup| cgroup.memory_current_bytes).collect::<Vec<_>>(), [Some(2)]);
    let mut root = (*processes[0].1).clone();
    root.memory_cgroup = None;
    processes[0].1 = Arc::new(root);
    let (places, cgroups, _) = pass(&mut reader, &mut processes);
    assert_eq!((places, cgroups), (vec![None], vec![]));
}

#[test]
fn without_mounts_usage_is_unknown() {
    let mut reader = CgroupReader::new(Path::new("/nonexistent"));
    let (_, cgroups, _) = pass(&mut reader, &mut [seated("/a", 2)]);
    assert_eq!((cgroups.len(), cgroups[0].memory_current_bytes, cgroups[0].unlimited), (1, None, false));
}
