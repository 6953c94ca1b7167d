//! The counter of a probe in the memory of a process: how many tools are attached to it there.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use super::copies;

/// The semaphore of a probe of `program` in a process that runs it (`sys/sdt.h`: 16 bits, in a position-independent
/// executable whose first segment begins at address 0).
pub fn semaphore(pid: u32, program: &Path, probe: &str) -> u16 {
    let address = copies::semaphore(program, probe);
    let inode = fs::metadata(program).expect("the program is there").ino().to_string();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process runs");
    let first = maps.lines().find(|line| line.split_ascii_whitespace().nth(4) == Some(&inode));
    let first = first.and_then(|line| line.split('-').next()).expect("the process runs the program");
    let bias = u64::from_str_radix(first, 16).expect("addresses are hexadecimal");
    let mut bytes = [0; 2];
    let memory = File::open(format!("/proc/{pid}/mem")).expect("root may read it");
    memory.read_exact_at(&mut bytes, bias + address).expect("the semaphore is mapped");
    u16::from_ne_bytes(bytes)
}
