//! A close look at one process: fake trees for all that can be odd, and real processes of our own.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio::sync::watch;
use tusktop::{
    collect::inspect::{self, Reader},
    model::{CgroupLimit, Inspection, InspectionOrder, ProcessKey, Unread},
    words::secrets::Secrets,
};

const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
Max open files            10                   20                   files     \n";
const SMAPS: &str = "1000-2000 rw-p 00000000 00:00 0 [heap]\nSize: 8 kB\nRss: 8 kB\nPss: 8 kB\nPrivate_Dirty: 8 kB\n";

/// A proc root and a tree of control groups in a folder.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        fs::write(path, content).expect("it can be written");
        self
    }

    fn process(&self, pid: u32, start_ticks: u64, rss_pages: u64) -> &Self {
        let stat = format!(
            "{pid} (a) b\x1b) S 1 1 1 0 -1 0 0 0 0 0 5 0 0 0 20 -5 2 0 {start_ticks} 0 {rss_pages} {} 0\n",
            "0 ".repeat(16) + "1"
        );
        self.write(&format!("{pid}/stat"), stat)
            .write(&format!("{pid}/limits"), LIMITS)
            .write(&format!("{pid}/smaps"), SMAPS)
            .write(&format!("{pid}/cmdline"), b"php-fpm: pool www\0\0\0   ")
            .write(
                &format!("{pid}/status"),
                b"Name:\t\\n\xff\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t3\n",
            )
            .write(&format!("{pid}/oom_score"), "666\n")
            .write(&format!("{pid}/oom_score_adj"), "-5\n")
            .write(&format!("{pid}/wchan"), "ep_poll")
    }

    fn files(&self, pid: u32, targets: &[&str]) -> &Self {
        fs::create_dir_all(self.path(&format!("{pid}/fd"))).expect("a folder");
        for (number, target) in targets.iter().enumerate() {
            symlink(target, self.path(&format!("{pid}/fd/{number}"))).expect("a link");
        }
        self
    }

    /// Mounts of version 2, or of version 1 with memory and pids apart.
    fn mounts(&self, version: u8) -> &Self {
        let place = |name: &str| self.path(name).display().to_string();
        let text = if version == 2 {
            format!("41 31 0:38 / {} rw,relatime - cgroup2 cgroup2 rw\n", place("cg"))
        } else {
            format!(
                "35 31 0:32 / {} rw,relatime - cgroup cgroup rw,memory\n39 31 0:36 / {} rw - cgroup cgroup rw,pids\n",
                place("memory"),
                place("pids")
            )
        };
        self.write("self/mountinfo", text)
    }

    fn look(&self, pid: u32) -> Inspection {
        let process = ProcessKey { pid, start_ticks: None };
        Reader::new(self.0.path().to_owned(), Secrets::Masked).inspect(process, None, false)
    }
}

#[test]
fn secrets_in_the_arguments_are_masked_unless_they_are_asked_for() {
    let tree = Tree::new();
    tree.process(7, 100, 2).write("7/cmdline", "app\0--password\0a b\0-v\0");
    assert_eq!(tree.look(7).arguments, Ok(("app --password *** -v".into(), false)));
    let mut reader = Reader::new(tree.path(""), Secrets::Shown);
    let shown = reader.inspect(ProcessKey { pid: 7, start_ticks: None }, None, false);
    assert_eq!(shown.arguments, Ok(("app --password a b -v".into(), false)));
}

#[test]
fn what_can_be_read_is_read() {
    let tree = Tree::new();
    tree.process(7, 100, 2).files(7, &["/var/log/x", "socket:[1]", "pipe:[2]", "anon_inode:[eventpoll]", "/memfd:x"]);
    symlink("/usr/sbin/x (deleted)", tree.path("7/exe")).expect("a link");
    let seen = tree.look(7);
    assert_eq!((seen.process.start_ticks, &*seen.comm, seen.ended), (Some(100), "a) b\x1b", false));
    assert_eq!(seen.mappings.as_ref().map(|mappings| mappings.total.rss), Ok(8192));
    let files = seen.files.expect("they are there");
    assert_eq!((files.count, files.files, files.sockets, files.pipes, files.other), (5, 1, 1, 1, 2));
    assert_eq!((files.limit, files.complete), (Some(10), true));
    assert_eq!((seen.oom_score, seen.oom_score_adj, seen.switches), (Ok(666), Ok(-5), Ok((7, 3))));
    assert_eq!((seen.nice, seen.policy.as_deref()), (Ok(-5), Ok("FIFO, real time")));
    assert_eq!(seen.wchan, Ok(Some("ep_poll".into())));
    assert_eq!(seen.exe.as_deref(), Ok("/usr/sbin/x (deleted)"));
    assert_eq!(seen.arguments, Ok(("php-fpm: pool www".into(), false)));
    assert_eq!((seen.cwd, seen.cgroup), (Err(Unread::Absent), Err(Unread::Absent)), "each is missing for itself");
}

#[test]
fn one_garbled_file_takes_nothing_else_away() {
    let names = ["limits", "smaps", "status", "oom_score", "cmdline"];
    for broken in names {
        let tree = Tree::new();
        tree.process(7, 100, 2).write(&format!("7/{broken}"), b"\xff\xfe garbage \x1b[2J");
        let seen = tree.look(7);
        let unknown = [
            seen.limits.is_err(),
            seen.mappings == Err(Unread::Malformed),
            seen.switches.is_err(),
            seen.oom_score.is_err(),
            false,
        ];
        assert_eq!(unknown, names.map(|name| name == broken && name != "cmdline"), "{broken}");
    }
    let tree = Tree::new();
    tree.process(7, 100, 2).write("7/stat", b"garbage");
    assert_eq!(tree.look(7).mappings, Err(Unread::Malformed));
}

#[test]
fn a_long_command_line_is_cut_and_says_so() {
    let tree = Tree::new();
    tree.process(7, 100, 2).write("7/cmdline", "x\0".repeat(50_000));
    let (arguments, cut) = tree.look(7).arguments.expect("it is there");
    assert!(cut && arguments.len() < 50_000 && arguments.starts_with("x x "));
}

#[test]
fn a_process_that_ended_keeps_its_last_values_and_its_pid_is_no_other_process() {
    let tree = Tree::new();
    tree.process(7, 100, 2);
    let mut reader = Reader::new(tree.path(""), Secrets::Masked);
    let key = ProcessKey { pid: 7, start_ticks: Some(100) };
    let first = reader.inspect(key, None, false);
    assert!(!first.ended);
    tree.process(7, 101, 2).write("7/smaps", SMAPS.replace("Rss: 8", "Rss: 999"));
    let second = reader.inspect(key, Some(&first), false);
    assert!(second.ended, "the pid is another's");
    assert_eq!(second.mappings, first.mappings);
    fs::remove_dir_all(tree.path("7")).expect("it can be removed");
    assert!(reader.inspect(key, Some(&first), false).ended);
    let never = reader.inspect(key, None, false);
    assert_eq!((never.ended, never.mappings), (true, Err(Unread::Ended)));
}

#[test]
fn what_would_take_too_long_is_not_read_unasked() {
    let tree = Tree::new();
    tree.process(7, 100, 500_000_000);
    let mut reader = Reader::new(tree.path(""), Secrets::Masked);
    let key = ProcessKey { pid: 7, start_ticks: Some(100) };
    let first = reader.inspect(key, None, false);
    assert!(matches!(first.mappings, Err(Unread::TooExpensive(time)) if time > Duration::from_secs(1)), "{first:?}");
    assert!(first.limits.is_ok(), "the rest is cheap");
    let asked = reader.inspect(key, Some(&first), true);
    assert!(asked.mappings.is_ok());
    // Once it is known that it is cheap after all, it is read without being asked for.
    let again = reader.inspect(key, Some(&asked), false);
    assert!(again.mappings_at > asked.mappings_at);
    // And when the last reading was expensive, its values stay, and so does their age.
    let expensive = Inspection { mappings_cost: Duration::from_secs(1), ..asked.clone() };
    let kept = reader.inspect(key, Some(&expensive), false);
    assert_eq!((kept.mappings_at, kept.mappings == expensive.mappings), (expensive.mappings_at, true));
}

#[test]
fn the_limit_with_the_least_room_counts_also_above_the_group() {
    let tree = Tree::new();
    tree.mounts(2).process(7, 100, 2).write("7/cgroup", "0::/shop.slice/php.service\n");
    tree.write("cg/shop.slice/memory.max", "1000\n")
        .write("cg/shop.slice/memory.current", "990\n")
        .write("cg/shop.slice/php.service/memory.max", "500\n")
        .write("cg/shop.slice/php.service/memory.current", "100\n")
        .write("cg/shop.slice/php.service/memory.high", "max\n")
        .write("cg/shop.slice/php.service/memory.swap.current", "3\n")
        .write("cg/shop.slice/php.service/pids.max", "8\n");
    let limits = tree.look(7).cgroup.expect("it is there");
    assert_eq!((limits.version, limits.memory, limits.swap), (2, Some(100), Some(3)));
    assert_eq!(limits.memory_max, Some(CgroupLimit { limit: 1000, used: Some(990), at: "/shop.slice".into() }));
    assert_eq!((limits.memory_high, limits.swap_max), (None, None));
    assert_eq!(limits.tasks_max, Some(CgroupLimit { limit: 8, used: None, at: "/shop.slice/php.service".into() }));
}

#[test]
fn version_1_has_other_files_and_a_number_for_unlimited() {
    let tree = Tree::new();
    tree.mounts(1).process(7, 100, 2).write("7/cgroup", "9:pids:/b\n4:memory:/a\n0::/ignored\n");
    tree.write("memory/a/memory.limit_in_bytes", "9223372036854771712\n")
        .write("memory/a/memory.usage_in_bytes", "77\n")
        .write("memory/a/memory.memsw.limit_in_bytes", "4096\n")
        .write("memory/a/memory.memsw.usage_in_bytes", "96\n")
        .write("pids/b/pids.current", "5\n");
    let limits = tree.look(7).cgroup.expect("it is there");
    assert_eq!((limits.version, limits.memory, limits.tasks, limits.memory_max), (1, Some(77), Some(5), None));
    assert_eq!(limits.swap_max, Some(CgroupLimit { limit: 4096, used: Some(96), at: "/a".into() }));
}

#[test]
fn a_path_that_leads_out_of_the_tree_is_not_followed() {
    for path in ["/../../etc", "/a/../../..", "/gone"] {
        let tree = Tree::new();
        tree.mounts(2).process(7, 100, 2).write("7/cgroup", format!("0::{path}\n")).write("cg/memory.max", "1\n");
        tree.write("etc/memory.max", "5\n");
        let expected = if path == "/gone" { Unread::Absent } else { Unread::Elsewhere };
        assert_eq!(tree.look(7).cgroup, Err(expected), "{path}");
    }
}

/// A process that is ended with the test.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().expect("sleep is there"))
    }

    fn key(&self) -> ProcessKey {
        let stat = fs::read(format!("/proc/{}/stat", self.0.id())).expect("it runs");
        ProcessKey { pid: self.0.id(), start_ticks: inspect::start_ticks(&stat) }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It may have been ended by the test.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn next(readings: &mut watch::Receiver<Option<Arc<Inspection>>>) -> Option<Arc<Inspection>> {
    readings.changed().await.expect("it runs");
    readings.borrow_and_update().clone()
}

#[tokio::test]
async fn it_looks_at_what_is_ordered_until_it_is_not() {
    let mut sleeper = Sleeper::start();
    let (orders, wanted) = watch::channel(None);
    let mut readings = inspect::spawn("/proc".into(), Secrets::Masked, wanted);
    let order = InspectionOrder { process: sleeper.key(), asked: 0 };
    orders.send_replace(Some(order));
    let seen = next(&mut readings).await.expect("a reading");
    assert_eq!(seen.process, order.process);
    assert!(seen.mappings.as_ref().is_ok_and(|mappings| mappings.total.rss > 0) && !seen.ended);
    assert!(seen.every >= Duration::from_secs(2) && seen.every >= (seen.cost + seen.mappings_cost) * 100);
    assert!(seen.exe.as_deref().is_ok_and(|exe| exe.contains("sleep") || exe.contains("coreutils")), "{:?}", seen.exe);
    // Asked for at any price, it is read at once.
    orders.send_replace(Some(InspectionOrder { asked: 1, ..order }));
    let again = next(&mut readings).await.expect("a reading");
    assert!(again.mappings_at > seen.mappings_at);
    sleeper.0.kill().expect("it runs");
    sleeper.0.wait().expect("it ends");
    let ended = next(&mut readings).await.expect("a reading");
    assert!(ended.ended && ended.mappings == again.mappings);
    orders.send_replace(None);
    assert_eq!(next(&mut readings).await, None);
    drop(orders);
    assert!(readings.changed().await.is_err(), "it ends with the orders");
}
