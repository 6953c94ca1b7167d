//! What something is compared with: a share, a size or a rate.

use std::fmt;

use crate::words::units;

/// A share, a size or a rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Amount {
    /// 0 to 1.
    Share(f64),
    Bytes(u64),
    /// So many in a second, and whether it was typed as so many in a minute.
    PerSecond(f64, bool),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Share(share) => f.write_str(&units::percent(share)),
            Self::Bytes(bytes) => f.write_str(&units::bytes(bytes)),
            Self::PerSecond(rate, true) => write!(f, "{:.1} a minute", rate * 60.0),
            Self::PerSecond(rate, false) => write!(f, "{rate:.1} a second"),
        }
    }
}
