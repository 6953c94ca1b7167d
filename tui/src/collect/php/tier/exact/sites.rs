//! Which sites are attached for a kind of tracing.

use tusktop_shared::call;

use crate::{
    collect::php::{
        image::sites::{ProbeSite, Sites},
        tier::Missing,
    },
    model::ExactKind,
};

/// The sites of a kind of tracing, each with its kind. The returns come first: an entry that is seen has its return seen.
///
/// # Errors
/// A probe that the image does not have, or that cannot be attached to.
pub(crate) fn of(sites: &Sites, kind: ExactKind) -> Result<Vec<(u32, ProbeSite)>, Missing> {
    let some = |name| match sites.probe(name)? {
        none if none.is_empty() => Err(Missing::Probe(name)),
        found => Ok(found),
    };
    let entries = some("function__entry")?;
    let mut numbered: Vec<(u32, ProbeSite)> = Vec::new();
    match kind {
        ExactKind::Functions | ExactKind::Other => {
            numbered.extend(some("function__return")?.into_iter().map(|site| (call::RETURN, site)));
            numbered.extend(entries.into_iter().map(|site| (call::FUNCTION, site)));
        }
        ExactKind::Lines => {
            let executes = some("execute__entry")?;
            numbered.extend(some("execute__return")?.into_iter().map(|site| (call::RETURN, site)));
            // PHP code and built-in functions run in two C functions; the former has the function probes, too.
            let distance = |site: &ProbeSite| entries.iter().map(|entry| entry.address.abs_diff(site.address)).min();
            let nearest = executes.iter().filter_map(distance).min();
            numbered.extend(executes.into_iter().map(|site| {
                let kind = if distance(&site) == nearest { call::FILE } else { call::INTERNAL };
                (kind, site)
            }));
            numbered.extend(sites.probe("compile__file__return")?.into_iter().map(|site| (call::RETURN, site)));
            numbered.extend(sites.probe("compile__file__entry")?.into_iter().map(|site| (call::COMPILE, site)));
        }
    }
    Ok(numbered)
}
