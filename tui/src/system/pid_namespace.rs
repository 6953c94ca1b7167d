//! Which processes the pids in /proc mean: whether /proc belongs to tusktop's own pid namespace, and whether that is the
//! first one, whose pids the kernel's programs report.

use std::{
    fs,
    os::fd::{AsRawFd as _, BorrowedFd},
    path::Path,
};

use crate::model::Notice;

/// Inode of the first pid namespace (`PROC_PID_INIT_INO` in the kernel's include/linux/proc_ns.h).
const FIRST: u64 = 0xEFFF_FFFC;

/// Whose numbers are in /proc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PidNamespace {
    /// Ours, and we are in the first namespace: they are the kernel's own.
    First,
    /// Ours, and we are in another: the kernel has other numbers for the same processes.
    Inner,
    /// Those of another namespace: the same number is another process for system calls.
    Foreign,
    /// It cannot be told: /proc is not there, or does not say.
    Unknown,
}

impl PidNamespace {
    /// Asks the procfs that is mounted at `proc`.
    pub(crate) fn read(proc: &Path) -> Self {
        let own = fs::read_link(proc.join("self")).ok();
        let own = own.as_deref().and_then(|pid| pid.to_str());
        let namespace = fs::read_link(proc.join("self/ns/pid")).ok();
        Self::of(own, std::process::id(), namespace.as_deref().and_then(|link| link.to_str()), proc.exists())
    }

    /// `own` is what /proc/self links to, `namespace` what /proc/self/ns/pid does.
    fn of(own: Option<&str>, pid: u32, namespace: Option<&str>, mounted: bool) -> Self {
        // A process that is not in the namespace of the mount has no /proc/self there.
        let Some(own) = own else { return if mounted { Self::Foreign } else { Self::Unknown } };
        let inode = namespace.and_then(|link| link.strip_prefix("pid:[")?.strip_suffix(']')?.parse::<u64>().ok());
        match (own.parse() == Ok(pid), inode) {
            (false, _) => Self::Foreign,
            (true, Some(FIRST)) => Self::First,
            (true, Some(_)) => Self::Inner,
            (true, None) => Self::Unknown,
        }
    }

    /// Whether what the kernel's programs report can be joined with /proc. Where it is not known, it is tried.
    pub(crate) fn is_the_kernels(self) -> bool {
        matches!(self, Self::First | Self::Unknown)
    }

    /// The notice that PHP is not observed here; `None` where it can be.
    pub(crate) fn notice(self) -> Option<Notice> {
        match self {
            Self::First | Self::Unknown => None,
            Self::Inner => Some(Notice::inner_pid_namespace()),
            Self::Foreign => Some(Notice::foreign_proc()),
        }
    }

    /// Why no signal can be sent from here; `None` where one can. A pid of /proc must mean the same process for the kernel.
    pub(crate) fn without_signals(self) -> Option<&'static str> {
        (self == Self::Foreign).then_some("/proc of another pid namespace")
    }
}

/// The pid that a descriptor of pidfd_open(2) stands for, as the procfs at `proc` has it (`Pid:` in proc_pid_fdinfo(5)): `Some(-1)` when
/// it has ended, `Some(0)` when it is not in that namespace, `None` when it cannot be read.
pub(crate) fn pid_of(proc: &Path, pidfd: BorrowedFd<'_>) -> Option<i64> {
    let text = fs::read_to_string(proc.join("self/fdinfo").join(pidfd.as_raw_fd().to_string())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels_only_in_the_first_namespace_with_its_own_proc() {
        let (first, inner) = (Some("pid:[4026531836]"), Some("pid:[4026532500]"));
        for (own, namespace, mounted, expected) in [
            (Some("7"), first, true, PidNamespace::First),
            (Some("7"), inner, true, PidNamespace::Inner),
            (Some("4711"), inner, true, PidNamespace::Foreign),
            (Some("4711"), first, true, PidNamespace::Foreign),
            (None, None, true, PidNamespace::Foreign),
            (None, None, false, PidNamespace::Unknown),
            (Some("7"), None, true, PidNamespace::Unknown),
            (Some("7"), Some("pid:[x]"), true, PidNamespace::Unknown),
        ] {
            let namespace = PidNamespace::of(own, 7, namespace, mounted);
            assert_eq!(namespace, expected);
            assert_eq!(namespace.notice().is_none(), namespace.is_the_kernels());
        }
    }

    #[test]
    fn a_descriptor_says_which_process_it_is() {
        use rustix::{
            fd::AsFd as _,
            process::{PidfdFlags, getpid, pidfd_open},
        };
        let pidfd = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        assert_eq!(pid_of(Path::new("/proc"), pidfd.as_fd()), Some(i64::from(std::process::id())));
        assert_eq!(pid_of(Path::new("/nonexistent"), pidfd.as_fd()), None);
    }
}
