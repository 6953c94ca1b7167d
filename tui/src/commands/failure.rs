//! What ends a command early: its message on standard error and its exit code.

use std::io::{self, Write as _};

use super::observed::CommandError;
use crate::{
    collect::proc::ProcError, config::ConfigError, exit, recording::RecordingError, system::new_file::NewFileError,
    ui::theme::ThemeError, words::printable::printable,
};

/// Says what went wrong, and what to exit with. A reader that left, such as `head`, is no failure.
pub fn report(error: &anyhow::Error) -> u8 {
    if is_broken_pipe(error) {
        return exit::FINE;
    }
    say(error);
    code(error)
}

/// Says what went wrong.
pub(super) fn say(error: &anyhow::Error) {
    // Nothing is left to be told by when this fails.
    let _ = writeln!(io::stderr(), "tusktop: {}", message(error));
}

/// Whether the reader of the output has left.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// An error with its causes. Names of files and parts of them come from outside, and some errors name their cause already.
fn message(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.ends_with(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message.lines().map(printable).collect::<Vec<_>>().join("\n")
}

fn code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        return if error.is_permission() { exit::NO_PERMISSION } else { exit::USAGE };
    }
    if error.is::<ThemeError>() {
        return exit::USAGE;
    }
    if let Some(error) = error.downcast_ref::<CommandError>() {
        return error.code();
    }
    if error.downcast_ref::<NewFileError>().is_some_and(NewFileError::is_permission) {
        return exit::NO_PERMISSION;
    }
    if error.downcast_ref::<RecordingError>().is_some_and(RecordingError::is_permission) {
        return exit::NO_PERMISSION;
    }
    match error.downcast_ref::<ProcError>() {
        Some(ProcError::Root { .. }) => exit::NO_PROCFS,
        _ => exit::FAILED,
    }
}
