//! tusktop's own process: its rights, its heap, its pid namespace, the files that it reads for its settings and writes, and the
//! names of users.

pub(crate) mod blocked;
pub(crate) mod growing_file;
pub mod heap;
pub mod new_file;
pub(crate) mod pid_namespace;
pub(crate) mod rights;
pub(crate) mod small_file;
pub(crate) mod users;
