//! A file that is read while it is written: it has its name from the start, and is readable by its owner alone. What is there is
//! never written into: the file is always a new one. Another one can take its place, which has no name until then.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
    os::{fd::AsRawFd as _, unix::fs::FileExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, fsync, ftruncate, linkat, openat, renameat, statat, unlinkat},
    io::Errno,
};

use super::new_file::{Existing, NewFileError, check, create_temporary, temporary_name};

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct GrowingFile {
    path: PathBuf,
    folder: OwnedFd,
    file: File,
    /// Another name that it has meanwhile.
    temporary: Option<OsString>,
}

/// A file that is whole: nothing of it is open, and it can still be told from another of its name.
#[derive(Debug)]
pub(crate) struct WholeFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl GrowingFile {
    /// Creates it.
    ///
    /// # Errors
    /// The folder cannot be written, or what has the name already is not to be replaced.
    pub(crate) fn create(path: &Path, existing: Existing) -> Result<Self, NewFileError> {
        let system = |errno: Errno| NewFileError::System { path: path.to_owned(), source: errno.into() };
        let Some(name) = path.file_name() else {
            return Err(NewFileError::Refused { path: path.to_owned(), what: "this is not the name of a file".into() });
        };
        let folder = parent(path).map_err(system)?;
        check(&folder, name, path, existing)?;
        if existing == Existing::Replace {
            match unlinkat(&folder, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(system(errno)),
            }
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&folder, name, flags, Mode::RUSR | Mode::WUSR).map_err(system)?;
        Ok(Self { path: path.to_owned(), folder, file: file.into(), temporary: None })
    }

    /// Creates a file that is to take the place of this one. It goes away with its descriptor until then, where the file system can
    /// have files without a name.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn successor(&self) -> io::Result<Self> {
        let path = self.path.clone();
        let folder = self.folder.try_clone()?;
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let (temporary, file) = match openat(&folder, ".", flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => (None, file.into()),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                let (name, file) = create_temporary(&folder)?;
                (Some(name), file)
            }
            Err(errno) => return Err(errno.into()),
        };
        Ok(Self { path, folder, file, temporary })
    }

    /// Takes the name of the file that this one is the successor of, when all of it is on the disk. Whoever opens the name finds one or
    /// the other, and both are whole.
    ///
    /// # Errors
    /// The disk fails, or something else has the name by now. Then the other file keeps it.
    pub(crate) fn take_place_of(&mut self, before: &Self) -> io::Result<()> {
        let Some(name) = self.path.file_name() else { return Ok(()) };
        fsync(&self.file)?;
        let (own, there) = (fstat(&before.file)?, statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW)?);
        if (own.st_dev, own.st_ino) != (there.st_dev, there.st_ino) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "another file has its name"));
        }
        if self.temporary.is_none() {
            let temporary = temporary_name();
            let descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            linkat(CWD, &*descriptor, &self.folder, &temporary, AtFlags::SYMLINK_FOLLOW)?;
            self.temporary = Some(temporary);
        }
        if let Some(temporary) = &self.temporary {
            renameat(&self.folder, temporary, &self.folder, name)?;
            self.temporary = None;
        }
        Ok(())
    }

    /// Reads a part that was written.
    ///
    /// # Errors
    /// The disk fails, or it ends before.
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn finish(mut self) -> io::Result<WholeFile> {
        fsync(&self.file)?;
        // The data is there; a folder that cannot be synced (no right to read it) loses the name at a crash of the machine at most.
        if let Ok(folder) = openat(&self.folder, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            let _ = fsync(folder);
        }
        let own = fstat(&self.file)?;
        Ok(WholeFile { path: std::mem::take(&mut self.path), device: own.st_dev, inode: own.st_ino })
    }

    /// Cuts off what is behind the first `bytes`.
    ///
    /// # Errors
    /// The disk fails.
    pub(crate) fn cut(&self, bytes: u64) -> io::Result<()> {
        Ok(ftruncate(&self.file, bytes)?)
    }
}

impl Drop for GrowingFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // There is no one to tell; the name says whose it is.
            let _ = unlinkat(&self.folder, temporary, AtFlags::empty());
        }
    }
}

impl WholeFile {
    /// A file that an earlier run has written; `None` for anything but a regular file of our user.
    pub(crate) fn of_earlier(path: PathBuf) -> Option<Self> {
        let stat = statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let ours = stat.st_uid == rustix::process::geteuid().as_raw();
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        (ours && regular).then_some(Self { path, device: stat.st_dev, inode: stat.st_ino })
    }

    /// Removes it, unless something else has its name by now.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn remove(self) -> io::Result<()> {
        let Some(name) = self.path.file_name() else { return Ok(()) };
        match parent(&self.path) {
            Ok(folder) => remove(&folder, name, (self.device, self.inode)),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The folder of a file.
fn parent(path: &Path) -> Result<OwnedFd, Errno> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    openat(CWD, parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn remove(folder: &OwnedFd, name: &OsStr, own: (u64, u64)) -> io::Result<()> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) if (there.st_dev, there.st_ino) == own => Ok(unlinkat(folder, name, AtFlags::empty())?),
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

impl Write for GrowingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    #[test]
    fn it_is_there_from_the_start_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tusk");
        let mut file = GrowingFile::create(&path, Existing::Keep).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"half");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn what_is_there_is_kept_or_replaced_and_never_written_into() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link, other) = (folder.path().join("a"), folder.path().join("link"), folder.path().join("other"));
        fs::write(&path, "old").unwrap();
        fs::hard_link(&path, &other).unwrap();
        symlink(&path, &link).unwrap();
        let error = GrowingFile::create(&path, Existing::Keep).unwrap_err().to_string();
        assert!(error.contains("exists already") && error.contains("--force"), "{error}");
        for existing in [Existing::Keep, Existing::Replace] {
            assert!(GrowingFile::create(&link, existing).unwrap_err().to_string().contains("a link"));
        }
        GrowingFile::create(&path, Existing::Replace).unwrap().write_all(b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(&other).unwrap()), (b"new".to_vec(), b"old".to_vec()));
    }

    #[test]
    fn only_the_file_itself_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        GrowingFile::create(&path, Existing::Keep).unwrap().finish().unwrap().remove().unwrap();
        assert!(!path.exists());
        let file = GrowingFile::create(&path, Existing::Keep).unwrap();
        fs::rename(&path, folder.path().join("b")).unwrap();
        fs::write(&path, "another's").unwrap();
        file.finish().unwrap().remove().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"another's");
        WholeFile::of_earlier(path.clone()).unwrap().remove().unwrap();
        assert!(!path.exists());
        symlink(folder.path().join("b"), &path).unwrap();
        assert!(WholeFile::of_earlier(path).is_none() && WholeFile::of_earlier(folder.path().to_owned()).is_none());
    }
}
