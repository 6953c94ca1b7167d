//! Writes a file safely: a temporary file beside it, readable only by its owner, is renamed at the end. A failed run leaves the
//! old file as it was.

use std::{
    collections::hash_map::RandomState,
    ffi::{OsStr, OsString},
    fs::File,
    hash::{BuildHasher as _, Hasher as _},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::{
    fd::OwnedFd,
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Stat, fstat, fsync, linkat, openat, renameat, renameat_with,
        statat, unlinkat,
    },
    io::Errno,
};

/// Names that are tried for the temporary file.
const TRIES: u32 = 8;

/// What becomes of a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced, if it is a regular file of our user.
    Replace,
    /// It stays, and writing fails.
    Keep,
}

/// A file that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum NewFileError {
    /// What is there is not to be replaced.
    #[error("cannot write {}: {what}", .path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is there, and what to do.
        what: String,
    },
    /// The system refuses.
    #[error("cannot write {}: {source}", .path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl NewFileError {
    /// The user may not write there.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::System { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// A file that is being written. It has its name from [`NewFile::finish`] on; dropped before that, it is gone.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    name: OsString,
    folder: OwnedFd,
    temporary: OsString,
    file: File,
    existing: Existing,
    finished: bool,
}

impl NewFile {
    /// Creates it in the folder of `path`, readable by its owner alone.
    ///
    /// # Errors
    /// The folder cannot be written, or what has the name already is not to be replaced.
    pub fn create(path: &Path, existing: Existing) -> Result<Self, NewFileError> {
        let system = |errno: Errno| NewFileError::System { path: path.to_owned(), source: errno.into() };
        let Some(name) = path.file_name() else {
            return Err(NewFileError::Refused { path: path.to_owned(), what: "this is not a file name".into() });
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, parent, flags, Mode::empty()).map_err(system)?;
        check(&folder, name, path, existing)?;
        let (temporary, file) = create_temporary(&folder).map_err(system)?;
        let (path, name) = (path.to_owned(), name.to_owned());
        Ok(Self { path, name, folder, temporary, file, existing, finished: false })
    }

    /// Gives it its name, when all of it is on the disk.
    ///
    /// # Errors
    /// The disk fails, or something has the name by now that is not to be replaced.
    pub fn finish(mut self) -> Result<(), NewFileError> {
        fsync(&self.file).map_err(|errno| self.system(errno))?;
        check(&self.folder, &self.name, &self.path, self.existing)?;
        // Who owns the folder can put something else in its place.
        let is_ours = |stat: Stat, of: Stat| (stat.st_dev, stat.st_ino) == (of.st_dev, of.st_ino);
        let own = fstat(&self.file).map_err(|errno| self.system(errno))?;
        let there = statat(&self.folder, &self.temporary, AtFlags::SYMLINK_NOFOLLOW);
        if !is_ours(there.map_err(|errno| self.system(errno))?, own) {
            return Err(self.refused("the owner of the folder removed the temporary file"));
        }
        let (folder, from, to) = (&self.folder, &self.temporary, &self.name);
        let named = match self.existing {
            Existing::Replace => renameat(folder, from, folder, to).map(|()| true),
            Existing::Keep => match renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
                // The file system does not know the flag; then the temporary name is left to be removed.
                Err(Errno::INVAL | Errno::NOSYS) => linkat(folder, from, folder, to, AtFlags::empty()).map(|()| false),
                renamed => renamed.map(|()| true),
            },
        };
        self.finished = match named {
            Ok(renamed) => renamed,
            Err(Errno::EXIST) => return Err(self.refused(EXISTS)),
            Err(errno) => return Err(self.system(errno)),
        };
        // The name is there; a folder that cannot be synced (no right to read it) loses it at a crash of the machine at most.
        if let Ok(folder) = openat(&self.folder, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            let _ = fsync(folder);
        }
        Ok(())
    }

    fn system(&self, errno: Errno) -> NewFileError {
        NewFileError::System { path: self.path.clone(), source: errno.into() }
    }

    fn refused(&self, what: &str) -> NewFileError {
        NewFileError::Refused { path: self.path.clone(), what: what.into() }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished {
            // There is no one to tell; the name says whose it is.
            let _ = unlinkat(&self.folder, &self.temporary, AtFlags::empty());
        }
    }
}

/// A name that no file has.
pub(super) fn temporary_name() -> OsString {
    OsString::from(format!(".tusktop-{:016x}", RandomState::new().build_hasher().finish()))
}

/// Creates a file under a name that no other has, for its owner alone.
pub(super) fn create_temporary(folder: &OwnedFd) -> Result<(OsString, File), Errno> {
    let mut last = Errno::EXIST;
    for _ in 0..TRIES {
        let name = temporary_name();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(folder, &name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok((name, file.into())),
            Err(Errno::EXIST) => {}
            Err(errno) => {
                last = errno;
                break;
            }
        }
    }
    Err(last)
}

const EXISTS: &str = "it exists already; choose another name, or replace it with --force";

/// Whether what has the name, if anything, may be replaced.
pub(super) fn check(folder: &OwnedFd, name: &OsStr, path: &Path, existing: Existing) -> Result<(), NewFileError> {
    let refuse = |what: String| Err(NewFileError::Refused { path: path.to_owned(), what });
    let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(NewFileError::System { path: path.to_owned(), source: errno.into() }),
    };
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Symlink => Some("a link"),
        FileType::Directory => Some("a folder"),
        FileType::Fifo => Some("a pipe"),
        FileType::Socket => Some("a socket"),
        _ => Some("a device"),
    };
    match kind {
        Some(kind) => refuse(format!("it is {kind}; name a regular file, or `-` for standard output")),
        None if existing == Existing::Keep => refuse(EXISTS.into()),
        None if stat.st_uid != rustix::process::geteuid().as_raw() => {
            refuse(format!("it belongs to another user (uid {}); choose another name, or remove it first", stat.st_uid))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_when_all_of_it_is_there_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut file = NewFile::create(&path, Existing::Replace).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(folder.path()), ["out.json"]);
    }

    #[test]
    fn one_that_is_not_finished_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        fs::write(&path, "old").unwrap();
        let mut file = NewFile::create(&path, Existing::Replace).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!((fs::read(&path).unwrap(), names(folder.path())), (b"old".to_vec(), vec!["out.json".into()]));
    }

    #[test]
    fn links_pipes_devices_and_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("target"), "kept").unwrap();
        symlink(path("target"), path("link")).unwrap();
        symlink(path("nowhere"), path("dangling")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        rustix::fs::mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let before = names(folder.path());
        for (path, what) in [
            (path("link"), "a link"),
            (path("dangling"), "a link"),
            (path("folder"), "a folder"),
            (path("pipe"), "a pipe"),
            ("/dev/null".into(), "a device"),
            (path(".."), "not a file name"),
        ] {
            let error = NewFile::create(&path, Existing::Replace).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(path.to_str().unwrap()), "{error}");
        }
        assert_eq!((fs::read(path("target")).unwrap(), names(folder.path())), (b"kept".to_vec(), before));
    }

    #[test]
    fn a_file_that_is_to_be_kept_is_also_when_it_comes_late() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recording");
        let first = NewFile::create(&path, Existing::Keep).unwrap();
        let second = NewFile::create(&path, Existing::Keep).unwrap();
        first.finish().unwrap();
        assert!(second.finish().unwrap_err().to_string().contains("exists already"));
        assert!(NewFile::create(&path, Existing::Keep).unwrap_err().to_string().contains("exists already"));
        assert_eq!(names(folder.path()), ["recording"]);
    }

    #[test]
    fn a_temporary_file_that_was_exchanged_gets_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = NewFile::create(&folder.path().join("out"), Existing::Replace).unwrap();
        let temporary = folder.path().join(&file.temporary);
        fs::rename(&temporary, folder.path().join("moved")).unwrap();
        fs::write(&temporary, "another's").unwrap();
        assert!(file.finish().unwrap_err().to_string().contains("removed the temporary file"));
        assert!(!folder.path().join("out").exists());
    }
}
