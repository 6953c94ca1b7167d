//! Memory of a process that says it is the master of php-fpm, made of a real scoreboard by chance.

use super::layout::{HEADER, parse};
use crate::fuzz::Target;

#[test]
fn any_memory_is_a_scoreboard_that_fits_its_mapping_or_none() {
    let target = Target { name: "scoreboard", longest: 8 + HEADER, memory: 4 << 10, words: &["www\0", "\x03\0\0\0"] };
    target.run(|bytes| {
        // The size of the mapping comes first.
        let mut input = [0; 8 + HEADER];
        let length = bytes.len().min(input.len());
        input[..length].copy_from_slice(&bytes[..length]);
        let (mapped, header) = input.split_first_chunk::<8>().unwrap();
        let mapped = u64::from_le_bytes(*mapped);
        if let Some(pool) = parse(7, header.first_chunk().unwrap(), mapped) {
            assert!(pool.idle.max(pool.active) <= pool.max_children && u64::from(pool.max_children) < mapped);
            assert!(pool.name.len() < 32 && !pool.name.is_empty() && !pool.name.contains(char::is_control));
        }
    });
}
