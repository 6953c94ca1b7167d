//! Where requests start and end: USDT probes if the image has them, else exported functions.

use tusktop_shared::{SITE_SHUTDOWN, SITE_SHUTDOWN_HEAP, SITE_STARTUP};

use crate::{
    collect::php::{
        image::{Image, sites::ProbeSite},
        tier::{Missing, TierSites},
    },
    model::SeenBy,
};

/// What `php_request_shutdown` calls once a request, the last one first (main/main.c); it is called by itself where none of
/// them is exported. When the first two are called, the shutdown functions and destructors have run, the output is sent, and the
/// status is still there. At other times, such as when PHP itself starts and ends, no request is there that could end.
const ENDS: [&str; 4] =
    ["shutdown_memory_manager", "zend_interned_strings_deactivate", "zend_deactivate", "php_request_shutdown"];

/// Where requests start and end.
///
/// # Errors
/// Why they cannot be seen.
pub(crate) fn of(image: &Image) -> Result<TierSites, Missing> {
    let probe = |name| image.sites.probe(name);
    let probes = probe("request__startup").and_then(|startup| Ok((startup, probe("request__shutdown")?)));
    let missing = match probes {
        Ok((startup, shutdown)) if !startup.is_empty() && !shutdown.is_empty() => {
            return Ok(sites(SeenBy::Usdt, startup, (SITE_SHUTDOWN, shutdown)));
        }
        Ok(_) => Missing::Requests,
        Err(unusable) => unusable.into(),
    };
    let function = |name| image.sites.function(name).cloned();
    // PHP's allocator still has the memory of the request there.
    let end = ENDS.iter().find_map(|&name| Some((SITE_SHUTDOWN_HEAP, vec![function(name)?])));
    match (function("php_request_startup"), end) {
        // A plain function has no arguments that say what the request is.
        (Some(_), Some(_)) if image.zts && image.thread_storage.is_none() => Err(Missing::Threads),
        (Some(startup), Some(end)) if image.sapi_globals.is_some() => Ok(sites(SeenBy::Symbol, vec![startup], end)),
        _ => Err(missing),
    }
}

fn sites(seen_by: SeenBy, startup: Vec<ProbeSite>, (kind, shutdown): (u32, Vec<ProbeSite>)) -> TierSites {
    // The end first: a start that is seen always has its end seen.
    let ends = shutdown.into_iter().map(|site| (kind, site));
    let sites = ends.chain(startup.into_iter().map(|site| (SITE_STARTUP, site))).collect();
    TierSites { seen_by, program: "request", sites, limit: "" }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::collect::php::image::{
        notes::Note,
        sites::{Segment, Segments, Sites},
    };

    fn image(notes: &[Note], symbols: &[&'static str]) -> Image {
        let segments = Segments::new([Segment { address: 0, offset: 0, size: 0x1000 }]);
        let symbols: HashMap<_, _> = symbols.iter().map(|name| (*name, 0x10)).collect();
        let sapi_globals = symbols.get("sapi_globals").copied();
        Image { sites: Sites::new(notes, 0, &symbols, &segments), sapi_globals, ..Image::default() }
    }

    fn note(probe: &str, arguments: &str) -> Note {
        Note {
            provider: "php".to_owned(),
            probe: probe.to_owned(),
            location: 0x20,
            base: 0,
            semaphore: 0,
            arguments: arguments.to_owned(),
        }
    }

    #[test]
    fn requests_are_seen_by_functions_where_there_are_no_probes() {
        let symbols = ["php_request_startup", "php_request_shutdown", "sapi_globals"];
        assert_eq!(of(&image(&[], &symbols)).unwrap().seen_by, SeenBy::Symbol);
        let kinds = |image| of(&image).unwrap().sites.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
        assert_eq!(kinds(image(&[], &symbols)), [SITE_SHUTDOWN_HEAP, SITE_STARTUP], "its memory is still there");
        let without = of(&image(&[], &symbols[..2])).unwrap_err();
        assert!(matches!(without, Missing::Requests) && without.to_string().contains("neither"));
    }

    #[test]
    fn without_probes_a_request_ends_as_late_as_an_exported_function_allows() {
        let symbols = ["php_request_startup", "php_request_shutdown", "zend_deactivate", "sapi_globals"];
        let end_of = |last: &'static str| {
            let mut image = image(&[], &symbols);
            let address = HashMap::from([(last, 0x30), ("php_request_startup", 0x10), ("php_request_shutdown", 0x20)]);
            let segments = Segments::new([Segment { address: 0, offset: 0, size: 0x1000 }]);
            image.sites = Sites::new(&[], 0, &address, &segments);
            of(&image).unwrap().sites[0].1.address
        };
        assert_eq!(end_of("shutdown_memory_manager"), 0x30);
        assert_eq!(end_of("zend_deactivate"), 0x30);
        assert_eq!(end_of("zend_error"), 0x20);
    }

    #[test]
    fn a_probe_that_is_not_understood_is_the_reason_where_no_function_takes_its_place() {
        let notes = [note("request__startup", "8@???"), note("request__shutdown", "")];
        assert!(of(&image(&notes, &[])).unwrap_err().to_string().starts_with("probe request__startup: "));
    }

    #[test]
    fn the_end_of_a_request_is_attached_before_its_start() {
        let sites = of(&image(&[note("request__startup", ""), note("request__shutdown", "")], &[])).unwrap();
        let kinds: Vec<_> = sites.sites.iter().map(|(kind, _)| *kind).collect();
        assert_eq!((sites.seen_by, kinds), (SeenBy::Usdt, vec![SITE_SHUTDOWN, SITE_STARTUP]));
    }
}
