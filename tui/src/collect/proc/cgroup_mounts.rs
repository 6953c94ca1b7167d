//! Where the hierarchies of control groups are mounted, from the text of /proc/self/mountinfo (proc_pid_mountinfo(5)). Callers
//! read the files there.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// What version 1 shows where there is no limit is the highest multiple of a page below 2^63 (mm/page_counter.c); no machine
/// has this much.
pub(in crate::collect) const UNLIMITED_FROM: u64 = 1 << 62;

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::collect) struct CgroupMount {
    /// 1 or 2.
    pub version: u8,
    /// Options of the hierarchy: in version 1 the controllers that it has, among others.
    options: Vec<Box<[u8]>>,
    /// The part of the hierarchy that is mounted: not all of it in a container.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
}

impl CgroupMount {
    /// All that are mounted; lines that cannot be understood are left out.
    pub(crate) fn all(mountinfo: &[u8]) -> Vec<Self> {
        mountinfo.split(|&byte| byte == b'\n').filter_map(Self::parse).collect()
    }

    /// Whether the groups of a controller are seen here. Version 2 has all that version 1 has not taken.
    pub(crate) fn has(&self, controller: &str) -> bool {
        self.version == 2 || self.options.iter().any(|option| **option == *controller.as_bytes())
    }

    /// The path of a group below the mount point; `None` when this mount does not show it.
    pub(crate) fn below<'a>(&self, group: &'a Path) -> Option<&'a Path> {
        let below = group.strip_prefix(&self.root).ok()?;
        // A process outside the namespace of the reader has a path that goes up.
        let stays = !below.components().any(|component| component == std::path::Component::ParentDir);
        stays.then_some(below)
    }

    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        let mut filesystem = fields.skip_while(|field| *field != b"-").skip(1);
        let version = match filesystem.next()? {
            b"cgroup2" => 2,
            b"cgroup" => 1,
            _ => return None,
        };
        let options = filesystem.nth(1)?.split(|&byte| byte == b',').map(Box::from).collect();
        Some(Self { version, options, root: unescaped(root), point: unescaped(point) })
    }
}

/// Blanks, tabs, newlines and backslashes are written as three octal digits behind a backslash.
pub(super) fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_among_other_mounts_and_broken_lines() {
        let text = b"31 23 0:28 / /sys rw - tmpfs tmpfs rw,mode=755\nbroken\n35 31 0:32 /box /a\\040b\\134 rw,relatime shared:1 \
                     master:2 - cgroup cgroup rw,cpu,memory\n41 31 0:38 / /two rw - cgroup2 cgroup2 rw\n36 31 0:33 / /x rw - cgroup\n";
        let mounts = CgroupMount::all(text);
        let found: Vec<_> = mounts.iter().map(|m| (m.version, m.root.to_str(), m.point.to_str())).collect();
        assert_eq!(found, [(1, Some("/box"), Some("/a b\\")), (2, Some("/"), Some("/two"))]);
        let has = [(0, "memory"), (0, "mem"), (0, "pids"), (1, "pids")].map(|(mount, name)| mounts[mount].has(name));
        assert_eq!(has, [true, false, false, true]);
    }

    #[test]
    fn a_part_of_a_hierarchy_shows_what_is_below_it() {
        let mount = &CgroupMount::all(b"35 31 0:32 /box /x rw - cgroup2 cgroup2 rw\n")[0];
        let below = |group| mount.below(Path::new(group)).map(|path| path.to_str().unwrap());
        assert_eq!((below("/box/a/b"), below("/box")), (Some("a/b"), Some("")));
        assert_eq!((below("/boxes"), below("/a"), below("/box/../b")), (None, None, None));
    }
}
