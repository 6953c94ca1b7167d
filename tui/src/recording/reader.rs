//! Opens a recording that is a file: where each minute is, and the snapshots of one. The table at the end is used where it is whole;
//! else the index entries are searched for, and what is behind the last of them is decoded.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Cursor, Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use memchr::memmem;
use rustix::fs::OFlags;

use super::{
    file::{self, ENTRY_BYTES, ENTRY_START, Entry, MAX_FRAME, PARTS, TABLE_END, Tally, ZSTD},
    stream::{Damage, Event, Stream, StreamError, Wrong},
};

/// Bytes that are searched at once.
const CHUNK: usize = 1 << 20;
/// Damaged places that are remembered; more are not told one by one.
const MAX_DAMAGE: usize = 100;

/// Why a file cannot be opened as a recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The system refuses.
    #[error("cannot read {}: {source}", .path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds no recording, or an empty one.
    #[error("{}: {source}", .path.display())]
    Stream {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        source: StreamError,
    },
    /// All of it is damaged.
    #[error("{}: nothing of this recording can be read; {first}", .path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// The first damage.
        first: String,
    },
}

impl RecordingError {
    /// The user may not read it.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::System { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// A recording in a file.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    file: File,
    minutes: Vec<Minute>,
    damage: Vec<Damage>,
}

/// Where the snapshots of a minute are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minute {
    /// Time of its first snapshot.
    pub first: Timestamp,
    /// Time of its last snapshot.
    pub last: Timestamp,
    /// Snapshots with a notice of a kind that the one before did not have.
    pub news: u32,
    /// What tells the machine from others; `None` where that was not written.
    pub host: Option<u32>,
    /// When the interval of its first snapshot began, and when that of the last one ended.
    pub covers: (Timestamp, Timestamp),
    /// Requests that finished, by twelfths of what it covers.
    pub requests: [u32; PARTS],
    /// Number of snapshots.
    pub snapshots: u32,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// CRC-32 of its bytes; `None` where no index entry was written.
    pub(super) crc: Option<u32>,
}

impl Recording {
    /// Finds the minutes of a recording. It need not be finished.
    ///
    /// # Errors
    /// The file cannot be read, is something else, or nothing in it is whole.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let system = |source| RecordingError::System { path: path.to_owned(), source };
        // Not to wait for the writer of a pipe that somebody put there.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(|errno| system(errno.into()))?;
        Self::of(file.into(), path.to_owned())
    }

    /// The same of a file that is open. `path` is what messages call it.
    ///
    /// # Errors
    /// As [`Recording::open`].
    pub fn of(file: File, path: PathBuf) -> Result<Self, RecordingError> {
        let system = |source| RecordingError::System { path: path.clone(), source };
        let stream = |source| match source {
            StreamError::Io(source) => system(source),
            source => RecordingError::Stream { path: path.clone(), source },
        };
        let metadata = file.metadata().map_err(system)?;
        if !metadata.is_file() {
            let what = "this is no regular file; name `-` to read a pipe";
            return Err(system(io::Error::new(io::ErrorKind::InvalidInput, what)));
        }
        let mut recording = Self { path: path.clone(), file, minutes: Vec::new(), damage: Vec::new() };
        let length = metadata.len();
        match recording.table(length) {
            Some(entries) => recording.minutes = entries.iter().map(Minute::of).collect(),
            None => recording.search(length).map_err(stream)?,
        }
        match (recording.minutes.is_empty(), recording.damage.first()) {
            (false, _) => Ok(recording),
            (true, Some(first)) => Err(RecordingError::Nothing { path: path.clone(), first: first.to_string() }),
            (true, None) => Err(stream(StreamError::Empty)),
        }
    }

    /// Its minutes, in the order in which they were written: that of time, unless the clock was set back.
    pub fn minutes(&self) -> &[Minute] {
        &self.minutes
    }

    /// The times of its first and last snapshot.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        let times = self.minutes.iter().map(|minute| (minute.first, minute.last));
        times.reduce(|span, minute| (span.0.min(minute.0), span.1.max(minute.1))).unwrap_or_default()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was found to be damaged when it was opened, at most a hundred places. A damaged minute shows when it is read.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Reads a minute, and hands over each event of it as it is decoded.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self, minute: Minute, mut each: impl FnMut(Event)) -> Result<(), RecordingError> {
        let mut stream = match self.frame(minute)? {
            Ok(bytes) => Stream::new(Cursor::new(bytes)).map_err(|source| self.system(source))?,
            Err(damage) => {
                each(Event::Damage(damage));
                return Ok(());
            }
        };
        while let Ok(Some(event)) = stream.next_event() {
            each(match event {
                Event::Damage(damage) => Event::Damage(Damage { offset: minute.offset, ..damage }),
                snapshot => snapshot,
            });
        }
        Ok(())
    }

    /// The bytes of a minute, if they are what was written.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn frame(&self, minute: Minute) -> Result<Result<Vec<u8>, Damage>, RecordingError> {
        let bytes = read(&self.file, minute).map_err(|source| self.system(source))?;
        Ok(bytes.map_err(|what| Damage { offset: minute.offset, what }))
    }

    fn system(&self, source: io::Error) -> RecordingError {
        RecordingError::System { path: self.path.clone(), source }
    }

    /// The entries of the table at the end; `None` without one that is whole and fits the file.
    fn table(&self, length: u64) -> Option<Vec<Entry>> {
        let mut end = [0; TABLE_END];
        self.file.read_exact_at(&mut end, length.checked_sub(TABLE_END as u64)?).ok()?;
        let offset = file::table_offset(&end, length)?;
        let mut bytes = vec![0; usize::try_from(length - offset).ok()?];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        file::decode_table(&bytes, offset)
    }

    /// Searches for index entries. Each says how long the frame before it is; what lies between frames is damaged.
    fn search(&mut self, length: u64) -> Result<(), StreamError> {
        let finder = memmem::Finder::new(&ENTRY_START);
        let mut source = BufReader::with_capacity(CHUNK, &self.file);
        // `window` holds the bytes of the file from `start` on.
        let (mut window, mut start, mut end) = (Vec::with_capacity(2 * CHUNK), 0_u64, 0_u64);
        loop {
            let input = source.fill_buf()?;
            let count = input.len();
            window.extend_from_slice(input);
            source.consume(count);
            if start == 0 && window.len() >= 4 && !window.starts_with(&ZSTD) && finder.find(&window).is_none() {
                // A damaged first minute has its entry within the first megabytes at most of a real recording.
                if count == 0 || window.len() >= CHUNK {
                    return Err(StreamError::Foreign);
                }
            }
            let mut searched = 0;
            while let Some(at) = finder.find(&window[searched..]).map(|at| searched + at) {
                let Some(frame) = window[at..].first_chunk::<ENTRY_BYTES>() else { break };
                let position = start + at as u64;
                searched = at + 1;
                let Some(entry) = Entry::decode(frame) else { continue };
                let Some(offset) = position.checked_sub(entry.bytes).filter(|&offset| offset >= end) else { continue };
                if offset > end && !self.is_one_skippable(end, offset) {
                    self.damage.push(Damage { offset: end, what: Wrong::Foreign });
                }
                self.minutes.push(Minute { offset, ..Minute::of(&entry) });
                searched = at + ENTRY_BYTES;
                end = start + searched as u64;
            }
            if count == 0 {
                break;
            }
            // Keeps what an entry that is not whole yet may begin with.
            let keep = window.len().saturating_sub(ENTRY_BYTES - 1).max(searched);
            window.drain(..keep);
            start += keep as u64;
            self.damage.truncate(MAX_DAMAGE);
        }
        self.tail(end, length)
    }

    /// Whether all between two places is one skippable frame, such as the table of a recording that another one was put behind.
    fn is_one_skippable(&self, from: u64, to: u64) -> bool {
        let mut header = [0; file::SKIPPABLE_HEADER];
        if self.file.read_exact_at(&mut header, from).is_err() {
            return false;
        }
        let [a, b, c, d, length @ ..] = header;
        let length = u64::from(u32::from_le_bytes(length));
        file::is_skippable([a, b, c, d]) && from + file::SKIPPABLE_HEADER as u64 + length == to
    }

    /// Decodes what is behind the last entry: the minute in which the writer was killed, or that it is writing.
    fn tail(&mut self, offset: u64, length: u64) -> Result<(), StreamError> {
        let mut magic = [0; 4];
        // A table that is not whole is no loss.
        let is_table = offset > 0 && self.file.read_exact_at(&mut magic, offset).is_ok() && file::is_skippable(magic);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))?;
        let mut stream = Stream::new(BufReader::new(file.take(length.saturating_sub(offset).min(MAX_FRAME))))?;
        let mut tally = Tally::default();
        loop {
            match stream.next_event() {
                Ok(Some(Event::Snapshot(snapshot))) => tally.add(&snapshot),
                Ok(Some(Event::Damage(damage))) => {
                    if self.damage.len() < MAX_DAMAGE && !is_table {
                        self.damage.push(Damage { offset, ..damage });
                    }
                }
                Ok(None) => break,
                Err(StreamError::Empty | StreamError::Foreign) if offset > 0 => break,
                Err(error) => return Err(error),
            }
        }
        if let Some((first, last)) = tally.span {
            let (covers, requests, host) = (tally.covers(), tally.requests(), Some(tally.host()));
            let Tally { news, snapshots, .. } = tally;
            let bytes = length.saturating_sub(offset).min(MAX_FRAME);
            self.minutes.push(Minute {
                first,
                last,
                news,
                host,
                covers,
                requests,
                snapshots,
                offset,
                bytes,
                crc: None,
            });
        }
        Ok(())
    }
}

impl Minute {
    /// Its bytes in the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where it begins in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn of(entry: &Entry) -> Self {
        let &Entry { first, last, offset, bytes, crc, news, host, covers, requests, snapshots } = entry;
        Self { first, last, news, host, covers, requests, snapshots, offset, bytes, crc: Some(crc) }
    }
}

/// The bytes of a minute, if they are what was written.
fn read(file: &File, minute: Minute) -> io::Result<Result<Vec<u8>, Wrong>> {
    if minute.bytes > MAX_FRAME {
        return Ok(Err(Wrong::TooLarge));
    }
    let mut bytes = vec![0; minute.bytes as usize];
    match file.read_exact_at(&mut bytes, minute.offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Err(Wrong::Torn)),
        read => read?,
    }
    let whole = minute.crc.is_none_or(|crc| crc == crc32fast::hash(&bytes));
    Ok(if whole { Ok(bytes) } else { Err(Wrong::Checksum) })
}
