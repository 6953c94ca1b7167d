//! The processes that started PHP: their settings at the start, and why they cannot be traced exactly. `runtime` reads their
//! memory, `advice` knows what to type.

use std::{io, path::PathBuf, sync::Arc};

use super::{
    advice::{self, Advice, Facts},
    discover::{self, Found},
    runtime::{self, Runtime},
};
use crate::{
    collect::{
        php::{image::Image, tier},
        proc::cgroup::Membership,
        procfs::Procfs,
        reads::Reads,
    },
    model::Master,
};

/// Masters of one image that a snapshot lists.
const LISTED: usize = 32;
/// Bytes of a cgroup file that are read.
const CGROUP: u64 = 64 << 10;
/// Bytes of a name that are read; the kernel keeps 15.
const COMM: u64 = 64;

/// What the files of a master show.
#[derive(Default)]
struct Shown {
    runtime: Runtime,
    /// Where it has the image.
    bias: Option<u64>,
    cgroup: Vec<u8>,
    program: Option<PathBuf>,
    /// Name of its parent.
    parent: Option<String>,
}

impl Shown {
    fn read(procfs: &Procfs, pid: u32, image: &Image, inode: u64) -> Self {
        let (runtime, bias) = Runtime::read(procfs, pid, image, inode);
        Self {
            runtime,
            bias,
            // Without it the advice is for a program that somebody has started by hand.
            cgroup: procfs.bytes(pid, "cgroup", CGROUP).unwrap_or_default(),
            program: discover::executable(procfs, pid).ok(),
            parent: procfs.parent(pid).and_then(|parent| procfs.text(parent, "comm", COMM).ok()),
        }
    }
}

/// Reads what a master shows of itself; the second value says that it is only just starting.
///
/// # Errors
/// Its files do not answer.
pub(crate) fn read(reads: &mut Reads, pid: u32, found: &Found, script: Option<&str>) -> io::Result<(Master, bool)> {
    let (image, inode) = (Arc::clone(&found.image), found.inode());
    let shown = reads.of(pid, move |procfs| Ok(Shown::read(procfs, pid, &image, inode)))?;
    let mut shown = shown;
    shown.runtime.read_memory(&found.image, shown.bias, |address, bytes| reads.memory(pid, address, bytes));
    let starting = shown.runtime.starting;
    Ok((of(pid, found, script, shown), starting))
}

/// A master that does not answer: nothing is known of it but what it runs.
pub(crate) fn silent(pid: u32, found: &Found, script: Option<&str>) -> Master {
    let runtime = Runtime { unknown: runtime::SILENT.to_owned(), ..Runtime::default() };
    of(pid, found, script, Shown { runtime, ..Shown::default() })
}

fn of(pid: u32, found: &Found, script: Option<&str>, shown: Shown) -> Master {
    let Shown { runtime, cgroup, program, parent, .. } = shown;
    let membership = Membership::parse(&cgroup);
    let program = program.unwrap_or_else(|| found.path.clone());
    let Advice { reason, hint } = match tier::exact::status::traceable(&found.image) {
        Err(unusable) => unusable,
        Ok(()) => advice::exact(&Facts {
            sapi: found.image.sapi,
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
    Master {
        pid,
        dtrace: runtime.dtrace,
        variable: runtime.variable,
        opcache: runtime.opcache,
        jit: runtime.jit,
        unit: membership.unit.map(Arc::from),
        container: membership.container.map(Arc::from),
        reason,
        hint,
    }
}

/// Cuts a list to what a snapshot holds, and returns how many it lost.
pub(crate) fn bound(masters: &mut Vec<Master>) -> u32 {
    let lost = masters.len().saturating_sub(LISTED);
    masters.truncate(LISTED);
    lost as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::{
        php::image::{Image, sapi::Sapi},
        procfs::fake::Fake,
    };

    #[test]
    fn a_list_of_masters_is_cut_and_says_how_many_it_lost() {
        let mut masters: Vec<_> = (1..=40).map(|pid| Master { pid, ..Master::default() }).collect();
        assert_eq!((bound(&mut masters), masters.len()), (8, 32));
    }

    #[test]
    fn a_master_is_read_with_its_unit_and_the_shell_that_started_it() {
        let fake = Fake::new();
        fake.process(3, "bash", 1).process(7, "php-fpm8.2", 3);
        fake.write(7, "cgroup", "0::/system.slice/php8.2-fpm.service\n").write(7, "environ", "HOME=/\0");
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let found =
            Found::new("/usr/sbin/php-fpm8.2".as_ref(), file, Image { sapi: Sapi::Fpm, ..Image::default() }).unwrap();
        let mut reads = Reads::new(fake.procfs.clone(), PathBuf::new());
        let (master, starting) = read(&mut reads, 7, &found, None).unwrap();
        assert_eq!((master.pid, master.variable, master.unit.as_deref()), (7, Some(false), Some("php8.2-fpm.service")));
        assert!(!starting && master.dtrace.is_none() && !master.reason.is_empty(), "{master:?}");
        let (gone, _) = read(&mut reads, 8, &found, None).unwrap();
        assert_eq!((gone.unit, gone.variable, gone.opcache), (None, None, None));
    }
}
