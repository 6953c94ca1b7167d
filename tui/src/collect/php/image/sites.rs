//! Where programs can be attached in a PHP image: USDT probes by name, and exported functions where a build has no probes.
//! Attaching is `kernel`'s matter.

use std::collections::HashMap;

use tusktop_shared::{ARGUMENTS, Operand};

use super::{
    notes::Note,
    operand::{self, Architecture},
};

/// A place in the file where a program can be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSite {
    /// Address as linked.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Offset of the semaphore in the file, 0 when there is none.
    pub semaphore: u64,
    /// The first arguments of a USDT probe; none at a plain function.
    pub arguments: [Operand; ARGUMENTS],
}

/// What something is seen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Statically defined probes.
    Usdt,
    /// Exported functions.
    Symbol,
}

impl Source {
    /// Name as the snapshot has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usdt => "usdt",
            Self::Symbol => "symbol",
        }
    }
}

/// The sites that show requests.
#[derive(Debug, Clone)]
pub struct RequestSites {
    /// What they are.
    pub source: Source,
    /// Starts.
    pub startup: Vec<ProbeSite>,
    /// Ends.
    pub shutdown: Vec<ProbeSite>,
}

/// All sites of an image.
#[derive(Debug, Clone, Default)]
pub struct Sites {
    probes: HashMap<String, Vec<Result<ProbeSite, String>>>,
    functions: HashMap<&'static str, ProbeSite>,
    /// `sapi_globals` can be read: a plain function has no arguments that say what the request is.
    sapi_globals: bool,
}

impl Sites {
    /// Finds all sites; `shift` is what addresses in notes moved by since they were written.
    pub fn new(notes: &[Note], shift: u64, symbols: &HashMap<&'static str, u64>, segments: &Segments) -> Self {
        let mut probes: HashMap<String, Vec<_>> = HashMap::new();
        for note in notes {
            let site = usdt(note, shift, segments).map_err(|reason| format!("probe {}: {reason}", note.probe));
            probes.entry(note.probe.clone()).or_default().push(site);
        }
        let functions = symbols.iter().filter_map(|(&name, &address)| {
            let offset = segments.file_offset(address)?;
            Some((name, ProbeSite { address, offset, semaphore: 0, arguments: Default::default() }))
        });
        Self { probes, functions: functions.collect(), sapi_globals: symbols.contains_key("sapi_globals") }
    }

    /// All sites of a USDT probe such as `function__entry`; empty when the image has none.
    ///
    /// # Errors
    /// A site that cannot be attached to, and why: the others alone would give wrong numbers.
    pub fn probe(&self, name: &str) -> Result<Vec<ProbeSite>, String> {
        self.probes.get(name).into_iter().flatten().cloned().collect()
    }

    /// Names of all USDT probes, and of all exported functions that matter, in order.
    pub fn names(&self) -> (Vec<&str>, Vec<&str>) {
        let mut probes: Vec<_> = self.probes.keys().map(String::as_str).collect();
        let mut functions: Vec<_> = self.functions.keys().copied().collect();
        probes.sort_unstable();
        functions.sort_unstable();
        (probes, functions)
    }

    /// Whether the image has any USDT probe.
    pub fn has_probes(&self) -> bool {
        !self.probes.is_empty()
    }

    /// The start of an exported function.
    pub fn function(&self, name: &str) -> Option<&ProbeSite> {
        self.functions.get(name)
    }

    /// Where requests start and end.
    ///
    /// # Errors
    /// Why they cannot be seen.
    pub fn requests(&self) -> Result<RequestSites, String> {
        let probes = self.probe("request__startup").and_then(|startup| Ok((startup, self.probe("request__shutdown")?)));
        let reason = match probes {
            Ok((startup, shutdown)) if !startup.is_empty() && !shutdown.is_empty() => {
                return Ok(RequestSites { source: Source::Usdt, startup, shutdown });
            }
            Ok(_) => {
                "it has neither USDT probes nor the functions php_request_startup and php_request_shutdown".to_owned()
            }
            Err(reason) => reason,
        };
        match (self.function("php_request_startup"), self.function("php_request_shutdown")) {
            (Some(startup), Some(shutdown)) if self.sapi_globals => Ok(RequestSites {
                source: Source::Symbol,
                startup: vec![startup.clone()],
                shutdown: vec![shutdown.clone()],
            }),
            _ => Err(reason),
        }
    }
}

fn usdt(note: &Note, shift: u64, segments: &Segments) -> Result<ProbeSite, String> {
    let architecture = Architecture::current().ok_or("this CPU architecture is not supported")?;
    let address = note.location.wrapping_add(shift);
    let offset = segments.file_offset(address).ok_or("its address lies outside the file")?;
    let semaphore = match note.semaphore {
        0 => 0,
        semaphore => {
            segments.file_offset(semaphore.wrapping_add(shift)).ok_or("its semaphore lies outside the file")?
        }
    };
    let parsed = operand::parse(architecture, &note.arguments).map_err(|error| error.to_string())?;
    let mut arguments = [Operand::default(); ARGUMENTS];
    for (slot, operand) in arguments.iter_mut().zip(parsed) {
        *slot = operand;
    }
    Ok(ProbeSite { address, offset, semaphore, arguments })
}

/// A loadable segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Address as linked.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
}

/// The loadable segments of a file: how its offsets become addresses.
#[derive(Debug, Clone, Default)]
pub struct Segments(Vec<Segment>);

impl Segments {
    /// Keeps the segments.
    pub fn new(segments: impl IntoIterator<Item = Segment>) -> Self {
        Self(segments.into_iter().collect())
    }

    /// Offset in the file of an address as linked.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.0.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            (inside < segment.size).then(|| segment.offset.wrapping_add(inside))
        })
    }

    /// Load bias of a process that maps `offset` of the file at `start`.
    pub fn bias(&self, start: u64, offset: u64) -> Option<u64> {
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
        assert!(sites.probe("error").unwrap_err().starts_with("probe error: "));
        assert!(sites.probe("request__startup").unwrap_err().contains("outside the file"));
        assert!(sites.requests().is_err() && sites.has_probes());
        assert_eq!(sites.probe("function__entry"), Ok(Vec::new()));
    }

    #[test]
    fn requests_are_seen_by_functions_where_there_are_no_probes() {
        let symbols =
            HashMap::from([("php_request_startup", 0x10), ("php_request_shutdown", 0x20), ("sapi_globals", 1)]);
        let sites = Sites::new(&[], 0, &symbols, &segments());
        assert_eq!(sites.requests().unwrap().source, Source::Symbol);
        let symbols = HashMap::from([("php_request_startup", 0x10), ("php_request_shutdown", 0x20)]);
        assert!(Sites::new(&[], 0, &symbols, &segments()).requests().unwrap_err().contains("neither"));
    }
}
