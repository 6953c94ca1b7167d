//! The matrix: releases of Debian and Ubuntu with their PHP, ways to run PHP, and what is special about it. All rows are
//! expected to say the same, see [`observe`]; what differs between them is in the tables here.
//!
//! The releases are root folders in `target/matrix`, which `make matrix` makes and which are entered with chroot. A row whose
//! folder is not there fails. `TUSKTOP_MATRIX_ROWS` is a part of the names of the rows to run, as `Fpm Jit`.

mod observe;
mod server;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::Instant,
};

use crate::servers::{Root, alone};

/// A release and what its PHP is.
struct Release {
    /// Name of its folder.
    name: &'static str,
    /// Major and minor version.
    version: &'static str,
    /// Built with USDT probes.
    probes: bool,
}

const DEBIAN_11: Release = Release { name: "debian-11", version: "7.4", probes: true };
const DEBIAN_12: Release = Release { name: "debian-12", version: "8.2", probes: true };
const DEBIAN_13: Release = Release { name: "debian-13", version: "8.4", probes: false };
/// opcache is a part of the program from 8.5 on.
const DEBIAN_EXPERIMENTAL: Release = Release { name: "debian-experimental", version: "8.5", probes: false };
const UBUNTU_22_04: Release = Release { name: "ubuntu-22.04", version: "8.1", probes: true };
const UBUNTU_24_04: Release = Release { name: "ubuntu-24.04", version: "8.3", probes: false };
const UBUNTU_26_04: Release = Release { name: "ubuntu-26.04", version: "8.5", probes: true };

/// How PHP is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sapi {
    Fpm,
    /// A script on the command line.
    Cli,
    /// `php -S`.
    BuiltIn,
    Cgi,
    /// mod_php.
    Apache,
}

/// What is special about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    /// As it is installed, with opcache.
    Plain,
    /// Without symbols and comments.
    Stripped,
    Jit,
    NoOpcache,
    Preload,
    /// pid, mount and network namespaces of its own.
    Namespaces,
    /// As a container has it.
    Overlay,
    /// Beside a php-fpm of this machine.
    TwoMasters,
    /// After a reload (USR2) with another program in the place of the old one.
    Replaced,
}

/// The rows of each release.
const ROWS: [(Sapi, Variant); 18] = [
    (Sapi::Fpm, Variant::Plain),
    (Sapi::Fpm, Variant::Stripped),
    (Sapi::Fpm, Variant::Jit),
    (Sapi::Fpm, Variant::NoOpcache),
    (Sapi::Fpm, Variant::Preload),
    (Sapi::Fpm, Variant::Namespaces),
    (Sapi::Fpm, Variant::Overlay),
    (Sapi::Fpm, Variant::TwoMasters),
    (Sapi::Fpm, Variant::Replaced),
    (Sapi::Cli, Variant::Plain),
    (Sapi::Cli, Variant::Jit),
    (Sapi::Cli, Variant::NoOpcache),
    (Sapi::BuiltIn, Variant::Plain),
    (Sapi::BuiltIn, Variant::Jit),
    (Sapi::Cgi, Variant::Plain),
    (Sapi::Apache, Variant::Plain),
    (Sapi::Apache, Variant::Jit),
    (Sapi::Apache, Variant::NoOpcache),
];

impl Release {
    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/matrix").join(self.name)
    }

    fn root(&self, variant: Variant) -> Root {
        let folder = self.folder();
        match variant {
            Variant::Namespaces => Root::Namespaces(folder),
            Variant::Overlay => Root::Overlay(folder),
            _ => Root::Folder(folder),
        }
    }

    /// The JIT came with PHP 8.0.
    fn has(&self, variant: Variant) -> bool {
        variant != Variant::Jit || self.version != "7.4"
    }

    /// Runs all rows, whatever becomes of one of them, and fails with those that failed.
    #[expect(clippy::print_stdout, reason = "a row takes seconds, and what was seen of it is worth a line")]
    fn every_row_says_the_same(&self) {
        let _alone = alone();
        let folder = self.folder();
        let folder =
            folder.canonicalize().unwrap_or_else(|error| panic!("{}: {error}: run `make matrix`", folder.display()));
        let only = std::env::var("TUSKTOP_MATRIX_ROWS").unwrap_or_default();
        let mut failed = Vec::new();
        for (sapi, variant) in ROWS.into_iter().filter(|(_, variant)| self.has(*variant)) {
            let began = Instant::now();
            let row = format!("{} {sapi:?} {variant:?}", self.name);
            if !row.contains(&only) {
                continue;
            }
            match catch_unwind(AssertUnwindSafe(|| server::row(self, sapi, variant))) {
                Ok(seen) => println!("{row}: {seen} ({:.1} s)", began.elapsed().as_secs_f64()),
                Err(_) => {
                    println!("{row}: FAILED");
                    failed.push(row);
                }
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(folder.to_str().unwrap()), "nothing is left mounted there: {mounts}");
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

#[test]
#[ignore = "needs root and the root folders of `make matrix`"]
fn debian_11() {
    DEBIAN_11.every_row_says_the_same();
}

#[test]
#[ignore = "needs root and the root folders of `make matrix`"]
fn debian_12() {
    DEBIAN_12.every_row_says_the_same();
}

#[test]
#[ignore = "needs root and the root folders of `make matrix`"]
fn debian_13() {
    DEBIAN_13.every_row_says_the_same();
}

#[test]
#[ignore = "needs root and the root folders of `make matrix`"]
fn debian_experimental() {
    DEBIAN_EXPERIMENTAL.every_row_says_the_same();
}

#[test]
#[ignore = "needs root and the root folders of `make matrix`"]
fn ubuntu_22_04() {
    UBUNTU_22_04.every_row_says_the_same();
}

#[test]
#[ignore = "needs root and the root folders of `make matrix`"]
fn ubuntu_24_04() {
    UBUNTU_24_04.every_row_says_the_same();
}

#[test]
#[ignore = "needs root and the root folders of `make matrix`"]
fn ubuntu_26_04() {
    UBUNTU_26_04.every_row_says_the_same();
}
