//! Claims about mounts, limits, rotation and bounds, on hierarchies in a temporary folder.

use std::fs;

use tempfile::TempDir;

use super::*;

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
