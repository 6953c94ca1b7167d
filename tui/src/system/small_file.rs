//! Reads a small file that a user names or owns. It never waits, never reads without end, and as root never reads a file that
//! another user could have written or redirected.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, major, minor, openat};

/// Longest file that is read.
const MOST: u64 = 1 << 20;

/// Bits of a mode: others than the owner may write; in a folder, only the owner of an entry may rename it.
const WRITABLE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum SmallFileError {
    /// The system refuses.
    #[error(transparent)]
    System(#[from] io::Error),
    /// It is no regular file.
    #[error("it is {0}, not a regular file")]
    Kind(&'static str),
    /// It is longer than 1 MiB.
    #[error("it is longer than 1 MiB")]
    TooLong,
    /// Root reads no file of another user.
    #[error(
        "{path} belongs to uid {owner}, and root reads only its own files; `chown root {path}` if you trust its content"
    )]
    Owner {
        /// The file or its folder.
        path: String,
        /// Whose it is.
        owner: u32,
    },
    /// Root reads no file that others can write.
    #[error(
        "others than its owner may write to {path}, so root does not read it; `chmod go-w {path}` if you trust its content"
    )]
    Writable {
        /// The file or its folder.
        path: String,
    },
    /// A link of a user leads to a file that is another's.
    #[error(
        "root does not follow the link {path}: uid {owner} owns the link, but not its target; name the file itself"
    )]
    Link {
        /// The link.
        path: String,
        /// Whose it is.
        owner: u32,
    },
}

impl SmallFileError {
    /// What kind of error it is for the system.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::System(error) => error.kind(),
            Self::Kind(_) | Self::TooLong => io::ErrorKind::InvalidInput,
            Self::Owner { .. } | Self::Writable { .. } | Self::Link { .. } => io::ErrorKind::PermissionDenied,
        }
    }
}

/// Whose files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reader {
    root: bool,
    /// The user who typed sudo: root by another name.
    sudo_uid: Option<u32>,
}

/// Reads a file, `/dev/null` as an empty one. `sudo_uid` is the user who typed sudo, whose files root reads too.
///
/// # Errors
/// [`SmallFileError`] says which rule the file breaks, and what to type.
pub(crate) fn read(path: &Path, sudo_uid: Option<u32>) -> Result<Vec<u8>, SmallFileError> {
    Reader { root: rustix::process::geteuid().is_root(), sudo_uid }.read(path)
}

/// The same as text.
///
/// # Errors
/// Also when it is not UTF-8.
pub(crate) fn read_text(path: &Path, sudo_uid: Option<u32>) -> Result<String, SmallFileError> {
    let not_text = |error: std::string::FromUtf8Error| io::Error::new(io::ErrorKind::InvalidData, error);
    Ok(String::from_utf8(read(path, sudo_uid)?).map_err(not_text)?)
}

impl Reader {
    fn read(self, path: &Path) -> Result<Vec<u8>, SmallFileError> {
        // Opened first, so that all that is found out is about what is read. A pipe does not wait.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(openat(CWD, path, flags, Mode::empty()).map_err(io::Error::from)?);
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        if kind.is_char_device() && (major(metadata.rdev()), minor(metadata.rdev())) == (1, 3) {
            return Ok(Vec::new());
        }
        if !kind.is_file() {
            return Err(SmallFileError::Kind(match () {
                () if kind.is_dir() => "a folder",
                () if kind.is_fifo() => "a pipe",
                () if kind.is_socket() => "a socket",
                () => "a device",
            }));
        }
        if self.root {
            self.trust(path, &metadata)?;
        }
        let mut bytes = Vec::new();
        file.take(MOST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST { Err(SmallFileError::TooLong) } else { Ok(bytes) }
    }

    fn trusts(self, uid: u32) -> bool {
        uid == 0 || self.sudo_uid == Some(uid)
    }

    fn trust(self, path: &Path, opened: &fs::Metadata) -> Result<(), SmallFileError> {
        self.own(path, opened)?;
        let end = self.follow(&std::path::absolute(path)?, opened.uid())?;
        let found = fs::symlink_metadata(&end)?;
        if (found.dev(), found.ino()) != (opened.dev(), opened.ino()) {
            return Err(io::Error::other("it was replaced while it was being opened; try again").into());
        }
        let folder = end.parent().unwrap_or(Path::new("/"));
        self.own(folder, &fs::metadata(folder)?)
    }

    fn own(self, path: &Path, metadata: &fs::Metadata) -> Result<(), SmallFileError> {
        let shown = || path.display().to_string();
        if !self.trusts(metadata.uid()) {
            return Err(SmallFileError::Owner { path: shown(), owner: metadata.uid() });
        }
        // In a folder like /tmp nobody else can exchange the file.
        if metadata.mode() & WRITABLE != 0 && !(metadata.is_dir() && metadata.mode() & STICKY != 0) {
            return Err(SmallFileError::Writable { path: shown() });
        }
        Ok(())
    }

    /// Where a path ends when each of its links is followed; those of a user only to that user's own file.
    fn follow(self, path: &Path, owner: u32) -> Result<PathBuf, SmallFileError> {
        /// As the kernel has it (path_resolution(7)).
        const MOST_LINKS: u32 = 40;
        let mut links = 0;
        let mut end = PathBuf::from("/");
        let mut left: Vec<_> = path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
        while let Some(part) = left.pop() {
            if part == ".." {
                end.pop();
                continue;
            }
            end.push(&part);
            let metadata = fs::symlink_metadata(&end)?;
            if !metadata.is_symlink() {
                continue;
            }
            if metadata.uid() != 0 && metadata.uid() != owner {
                return Err(SmallFileError::Link { path: end.display().to_string(), owner: metadata.uid() });
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::from(rustix::io::Errno::LOOP).into());
            }
            let target = fs::read_link(&end)?;
            end.pop();
            left.extend(
                target
                    .components()
                    .rev()
                    .filter(|part| part.as_os_str() != ".")
                    .map(|part| part.as_os_str().to_owned()),
            );
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    const USER: u32 = 65534;

    /// A folder of root's that holds `file`, and a reader as under sudo.
    fn fixture() -> (tempfile::TempDir, PathBuf, Reader) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "text").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        (folder, file, Reader { root: true, sudo_uid: Some(rustix::process::geteuid().as_raw()) })
    }

    #[test]
    fn what_is_not_a_small_regular_file_is_refused_at_once() {
        let (folder, file, _) = fixture();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let reader = Reader { root: false, sudo_uid: None };
        for (path, what) in [(&*pipe, "a pipe"), (Path::new("/dev/zero"), "a device"), (folder.path(), "a folder")] {
            assert!(reader.read(path).unwrap_err().to_string().contains(what));
        }
        assert_eq!(reader.read(Path::new("/dev/null")).unwrap(), b"");
        File::options().write(true).open(&file).unwrap().set_len(MOST).unwrap();
        assert_eq!(reader.read(&file).unwrap().len() as u64, MOST);
        File::options().write(true).open(&file).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(reader.read(&file), Err(SmallFileError::TooLong)));
    }

    #[test]
    fn root_reads_no_file_and_from_no_folder_that_others_can_write() {
        let (folder, file, reader) = fixture();
        assert_eq!(reader.read(&file).unwrap(), b"text");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
        let error = reader.read(&file).unwrap_err();
        assert!(error.to_string().contains("chmod go-w") && error.kind() == io::ErrorKind::PermissionDenied, "{error}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(reader.read(&file), Err(SmallFileError::Writable { .. })));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(reader.read(&file).unwrap(), b"text");
    }

    #[test]
    #[ignore = "needs root"]
    fn root_reads_no_file_of_another_user_and_follows_no_link_of_theirs_to_its_own() {
        let (folder, file, _) = fixture();
        let [reader, sudo] = [None, Some(USER)].map(|sudo_uid| Reader { root: true, sudo_uid });
        let link = folder.path().join("link");
        symlink("file", &link).unwrap();
        assert_eq!(reader.read(&link).unwrap(), b"text", "a link of root's");
        std::os::unix::fs::lchown(&link, Some(USER), None).unwrap();
        assert!(matches!(sudo.read(&link), Err(SmallFileError::Link { owner: USER, .. })));
        chown(&file, Some(USER), None).unwrap();
        assert!(reader.read(&file).unwrap_err().to_string().contains("chown root"));
        assert_eq!((sudo.read(&file).unwrap(), sudo.read(&link).unwrap()), (b"text".to_vec(), b"text".to_vec()));
    }
}
