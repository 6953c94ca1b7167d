//! `record --tiers`: older parts of a file are rolled up while it goes on. The file is written again beside itself, a little with
//! each snapshot: what stays as it is is copied, the rest is decoded and rolled up. When that has caught up at the end of a frame, the
//! new file takes the name of the old one, and the recording goes on in it. Until then the old file is whole, whatever happens.
//!
//! It begins when a quarter of the file would become coarser, so that each byte is written a few times only, however long it goes on.

use std::io::{self, Cursor};

use super::{files::Sink, say};
use crate::{
    analysis::rollup::Rollup,
    model::Snapshot,
    recording::{Bounds, Entry, Event, Stream, Tiers, Writer, number_of},
    system::growing_file::GrowingFile,
};

/// Share of a file that would become coarser before it is written again: one in so many.
const DUE: u64 = 4;
/// What is done with each snapshot that is recorded: snapshots decoded, bytes copied.
const SNAPSHOTS: usize = 8;
const BYTES: u64 = 1 << 20;
/// Frames that may still be to copy when the new file takes the place of the old one.
const LAST_FRAMES: usize = 4;

/// Rolls up the file of a recording.
pub(super) struct Aging {
    tiers: Tiers,
    /// Where the tiers of the file are.
    bounds: Bounds,
    rewriting: Option<Rewriting>,
    /// It was said that it cannot be done.
    failed: bool,
}

/// A file that is written again.
struct Rewriting {
    /// Where the tiers of the new file are.
    bounds: Bounds,
    /// The next frame of the old file.
    next: usize,
    /// A frame of it that is being decoded.
    frame: Option<Stream<Cursor<Vec<u8>>>>,
    rollup: Rollup,
    /// The tier of what is rolled up, and the number of its step.
    step: (usize, i128),
    new: Writer<Sink>,
}

impl Aging {
    pub(super) fn new(tiers: Tiers) -> Self {
        Self { tiers, bounds: Bounds::default(), rewriting: None, failed: false }
    }

    /// Begins with a file in which nothing is old.
    pub(super) fn next_file(&mut self) {
        (self.bounds, self.rewriting) = (Bounds::default(), None);
    }

    /// Adds a snapshot to the file, and rolls up a part.
    ///
    /// # Errors
    /// The snapshot cannot be written. What else goes wrong is said, and the file goes on as it is.
    pub(super) fn push(&mut self, writer: &mut Writer<Sink>, snapshot: &Snapshot) -> io::Result<()> {
        if writer.end_frame_before(snapshot)? {
            let done = self.at_end_of_frame(writer, snapshot);
            self.check(done);
        }
        writer.push(snapshot)?;
        let Some(rewriting) = &mut self.rewriting else { return Ok(()) };
        let stepped = rewriting.step(&self.tiers, &self.bounds, writer);
        self.check(stepped);
        Ok(())
    }

    /// Begins to write the file again, or ends it.
    fn at_end_of_frame(&mut self, writer: &mut Writer<Sink>, snapshot: &Snapshot) -> io::Result<()> {
        if let Some(rewriting) = self.rewriting.take_if(|rewriting| rewriting.is_nearly_done(writer.frames())) {
            self.bounds = rewriting.finish(&self.tiers, &self.bounds, writer)?;
            return Ok(());
        }
        let Sink::File(file) = writer.sink() else { return Ok(()) };
        if self.rewriting.is_none() && !self.failed {
            let bounds = self.tiers.at(snapshot.at);
            let due = writer.frames().iter().filter(|frame| self.bounds.tier(frame.last) != bounds.tier(frame.last));
            if due.map(|frame| frame.bytes).sum::<u64>() * DUE >= writer.bytes() {
                self.rewriting = Some(Rewriting::new(bounds, file)?);
            }
        }
        Ok(())
    }

    /// Says that it cannot be done, and does not try again.
    fn check(&mut self, done: io::Result<()>) {
        if let Err(error) = done {
            (self.rewriting, self.failed) = (None, true);
            say(&format!("older parts are not rolled up any more: {error}; the recording goes on"));
        }
    }
}

impl Rewriting {
    fn new(bounds: Bounds, file: &GrowingFile) -> io::Result<Self> {
        Ok(Self {
            bounds,
            next: 0,
            frame: None,
            rollup: Rollup::default(),
            step: (0, 0),
            new: Writer::new(Sink::File(file.successor()?))?,
        })
    }

    fn is_nearly_done(&self, frames: &[Entry]) -> bool {
        self.frame.is_none() && self.next + LAST_FRAMES >= frames.len()
    }

    /// Goes through a part of the old file.
    fn step(&mut self, tiers: &Tiers, before: &Bounds, old: &Writer<Sink>) -> io::Result<()> {
        let (mut snapshots, mut bytes) = (0, 0);
        while snapshots < SNAPSHOTS && bytes < BYTES {
            if let Some(frame) = &mut self.frame {
                match frame.next_event() {
                    Ok(Some(Event::Snapshot(snapshot))) => {
                        snapshots += 1;
                        self.push(tiers, snapshot)?;
                    }
                    // Its CRC is right, so this is how it was written.
                    Ok(Some(Event::Damage(_))) => {}
                    Ok(None) | Err(_) => self.frame = None,
                }
            } else if let Some(frame) = old.frames().get(self.next) {
                bytes += frame.bytes;
                self.next += 1;
                self.take(tiers, before, frame, old)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Copies the next frame, leaves it out, or begins to decode it.
    fn take(&mut self, tiers: &Tiers, before: &Bounds, frame: &Entry, old: &Writer<Sink>) -> io::Result<()> {
        let (first, last) = (self.bounds.tier(frame.first), self.bounds.tier(frame.last));
        if tiers.step(first).is_none() && first == last {
            return Ok(());
        }
        let Sink::File(file) = old.sink() else { return Ok(()) };
        let mut bytes = vec![0; usize::try_from(frame.bytes).map_err(io::Error::other)?];
        file.read(frame.offset, &mut bytes)?;
        let as_before = (before.tier(frame.first), before.tier(frame.last)) == (first, last);
        // What the disk has changed is left for whoever reads it.
        if as_before || crc32fast::hash(&bytes) != frame.crc {
            self.flush()?;
            return self.new.copy(&bytes, frame);
        }
        self.frame = Some(Stream::new(Cursor::new(bytes))?);
        Ok(())
    }

    /// Takes a snapshot of the old file.
    fn push(&mut self, tiers: &Tiers, snapshot: Box<Snapshot>) -> io::Result<()> {
        let tier = self.bounds.tier(snapshot.at);
        let Some(step) = tiers.step(tier) else { return Ok(()) };
        let number = if tier == 0 { i128::from(snapshot.at.as_second()) } else { number_of(snapshot.at, step) };
        if (tier, number) != self.step || tier == 0 {
            self.flush()?;
            if tier != self.step.0 {
                // A frame is of one tier.
                self.new.end_frame()?;
            }
            self.step = (tier, number);
        }
        self.rollup.add(snapshot);
        Ok(())
    }

    /// Writes what is rolled up.
    fn flush(&mut self) -> io::Result<()> {
        self.rollup.take().map_or(Ok(()), |snapshot| self.new.push(&snapshot))
    }

    /// Puts the new file in the place of the old one, which has no frame open, and says where its tiers are.
    fn finish(mut self, tiers: &Tiers, before: &Bounds, old: &mut Writer<Sink>) -> io::Result<Bounds> {
        while self.next < old.frames().len() || self.frame.is_some() {
            self.step(tiers, before, old)?;
        }
        self.flush()?;
        self.new.end_frame()?;
        if let (Sink::File(new), Sink::File(file)) = (self.new.sink_mut(), old.sink()) {
            new.take_place_of(file)?;
        }
        old.go_on_in(self.new)?;
        Ok(self.bounds)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::{recording::Recording, system::new_file::Existing};

    /// An hour and a half.
    const END: i64 = 5400;

    fn at(second: i64) -> Timestamp {
        // A whole hour, so that steps begin with it.
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + second)
    }

    fn snapshot(second: i64) -> Snapshot {
        let mut snapshot = Snapshot::read(include_bytes!("../../../tests/fixtures/web01.json")).unwrap();
        snapshot.at = at(second);
        snapshot.interval_ms = 5000;
        (snapshot.processes, snapshot.cgroups) = Default::default();
        snapshot.groups.truncate(2);
        snapshot.groups.iter_mut().for_each(|group| group.cgroup = None);
        let php = std::sync::Arc::make_mut(&mut snapshot.php);
        php.routes.truncate(1);
        (php.routes[0].requests, php.interval_ms) = (second as u64 % 7, 5000);
        (php.stacks, php.functions, php.requests) = Default::default();
        snapshot
    }

    struct Recorder {
        folder: tempfile::TempDir,
        writer: Writer<Sink>,
        aging: Aging,
    }

    impl Recorder {
        fn new(tiers: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = GrowingFile::create(&folder.path().join("a.tusk"), Existing::Keep).unwrap();
            let writer = Writer::new(Sink::File(file)).unwrap();
            Self { folder, writer, aging: Aging::new(Tiers::parse(tiers).unwrap()) }
        }

        fn push(&mut self, second: i64) {
            self.aging.push(&mut self.writer, &snapshot(second)).unwrap();
        }

        fn read(&self) -> Vec<Snapshot> {
            read(&self.folder.path().join("a.tusk"))
        }
    }

    /// The snapshots of a file, without a gap and nothing twice.
    fn read(path: &Path) -> Vec<Snapshot> {
        let recording = Recording::open(path).unwrap();
        let mut snapshots = Vec::new();
        for &minute in recording.minutes() {
            recording
                .read(minute, |event| match event {
                    Event::Snapshot(snapshot) => snapshots.push(*snapshot),
                    Event::Damage(damage) => assert!(damage.to_string().contains("ends within"), "{damage}"),
                })
                .unwrap();
        }
        for pair in snapshots.windows(2) {
            assert_eq!(pair[1].at.duration_since(pair[0].at).as_millis(), pair[1].interval_ms.into());
        }
        snapshots
    }

    fn requests(snapshots: &[Snapshot]) -> u64 {
        snapshots.iter().map(|snapshot| snapshot.php.routes[0].requests).sum()
    }

    #[test]
    fn older_parts_become_coarser_and_all_sums_stay_at_any_moment() {
        let mut recorder = Recorder::new("5s:5m,30s:30m,5m");
        for second in (5..=END).step_by(5) {
            recorder.push(second);
            // As if it were killed now.
            if second % 385 == 0 {
                let snapshots = recorder.read();
                let from = snapshots[0].at - SignedDuration::from_millis(snapshots[0].interval_ms as i64);
                let whole: u64 = (5..=second).step_by(5).map(|second| second as u64 % 7).sum();
                assert_eq!((from, requests(&snapshots)), (at(0), whole));
                assert_eq!(snapshots.last().unwrap().at, at(second));
            }
        }
        let Recorder { folder, writer, .. } = recorder;
        writer.finish().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        let snapshots = read(&folder.path().join("a.tusk"));
        let mut by_length: BTreeMap<u64, usize> = BTreeMap::new();
        for snapshot in &snapshots {
            *by_length.entry(snapshot.interval_ms).or_default() += 1;
            let age = at(END).duration_since(snapshot.at).as_secs();
            // A quarter of the file is rolled up late.
            assert!(age > 5 * 60 || snapshot.interval_ms == 5000);
            assert!(age < 3600 || snapshot.interval_ms >= 30_000, "{age}");
        }
        assert_eq!(by_length.keys().copied().collect::<Vec<_>>(), [5000, 30_000, 300_000]);
        let frames = Recording::open(&folder.path().join("a.tusk")).unwrap().minutes().len();
        assert!(frames < 100, "frames of the coarse parts are longer: {frames}");
    }

    #[test]
    fn with_an_age_for_the_last_tier_the_file_stays_small() {
        let mut recorder = Recorder::new("5s:5m,30s:30m");
        let mut most = 0;
        for second in (5..=END).step_by(5) {
            recorder.push(second);
            most = most.max(recorder.writer.bytes());
        }
        let oldest = at(END).duration_since(recorder.read()[0].at).as_secs();
        assert!((1800..3600).contains(&oldest), "{oldest}");
        let bytes = recorder.writer.bytes();
        assert!(most < 3 * bytes, "{most} and {bytes} at the end");
    }

    #[test]
    fn a_file_that_was_moved_goes_on_as_it_is() {
        let mut recorder = Recorder::new("5s:2m,30s");
        let moved = recorder.folder.path().join("b.tusk");
        std::fs::rename(recorder.folder.path().join("a.tusk"), &moved).unwrap();
        std::fs::write(recorder.folder.path().join("a.tusk"), "another's").unwrap();
        (0..900).step_by(5).for_each(|second| recorder.push(second));
        assert!(recorder.aging.failed);
        assert_eq!(read(&moved).len(), 180);
        assert_eq!(std::fs::read(recorder.folder.path().join("a.tusk")).unwrap(), b"another's");
    }
}
