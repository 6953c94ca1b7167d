//! What is written is read back, and what is damaged costs no more than it has to.

use std::{
    fs,
    io::{self, Cursor},
    path::Path,
};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{stream::MAX_UNREAD, *};
use crate::model::Snapshot;

fn snapshot(second: i64) -> Snapshot {
    let mut snapshot = Snapshot::read(include_bytes!("../../tests/fixtures/web01.json")).unwrap();
    snapshot.processes.truncate(3);
    snapshot.at = at(second);
    snapshot
}

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + second)
}

/// A recording with snapshots of these seconds, and where each of them is on the disk.
fn recorded(seconds: impl IntoIterator<Item = i64>) -> (Vec<u8>, Vec<usize>) {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let mut ends = Vec::new();
    for second in seconds {
        writer.push(&snapshot(second)).unwrap();
        ends.push(writer.bytes() as usize);
    }
    (writer.finish().unwrap(), ends)
}

/// A recording of four minutes, three snapshots each, that is read in no time.
fn small() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    for at in (0..12).map(|number| at(number * 20)) {
        writer.push(&Snapshot { at, ..small_snapshot() }).unwrap();
    }
    writer.finish().unwrap()
}

fn small_snapshot() -> Snapshot {
    let mut small = Snapshot { php: Default::default(), ..snapshot(0) };
    (small.groups, small.processes, small.cgroups) = Default::default();
    small
}

/// Seconds and damages of a stream.
fn streamed(bytes: impl io::BufRead) -> (Vec<i64>, Vec<Damage>) {
    let mut stream = Stream::new(bytes).unwrap();
    let (mut seconds, mut damage) = (Vec::new(), Vec::new());
    while let Ok(Some(event)) = stream.next_event() {
        match event {
            Event::Snapshot(snapshot) => seconds.push(snapshot.at.as_second() - at(0).as_second()),
            Event::Damage(found) => damage.push(found),
        }
    }
    (seconds, damage)
}

/// Seconds and damages of a file.
fn opened(path: &Path) -> Result<(Vec<i64>, Vec<String>), RecordingError> {
    let recording = Recording::open(path)?;
    let mut damage: Vec<_> = recording.damage().iter().map(ToString::to_string).collect();
    let mut seconds = Vec::new();
    for &minute in recording.minutes() {
        recording.read(minute, |event| match event {
            Event::Snapshot(snapshot) => seconds.push(snapshot.at.as_second() - at(0).as_second()),
            Event::Damage(found) => damage.push(found.to_string()),
        })?;
    }
    Ok((seconds, damage))
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    file
}

#[test]
fn what_is_written_is_read_back_from_a_pipe_and_from_a_file() {
    let (bytes, _) = recorded(0..150);
    let mut stream = Stream::new(&bytes[..]).unwrap();
    for second in 0..150 {
        let Ok(Some(Event::Snapshot(read))) = stream.next_event() else { panic!("no snapshot {second}") };
        assert_eq!(*read, snapshot(second));
    }
    assert!(matches!(stream.next_event(), Ok(None)));
    let file = file(&bytes);
    let (seconds, damage) = opened(file.path()).unwrap();
    assert_eq!((seconds, damage), ((0..150).collect(), vec![]));
    let minutes = Recording::open(file.path()).unwrap();
    let requests = snapshot(0).php.routes.iter().map(|route| route.requests).sum::<u64>() as u32;
    let minute = minutes.minutes()[1];
    assert_eq!((minute.requests, minute.news, minutes.minutes()[0].news), ([5 * requests; file::PARTS], 0, 1));
    let spans: Vec<_> = minutes.minutes().iter().map(|minute| (minute.first, minute.last)).collect();
    assert_eq!(spans, [(at(0), at(59)), (at(60), at(119)), (at(120), at(149))]);
}

#[test]
fn a_snapshot_can_be_read_as_soon_as_it_is_written() {
    let (bytes, ends) = recorded(0..70);
    for (count, end) in ends.iter().enumerate() {
        let (seconds, _) = streamed(&bytes[..*end]);
        assert_eq!(seconds.len(), count + 1);
    }
}

#[test]
fn zstd_reads_it_as_lines_of_json() {
    let (bytes, _) = recorded(0..65);
    let decoded = zstd::decode_all(&bytes[..]).unwrap();
    let lines: Vec<_> = decoded.split_inclusive(|&byte| byte == b'\n').collect();
    assert_eq!(lines.len(), 65);
    assert_eq!(Snapshot::read(lines[60]).unwrap(), snapshot(60), "each minute begins with a whole one");
    let changes: serde_json::Value = serde_json::from_slice(lines[64]).unwrap();
    assert_eq!(changes["changes"], 1);
    assert_eq!(changes["tables"][""]["columns"]["at"][1][0], snapshot(64).at.to_string());
}

#[test]
fn without_its_table_and_with_a_torn_minute_all_that_is_whole_is_there() {
    let (bytes, ends) = recorded(0..130);
    let torn = file(&bytes[..ends[128] + 5]);
    let (seconds, damage) = opened(torn.path()).unwrap();
    assert_eq!(seconds, (0..129).collect::<Vec<_>>());
    assert!(damage.iter().any(|text| text.contains("ends within a minute")), "{damage:?}");
}

#[test]
fn a_damaged_minute_is_skipped_and_said_with_its_place() {
    let (mut bytes, ends) = recorded(0..180);
    bytes[ends[70]] ^= 0x10;
    let file = file(&bytes);
    let (seconds, damage) = opened(file.path()).unwrap();
    assert_eq!(seconds, (0..60).chain(120..180).collect::<Vec<_>>());
    let place = format!("at byte {}", Recording::open(file.path()).unwrap().minutes()[1].offset());
    assert!(damage.len() == 1 && damage[0].starts_with(&place) && damage[0].contains("checksum"), "{damage:?}");
    let (seconds, damage) = streamed(&bytes[..]);
    assert!(seconds.ends_with(&(120..180).collect::<Vec<_>>()) && !damage.is_empty());
}

#[test]
fn recordings_one_after_the_other_are_one() {
    let (first, _) = recorded(0..70);
    let (second, _) = recorded(100..140);
    let both = file(&[first, second].concat());
    let expected: Vec<_> = (0..70).chain(100..140).collect();
    assert_eq!(opened(both.path()).unwrap(), (expected.clone(), vec![]), "the table of the first one is no damage");
    assert_eq!(streamed(&fs::read(both.path()).unwrap()[..]).0, expected);
}

#[test]
fn a_clock_that_is_set_back_begins_another_minute() {
    let (bytes, _) = recorded([0, 1, 2, -500, -499]);
    let file = file(&bytes);
    let recording = Recording::open(file.path()).unwrap();
    assert!(recording.minutes().iter().all(|minute| minute.first <= minute.last));
    assert_eq!(opened(file.path()).unwrap().0, [0, 1, 2, -500, -499]);
}

#[test]
fn the_times_of_a_minute_enclose_its_snapshots_to_the_nanosecond() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let times = [0, 1].map(|second| at(second) + SignedDuration::from_nanos(1_234_567));
    for time in times {
        writer.push(&Snapshot { at: time, ..snapshot(0) }).unwrap();
    }
    let file = file(&writer.finish().unwrap());
    let (first, last) = Recording::open(file.path()).unwrap().span();
    assert!(first <= times[0] && times[1] <= last && last.duration_since(first) <= SignedDuration::from_millis(1001));
}

#[test]
fn what_is_no_recording_is_said() {
    let error = |bytes: &[u8]| opened(file(bytes).path()).unwrap_err().to_string();
    assert!(error(b"").contains("nothing in it"));
    assert!(error(b"{\"schema\":1}").contains("no recording"));
    assert!(error(&vec![b'x'; 3 << 20]).contains("no recording"));
    assert!(error(&zstd::encode_all(&b"no JSON\n"[..], 3).unwrap()).contains("nothing of this recording"));
    assert!(opened(Path::new("/nonexistent/x.tusk")).unwrap_err().to_string().contains("/nonexistent/x.tusk"));
    assert!(opened(Path::new("/dev/zero")).unwrap_err().to_string().contains("no regular file"));
}

#[test]
fn a_frame_that_claims_much_takes_little() {
    // A line of 100 MiB is 10 kB here; the memory for it is bounded by what a line may have.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..100 {
        std::io::Write::write_all(&mut encoder, &zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let (seconds, damage) = streamed(&bomb[..]);
    assert!(seconds.is_empty() && matches!(damage[0].what, Wrong::TooLarge));
    // A window of 128 MiB is refused before anything is kept for it.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    std::io::Write::write_all(&mut encoder, b"{}\n").unwrap();
    let (_, damage) = streamed(&encoder.finish().unwrap()[..]);
    assert!(matches!(damage[0].what, Wrong::Undecodable(_)));
}

#[test]
fn a_file_that_ends_at_any_byte_opens_or_says_why() {
    let good = small();
    let mut seen = 0;
    for length in 0..good.len() {
        match opened(file(&good[..length]).path()) {
            Ok((seconds, _)) => {
                assert!(
                    seconds.len() >= seen && seconds.iter().enumerate().all(|(at, &second)| second == 20 * at as i64)
                );
                seen = seconds.len();
            }
            Err(error) => assert!(seen == 0, "{length}: {error}"),
        }
    }
    assert_eq!(seen, 12);
}

#[test]
fn a_frame_with_lines_that_are_no_snapshots_or_too_many_is_given_up() {
    let no_snapshots = zstd::encode_all(&vec![b'\n'; 1 << 20][..], 1).unwrap();
    let (seconds, damage) = streamed(&no_snapshots[..]);
    assert!(seconds.is_empty() && damage.len() <= 22, "{}", damage.len());
    let mut line = serde_json::to_vec(&small_snapshot()).unwrap();
    line.push(b'\n');
    let many = zstd::encode_all(&line.repeat(7_000)[..], 1).unwrap();
    let (seconds, damage) = streamed(&many[..]);
    assert!(seconds.len() == 6_000 && matches!(damage[0].what, Wrong::TooLarge));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn damage_anywhere_costs_what_it_hits_and_never_a_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 0..4),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
        piece in 1..300_usize,
    ) {
        thread_local!(static GOOD: Vec<u8> = small());
        let mut bytes = GOOD.with(Clone::clone);
        for (at, bits) in &flips {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        let (seconds, damage) = streamed(io::BufReader::with_capacity(piece, &bytes[..]));
        // Of a damaged minute: its lines that cannot be read, that it is given up, and its checksum. A cut is one more.
        prop_assert!(damage.len() <= flips.len() * (MAX_UNREAD + 2) + 1, "{damage:?}");
        prop_assert!(seconds.len() <= 12);
        // Without its first bytes it is no recording.
        if whole && flips.len() == 1 && flips[0].0.index(bytes.len()) >= 4 {
            prop_assert!(seconds.len() >= 9, "one damaged place costs a minute of a pipe, too: {seconds:?}");
        }
        if let Ok((seconds, _)) = opened(file(&bytes).path()) {
            prop_assert!(seconds.len() <= 12);
            if whole && flips.len() == 1 {
                prop_assert!(seconds.len() >= 9, "one damaged place costs a minute: {seconds:?}");
            }
        }
        let _ = Stream::new(Cursor::new(&bytes));
    }
}
