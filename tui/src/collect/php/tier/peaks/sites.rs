//! Where a request gives its memory back: `shutdown_memory_manager`, which every build exports; without USDT it is read where requests end.

use tusktop_shared::{SITE_HEAP, SITE_SHUTDOWN_HEAP};

use crate::{
    collect::php::{
        image::Image,
        tier::{Missing, TierSites, requests},
    },
    model::SeenBy,
};

/// Where the peak of a request can be read.
///
/// # Errors
/// Why it cannot.
pub(crate) fn of(image: &Image) -> Result<TierSites, Missing> {
    if image.zts && (image.thread_storage.is_none() || image.heap.is_none()) {
        return Err(Missing::ThreadHeaps);
    }
    if image.heap.is_none() {
        return Err(Missing::Heap);
    }
    // Where requests end with their memory still there, it is read at their end.
    let ends = requests::sites::of(image);
    let is_read = ends.is_ok_and(|ends| ends.sites.iter().any(|(kind, _)| *kind == SITE_SHUTDOWN_HEAP));
    let sites = match image.sites.function("shutdown_memory_manager") {
        _ if is_read => Vec::new(),
        Some(site) => vec![(SITE_HEAP, site.clone())],
        None => return Err(Missing::Function("shutdown_memory_manager")),
    };
    Ok(TierSites { seen_by: SeenBy::Symbol, program: "heap", sites, limit: "" })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::collect::php::image::{
        heap::Heap,
        sites::{Segment, Segments, Sites},
    };

    #[test]
    fn an_image_whose_heap_is_not_understood_says_why() {
        let segments = Segments::new([Segment { address: 0, offset: 0, size: 0x1000 }]);
        let symbols: HashMap<_, _> = [("shutdown_memory_manager", 0x10)].into();
        let image = Image { sites: Sites::new(&[], 0, &symbols, &segments), ..Image::default() };
        let known = Image { heap: Some(Heap { pointer: 0x20, peak: 280 }), ..image.clone() };
        assert_eq!(of(&known).unwrap().sites.len(), 1);
        assert!(of(&image).unwrap_err().to_string().contains("zend_memory_peak_usage"));
        assert!(of(&Image { zts: true, ..known.clone() }).unwrap_err().to_string().contains("ZTS"));
        let nameless = Image { sites: Sites::default(), ..known };
        assert!(of(&nameless).unwrap_err().to_string().contains("shutdown_memory_manager"));
    }
}
