//! A bounded reader of ELF files that strangers may have made: program headers, look-ups of a few exported names by the hash
//! table, a section of notes, and a search in what is only read. Every byte and every read is paid from one budget, and nothing
//! is kept but what was asked for. What the names and notes mean is for the parent module.
//!
//! Layouts: elf(5); the GNU hash table as glibc's elf/dl-lookup.c reads it.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use super::sites::{Segment, Segments};

/// Bytes that are read of one file at most: the read-only data of a static PHP with a web server around it is the largest part.
const BYTES: u64 = 64 << 20;
/// Reads of one file at most; each costs a system call. Finding the names in a real PHP takes about a hundred.
const READS: u32 = 8_192;
/// Time that reading one file may take. A real PHP takes some milliseconds.
const TIME: Duration = Duration::from_millis(200);
/// Bytes that are in memory at one time when something is searched for.
const CHUNK: usize = 256 << 10;
/// Program headers; real files have about a dozen.
const PROGRAM_HEADERS: u16 = 64;
/// Bytes of the dynamic section.
const DYNAMIC: u64 = 64 << 10;
/// Section headers; files that are built with a section a function have more, and then no notes are found in them.
const SECTION_HEADERS: u16 = 1_024;
/// Bytes of the names of sections.
const SECTION_NAMES: u64 = 256 << 10;
/// Bytes of notes.
const NOTES: u64 = 256 << 10;
/// Links of one chain of a hash table that are followed; real ones have fewer than ten.
const LINKS: u32 = 512;

const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;
const SECTION_HEADER: u64 = 64;
const SYMBOL: u64 = 24;
const RELOCATION: u64 = 24;
/// Relocations that name a symbol and are looked at; PHP has about a thousand.
const RELOCATIONS: u64 = 16 << 10;
/// `R_X86_64_GLOB_DAT` and `R_AARCH64_GLOB_DAT`.
const GLOBAL_DATA: [u32; 2] = [6, 1025];

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ElfError {
    /// The kernel refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no ELF file, or none for this kind of CPU.
    #[error("not a 64-bit little-endian ELF file")]
    Other,
    /// Something in it contradicts the format.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Reading it takes more than any real program does.
    #[error("reading it takes more than {} MiB or {READS} reads, more than any known PHP", BYTES >> 20)]
    Budget,
    /// The file system is slow, or the machine is.
    #[error("reading it takes longer than {} ms", TIME.as_millis())]
    Time,
}

/// What may be spent on one file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    bytes: u64,
    reads: u32,
    time: Duration,
}

impl Budget {
    /// For a file that is to be observed.
    pub(crate) const WHOLE: Self = Self { bytes: BYTES, reads: READS, time: TIME };
    /// For one of which only a few names are looked up.
    pub(crate) const NAMES: Self = Self { bytes: 1 << 20, reads: 256, time: Duration::from_millis(20) };
}

/// An ELF file, of which only the headers were read.
#[derive(Debug)]
pub(crate) struct Elf<'a> {
    reader: Reader<'a>,
    /// How the file is laid out in memory.
    pub segments: Segments,
    /// Parts of the file that are loaded and never written, by offset and size: those with code after all others.
    constant: Vec<(u64, u64)>,
    dynamic: Dynamic,
    sections: Option<Sections>,
}

/// Addresses and sizes from the dynamic section; 0 where there is none.
#[derive(Debug, Clone, Copy, Default)]
struct Dynamic {
    gnu_hash: u64,
    hash: u64,
    symbols: u64,
    strings: u64,
    strings_size: u64,
    /// Relocations with an addend, their size in bytes, and how many of them, which are the first, name no symbol.
    relocations: u64,
    relocations_size: u64,
    relative: u64,
}

/// A name that is defined here.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    index: u32,
    /// As linked.
    address: u64,
}

/// Where the table of sections is, as the header says.
#[derive(Debug, Clone, Copy)]
struct Sections {
    offset: u64,
    count: u16,
    names: u16,
}

/// One section: its address and the part of the file that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section {
    /// Address as linked; 0 where it is not loaded.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

impl<'a> Elf<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// It is no ELF file of this kind, or a malformed one.
    pub(crate) fn open(file: &'a File, budget: Budget) -> Result<Self, ElfError> {
        let mut reader =
            Reader { file, bytes: budget.bytes, reads: budget.reads, deadline: Instant::now() + budget.time };
        let header: [u8; HEADER as usize] = reader.array(0).map_err(|error| match error {
            ElfError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => ElfError::Other,
            other => other,
        })?;
        if header[..6] != *b"\x7fELF\x02\x01" {
            return Err(ElfError::Other);
        }
        let (programs, entry, count) = (u64_at(&header, 0x20), u16_at(&header, 0x36), u16_at(&header, 0x38));
        if count > PROGRAM_HEADERS || (count > 0 && u64::from(entry) != PROGRAM_HEADER) {
            return Err(ElfError::Malformed("its program headers"));
        }
        let table = reader.read(programs, u64::from(count) * PROGRAM_HEADER)?;
        let (mut loaded, mut constant, mut code, mut dynamic) = (Vec::new(), Vec::new(), Vec::new(), None);
        for header in table.chunks_exact(PROGRAM_HEADER as usize) {
            const LOAD: u32 = 1;
            const DYNAMIC: u32 = 2;
            const READ: u32 = 4;
            const READ_AND_EXECUTE: u32 = 5;
            let (offset, address, size) = (u64_at(header, 0x08), u64_at(header, 0x10), u64_at(header, 0x20));
            match u32_at(header, 0) {
                LOAD => {
                    loaded.push(Segment { address, offset, size });
                    match u32_at(header, 4) & 7 {
                        READ => constant.push((offset, size)),
                        READ_AND_EXECUTE => code.push((offset, size)),
                        _ => {}
                    }
                }
                DYNAMIC => dynamic = Some((offset, size)),
                _ => {}
            }
        }
        // Without `-z separate-code` constants lie beside the code.
        constant.append(&mut code);
        let section_entry = u16_at(&header, 0x3a);
        let sections =
            Sections { offset: u64_at(&header, 0x28), count: u16_at(&header, 0x3c), names: u16_at(&header, 0x3e) };
        let usable = u64::from(section_entry) == SECTION_HEADER && (1..=SECTION_HEADERS).contains(&sections.count);
        let mut elf = Self {
            reader,
            segments: Segments::new(loaded),
            constant,
            dynamic: Dynamic::default(),
            sections: usable.then_some(sections),
        };
        if let Some((offset, size)) = dynamic {
            elf.dynamic = elf.read_dynamic(offset, size)?;
        }
        Ok(elf)
    }

    fn read_dynamic(&mut self, offset: u64, size: u64) -> Result<Dynamic, ElfError> {
        let entries = self.reader.read(offset, size.min(DYNAMIC))?;
        let mut dynamic = Dynamic::default();
        for entry in entries.chunks_exact(16) {
            let value = u64_at(entry, 8);
            match u64_at(entry, 0) {
                0 => break,
                4 => dynamic.hash = value,
                5 => dynamic.strings = value,
                6 => dynamic.symbols = value,
                7 => dynamic.relocations = value,
                8 => dynamic.relocations_size = value,
                10 => dynamic.strings_size = value,
                0x6fff_fef5 => dynamic.gnu_hash = value,
                0x6fff_fff9 => dynamic.relative = value,
                _ => {}
            }
        }
        Ok(dynamic)
    }

    /// Address of an exported name as linked; `None` when it is not defined here.
    ///
    /// # Errors
    /// The file is malformed, or the budget is spent.
    pub(crate) fn symbol(&mut self, name: &str) -> Result<Option<u64>, ElfError> {
        Ok(self.find(name)?.map(|symbol| symbol.address))
    }

    /// Address as linked of the word through which a library finds one of its own exported names, in case a program has taken that
    /// name for itself: who links to a variable of a library may get a copy of it, which is then the one that counts. `None`
    /// where the library does not ask.
    ///
    /// # Errors
    /// As for [`Self::symbol`].
    pub(crate) fn slot(&mut self, name: &str) -> Result<Option<u64>, ElfError> {
        let Some(Symbol { index, .. }) = self.find(name)? else { return Ok(None) };
        let Dynamic { relocations, relocations_size, relative, .. } = self.dynamic;
        let count = relocations_size / RELOCATION;
        let first = relative.max(count.saturating_sub(RELOCATIONS));
        if relocations == 0 || first >= count {
            return Ok(None);
        }
        let table = add(self.offset(relocations)?, first * RELOCATION)?;
        let table = self.reader.read(table, (count - first) * RELOCATION)?;
        let wanted = |entry: &&[u8]| {
            GLOBAL_DATA.contains(&u32_at(entry, 8)) && u32_at(entry, 12) == index && u64_at(entry, 16) == 0
        };
        Ok(table.chunks_exact(RELOCATION as usize).find(wanted).map(|entry| u64_at(entry, 0)))
    }

    fn find(&mut self, name: &str) -> Result<Option<Symbol>, ElfError> {
        let Dynamic { gnu_hash, hash, .. } = self.dynamic;
        match (gnu_hash, hash) {
            (0, 0) => Ok(None),
            (0, hash) => self.by_hash(hash, name.as_bytes()),
            (gnu_hash, _) => self.by_gnu_hash(gnu_hash, name.as_bytes()),
        }
    }

    fn by_gnu_hash(&mut self, table: u64, name: &[u8]) -> Result<Option<Symbol>, ElfError> {
        let hash = name.iter().fold(5381_u32, |hash, &byte| hash.wrapping_mul(33).wrapping_add(byte.into()));
        let table = self.offset(table)?;
        let header: [u8; 16] = self.reader.array(table)?;
        let (buckets, first, words) = (u32_at(&header, 0), u32_at(&header, 4), u32_at(&header, 8));
        if buckets == 0 {
            return Ok(None);
        }
        let bucket_at = add(table, 16 + u64::from(words) * 8)?;
        let bucket: [u8; 4] = self.reader.array(add(bucket_at, u64::from(hash % buckets) * 4)?)?;
        let chains = add(bucket_at, u64::from(buckets) * 4)?;
        let mut index = u32::from_le_bytes(bucket);
        for _ in 0..LINKS {
            let Some(link) = index.checked_sub(first) else { return Ok(None) };
            let link: [u8; 4] = self.reader.array(add(chains, u64::from(link) * 4)?)?;
            let link = u32::from_le_bytes(link);
            if link | 1 == hash | 1
                && let Some(symbol) = self.named(index, name)?
            {
                return Ok(Some(symbol));
            }
            if link & 1 != 0 {
                return Ok(None);
            }
            index = index.checked_add(1).ok_or(ElfError::Malformed("its hash table"))?;
        }
        Err(ElfError::Malformed("a chain of its hash table has no end"))
    }

    fn by_hash(&mut self, table: u64, name: &[u8]) -> Result<Option<Symbol>, ElfError> {
        let hash = name.iter().fold(0_u32, |hash, &byte| {
            let hash = (hash << 4).wrapping_add(byte.into());
            let high = hash & 0xf000_0000;
            (hash ^ (high >> 24)) & !high
        });
        let table = self.offset(table)?;
        let header: [u8; 8] = self.reader.array(table)?;
        let buckets = u32_at(&header, 0);
        if buckets == 0 {
            return Ok(None);
        }
        let chains = add(table, 8 + u64::from(buckets) * 4)?;
        let bucket: [u8; 4] = self.reader.array(add(table, 8 + u64::from(hash % buckets) * 4)?)?;
        let mut index = u32::from_le_bytes(bucket);
        for _ in 0..LINKS {
            if index == 0 {
                return Ok(None);
            }
            if let Some(symbol) = self.named(index, name)? {
                return Ok(Some(symbol));
            }
            let next: [u8; 4] = self.reader.array(add(chains, u64::from(index) * 4)?)?;
            index = u32::from_le_bytes(next);
        }
        Err(ElfError::Malformed("a chain of its hash table has no end"))
    }

    /// A symbol, if it has this name and is defined here.
    fn named(&mut self, index: u32, name: &[u8]) -> Result<Option<Symbol>, ElfError> {
        let symbols = self.offset(self.dynamic.symbols)?;
        let symbol: [u8; SYMBOL as usize] = self.reader.array(add(symbols, u64::from(index) * SYMBOL)?)?;
        let at = u64::from(u32_at(&symbol, 0));
        let undefined = u16_at(&symbol, 6) == 0;
        let wanted = name.len() as u64 + 1;
        if undefined || at.saturating_add(wanted) > self.dynamic.strings_size {
            return Ok(None);
        }
        let strings = self.offset(self.dynamic.strings)?;
        let found = self.reader.read(add(strings, at)?, wanted)?;
        let same = found.strip_suffix(b"\0") == Some(name);
        Ok(same.then(|| Symbol { index, address: u64_at(&symbol, 8) }))
    }

    /// A section by its name; `None` where there is none, or no table of sections that can be used.
    ///
    /// # Errors
    /// The file is malformed, or the budget is spent.
    pub(crate) fn section(&mut self, name: &str) -> Result<Option<Section>, ElfError> {
        let Some(Sections { offset, count, names }) = self.sections else { return Ok(None) };
        let table = self.reader.read(offset, u64::from(count) * SECTION_HEADER)?;
        let sections = |at: usize| table.chunks_exact(SECTION_HEADER as usize).nth(at);
        let Some(header) = sections(names.into()) else { return Ok(None) };
        let names = self.reader.read(u64_at(header, 0x18), u64_at(header, 0x20).min(SECTION_NAMES))?;
        let is_it = |header: &&[u8]| {
            let rest = names.get(u32_at(header, 0) as usize..).unwrap_or_default();
            rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        };
        let found = table.chunks_exact(SECTION_HEADER as usize).find(is_it);
        Ok(found.map(|header| Section {
            address: u64_at(header, 0x10),
            offset: u64_at(header, 0x18),
            size: u64_at(header, 0x20),
        }))
    }

    /// The bytes of a section of notes.
    ///
    /// # Errors
    /// It is larger than the notes of any PHP, or lies outside of the file.
    pub(crate) fn notes(&mut self, section: Section) -> Result<Vec<u8>, ElfError> {
        if section.size > NOTES {
            return Err(ElfError::Malformed("it has more notes than any PHP"));
        }
        self.reader.read(section.offset, section.size)
    }

    /// Looks for texts among the constants: the offset behind each, `None` where it was not met. It ends as soon as `enough` was
    /// found, and behind the part of the file that has the first text.
    ///
    /// # Errors
    /// The budget is spent before the first text was found.
    pub(crate) fn behind<const N: usize>(
        &mut self,
        texts: [&[u8]; N],
        enough: impl Fn(&[Option<u64>; N]) -> bool,
    ) -> Result<[Option<u64>; N], ElfError> {
        let finders = texts.map(memchr::memmem::Finder::new);
        let overlap = texts.iter().map(|text| text.len()).max().unwrap_or(0).saturating_sub(1) as u64;
        let mut found = [None; N];
        let named = self.section(".rodata")?.map(|section| (section.offset, section.size));
        for (start, size) in named.into_iter().chain(std::mem::take(&mut self.constant)) {
            let (mut at, mut left) = (start, size);
            while left > 0 {
                let bytes = match self.reader.up_to(at, left.min(CHUNK as u64)) {
                    Ok(bytes) => bytes,
                    Err(ElfError::Budget | ElfError::Time) if found[0].is_some() => return Ok(found),
                    Err(error) => return Err(error),
                };
                for ((finder, text), found) in finders.iter().zip(texts).zip(&mut found) {
                    let behind = |place: usize| at.saturating_add((place + text.len()) as u64);
                    *found = found.or_else(|| finder.find(&bytes).map(behind));
                }
                if enough(&found) {
                    return Ok(found);
                }
                if bytes.len() as u64 <= overlap || bytes.len() as u64 >= left {
                    break;
                }
                // What begins at the end of a part goes on in the next one.
                let step = bytes.len() as u64 - overlap;
                (at, left) = (at.saturating_add(step), left - step);
            }
            if found[0].is_some() {
                break;
            }
        }
        Ok(found)
    }

    /// At most `most` bytes of the file.
    ///
    /// # Errors
    /// The budget is spent.
    pub(crate) fn text(&mut self, offset: u64, most: usize) -> Result<Vec<u8>, ElfError> {
        self.reader.up_to(offset, most as u64)
    }

    /// Whether it can load libraries: it has a dynamic section.
    pub(crate) fn is_dynamic(&self) -> bool {
        self.dynamic.symbols != 0
    }

    fn offset(&self, address: u64) -> Result<u64, ElfError> {
        self.segments.file_offset(address).ok_or(ElfError::Malformed("an address of its dynamic section"))
    }
}

fn add(offset: u64, by: u64) -> Result<u64, ElfError> {
    offset.checked_add(by).ok_or(ElfError::Malformed("an offset"))
}

/// Reads at places of a file, as long as the budget lasts.
#[derive(Debug)]
struct Reader<'a> {
    file: &'a File,
    bytes: u64,
    reads: u32,
    deadline: Instant,
}

impl Reader<'_> {
    fn pay(&mut self, bytes: u64) -> Result<usize, ElfError> {
        if Instant::now() > self.deadline {
            return Err(ElfError::Time);
        }
        self.reads = self.reads.checked_sub(1).ok_or(ElfError::Budget)?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or(ElfError::Budget)?;
        usize::try_from(bytes).map_err(|_| ElfError::Budget)
    }

    fn array<const N: usize>(&mut self, offset: u64) -> Result<[u8; N], ElfError> {
        self.pay(N as u64)?;
        let mut array = [0; N];
        self.file.read_exact_at(&mut array, offset)?;
        Ok(array)
    }

    /// Exactly `bytes`, which the caller has bounded.
    fn read(&mut self, offset: u64, bytes: u64) -> Result<Vec<u8>, ElfError> {
        let mut read = vec![0; self.pay(bytes)?];
        self.file.read_exact_at(&mut read, offset)?;
        Ok(read)
    }

    /// As many of `bytes` as the file has.
    fn up_to(&mut self, offset: u64, bytes: u64) -> Result<Vec<u8>, ElfError> {
        let mut read = vec![0; self.pay(bytes)?];
        let mut have = 0;
        while have < read.len() {
            match self.file.read_at(&mut read[have..], offset.saturating_add(have as u64)) {
                Ok(0) => break,
                Ok(more) => have += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        read.truncate(have);
        Ok(read)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::PathBuf, time::Instant};

    use object::{Object, ObjectSection, ObjectSymbol, ObjectSymbolTable};
    use proptest::prelude::*;

    use super::*;

    /// A library that this very program has loaded.
    fn library() -> PathBuf {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let path =
            maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("/libc.so"));
        path.expect("the C library is loaded").into()
    }

    #[test]
    fn every_exported_name_of_a_real_library_is_found_where_another_reader_finds_it() {
        let path = library();
        let bytes = std::fs::read(&path).unwrap();
        let other = object::File::parse(&*bytes).unwrap();
        let mut wanted: HashMap<&str, Vec<u64>> = HashMap::new();
        for symbol in other.dynamic_symbols().filter(|symbol| symbol.is_definition()) {
            wanted.entry(symbol.name().unwrap()).or_default().push(symbol.address());
        }
        assert!(wanted.len() > 1_000);
        let file = File::open(&path).unwrap();
        for (name, addresses) in &wanted {
            // Each with a budget of its own: a real search is for a dozen names.
            let found = Elf::open(&file, Budget::WHOLE).unwrap().symbol(name).unwrap().unwrap();
            assert!(addresses.contains(&found), "{name}");
        }
        assert_eq!(Elf::open(&file, Budget::WHOLE).unwrap().symbol("php_request_startup").unwrap(), None);
        let section = Elf::open(&file, Budget::WHOLE).unwrap().section(".rodata").unwrap().unwrap();
        let same = other.section_by_name(".rodata").unwrap();
        assert_eq!((section.address, section.size), (same.address(), same.size()));
    }

    #[test]
    fn the_words_by_which_a_real_library_finds_its_own_names_are_those_of_another_reader() {
        let path = library();
        let bytes = std::fs::read(&path).unwrap();
        let other = object::File::parse(&*bytes).unwrap();
        let symbols = other.dynamic_symbol_table().unwrap();
        let mut slots: HashMap<&str, u64> = HashMap::new();
        for (address, relocation) in other.dynamic_relocations().unwrap() {
            let object::RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
            let object::RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let symbol = symbols.symbol_by_index(index).unwrap();
            if GLOBAL_DATA.contains(&r_type.0) && symbol.is_definition() {
                slots.insert(symbol.name().unwrap(), address);
            }
        }
        assert!(slots.contains_key("stdout") && slots.contains_key("free"), "{slots:?}");
        let file = File::open(&path).unwrap();
        let slot = |name: &str| Elf::open(&file, Budget::WHOLE).unwrap().slot(name).unwrap();
        for name in ["stdout", "stderr", "free"] {
            assert_eq!(slot(name), Some(slots[name]), "{name}");
        }
        assert_eq!((slot("printf"), slot("php_request_startup")), (None, None));
    }

    #[test]
    fn a_text_is_found_also_across_the_parts_that_are_read() {
        let mut bytes = library_head(3 * CHUNK as u64);
        let at = bytes.len() + CHUNK - 5;
        bytes.resize(bytes.len() + 3 * CHUNK, 0);
        bytes[at..at + 16].copy_from_slice(b"X-Pow: PHP/8.2\0\0");
        let file = file_of(&bytes);
        let mut elf = Elf::open(file.as_file(), Budget::WHOLE).unwrap();
        let [found, other] = elf.behind([b"X-Pow: PHP/", b"not there"], |_| false).unwrap();
        assert_eq!((elf.text(found.unwrap(), 3).unwrap(), other), (b"8.2".to_vec(), None));
    }

    /// An ELF header with one segment of `size` bytes that is only read and begins behind it.
    fn library_head(size: u64) -> Vec<u8> {
        let mut bytes = vec![0; 0x78];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[0x20..0x28].copy_from_slice(&64_u64.to_le_bytes());
        bytes[0x36..0x38].copy_from_slice(&56_u16.to_le_bytes());
        bytes[0x38..0x3a].copy_from_slice(&1_u16.to_le_bytes());
        bytes[0x40..0x44].copy_from_slice(&1_u32.to_le_bytes());
        bytes[0x44..0x48].copy_from_slice(&4_u32.to_le_bytes());
        bytes[0x48..0x50].copy_from_slice(&0x78_u64.to_le_bytes());
        bytes[0x60..0x68].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    fn file_of(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    /// All that is ever asked of a file.
    fn ask(file: &File) -> Result<(), ElfError> {
        let mut elf = Elf::open(file, Budget::WHOLE)?;
        for name in ["php_request_startup", "executor_globals"] {
            elf.symbol(name)?;
            elf.slot(name)?;
        }
        if let Some(section) = elf.section(".note.stapsdt")? {
            elf.notes(section)?;
        }
        elf.behind([b"X-Powered-By: PHP/", b"FPM/FastCGI"], |_| false)?;
        Ok(())
    }

    #[test]
    fn a_file_that_is_made_to_be_large_ends_with_the_budget() {
        let bytes = library_head(256 << 20);
        let file = file_of(&bytes);
        file.as_file().set_len(256 << 20).unwrap();
        let begun = Instant::now();
        assert!(matches!(ask(file.as_file()), Err(ElfError::Budget | ElfError::Time)));
        // No measurement: it only says that the budget does not take minutes.
        assert!(begun.elapsed().as_secs() < 30);
        let mut elf = Elf::open(file.as_file(), Budget { time: Duration::ZERO, ..Budget::WHOLE });
        assert!(matches!(elf.as_mut().map(|elf| elf.text(0, 1)), Err(ElfError::Time) | Ok(Err(ElfError::Time))));
    }

    proptest! {
        #[test]
        fn no_change_of_a_real_file_makes_it_panic(changes in prop::collection::vec((0..4096_usize, any::<u8>()), 1..40), cut in 0..100_000_usize) {
            let mut bytes = std::fs::read(library()).unwrap();
            bytes.truncate(400_000);
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            bytes.truncate(bytes.len() - cut);
            let _ = ask(file_of(&bytes).as_file());
        }
    }
}
