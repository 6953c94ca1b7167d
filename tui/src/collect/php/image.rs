//! What an ELF file says about the PHP in it: version, globals, probe sites, segments.
//! It reads files of other users: nothing in them is trusted, and a strange file is an [`ImageError`], never a panic.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, ReadCache, ReadRef};
use tusktop_shared::Operand;

use super::{
    notes,
    offsets::{self, Offsets, Version},
    operand::{self, Architecture},
};

/// Why a file could not be read as an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be opened.
    #[error("cannot open {path}: {source}; run as root to see the programs of other users")]
    Open {
        /// File.
        path: PathBuf,
        /// Reason.
        source: io::Error,
    },
    /// The file is larger than any PHP: its tables are not read into our memory.
    #[error("{path} has {bytes} bytes, more than any PHP that is known; it is not read")]
    TooLarge {
        /// File.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// There are more PHP images than the maps have room for.
    #[error("{path} is left out: there are more different PHP programs on this machine than can be observed")]
    TooMany {
        /// File.
        path: PathBuf,
    },
    /// The file is no ELF file that we understand.
    #[error("{path} is not an ELF file that can be read: {source}")]
    Elf {
        /// File.
        path: PathBuf,
        /// Reason.
        source: object::Error,
    },
}

/// A place in the file where a probe can be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSite {
    /// Address as linked.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Offset of the semaphore in the file, 0 when there is none.
    pub semaphore: u64,
    /// Script, URI and method.
    pub arguments: [Operand; 3],
}

/// What a request's start and end are seen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Statically defined probes.
    Usdt,
    /// Exported functions.
    Symbol,
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

/// A PHP image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Version text, such as `8.2.36`.
    pub version: Option<String>,
    /// Layout of that version; `None` when it is not known.
    pub offsets: Option<Offsets>,
    /// Built for threads.
    pub zts: bool,
    /// Address of `executor_globals` as linked.
    pub executor_globals: Option<u64>,
    /// Address of `sapi_globals` as linked.
    pub sapi_globals: Option<u64>,
    /// Where requests are seen, or why they are not.
    pub requests: Result<RequestSites, String>,
    segments: Vec<Segment>,
}

/// Version banner that every PHP holds.
const BANNER: &[u8] = b"X-Powered-By: PHP/";
const LONGEST_VERSION: usize = 32;
/// A static PHP with a web server around it has about 100 MiB.
const FILE_LIMIT: u64 = 256 << 20;
/// No section that is read whole is believed to be larger.
const SECTION_LIMIT: u64 = 64 << 20;

impl Image {
    /// Reads the file, which errors call `path`; `None` when it holds no PHP.
    ///
    /// # Errors
    /// The file is malformed or too large.
    pub fn read(file: &File, path: &Path) -> Result<Option<Self>, ImageError> {
        let bytes = file.metadata().map_err(|source| ImageError::Open { path: path.to_owned(), source })?.len();
        if bytes > FILE_LIMIT {
            return Err(ImageError::TooLarge { path: path.to_owned(), bytes });
        }
        let cache = ReadCache::new(file);
        let elf = object::File::parse(&cache).map_err(|source| ImageError::Elf { path: path.to_owned(), source })?;
        Ok(Self::from_elf(&elf))
    }

    fn from_elf<'a, R: ReadRef<'a>>(elf: &object::File<'a, R>) -> Option<Self> {
        let symbols = Symbols::find(elf);
        let notes = section(elf, ".note.stapsdt").map(|bytes| notes::parse(&bytes)).unwrap_or_default();
        let notes: Vec<_> = notes.into_iter().filter(|note| note.provider == "php").collect();
        if notes.is_empty() && symbols.request_startup.is_none() {
            return None;
        }
        let segments = elf
            .segments()
            .map(|segment| {
                let (offset, size) = segment.file_range();
                Segment { address: segment.address(), offset, size }
            })
            .collect();
        let version = section(elf, ".rodata").and_then(|bytes| version(&bytes));
        let mut image = Self {
            offsets: version.as_deref().and_then(Version::parse).and_then(offsets::of),
            version,
            zts: symbols.executor_globals.is_none() && symbols.executor_globals_offset,
            executor_globals: symbols.executor_globals,
            sapi_globals: symbols.sapi_globals,
            requests: Err(String::new()),
            segments,
        };
        let shift = elf
            .section_by_name(".stapsdt.base")
            .and_then(|base| notes.first().map(|note| base.address().wrapping_sub(note.base)))
            .unwrap_or(0);
        image.requests = image.request_sites(&notes, shift, &symbols);
        Some(image)
    }

    fn request_sites(&self, notes: &[notes::Note], shift: u64, symbols: &Symbols) -> Result<RequestSites, String> {
        let usdt = |probe: &str| -> Result<Vec<ProbeSite>, String> {
            notes
                .iter()
                .filter(|note| note.probe == probe)
                .map(|note| self.usdt_site(note, shift).map_err(|reason| format!("probe {probe}: {reason}")))
                .collect()
        };
        let found = usdt("request__startup").and_then(|startup| Ok((startup, usdt("request__shutdown")?)));
        let reason = match found {
            Ok((startup, shutdown)) if !startup.is_empty() && !shutdown.is_empty() => {
                return Ok(RequestSites { source: Source::Usdt, startup, shutdown });
            }
            Ok(_) => {
                "it has neither USDT probes nor the functions php_request_startup and php_request_shutdown".to_owned()
            }
            Err(reason) => reason,
        };
        let symbol = |address: Option<u64>| {
            let address = address?;
            let offset = self.file_offset(address)?;
            Some(vec![ProbeSite { address, offset, semaphore: 0, arguments: Default::default() }])
        };
        match (symbol(symbols.request_startup), symbol(symbols.request_shutdown)) {
            // A plain function has no arguments: what the request is must be read from sapi_globals.
            (Some(startup), Some(shutdown)) if self.sapi_globals.is_some() => {
                Ok(RequestSites { source: Source::Symbol, startup, shutdown })
            }
            _ => Err(reason),
        }
    }

    fn usdt_site(&self, note: &notes::Note, shift: u64) -> Result<ProbeSite, String> {
        let architecture = Architecture::current().ok_or("this CPU architecture is not supported")?;
        let address = note.location.wrapping_add(shift);
        let offset = self.file_offset(address).ok_or("its address lies outside the file")?;
        let semaphore = match note.semaphore {
            0 => 0,
            semaphore => {
                self.file_offset(semaphore.wrapping_add(shift)).ok_or("its semaphore lies outside the file")?
            }
        };
        let parsed = operand::parse(architecture, &note.arguments).map_err(|error| error.to_string())?;
        let mut arguments = [Operand::default(); 3];
        for (slot, operand) in arguments.iter_mut().zip(parsed) {
            *slot = operand;
        }
        Ok(ProbeSite { address, offset, semaphore, arguments })
    }

    /// Offset in the file of an address as linked.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            (inside < segment.size).then(|| segment.offset.wrapping_add(inside))
        })
    }

    /// Load bias of a process that maps `offset` of the file at `start`.
    pub fn bias(&self, start: u64, offset: u64) -> Option<u64> {
        const PAGE: u64 = 4096;
        self.segments.iter().find_map(|segment| {
            let first = segment.offset & !(PAGE - 1);
            let inside = offset.checked_sub(first)?;
            (offset < segment.offset.saturating_add(segment.size))
                .then(|| start.wrapping_sub((segment.address & !(PAGE - 1)).wrapping_add(inside)))
        })
    }
}

/// The dynamic symbols that matter.
#[derive(Debug, Default)]
struct Symbols {
    executor_globals: Option<u64>,
    executor_globals_offset: bool,
    sapi_globals: Option<u64>,
    request_startup: Option<u64>,
    request_shutdown: Option<u64>,
}

impl Symbols {
    fn find<'a, R: ReadRef<'a>>(elf: &object::File<'a, R>) -> Self {
        let mut found = Self::default();
        for symbol in elf.dynamic_symbols().filter(|symbol| symbol.is_definition()) {
            match symbol.name_bytes() {
                Ok(b"executor_globals") => found.executor_globals = Some(symbol.address()),
                Ok(b"executor_globals_offset") => found.executor_globals_offset = true,
                Ok(b"sapi_globals") => found.sapi_globals = Some(symbol.address()),
                Ok(b"php_request_startup") => found.request_startup = Some(symbol.address()),
                Ok(b"php_request_shutdown") => found.request_shutdown = Some(symbol.address()),
                _ => {}
            }
        }
        found
    }
}

fn section<'a, R: ReadRef<'a>>(elf: &object::File<'a, R>, name: &str) -> Option<Vec<u8>> {
    let section = elf.section_by_name(name)?;
    if section.size() > SECTION_LIMIT {
        return None;
    }
    section.data().ok().map(<[u8]>::to_vec)
}

fn version(rodata: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(rodata, BANNER)? + BANNER.len();
    let text = rodata.get(at..)?;
    let end = text
        .iter()
        .take(LONGEST_VERSION)
        .position(|&byte| !(byte.is_ascii_alphanumeric() || b".-+~".contains(&byte)))?;
    Some(String::from_utf8_lossy(&text[..end]).into_owned()).filter(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_behind_the_banner() {
        assert_eq!(version(b"abc\0X-Powered-By: PHP/8.2.36\0def").as_deref(), Some("8.2.36"));
        assert_eq!(version(b"X-Powered-By: PHP/%s\0"), None);
        assert_eq!(version(b"X-Powered-By: PHP/8.2"), None);
        assert_eq!(version(b""), None);
    }

    #[test]
    fn this_test_itself_is_not_php() {
        let path = std::env::current_exe().unwrap();
        assert!(Image::read(&File::open(&path).unwrap(), &path).unwrap().is_none());
    }

    #[test]
    fn a_strange_file_is_an_error_that_names_it() {
        for bytes in [&b"\x7fELF\x02\x01\x01 and then nothing"[..], b"#!/bin/sh\n", b""] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            let error = Image::read(&file.reopen().unwrap(), Path::new("/usr/sbin/strange")).unwrap_err();
            assert!(matches!(error, ImageError::Elf { .. }) && error.to_string().contains("/usr/sbin/strange"));
        }
    }

    #[test]
    fn a_file_that_claims_to_be_huge_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(FILE_LIMIT + 1).unwrap();
        let error = Image::read(file.as_file(), Path::new("/tmp/php")).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }));
    }

    #[test]
    fn bias_and_offset_follow_the_segments() {
        let image = Image {
            version: None,
            offsets: None,
            zts: false,
            executor_globals: None,
            sapi_globals: None,
            requests: Err(String::new()),
            segments: vec![
                Segment { address: 0, offset: 0, size: 0x1000 },
                Segment { address: 0x56_e8c8, offset: 0x56_d8c8, size: 0x2000 },
            ],
        };
        assert_eq!(image.file_offset(0x56_e8d0), Some(0x56_d8d0));
        assert_eq!(image.file_offset(0x1000), None);
        assert_eq!(image.bias(0x5555_5555_4000, 0), Some(0x5555_5555_4000));
        assert_eq!(image.bias(0x5555_55ac_2000, 0x56_d000), Some(0x5555_5555_4000));
    }
}
