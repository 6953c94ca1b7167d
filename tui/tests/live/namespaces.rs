//! Real proc mounts that hide processes, and a pid that the kernel gives a second time, in namespaces of their own.

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use crate::cast::copy_program;
use jiff::Timestamp;
use tusktop::{
    aggregate::{Aggregate, PhpReading},
    collect::{Tick, proc::Sampler},
    model::Snapshot,
};

const NOBODY: &str = "65534";

/// `snap` of this test's binary, as nobody, with a /proc that is mounted with this `hidepid`.
fn snap_as_nobody(hidepid: u32) -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let binary = folder.path().join("tusktop");
    copy_program(env!("CARGO_BIN_EXE_tusktop"), &binary);
    // The mount is private to this process and gone with it.
    let script = format!(
        "mount -t proc -o hidepid={hidepid} proc /proc && exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups \"$0\" \
         snap --no-php -d 200ms --format json"
    );
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .arg(&binary)
        .env("HOME", "/nonexistent")
        .current_dir("/")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn notice<'s>(snapshot: &'s Snapshot, part: &str) -> Option<&'s str> {
    snapshot.notices.iter().find(|notice| notice.text.contains(part)).map(|notice| &*notice.hint)
}

#[test]
#[ignore = "needs root"]
fn where_other_users_cannot_be_seen_the_own_processes_are_and_a_notice_says_so() {
    // By uid and gid, as the kernel compares them (ptrace(2)).
    let mut own = Command::new("sleep").arg("300").uid(65534).gid(65534).spawn().unwrap();
    let seen = [0, 1, 2].map(snap_as_nobody);
    own.kill().unwrap();
    own.wait().unwrap();
    let [all, refused, hidden] = &seen;
    for snapshot in &seen {
        assert!(snapshot.processes.iter().any(|process| process.pid == own.id()), "one's own are always seen");
        assert!(snapshot.system.memory_available_bytes.is_some(), "and the machine is");
        let counted: u32 = snapshot.groups.iter().map(|group| group.processes).sum();
        assert_eq!(counted as usize, snapshot.processes.len());
    }
    assert!(all.processes.iter().any(|process| process.pid == 1));
    assert_eq!((notice(all, "cannot be read"), notice(all, "hidden")), (None, None));
    for (snapshot, part) in [(refused, "processes cannot be read"), (hidden, "of other users are hidden")] {
        let others = snapshot.processes.iter().filter(|process| &*process.user != "nobody").count();
        assert_eq!(others, 0);
        assert!(notice(snapshot, part).unwrap().contains("hidepid"), "{:?}", snapshot.notices);
    }
}

/// A shell that is process 1 of a namespace of pids with a /proc of its own.
struct Namespace {
    shell: Child,
    answers: Box<dyn BufRead>,
}

impl Namespace {
    fn start() -> Self {
        let mut shell = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = Box::new(BufReader::new(shell.stdout.take().unwrap()));
        Self { shell, answers }
    }

    /// Runs a script and gives the line that it prints.
    fn run(&mut self, script: &str) -> String {
        writeln!(self.shell.stdin.as_mut().unwrap(), "{script}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    /// Its /proc as this process can open it: below the root of the shell, whose pid outside is the child of `unshare`.
    fn proc(&mut self) -> std::path::PathBuf {
        assert_eq!(self.run("echo $$"), "1");
        let unshare = self.shell.id();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
        Path::new("/proc").join(children.trim()).join("root/proc")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The kernel ends all of a namespace with its process 1, and that with `unshare`.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[test]
#[ignore = "needs root"]
fn a_pid_that_the_kernel_gives_again_is_another_process() {
    let mut namespace = Namespace::start();
    let root = namespace.proc();
    let folder = tempfile::tempdir().unwrap();
    for name in ["first", "second"] {
        std::os::unix::fs::symlink("/bin/sleep", folder.path().join(name)).unwrap();
    }
    let mut sampler = Sampler::open(&root, "/etc/passwd".as_ref(), Timestamp::now()).unwrap();
    let mut aggregate = Aggregate::default();
    let mut tick = || {
        let sample = sampler.pass(Tick { at: Instant::now() });
        aggregate.update(Timestamp::now(), sample, PhpReading::Off)
    };
    let asleep = |pid: &str, name: &str| {
        while fs::read_to_string(root.join(pid).join("comm")).unwrap().trim_end() != name {
            std::thread::yield_now();
        }
    };
    let first = namespace.run(&format!("'{}/first' 300 & echo $!", folder.path().display()));
    asleep(&first, "first");
    let pid: u32 = first.parse().unwrap();
    // So often that its stat file is kept open.
    let before = (0..3).map(|_| tick()).next_back().unwrap();
    let of = |snapshot: &Snapshot| {
        snapshot.processes.iter().find(|process| process.pid == pid).map(|process| process.comm.to_string())
    };
    assert_eq!((before.processes.len(), of(&before)), (2, Some("first".to_owned())));

    let again = format!(
        "kill {pid}; wait {pid} 2>/dev/null; echo {} > /proc/sys/kernel/ns_last_pid; '{}/second' 300 & echo $!",
        pid - 1,
        folder.path().display()
    );
    assert_eq!(namespace.run(&again), first, "the kernel gave the same number");
    asleep(&first, "second");
    let after = tick();
    assert_eq!((after.processes.len(), of(&after)), (2, Some("second".to_owned())));
    let process = after.processes.iter().find(|process| process.pid == pid).unwrap();
    assert!(process.cmdline.ends_with("/second 300"), "{}", process.cmdline);
}

/// What a tusktop prints that runs in a pid namespace of its own.
fn in_a_namespace(unshare: &[&str], arguments: &[&str]) -> std::process::Output {
    Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child"])
        .args(unshare)
        .arg(env!("CARGO_BIN_EXE_tusktop"))
        .args(arguments)
        .env("HOME", "/nonexistent")
        .output()
        .unwrap()
}

#[test]
#[ignore = "needs root"]
fn in_another_pid_namespace_php_is_off_and_a_notice_says_so() {
    for (unshare, part) in [(&["--mount-proc"][..], "/proc is not the host's"), (&[], "/proc is the host's")] {
        let output = in_a_namespace(unshare, &["snap", "-d", "200ms", "--format", "json"]);
        assert!(output.status.success(), "{output:?}");
        let snapshot: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
        assert!(notice(&snapshot, part).unwrap().contains("--pid=host"), "{:?}", snapshot.notices);
        assert!(snapshot.php.targets.is_empty());
        let doctor = in_a_namespace(unshare, &["doctor", "--json"]);
        let doctor: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
        let check = doctor["system"].as_array().unwrap().iter().find(|check| check["name"] == "pid namespace").unwrap();
        assert_eq!(check["state"], "missing", "{check}");
    }
}
