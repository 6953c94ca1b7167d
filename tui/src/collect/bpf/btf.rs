//! Finds the offset of a member of a kernel structure in the kernel's own type information.
//! Format: Documentation/bpf/btf.rst. Only structures, unions and what leads to them are followed.

use std::{io, path::Path};

/// The kernel's types.
#[derive(Debug)]
pub(crate) struct KernelTypes {
    bytes: Vec<u8>,
    strings: usize,
    /// Start of each type record; type ids begin with 1.
    types: Vec<usize>,
}

const MAGIC: u16 = 0xeb9f;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;

impl KernelTypes {
    /// Reads a file such as /sys/kernel/btf/vmlinux.
    ///
    /// # Errors
    /// The file cannot be read or is not BTF.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::parse(std::fs::read(path)?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not the kernel's type information (BTF)"))
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        if u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = word(&bytes, 4)? as usize;
        let begin = header.checked_add(word(&bytes, 8)? as usize)?;
        let end = begin.checked_add(word(&bytes, 12)? as usize)?;
        let strings = header.checked_add(word(&bytes, 16)? as usize)?;
        let mut types = vec![0];
        let mut at = begin;
        while at < end {
            types.push(at);
            at = at.checked_add(12 + tail(word(&bytes, at + 4)?))?;
        }
        (end <= bytes.len()).then_some(Self { bytes, strings, types })
    }

    /// A structure by its name.
    pub(crate) fn structure(&self, name: &str) -> Option<Structure<'_>> {
        (1..self.types.len())
            .find(|&id| self.kind(id) == Some(KIND_STRUCT) && self.is_named(self.types[id], name.as_bytes()))
            .map(|id| Structure { types: self, id })
    }

    /// The value of a name of an enumeration.
    pub(crate) fn enumerator(&self, enumeration: &str, name: &str) -> Option<u32> {
        let id = (1..self.types.len())
            .find(|&id| self.kind(id) == Some(KIND_ENUM) && self.is_named(self.types[id], enumeration.as_bytes()))?;
        let first = self.types[id] + 12;
        let count = (word(&self.bytes, self.types[id] + 4)? & 0xffff) as usize;
        let at = (0..count).map(|i| first + i * 8).find(|&at| self.is_named(at, name.as_bytes()))?;
        word(&self.bytes, at + 4)
    }

    /// Byte offset of `path` in `structure`, see [`Structure::offset`].
    pub(crate) fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        self.structure(structure)?.offset(path)
    }

    /// Offset in bits and type of a member.
    fn member(&self, id: usize, wanted: &[u8], nesting: u32) -> Option<(u32, usize)> {
        let id = self.resolve(id)?;
        let info = word(&self.bytes, self.types[id] + 4)?;
        if !matches!(kind(info), KIND_STRUCT | KIND_UNION) || nesting > 8 {
            return None;
        }
        let bitfields = info >> 31 == 1;
        (0..(info & 0xffff) as usize).find_map(|i| {
            let at = self.types[id] + 12 + i * 12;
            let offset = word(&self.bytes, at + 8)?;
            let offset = if bitfields { offset & 0xff_ffff } else { offset };
            let inner = word(&self.bytes, at + 4)? as usize;
            match self.name(at)? {
                b"" => self.member(inner, wanted, nesting + 1).map(|(more, kind)| (offset + more, kind)),
                name => (name == wanted).then_some((offset, inner)),
            }
        })
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut id: usize) -> Option<usize> {
        for _ in 0..16 {
            match self.kind(id)? {
                8..=11 | 18 => id = word(&self.bytes, self.types[id] + 8)? as usize,
                _ => return Some(id),
            }
        }
        None
    }

    fn kind(&self, id: usize) -> Option<u32> {
        if id == 0 {
            return None;
        }
        Some(kind(word(&self.bytes, *self.types.get(id)? + 4)?))
    }

    fn is_named(&self, record: usize, name: &[u8]) -> bool {
        let found = word(&self.bytes, record).and_then(|at| self.bytes.get(self.strings.checked_add(at as usize)?..));
        found.and_then(|bytes| bytes.strip_prefix(name)).is_some_and(|rest| rest.first() == Some(&0))
    }

    fn name(&self, record: usize) -> Option<&[u8]> {
        let begin = self.strings.checked_add(word(&self.bytes, record)? as usize)?;
        self.bytes.get(begin..)?.split(|&byte| byte == 0).next()
    }
}

/// One structure of the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Structure<'a> {
    types: &'a KernelTypes,
    id: usize,
}

impl<'a> Structure<'a> {
    /// Byte offset of `path` (such as `se.sum_exec_runtime`); members of nested anonymous structures count.
    pub(crate) fn offset(self, path: &str) -> Option<u32> {
        self.walk(path).map(|(offset, _)| offset)
    }

    /// The structure that the array at `path` is made of.
    pub(crate) fn element(self, path: &str) -> Option<Structure<'a>> {
        let types = self.types;
        let array = types.resolve(self.walk(path)?.1)?;
        let element = word(&types.bytes, types.types[array] + 12).filter(|_| types.kind(array) == Some(KIND_ARRAY))?;
        let id = types.resolve(element as usize)?;
        (types.kind(id) == Some(KIND_STRUCT)).then_some(Structure { types, id })
    }

    /// Of `mm_struct`, the first counter of resident pages and the distance between two: since Linux 6.2 an array of `percpu_counter`, of
    /// which `count` is what /proc/PID/stat shows, too; before that `struct mm_rss_stat` with an array of atomic longs.
    pub(crate) fn page_counters(self) -> Option<(u32, u32)> {
        if let Some(counters) = self.offset("rss_stat.count") {
            return Some((counters, size_of::<u64>() as u32));
        }
        let counter = self.element("rss_stat")?;
        Some((self.offset("rss_stat")? + counter.offset("count")?, counter.size()?))
    }

    /// Size in bytes.
    pub(crate) fn size(self) -> Option<u32> {
        word(&self.types.bytes, self.types.types[self.id] + 8)
    }

    fn walk(self, path: &str) -> Option<(u32, usize)> {
        let (mut id, mut bits) = (self.id, 0);
        for member in path.split('.') {
            let (offset, kind) = self.types.member(id, member.as_bytes(), 0)?;
            bits += offset;
            id = kind;
        }
        (bits % 8 == 0).then_some((bits / 8, id))
    }
}

fn kind(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

/// Bytes that follow the 12 bytes of a type record.
fn tail(info: u32) -> usize {
    let count = (info & 0xffff) as usize;
    match kind(info) {
        1 | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => count * 12,
        KIND_ENUM | KIND_FUNC_PROTO => count * 8,
        _ => 0,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types of `struct task { const struct entity *unused; struct { int pid; }; struct entity se; struct entity all[2]; }`
    /// and `struct entity { long a; long sum; }`.
    fn fixture() -> Vec<u8> {
        let strings = b"\0task\0pid\0se\0entity\0a\0sum\0all\0";
        let at = |text: &[u8]| strings.windows(text.len()).position(|w| w == text).unwrap() as u32;
        let record = |name: u32, kind: u32, count: u32, size: u32| [name, kind << 24 | count, size];
        let mut words: Vec<u32> = Vec::new();
        words.extend(record(0, 1, 0, 4)); // 1: int
        words.push(32);
        words.extend(record(at(b"entity\0"), KIND_STRUCT, 2, 16)); // 2: struct entity
        words.extend([at(b"a\0sum"), 1, 0, at(b"sum\0"), 1, 64]);
        words.extend(record(0, KIND_STRUCT, 1, 8)); // 3: anonymous
        words.extend([at(b"pid\0"), 1, 32]);
        words.extend(record(0, 8, 0, 2)); // 4: typedef of struct entity
        words.extend(record(at(b"task\0"), KIND_STRUCT, 3, 64)); // 5: struct task
        words.extend([0, 3, 64, at(b"se\0"), 4, 128, at(b"all\0"), 6, 256]);
        words.extend(record(0, KIND_ARRAY, 0, 0)); // 6: array of the typedef
        words.extend([4, 1, 2]);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for value in [24, 0, words.len() as u32 * 4, words.len() as u32 * 4, strings.len() as u32] {
            bytes.extend(u32::to_le_bytes(value));
        }
        bytes.extend(words.into_iter().flat_map(u32::to_le_bytes));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_are_found_through_anonymous_structures_and_typedefs() {
        let types = KernelTypes::parse(fixture()).unwrap();
        assert_eq!(types.offset("task", "pid"), Some(12));
        assert_eq!(types.offset("task", "se.sum"), Some(24));
        assert_eq!(types.offset("task", "se.missing"), None);
        assert_eq!(types.offset("missing", "pid"), None);
        assert_eq!(types.offset("tas", "pid"), None, "a name is matched whole");
    }

    #[test]
    fn an_array_tells_what_it_is_made_of() {
        let types = KernelTypes::parse(fixture()).unwrap();
        let task = types.structure("task").unwrap();
        let element = task.element("all").unwrap();
        assert_eq!((task.offset("all"), element.size(), element.offset("sum")), (Some(32), Some(16), Some(8)));
        assert!(task.element("se").is_none() && task.element("pid").is_none() && task.element("missing").is_none());
    }

    #[test]
    fn a_cut_file_is_refused_and_never_panics() {
        let bytes = fixture();
        for cut in 0..bytes.len() {
            if let Some(types) = KernelTypes::parse(bytes[..cut].to_vec()) {
                let _ = types.offset("task", "se.sum");
                let _ = types.structure("task").and_then(|task| task.element("all")?.size());
            }
        }
    }
}
