//! `tusktop cat`: the snapshots of a recording as lines of JSON.

use std::io::{self, BufWriter, Write as _};

use super::reading;
use crate::{cli::CatArgs, exit, export};

/// Prints what lies between two moments. What is damaged is said on standard error, and all else is printed.
///
/// # Errors
/// The recording cannot be read at all, or the output cannot be written.
pub fn run(arguments: &CatArgs) -> anyhow::Result<u8> {
    let mut out = BufWriter::new(io::stdout().lock());
    let follows = reading::is_pipe(&arguments.file);
    let spans = |within| vec![reading::span(arguments.from, arguments.to, within)];
    let whole = reading::read(&arguments.file, spans, |_, snapshot| {
        export::write_json(&snapshot, &mut out)?;
        // Who follows a recording wants each snapshot now.
        if follows { Ok(out.flush()?) } else { Ok(()) }
    })?;
    out.flush()?;
    Ok(if whole { exit::FINE } else { exit::FAILED })
}
