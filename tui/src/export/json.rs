//! The snapshot as one line of JSON, schema 1.

use std::io::{self, Write};

use crate::model::Snapshot;

/// Writes the snapshot and a newline.
///
/// # Errors
/// What `out` answers.
pub fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, snapshot)?;
    out.write_all(b"\n")
}
