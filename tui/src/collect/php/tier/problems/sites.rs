//! Which sites of an image show exceptions, errors and compiled files: exported functions if they tell more than the USDT
//! probes, else the probes.

use tusktop_shared::{
    ARGUMENTS, Operand, SITE_CATCH, SITE_COMPILE, SITE_COMPILE_PATH, SITE_COMPILE_TEXT, SITE_ERROR, SITE_ERROR_TEXT,
    SITE_THROWN, SITE_THROWN_CLASS, SITE_THROWN_VALUE, SITE_UNCAUGHT,
};

use crate::{
    collect::php::{
        image::{
            Image,
            operand::Architecture,
            sites::ProbeSite,
            versions::{V7_4, V8_0, V8_1, Version},
        },
        tier::{Missing, TierSites},
    },
    model::SeenBy,
};

/// Where exceptions are thrown, and where uncaught ones end.
///
/// # Errors
/// Why they cannot be seen.
pub(crate) fn exceptions(image: &Image) -> Result<TierSites, Missing> {
    // An exception has its fields at the same places in all versions that are known, with threads or without.
    if let (Some(version), Some(thrown)) = (known(image), image.sites.function("zend_throw_exception_internal")) {
        let kind = if version < V8_0 { SITE_THROWN_VALUE } else { SITE_THROWN };
        let mut sites = vec![(kind, with_arguments(thrown, &[0])?)];
        let uncaught = image.sites.function("zend_exception_error");
        let limit = if uncaught.is_some() {
            ""
        } else {
            "uncaught exceptions are not seen: zend_exception_error is not exported"
        };
        if let Some(uncaught) = uncaught {
            sites.push((SITE_UNCAUGHT, with_arguments(uncaught, &[0, 1])?));
        }
        return Ok(TierSites { seen_by: SeenBy::Symbol, program: "exception", sites, limit });
    }
    let thrown = image.sites.probe("exception__thrown")?;
    if thrown.is_empty() {
        return Err(missing(image, "zend_throw_exception_internal", "exception__thrown"));
    }
    let mut sites: Vec<_> = thrown.into_iter().map(|site| (SITE_THROWN_CLASS, site)).collect();
    if let (Some(_), Some(uncaught)) = (known(image), image.sites.function("zend_exception_error")) {
        sites.push((SITE_UNCAUGHT, with_arguments(uncaught, &[0, 1])?));
    }
    let limit = "only classes are known; messages need the function zend_throw_exception_internal";
    Ok(TierSites { seen_by: SeenBy::Usdt, program: "exception", sites, limit })
}

/// Where a `catch` looks at an exception; nothing when there is no such probe, or when the place cannot be read.
pub(crate) fn catches(image: &Image) -> Option<TierSites> {
    let readable = image.offsets.is_some() && image.has_globals();
    let sites = image.sites.probe("exception__caught").ok().filter(|sites| readable && !sites.is_empty())?;
    let sites = sites.into_iter().map(|site| (SITE_CATCH, site)).collect();
    Some(TierSites { seen_by: SeenBy::Usdt, program: "caught", sites, limit: "" })
}

/// Where errors are raised.
///
/// # Errors
/// Why they cannot be seen.
pub(crate) fn errors(image: &Image) -> Result<TierSites, Missing> {
    let version = known(image);
    if let (Some(version), Some(raised)) = (version, image.sites.function("zend_error_zstr_at"))
        && version >= V8_1
    {
        // Message, file, line, level, in the order of the probe, which has no level.
        let sites = vec![(SITE_ERROR, with_arguments(raised, &[3, 1, 2, 0])?)];
        let limit = if image.has_globals() { "" } else { "silenced errors are not marked: its globals are not found" };
        return Ok(TierSites { seen_by: SeenBy::Symbol, program: "error", sites, limit });
    }
    let raised = image.sites.probe("error")?;
    match version {
        _ if raised.is_empty() => Err(missing(image, "zend_error_zstr_at (PHP 8.1 or newer)", "error")),
        // From 8.0 on the probe hangs on a list that PHP empties again while it starts (8.0 to 8.2), or fires only with
        // USE_ZEND_DTRACE=1: nothing seen would not mean that nothing happened.
        Some(version) if version < V8_0 => Ok(TierSites {
            seen_by: SeenBy::Usdt,
            program: "error",
            sites: raised.into_iter().map(|site| (SITE_ERROR_TEXT, site)).collect(),
            limit: "levels are not known, and silenced errors are not marked",
        }),
        _ => Err(Missing::Unreliable),
    }
}

/// Where files are compiled.
///
/// # Errors
/// Why they cannot be seen.
pub(crate) fn compiles(image: &Image) -> Result<TierSites, Missing> {
    if let (Some(version), Some(compile)) = (known(image), image.sites.function("compile_file"))
        && version >= V7_4
    {
        let kind = if version >= V8_1 { SITE_COMPILE } else { SITE_COMPILE_TEXT };
        let sites = vec![(kind, with_arguments(compile, &[0])?)];
        return Ok(TierSites { seen_by: SeenBy::Symbol, program: "compile", sites, limit: "" });
    }
    let compile = image.sites.probe("compile__file__return")?;
    if compile.is_empty() {
        return Err(missing(image, "compile_file", "compile__file__return"));
    }
    let sites = compile.into_iter().map(|site| (SITE_COMPILE_PATH, site)).collect();
    let limit = "only processes that were started with USE_ZEND_DTRACE=1 are seen";
    Ok(TierSites { seen_by: SeenBy::Usdt, program: "compile", sites, limit })
}

/// The version, when its structures are known.
fn known(image: &Image) -> Option<Version> {
    image.version.as_deref().and_then(Version::parse).filter(|_| image.offsets.is_some())
}

fn missing(image: &Image, function: &'static str, probe: &'static str) -> Missing {
    match known(image) {
        None => Missing::LayoutAndProbe(probe),
        Some(_) => Missing::Sites { function, probe },
    }
}

/// A plain function with the registers of its arguments, in the order given.
fn with_arguments(site: &ProbeSite, order: &[usize]) -> Result<ProbeSite, Missing> {
    let architecture = Architecture::current().ok_or(Missing::Architecture)?;
    let mut arguments = [Operand::default(); ARGUMENTS];
    for (slot, &number) in arguments.iter_mut().zip(order) {
        *slot = architecture.function_argument(number);
    }
    Ok(ProbeSite { arguments, ..site.clone() })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::collect::php::image::{
        notes::Note,
        sites::{Segment, Segments, Sites},
        versions,
    };

    fn image(version: &str, functions: &[&'static str], probes: &[&str]) -> Image {
        let segments = Segments::new([Segment { address: 0, offset: 0, size: 1 << 20 }]);
        let note = |probe: &&str| Note {
            provider: "php".to_owned(),
            probe: (*probe).to_owned(),
            location: 16,
            base: 0,
            semaphore: 0,
            arguments: "8@%rax".to_owned(),
        };
        let notes: Vec<_> = probes.iter().map(note).collect();
        let symbols: HashMap<_, _> = functions.iter().map(|name| (*name, 32)).collect();
        Image {
            version: Some(version.to_owned()),
            offsets: Version::parse(version).and_then(versions::of),
            executor_globals: Some(64),
            sites: Sites::new(&notes, 0, &symbols, &segments),
            ..Image::default()
        }
    }

    fn kinds(sites: Result<TierSites, Missing>) -> (SeenBy, Vec<u32>) {
        let sites = sites.unwrap();
        (sites.seen_by, sites.sites.iter().map(|(kind, _)| *kind).collect())
    }

    const FUNCTIONS: [&str; 4] =
        ["zend_throw_exception_internal", "zend_exception_error", "zend_error_zstr_at", "compile_file"];
    const PROBES: [&str; 4] = ["exception__thrown", "exception__caught", "error", "compile__file__return"];

    #[test]
    fn functions_are_preferred_because_they_say_more() {
        let image = image("8.2.36", &FUNCTIONS, &PROBES);
        assert_eq!(kinds(exceptions(&image)), (SeenBy::Symbol, vec![SITE_THROWN, SITE_UNCAUGHT]));
        assert_eq!(kinds(errors(&image)), (SeenBy::Symbol, vec![SITE_ERROR]));
        assert_eq!(kinds(compiles(&image)), (SeenBy::Symbol, vec![SITE_COMPILE]));
        assert!(catches(&image).is_some() && errors(&image).unwrap().limit.is_empty());
    }

    #[test]
    fn an_unknown_version_is_seen_by_its_probes_or_not_at_all() {
        let with = image("9.1.0", &FUNCTIONS, &PROBES);
        assert_eq!(kinds(exceptions(&with)), (SeenBy::Usdt, vec![SITE_THROWN_CLASS]));
        assert_eq!(kinds(compiles(&with)), (SeenBy::Usdt, vec![SITE_COMPILE_PATH]));
        assert!(catches(&with).is_none());
        let without = image("9.1.0", &FUNCTIONS, &[]);
        assert!(exceptions(&without).unwrap_err().to_string().contains("version is not known"));
        assert!(errors(&without).is_err() && compiles(&without).is_err());
    }

    #[test]
    fn each_version_is_read_in_its_own_way() {
        let old = image("7.4.33", &FUNCTIONS, &PROBES);
        assert_eq!(kinds(exceptions(&old)).1, [SITE_THROWN_VALUE, SITE_UNCAUGHT]);
        assert_eq!(kinds(errors(&old)), (SeenBy::Usdt, vec![SITE_ERROR_TEXT]));
        assert_eq!(kinds(compiles(&old)).1, [SITE_COMPILE_TEXT]);
        assert_eq!(kinds(compiles(&image("7.3.1", &FUNCTIONS, &PROBES))).0, SeenBy::Usdt);
        assert!(errors(&image("8.0.30", &[], &PROBES)).unwrap_err().to_string().contains("not fire reliably"));
    }

    #[test]
    fn arguments_are_in_the_registers_of_the_calling_convention() {
        let operands = |architecture: Architecture| [0, 1, 2, 3].map(|n| architecture.function_argument(n).register);
        assert_eq!(operands(Architecture::X86_64), [112, 104, 96, 88]);
        assert_eq!(operands(Architecture::Aarch64), [0, 8, 16, 24]);
    }
}
