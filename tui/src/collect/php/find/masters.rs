//! The processes that started PHP themselves: what they were started with, and what keeps them from being traced
//! exactly. Reading their memory is `runtime`'s matter, what to type is `advice`'s.

use std::{
    fs::{self, File},
    io::Read as _,
    sync::Arc,
};

use super::{
    advice::{self, Advice, Facts},
    discover::{self, Found},
    runtime::Runtime,
};
use crate::{
    collect::{php::tier, proc::cgroup::Membership},
    model::Master,
};

/// Masters of one image that a snapshot lists.
const LISTED: usize = 32;
/// Bytes of a cgroup file that are read.
const CGROUP: u64 = 64 << 10;

/// Parent of a process.
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Reads what a master shows of itself; the second value says that it is only just starting.
pub fn read(pid: u32, found: &Found, script: Option<&str>) -> (Master, bool) {
    let runtime = Runtime::read(pid, &found.image, found.inode().unwrap_or(0));
    let mut cgroup = Vec::new();
    // Without it the advice is for a program that somebody has started by hand.
    let _ = File::open(format!("/proc/{pid}/cgroup")).and_then(|file| file.take(CGROUP).read_to_end(&mut cgroup));
    let membership = Membership::parse(&cgroup);
    let program = discover::executable(pid).unwrap_or_else(|_| found.path.clone());
    let parent = parent(pid).and_then(|parent| fs::read_to_string(format!("/proc/{parent}/comm")).ok());
    let Advice { reason, hint } = match tier::exact::status::traceable(&found.image) {
        Err(unusable) => unusable,
        Ok(()) => advice::exact(&Facts {
            sapi: found.sapi,
            program: &program,
            dtrace: runtime.dtrace,
            unknown: &runtime.unknown,
            unit: membership.unit,
            of_user: memchr::memmem::find(&cgroup, b"/user@").is_some(),
            container: membership.container,
            parent: parent.as_deref().unwrap_or_default(),
            script,
        }),
    };
    let master = Master {
        pid,
        dtrace: runtime.dtrace,
        variable: runtime.variable,
        opcache: runtime.opcache,
        jit: runtime.jit,
        unit: membership.unit.map(Arc::from),
        container: membership.container.map(Arc::from),
        reason,
        hint,
    };
    (master, runtime.starting)
}

/// Cuts a list to what a snapshot holds, and returns how many it lost.
pub fn bound(masters: &mut Vec<Master>) -> u32 {
    let lost = masters.len().saturating_sub(LISTED);
    masters.truncate(LISTED);
    lost as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_masters_is_cut_and_says_how_many_it_lost() {
        let mut masters: Vec<_> = (1..=40).map(|pid| Master { pid, ..Master::default() }).collect();
        assert_eq!((bound(&mut masters), masters.len()), (8, 32));
    }

    #[test]
    fn the_parent_of_this_test_is_found() {
        assert_eq!(parent(std::process::id()), Some(std::os::unix::process::parent_id()));
        assert_eq!(parent(u32::MAX), None);
    }
}
