//! What both BPF collectors share: links, reading many entries of a map at one go, the wire types in maps and the kernel's own types.
//! Each collector knows its own programs and what its maps mean.

pub(crate) mod batch;
pub(crate) mod btf;
pub(crate) mod link;
pub(crate) mod wire;
