//! Copies of a PHP program that differ from it in a few bytes: other builds, and broken ones.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Copies a program with its bytes changed by `edit`.
pub fn copy(from: &Path, to: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(from).unwrap_or_else(|error| panic!("cannot read {}: {error}", from.display()));
    edit(&mut bytes);
    fs::write(to, bytes).unwrap_or_else(|error| panic!("cannot write {}: {error}", to.display()));
    fs::set_permissions(to, Permissions::from_mode(0o755)).expect("the copy is ours");
}

/// What is left of a program without its symbols and without what its compiler said about itself.
pub fn stripped(from: &Path, to: &Path) {
    copy(from, to, |_| {});
    let strip = Command::new("strip").args(["--strip-all", "--remove-section=.comment"]).arg(to).status();
    assert!(strip.expect("strip is installed (binutils)").success());
}

/// What a build with --disable-dtrace looks like: notes of another owner are not probes.
pub fn without_probes(from: &Path, to: &Path) {
    copy(from, to, |bytes| {
        let places = places(bytes, b"stapsdt\0");
        assert!(places.len() >= 11, "{} notes", places.len());
        for at in places {
            bytes[at..at + 7].copy_from_slice(b"another");
        }
    });
}

/// Gives a probe arguments that are not understood.
pub fn with_strange_arguments(bytes: &mut [u8], probe: &str) {
    for at in notes(bytes, probe) {
        let arguments = at + b"php\0".len() + probe.len() + 1;
        assert_ne!(bytes[arguments], 0, "{probe} has arguments");
        bytes[arguments..arguments + 2].copy_from_slice(b"?!");
    }
}

/// Offset in the file of the first site of a probe. In these builds the text segment lies at its offset.
pub fn site(program: &Path, probe: &str) -> u64 {
    let bytes = fs::read(program).unwrap_or_else(|error| panic!("cannot read {}: {error}", program.display()));
    let at = notes(&bytes, probe)[0];
    // Before the names: location, base and semaphore, 8 bytes each.
    u64::from_le_bytes(bytes[at - 24..at - 16].try_into().expect("8 bytes"))
}

/// Address of the semaphore of a probe, as linked.
pub fn semaphore(program: &Path, probe: &str) -> u64 {
    let bytes = fs::read(program).unwrap_or_else(|error| panic!("cannot read {}: {error}", program.display()));
    let at = notes(&bytes, probe)[0];
    u64::from_le_bytes(bytes[at - 8..at].try_into().expect("8 bytes"))
}

/// Where the names of a probe's notes are.
fn notes(bytes: &[u8], probe: &str) -> Vec<usize> {
    let found = places(bytes, format!("php\0{probe}\0").as_bytes());
    assert!(!found.is_empty(), "no probe {probe}");
    found
}

fn places(bytes: &[u8], pattern: &[u8]) -> Vec<usize> {
    bytes.windows(pattern.len()).enumerate().filter(|(_, window)| *window == pattern).map(|(at, _)| at).collect()
}
