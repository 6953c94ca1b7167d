//! What an ELF file says about the PHP in it: version, globals, and through `sites` where programs can be attached.
//! It reads files of other users: nothing in them is trusted, and a strange file is an [`ImageError`], never a panic.

pub(crate) mod notes;
pub(crate) mod operand;
pub(crate) mod sites;
pub(crate) mod versions;

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, ReadCache, ReadRef};

use self::{
    sites::{Segment, Segments, Sites},
    versions::{Offsets, Version},
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
    /// Its table of sections was taken out, as some packers and `sstrip` do.
    #[error(
        "{path} has no section headers, so neither probes nor functions are found in it; install a build that has them"
    )]
    NoSections {
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

/// A PHP image.
#[derive(Debug, Clone, Default)]
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
    /// Address of `zend_dtrace_enabled` as linked: a byte that says whether PHP was started with `USE_ZEND_DTRACE=1`.
    /// Builds without USDT do not have it.
    pub dtrace_enabled: Option<u64>,
    /// Address of `zend_execute_ex` as linked: a pointer that is set as soon as `zend_dtrace_enabled` is.
    pub execute_ex: Option<u64>,
    /// Where programs can be attached.
    pub sites: Sites,
    /// How the file is laid out in memory.
    pub segments: Segments,
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
        if elf.sections().next().is_none() {
            return Err(ImageError::NoSections { path: path.to_owned() });
        }
        Ok(Self::from_elf(&elf))
    }

    fn from_elf<'a, R: ReadRef<'a>>(elf: &object::File<'a, R>) -> Option<Self> {
        let symbols = symbols(elf);
        let notes = section(elf, ".note.stapsdt").map(|bytes| notes::parse(&bytes)).unwrap_or_default();
        let notes: Vec<_> = notes.into_iter().filter(|note| note.provider == "php").collect();
        if notes.is_empty() && !symbols.contains_key("php_request_startup") {
            return None;
        }
        let segments = Segments::new(elf.segments().map(|segment| {
            let (offset, size) = segment.file_range();
            Segment { address: segment.address(), offset, size }
        }));
        let version = section(elf, ".rodata").and_then(|bytes| version(&bytes));
        let shift = elf
            .section_by_name(".stapsdt.base")
            .and_then(|base| notes.first().map(|note| base.address().wrapping_sub(note.base)))
            .unwrap_or(0);
        let address = |name| symbols.get(name).copied();
        Some(Self {
            offsets: version.as_deref().and_then(Version::parse).and_then(versions::of),
            version,
            zts: address("executor_globals").is_none() && address("executor_globals_offset").is_some(),
            executor_globals: address("executor_globals"),
            sapi_globals: address("sapi_globals"),
            dtrace_enabled: address("zend_dtrace_enabled"),
            execute_ex: address("zend_execute_ex"),
            sites: Sites::new(&notes, shift, &symbols, &segments),
            segments,
        })
    }

    /// Load bias of a process that maps `offset` of the file at `start`.
    pub fn bias(&self, start: u64, offset: u64) -> Option<u64> {
        self.segments.bias(start, offset)
    }
}

/// Exported names that matter: variables, and functions that are attached to where there are no probes.
const SYMBOLS: [&str; 12] = [
    "compile_file",
    "executor_globals",
    "executor_globals_offset",
    "php_request_shutdown",
    "php_request_startup",
    "sapi_globals",
    "zend_dtrace_enabled",
    "zend_error",
    "zend_error_zstr_at",
    "zend_exception_error",
    "zend_execute_ex",
    "zend_throw_exception_internal",
];

fn symbols<'a, R: ReadRef<'a>>(elf: &object::File<'a, R>) -> HashMap<&'static str, u64> {
    elf.dynamic_symbols()
        .filter(|symbol| symbol.is_definition())
        .filter_map(|symbol| {
            let name = symbol.name_bytes().ok()?;
            let known = SYMBOLS.iter().find(|known| known.as_bytes() == name)?;
            Some((*known, symbol.address()))
        })
        .collect()
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
    fn a_file_that_was_cut_anywhere_or_lost_its_sections_is_no_php_and_no_panic() {
        let path = std::env::current_exe().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let read = |bytes: &[u8]| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            Image::read(&file.reopen().unwrap(), Path::new("/usr/bin/php"))
        };
        for part in (0..64).map(|part| whole.len() / 64 * part) {
            assert!(!matches!(read(&whole[..part]), Ok(Some(_))), "cut at {part}");
        }
        // e_shoff, e_shnum and e_shstrndx of the ELF header (elf(5)).
        let mut without = whole;
        without[0x28..0x30].fill(0);
        without[0x3c..0x40].fill(0);
        let error = read(&without).unwrap_err();
        assert!(matches!(error, ImageError::NoSections { .. }), "{error}");
    }

    #[test]
    fn a_file_that_claims_to_be_huge_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(FILE_LIMIT + 1).unwrap();
        let error = Image::read(file.as_file(), Path::new("/tmp/php")).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }));
    }
}
