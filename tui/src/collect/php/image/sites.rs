//! Where programs can be attached in a PHP image: USDT probes by name, and exported functions where a build has no probes.
//! Attaching is `kernel`'s matter.

use std::collections::HashMap;

use tusktop_shared::{ARGUMENTS, Operand};

use super::{
    notes::Note,
    operand::{self, Architecture, OperandError},
};

/// Places of one probe that are attached to; PHP has two at most. Each costs the kernel a look at every process that maps the file.
const PLACES: usize = 4;

/// A place in the file where a program can be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProbeSite {
    /// Address as linked.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Offset of the semaphore in the file, 0 when there is none.
    pub semaphore: u64,
    /// The first arguments of a USDT probe; none at a plain function.
    pub arguments: [Operand; ARGUMENTS],
}

/// Why a USDT probe cannot be attached to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("probe {probe}: {reason}")]
pub(crate) struct UnusableProbe {
    /// Its name, such as `request__startup`.
    pub probe: String,
    /// What is wrong with one of its sites.
    pub reason: SiteError,
}

/// Why a site of a probe cannot be attached to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SiteError {
    /// The registers of its arguments are not known.
    #[error("this CPU architecture is not supported")]
    Architecture,
    /// No segment holds its address.
    #[error("its address lies outside the file")]
    Address,
    /// No segment holds the address of its semaphore.
    #[error("its semaphore lies outside the file")]
    Semaphore,
    /// It has more places than in any PHP.
    #[error("it has more than {PLACES} places")]
    Places,
    /// An argument is written in a way that is not known.
    #[error(transparent)]
    Argument(#[from] OperandError),
}

/// All sites of an image.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sites {
    probes: HashMap<String, Vec<Result<ProbeSite, UnusableProbe>>>,
    functions: HashMap<&'static str, ProbeSite>,
}

impl Sites {
    /// Finds all sites; `shift` is what addresses in notes moved by since they were written.
    pub(crate) fn new(notes: &[Note], shift: u64, symbols: &HashMap<&'static str, u64>, segments: &Segments) -> Self {
        let mut probes: HashMap<String, Vec<_>> = HashMap::new();
        for note in notes {
            let site =
                usdt(note, shift, segments).map_err(|reason| UnusableProbe { probe: note.probe.clone(), reason });
            probes.entry(note.probe.clone()).or_default().push(site);
        }
        let functions = symbols.iter().filter_map(|(&name, &address)| {
            let offset = segments.file_offset(address)?;
            Some((name, ProbeSite { address, offset, semaphore: 0, arguments: Default::default() }))
        });
        Self { probes, functions: functions.collect() }
    }

    /// All sites of a USDT probe such as `function__entry`; empty when the image has none.
    ///
    /// # Errors
    /// A site that cannot be attached to, and why: the others alone would give wrong numbers.
    pub(crate) fn probe(&self, name: &str) -> Result<Vec<ProbeSite>, UnusableProbe> {
        if self.probes.get(name).is_some_and(|sites| sites.len() > PLACES) {
            return Err(UnusableProbe { probe: name.to_owned(), reason: SiteError::Places });
        }
        self.probes.get(name).into_iter().flatten().cloned().collect()
    }

    /// Names of all USDT probes, and of all exported functions that matter, in order.
    pub(crate) fn names(&self) -> (Vec<&str>, Vec<&str>) {
        let mut probes: Vec<_> = self.probes.keys().map(String::as_str).collect();
        let mut functions: Vec<_> = self.functions.keys().copied().collect();
        probes.sort_unstable();
        functions.sort_unstable();
        (probes, functions)
    }

    /// Whether the image has any USDT probe.
    pub(crate) fn has_probes(&self) -> bool {
        !self.probes.is_empty()
    }

    /// The start of an exported function.
    pub(crate) fn function(&self, name: &str) -> Option<&ProbeSite> {
        self.functions.get(name)
    }
}

fn usdt(note: &Note, shift: u64, segments: &Segments) -> Result<ProbeSite, SiteError> {
    let architecture = Architecture::current().ok_or(SiteError::Architecture)?;
    let address = note.location.wrapping_add(shift);
    let offset = segments.file_offset(address).ok_or(SiteError::Address)?;
    let semaphore = match note.semaphore {
        0 => 0,
        semaphore => segments.file_offset(semaphore.wrapping_add(shift)).ok_or(SiteError::Semaphore)?,
    };
    let parsed = operand::parse(architecture, &note.arguments)?;
    let mut arguments = [Operand::default(); ARGUMENTS];
    for (slot, operand) in arguments.iter_mut().zip(parsed) {
        *slot = operand;
    }
    Ok(ProbeSite { address, offset, semaphore, arguments })
}

/// A loadable segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Address as linked.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
}

/// The loadable segments of a file: how its offsets become addresses.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Segments(Vec<Segment>);

impl Segments {
    /// Keeps the segments.
    pub(crate) fn new(segments: impl IntoIterator<Item = Segment>) -> Self {
        Self(segments.into_iter().collect())
    }

    /// Offset in the file of an address as linked.
    pub(crate) fn file_offset(&self, address: u64) -> Option<u64> {
        self.0.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            (inside < segment.size).then(|| segment.offset.wrapping_add(inside))
        })
    }

    /// Load bias of a process that maps `offset` of the file at `start`.
    pub(crate) fn bias(&self, start: u64, offset: u64) -> Option<u64> {
        const PAGE: u64 = 4096;
        self.0.iter().find_map(|segment| {
            let first = segment.offset & !(PAGE - 1);
            let inside = offset.checked_sub(first)?;
            (offset < segment.offset.saturating_add(segment.size))
                .then(|| start.wrapping_sub((segment.address & !(PAGE - 1)).wrapping_add(inside)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments() -> Segments {
        Segments::new([
            Segment { address: 0, offset: 0, size: 0x1000 },
            Segment { address: 0x56_e8c8, offset: 0x56_d8c8, size: 0x2000 },
        ])
    }

    fn note(probe: &str, location: u64, arguments: &str) -> Note {
        Note {
            provider: "php".to_owned(),
            probe: probe.to_owned(),
            location,
            base: 0,
            semaphore: 0,
            arguments: arguments.to_owned(),
        }
    }

    #[test]
    fn bias_and_offset_follow_the_segments() {
        let segments = segments();
        assert_eq!(segments.file_offset(0x56_e8d0), Some(0x56_d8d0));
        assert_eq!(segments.file_offset(0x1000), None);
        assert_eq!(segments.bias(0x5555_5555_4000, 0), Some(0x5555_5555_4000));
        assert_eq!(segments.bias(0x5555_55ac_2000, 0x56_d000), Some(0x5555_5555_4000));
    }

    #[test]
    fn one_site_that_is_not_understood_makes_the_whole_probe_unusable() {
        let notes = [note("error", 0x10, "8@%rax"), note("error", 0x20, "8@???"), note("request__startup", 0x9000, "")];
        let sites = Sites::new(&notes, 0, &HashMap::new(), &segments());
        assert!(sites.probe("error").unwrap_err().to_string().starts_with("probe error: "));
        let outside = sites.probe("request__startup").unwrap_err();
        assert!(outside.reason == SiteError::Address && outside.to_string().contains("outside the file"));
        assert!(sites.has_probes());
        assert_eq!(sites.probe("function__entry"), Ok(Vec::new()));
        let many = vec![note("error", 0x10, "8@%rax"); PLACES + 1];
        let sites = Sites::new(&many, 0, &HashMap::new(), &segments());
        assert_eq!(sites.probe("error").unwrap_err().reason, SiteError::Places);
    }
}
