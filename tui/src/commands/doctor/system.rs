//! What the machine must have: kernel, rights, type information, probes, programs. Each finding is a function of what was read,
//! so kernels that are not available can be tested.

use std::{fs, path::Path, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    collect::{
        php,
        proc::{self, Sampler},
        tasks::Tasks,
    },
    system::{pid_namespace::PidNamespace, rights},
};

/// Oldest kernel with what the programs need: a cookie at each probe (`BPF_LINK_CREATE`, 5.15).
const OLDEST: (u32, u32) = (5, 15);

/// Names of the findings without which nothing else can be told.
pub(super) const PRIVILEGES: &str = "privileges";
pub(super) const PROCESSES: &str = "processes";

/// How a finding turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// Something is seen less well.
    Warning,
    /// PHP cannot be observed for it.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub name: &'static str,
    /// How it turned out.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it, line by line; empty when all is well.
    pub hint: Vec<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), hint: Vec::new() }
    }

    fn not(name: &'static str, state: State, found: impl Into<String>, hint: &[&str]) -> Self {
        Self { name, state, found: found.into(), hint: hint.iter().map(|&line| line.to_owned()).collect() }
    }
}

/// Looks at everything.
pub(crate) fn examine() -> Vec<Check> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    vec![
        kernel(release.trim()),
        privileges(&rights::missing_for_php(), rustix::process::geteuid().is_root()),
        processes(Path::new("/proc/stat").exists()),
        pid_namespace(PidNamespace::read(Path::new("/proc"))),
        lockdown(read("/sys/kernel/security/lockdown").as_deref()),
        btf(Path::new("/sys/kernel/btf/vmlinux").exists()),
        perf_events(Path::new("/proc/sys/kernel/perf_event_paranoid").exists()),
        uprobes(Path::new("/sys/bus/event_source/devices/uprobe/type").exists()),
        programs(php::verify()),
        tasks(examine_tasks()),
    ]
}

fn kernel(release: &str) -> Check {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST => {
            // A warning, because some distributions give an old number new features: what loads decides.
            Check::not(
                "kernel",
                State::Warning,
                release,
                &["PHP needs Linux 5.15 or newer; memory is shown on any kernel"],
            )
        }
        (Some(_), Some(_)) => Check::ok("kernel", release),
        _ => Check::not("kernel", State::Warning, "the release cannot be read", &["Linux 5.15 or newer is needed"]),
    }
}

fn privileges(missing: &[&str], root: bool) -> Check {
    if missing.is_empty() {
        return Check::ok(
            PRIVILEGES,
            if root { "root" } else { "not root, but with all capabilities that are needed" },
        );
    }
    let hint = match root {
        true => ["give the container these capabilities (docker run --privileged), or run on the host"],
        false => ["sudo tusktop doctor"],
    };
    Check::not(PRIVILEGES, State::Missing, format!("missing: {}", missing.join(", ")), &hint)
}

fn processes(procfs: bool) -> Check {
    match procfs {
        true => Check::ok(PROCESSES, "/proc"),
        false => Check::not(PROCESSES, State::Missing, "no /proc is mounted", &["mount -t proc proc /proc"]),
    }
}

fn pid_namespace(namespace: PidNamespace) -> Check {
    let name = "pid namespace";
    match namespace {
        PidNamespace::First => Check::ok(name, "the host's: all processes are visible"),
        PidNamespace::Inner => Check::not(
            name,
            State::Missing,
            "a container's: only its own processes are visible, and their pids differ from the kernel's",
            &["run tusktop on the host, or start the container with --pid=host"],
        ),
        PidNamespace::Foreign => Check::not(
            name,
            State::Missing,
            "/proc belongs to another one: its pids mean other processes here, so signals are off, too",
            &["mount -t proc proc /proc", "or run tusktop on the host, or start the container with --pid=host"],
        ),
        PidNamespace::Unknown => Check::not(name, State::Warning, "unknown: no /proc/self/ns/pid", &[]),
    }
}

/// The kernel marks the mode in force by brackets (kernel_lockdown(7)). Only `confidentiality` keeps programs from
/// reading memory and from perf events.
fn lockdown(text: Option<&str>) -> Check {
    let mode = text.and_then(|text| text.split_once('[')?.1.split_once(']')).map(|(mode, _)| mode);
    match (text, mode) {
        (None, _) => Check::ok("lockdown", "none (the kernel has no such file)"),
        (_, Some("confidentiality")) => Check::not(
            "lockdown",
            State::Missing,
            "confidentiality: programs may not read memory",
            &["boot with lockdown=integrity, or without lockdown= on the kernel's command line"],
        ),
        (_, Some(mode)) => Check::ok("lockdown", mode),
        (Some(_), None) => Check::not("lockdown", State::Warning, "unknown mode", &[]),
    }
}

fn btf(there: bool) -> Check {
    match there {
        true => Check::ok("BTF", "/sys/kernel/btf/vmlinux"),
        false => Check::not(
            "BTF",
            State::Warning,
            "no /sys/kernel/btf/vmlinux: no CPU time of requests, no waiting, no pool of new workers",
            &["use a kernel with CONFIG_DEBUG_INFO_BTF=y; all major distributions have it"],
        ),
    }
}

/// perf_event_open(2) says that this file tells whether there are perf events.
fn perf_events(there: bool) -> Check {
    match there {
        true => Check::ok("perf events", "yes"),
        false => Check::not(
            "perf events",
            State::Missing,
            "no /proc/sys/kernel/perf_event_paranoid",
            &["use a kernel with CONFIG_PERF_EVENTS=y; all major distributions have it"],
        ),
    }
}

fn uprobes(there: bool) -> Check {
    match there {
        true => Check::ok("uprobes", "yes"),
        false => Check::not(
            "uprobes",
            State::Missing,
            "no /sys/bus/event_source/devices/uprobe",
            &["use a kernel with CONFIG_UPROBE_EVENTS=y; in a container, mount /sys"],
        ),
    }
}

/// Loads the task iterator and lets a sampler try it, as the live screen does.
fn examine_tasks() -> Result<Result<(), Arc<str>>, String> {
    let options = proc::Options::default();
    let tasks = Tasks::load().map_err(|error| error.to_string())?;
    let kills = tasks.oom_kills().clone();
    let kills =
        kills.map_err(|why| format!("processes that are killed because memory is gone are not seen: {why}").into());
    let ends = tasks.ends().clone().map_err(|why| format!("short-lived ones are not counted: {why}").into()).and(kills);
    let sampler = Sampler::open(&options.root, &options.passwd, Timestamp::now());
    let mut sampler = sampler.map_err(|error| error.to_string())?;
    sampler.use_kernel(tasks).map_err(|error| error.to_string())?;
    Ok(ends)
}

fn tasks(examined: Result<Result<(), Arc<str>>, String>) -> Check {
    let name = "task iterator";
    match examined {
        Ok(Ok(())) => Check::ok(name, "it reads processes, and short-lived ones are counted"),
        Ok(Err(why)) => Check::not(
            name,
            State::Warning,
            format!("it reads processes, but {why}"),
            &["use a kernel with CONFIG_BPF_EVENTS=y"],
        ),
        Err(why) => Check::not(
            name,
            State::Warning,
            format!("processes are read from /proc, and short-lived ones are not counted: {why}"),
            &[
                "it needs Linux 5.15 or newer with CONFIG_DEBUG_INFO_BTF=y and CONFIG_BPF_EVENTS=y, and root on the host",
            ],
        ),
    }
}

fn programs(verified: Result<Vec<php::Verified>, php::KernelError>) -> Check {
    let name = "BPF programs";
    match verified {
        Err(error) => {
            let hint = match &error {
                php::KernelError::Permission { .. } => {
                    "run as root on the host; a container needs CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"
                }
                _ => "use a kernel with BPF and its ring buffer (5.8 or newer, CONFIG_BPF_SYSCALL=y)",
            };
            Check::not(name, State::Missing, error.to_string(), &[hint])
        }
        Ok(verified) => {
            let refused: Vec<_> = verified.iter().filter_map(|one| Some((&one.name, one.refused.as_ref()?))).collect();
            match refused.first() {
                None => Check::ok(name, format!("all {} are accepted by the kernel", verified.len())),
                Some((first, reason)) => Check::not(
                    name,
                    State::Missing,
                    format!("{} of {} are refused, {first}: {reason}", refused.len(), verified.len()),
                    &["please report this with the kernel release"],
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_release_decides_by_its_first_two_numbers() {
        for (release, state) in [
            ("6.18.44", State::Ok),
            ("5.15.0-91-generic", State::Ok),
            ("5.14.0-427.el9.x86_64", State::Warning),
            ("4.18.0", State::Warning),
            ("10.0-rc1", State::Ok),
            ("", State::Warning),
            ("weird", State::Warning),
        ] {
            assert_eq!(kernel(release).state, state, "{release}");
        }
    }

    #[test]
    fn lockdown_matters_only_when_it_hides_memory() {
        assert_eq!(lockdown(None).state, State::Ok);
        assert_eq!(lockdown(Some("[none] integrity confidentiality\n")).found, "none");
        assert_eq!(lockdown(Some("none [integrity] confidentiality\n")).state, State::Ok);
        let strict = lockdown(Some("none integrity [confidentiality]\n"));
        assert!(strict.state == State::Missing && strict.hint[0].contains("lockdown=integrity"));
        assert_eq!(lockdown(Some("garbage")).state, State::Warning);
    }

    #[test]
    fn whoever_lacks_rights_is_told_which_and_what_to_type() {
        let user = privileges(&["CAP_BPF", "CAP_PERFMON"], false);
        assert!(user.found.contains("CAP_BPF, CAP_PERFMON") && user.hint == ["sudo tusktop doctor"]);
        assert!(privileges(&["CAP_BPF"], true).hint[0].contains("--privileged"));
        assert_eq!(privileges(&[], true).state, State::Ok);
    }

    #[test]
    fn a_container_with_its_own_processes_is_said() {
        assert_eq!([true, false].map(|procfs| processes(procfs).state), [State::Ok, State::Missing]);
        assert_eq!(pid_namespace(PidNamespace::First).state, State::Ok);
        assert!(pid_namespace(PidNamespace::Inner).hint[0].contains("--pid=host"));
        assert_eq!(pid_namespace(PidNamespace::Foreign).state, State::Missing);
        assert_eq!(pid_namespace(PidNamespace::Unknown).state, State::Warning);
    }

    #[test]
    fn a_kernel_without_a_feature_is_named_by_what_it_lacks() {
        for (check, word) in [
            (btf(false), "CONFIG_DEBUG_INFO_BTF"),
            (perf_events(false), "CONFIG_PERF_EVENTS"),
            (uprobes(false), "CONFIG_UPROBE_EVENTS"),
        ] {
            assert!(check.state != State::Ok && check.hint[0].contains(word), "{check:?}");
        }
    }

    #[test]
    fn without_the_task_iterator_it_is_said_what_is_not_counted() {
        assert_eq!(tasks(Ok(Ok(()))).state, State::Ok);
        let ends = tasks(Ok(Err("short-lived ones are not counted: no such tracepoint".into())));
        assert!(
            ends.state == State::Warning && ends.found.contains("short-lived") && ends.found.contains("tracepoint")
        );
        let none = tasks(Err("no BTF".into()));
        assert!(none.state == State::Warning && none.found.contains("from /proc") && none.found.contains("no BTF"));
    }

    #[test]
    fn refused_programs_are_counted_and_the_first_is_quoted() {
        let one = |name: &str, refused: Option<&str>| php::Verified {
            name: name.to_owned(),
            refused: refused.map(str::to_owned),
        };
        assert_eq!(
            programs(Ok(vec![one("exec", None), one("sample", None)])).found,
            "all 2 are accepted by the kernel"
        );
        let some = programs(Ok(vec![one("exec", None), one("sample", Some("R5 !read_ok"))]));
        assert!(some.state == State::Missing && some.found == "1 of 2 are refused, sample: R5 !read_ok");
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        let none = programs(Err(php::KernelError::Permission { source: refused }));
        assert!(none.hint[0].contains("CAP_BPF"), "{none:?}");
    }
}
