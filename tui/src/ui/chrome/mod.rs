//! The lines around the panes: header and footer.

pub(crate) mod footer;
pub(crate) mod header;
pub(crate) mod scrub;
