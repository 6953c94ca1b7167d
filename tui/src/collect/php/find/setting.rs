//! The value of one setting in a running PHP, from its table of ini directives.
//!
//! The process is not trusted: every address and length comes from its memory, so reads are few and bounded, and what does not
//! have the shape of such a table with the wanted name in it is unknown.

use std::io;

use crate::collect::php::image::Image;

/// Where `zend_executor_globals.ini_directives` is, counted from `current_execute_data`: 328 bytes in 8.2, 344 in 8.4 and 8.5
/// (Zend/zend_globals.h). It moves from version to version, and its content says that it is the right one.
const PLACES: std::ops::RangeInclusive<u64> = 296..=376;
/// Most entries of the table; PHP with every extension has about a thousand.
const ENTRIES: u32 = 16_384;
/// Entries with one hash that are looked at.
const CHAIN: usize = 32;
/// Longest value that is read.
const LONGEST: u64 = 64;

/// The value that `pid` has for `name` now: `Some("")` for an empty one, `None` where it has none or it cannot be found.
pub(super) fn of(
    image: &Image,
    bias: u64,
    name: &str,
    mut memory: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> Option<String> {
    let globals = image.executor_globals?.wrapping_add(bias);
    let start = globals.wrapping_add(image.offsets?.current_execute_data.into()).wrapping_add(*PLACES.start());
    let mut pointers = [0; (*PLACES.end() - *PLACES.start()) as usize + 8];
    memory(start, &mut pointers).ok()?;
    pointers
        .chunks_exact(8)
        .map(|pointer| number(pointer, 0))
        .filter(|&table| table % 8 == 0 && table >= 4096)
        .find_map(|table| {
            let entry = find(table, name.as_bytes(), &mut memory)?;
            // `zend_ini_entry.value`, the same from 7.0 to 8.5 (Zend/zend_ini.h).
            let value = pointer(entry.wrapping_add(40), &mut memory)?;
            if value == 0 { Some(String::new()) } else { text(value, &mut memory) }
        })
}

/// What a `HashTable` at `table` has under `name` (Zend/zend_types.h; the same from 7.3 to 8.5).
fn find(table: u64, name: &[u8], memory: &mut impl FnMut(u64, &mut [u8]) -> io::Result<()>) -> Option<u64> {
    let mut header = [0; 56];
    memory(table, &mut header).ok()?;
    let mask = number(&header, 12) as u32;
    let (data, used) = (number(&header, 16), number(&header, 24) as u32);
    let slots = mask.wrapping_neg();
    if !slots.is_power_of_two() || !(2..=2 * ENTRIES).contains(&slots) || used > slots {
        return None;
    }
    let hash = hash(name);
    let slot = (hash as u32 | mask).cast_signed();
    let mut first = [0; 4];
    memory(data.wrapping_add_signed(i64::from(slot) * 4), &mut first).ok()?;
    let mut at = u32::from_le_bytes(first);
    for _ in 0..CHAIN {
        if at >= used {
            return None;
        }
        let mut bucket = [0; 32];
        memory(data.wrapping_add(u64::from(at) * 32), &mut bucket).ok()?;
        let key = number(&bucket, 24);
        if number(&bucket, 16) == hash && text(key, memory).is_some_and(|key| key.as_bytes() == name) {
            return Some(number(&bucket, 0));
        }
        at = number(&bucket, 12) as u32;
    }
    None
}

/// A `zend_string`.
fn text(string: u64, memory: &mut impl FnMut(u64, &mut [u8]) -> io::Result<()>) -> Option<String> {
    let length = pointer(string.wrapping_add(16), memory).filter(|&length| length <= LONGEST)?;
    let mut bytes = vec![0; length as usize];
    memory(string.wrapping_add(24), &mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

fn pointer(address: u64, memory: &mut impl FnMut(u64, &mut [u8]) -> io::Result<()>) -> Option<u64> {
    let mut bytes = [0; 8];
    memory(address, &mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// Up to 8 bytes of `bytes` from `at` as a number.
fn number(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    for (to, from) in number.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    u64::from_le_bytes(number)
}

/// The hash that PHP keeps of a string (`zend_inline_hash_func`, Zend/zend_string.h).
fn hash(text: &[u8]) -> u64 {
    text.iter().fold(5381_u64, |hash, &byte| hash.wrapping_mul(33).wrapping_add(byte.into())) | 1 << 63
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::collect::php::image::versions;

    /// Memory from address 0 with a table of one setting, and the image that it belongs to.
    pub(in super::super) fn memory_with(name: &str, value: Option<&str>) -> (Vec<u8>, Image) {
        let (globals, table, slots, entry) = (0x1000, 0x2000, 0x2100, 0x2200);
        let (key, text) = (0x2300, 0x2400);
        let mut bytes = vec![0; 0x3000];
        let mut put = |at: usize, new: &[u8]| bytes[at..at + new.len()].copy_from_slice(new);
        let number = |number: usize| (number as u64).to_le_bytes();
        put(globals + 488 + 328, &number(table));
        // A pointer beside it that leads nowhere.
        put(globals + 488 + 320, &number(0x2f00));
        put(table + 12, &8_u32.wrapping_neg().to_le_bytes());
        put(table + 16, &number(slots + 32));
        put(table + 24, &1_u32.to_le_bytes());
        put(slots, &[0xff; 32]);
        let slot = (hash(name.as_bytes()) as usize & 7) * 4;
        put(slots + slot, &0_u32.to_le_bytes());
        put(slots + 32, &number(entry));
        put(slots + 32 + 12, &u32::MAX.to_le_bytes());
        put(slots + 32 + 16, &hash(name.as_bytes()).to_le_bytes());
        put(slots + 32 + 24, &number(key));
        put(key + 16, &number(name.len()));
        put(key + 24, name.as_bytes());
        if let Some(value) = value {
            put(entry + 40, &number(text));
            put(text + 16, &number(value.len()));
            put(text + 24, value.as_bytes());
        }
        let offsets = versions::of(versions::Version { major: 8, minor: 2 });
        (bytes, Image { executor_globals: Some(globals as u64), offsets, ..Image::default() })
    }

    fn read(bytes: &[u8], image: &Image, name: &str) -> Option<String> {
        of(image, 0, name, |address, to| {
            let start = usize::try_from(address).map_err(io::Error::other)?;
            let from = start.checked_add(to.len()).and_then(|end| bytes.get(start..end));
            to.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    #[test]
    fn a_setting_is_found_by_its_name() {
        let (bytes, image) = memory_with("opcache.jit", Some("tracing"));
        assert_eq!(read(&bytes, &image, "opcache.jit").as_deref(), Some("tracing"));
        assert_eq!(read(&bytes, &image, "opcache.jit_debug"), None);
        let (bytes, image) = memory_with("opcache.jit", None);
        assert_eq!(read(&bytes, &image, "opcache.jit").as_deref(), Some(""));
        assert_eq!(read(&bytes, &Image { executor_globals: None, ..image }, "opcache.jit"), None);
    }

    #[test]
    fn the_hash_is_that_of_php() {
        assert_eq!(hash(b""), 0x8000_0000_0000_1505);
        assert_eq!(hash(b"a"), 0x8000_0000_0002_b606);
    }

    #[test]
    fn no_memory_makes_it_panic_or_read_for_long() {
        let (whole, image) = memory_with("opcache.jit", Some("on"));
        for at in (0x1000 + 776..0x2420).step_by(4) {
            for byte in [0, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at..at + 4].fill(byte);
                let mut reads = 0;
                let _ = of(&image, 0, "opcache.jit", |address, to| {
                    reads += 1;
                    let start = usize::try_from(address).map_err(io::Error::other)?;
                    let from = start.checked_add(to.len()).and_then(|end| bytes.get(start..end));
                    to.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
                    Ok(())
                });
                assert!(reads < 100 && bytes.len() == whole.len(), "{reads} reads with {byte:#x} at {at:#x}");
            }
        }
    }
}
