//! What the collectors that use BPF have in common: links, the wire types in maps and the kernel's own types.
//! Which programs there are, and what their maps mean, is for the collectors.

pub(crate) mod btf;
pub(crate) mod link;
pub(crate) mod wire;
