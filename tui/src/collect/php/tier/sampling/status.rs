//! Whether stacks are sampled, and of which images they can be read.

use crate::{
    collect::php::{image::Image, kernel::Kernel, tier::Missing},
    model::{SeenBy, TierState, TierStatus},
};

/// Starts the timers, where the programs are loaded and `hz` is not 0.
pub(crate) fn start(kernel: Option<&mut Kernel>, hz: u32) -> TierStatus {
    match kernel {
        _ if hz == 0 => TierStatus::off("switched off by --hz 0"),
        None => Missing::Programs.status(),
        Some(kernel) => match kernel.sample(hz) {
            Ok(()) => TierStatus { hz: Some(hz), ..TierStatus::on(SeenBy::Timer) },
            Err(error) => Missing::from(error).status(),
        },
    }
}

/// The status for one image of a tier that walks stacks, from its status on this machine.
pub(crate) fn of(machine: &TierStatus, image: &Image) -> TierStatus {
    match readable(image) {
        Err(missing) if machine.state == TierState::On => missing.status(),
        _ => machine.clone(),
    }
}

/// Whether stacks of an image can be walked.
fn readable(image: &Image) -> Result<(), Missing> {
    if image.zts && !image.has_globals() {
        Err(Missing::Threads)
    } else if !image.has_globals() {
        Err(Missing::Globals)
    } else if image.offsets.is_none() {
        Err(image.version.clone().map_or(Missing::Version, Missing::Layout))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::php::image::versions::{self, Version};

    #[test]
    fn an_image_whose_stacks_cannot_be_read_says_why_and_which_can() {
        let on = TierStatus { hz: Some(99), ..TierStatus::on(SeenBy::Timer) };
        let known = Image {
            version: Some("8.2.36".to_owned()),
            offsets: Version::parse("8.2.36").and_then(versions::of),
            executor_globals: Some(64),
            ..Image::default()
        };
        assert_eq!(of(&on, &known), on);
        let unknown = of(&on, &Image { version: Some("9.0.0".to_owned()), offsets: None, ..known.clone() });
        assert_eq!((unknown.state, unknown.hz), (TierState::Unavailable, None));
        assert!(unknown.reason.contains("PHP 9.0.0 is not known") && unknown.hint[0].contains("7.0 to 8.5"));
        assert!(of(&on, &Image { zts: true, ..known.clone() }).reason.contains("ZTS"));
        let off = TierStatus::off("switched off by --hz 0");
        assert_eq!(of(&off, &Image { zts: true, ..known }), off, "nothing is missing that was not asked for");
    }
}
