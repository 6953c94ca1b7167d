//! Sends a signal to processes through pidfds (pidfd_open(2)), so that another process that reuses the pid is never hit.

use std::{fs, path::Path};

use rustix::{
    fd::{AsFd as _, OwnedFd},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal},
};

use crate::{
    collect::inspect::start_ticks,
    model::{Outcome, ProcessKey, Signal, SignalOrder, SignalReport},
    system::pid_namespace::pid_of,
};

/// Sends it to all processes of the order. `proc` is where procfs is mounted.
pub(crate) fn send(proc: &Path, order: &SignalOrder) -> SignalReport {
    let processes = order.target.processes.iter();
    let outcomes = processes.map(|process| (process.key.pid, send_to(proc, process.key, order.signal)));
    SignalReport { signal: order.signal, outcomes: outcomes.collect() }
}

fn send_to(proc: &Path, process: ProcessKey, signal: Signal) -> Outcome {
    let result = open(proc, process).and_then(|process| pidfd_send_signal(&process, kernel(signal)).map_err(outcome));
    result.err().unwrap_or(Outcome::Sent)
}

/// A descriptor for a process. The start time is compared after it is open: from then on it means the same process for good.
fn open(proc: &Path, process: ProcessKey) -> Result<OwnedFd, Outcome> {
    let expected = process.start_ticks.ok_or(Outcome::Unidentified)?;
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw).ok_or(Outcome::Ended)?;
    let descriptor = pidfd_open(pid, PidfdFlags::empty()).map_err(outcome)?;
    // In another pid namespace than that of /proc the same number is another process.
    match pid_of(proc, descriptor.as_fd()) {
        Some(number) if number == i64::from(process.pid) => {}
        Some(-1) => return Err(Outcome::Ended),
        _ => return Err(Outcome::Unidentified),
    }
    let stat = fs::read(proc.join(process.pid.to_string()).join("stat"));
    let stat = stat.map_err(|error| Errno::from_io_error(&error).map_or(Outcome::Unidentified, outcome))?;
    if start_ticks(&stat) == Some(expected) { Ok(descriptor) } else { Err(Outcome::Ended) }
}

fn outcome(errno: Errno) -> Outcome {
    match errno {
        // The last is what pidfd_open says of a pid that is a thread's by now.
        Errno::SRCH | Errno::NOENT | Errno::INVAL => Outcome::Ended,
        Errno::PERM | Errno::ACCESS => Outcome::Refused,
        errno => Outcome::Failed(errno.raw_os_error()),
    }
}

fn kernel(signal: Signal) -> rustix::process::Signal {
    use rustix::process::Signal as Kernel;
    match signal {
        Signal::Term => Kernel::TERM,
        Signal::Hup => Kernel::HUP,
        Signal::Int => Kernel::INT,
        Signal::Quit => Kernel::QUIT,
        Signal::Kill => Kernel::KILL,
        Signal::Usr1 => Kernel::USR1,
        Signal::Usr2 => Kernel::USR2,
        Signal::Stop => Kernel::STOP,
        Signal::Cont => Kernel::CONT,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::ExitStatusExt as _,
        process::{Child, Command},
        sync::Arc,
    };

    use super::*;
    use crate::model::{Chosen, SignalTarget, TargetProcess};

    const PROC: &str = "/proc";

    fn child() -> Child {
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    fn key(pid: u32) -> ProcessKey {
        let stat = fs::read(format!("{PROC}/{pid}/stat")).unwrap();
        ProcessKey { pid, start_ticks: Some(start_ticks(&stat).unwrap()) }
    }

    fn order(keys: &[ProcessKey], signal: Signal) -> SignalOrder {
        let process = |&key| TargetProcess {
            key,
            comm: "sleep".into(),
            cmdline: "sleep 1000".into(),
            user: "root".into(),
            pool: None,
        };
        let processes = keys.iter().map(process).collect();
        SignalOrder {
            target: Arc::new(SignalTarget { chosen: Chosen::Group("sleep".into()), processes, has_us: false }),
            signal,
        }
    }

    #[test]
    fn every_signal_has_the_number_that_the_kernel_gives_it() {
        for signal in Signal::ALL {
            assert_eq!(kernel(signal).as_raw(), signal.number(), "{signal}");
        }
    }

    #[test]
    fn a_process_gets_the_signal_that_was_chosen() {
        for signal in [Signal::Term, Signal::Kill, Signal::Usr1] {
            let mut child = child();
            let report = send(Path::new(PROC), &order(&[key(child.id())], signal));
            assert_eq!(report.outcomes, [(child.id(), Outcome::Sent)]);
            assert_eq!(child.wait().unwrap().signal(), Some(signal.number()));
            assert_eq!(report.sentence(), format!("sent {} to {}", signal.name(), child.id()));
        }
    }

    #[test]
    fn a_process_that_started_at_another_time_is_another_process() {
        let mut child = child();
        let ProcessKey { pid, start_ticks } = key(child.id());
        let earlier = ProcessKey { pid, start_ticks: start_ticks.map(|ticks| ticks - 1) };
        let unknown = ProcessKey { pid, start_ticks: None };
        let report = send(Path::new(PROC), &order(&[earlier, unknown], Signal::Kill));
        assert_eq!(report.outcomes, [(pid, Outcome::Ended), (pid, Outcome::Unidentified)]);
        assert!(child.try_wait().unwrap().is_none(), "it still runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn where_the_number_is_not_known_to_proc_nothing_is_sent() {
        let mut child = child();
        let key = key(child.id());
        let folder = tempfile::tempdir().unwrap();
        let report = send(folder.path(), &order(&[key], Signal::Kill));
        assert_eq!(report.outcomes, [(key.pid, Outcome::Unidentified)]);
        assert!(child.try_wait().unwrap().is_none(), "it still runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn those_that_ended_are_counted_and_the_others_get_it() {
        let (mut ended, mut one, mut other) = (child(), child(), child());
        let keys = [key(ended.id()), key(one.id()), key(other.id())];
        ended.kill().unwrap();
        ended.wait().unwrap();
        let report = send(Path::new(PROC), &order(&keys, Signal::Term));
        assert_eq!(report.sentence(), "sent TERM to 2 of 3; 1 had ended");
        for child in [&mut one, &mut other] {
            assert_eq!(child.wait().unwrap().signal(), Some(15));
        }
    }

    #[test]
    fn a_start_time_that_cannot_be_read_sends_nothing() {
        let mut child = child();
        // A /proc that knows the descriptor, and no such process.
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/proc/self", folder.path().join("self")).unwrap();
        let report = send(folder.path(), &order(&[key(child.id())], Signal::Kill));
        assert_eq!(report.sentence(), format!("KILL was not sent to {}: had ended", child.id()));
        assert!(child.try_wait().unwrap().is_none(), "it still runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
