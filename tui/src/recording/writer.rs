//! Writes a recording: one snapshot at a time, each on its way to the disk or the pipe when [`Writer::push`] returns.

use std::io::{self, Write};

use jiff::Timestamp;
use zstd::stream::raw::{CParameter, Encoder, Operation as _, OutBuffer};

use super::file::{self, Entry, FRAME_BYTES, FRAME_SPAN, MAX_LINE, Tally, WINDOW_LOG};
use crate::{export, model::Snapshot};

/// Level of zstd: the window does most of the work, and more takes more CPU than it saves bytes.
const LEVEL: i32 = 3;

/// A recording that is being written.
pub struct Writer<W: Write> {
    sink: W,
    encoder: Encoder<'static>,
    /// What the encoder has written last.
    out: Vec<u8>,
    line: Vec<u8>,
    frame: Option<Frame>,
    tally: Tally,
    entries: Vec<Entry>,
    bytes: u64,
}

/// The frame that is open.
struct Frame {
    offset: u64,
    decoded_bytes: u64,
    crc: crc32fast::Hasher,
}

impl<W: Write> Writer<W> {
    /// Begins a recording, of which nothing is written yet.
    ///
    /// # Errors
    /// zstd gets no memory.
    pub fn new(sink: W) -> io::Result<Self> {
        Self::with_window(sink, WINDOW_LOG)
    }

    /// As [`Writer::new`], with the base 2 logarithm of how far back a frame refers: it takes that much memory, and a window that
    /// is smaller than a snapshot saves little.
    pub(super) fn with_window(sink: W, log: u32) -> io::Result<Self> {
        let mut encoder = Encoder::new(LEVEL)?;
        encoder.set_parameter(CParameter::WindowLog(log.min(WINDOW_LOG)))?;
        encoder.set_parameter(CParameter::ChecksumFlag(true))?;
        let out = vec![0; 128 << 10];
        Ok(Self {
            sink,
            encoder,
            out,
            line: Vec::new(),
            frame: None,
            tally: Tally::default(),
            entries: Vec::new(),
            bytes: 0,
        })
    }

    /// Adds a snapshot, which can be read from the sink afterwards.
    ///
    /// # Errors
    /// The sink cannot be written. What was written before can be read.
    pub fn push(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        if self.is_over(snapshot.at) {
            self.end_frame()?;
        }
        self.line.clear();
        // As it is printed: with nothing in it that steers the terminal of who looks at it with zstdcat.
        export::write_json(snapshot, &mut self.line)?;
        if self.line.len() > MAX_LINE {
            let what = format!("a snapshot has {} bytes, more than a recording takes", self.line.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let offset = self.bytes;
        let frame = self.frame.get_or_insert_with(|| Frame { offset, decoded_bytes: 0, crc: crc32fast::Hasher::new() });
        self.tally.add(snapshot);
        frame.decoded_bytes += self.line.len() as u64;
        let mut rest = &self.line[..];
        while !rest.is_empty() {
            let status = self.encoder.run_on_buffers(rest, &mut self.out)?;
            rest = &rest[status.bytes_read..];
            self.bytes += put(&mut self.sink, &self.out[..status.bytes_written], &mut frame.crc)?;
        }
        loop {
            let mut out = OutBuffer::around(&mut self.out[..]);
            let left = self.encoder.flush(&mut out)?;
            self.bytes += put(&mut self.sink, out.as_slice(), &mut frame.crc)?;
            if left == 0 {
                break;
            }
        }
        self.sink.flush()
    }

    /// What is written to.
    pub(super) fn sink(&self) -> &W {
        &self.sink
    }

    /// What is written to, to take what is there.
    pub(super) fn sink_mut(&mut self) -> &mut W {
        &mut self.sink
    }

    /// Takes the entries of the frames that have ended since the last time: the recording gets no table of them.
    pub(super) fn take_entries(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries)
    }

    /// What is known of the frame that is open; `None` between two frames.
    pub(super) fn open_frame(&self) -> Option<Entry> {
        let frame = self.frame.as_ref()?;
        let (first, last) = self.tally.span?;
        Some(Entry {
            first,
            last,
            offset: frame.offset,
            bytes: self.bytes - frame.offset,
            decoded_bytes: frame.decoded_bytes,
            snapshots: self.tally.snapshots,
            crc: 0,
            news: self.tally.news,
            requests: self.tally.requests,
        })
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends the recording, and hands back what it was written to.
    ///
    /// # Errors
    /// The sink cannot be written. The snapshots before can be read all the same.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_frame()?;
        if let Some(table) = file::encode_table(&self.entries, self.bytes).filter(|_| !self.entries.is_empty()) {
            self.sink.write_all(&table)?;
        }
        self.sink.flush()?;
        Ok(self.sink)
    }

    /// Whether a snapshot of this time belongs to the next frame: also where the clock was set back, so that the times in a frame
    /// are in order.
    fn is_over(&self, at: Timestamp) -> bool {
        let Some((frame, (first, last))) = self.frame.as_ref().zip(self.tally.span) else { return false };
        at < last || at.duration_since(first).unsigned_abs() >= FRAME_SPAN || self.bytes - frame.offset >= FRAME_BYTES
    }

    fn end_frame(&mut self) -> io::Result<()> {
        let Some(mut frame) = self.frame.take() else { return Ok(()) };
        loop {
            let mut out = OutBuffer::around(&mut self.out[..]);
            let left = self.encoder.finish(&mut out, true)?;
            self.bytes += put(&mut self.sink, out.as_slice(), &mut frame.crc)?;
            if left == 0 {
                break;
            }
        }
        self.encoder.reinit()?;
        let (first, last) = self.tally.span.unwrap_or_default();
        let entry = Entry {
            first,
            last,
            offset: frame.offset,
            bytes: self.bytes - frame.offset,
            decoded_bytes: frame.decoded_bytes,
            snapshots: self.tally.snapshots,
            crc: frame.crc.finalize(),
            news: self.tally.news,
            requests: self.tally.requests,
        };
        self.tally.next_frame();
        self.sink.write_all(&entry.encode())?;
        self.bytes += file::ENTRY_BYTES as u64;
        self.entries.push(entry);
        Ok(())
    }
}

/// Writes a part of a frame, and says how much that was.
fn put(sink: &mut impl Write, bytes: &[u8], crc: &mut crc32fast::Hasher) -> io::Result<u64> {
    sink.write_all(bytes)?;
    crc.update(bytes);
    Ok(bytes.len() as u64)
}
