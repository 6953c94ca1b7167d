//! The procfs sampler.

/// One pass over /proc.
#[derive(Debug, Default)]
pub struct ProcessSample {}
