//! Where a snapshot is printed to: standard output, standard error beside a command's own output, or a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    cli::{SnapArgs, SnapshotFormat},
    export,
    model::Snapshot,
};

/// A file that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", .path.display())]
pub(crate) struct OutputError {
    path: PathBuf,
    source: io::Error,
}

impl OutputError {
    /// The user may not write there.
    pub(crate) fn is_permission(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }
}

/// Where to print.
#[derive(Debug)]
pub(crate) enum Output {
    Stdout,
    /// Standard error: standard output is the command's.
    Stderr,
    /// A file of the user's choice.
    File(File),
}

impl Output {
    /// Opens what the arguments ask for. A file is emptied; a new one is for its owner alone, since URIs hold secrets.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(crate) fn open(arguments: &SnapArgs) -> Result<Self, OutputError> {
        match &arguments.output {
            Some(path) => Self::file(path),
            None if arguments.command.is_empty() => Ok(Self::Stdout),
            None => Ok(Self::Stderr),
        }
    }

    fn file(path: &Path) -> Result<Self, OutputError> {
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        opened.map(Self::File).map_err(|source| OutputError { path: path.to_owned(), source })
    }

    /// Prints a snapshot.
    ///
    /// # Errors
    /// What is written to refuses, for example because its reader has left.
    pub(crate) fn print(&self, snapshot: &Snapshot, format: SnapshotFormat) -> io::Result<()> {
        match self {
            Self::Stdout => write(snapshot, format, io::stdout().lock()),
            Self::Stderr => write(snapshot, format, io::stderr().lock()),
            Self::File(file) => write(snapshot, format, file),
        }
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
