//! What a server takes for `/`: that of this machine, or a root folder with another distribution in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;

/// What is mounted for a server is mounted in a mount namespace of its own, so it goes with the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Root {
    /// That of this machine.
    #[default]
    Here,
    /// A folder that is entered with chroot, and nothing else.
    Folder(PathBuf),
    /// The same with pid, mount and network namespaces of its own; the server is process 1 there.
    Namespaces(PathBuf),
    /// The folder below an overlay, as containers have it.
    Overlay(PathBuf),
}

impl Root {
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Here => None,
            Self::Folder(folder) | Self::Namespaces(folder) | Self::Overlay(folder) => Some(folder),
        }
    }

    /// Where a path of the server is for the test.
    pub fn outside(&self, path: &Path) -> PathBuf {
        match self.folder() {
            None => path.to_owned(),
            Some(folder) => folder.join(path.strip_prefix("/").expect("paths of servers are absolute")),
        }
    }

    /// The folder below `/tmp` in which the temporary folder of a server is made.
    pub fn temporary(&self) -> PathBuf {
        self.folder().map_or_else(std::env::temp_dir, |folder| folder.join("tmp"))
    }

    /// Whether two paths are of one file system tree, so that a temporary folder needs a link to have one path for both.
    pub fn is_here(&self) -> bool {
        *self == Self::Here
    }

    /// A command that runs `program` there. Its arguments and environment follow as with any command.
    pub fn command(&self, program: &Path) -> Command {
        let Some(folder) = self.folder() else { return Command::new(program) };
        assert!(
            fs::exists(folder.join("usr/bin/php")).is_ok_and(|exists| exists),
            "{} is no root folder with PHP: run `make matrix`",
            folder.display()
        );
        let (around, script): (&[&str], &str) = match self {
            Self::Here | Self::Folder(_) => {
                let mut command = Command::new("chroot");
                command.arg(folder).arg(program);
                return command;
            }
            // What is between waits for the server and does not end when it is asked to, so it is killed and its child is asked.
            Self::Namespaces(_) => (
                &[
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    "--",
                    "unshare",
                    "--pid",
                    "--fork",
                    "--kill-child=QUIT",
                    "--net",
                    "--mount",
                    "--propagation",
                    "private",
                    "sh",
                    "-ec",
                ],
                r#"mount -t proc proc "$0/proc"; exec chroot "$0" "$@""#,
            ),
            Self::Overlay(_) => (
                &["unshare", "--mount", "--propagation", "private", "sh", "-ec"],
                r#"mount -t tmpfs tmpfs /mnt; mkdir /mnt/upper /mnt/work /mnt/root
                mount -t overlay overlay -o "lowerdir=$0,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
                mount --bind "$0/tmp" /mnt/root/tmp; exec chroot /mnt/root "$@""#,
            ),
        };
        let mut command = Command::new(around[0]);
        command.args(&around[1..]).arg(script).arg(folder).arg(program);
        command
    }

    /// The signal that makes a server end that ends by `signal`.
    pub fn stop(&self, signal: Signal) -> Signal {
        if matches!(self, Self::Namespaces(_)) { Signal::KILL } else { signal }
    }
}
