//! The layout of a recording. It owns the bytes of index entries and of the table, and the bounds; who reads and writes frames is
//! `stream`, `reader` and `writer`.
//!
//! ```text
//! ┌ zstd frame ──────────────┐┌ skippable frame ┐┌ zstd frame ─┐┌ skippable ┐   ┌ skippable frame ┐
//! │ {"schema":1,"at":…}      ││ index entry     ││ …           ││ entry     │ … │ table: all      │
//! │ {"schema":1,"at":…}      ││ of this frame   ││             ││           │   │ entries again   │
//! │ … a minute at most       ││                 ││             ││           │   │                 │
//! └──────────────────────────┘└─────────────────┘└─────────────┘└───────────┘   └─────────────────┘
//! ```
//!
//! Inside a frame is one snapshot a line, as `snap --format json` prints it, and the compressor is flushed after each: what was
//! written can be read, whatever ends the writer. The entries find a moment without decoding what is before it; the table finds
//! the entries without reading what is between them. Neither is needed: `zstdcat` skips both. Numbers are little-endian.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::{NoticeKind, Snapshot};

/// Longest time in one frame, which is what has to be decoded to see one moment.
pub const FRAME_SPAN: Duration = Duration::from_secs(60);
/// The same where snapshots are [`FAR_APART`] or more, so that a frame still has some to refer to.
pub(super) const LONG_FRAME_SPAN: Duration = Duration::from_secs(600);
/// Longest interval of a snapshot in a frame of [`FRAME_SPAN`].
pub(super) const FAR_APART: Duration = Duration::from_secs(10);
/// A longer time of which no snapshot says anything is a gap, and ends a frame.
pub(crate) const GAP: Duration = Duration::from_secs(60);
/// Longest interval of a snapshot that counts.
const MAX_INTERVAL: Duration = Duration::from_secs(86_400);
/// A frame ends early from this many bytes on, so that reading one takes little memory.
pub(super) const FRAME_BYTES: u64 = 8 << 20;
/// Largest frame that is read: one that ended early, and one snapshot more.
pub(super) const MAX_FRAME: u64 = 64 << 20;
/// Most bytes that a frame may have when decoded: a minute of ten snapshots a second with 5 000 processes.
pub(super) const MAX_DECODED: u64 = 2 << 30;
/// Longest line: 100 000 processes have about 40 MB.
pub(super) const MAX_LINE: usize = 64 << 20;
/// Base 2 logarithm of how far back a frame refers, which is what decoding it takes: 4 MiB.
pub(super) const WINDOW_LOG: u32 = 22;
/// Most frames in a table: two years of minutes.
pub(super) const MAX_ENTRIES: usize = 1 << 20;

/// First bytes of a zstd frame, RFC 8878.
pub(super) const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// First bytes of our skippable frames; RFC 8878 has sixteen magic numbers for them.
const SKIPPABLE: [u8; 4] = [0x57, 0x2a, 0x4d, 0x18];
/// First bytes inside the skippable frame of an entry, and the version behind them.
const ENTRY: [u8; 7] = *b"tuskidx";
/// First bytes inside the skippable frame of a table, and the version behind them.
const TABLE: [u8; 7] = *b"tusktab";
/// Version of entries and tables. In the first one the requests were by 5 s after the first snapshot, the size of what is
/// decoded was in the place of the start, and the machine was not there.
const VERSION: u8 = b'2';
const FIRST_VERSION: u8 = b'1';
/// Last bytes of a file that has a table.
const END: [u8; 8] = *b"tuskend1";
/// Bytes of the numbers of an entry.
const NUMBERS: usize = 8 * 5 + 4 * (3 + PARTS);
/// Parts of a frame's time that requests are counted in, for a picture of them without decoding: 5 s each in a whole minute.
pub const PARTS: usize = 12;
/// Bytes inside the skippable frame of an entry.
const ENTRY_PAYLOAD: usize = ENTRY.len() + 1 + NUMBERS + 4;
/// Bytes before the payload of a skippable frame: magic number and length.
pub(super) const SKIPPABLE_HEADER: usize = 8;
/// Bytes of the skippable frame of an entry.
pub(super) const ENTRY_BYTES: usize = SKIPPABLE_HEADER + ENTRY_PAYLOAD;
/// What every entry begins with, before its version.
pub(super) const ENTRY_START: [u8; SKIPPABLE_HEADER + ENTRY.len()] = entry_start();
/// Bytes at the end of a table: where it begins, its CRC and [`END`].
pub(super) const TABLE_END: usize = 8 + 4 + END.len();

/// What is known of one frame without decoding it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Time of its first snapshot.
    pub first: Timestamp,
    /// Time of its last snapshot.
    pub last: Timestamp,
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Number of snapshots.
    pub snapshots: u32,
    /// CRC-32 (IEEE) of its bytes.
    pub crc: u32,
    /// Snapshots with a notice of a kind that the one before did not have.
    pub news: u32,
    /// CRC-32 of the name of the machine, to tell one from another; `None` in entries of the first version.
    pub host: Option<u32>,
    /// When the interval of its first snapshot began, and when that of the last one ended.
    pub covers: (Timestamp, Timestamp),
    /// Requests that finished, by twelfths of what it covers; those of a snapshot are spread over its interval.
    pub requests: [u32; PARTS],
}

/// What is counted while the snapshots of a frame go by, by who writes them and by who finds a frame without an entry.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Times of the first and the last snapshot; `None` before the first.
    pub span: Option<(Timestamp, Timestamp)>,
    pub snapshots: u32,
    pub news: u32,
    intervals: Vec<Interval>,
    /// Longest interval.
    longest: Duration,
    /// The machine that they are of.
    host: String,
    /// Kinds of notices of the snapshot before, also of the frame before.
    kinds: Vec<NoticeKind>,
}

/// The interval of a snapshot, and the requests that finished in it.
#[derive(Debug, Clone, Copy)]
struct Interval {
    from: Timestamp,
    until: Timestamp,
    requests: u64,
}

impl Interval {
    fn of(snapshot: &Snapshot) -> Self {
        let requests = snapshot.php.routes.iter().fold(0_u64, |sum, route| sum.saturating_add(route.requests));
        Self { from: start(snapshot), until: snapshot.at, requests }
    }

    /// Its requests up to a moment, if they are spread evenly.
    fn requests_until(&self, moment: Timestamp) -> f64 {
        let whole = self.until.duration_since(self.from).as_secs_f64().max(1e-9);
        self.requests as f64 * (moment.duration_since(self.from).as_secs_f64() / whole).clamp(0.0, 1.0)
    }
}

/// When the interval of a snapshot began, within bounds.
fn start(snapshot: &Snapshot) -> Timestamp {
    let interval = Duration::from_millis(snapshot.interval_ms.max(snapshot.php.interval_ms)).min(MAX_INTERVAL);
    snapshot.at.checked_sub(interval).unwrap_or(snapshot.at)
}

impl Tally {
    /// Counts a snapshot.
    pub(super) fn add(&mut self, snapshot: &Snapshot) {
        let at = snapshot.at;
        let (first, last) = self.span.get_or_insert((at, at));
        (*first, *last) = ((*first).min(at), (*last).max(at));
        self.intervals.push(Interval::of(snapshot));
        self.longest = self.longest.max(Duration::from_millis(snapshot.interval_ms));
        self.snapshots += 1;
        let kinds: Vec<NoticeKind> = snapshot.notices.iter().map(|notice| notice.kind).collect();
        self.news += u32::from(is_news(&self.kinds, &kinds));
        self.kinds = kinds;
        if self.host != snapshot.host.name {
            self.host.clone_from(&snapshot.host.name);
        }
    }

    /// Whether a snapshot belongs to the next frame: it would be too long, time went back, nothing is known of a while before it, or
    /// it is of another machine. So times in a frame are in order, and what is between frames can be seen without decoding.
    pub(super) fn is_over(&self, snapshot: &Snapshot) -> bool {
        let Some((first, last)) = self.span else { return false };
        let span = if self.longest.max(Duration::from_millis(snapshot.interval_ms)) >= FAR_APART {
            LONG_FRAME_SPAN
        } else {
            FRAME_SPAN
        };
        let gap = start(snapshot).duration_since(last);
        snapshot.at < last
            || snapshot.at.duration_since(first).unsigned_abs() >= span
            || (gap.is_positive() && gap.unsigned_abs() > GAP)
            || snapshot.host.name != self.host
    }

    /// What the intervals cover.
    pub(super) fn covers(&self) -> (Timestamp, Timestamp) {
        let (first, last) = self.span.unwrap_or_default();
        (self.intervals.iter().fold(first, |from, interval| from.min(interval.from)), last)
    }

    /// The requests by parts of what is covered.
    pub(super) fn requests(&self) -> [u32; PARTS] {
        let (from, until) = self.covers();
        let part = until.duration_since(from).as_secs_f64() / PARTS as f64;
        let requests_until = |parts: usize| {
            let moment = match parts {
                PARTS => until,
                _ => from.saturating_add(SignedDuration::from_secs_f64(part * parts as f64)).unwrap_or(until),
            };
            self.intervals.iter().map(|interval| interval.requests_until(moment)).sum::<f64>().round()
        };
        let mut before = 0.0;
        std::array::from_fn(|index| {
            let upto = requests_until(index + 1);
            // What is too much for the type is the most that it can say.
            (upto - std::mem::replace(&mut before, upto)) as u32
        })
    }

    /// What tells the machine from others.
    pub(super) fn host(&self) -> u32 {
        crc32fast::hash(self.host.as_bytes())
    }

    /// Begins the next frame.
    pub(super) fn next_frame(&mut self) {
        let (kinds, mut intervals) = (std::mem::take(&mut self.kinds), std::mem::take(&mut self.intervals));
        intervals.clear();
        *self = Self { kinds, intervals, ..Self::default() };
    }
}

/// Whether among the kinds of a snapshot's notices is one that the snapshot before did not have.
pub(crate) fn is_news(before: &[NoticeKind], kinds: &[NoticeKind]) -> bool {
    // Each kill is one, also where the snapshot before has some.
    kinds.iter().any(|kind| *kind == NoticeKind::OomKilled || !before.contains(kind))
}

impl Entry {
    /// The skippable frame that holds it.
    pub(super) fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..ENTRY_START.len()].copy_from_slice(&ENTRY_START);
        bytes[ENTRY_START.len()] = VERSION;
        let numbers = self.numbers();
        bytes[ENTRY_START.len() + 1..][..NUMBERS].copy_from_slice(&numbers);
        bytes[ENTRY_BYTES - 4..].copy_from_slice(&crc32fast::hash(&numbers).to_le_bytes());
        bytes
    }

    /// Reads a skippable frame that begins with [`ENTRY_START`]. `None` when it is damaged.
    pub(super) fn decode(frame: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let (&version, rest) = frame.strip_prefix(&ENTRY_START)?.split_first()?;
        let (numbers, crc) = rest.split_first_chunk::<NUMBERS>()?;
        (crc == crc32fast::hash(numbers).to_le_bytes()).then(|| Self::of_numbers(numbers, version))?
    }

    fn numbers(&self) -> [u8; NUMBERS] {
        let mut numbers = [0; NUMBERS];
        let long = [
            self.first.as_microsecond().to_le_bytes(),
            // Rounded up, so that the last snapshot is not behind it.
            (self.last.as_microsecond() + i64::from(self.last.subsec_nanosecond() % 1000 != 0)).to_le_bytes(),
            self.offset.to_le_bytes(),
            self.bytes.to_le_bytes(),
            self.covers.0.as_microsecond().to_le_bytes(),
        ];
        // There are fewer than 2^16 in a frame that is read.
        let counts = self.snapshots.min(0xffff) | self.news.min(0xffff) << 16;
        let short = [counts, self.crc, self.host.unwrap_or(0)].map(u32::to_le_bytes);
        numbers[..40].copy_from_slice(long.as_flattened());
        numbers[40..52].copy_from_slice(short.as_flattened());
        numbers[52..].copy_from_slice(self.requests.map(u32::to_le_bytes).as_flattened());
        numbers
    }

    /// `None` when the numbers make no sense, or are those of a version that is not known.
    fn of_numbers(numbers: &[u8; NUMBERS], version: u8) -> Option<Self> {
        let (long, short) = numbers.split_at(40);
        let (long, _) = long.as_chunks::<8>();
        let (short, _) = short.as_chunks::<4>();
        let time = |bytes| Timestamp::from_microsecond(i64::from_le_bytes(bytes)).ok();
        let (first, last) = (time(long[0])?, time(long[1])?);
        let short = |index: usize| u32::from_le_bytes(short[index]);
        let (covers, snapshots, news, host) = match version {
            VERSION => ((time(long[4])?, last), short(0) & 0xffff, short(0) >> 16, Some(short(2))),
            FIRST_VERSION => ((first, first.checked_add(FRAME_SPAN).ok()?), short(0), short(2), None),
            _ => return None,
        };
        let entry = Self {
            first,
            last,
            offset: u64::from_le_bytes(long[2]),
            bytes: u64::from_le_bytes(long[3]),
            snapshots,
            crc: short(1),
            news,
            host,
            covers,
            requests: std::array::from_fn(|part| short(3 + part)),
        };
        (covers.0 <= first && first <= last && entry.bytes > 0).then_some(entry)
    }
}

/// The skippable frame of a table that begins at `offset`; `None` when there are more entries than are read back.
pub(super) fn encode_table(entries: &[Entry], offset: u64) -> Option<Vec<u8>> {
    if entries.len() > MAX_ENTRIES {
        return None;
    }
    let payload = TABLE.len() + 1 + entries.len() * NUMBERS + TABLE_END;
    let mut bytes = Vec::with_capacity(SKIPPABLE_HEADER + payload);
    bytes.extend(SKIPPABLE);
    bytes.extend((payload as u32).to_le_bytes());
    bytes.extend(TABLE);
    bytes.push(VERSION);
    entries.iter().for_each(|entry| bytes.extend(entry.numbers()));
    bytes.extend(offset.to_le_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes.extend(END);
    Some(bytes)
}

/// Where the table of a file begins, by its last bytes; `None` without one. `length` is that of the file.
pub(super) fn table_offset(end: &[u8; TABLE_END], length: u64) -> Option<u64> {
    let (offset, rest) = end.split_first_chunk::<8>()?;
    let offset = u64::from_le_bytes(*offset);
    let most = (SKIPPABLE_HEADER + TABLE.len() + 1 + MAX_ENTRIES * NUMBERS + TABLE_END) as u64;
    (rest.ends_with(&END) && length.checked_sub(offset)? <= most).then_some(offset)
}

/// Reads a table that begins at `offset` and is the end of its file. `None` when it is damaged, or that of another file.
pub(super) fn decode_table(bytes: &[u8], offset: u64) -> Option<Vec<Entry>> {
    let (summed, end) = bytes.split_at_checked(bytes.len().checked_sub(4 + END.len())?)?;
    if end.first_chunk::<4>()? != &crc32fast::hash(summed).to_le_bytes() {
        return None;
    }
    let rest = summed.strip_prefix(&SKIPPABLE)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (&version, rest) = rest.strip_prefix(&TABLE)?.split_first()?;
    let numbers = rest.strip_suffix(&offset.to_le_bytes())?;
    let (numbers, left) = numbers.as_chunks::<NUMBERS>();
    if u32::from_le_bytes(*length) as usize != bytes.len() - SKIPPABLE_HEADER || !left.is_empty() {
        return None;
    }
    let entries = numbers.iter().map(|numbers| Entry::of_numbers(numbers, version)).collect::<Option<Vec<_>>>()?;
    let mut end = 0;
    for entry in &entries {
        if entry.offset != end {
            return None;
        }
        end = entry.offset.checked_add(entry.bytes)?.checked_add(ENTRY_BYTES as u64)?;
    }
    (end == offset).then_some(entries)
}

/// Whether these are the first bytes of a skippable frame of any kind.
pub(super) fn is_skippable(magic: [u8; 4]) -> bool {
    magic[0] & 0xf0 == SKIPPABLE[0] & 0xf0 && magic[1..] == SKIPPABLE[1..]
}

const fn entry_start() -> [u8; SKIPPABLE_HEADER + ENTRY.len()] {
    let length = (ENTRY_PAYLOAD as u32).to_le_bytes();
    let mut start = [0; SKIPPABLE_HEADER + ENTRY.len()];
    let mut at = 0;
    while at < start.len() {
        start[at] = match at {
            0..4 => SKIPPABLE[at],
            4..8 => length[at - 4],
            _ => ENTRY[at - 8],
        };
        at += 1;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: u64) -> Entry {
        let time = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        Entry {
            first: time(0),
            last: time(59),
            offset,
            bytes: 100,
            snapshots: 60,
            crc: 7,
            news: 1,
            host: Some(9),
            covers: (time(-1), time(59)),
            requests: std::array::from_fn(|part| part as u32),
        }
    }

    #[test]
    fn an_entry_is_read_back_and_a_changed_one_is_not() {
        let bytes = entry(3).encode();
        assert_eq!(Entry::decode(&bytes), Some(entry(3)));
        for at in 0..ENTRY_BYTES {
            let mut changed = bytes;
            changed[at] ^= 4;
            assert_eq!(Entry::decode(&changed), None, "{at}");
        }
    }

    #[test]
    fn a_table_is_found_from_the_end_and_a_changed_one_is_not_used() {
        let entries = [entry(0), entry(100 + ENTRY_BYTES as u64)];
        let offset = 2 * (100 + ENTRY_BYTES as u64);
        let bytes = encode_table(&entries, offset).unwrap();
        let length = offset + bytes.len() as u64;
        assert_eq!(table_offset(bytes.last_chunk().unwrap(), length), Some(offset));
        assert_eq!(decode_table(&bytes, offset).as_deref(), Some(&entries[..]));
        assert_eq!(decode_table(&bytes, offset + 1), None, "two files, one after the other");
        for at in 0..bytes.len() - END.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            assert_eq!(decode_table(&changed, offset), None, "{at}");
        }
    }

    #[test]
    fn the_start_of_an_entry_contains_no_second_start() {
        assert!(!ENTRY_START[1..].contains(&ENTRY_START[0]), "a search that fails goes on with the next byte");
    }
}
