//! The recording that is made beside the live screen.

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordingInProgress {
    /// Name of the file.
    pub file: String,
    /// Bytes that are written.
    pub bytes: u64,
    /// Snapshots that are not in it, because writing did not keep up.
    pub missed: u64,
    /// Why nothing more is written.
    pub problem: Option<String>,
}
