//! Counts the open files of a process in /proc/PID/fd, by kind, within bounds.

use std::{
    mem::MaybeUninit,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use rustix::fs::{OFlags, RawDir, fstat, readlinkat_raw};

use super::folder::{Folder, unread};
use crate::model::{OpenFiles, Reading};

/// Entries that are looked at.
const MOST: u64 = 100_000;
/// Time that looking at them may take.
const PATIENCE: Duration = Duration::from_millis(50);
/// Enough of a link to tell its kind.
const START: usize = 16;

/// Counts them. `limit` is passed on.
pub(super) fn count(process: &Folder, limit: Option<u64>) -> Reading<OpenFiles> {
    let started = Instant::now();
    let folder = process.file("fd", OFlags::DIRECTORY)?;
    let mut found = OpenFiles { complete: true, exact: true, limit, ..OpenFiles::default() };
    let mut buffer = vec![MaybeUninit::uninit(); 32 * 1024];
    let mut entries = RawDir::new(folder.as_fd(), &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(unread)?;
        let name = entry.file_name();
        if !name.to_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        if found.count >= MOST || found.count % 256 == 255 && started.elapsed() > PATIENCE {
            found.complete = false;
            break;
        }
        found.count += 1;
        let mut start = [MaybeUninit::uninit(); START];
        // One that was closed meanwhile counts as it was when the folder was listed.
        let target = readlinkat_raw(&folder, name, &mut start).map_or(&[][..], |(target, _)| &*target);
        let kind = match target {
            [b'/', rest @ ..] if !rest.starts_with(b"memfd:") => &mut found.files,
            target if target.starts_with(b"socket:") => &mut found.sockets,
            target if target.starts_with(b"pipe:") => &mut found.pipes,
            _ => &mut found.other,
        };
        *kind += 1;
    }
    if !found.complete {
        // Since Linux 6.2 the size of the folder is the number of its entries (fs/proc/fd.c).
        let size = fstat(&folder).map_or(0, |status| u64::try_from(status.st_size).unwrap_or(0));
        found.exact = size >= found.count;
        found.count = found.count.max(size);
    }
    Ok(found)
}
