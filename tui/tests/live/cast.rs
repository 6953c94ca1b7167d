//! Processes that a test knows all about: sleepers under many names, one that burns CPU in threads, one with memory, a family,
//! and one that is renamed late.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::wait::{PATIENCE, wait_until};

/// Sleepers end by themselves after this many seconds, should the test be interrupted.
const LIFE: &str = "300";

/// Processes in a temporary folder. Dropping it ends them with their children.
pub struct Cast {
    folder: TempDir,
    tag: String,
    children: Vec<Child>,
}

impl Cast {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().unwrap();
        // Another user has to run what is in it.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let tag = format!("t{:x}{number:x}", std::process::id() % 0xf_ffff);
        Self { folder, tag, children: Vec::new() }
    }

    /// What all names of these processes begin with, at most 8 characters; no other process has it.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `program` under the name that the tag and `role` make, which is its comm, too.
    fn named(&self, program: &str, role: impl AsRef<OsStr>) -> PathBuf {
        let mut name = self.tag.clone().into_bytes();
        name.extend_from_slice(role.as_ref().as_bytes());
        let path = self.folder.path().join(OsStr::from_bytes(&name));
        if fs::symlink_metadata(&path).is_err() {
            symlink(program, &path).unwrap();
        }
        path
    }

    fn spawn(&mut self, command: &mut Command) -> u32 {
        let child = command.process_group(0).spawn().unwrap();
        self.children.push(child);
        self.children.last().unwrap().id()
    }

    /// A process that sleeps.
    pub fn sleeper(&mut self, role: impl AsRef<OsStr>) -> u32 {
        let path = self.named("/bin/sleep", role);
        self.spawn(Command::new(path).arg(LIFE).stdin(Stdio::null()))
    }

    /// One that sleeps with this first argument.
    pub fn titled(&mut self, role: impl AsRef<OsStr>, title: impl AsRef<OsStr>) -> u32 {
        let path = self.named("/bin/sleep", role);
        self.spawn(Command::new(path).arg0(title).arg(LIFE).stdin(Stdio::null()))
    }

    /// One that sleeps with these arguments behind its own.
    pub fn with_arguments(&mut self, role: &str, arguments: &[&str]) -> u32 {
        let path = self.named("/usr/bin/perl", role);
        self.spawn(Command::new(path).args(["-e", &format!("sleep {LIFE}"), "--"]).args(arguments).stdin(Stdio::null()))
    }

    /// One that sleeps as this user.
    pub fn of_user(&mut self, role: &str, uid: u32) -> u32 {
        let path = self.named("/bin/sleep", role);
        self.spawn(Command::new(path).arg(LIFE).uid(uid).stdin(Stdio::null()))
    }

    /// A Perl program; gives its pid when it has printed a line. It goes on when its input gets one.
    fn perl(&mut self, role: &str, program: &str) -> u32 {
        let path = self.named("/usr/bin/perl", role);
        let program = format!("$| = 1; alarm {LIFE}; {program}");
        let mut command = Command::new(path);
        self.spawn(command.args(["-e", &program]).stdin(Stdio::piped()).stdout(Stdio::piped()));
        let child = self.children.last_mut().unwrap();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
        child.id()
    }

    /// Lets a program go on.
    fn wake(&mut self, pid: u32) {
        let child = self.children.iter_mut().find(|child| child.id() == pid).unwrap();
        child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Two threads beside the main one that use all the CPU they get.
    pub fn burner(&mut self, role: &str) -> u32 {
        self.perl(role, "use threads; threads->create(sub { 1 while 1 }) for 1 .. 2; print qq(ready\\n); <STDIN>")
    }

    /// One whose first thread has ended, with this much memory.
    pub fn without_first_thread(&mut self, role: &str, mebibytes: u32) -> u32 {
        // exit(2) ends one thread.
        let exit = if cfg!(target_arch = "aarch64") { 93 } else { 60 };
        let program = format!(
            "use threads; my $memory = 'x' x ({mebibytes} << 20); \
             threads->create(sub {{ print qq(ready\\n); <STDIN> }})->detach; syscall({exit}, 0)"
        );
        let pid = self.perl(role, &program);
        let ended = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ");
        wait_until(PATIENCE, || "its first thread ends".to_owned(), ended);
        pid
    }

    /// One with this much memory that is its own.
    pub fn with_memory(&mut self, role: &str, mebibytes: u32) -> u32 {
        self.perl(role, &format!("my $memory = 'x' x ({mebibytes} << 20); print qq(ready\\n); <STDIN>"))
    }

    /// A shell with children that sleep: one `sleep` for each of `roles`, under that name where it has one.
    pub fn family(&mut self, role: &str, roles: &[Option<&str>]) -> u32 {
        let mut script = String::new();
        for role in roles {
            let path = role.map_or("/bin/sleep".into(), |role| self.named("/bin/sleep", role));
            script += &format!("'{}' {LIFE} & ", path.display());
        }
        let path = self.named("/bin/sh", role);
        let pid = self.spawn(Command::new(path).args(["-c", &format!("{script} wait")]).stdin(Stdio::null()));
        let asleep = |pid: &str| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(format!("\0{LIFE}\0").as_bytes()))
        };
        wait_until(
            PATIENCE,
            || format!("the family of {pid} sleeps"),
            || {
                let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
                let children: Vec<&str> = children.split_whitespace().collect();
                children.len() == roles.len() && children.into_iter().all(asleep)
            },
        );
        pid
    }

    /// One that takes a title when it is told to, as workers of php-fpm do after they were forked.
    pub fn late(&mut self, role: &str, title: &str) -> u32 {
        self.perl(role, &format!("print qq(ready\\n); <STDIN>; $0 = '{title}'; print qq(done\\n); <STDIN>"))
    }

    /// Tells it, and waits until it is done.
    pub fn take_title(&mut self, pid: u32) {
        self.wake(pid);
        let child = self.children.iter_mut().find(|child| child.id() == pid).unwrap();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It has not been waited for, so the number is still its own.
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait();
        }
    }
}

/// A cast with one of each kind, and the pid of its burner.
pub fn everyone() -> (Cast, u32) {
    let mut cast = Cast::new();
    for _ in 0..3 {
        cast.sleeper("plain");
    }
    cast.sleeper("a-very-long-name");
    cast.sleeper(") (x");
    let opt = format!("/opt/{}/bin/server", cast.tag());
    cast.titled("srv", &opt);
    cast.titled("srv", format!("{}: pool blue", cast.tag()));
    cast.titled("srv", format!("{}: pool blue", cast.tag()));
    cast.titled("srv", format!("{}: master process (/etc/x/conf.d/fpm.conf)", cast.tag()));
    cast.titled("void", "");
    cast.of_user("user", 65534);
    cast.family("fam", &[None, None, Some("own")]);
    cast.with_memory("memory", 50);
    let burner = cast.burner("burn");
    (cast, burner)
}

/// Copies a program by a process of its own: children that other tests start meanwhile would hold a copy made here open for
/// writing, and a file that is written cannot be run.
pub fn copy_program(from: &str, to: &Path) {
    assert!(Command::new("cp").args([Path::new(from), to]).status().unwrap().success());
}
