//! The snapshot as a plain table.
use std::io::{self, Write};

use crate::{model::Snapshot, text::printable, units};

/// Writes the table.
///
/// # Errors
/// What `out` answers.
pub fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    for group in &snapshot.groups {
        writeln!(out, "{} {}", printable(&group.name), units::bytes(group.memory.rss_bytes.unwrap_or(0)))?;
    }
    Ok(())
}
