//! The machine's memory adds up, and what is made on purpose is found: a tmpfs, a System V segment, huge pages, objects of the
//! kernel, and a process that the kernel kills in a cgroup. On the real kernel, as root.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tempfile::TempDir;
use tusktop::{
    aggregate::{Aggregate, PhpReading},
    collect::{
        Tick,
        contents::look,
        proc::{Options, PssOptions, Sampler},
        tasks::Tasks,
    },
    model::{CgroupMost, ContentsOrder, MachineMemory, OomKill, PartKind, Snapshot},
};

const MIB: u64 = 1 << 20;
/// The part of what is used that may be in no part and no process.
const APART: f64 = 0.03;

/// Snapshots of this machine, with as much PSS as can be read.
struct Machine {
    sampler: Sampler,
    aggregate: Aggregate,
}

impl Machine {
    fn new() -> Self {
        let pss = PssOptions { budget: 1.0, allowance: Duration::from_secs(5), read_limit: Duration::from_secs(1) };
        let mut sampler = Sampler::with(&Options { pss, ..Options::default() }, Timestamp::now()).unwrap();
        sampler.use_kernel(Tasks::load().unwrap()).unwrap();
        let mut machine = Self { sampler, aggregate: Aggregate::default() };
        machine.snapshot();
        machine
    }

    fn snapshot(&mut self) -> Snapshot {
        let sample = self.sampler.pass(Tick { at: Instant::now() });
        self.aggregate.update(Timestamp::now(), sample, PhpReading::Off)
    }

    fn memory(&mut self) -> MachineMemory {
        self.snapshot().memory.unwrap()
    }

    /// Makes snapshots until one is as it should be.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&MachineMemory) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let memory = self.memory();
            if holds(&memory) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {memory:#?}");
        }
    }
}

fn bytes(memory: &MachineMemory, kind: PartKind) -> u64 {
    memory.parts.iter().filter(|part| part.kind == kind).map(|part| part.bytes).sum()
}

/// A file system in memory; it is unmounted when dropped.
struct Mounted(TempDir);

impl Mounted {
    fn new(options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tusktop-test"]).arg(folder.path()).status();
        assert!(mounted.unwrap().success());
        Self(folder)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn adds_up(memory: &MachineMemory) -> bool {
    let (used, rest) = (memory.used_bytes.unwrap(), memory.unattributed_bytes.unwrap());
    let sum = memory.used_parts().map(|part| part.bytes).sum::<u64>() + memory.processes_bytes.unwrap();
    assert_eq!(i128::from(sum) + i128::from(rest), i128::from(used), "it adds up exactly with what is left over");
    rest.unsigned_abs() as f64 <= used as f64 * APART
}

#[test]
#[ignore = "needs root"]
fn the_memory_of_the_machine_adds_up_at_rest_and_under_load() {
    let mut machine = Machine::new();
    machine.until("at rest", adds_up);
    let text = "my $x = 'x' x (150 << 20); my $pid = fork(); $x =~ tr/x/y/ if !$pid; <STDIN>";
    let mut load = Running::start(Command::new("perl").args(["-e", text]));
    machine.until("with 150 MiB in each of two processes", adds_up);
    load.end();
}

#[test]
#[ignore = "needs root"]
fn a_tmpfs_has_a_tile_with_its_size_and_its_limit() {
    let mounted = Mounted::new("size=256m");
    fs::write(mounted.0.path().join("file"), vec![1; 64 << 20]).unwrap();
    let mut machine = Machine::new();
    machine.until("its size", |memory| {
        let point = mounted.0.path().to_str();
        let part = memory.parts.iter().find(|part| part.kind == PartKind::Tmpfs && part.mount.as_deref() == point);
        let of = part.map(|part| (part.bytes, part.size_bytes, part.limit_bytes));
        of == Some((64 * MIB, Some(64 * MIB), Some(256 * MIB))) && adds_up(memory)
    });
}

#[test]
#[ignore = "needs root"]
fn a_tmpfs_of_another_mount_namespace_has_a_tile_and_its_files_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let text = format!(
        "mount --make-rprivate / && mount -t tmpfs -o size=128m none {at} && head -c 48M /dev/zero >{at}/big && \
         exec perl -e '<STDIN>'"
    );
    let mut inside = Running::start(Command::new("unshare").args(["--mount", "sh", "-c", &text]));
    let mut machine = Machine::new();
    let end = format!("/root{}", folder.path().display());
    let mut point = None;
    machine.until("its size", |memory| {
        let is_it = |mount: &str| mount.starts_with("/proc/") && mount.ends_with(&end);
        let part = memory.parts.iter().find(|part| part.mount.as_deref().is_some_and(is_it));
        point = part.and_then(|part| part.mount.clone());
        let of = part.map(|part| (part.bytes, part.limit_bytes));
        of == Some((48 * MIB, Some(128 * MIB))) && adds_up(memory)
    });
    let contents = look(Path::new("/proc"), ContentsOrder { kind: PartKind::Tmpfs, mount: point });
    let files: Vec<_> = contents.items.iter().map(|item| (&*item.name, item.bytes)).collect();
    assert_eq!(files, [("big", 48 * MIB)], "{contents:?}");
    inside.end();
}

/// A segment that no process holds; it is removed when dropped.
struct Segment(String);

impl Drop for Segment {
    fn drop(&mut self) {
        let _ = Command::new("ipcrm").args(["-m", &self.0]).status();
    }
}

#[test]
#[ignore = "needs root"]
fn a_segment_that_nobody_attaches_is_found() {
    let mut machine = Machine::new();
    let before = bytes(&machine.memory(), PartKind::SystemV);
    let text = "$s = 48 << 20; $id = shmget(0, $s, 0600) // die; shmwrite($id, 'x' x $s, 0, $s) or die; print $id";
    let made = Command::new("perl").args(["-e", text]).output().unwrap();
    let _segment = Segment(String::from_utf8(made.stdout).unwrap());
    machine.until("its size", |memory| bytes(memory, PartKind::SystemV) == before + 48 * MIB && adds_up(memory));
}

/// Sets a file of the kernel, and sets it back when dropped.
struct Setting(PathBuf, String);

impl Setting {
    fn new(path: &str, value: &str) -> Self {
        let before = fs::read_to_string(path).unwrap();
        fs::write(path, value).unwrap();
        Self(path.into(), before)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, &self.1);
    }
}

#[test]
#[ignore = "needs root"]
fn huge_pages_that_are_set_aside_are_used_memory() {
    let mut machine = Machine::new();
    if !fs::exists("/proc/sys/vm/nr_hugepages").unwrap() {
        // This kernel has none, so there is nothing to find.
        assert_eq!(bytes(&machine.memory(), PartKind::HugePagesFree), 0);
        return;
    }
    let before = bytes(&machine.memory(), PartKind::HugePagesFree);
    let set = fs::read_to_string("/proc/sys/vm/nr_hugepages").unwrap().trim().parse::<u64>().unwrap();
    let _setting = Setting::new("/proc/sys/vm/nr_hugepages", &(set + 16).to_string());
    machine.until("16 pages", |memory| bytes(memory, PartKind::HugePagesFree) == before + 32 * MIB && adds_up(memory));
}

#[test]
#[ignore = "needs root"]
fn many_small_files_in_memory_grow_the_slab() {
    let mut machine = Machine::new();
    let before = bytes(&machine.memory(), PartKind::Slab);
    let mounted = Mounted::new("size=64m,nr_inodes=200000");
    for file in 0..60_000 {
        fs::write(mounted.0.path().join(format!("{file}")), b"").unwrap();
    }
    // An inode of tmpfs has some 700 bytes and cannot be given back.
    machine.until("60 000 inodes", |memory| bytes(memory, PartKind::Slab) > before + 30 * MIB);
}

/// Ended when dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Closes its input, which it waits for.
    fn end(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A cgroup with a limit, of the version that this machine has; it is removed when dropped.
struct Limited(PathBuf);

impl Limited {
    fn new(name: &str, limit: u64) -> Self {
        let version_1 = fs::exists("/sys/fs/cgroup/memory/memory.limit_in_bytes").unwrap();
        let root = if version_1 { "/sys/fs/cgroup/memory" } else { "/sys/fs/cgroup" };
        let folder = PathBuf::from(format!("{root}/{name}-{}", std::process::id()));
        if !version_1 {
            fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory").unwrap();
        }
        fs::create_dir(&folder).unwrap();
        let limited = Self(folder);
        let file = if version_1 { "memory.limit_in_bytes" } else { "memory.max" };
        fs::write(limited.0.join(file), limit.to_string()).unwrap();
        limited
    }

    /// Perl in it, which waits for a line before it does something.
    fn perl(&self, text: &str) -> Running {
        let procs = self.0.join("cgroup.procs");
        let text = format!("open F, '>', '{}' or die; print F $$; close F; <STDIN>; {text}; <STDIN>", procs.display());
        Running::start(Command::new("perl").args(["-e", &text]))
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_process_that_the_kernel_kills_in_a_cgroup_is_told_with_its_group_and_the_limit() {
    use std::io::Write as _;
    let mut machine = Machine::new();
    let limited = Limited::new("tusktop-oom", 32 * MIB);
    let mut hog = limited.perl("my $n = 100; my $x = 'x' x ($n << 20)");
    let pid = hog.0.id();
    let name = limited.0.file_name().unwrap().to_str().unwrap().to_owned();
    // Until a snapshot has seen where it is: that is what the kill is told with.
    let before = loop {
        let snapshot = machine.snapshot();
        let process = snapshot.processes.iter().find(|process| process.pid == pid);
        let cgroup = process.and_then(|process| snapshot.cgroups.get(process.cgroup?));
        if cgroup.is_some_and(|cgroup| cgroup.path.contains(&name)) {
            break snapshot;
        }
    };
    hog.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let (kill, snapshot): (OomKill, Snapshot) = loop {
        let snapshot = machine.snapshot();
        if let Some(kill) = snapshot.system.killed.iter().find(|kill| kill.pid == pid) {
            break (kill.clone(), snapshot);
        }
        assert!(Instant::now() < deadline, "nothing was killed: {:?}", hog.0.try_wait());
    };
    let group = before.processes.iter().find(|process| process.pid == pid).map(|process| process.group).unwrap();
    assert_eq!((&*kill.comm, kill.limit_bytes), ("perl", Some(32 * MIB)), "{kill:?}");
    assert_eq!(kill.group.as_deref(), Some(&*before.groups[group].name));
    assert!(kill.cgroup.as_deref().is_some_and(|path| path.contains(&name)), "{kill:?}");
    assert!(kill.rss_bytes.is_some_and(|bytes| bytes > 20 * MIB && bytes < 40 * MIB), "{kill:?}");
    assert!(kill.before.is_some_and(|before| before <= kill.at) && kill.at <= snapshot.at, "{kill:?}");
    let said = format!("the kernel killed perl ({pid})");
    assert!(snapshot.notices.iter().any(|notice| notice.text.starts_with(&said)), "{:?}", snapshot.notices);
}

/// Of the memory of a limited cgroup, most is in a tmpfs; the kernel counts it in the one of the process that wrote it.
#[test]
#[ignore = "needs root"]
fn a_cgroup_that_is_full_of_tmpfs_is_told_from_one_whose_processes_grow() {
    use std::io::Write as _;
    let mounted = Mounted::new("size=128m");
    let limited = Limited::new("tusktop-parts", 64 * MIB);
    let file = mounted.0.path().join("file");
    let text = format!("open F, '>', '{}'; syswrite F, 'x' x (1 << 20) for 1..40; <STDIN>", file.display());
    let mut writer = limited.perl(&text);
    let mut machine = Machine::new();
    writer.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let snapshot = machine.snapshot();
        let process = snapshot.processes.iter().find(|process| process.pid == writer.0.id());
        let cgroup = process.and_then(|process| snapshot.cgroups.get(process.cgroup?));
        let Some((cgroup, parts)) = cgroup.and_then(|cgroup| Some((cgroup, cgroup.parts?))) else { continue };
        // The file may still grow.
        let is_whole = cgroup.memory_current_bytes.is_some_and(|bytes| (40 * MIB..=64 * MIB).contains(&bytes));
        if is_whole && parts.shmem_bytes.is_some_and(|bytes| bytes.abs_diff(40 * MIB) < MIB) {
            assert_eq!((cgroup.memory_max_bytes, cgroup.most()), (Some(64 * MIB), Some(CgroupMost::Shared)));
            assert!(parts.anon_bytes.is_some_and(|bytes| bytes < 20 * MIB), "{parts:?}");
            assert_eq!(cgroup.events.and_then(|events| events.oom_kill), Some(0));
            break;
        }
        assert!(Instant::now() < deadline, "{cgroup:?}");
    }
    writer.end();
}

#[test]
#[ignore = "needs root"]
fn what_a_process_writes_to_a_disk_is_its_own() {
    use std::io::Write as _;
    // The build folder is on a disk; a temporary folder may be in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = folder.path().join("file");
    let mut machine = Machine::new();
    let text = format!(
        "<STDIN>; open F, '>', '{}'; syswrite F, 'x' x (1 << 20) for 1..40; print STDERR 1; <STDIN>",
        file.display()
    );
    let mut writer = Running::start(Command::new("perl").args(["-e", &text]));
    let pid = writer.0.id();
    let rate = |snapshot: &Snapshot| {
        let process = snapshot.processes.iter().find(|process| process.pid == pid)?;
        Some((process.disk.written_bytes_per_s? * snapshot.interval_ms as f64 / 1000.0, process.group))
    };
    while rate(&machine.snapshot()).is_none() {}
    writer.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let (deadline, mut sum) = (Instant::now() + Duration::from_secs(30), 0.0);
    while sum < 39.0 * MIB as f64 {
        assert!(Instant::now() < deadline, "{sum}");
        std::thread::sleep(Duration::from_millis(20));
        let snapshot = machine.snapshot();
        let (bytes, group) = rate(&snapshot).unwrap();
        sum += bytes;
        let of_group = snapshot.groups[group].disk.written_bytes_per_s.unwrap();
        assert!(of_group * snapshot.interval_ms as f64 / 1000.0 >= bytes - 1.0);
    }
    assert!(sum < 44.0 * MIB as f64, "{sum}");
    writer.end();
}

/// A swap file; it is switched off and removed when dropped.
struct SwapFile(PathBuf);

impl SwapFile {
    fn new(mebibytes: usize) -> Self {
        // Swap needs a file on a disk; a temporary folder may be in memory.
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("swap-{}", std::process::id()));
        fs::write(&path, vec![0; mebibytes << 20]).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let file = Self(path);
        for program in ["mkswap", "swapon"] {
            let done = Command::new(program).arg(&file.0).stdout(Stdio::null()).status();
            assert!(done.unwrap().success(), "{program}");
        }
        file
    }
}

impl Drop for SwapFile {
    fn drop(&mut self) {
        let _ = Command::new("swapoff").arg(&self.0).status();
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
#[ignore = "needs root"]
fn swap_that_two_processes_share_counts_once() {
    use std::io::Write as _;
    let _file = SwapFile::new(160);
    let limited = Limited::new("tusktop-swap", 40 * MIB);
    // Forked when it has all, so both have the same pages, most of them in swap.
    let text = "my $n = 100; my $x = 'x' x ($n << 20); my $parent = $$; my $pid = fork(); \
                while (!$pid && getppid() == $parent) { select(undef, undef, undef, 0.1) } exit if !$pid; <STDIN>";
    let mut parent = limited.perl(text);
    let pid = parent.0.id();
    parent.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let mut machine = Machine::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let snapshot = machine.snapshot();
        let swap = snapshot.system.swap_used_bytes.unwrap();
        let tree: Vec<_> =
            snapshot.processes.iter().filter(|process| process.pid == pid || process.ppid == pid).collect();
        let each: u64 = tree.iter().filter_map(|process| process.memory.swap_bytes).sum();
        let once: u64 = tree.iter().filter_map(|process| process.memory.swapped_bytes()).sum();
        let groups: u64 = snapshot.groups.iter().filter_map(|group| group.memory.swapped_bytes()).sum();
        let near = |a: u64, b: u64| a.abs_diff(b) < 8 * MIB;
        if tree.len() == 2 && once > 40 * MIB && near(each, 2 * once) && near(groups, swap) && once <= swap {
            break;
        }
        assert!(Instant::now() < deadline, "{} each, {} once, {} in groups, {swap} in use", each, once, groups);
    }
    parent.end();
}

#[test]
#[ignore = "needs root"]
fn a_user_without_a_name_in_a_user_namespace_is_a_number() {
    use std::io::{Read as _, Write as _};
    // unshare(CLONE_NEWUSER) by its number.
    let text = "syscall(272, 0x10000000) == 0 or die; syswrite STDOUT, 'n'; sysread STDIN, my $line, 1; ($<, $>) = (0, 0); exec 'perl', '-e', 'syswrite STDOUT, \"r\"; sysread STDIN, my $x, 1'";
    let mut child =
        Command::new("perl").args(["-e", text]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let mut word = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
    fs::write(format!("/proc/{pid}/uid_map"), "0 345678 1\n").unwrap();
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
    let snapshot = Machine::new().snapshot();
    let process = snapshot.processes.iter().find(|process| process.pid == pid).unwrap();
    assert_eq!(&*process.user, "345678");
    drop(child.stdin.take());
    child.wait().unwrap();
}
