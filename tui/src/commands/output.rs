//! Where a snapshot is printed to: standard output, standard error beside a command's own output, or a file.

use std::{
    ffi::OsStr,
    io::{self, IsTerminal as _, Write as _},
};

use anyhow::{anyhow, bail};

use super::failure;
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
    /// The file cannot be written, or what is no text would go to a terminal.
    pub(crate) fn open(arguments: &SnapArgs) -> anyhow::Result<Self> {
        let out = Self::chosen(arguments)?;
        let is_terminal = match &out {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
            Self::File(_) | Self::Nowhere => false,
        };
        if arguments.format.is_binary() && is_terminal {
            bail!("this format is no text: write it to a file with -o FILE, or to a pipe");
        }
        Ok(out)
    }

    fn chosen(arguments: &SnapArgs) -> Result<Self, NewFileError> {
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
        if format.is_of_stacks() && snapshot.php.stacks.is_empty() {
            let hint = "`snap` without --format, or `tusktop doctor`, says why";
            failure::say(&anyhow!("there are no stacks of PHP in this snapshot; {hint}"));
        }
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
        SnapshotFormat::Csv => export::write_csv(snapshot, &mut out)?,
        SnapshotFormat::Folded => export::write_folded(snapshot, &mut out)?,
        SnapshotFormat::Speedscope => export::write_speedscope(snapshot, &mut out)?,
        SnapshotFormat::Pprof => export::write_pprof(snapshot, &mut out)?,
        SnapshotFormat::Svg => export::write_svg(snapshot, &mut out)?,
        SnapshotFormat::Firefox => export::write_firefox(snapshot, &mut out)?,
    }
    out.flush()
}
