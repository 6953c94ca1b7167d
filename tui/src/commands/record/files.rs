//! The files of a recording: their names, one after the other, and which of them are kept.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
};

use anyhow::bail;
use jiff::Zoned;

use super::{RecordError, aging::Aging};
use crate::{
    cli::RecordArgs,
    model::Snapshot,
    recording::Writer,
    system::{
        growing_file::{GrowingFile, WholeFile},
        host_name,
        new_file::{Existing, NewFileError},
    },
    words::printable,
};

/// Longest part of the default name that is the host's.
const MAX_HOST: usize = 64;
/// Names that are tried for the next file before that is given up.
const MAX_TRIES: u32 = 10_000;

/// What a recording is written to.
pub(super) enum Sink {
    Stdout(io::Stdout),
    File(GrowingFile),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

/// The files of a recording, of which one is open.
pub(super) struct Files {
    /// Name of the first file; `None` for standard output.
    first: Option<PathBuf>,
    current: PathBuf,
    /// `None` only after an error.
    writer: Option<Writer<Sink>>,
    existing: Existing,
    max_size: Option<u64>,
    kept: Kept,
    /// Rolls up older parts of the file, where that is asked for.
    aging: Option<Aging>,
    count: u32,
    /// Bytes of the files before.
    whole_bytes: u64,
}

impl Files {
    pub(super) fn open(arguments: &RecordArgs) -> anyhow::Result<Self> {
        let existing = if arguments.force { Existing::Replace } else { Existing::Keep };
        let first = match &arguments.output {
            Some(path) if path.as_os_str() == "-" => None,
            Some(path) => Some(path.clone()),
            None => Some(default_name(&host_name(), &Zoned::now()).into()),
        };
        let sink = match &first {
            None if io::stdout().is_terminal() => bail!("a recording is not for a terminal; name a file with -o"),
            None if arguments.max_size.is_some() => bail!("--max-size is for files, and this is a pipe"),
            None if arguments.tiers.is_some() => {
                bail!("--tiers writes older parts of the file again, which a pipe does not permit; name a file with -o")
            }
            None => Sink::Stdout(io::stdout()),
            Some(path) => Sink::File(GrowingFile::create(path, existing)?),
        };
        Ok(Self {
            current: first.clone().unwrap_or_default(),
            first,
            writer: Some(Writer::new(sink)?),
            existing,
            max_size: arguments.max_size,
            kept: Kept::new(arguments.keep),
            aging: arguments.tiers.clone().map(Aging::new),
            count: 1,
            whole_bytes: 0,
        })
    }

    pub(super) fn name(&self) -> String {
        match self.first {
            None => "standard output".into(),
            Some(_) => name(&self.current),
        }
    }

    pub(super) fn push(&mut self, snapshot: &Snapshot) -> Result<(), RecordError> {
        let is_full = self.writer.as_ref().zip(self.max_size).is_some_and(|(writer, most)| writer.bytes() >= most);
        if let Some(first) = self.first.clone().filter(|_| is_full) {
            let created = create_next(&first, &mut self.count, self.existing);
            self.finish()?;
            let (next, file) = created?;
            self.current = next;
            self.writer = Some(Writer::new(Sink::File(file)).map_err(|source| self.error(source))?);
            self.kept.remove_old(1).map_err(|source| self.error(source))?;
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let pushed = match &mut self.aging {
            None => writer.push(snapshot),
            Some(aging) => aging.push(writer, snapshot),
        };
        pushed.map_err(|source| self.error(source))
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.whole_bytes + self.writer.as_ref().map_or(0, Writer::bytes)
    }

    /// Ends the file that is open.
    pub(super) fn finish(&mut self) -> Result<(), RecordError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        self.whole_bytes += writer.bytes();
        if let Some(aging) = &mut self.aging {
            aging.next_file();
        }
        let sink = writer.finish().map_err(|source| self.error(source))?;
        if let Sink::File(file) = sink {
            self.kept.add(file.finish().map_err(|source| self.error(source))?);
        }
        Ok(())
    }

    /// Leaves the file that is open with the snapshots that are whole, after it could not be written.
    pub(super) fn give_up(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let whole = writer.bytes();
        self.whole_bytes += whole;
        if let Sink::File(file) = writer.abandon() {
            // A part of a snapshot at the end does no harm: whoever reads it says that the end is missing.
            let _ = file.cut(whole);
        }
    }

    fn error(&self, source: io::Error) -> RecordError {
        RecordError::Write { to: self.name(), source }
    }
}

/// The files that are whole, the oldest first, where old ones are removed.
pub(super) struct Kept {
    most: Option<u32>,
    files: VecDeque<WholeFile>,
}

impl Kept {
    pub(super) fn new(most: Option<u32>) -> Self {
        Self { most, files: VecDeque::new() }
    }

    pub(super) fn add(&mut self, file: WholeFile) {
        self.files.extend(self.most.map(|_| file));
    }

    /// Removes files beyond those that are kept, of which `open` are not among them.
    pub(super) fn remove_old(&mut self, open: usize) -> io::Result<()> {
        while self.most.is_some_and(|most| self.files.len() + open > most as usize) {
            let Some(oldest) = self.files.pop_front() else { break };
            oldest.remove()?;
        }
        Ok(())
    }
}

/// Creates the file that follows. One of that name that is to be kept is passed over: a recording that runs for days does not end at it.
pub(super) fn create_next(
    first: &Path,
    count: &mut u32,
    existing: Existing,
) -> Result<(PathBuf, GrowingFile), NewFileError> {
    let end = count.saturating_add(MAX_TRIES);
    loop {
        *count += 1;
        let next = numbered(first, *count);
        match GrowingFile::create(&next, existing) {
            Err(NewFileError::Refused { .. }) if *count < end => {}
            created => return Ok((next, created?)),
        }
    }
}

/// The name of a file, safe for a terminal.
pub(super) fn name(path: &Path) -> String {
    printable::printable(&path.to_string_lossy()).into_owned()
}

/// The name of a file that was given none: `web01-2026-11-27-140533.tusk`.
pub(super) fn default_name(host: &str, now: &Zoned) -> String {
    format!("{}-{}.tusk", plain(host), now.strftime("%Y-%m-%d-%H%M%S"))
}

/// The name of a host as a part of the name of a file.
pub(super) fn plain(host: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let host: String = host.split('.').next().unwrap_or_default().chars().take(MAX_HOST).map(plain).collect();
    if host.is_empty() { "tusktop".into() } else { host }
}

/// The name of the following files: `a.tusk`, `a-2.tusk`, `a-3.tusk`.
fn numbered(first: &Path, number: u32) -> PathBuf {
    let mut name = first.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    if let Some(extension) = first.extension() {
        name.push(".");
        name.push(extension);
    }
    first.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_name_says_host_and_time_and_steers_nothing() {
        let now: Zoned = "2026-11-27T14:05:33[UTC]".parse().unwrap();
        assert_eq!(default_name("web01.example.org", &now), "web01-2026-11-27-140533.tusk");
        assert_eq!(default_name("../a\x1b[2J", &now), "tusktop-2026-11-27-140533.tusk");
        assert_eq!(default_name("a/b\n", &now), "a_b_-2026-11-27-140533.tusk");
    }

    #[test]
    fn a_file_that_is_there_is_passed_over_by_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join("a.tusk");
        std::fs::write(folder.path().join("a-2.tusk"), "precious").unwrap();
        let mut count = 1;
        let (path, _file) = create_next(&first, &mut count, Existing::Keep).unwrap();
        assert_eq!((path, count), (folder.path().join("a-3.tusk"), 3));
        assert_eq!(std::fs::read(folder.path().join("a-2.tusk")).unwrap(), b"precious");
    }

    #[test]
    fn following_files_are_numbered_before_the_ending() {
        assert_eq!(numbered(Path::new("/var/x.tusk"), 2), Path::new("/var/x-2.tusk"));
        assert_eq!(numbered(Path::new("x"), 11), Path::new("x-11"));
    }
}
