//! Whose programs are observed. A probe in a file can hold up every process that maps it, and the kernel's fork with them; so a
//! file is only observed where it belongs to root or to an owner whom the configuration names, and where nobody else can change
//! it or put another one in its place.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Bits of a mode: others than the owner may write; in a folder, only the owner of an entry may rename it.
const WRITABLE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// The owners whose programs are observed, besides root.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owners(Vec<u32>);

/// Why a file is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Distrust {
    /// It belongs to another user.
    Owner(u32),
    /// Others than its owner may write to it.
    Writable,
    /// A folder on its path belongs to another user.
    FolderOwner(PathBuf, u32),
    /// Others may exchange it in a folder on its path.
    FolderWritable(PathBuf),
}

impl Owners {
    /// Root and these.
    pub(crate) fn new(owners: Vec<u32>) -> Self {
        Self(owners)
    }

    /// Whether the programs of a user are observed.
    pub(crate) fn include(&self, uid: u32) -> bool {
        uid == 0 || self.0.contains(&uid)
    }

    /// Whether a file may be observed, by what was found out about its descriptor.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn trust(&self, file: &Metadata) -> Result<(), Distrust> {
        match () {
            () if !self.include(file.uid()) => Err(Distrust::Owner(file.uid())),
            () if file.mode() & WRITABLE != 0 => Err(Distrust::Writable),
            () => Ok(()),
        }
    }

    /// Whether nobody else can put another file in its place: `path` of a file, as a process with this root sees it. A path that
    /// leads to another file by now says nothing about this one.
    ///
    /// # Errors
    /// The folder that others control.
    pub(crate) fn trust_place(&self, root: &Path, path: &Path, file: &Metadata) -> Result<(), Distrust> {
        let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        let same = |found: &Metadata| (found.ino(), found.size()) == (file.ino(), file.size());
        if !fs::symlink_metadata(below(path)).is_ok_and(|found| same(&found)) {
            return Ok(());
        }
        for (above, folder) in path.ancestors().skip(1).enumerate() {
            let Ok(found) = fs::metadata(below(folder).join(".")) else { continue };
            if !self.include(found.uid()) {
                return Err(Distrust::FolderOwner(folder.to_owned(), found.uid()));
            }
            // In a folder like /tmp nobody can exchange a folder of root, but put a file beside others.
            if found.mode() & WRITABLE != 0 && (above == 0 || found.mode() & STICKY == 0) {
                return Err(Distrust::FolderWritable(folder.to_owned()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::Permissions,
        os::unix::fs::{PermissionsExt as _, chown},
    };

    use super::*;

    /// A file in a folder of its own, with these owners and modes.
    fn place(folder: (u32, u32), file: (u32, u32)) -> (tempfile::TempDir, PathBuf) {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("bin");
        let path = inner.join("php");
        fs::create_dir(&inner).unwrap();
        fs::write(&path, "x").unwrap();
        for (path, (owner, mode)) in [(&path, file), (&inner, folder)] {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            if rustix::process::geteuid().is_root() {
                chown(path, Some(owner), None).unwrap();
            }
        }
        (outer, path)
    }

    /// As root: only root can give files away.
    fn judged(owners: &[u32], folder: (u32, u32), file: (u32, u32)) -> Result<(), Distrust> {
        let (_outer, path) = place(folder, file);
        let owners = Owners::new(owners.to_vec());
        let metadata = fs::metadata(&path).unwrap();
        owners.trust(&metadata)?;
        owners.trust_place(Path::new("/"), &path, &metadata)
    }

    #[test]
    fn a_file_is_trusted_by_its_owner_its_mode_and_its_folders() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        assert_eq!(judged(&[], (0, 0o755), (0, 0o755)), Ok(()));
        assert_eq!(judged(&[], (0, 0o755), (1234, 0o755)), Err(Distrust::Owner(1234)));
        assert_eq!(judged(&[1234], (1234, 0o755), (1234, 0o755)), Ok(()));
        assert_eq!(judged(&[1234], (0, 0o755), (1234, 0o775)), Err(Distrust::Writable));
        assert!(matches!(judged(&[], (1234, 0o755), (0, 0o755)), Err(Distrust::FolderOwner(_, 1234))));
        for mode in [0o777, 0o775, 0o1777] {
            assert!(matches!(judged(&[], (0, mode), (0, 0o755)), Err(Distrust::FolderWritable(_))), "{mode:o}");
        }
    }

    #[test]
    fn a_path_that_leads_elsewhere_says_nothing_about_the_file() {
        let (_outer, path) = place((0, 0o777), (0, 0o755));
        let metadata = fs::metadata(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(Owners::default().trust_place(Path::new("/"), &path, &metadata), Ok(()));
    }
}
