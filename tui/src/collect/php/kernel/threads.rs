//! The thread pointers of threads that run PHP of a thread-safe build. The program that tells them is loaded when they are first asked
//! for: most machines have no such PHP, and loading it takes the kernel's types, some 18 MB for a moment.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{Btf, Ebpf, programs::Iter};
use tusktop_shared::ThreadPointer;

use super::{KernelError, program};
use crate::{
    collect::bpf::{link, wire},
    system::heap,
};

/// Its name in the object.
const PROGRAM: &str = "thread_pointers";

/// Threads of a process that are kept.
const THREADS: usize = 64;

/// Tells them.
#[derive(Debug, Default)]
pub(super) struct ThreadPointers {
    link: Option<OwnedFd>,
}

impl ThreadPointers {
    /// Those of all processes that the programs know, by process: the id of a thread, and its pointer. Of a process with more than 64
    /// only the first.
    ///
    /// # Errors
    /// The kernel refuses the program, or does not tell.
    pub(super) fn read(&mut self, ebpf: &mut Ebpf) -> Result<HashMap<u32, Vec<(u32, u64)>>, KernelError> {
        let link = match &self.link {
            Some(link) => link,
            None => self.link.insert(load(ebpf)?),
        };
        let bytes = link::read_iterator(link.as_fd()).map_err(KernelError::Threads)?;
        let mut threads: HashMap<u32, Vec<(u32, u64)>> = HashMap::new();
        for record in bytes.chunks(size_of::<ThreadPointer>()) {
            let Some(thread) = wire::read::<ThreadPointer>(record) else { break };
            let of_process = threads.entry(thread.pid).or_default();
            if of_process.len() < THREADS {
                of_process.push((thread.tid, thread.pointer));
            }
        }
        Ok(threads)
    }
}

fn load(ebpf: &mut Ebpf) -> Result<OwnedFd, KernelError> {
    let types = Btf::from_sys_fs().map_err(|error| KernelError::Threads(io::Error::other(error)))?;
    let refused = |source| KernelError::Program { name: PROGRAM, source };
    let iterator: &mut Iter = program(ebpf, PROGRAM)?;
    iterator.load("task", &types).map_err(refused)?;
    let link = link::iterator(iterator.fd().map_err(refused)?.as_fd()).map_err(KernelError::Threads)?;
    drop(types);
    heap::trim();
    Ok(link)
}
