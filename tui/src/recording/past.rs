//! The last minutes of a session, kept as compressed frames in memory until something happens. Bounded by time and by bytes. A
//! file that begins at an event has these minutes before it, and gets what comes after at the same time as the memory.

use std::{
    collections::VecDeque,
    io::{self, Write},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    file::Entry,
    writer::{Compressor, Container},
};
use crate::model::Snapshot;

/// Snapshots of the last minutes.
pub struct Past {
    compressor: Compressor,
    /// Frames that are whole, the oldest first.
    whole: VecDeque<Whole>,
    open: Option<Open>,
    keep: Duration,
    max_bytes: usize,
    bytes: usize,
    /// Frames were given up that were not too old.
    short: bool,
}

struct Whole {
    frame: Vec<u8>,
    entry: Entry,
    begun: Instant,
    ended: Instant,
}

struct Open {
    frame: Vec<u8>,
    first: Timestamp,
    begun: Instant,
}

impl Past {
    /// Keeps at least the last `keep`, in `max_bytes` at most. A frame is given up as a whole, so up to a minute more is kept.
    ///
    /// # Errors
    /// zstd gets no memory.
    pub fn new(keep: Duration, max_bytes: usize) -> io::Result<Self> {
        let (whole, compressor) = (VecDeque::new(), Compressor::new()?);
        Ok(Self { compressor, whole, open: None, keep, max_bytes, bytes: 0, short: false })
    }

    /// Adds a snapshot that came at `now`, to the memory and to a file that was begun with [`Past::begin`].
    ///
    /// # Errors
    /// Only the file cannot be written.
    pub fn push<W: Write>(
        &mut self,
        snapshot: &Snapshot,
        now: Instant,
        file: Option<&mut Container<W>>,
    ) -> io::Result<()> {
        let mut file = file;
        let ended = match self.compressor.is_over(snapshot) {
            true => self.end_frame(now, file.as_deref_mut()),
            false => Ok(()),
        };
        let piece = self.compressor.push(snapshot)?;
        let open = self.open.get_or_insert_with(|| Open { frame: Vec::new(), first: snapshot.at, begun: now });
        open.frame.extend_from_slice(piece);
        self.bytes += piece.len();
        let put = match file {
            Some(file) if ended.is_ok() => file.put(piece),
            _ => Ok(()),
        };
        self.forget(now);
        ended.and(put)
    }

    /// Begins a file with all that is kept.
    ///
    /// # Errors
    /// The file cannot be written; then it is handed back, with what was written.
    pub fn begin<W: Write>(&self, sink: W) -> Result<Container<W>, (Container<W>, io::Error)> {
        let mut file = Container::new(sink);
        let put = self.whole.iter().try_for_each(|whole| file.end_frame(&whole.frame, &whole.entry));
        let put = put.and_then(|()| self.open.as_ref().map_or(Ok(()), |open| file.put(&open.frame)));
        match put {
            Ok(()) => Ok(file),
            Err(error) => Err((file, error)),
        }
    }

    /// Ends a file, and hands back what it was written to; the memory goes on with another frame.
    ///
    /// # Errors
    /// The file cannot be written; then it is handed back, with what was written.
    pub fn finish<W: Write>(
        &mut self,
        mut file: Container<W>,
        now: Instant,
    ) -> Result<W, (Option<Container<W>>, io::Error)> {
        match self.end_frame(now, Some(&mut file)) {
            Ok(()) => file.finish().map_err(|error| (None, error)),
            Err(error) => Err((Some(file), error)),
        }
    }

    /// Time of the oldest snapshot that is kept.
    pub fn first(&self) -> Option<Timestamp> {
        self.whole.front().map(|whole| whole.entry.first).or(self.open.as_ref().map(|open| open.first))
    }

    /// How far back the memory goes.
    pub fn covered(&self, now: Instant) -> Duration {
        let first = self.whole.front().map(|whole| whole.begun).or(self.open.as_ref().map(|open| open.begun));
        first.map_or(Duration::ZERO, |first| now.saturating_duration_since(first))
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether less is kept than was asked for, because it would have taken too many bytes.
    pub fn is_short(&self) -> bool {
        self.short
    }

    fn end_frame<W: Write>(&mut self, now: Instant, file: Option<&mut Container<W>>) -> io::Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let Some((rest, entry)) = self.compressor.end_frame()? else { return Ok(()) };
        let mut frame = open.frame;
        frame.extend_from_slice(rest);
        frame.shrink_to_fit();
        self.bytes += rest.len();
        let put = file.map_or(Ok(()), |file| file.end_frame(rest, &entry));
        self.whole.push_back(Whole { frame, entry, begun: open.begun, ended: now });
        put
    }

    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.whole.front() {
            let old = now.saturating_duration_since(oldest.ended) >= self.keep;
            if !old && self.bytes <= self.max_bytes {
                break;
            }
            self.short = !old;
            self.bytes -= oldest.frame.len();
            self.whole.pop_front();
        }
    }
}
