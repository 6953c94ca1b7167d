//! Recordings, made of real ones by chance.

use std::{fs::File, os::fd::AsRawFd as _, os::unix::fs::FileExt as _, path::PathBuf};

use rustix::fs::MemfdFlags;

use super::{Event, Recording, Stream};
use crate::fuzz::Target;

/// Events of one input that are looked at; more than any input here can have.
const EVENTS: usize = 100_000;

#[test]
fn any_recording_is_read_up_to_what_is_wrong() {
    let target = Target {
        name: "recording",
        longest: 64 << 10,
        // Decoded lines and the snapshots that are made of them. The window of zstd, 4 MiB, is C's and not counted.
        memory: 64 << 20,
        words: &["tuskidx2", "tusktab2", "tuskidx1", "tuskend1", "\x28", "\x57\x2a\x4d\x18"],
    };
    let file = File::from(rustix::fs::memfd_create("recording", MemfdFlags::CLOEXEC).unwrap());
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    target.run(|bytes| {
        let mut stream = Stream::new(bytes).unwrap();
        let mut events = 0;
        while let Ok(Some(event)) = stream.next_event() {
            if let Event::Damage(damage) = event {
                assert!(damage.offset <= bytes.len() as u64, "{damage}");
            }
            events += 1;
            assert!(events < EVENTS, "it ends");
        }
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        let Ok(recording) = Recording::open(&path) else { return };
        let (first, last) = recording.span();
        assert!(first <= last && recording.damage().len() <= 100);
        for &minute in recording.minutes().iter().take(EVENTS) {
            let mut read = 0;
            recording.read(minute, |_| read += 1).unwrap();
            assert!(read < EVENTS, "it ends");
        }
    });
}
