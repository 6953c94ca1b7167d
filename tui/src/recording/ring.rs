//! The last hours of a session in memory, to be gone back to: frames of a minute, compressed as in a recording. Bounded by time and
//! by bytes, the oldest minute goes first.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use super::{reader::Minute, writer::Compressor};
use crate::model::Snapshot;

/// Base 2 logarithm of how far back a frame refers: with 2 000 processes what changed in 10 s. Four times of that, and twice the tables,
/// take 1.1 MB more of memory, for 1 % fewer bytes.
const WINDOW_LOG: u32 = 18;

/// Base 2 logarithm of the entries in zstd's tables.
const TABLE_LOG: u32 = 16;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingLimits {
    /// Time; 0 keeps nothing.
    pub span: Duration,
    /// Compressed bytes.
    pub bytes: u64,
}

impl Default for RingLimits {
    fn default() -> Self {
        Self { span: Duration::from_secs(2 * 3600), bytes: 8 << 20 }
    }
}

/// The last hours of a session.
pub struct Ring {
    /// `None` before the first snapshot.
    compressor: Option<Compressor>,
    /// The frame that is being written.
    open: Vec<u8>,
    /// Minutes that have ended, in the order of time.
    minutes: VecDeque<(Minute, Arc<[u8]>)>,
    bytes: u64,
    limits: RingLimits,
}

impl Ring {
    /// A past in which nothing is yet.
    pub fn new(limits: RingLimits) -> Self {
        Self { compressor: None, open: Vec::new(), minutes: VecDeque::new(), bytes: 0, limits }
    }

    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        !self.limits.span.is_zero() && self.limits.bytes > 0
    }

    /// Adds a snapshot. Where the clock was set back, what would be later than it is given up.
    ///
    /// # Errors
    /// The snapshot is larger than a recording takes, or zstd gets no memory. What was kept before is still there.
    pub fn push(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        if !self.is_on() {
            return Ok(());
        }
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::with_memory(WINDOW_LOG, TABLE_LOG)?),
        };
        if compressor.open().is_some_and(|frame| frame.last >= snapshot.at) {
            // The times in the open frame are in order, so all of it may be later.
            *compressor = Compressor::with_memory(WINDOW_LOG, TABLE_LOG)?;
            self.open.clear();
        }
        while self.minutes.back().is_some_and(|(minute, _)| minute.last >= snapshot.at) {
            self.bytes -= self.minutes.pop_back().map_or(0, |(minute, _)| minute.bytes);
        }
        if compressor.is_over(snapshot)
            && let Some((rest, entry)) = compressor.end_frame()?
        {
            self.open.extend_from_slice(rest);
            self.bytes += entry.bytes;
            let frame: Arc<[u8]> = self.open.as_slice().into();
            self.minutes.push_back((Minute { crc: None, ..Minute::of(&entry) }, frame));
            self.open.clear();
        }
        self.open.extend_from_slice(compressor.push(snapshot)?);
        let is_over = |ring: &Self, oldest: &Minute| {
            ring.bytes + ring.open.len() as u64 > ring.limits.bytes
                || snapshot.at.duration_since(oldest.last).unsigned_abs() > ring.limits.span
        };
        while self.minutes.front().is_some_and(|(oldest, _)| is_over(self, oldest)) {
            self.bytes -= self.minutes.pop_front().map_or(0, |(minute, _)| minute.bytes);
        }
        Ok(())
    }

    fn open_minute(&self) -> Option<Minute> {
        let entry = self.compressor.as_ref()?.open()?;
        Some(Minute { crc: None, ..Minute::of(&entry) })
    }

    /// Its minutes, the oldest first, and that which is being written.
    pub fn minutes(&self) -> impl Iterator<Item = Minute> {
        self.minutes.iter().map(|(minute, _)| *minute).chain(self.open_minute())
    }

    /// The bytes of a minute; `None` when it is not there any more.
    pub fn frame(&self, minute: Minute) -> Option<Arc<[u8]>> {
        let is_open = self.open_minute().is_some_and(|open| open.first == minute.first);
        let kept = || self.minutes.iter().find(|(known, _)| known.first == minute.first);
        if is_open { Some(self.open.as_slice().into()) } else { kept().map(|(_, bytes)| Arc::clone(bytes)) }
    }

    /// Bytes of all minutes that have ended.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("minutes", &self.minutes.len()).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use jiff::SignedDuration;

    use super::*;
    use crate::recording::{Event, Stream};

    fn snapshot(second: i64) -> Snapshot {
        let mut snapshot = Snapshot::read(include_bytes!("../../tests/fixtures/schema1.json")).unwrap();
        snapshot.at += SignedDuration::from_secs(second);
        snapshot
    }

    fn ring(seconds: impl IntoIterator<Item = i64>, span: u64, bytes: u64) -> Ring {
        let mut ring = Ring::new(RingLimits { span: Duration::from_secs(span), bytes });
        seconds.into_iter().for_each(|second| ring.push(&snapshot(second)).unwrap());
        ring
    }

    /// The seconds of all snapshots that are there.
    fn seconds(ring: &Ring) -> Vec<i64> {
        let mut found = Vec::new();
        for minute in ring.minutes() {
            let mut stream = Stream::new(Cursor::new(ring.frame(minute).unwrap())).unwrap();
            while let Ok(Some(event)) = stream.next_event() {
                if let Event::Snapshot(read) = event {
                    found.push(read.at.duration_since(snapshot(0).at).as_secs());
                }
            }
        }
        found
    }

    #[test]
    fn all_that_was_pushed_is_there_also_the_minute_that_is_not_over() {
        let ring = ring(0..200, 3600, 64 << 20);
        assert_eq!(seconds(&ring), (0..200).collect::<Vec<_>>());
        let minutes: Vec<_> = ring.minutes().map(|minute| minute.snapshots).collect();
        assert_eq!(minutes, [60, 60, 60, 20]);
        assert_eq!(ring.bytes(), ring.minutes().take(3).map(|minute| minute.bytes).sum::<u64>());
    }

    #[test]
    fn the_oldest_minute_goes_when_it_is_too_old_or_there_are_too_many_bytes() {
        let kept = seconds(&ring(0..400, 120, 64 << 20));
        assert_eq!((kept[0], kept[kept.len() - 1]), (240, 399));
        let most = ring(0..400, 3600, 64 << 20).bytes() / 2;
        let small = ring(0..400, 3600, most);
        assert!(small.bytes() <= most && small.minutes().count() > 1, "{small:?}");
        assert_eq!(seconds(&small).last(), Some(&399));
        assert!(seconds(&ring(0..10, 0, 1 << 20)).is_empty(), "nothing is kept");
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_no_future() {
        assert_eq!(seconds(&ring([0, 1, 70, 71, 5, 6], 3600, 1 << 20)), [0, 1, 5, 6]);
        assert_eq!(seconds(&ring([100, 101, 5], 3600, 1 << 20)), [5]);
    }
}
