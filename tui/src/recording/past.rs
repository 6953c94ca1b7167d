//! The last hours of a session in memory, as a recording has them: frames of a minute, compressed. Bounded by time and by bytes,
//! the oldest minute goes first.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{file::ENTRY_BYTES, reader::Minute, writer::Writer};
use crate::model::Snapshot;

/// Base 2 logarithm of how far back a frame refers: 2 MiB, two snapshots of 2 000 processes. More would cost its size in memory.
const WINDOW_LOG: u32 = 21;

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastLimits {
    /// Time; 0 keeps nothing.
    pub span: Duration,
    /// Compressed bytes.
    pub bytes: u64,
}

impl Default for PastLimits {
    fn default() -> Self {
        Self { span: Duration::from_secs(2 * 3600), bytes: 8 << 20 }
    }
}

/// The last hours of a session.
pub struct Past {
    /// `None` before the first snapshot.
    writer: Option<Writer<Vec<u8>>>,
    /// Minutes that have ended, in the order in which they were written.
    minutes: VecDeque<(Minute, Arc<[u8]>)>,
    bytes: u64,
    limits: PastLimits,
}

impl Past {
    /// A past in which nothing is yet.
    pub fn new(limits: PastLimits) -> Self {
        Self { writer: None, minutes: VecDeque::new(), bytes: 0, limits }
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
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(Writer::with_window(Vec::new(), WINDOW_LOG)?),
        };
        if writer.open_frame().is_some_and(|frame| frame.last >= snapshot.at) {
            // The times in the open frame are in order, and so are those of the frames before it.
            *writer = Writer::with_window(Vec::new(), WINDOW_LOG)?;
        }
        while self.minutes.back().is_some_and(|(minute, _)| minute.last >= snapshot.at) {
            self.bytes -= self.minutes.pop_back().map_or(0, |(minute, _)| minute.bytes);
        }
        writer.push(snapshot)?;
        for entry in writer.take_entries() {
            let minute = Minute { crc: None, ..Minute::of(&entry) };
            let frame: Vec<u8> = writer.sink_mut().drain(..entry.bytes as usize + ENTRY_BYTES).collect();
            self.bytes += minute.bytes;
            self.minutes.push_back((minute, frame.into()));
        }
        let is_over = |past: &Self, oldest: &Minute| {
            let open = past.writer.as_ref().and_then(Writer::open_frame).map_or(0, |frame| frame.bytes);
            past.bytes + open > past.limits.bytes
                || snapshot.at.duration_since(oldest.last).unsigned_abs() > past.limits.span
        };
        while self.minutes.front().is_some_and(|(oldest, _)| is_over(self, oldest)) {
            self.bytes -= self.minutes.pop_front().map_or(0, |(minute, _)| minute.bytes);
        }
        Ok(())
    }

    /// Its minutes, the oldest first, and that which is being written.
    pub fn minutes(&self) -> impl Iterator<Item = Minute> {
        let open = self.writer.as_ref().and_then(Writer::open_frame);
        let open = open.map(|entry| Minute { crc: None, ..Minute::of(&entry) });
        self.minutes.iter().map(|(minute, _)| *minute).chain(open)
    }

    /// The times of the first and the last snapshot; `None` while there is none.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let mut minutes = self.minutes();
        let first = minutes.next()?;
        Some((first.first, minutes.last().unwrap_or(first).last))
    }

    /// The bytes of a minute; `None` when it is not there any more.
    pub fn frame(&self, minute: Minute) -> Option<Arc<[u8]>> {
        let kept = self.minutes.iter().find(|(known, _)| known.first == minute.first);
        if let Some((_, bytes)) = kept {
            return Some(Arc::clone(bytes));
        }
        let writer = self.writer.as_ref()?;
        writer.open_frame().filter(|open| open.first == minute.first)?;
        Some(writer.sink().as_slice().into())
    }

    /// Bytes of all minutes that have ended.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl std::fmt::Debug for Past {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Past").field("minutes", &self.minutes.len()).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
