//! Reads a recording from its start, also while it is written: from a pipe, or the bytes of one frame. It owns decoding and
//! its bounds; what it cannot read it skips, and says where that was.

use std::io::{self, BufRead};

use jiff::Timestamp;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation as _, OutBuffer};

use super::changes::{Changes, ChangesError};
use super::file::{ENTRY_BYTES, ENTRY_START, Entry, MAX_DECODED, MAX_LINE, WINDOW_LOG, ZSTD, is_skippable};
use crate::model::{Snapshot, SnapshotError};

/// Bytes that are decoded at once.
const CHUNK: usize = 128 << 10;
/// Most snapshots in a frame: ten times as many as are taken in a minute at most.
const MAX_SNAPSHOTS: usize = 6_000;
/// Lines that are no snapshots and are told one by one; after them the frame is given up.
pub(super) const MAX_UNREAD: usize = 20;

/// Something in a recording: a snapshot, or what was read of it.
#[derive(Debug)]
pub enum Event<T = Box<Snapshot>> {
    /// A snapshot, in the order in which they were written.
    Snapshot(T),
    /// A part that is not read.
    Damage(Damage),
}

/// A part of a recording that is not read.
#[derive(Debug, thiserror::Error)]
#[error("at byte {offset}: {what}")]
pub struct Damage {
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// What is wrong.
    pub what: Wrong,
}

/// What is wrong with a part of a recording.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// Neither a frame nor what is between frames.
    #[error("this is no part of a recording; it is skipped")]
    Foreign,
    /// zstd cannot decode it.
    #[error("this minute is damaged ({0}); the rest of it is skipped")]
    Undecodable(io::Error),
    /// The checksum says that it is not what was written.
    #[error("this minute is damaged (its checksum is wrong)")]
    Checksum,
    /// It is larger than any that is written.
    #[error("this minute is larger than a recording has them; the rest of it is skipped")]
    TooLarge,
    /// The end is missing.
    #[error("the recording ends within a minute: its writer was killed, or it still runs")]
    Torn,
    /// The last line of a minute has no end.
    #[error("this minute ends within a snapshot, which is left out")]
    Unfinished,
    /// A line cannot be read.
    #[error("{0}")]
    Line(#[from] SnapshotError),
    /// A line that says what changed cannot be read.
    #[error("a snapshot cannot be read: {0}; the rest of this minute is skipped")]
    Changes(#[from] ChangesError),
}

/// Why nothing is read at all.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It is something else.
    #[error("this is no recording of tusktop")]
    Foreign,
    /// There is nothing.
    #[error("there is nothing in it: it was not written yet, or the recording ended before its first snapshot")]
    Empty,
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Parts of a snapshot, by the names of its tables.
#[derive(Debug, Clone, Copy)]
pub struct Parts(&'static [&'static str]);

impl Parts {
    /// All of it.
    pub const ALL: Self = Self(&[]);
    /// The groups.
    pub const GROUPS: Self = Self(&["groups"]);
    /// The groups and processes.
    pub const PROCESSES: Self = Self(&["groups", "processes", "cgroups"]);
    /// What PHP did.
    pub const PHP: Self = Self(&["php"]);
    /// What PHP did, and the groups.
    pub const PHP_AND_GROUPS: Self = Self(&["php", "groups"]);
    /// The notices.
    pub const NOTICES: Self = Self(&["notices"]);

    fn has(self, table: &str) -> bool {
        let is_in =
            |name: &&str| table.strip_prefix(*name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.0.is_empty() || self.0.iter().any(is_in)
    }
}

/// A line of a recording: a snapshot.
pub struct Line<'a> {
    /// `None` where only what changed was written.
    whole: Option<&'a [u8]>,
    changes: &'a Changes,
    restored: &'a mut Vec<u8>,
}

impl Line<'_> {
    /// The time of the snapshot.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn at(&self) -> Result<Timestamp, Wrong> {
        if let Some(line) = self.whole {
            return Ok(Snapshot::read_time(line)?);
        }
        let at = self.changes.value("at").ok_or(ChangesError::Other)?;
        Ok(serde_json::from_slice(at).map_err(ChangesError::Malformed)?)
    }

    /// The snapshot as JSON, with these parts of it at least.
    ///
    /// # Errors
    /// What was written does not give one.
    pub fn json(&mut self, parts: Parts) -> Result<&[u8], Wrong> {
        match self.whole {
            Some(line) => Ok(line),
            None => {
                self.changes.write(|table| parts.has(table), self.restored, MAX_LINE)?;
                Ok(self.restored)
            }
        }
    }
}

/// A recording that is read from its start.
pub struct Stream<R> {
    source: R,
    decoder: Decoder<'static>,
    state: State,
    /// Bytes that were read from the source.
    offset: u64,
    /// What was decoded and is not taken yet.
    decoded: Box<[u8]>,
    pending: std::ops::Range<usize>,
    /// The decoder may have more without more input.
    more: bool,
    line: Vec<u8>,
    changes: Changes,
    /// A line of which what changed was written.
    restored: Vec<u8>,
    /// Lines of this frame that are snapshots, and that are none.
    snapshots: usize,
    unread: usize,
    /// The frame before: where it began, its bytes and their CRC.
    before: Option<(u64, u64, u32)>,
    /// An entry inside a frame or inside what is skipped says that a length there is wrong.
    search: EntrySearch,
}

/// Looks for the start of an entry in bytes that come in pieces.
#[derive(Default)]
struct EntrySearch {
    /// Bytes of it that the last piece ended with.
    matched: usize,
    /// Up to where in the source bytes were looked at inside a frame: they may come again.
    searched: u64,
    /// Where in the source the start of an entry ends.
    found: Option<u64>,
}

impl EntrySearch {
    /// Where in a piece the start of an entry ends.
    fn find(&mut self, piece: &[u8]) -> Option<usize> {
        for (at, &byte) in piece.iter().enumerate() {
            let goes_on = byte == ENTRY_START[self.matched];
            self.matched = if goes_on { self.matched + 1 } else { usize::from(byte == ENTRY_START[0]) };
            if self.matched == ENTRY_START.len() {
                self.matched = 0;
                return Some(at + 1);
            }
        }
        None
    }

    /// The same of bytes that begin at `offset`, of which some may have been looked at before.
    fn find_at(&mut self, offset: u64, bytes: &[u8]) -> Option<usize> {
        if self.found.is_none() {
            let known = usize::try_from(self.searched.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
            let found = self.find(&bytes[known..]);
            self.found = found.map(|end| offset + (known + end) as u64);
            self.searched = offset + bytes.len() as u64;
        }
        Some(usize::try_from(self.found?.saturating_sub(offset)).unwrap_or(usize::MAX))
    }
}

/// How skipping ended.
enum Skipped {
    All,
    /// The source ended before.
    Torn,
    /// It had an entry in it.
    Entry,
}

enum State {
    Between,
    Frame {
        offset: u64,
        bytes: u64,
        decoded: u64,
        crc: crc32fast::Hasher,
        /// All of it is decoded; its last lines may not be taken yet.
        done: bool,
    },
    /// After damage: the next index entry is searched for.
    Lost,
    Ended,
}

impl<R: BufRead> Stream<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// zstd gets no memory.
    pub fn new(source: R) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self {
            source,
            decoder,
            state: State::Between,
            offset: 0,
            decoded: vec![0; CHUNK].into(),
            pending: 0..0,
            more: false,
            line: Vec::new(),
            changes: Changes::default(),
            restored: Vec::new(),
            snapshots: 0,
            unread: 0,
            before: None,
            search: EntrySearch::default(),
        })
    }

    /// The next snapshot or damage; `None` at the end. It waits for as long as the source does, and never with a snapshot that is
    /// there already.
    ///
    /// # Errors
    /// It is no recording, or the source cannot be read.
    pub fn next_event(&mut self) -> Result<Option<Event>, StreamError> {
        self.next_with(&mut |mut line| Ok(Box::new(Snapshot::read(line.json(Parts::ALL)?)?)))
    }

    /// As [`Stream::next_event`], with a part of the snapshot only: what `read` makes of its line.
    ///
    /// # Errors
    /// It is no recording, or the source cannot be read.
    pub fn next_with<T>(
        &mut self,
        read: &mut impl FnMut(Line<'_>) -> Result<T, Wrong>,
    ) -> Result<Option<Event<T>>, StreamError> {
        loop {
            if let Some(event) = self.next_line(read) {
                return Ok(Some(event));
            }
            let damage = match &self.state {
                State::Between => self.between()?,
                State::Frame { done: false, .. } => self.decode()?,
                State::Frame { done: true, .. } => self.close(),
                State::Lost => {
                    self.find_entry()?;
                    None
                }
                State::Ended => return Ok(None),
            };
            if let Some(damage) = damage {
                return Ok(Some(Event::Damage(damage)));
            }
        }
    }

    /// Takes a line of what is decoded.
    fn next_line<T>(&mut self, read: &mut impl FnMut(Line<'_>) -> Result<T, Wrong>) -> Option<Event<T>> {
        let State::Frame { offset, .. } = self.state else {
            self.pending = 0..0;
            return None;
        };
        if self.pending.is_empty() {
            return None;
        }
        let pending = &self.decoded[self.pending.clone()];
        let end = memchr::memchr(b'\n', pending);
        let part = &pending[..end.unwrap_or(pending.len())];
        if self.line.len() + part.len() > MAX_LINE {
            return Some(Event::Damage(self.lose(offset, Wrong::TooLarge)));
        }
        self.line.extend_from_slice(part);
        self.pending.start += part.len() + usize::from(end.is_some());
        end?;
        let read = if Changes::is_changes(&self.line) {
            self.restored.clear();
            if let Err(error) = self.changes.take(&self.line) {
                return Some(Event::Damage(self.lose(offset, error.into())));
            }
            let read = read(Line { whole: None, changes: &self.changes, restored: &mut self.restored });
            if let State::Frame { decoded, .. } = &mut self.state {
                *decoded += self.restored.len() as u64;
            }
            read
        } else {
            self.changes.begin(&self.line);
            read(Line { whole: Some(&self.line), changes: &self.changes, restored: &mut self.restored })
        };
        self.line.clear();
        let count = if read.is_ok() { &mut self.snapshots } else { &mut self.unread };
        *count += 1;
        if self.snapshots > MAX_SNAPSHOTS || self.unread > MAX_UNREAD {
            return Some(Event::Damage(self.lose(offset, Wrong::TooLarge)));
        }
        Some(match read {
            Ok(part) => Event::Snapshot(part),
            Err(what) => Event::Damage(Damage { offset, what }),
        })
    }

    /// Reads what is between frames, up to the start of the next one.
    fn between(&mut self) -> Result<Option<Damage>, StreamError> {
        let offset = self.offset;
        let mut magic = [0; 4];
        let count = self.fill(&mut magic)?;
        match count {
            0 if offset == 0 => return Err(StreamError::Empty),
            0 => {
                self.state = State::Ended;
                return Ok(None);
            }
            4 => {}
            _ if offset == 0 => return Err(StreamError::Foreign),
            _ => return Ok(Some(self.end(offset, Wrong::Torn))),
        }
        if magic == ZSTD {
            let mut crc = crc32fast::Hasher::new();
            crc.update(&magic);
            self.state = State::Frame { offset, bytes: 4, decoded: 0, crc, done: false };
            self.line.clear();
            self.search = EntrySearch { searched: self.offset, ..EntrySearch::default() };
            (self.snapshots, self.unread) = (0, 0);
            let fed = self.decoder.reinit().and_then(|()| self.decoder.run_on_buffers(&magic, &mut self.decoded));
            return Ok(fed.err().map(|error| self.lose(offset, Wrong::Undecodable(error))));
        }
        if !is_skippable(magic) {
            if offset == 0 {
                return Err(StreamError::Foreign);
            }
            return Ok(Some(self.lose(offset, Wrong::Foreign)));
        }
        let mut length = [0; 4];
        if self.fill(&mut length)? < 4 {
            return Ok(Some(self.end(offset, Wrong::Torn)));
        }
        let mut frame = [0; ENTRY_BYTES];
        frame[..4].copy_from_slice(&magic);
        frame[4..8].copy_from_slice(&length);
        if ENTRY_START.starts_with(&frame[..8]) {
            return self.entry(offset, frame);
        }
        Ok(match self.skip(u32::from_le_bytes(length).into())? {
            Skipped::All => None,
            Skipped::Torn => Some(self.end(offset, Wrong::Torn)),
            Skipped::Entry => {
                self.go_behind_entry()?;
                Some(Damage { offset, what: Wrong::Foreign })
            }
        })
    }

    /// Reads an entry of which there are the first eight bytes, and compares it with the frame before.
    fn entry(&mut self, offset: u64, mut frame: [u8; ENTRY_BYTES]) -> Result<Option<Damage>, StreamError> {
        if self.fill(&mut frame[8..])? < ENTRY_BYTES - 8 {
            return Ok(Some(self.end(offset, Wrong::Torn)));
        }
        let Some((start, bytes, crc)) = self.before.take() else { return Ok(None) };
        Ok(match Entry::decode(&frame) {
            Some(entry) if (entry.bytes, entry.crc) != (bytes, crc) => {
                Some(Damage { offset: start, what: Wrong::Checksum })
            }
            _ => None,
        })
    }

    /// Decodes a part of a frame.
    fn decode(&mut self) -> Result<Option<Damage>, StreamError> {
        let State::Frame { offset, bytes, decoded, crc, done } = &mut self.state else { return Ok(None) };
        let start = *offset;
        let input = if self.more { &[][..] } else { fill_buf(&mut self.source)? };
        if input.is_empty() && !self.more {
            return Ok(Some(self.end(start, Wrong::Torn)));
        }
        let entry = if self.more { None } else { self.search.find_at(self.offset, input) };
        let input = &input[..entry.map_or(input.len(), |end| end.saturating_sub(ENTRY_START.len()).min(input.len()))];
        let mut from = InBuffer::around(input);
        let mut to = OutBuffer::around(&mut self.decoded[..]);
        let run = self.decoder.run(&mut from, &mut to);
        let (taken, made) = (from.pos(), to.pos());
        crc.update(&input[..taken]);
        *bytes += taken as u64;
        *decoded += made as u64;
        let idle = taken == 0 && made == 0 && !input.is_empty();
        let too_large = *decoded > MAX_DECODED;
        *done = matches!(run, Ok(0));
        let is_cut = !*done && made < CHUNK && taken == input.len();
        if let Some(end) = entry.filter(|_| is_cut) {
            let damage = self.lose(start, Wrong::Undecodable(io::ErrorKind::UnexpectedEof.into()));
            // Where the entry began in the piece before, there is no start of one to be found any more.
            let begins_here = end >= ENTRY_START.len();
            let consumed = if begins_here { taken } else { end };
            self.source.consume(consumed);
            self.offset += consumed as u64;
            if !begins_here {
                self.go_behind_entry()?;
            }
            return Ok(Some(damage));
        }
        self.source.consume(taken);
        self.offset += taken as u64;
        self.more = made == CHUNK;
        self.pending = 0..made;
        Ok(match run {
            Err(error) => Some(self.lose(start, Wrong::Undecodable(error))),
            Ok(_) if too_large => Some(self.lose(start, Wrong::TooLarge)),
            Ok(1..) if idle => Some(self.lose(start, Wrong::Undecodable(io::ErrorKind::InvalidData.into()))),
            Ok(_) => None,
        })
    }

    /// Ends a frame whose lines are taken.
    fn close(&mut self) -> Option<Damage> {
        let State::Frame { offset, bytes, crc, .. } = std::mem::replace(&mut self.state, State::Between) else {
            return None;
        };
        self.before = Some((offset, bytes, crc.finalize()));
        self.more = false;
        let unfinished = !std::mem::take(&mut self.line).is_empty();
        unfinished.then_some(Damage { offset, what: Wrong::Unfinished })
    }

    /// Searches for the next index entry, and goes on behind it.
    fn find_entry(&mut self) -> Result<(), StreamError> {
        let mut search = EntrySearch::default();
        loop {
            let input = fill_buf(&mut self.source)?;
            if input.is_empty() {
                self.state = State::Ended;
                return Ok(());
            }
            let found = search.find(input);
            let taken = found.unwrap_or(input.len());
            self.source.consume(taken);
            self.offset += taken as u64;
            if found.is_some() {
                return self.go_behind_entry();
            }
        }
    }

    /// Reads the rest of an entry whose start is read. One that is damaged is passed over, too.
    fn go_behind_entry(&mut self) -> Result<(), StreamError> {
        let mut frame = [0; ENTRY_BYTES];
        frame[..ENTRY_START.len()].copy_from_slice(&ENTRY_START);
        self.fill(&mut frame[ENTRY_START.len()..])?;
        self.before = None;
        self.state = if Entry::decode(&frame).is_some() { State::Between } else { State::Lost };
        Ok(())
    }

    fn lose(&mut self, offset: u64, what: Wrong) -> Damage {
        self.reset(State::Lost);
        Damage { offset, what }
    }

    fn end(&mut self, offset: u64, what: Wrong) -> Damage {
        self.reset(State::Ended);
        Damage { offset, what }
    }

    fn reset(&mut self, state: State) {
        self.state = state;
        self.pending = 0..0;
        self.more = false;
        self.line.clear();
    }

    /// Reads into all of `bytes`, or up to the end of the source, and says how many.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            let input = fill_buf(&mut self.source)?;
            if input.is_empty() {
                break;
            }
            let count = input.len().min(bytes.len() - filled);
            bytes[filled..][..count].copy_from_slice(&input[..count]);
            self.source.consume(count);
            filled += count;
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    /// Skips bytes, up to an entry if there is one.
    fn skip(&mut self, mut bytes: u64) -> io::Result<Skipped> {
        let mut search = EntrySearch::default();
        while bytes > 0 {
            let input = fill_buf(&mut self.source)?;
            if input.is_empty() {
                return Ok(Skipped::Torn);
            }
            let count = usize::try_from(bytes).map_or(input.len(), |bytes| bytes.min(input.len()));
            let found = search.find(&input[..count]);
            let taken = found.unwrap_or(count);
            self.source.consume(taken);
            self.offset += taken as u64;
            bytes -= taken as u64;
            if found.is_some() {
                return Ok(Skipped::Entry);
            }
        }
        Ok(Skipped::All)
    }
}

/// What the source has; empty at its end.
fn fill_buf(source: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match source.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    source.fill_buf()
}
