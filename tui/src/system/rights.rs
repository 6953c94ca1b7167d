//! What the kernel lets this process do, and the notice for a user who should know that something is missing.

use crate::model::Notice;

/// Numbers of capabilities in the kernel's `include/uapi/linux/capability.h`.
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// Names of the capabilities that observing PHP needs and this process lacks; empty when it can be tried.
pub(crate) fn missing_for_php() -> Vec<&'static str> {
    // Without its own status file nothing is known; the attempt itself will tell.
    let Ok(status) = procfs::process::Process::myself().and_then(|this| this.status()) else { return Vec::new() };
    missing(status.capeff)
}

/// The notice that PHP is not observed for want of rights; `None` when nothing is missing.
pub(crate) fn notice(missing: &[&str]) -> Option<Notice> {
    (!missing.is_empty()).then(|| Notice::php_not_permitted(missing, rustix::process::geteuid().is_root()))
}

fn missing(effective: u64) -> Vec<&'static str> {
    let has = |capability: u32| effective & (1 << capability) != 0;
    let needed = [
        ("CAP_BPF", has(BPF) || has(SYS_ADMIN)),
        ("CAP_PERFMON", has(PERFMON) || has(SYS_ADMIN)),
        // /proc/PID/exe and /proc/PID/maps of other users.
        ("CAP_SYS_PTRACE", has(SYS_PTRACE)),
    ];
    needed.into_iter().filter(|&(_, there)| !there).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(missing(0), ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"]);
        assert_eq!(missing(1 << BPF | 1 << PERFMON), ["CAP_SYS_PTRACE"]);
        assert!(missing(1 << SYS_ADMIN | 1 << SYS_PTRACE).is_empty());
        assert!(missing(u64::MAX).is_empty());
    }

    #[test]
    fn the_notice_says_what_and_what_to_do() {
        assert_eq!(notice(&[]), None);
        let notice = notice(&["CAP_BPF"]).unwrap();
        assert!(notice.text.contains("CAP_BPF") && !notice.hint.is_empty());
    }
}
