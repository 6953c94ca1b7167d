//! Why the programs do not run, in words that fit on a line.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};

use super::attach::AttachError;
use crate::model::Notice;

/// Why the programs do not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelError {
    /// Not enough rights.
    #[error("the kernel does not let this user load BPF programs ({source})")]
    Permission {
        /// What the kernel said.
        source: io::Error,
    },
    /// The CPU's saved registers are not known.
    #[error("PHP cannot be observed on {}", std::env::consts::ARCH)]
    Architecture,
    /// The object was refused.
    #[error("the BPF object cannot be loaded: {0}")]
    Object(#[from] EbpfError),
    /// A map does not work.
    #[error("BPF map {name}: {source}")]
    Map { name: &'static str, source: MapError },
    /// Entries of a map cannot be read together.
    #[error("BPF map {name} (Linux 5.6 or newer): {source}")]
    Batch { name: &'static str, source: io::Error },
    /// A program was refused.
    #[error("the kernel refuses the BPF program {name}: {}", concise(source))]
    Program { name: &'static str, source: ProgramError },
    /// A map or program is not in the object.
    #[error("the BPF object has no {0}; it is not from this version of tusktop")]
    Missing(&'static str),
    /// The iterator over threads does not work.
    #[error("the kernel's iterator over threads cannot be read: {0}")]
    Threads(io::Error),
    /// The list of CPUs cannot be read.
    #[error("cannot read {path}: {source}")]
    Cpus { path: PathBuf, source: io::Error },
    /// A probe was refused.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

impl KernelError {
    /// What is said of PHP when the programs do not run, and what to type.
    pub(crate) fn notice(&self) -> Notice {
        let hint = match self {
            _ if !rustix::process::geteuid().is_root() => "run it as root: sudo tusktop",
            Self::Permission { .. } => {
                "BPF is locked down or this is a container: run it on the host, with CAP_SYS_ADMIN"
            }
            _ => "Linux 5.15 or newer with uprobes, BPF and BTF is needed",
        };
        Notice::programs_refused(self, hint)
    }
}

/// The verifier's log has thousands of lines; its verdict is near the end.
pub(super) fn concise(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return error.to_string() };
    let log = verifier_log.to_string();
    let verdict = log.lines().rev().find(|line| {
        !line.is_empty()
            && !["processed ", "verification time", "stack depth"].iter().any(|start| line.starts_with(start))
    });
    match verdict {
        Some(verdict) if verdict.starts_with("invalid func ") => {
            format!("{io_error} (it needs Linux 5.15 or newer: {verdict})")
        }
        Some(verdict) => format!("{io_error} ({})", verdict.chars().take(160).collect::<String>()),
        None => io_error.to_string(),
    }
}

pub(super) fn permission(error: EbpfError) -> KernelError {
    if let EbpfError::MapError(MapError::CreateError { io_error, .. }) = &error
        && io_error.kind() == io::ErrorKind::PermissionDenied
    {
        return KernelError::Permission { source: io::Error::from(io::ErrorKind::PermissionDenied) };
    }
    KernelError::Object(error)
}
