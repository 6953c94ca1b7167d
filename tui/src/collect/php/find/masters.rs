//! The processes that started PHP themselves: what they were started with, and whether the exact tier works for them.
//! Reading their memory is `runtime`'s matter, what to type is `advice`'s.

use std::sync::Arc;

use super::{
    advice::{self, Advice, Facts},
    discover::{self, Found},
    runtime::{Runtime, VARIABLE},
};
use crate::{
    collect::{php::image::Image, proc::cgroup::Membership, procfs::Procfs},
    model::{ExactTier, Master, TierState},
};

/// Masters of one image that a snapshot lists.
const LISTED: usize = 32;
/// Pids that a reason names.
const NAMED: usize = 5;
/// Bytes of a cgroup file that are read.
const CGROUP: u64 = 64 << 10;
/// Bytes of a name that are read; the kernel keeps 15.
const COMM: u64 = 64;

/// Reads what a master shows of itself; the second value says that it is only just starting.
pub fn read(procfs: &Procfs, pid: u32, found: &Found, script: Option<&str>) -> (Master, bool) {
    let runtime = Runtime::read(procfs, pid, &found.image, found.inode().unwrap_or(0));
    // Without it the advice is for a program that somebody has started by hand.
    let cgroup = procfs.bytes(pid, "cgroup", CGROUP).unwrap_or_default();
    let membership = Membership::parse(&cgroup);
    let program = discover::executable(procfs, pid).unwrap_or_else(|_| found.path.clone());
    let parent = procfs.parent(pid).and_then(|parent| procfs.text(parent, "comm", COMM).ok());
    let Advice { reason, hint } = match functions(&found.image) {
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

/// Whether functions of an image can be traced at all, whatever its processes were started with.
fn functions(image: &Image) -> Result<(), Advice> {
    for probe in ["function__entry", "function__return"] {
        match image.sites.probe(probe) {
            Ok(sites) if sites.is_empty() && image.sites.has_probes() => {
                return Err(Advice { reason: format!("it has no probe {probe}"), hint: Vec::new() });
            }
            Ok(sites) if sites.is_empty() => return Err(advice::without_probes()),
            Ok(_) => {}
            Err(reason) => return Err(Advice { reason, hint: Vec::new() }),
        }
    }
    Ok(())
}

/// State of the exact tier of an image whose processes have these masters.
pub fn exact(image: &Image, masters: &[Master]) -> ExactTier {
    let unavailable = |reason, hint| ExactTier { state: TierState::Unavailable, reason, hint };
    if let Err(Advice { reason, hint }) = functions(image) {
        return unavailable(reason, hint);
    }
    let not: Vec<&Master> = masters.iter().filter(|master| master.dtrace != Some(true)).collect();
    let Some(first) = not.first() else {
        // Where nothing runs, nothing stands in its way but how it will be started.
        let reason = match masters.is_empty() {
            true => format!("on demand, for what is started with {VARIABLE}=1"),
            false => "on demand".to_owned(),
        };
        return ExactTier { state: TierState::Off, reason, hint: Vec::new() };
    };
    let named: Vec<String> = not.iter().take(NAMED).map(|master| master.pid.to_string()).collect();
    let more = if not.len() > NAMED { format!(" and {} more", not.len() - NAMED) } else { String::new() };
    let reason = format!("pid {}{more}: {}", named.join(", "), first.reason);
    if not.len() == masters.len() {
        return unavailable(reason, first.hint.clone());
    }
    ExactTier { state: TierState::Off, reason: format!("on demand, but not for {reason}"), hint: first.hint.clone() }
}

/// Cuts a list to what a snapshot holds, and returns how many it lost.
pub fn bound(masters: &mut Vec<Master>) -> u32 {
    let lost = masters.len().saturating_sub(LISTED);
    masters.truncate(LISTED);
    lost as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::collect::{
        php::{
            find::discover::Sapi,
            image::{
                notes::Note,
                sites::{Segment, Segments, Sites},
            },
        },
        procfs::fake::Fake,
    };

    fn image(arguments: &str) -> Image {
        let note = |probe: &str| Note {
            provider: "php".to_owned(),
            probe: probe.to_owned(),
            location: 0x10,
            base: 0,
            semaphore: 0,
            arguments: arguments.to_owned(),
        };
        let segments = Segments::new([Segment { address: 0, offset: 0, size: 0x1000 }]);
        let notes = [note("function__entry"), note("function__return")];
        Image { sites: Sites::new(&notes, 0, &HashMap::new(), &segments), ..Image::default() }
    }

    fn master(pid: u32, dtrace: Option<bool>) -> Master {
        let (reason, hint) = match dtrace {
            Some(true) => (String::new(), Vec::new()),
            _ => ("not started so".to_owned(), vec![format!("restart {pid}")]),
        };
        Master { pid, dtrace, reason, hint, ..Master::default() }
    }

    #[test]
    fn masters_of_one_image_that_differ_are_told_apart() {
        let image = image("");
        let both = exact(&image, &[master(7, Some(true)), master(9, Some(false))]);
        assert_eq!(both.state, TierState::Off);
        assert!(both.reason.contains("pid 9: not started so") && !both.reason.contains('7'), "{}", both.reason);
        assert_eq!(both.hint, ["restart 9"]);
        assert_eq!(exact(&image, &[master(7, Some(true))]).reason, "on demand");
        for dtrace in [Some(false), None] {
            assert_eq!(exact(&image, &[master(9, dtrace)]).state, TierState::Unavailable);
        }
        let idle = exact(&image, &[]);
        assert!(idle.state == TierState::Off && idle.reason.contains("USE_ZEND_DTRACE=1"));
    }

    #[test]
    fn a_build_without_probes_and_one_with_strange_probes_say_so_whatever_runs() {
        let running = [master(7, Some(true))];
        assert!(exact(&Image::default(), &running).reason.contains("no USDT probes"));
        let strange = exact(&image("8@%nonsense"), &running);
        assert!(strange.state == TierState::Unavailable && strange.reason.contains("function__entry"), "{strange:?}");
    }

    #[test]
    fn many_masters_are_counted_and_the_first_named() {
        let mut masters: Vec<_> = (1..=40).map(|pid| master(pid, Some(false))).collect();
        let tier = exact(&image(""), &masters);
        assert!(tier.reason.starts_with("pid 1, 2, 3, 4, 5 and 35 more: "), "{}", tier.reason);
        assert_eq!((bound(&mut masters), masters.len()), (8, 32));
    }

    #[test]
    fn a_master_is_read_with_its_unit_and_the_shell_that_started_it() {
        let fake = Fake::new();
        fake.process(3, "bash", 1).process(7, "php-fpm8.2", 3);
        fake.write(7, "cgroup", "0::/system.slice/php8.2-fpm.service\n").write(7, "environ", "HOME=/\0");
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let found = Found::new("/usr/sbin/php-fpm8.2".into(), file, Sapi::Fpm, image(""));
        let (master, starting) = read(&fake.procfs, 7, &found, None);
        assert_eq!((master.pid, master.variable, master.unit.as_deref()), (7, Some(false), Some("php8.2-fpm.service")));
        assert!(!starting && master.dtrace.is_none() && !master.reason.is_empty(), "{master:?}");
        let (gone, _) = read(&fake.procfs, 8, &found, None);
        assert_eq!((gone.unit, gone.variable, gone.opcache), (None, None, None));
    }
}
