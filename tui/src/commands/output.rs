//! Where a snapshot is printed to: standard output, standard error beside a command's own output, or a file.

use std::{
    ffi::OsStr,
    io::{self, Write as _},
};

use crate::{
    cli::{SnapArgs, SnapshotFormat},
    export,
    model::Snapshot,
    system::new_file::{Existing, NewFile, NewFileError},
};

/// Where to print.
#[derive(Debug)]
pub(crate) enum Output {
    Stdout,
    /// Standard error: standard output is the command's.
    Stderr,
    /// A file of the user's choice.
    File(NewFile),
    /// Nowhere: `/dev/null`.
    Nowhere,
}

impl Output {
    /// Opens what the arguments ask for. A file that is there stays until all of the new one is written.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn open(arguments: &SnapArgs) -> Result<Self, NewFileError> {
        match &arguments.output {
            Some(path) if path.as_os_str() == OsStr::new("-") => Ok(Self::Stdout),
            Some(path) if path.as_os_str() == OsStr::new("/dev/null") => Ok(Self::Nowhere),
            Some(path) => NewFile::create(path, Existing::Replace).map(Self::File),
            None if arguments.command.is_empty() => Ok(Self::Stdout),
            None => Ok(Self::Stderr),
        }
    }

    /// Prints a snapshot.
    ///
    /// # Errors
    /// What is written to refuses, for example because its reader has left.
    pub(crate) fn print(self, snapshot: &Snapshot, format: SnapshotFormat) -> anyhow::Result<()> {
        match self {
            Self::Stdout => write(snapshot, format, io::stdout().lock())?,
            Self::Stderr => write(snapshot, format, io::stderr().lock())?,
            Self::Nowhere => {}
            Self::File(mut file) => {
                write(snapshot, format, &mut file)?;
                file.finish()?;
            }
        }
        Ok(())
    }
}

fn write(snapshot: &Snapshot, format: SnapshotFormat, out: impl io::Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    match format {
        SnapshotFormat::Table => export::write_table(snapshot, &mut out)?,
        SnapshotFormat::Json => export::write_json(snapshot, &mut out)?,
    }
    out.flush()
}
