//! `tusktop cut`: a part of a recording as a recording of its own, with pseudonyms if asked.

use std::io::{self, IsTerminal as _, Write};

use anyhow::bail;

use super::reading;
use crate::{
    cli::CutArgs,
    exit,
    recording::{Redaction, Writer},
    system::new_file::{Existing, NewFile},
};

/// Writes what lies between two moments. A file has its name when all of it is written.
///
/// # Errors
/// The recording cannot be read, nothing of it lies between the moments, or the new one cannot be written.
pub fn run(arguments: &CutArgs) -> anyhow::Result<u8> {
    let whole = if arguments.output.as_os_str() == "-" {
        if io::stdout().is_terminal() {
            bail!("a recording is not for a terminal; name a file with -o");
        }
        write(arguments, io::stdout())?.1
    } else {
        let existing = if arguments.force { Existing::Replace } else { Existing::Keep };
        let (file, whole) = write(arguments, NewFile::create(&arguments.output, existing)?)?;
        file.finish()?;
        whole
    };
    Ok(if whole { exit::FINE } else { exit::FAILED })
}

/// Writes the part, and says whether all of it could be read.
fn write<W: Write>(arguments: &CutArgs, sink: W) -> anyhow::Result<(W, bool)> {
    let part = &arguments.part;
    let redaction: Option<Redaction> = arguments.redact.then(Redaction::default);
    let mut writer = Writer::new(sink)?;
    let spans = |within| vec![reading::span(part.from, part.to, within)];
    let whole = reading::read(&part.file, spans, |_, snapshot| {
        match &redaction {
            Some(redaction) => writer.push(&redaction.redact(&snapshot)?)?,
            None => writer.push(&snapshot)?,
        }
        Ok(())
    })?;
    if writer.bytes() == 0 {
        bail!("{}: there is no snapshot in the span that is asked for", part.file.display());
    }
    Ok((writer.finish()?, whole))
}
