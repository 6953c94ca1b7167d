//! Whether the calls of an image can be traced, which depends on the image and on how its processes were started.

use super::sites;
use crate::{
    collect::php::{
        VARIABLE,
        find::advice::{self, Advice},
        image::Image,
        tier::Missing,
    },
    model::{ExactKind, Master, TierStatus},
};

/// Pids that a reason names.
const NAMED: usize = 5;

/// Whether functions of an image can be traced at all, whatever its processes were started with.
///
/// # Errors
/// Why not, and whose builds can.
pub(crate) fn traceable(image: &Image) -> Result<(), Advice> {
    match sites::of(&image.sites, ExactKind::Functions) {
        Ok(_) if image.zts => Err(Advice { reason: Missing::TracedThreads.to_string(), hint: Vec::new() }),
        Ok(_) => Ok(()),
        Err(Missing::Probe(_)) if !image.sites.has_probes() => Err(advice::without_probes()),
        Err(missing) => Err(Advice { reason: missing.to_string(), hint: Vec::new() }),
    }
}

/// The status for an image whose processes have these masters.
pub(crate) fn of(image: &Image, masters: &[Master]) -> TierStatus {
    if let Err(Advice { reason, hint }) = traceable(image) {
        return TierStatus::unavailable(reason).with_hint(hint);
    }
    let not: Vec<&Master> = masters.iter().filter(|master| master.dtrace != Some(true)).collect();
    let Some(first) = not.first() else {
        // Where nothing runs, all depends on how it will be started.
        return match masters.is_empty() {
            true => TierStatus::off(format_args!("on demand, for PHP started with {VARIABLE}=1")),
            false => TierStatus::off("on demand"),
        };
    };
    let named: Vec<String> = not.iter().take(NAMED).map(|master| master.pid.to_string()).collect();
    let more = if not.len() > NAMED { format!(" and {} more", not.len() - NAMED) } else { String::new() };
    let reason = format!("pid {}{more}: {}", named.join(", "), first.reason);
    let status = match not.len() == masters.len() {
        true => TierStatus::unavailable(reason),
        false => TierStatus::off(format_args!("on demand, but not for {reason}")),
    };
    status.with_hint(first.hint.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{
        collect::php::image::{
            notes::Note,
            sites::{Segment, Segments, Sites},
        },
        model::TierState,
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
        let both = of(&image, &[master(7, Some(true)), master(9, Some(false))]);
        assert_eq!(both.state, TierState::Off);
        assert!(both.reason.contains("pid 9: not started so") && !both.reason.contains('7'), "{}", both.reason);
        assert_eq!(both.hint, ["restart 9"]);
        assert_eq!(of(&image, &[master(7, Some(true))]).reason, "on demand");
        for dtrace in [Some(false), None] {
            assert_eq!(of(&image, &[master(9, dtrace)]).state, TierState::Unavailable);
        }
        let idle = of(&image, &[]);
        assert!(idle.state == TierState::Off && idle.reason.contains("USE_ZEND_DTRACE=1"));
    }

    #[test]
    fn a_build_without_probes_and_one_with_strange_probes_say_so_whatever_runs() {
        let running = [master(7, Some(true))];
        assert!(of(&Image::default(), &running).reason.contains("no USDT probes"));
        let strange = of(&image("8@%nonsense"), &running);
        assert!(strange.state == TierState::Unavailable && strange.reason.contains("function__entry"), "{strange:?}");
    }

    #[test]
    fn many_masters_are_counted_and_the_first_named() {
        let masters: Vec<_> = (1..=40).map(|pid| master(pid, Some(false))).collect();
        let reason = of(&image(""), &masters).reason;
        assert!(reason.starts_with("pid 1, 2, 3, 4, 5 and 35 more: "), "{reason}");
    }
}
