//! What an ELF file says about the PHP in it: version, globals, and through `sites` where programs can be attached.
//! It reads files of other users: nothing in them is trusted, and a strange file is an [`ImageError`], never a panic.

pub(crate) mod elf;
#[cfg(test)]
mod fuzz;
pub(crate) mod heap;
pub(crate) mod notes;
pub(crate) mod operand;
pub(crate) mod sapi;
pub(crate) mod sites;
pub(crate) mod thread_storage;
pub(crate) mod versions;

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use self::{
    elf::{Budget, Elf, ElfError},
    heap::Heap,
    operand::Architecture,
    sapi::{MARKS, Sapi},
    sites::{Segments, Sites},
    thread_storage::ThreadStorage,
    versions::{Offsets, Version},
};
use crate::model::SYMBOLS;

/// Why a file could not be read as an image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    /// The file cannot be opened.
    #[error("cannot open {path}: {source}; run as root to see the programs of other users")]
    Open { path: PathBuf, source: io::Error },
    /// It is PHP, but tells nothing of where its parts are.
    #[error(
        "{path} is PHP, but exports no names and has no USDT probes (a static build?), so nothing of it can be found"
    )]
    Nameless { path: PathBuf },
    /// There are more PHP images than the maps have room for.
    #[error("{path} is left out: this machine has more PHP programs than tusktop can observe")]
    TooMany { path: PathBuf },
    /// The file is no ELF file that we understand.
    #[error("{path} cannot be read as an ELF file: {source}")]
    Elf { path: PathBuf, source: ElfError },
}

/// A PHP image.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Image {
    /// Version text, such as `8.2.36`.
    pub version: Option<String>,
    /// Server API; PHP inside another program where nothing tells another one.
    pub sapi: Sapi,
    /// Layout of that version; `None` when it is not known.
    pub offsets: Option<Offsets>,
    /// Built for threads.
    pub zts: bool,
    /// Where its threads have the pointer to their globals; `None` where that was not found, or where it is not built for threads.
    pub thread_storage: Option<ThreadStorage>,
    /// Address of `executor_globals` as linked; in builds for threads, of their offset in a thread's storage.
    pub executor_globals: Option<u64>,
    /// The same of `sapi_globals`.
    pub sapi_globals: Option<u64>,
    /// These are not the addresses, but those of words that have them, see [`Elf::slot`].
    pub by_slot: bool,
    /// Address of `zend_dtrace_enabled` as linked: a byte that says whether PHP was started with `USE_ZEND_DTRACE=1`.
    /// Builds without USDT do not have it.
    pub dtrace_enabled: Option<u64>,
    /// Address of `zend_execute_ex` as linked: a pointer that is set as soon as `zend_dtrace_enabled` is.
    pub execute_ex: Option<u64>,
    /// Where its allocator keeps the peak of a request; `None` where that was not found.
    pub heap: Option<Heap>,
    /// Where programs can be attached.
    pub sites: Sites,
    /// How the file is laid out in memory.
    pub segments: Segments,
}

/// What a file is.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// PHP.
    Php(Box<Image>),
    /// A program or a library that may load PHP.
    Program,
    /// A program that loads no libraries.
    Static,
}

/// Version banner that every PHP holds.
const BANNER: &[u8] = b"X-Powered-By: PHP/";
const LONGEST_VERSION: usize = 32;
impl Image {
    /// Reads the file, which errors call `path`.
    ///
    /// # Errors
    /// It is no ELF file, a malformed one, or reading it takes more than any real one does.
    pub(crate) fn read(file: &File, path: &Path) -> Result<Content, ImageError> {
        Self::of(file).map_err(|source| ImageError::Elf { path: path.to_owned(), source })
    }

    /// Whether a file that must not be observed seems to be PHP: as little of it is read as that takes.
    pub(crate) fn is_likely(file: &File) -> bool {
        let asked = |file| {
            let mut elf = Elf::open(file, Budget::NAMES)?;
            Ok::<_, ElfError>(elf.symbol("php_request_startup")?.is_some())
        };
        asked(file).unwrap_or(false)
    }

    /// Whether a file that exports no names of PHP is PHP all the same: it has the banner.
    pub(crate) fn is_nameless(file: &File) -> bool {
        let asked = |file| Elf::open(file, Budget::WHOLE)?.behind([BANNER], |[found]| found.is_some());
        asked(file).is_ok_and(|[found]| found.is_some())
    }

    fn of(file: &File) -> Result<Content, ElfError> {
        let mut elf = Elf::open(file, Budget::WHOLE)?;
        let notes = match elf.section(".note.stapsdt")? {
            Some(section) => notes::parse(&elf.notes(section)?),
            None => Vec::new(),
        };
        let notes: Vec<_> = notes.into_iter().filter(|note| note.provider == "php").collect();
        if notes.is_empty() && elf.symbol("php_request_startup")?.is_none() {
            return Ok(if elf.is_dynamic() { Content::Program } else { Content::Static });
        }
        let mut symbols = HashMap::new();
        for name in SYMBOLS {
            if let Some(address) = elf.symbol(name)? {
                symbols.insert(name, address);
            }
        }
        let base = elf.section(".stapsdt.base")?;
        let shift = base.zip(notes.first()).map_or(0, |(base, note)| base.address.wrapping_sub(note.base));
        let texts = std::array::from_fn::<_, { 1 + MARKS.len() }, _>(|at| match at {
            0 => BANNER,
            mark => MARKS[mark - 1].0,
        });
        let enough =
            |found: &[Option<u64>; 1 + MARKS.len()]| found[0].is_some() && found[1..].iter().any(Option::is_some);
        let found = elf.behind(texts, enough)?;
        let sapi = MARKS.iter().zip(&found[1..]).find_map(|((_, sapi), found)| found.map(|_| *sapi));
        let version = match found[0] {
            Some(at) => version(&elf.text(at, LONGEST_VERSION)?),
            None => None,
        };
        let address = |name| symbols.get(name).copied();
        let zts = address("executor_globals").is_none() && address("executor_globals_offset").is_some();
        let peak = code(&mut elf, address("zend_memory_peak_usage"), heap::CODE)?;
        let storage = code(&mut elf, address("tsrm_get_ls_cache_tcb_offset").filter(|_| zts), thread_storage::CODE)?;
        let names = match zts {
            true => ["executor_globals_offset", "sapi_globals_offset"],
            false => ["executor_globals", "sapi_globals"],
        };
        // Only a program that embeds PHP links to these; as a module of Apache it is loaded, and its names are its own.
        let slots = match sapi.unwrap_or_default() == Sapi::Embed {
            true => elf.slot(names[0])?.zip(elf.slot(names[1])?).map(<[u64; 2]>::from),
            false => None,
        };
        let architecture = Architecture::current();
        let thread_storage =
            architecture.zip(storage).and_then(|(of, (code, start))| thread_storage::find(of, &code, start));
        let find = |(of, (code, start)): (_, (Vec<u8>, _))| heap::find(of, &code, start, thread_storage);
        let heap = architecture.zip(peak).and_then(find);
        Ok(Content::Php(Box::new(Self {
            sapi: sapi.unwrap_or_default(),
            offsets: version.as_deref().and_then(Version::parse).and_then(versions::of),
            version,
            zts,
            thread_storage,
            executor_globals: slots.map(|slots| slots[0]).or(address(names[0])),
            sapi_globals: slots.map(|slots| slots[1]).or(address(names[1])),
            by_slot: slots.is_some(),
            heap,
            dtrace_enabled: address("zend_dtrace_enabled"),
            execute_ex: address("zend_execute_ex"),
            sites: Sites::new(&notes, shift, &symbols, &elf.segments),
            segments: elf.segments,
        })))
    }

    /// Whether it is known where a process, or each of its threads, has its globals.
    pub(crate) fn has_globals(&self) -> bool {
        self.executor_globals.is_some() && self.zts == self.thread_storage.is_some()
    }

    /// Load bias of a process that maps `offset` of the file at `start`.
    pub(crate) fn bias(&self, start: u64, offset: u64) -> Option<u64> {
        self.segments.bias(start, offset)
    }
}

/// The code of a function, at most so many bytes, with its address as linked; `None` where there is none.
fn code(elf: &mut Elf, start: Option<u64>, most: usize) -> Result<Option<(Vec<u8>, u64)>, ElfError> {
    let place = start.and_then(|start| Some((elf.segments.file_offset(start)?, start)));
    place.map(|(offset, start)| Ok((elf.text(offset, most)?, start))).transpose()
}

/// The version at the start of what follows the banner.
fn version(text: &[u8]) -> Option<String> {
    let end = text.iter().position(|&byte| !(byte.is_ascii_alphanumeric() || b".-+~".contains(&byte)))?;
    Some(String::from_utf8_lossy(&text[..end]).into_owned()).filter(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_behind_the_banner() {
        assert_eq!(version(b"8.2.36\0def").as_deref(), Some("8.2.36"));
        assert_eq!(version(b"%s\0"), None);
        assert_eq!(version(b"8.2"), None);
        assert_eq!(version(b""), None);
    }

    #[test]
    fn this_test_itself_is_not_php() {
        let path = std::env::current_exe().unwrap();
        let file = File::open(&path).unwrap();
        assert!(matches!(Image::read(&file, &path), Ok(Content::Program)) && !Image::is_likely(&file));
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
            assert!(!matches!(read(&whole[..part]), Ok(Content::Php(_))), "cut at {part}");
        }
        // e_shoff, e_shnum and e_shstrndx of the ELF header (elf(5)).
        let mut without = whole;
        without[0x28..0x30].fill(0);
        without[0x3c..0x40].fill(0);
        assert!(matches!(read(&without), Ok(Content::Program)), "the names are found without it");
    }
}
