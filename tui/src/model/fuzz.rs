//! Snapshots that are read back, made of real ones by chance: reading, writing them again, and the tables of them.

use super::Snapshot;
use crate::{export, fuzz::Target, words::printable::printable};

#[test]
fn any_text_is_read_as_a_snapshot_that_can_be_written_or_refused() {
    let target = Target {
        name: "snapshot",
        longest: 32 << 10,
        memory: 4 << 20,
        words: &[
            "\"schema\":1",
            "null",
            "{}",
            "[]",
            "\"php\":{",
            "\"requests\":[",
            "\"stacks\":[",
            "\"frames\":[",
            "18446744073709551615",
            "1e308",
            "-0.0",
            "\"at\":\"9999-12-30T22:00:00.999999999Z\"",
            "\\ud800",
            "\\u001b",
        ],
    };
    target.run(|bytes| {
        let Ok(snapshot) = Snapshot::read(bytes) else { return };
        let mut json = Vec::new();
        export::write_json(&snapshot, &mut json).unwrap();
        let again = Snapshot::read(&json).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&json)));
        let mut twice = Vec::new();
        export::write_json(&again, &mut twice).unwrap();
        assert!(json == twice, "what is written is read back the same");
        let mut table = Vec::new();
        export::write_table(&snapshot, &mut table).unwrap();
        let text = String::from_utf8(table).unwrap();
        assert!(text.lines().all(|line| printable(line) == line), "{text:?}");
    });
}
