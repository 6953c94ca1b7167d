//! The growth tier: which stacks make processes grow, by page faults.

pub(super) mod status;
