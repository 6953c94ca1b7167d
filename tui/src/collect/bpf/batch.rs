//! Reads many entries of a hash map at one go: aya 0.14 asks the kernel two or three times for each.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr,
};

use aya::{Pod, maps::MapData};

/// Commands of bpf(2) (include/uapi/linux/bpf.h), Linux 5.6 or newer.
#[derive(Debug, Clone, Copy)]
enum Command {
    Look = 24,
    Take = 25,
}

/// Entries at one go. A bucket of the kernel's table has to fit: tables have more buckets than entries.
const ROOM: usize = 1024;

/// `union bpf_attr` for the commands of batches.
#[repr(C)]
struct BatchAttr {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Room for entries, which is used again and again.
#[derive(Debug)]
pub(crate) struct Batch<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K: Pod, V: Pod> Batch<K, V> {
    pub(crate) fn new() -> Self {
        Self { keys: Vec::new(), values: Vec::new() }
    }

    /// Hands over all entries of a map and removes them from it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn take(&mut self, map: &MapData, entry: impl FnMut(K, V)) -> io::Result<()> {
        self.go_through(map, Command::Take, entry)
    }

    /// Hands over all entries of a map. One that is made or removed meanwhile may be among them or not.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn look(&mut self, map: &MapData, entry: impl FnMut(K, V)) -> io::Result<()> {
        self.go_through(map, Command::Look, entry)
    }

    fn go_through(&mut self, map: &MapData, command: Command, mut entry: impl FnMut(K, V)) -> io::Result<()> {
        self.keys.reserve(ROOM);
        self.values.reserve(ROOM);
        // Where the kernel goes on: the number of a bucket (kernel/bpf/hashtab.c, `__htab_map_lookup_and_delete_batch`).
        let mut place = 0_u32;
        let mut first = true;
        loop {
            let mut attr = BatchAttr {
                from: if first { 0 } else { ptr::from_ref(&place) as u64 },
                to: ptr::from_mut(&mut place) as u64,
                keys: self.keys.as_mut_ptr() as u64,
                values: self.values.as_mut_ptr() as u64,
                count: ROOM as u32,
                map: map.fd().as_fd().as_raw_fd() as u32,
                element_flags: 0,
                flags: 0,
            };
            // SAFETY: the attribute, the place and the room for `count` keys and values outlive the call, which writes there only.
            // The map holds keys and values of these types: it is made from the same definitions.
            let result =
                unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_int, &raw mut attr, size_of::<BatchAttr>()) };
            let error = (result < 0).then(io::Error::last_os_error);
            let is_end = error.as_ref().is_some_and(|error| error.raw_os_error() == Some(libc::ENOENT));
            if let Some(error) = error.filter(|_| !is_end) {
                return Err(error);
            }
            let count = (attr.count as usize).min(ROOM);
            // SAFETY: the kernel has written so many, and any bit pattern is a value of these types.
            unsafe {
                self.keys.set_len(count);
                self.values.set_len(count);
            }
            for (key, value) in self.keys.drain(..).zip(self.values.drain(..)) {
                entry(key, value);
            }
            if is_end {
                return Ok(());
            }
            first = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_kernel() {
        assert_eq!((size_of::<BatchAttr>(), std::mem::offset_of!(BatchAttr, element_flags)), (56, 40));
    }
}
