//! Writes a recording: one snapshot at a time, each on its way to the disk or the pipe when [`Writer::push`] returns.
//! [`Compressor`] makes the frames, [`Container`] puts them one after the other.

use std::io::{self, Write};

use zstd::stream::raw::{CParameter, Encoder, Operation as _, OutBuffer};

use super::changes::ChangeWriter;
use super::file::{self, Entry, FRAME_BYTES, MAX_ENTRIES, MAX_LINE, Tally, WINDOW_LOG};
use crate::{export, model::Snapshot};

/// Level of zstd. What changed in a second is little, so that a higher one costs little, too.
const LEVEL: i32 = 9;

/// Base 2 logarithm of the entries in zstd's tables of places: a minute needs no more, and the level alone would take 16 MiB.
const TABLE_LOG: u32 = 17;

/// A recording that is being written.
pub struct Writer<W: Write> {
    compressor: Compressor,
    container: Container<W>,
}

impl<W: Write> Writer<W> {
    /// Begins a recording, of which nothing is written yet.
    ///
    /// # Errors
    /// zstd gets no memory.
    pub fn new(sink: W) -> io::Result<Self> {
        Ok(Self { compressor: Compressor::new()?, container: Container::new(sink) })
    }

    /// Adds a snapshot, which can be read from the sink afterwards.
    ///
    /// # Errors
    /// The sink cannot be written. What was written before can be read, up to [`Writer::bytes`].
    pub fn push(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        if self.compressor.is_over(snapshot) {
            self.end_frame()?;
        }
        self.container.put(self.compressor.push(snapshot)?)
    }

    /// Bytes that are written. Where the sink failed, what is behind them is a part of a snapshot.
    pub fn bytes(&self) -> u64 {
        self.container.bytes
    }

    /// What it is written to.
    pub(crate) fn sink(&self) -> &W {
        &self.container.sink
    }

    /// The same, to change it.
    pub(crate) fn sink_mut(&mut self) -> &mut W {
        &mut self.container.sink
    }

    /// The frames that are whole.
    pub(crate) fn frames(&self) -> &[Entry] {
        &self.container.entries
    }

    /// Ends the frame that is open, if a snapshot would begin another one. True when it does.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub(crate) fn end_frame_before(&mut self, snapshot: &Snapshot) -> io::Result<bool> {
        let ends = self.compressor.is_over(snapshot);
        if ends {
            self.end_frame()?;
        }
        Ok(ends)
    }

    /// Adds a whole frame of another recording as it is.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub(crate) fn copy(&mut self, frame: &[u8], entry: &Entry) -> io::Result<()> {
        self.end_frame()?;
        self.container.end_frame(frame, entry)
    }

    /// Goes on in another recording in place of this one, and hands back what this one was written to. No frame is open here.
    ///
    /// # Errors
    /// The other one cannot be written; then this one goes on.
    pub(crate) fn go_on_in(&mut self, mut other: Self) -> io::Result<W> {
        other.end_frame()?;
        Ok(std::mem::replace(&mut self.container, other.container).sink)
    }

    /// Ends the recording, and hands back what it was written to.
    ///
    /// # Errors
    /// The sink cannot be written. The snapshots before can be read all the same.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_frame()?;
        self.container.finish()
    }

    /// Leaves the recording without an end, and hands back what it was written to.
    pub fn abandon(self) -> W {
        self.container.sink
    }

    /// Ends the frame that is open.
    ///
    /// # Errors
    /// As [`Writer::push`].
    pub(crate) fn end_frame(&mut self) -> io::Result<()> {
        match self.compressor.end_frame()? {
            Some((rest, entry)) => self.container.end_frame(rest, &entry),
            None => Ok(()),
        }
    }
}

/// Makes frames of snapshots.
pub(super) struct Compressor {
    encoder: Encoder<'static>,
    /// What the encoder has written last.
    out: Box<[u8]>,
    /// All that it has written for one snapshot.
    piece: Vec<u8>,
    changes: ChangeWriter,
    /// Bytes of the last snapshot as JSON.
    length: usize,
    /// The line as it is compressed.
    written: Vec<u8>,
    frame: Option<Frame>,
    tally: Tally,
}

/// The frame that is open.
#[derive(Default)]
struct Frame {
    bytes: u64,
    crc: crc32fast::Hasher,
}

impl Compressor {
    /// # Errors
    /// zstd gets no memory.
    pub(super) fn new() -> io::Result<Self> {
        Self::with_memory(WINDOW_LOG, TABLE_LOG)
    }

    /// As [`Compressor::new`], with the base 2 logarithms of how far back a frame refers, and of the entries in each of zstd's two
    /// tables: they take most of its memory.
    pub(super) fn with_memory(window_log: u32, table_log: u32) -> io::Result<Self> {
        let mut encoder = Encoder::new(LEVEL)?;
        encoder.set_parameter(CParameter::WindowLog(window_log))?;
        encoder.set_parameter(CParameter::HashLog(table_log))?;
        encoder.set_parameter(CParameter::ChainLog(table_log))?;
        encoder.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Self {
            encoder,
            out: vec![0; 128 << 10].into(),
            piece: Vec::new(),
            changes: ChangeWriter::default(),
            length: 0,
            written: Vec::new(),
            frame: None,
            tally: Tally::default(),
        })
    }

    /// The next part of the frame: with it a snapshot can be read.
    pub(super) fn push(&mut self, snapshot: &Snapshot) -> io::Result<&[u8]> {
        // Some room for what comes, so that it is not moved while it grows.
        let mut line = Vec::with_capacity(self.length / 8 * 9);
        // As it is printed: with nothing in it that steers the terminal of who looks at it with zstdcat.
        export::write_json(snapshot, &mut line)?;
        if line.len() > MAX_LINE {
            let what = format!("a snapshot has {} bytes, more than a recording takes", line.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        line.truncate(line.trim_ascii_end().len());
        self.length = line.len();
        self.tally.add(snapshot);
        self.piece.clear();
        self.written.clear();
        self.changes.write(line, &mut self.written);
        self.written.push(b'\n');
        let mut rest = &self.written[..];
        while !rest.is_empty() {
            let status = self.encoder.run_on_buffers(rest, &mut self.out)?;
            rest = &rest[status.bytes_read..];
            self.piece.extend_from_slice(&self.out[..status.bytes_written]);
        }
        if self.written.len() > self.length {
            // A whole snapshot; what changes in it is far shorter.
            self.written = Vec::new();
        }
        self.drain(Encoder::flush)?;
        self.frame.get_or_insert_default().add(&self.piece);
        Ok(&self.piece)
    }

    /// Whether a snapshot belongs to the next frame.
    pub(super) fn is_over(&self, snapshot: &Snapshot) -> bool {
        self.frame.as_ref().is_some_and(|frame| frame.bytes >= FRAME_BYTES || self.tally.is_over(snapshot))
    }

    /// What is known of the frame that is open, but for its CRC.
    pub(super) fn open(&self) -> Option<Entry> {
        self.frame.as_ref().map(|frame| self.tally.entry(frame))
    }

    /// The last part of the frame that is open, and its entry as if the frame began the file.
    pub(super) fn end_frame(&mut self) -> io::Result<Option<(&[u8], Entry)>> {
        let Some(mut frame) = self.frame.take() else { return Ok(None) };
        self.changes.begin();
        self.piece.clear();
        self.drain(|encoder, out| encoder.finish(out, true))?;
        self.encoder.reinit()?;
        frame.add(&self.piece);
        let entry = Entry { crc: frame.crc.clone().finalize(), ..self.tally.entry(&frame) };
        self.tally.next_frame();
        Ok(Some((&self.piece, entry)))
    }

    /// Takes what the encoder still has.
    fn drain(
        &mut self,
        mut step: impl FnMut(&mut Encoder<'static>, &mut OutBuffer<'_, [u8]>) -> io::Result<usize>,
    ) -> io::Result<()> {
        loop {
            let mut out = OutBuffer::around(&mut self.out[..]);
            let left = step(&mut self.encoder, &mut out)?;
            self.piece.extend_from_slice(out.as_slice());
            if left == 0 {
                return Ok(());
            }
        }
    }
}

impl Tally {
    fn entry(&self, frame: &Frame) -> Entry {
        let (first, last) = self.span.unwrap_or_default();
        Entry {
            first,
            last,
            offset: 0,
            bytes: frame.bytes,
            snapshots: self.snapshots,
            crc: 0,
            news: self.news,
            host: Some(self.host()),
            covers: self.covers(),
            requests: self.requests(),
        }
    }
}

impl Frame {
    fn add(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.crc.update(piece);
    }
}

/// Puts frames one after the other, each with its entry, and the table behind them.
#[derive(Debug)]
pub struct Container<W: Write> {
    sink: W,
    /// Those that are written.
    bytes: u64,
    /// Where the frame that is open begins.
    frame: u64,
    entries: Vec<Entry>,
}

impl<W: Write> Container<W> {
    pub(super) fn new(sink: W) -> Self {
        Self { sink, bytes: 0, frame: 0, entries: Vec::new() }
    }

    /// Bytes that are written. Where the sink failed, what is behind them is a part of a snapshot.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it is written to.
    pub fn into_sink(self) -> W {
        self.sink
    }

    /// Adds a part of a frame.
    pub(super) fn put(&mut self, piece: &[u8]) -> io::Result<()> {
        self.sink.write_all(piece)?;
        self.sink.flush()?;
        self.bytes += piece.len() as u64;
        Ok(())
    }

    /// Adds the last part of a frame, and its entry.
    pub(super) fn end_frame(&mut self, rest: &[u8], entry: &Entry) -> io::Result<()> {
        self.put(rest)?;
        let entry = Entry { offset: self.frame, ..*entry };
        self.put(&entry.encode())?;
        self.frame = self.bytes;
        if self.entries.len() <= MAX_ENTRIES {
            self.entries.push(entry);
        }
        Ok(())
    }

    /// Adds the table, and hands back what it was written to. The last frame is ended.
    pub(super) fn finish(mut self) -> io::Result<W> {
        if let Some(table) = file::encode_table(&self.entries, self.bytes).filter(|_| !self.entries.is_empty()) {
            self.put(&table)?;
        }
        Ok(self.sink)
    }
}
