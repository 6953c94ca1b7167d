//! The file mappings of a process, from /proc/PID/maps (proc_pid_maps(5)). Callers decide what they mean.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::collect::procfs::Procfs;

/// Bytes of the file that are read: a process may have 65 530 mappings with paths of any length, PHP has hundreds.
const LIMIT: u64 = 8 << 20;

/// A mapping of a file, or of memory that the kernel keeps as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// `START-END` as the kernel writes it, the name of the entry in /proc/PID/map_files.
    pub range: String,
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Such as `r-xp`.
    pub permissions: String,
    /// Offset in the file.
    pub offset: u64,
    pub inode: u64,
    /// Path, without the mark of a deleted file.
    pub path: Option<PathBuf>,
}

impl Mapping {
    /// Anonymous memory that processes share, as opcache and php-fpm's scoreboards take it: the kernel calls it so
    /// (mm/shmem.c, `shmem_zero_setup`).
    pub(crate) fn is_shared_anonymous(&self) -> bool {
        self.path.as_deref() == Some(Path::new("/dev/zero")) && self.permissions.ends_with('s')
    }

    /// Its size; 0 for a range that no kernel writes.
    pub(crate) fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let range = fields.next()?;
        let (start, end) = range.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let permissions = fields.next()?;
        let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
        let inode = fields.nth(1)?.parse().ok().filter(|&inode| inode != 0)?;
        let path = fields.next().map(|path| PathBuf::from(path.trim_start().trim_end_matches(" (deleted)")));
        Some(Self { range: range.to_owned(), start, end, permissions: permissions.to_owned(), offset, inode, path })
    }
}

/// All file mappings of a process.
///
/// # Errors
/// The process is gone, or belongs to another user.
pub(crate) fn of(procfs: &Procfs, pid: u32) -> io::Result<Vec<Mapping>> {
    Ok(all(&procfs.text(pid, "maps", LIMIT)?))
}

/// All file mappings in the text of /proc/PID/maps; other lines are passed over.
pub(super) fn all(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(Mapping::parse).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::collect::procfs::fake::Fake;

    #[test]
    fn a_line_is_read_with_deleted_files_and_spaces() {
        let line =
            "55d0c0a00000-55d0c0c00000 r-xp 00200000 fe:01 123456                     /usr/sbin/php fpm (deleted)";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!((mapping.start, mapping.end), (0x55d0_c0a0_0000, 0x55d0_c0c0_0000));
        assert_eq!((mapping.offset, mapping.inode, &*mapping.permissions), (0x20_0000, 123_456, "r-xp"));
        assert_eq!(mapping.path.unwrap(), Path::new("/usr/sbin/php fpm"));
        assert!(Mapping::parse("7ffc1000-7ffc2000 rw-p 00000000 00:00 0          [stack]").is_none());
        assert!(Mapping::parse("garbage").is_none());
    }

    #[test]
    fn the_mappings_of_this_test_hold_its_own_file() {
        let exe = std::env::current_exe().unwrap();
        let procfs = Procfs::default();
        let mappings = of(&procfs, std::process::id()).unwrap();
        assert!(mappings.iter().any(|mapping| mapping.path.as_deref() == Some(&exe) && mapping.permissions == "r-xp"));
        assert_eq!(of(&procfs, u32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn only_files_and_memory_that_is_kept_as_one_are_mappings_and_other_lines_are_passed_over() {
        let fake = Fake::new();
        fake.write(
            7,
            "maps",
            "55d0c0a00000-55d0c0c00000 r-xp 00200000 fe:01 42  /usr/sbin/php-fpm8.2\n\
             7f0000000000-7f0000800000 rw-s 00000000 00:01 7   /dev/zero (deleted)\n\
             7f0000900000-7f0000a00000 rw-p 00000000 00:00 0 \n\
             7ffc10000000-7ffc20000000 rw-p 00000000 00:00 0   [stack]\n\
             \u{fffd} no mapping\n",
        );
        let mappings = of(&fake.procfs, 7).unwrap();
        let found: Vec<_> = mappings.iter().map(|m| (m.inode, m.bytes(), m.is_shared_anonymous())).collect();
        assert_eq!(found, [(42, 0x20_0000, false), (7, 0x80_0000, true)]);
    }
}
