//! tusktop's own process: its rights, its heap, its pid namespace, the files that it reads for its settings and writes, the
//! names of users and of the machine.

pub(crate) mod blocked;
pub(crate) mod growing_file;
pub mod heap;
pub mod new_file;
pub(crate) mod pid_namespace;
pub(crate) mod rights;
pub(crate) mod small_file;
pub(crate) mod users;

/// The name of this machine, as uname(2) has it.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
