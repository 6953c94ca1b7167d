//! Programs for links that hold all places of a file at once (`BPF_TRACE_UPROBE_MULTI`, Linux 6.6 or newer). A hit costs less than
//! with a perf event. Closing such a link waits once in the kernel; closing perf events waits some 70 ms for each, under a lock
//! that they share.
//!
//! aya 0.14 cannot load a program for such a link, so its object is linked again here, to the maps that aya made. If the kernel
//! refuses, `attach` uses perf events.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::{
    collections::HashMap,
    ffi::CString,
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use aya_obj::Object;

use crate::collect::bpf::link;

/// Numbers of include/uapi/linux/bpf.h.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_TRACE_UPROBE_MULTI: u32 = 48;
/// `BPF_OBJ_NAME_LEN`, with the NUL.
const NAME_BYTES: usize = 16;

/// `union bpf_attr` for BPF_PROG_LOAD, up to `expected_attach_type`.
#[repr(C)]
#[derive(Default)]
struct ProgramLoadAttr {
    kind: u32,
    instructions_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME_BYTES],
    interface: u32,
    expected_attach_type: u32,
}

/// `union bpf_attr` for BPF_LINK_CREATE with `uprobe_multi`. No pid: the link is for every process.
#[repr(C)]
#[derive(Default)]
struct LinkCreateAttr {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    semaphores: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    _padding: u32,
}

/// One place of a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct MultiPlace {
    /// Offset of the instruction in the file.
    pub offset: u64,
    /// Offset of the semaphore in the file, 0 when there is none.
    pub semaphore: u64,
    /// Handed to the program at each hit.
    pub cookie: u64,
}

/// The object, linked to its maps, and the programs that were loaded from it.
pub(super) struct MultiPrograms {
    object: Object,
    programs: HashMap<&'static str, OwnedFd>,
}

impl MultiPrograms {
    /// Links the object to the maps of `ebpf`, which have to stay open as long as programs are loaded. `None` where that fails:
    /// then probes are attached one by one.
    pub(crate) fn link(bytes: &[u8], ebpf: &Ebpf) -> Option<Self> {
        let mut object = Object::parse(bytes).ok()?;
        let descriptors: HashMap<&str, RawFd> =
            ebpf.maps().filter_map(|(name, map)| Some((name, data(map)?.fd().as_fd().as_raw_fd()))).collect();
        let text = object.functions.keys().map(|(section, _)| *section).collect();
        let maps = object.maps.clone();
        // A map that is left out here would be taken for another one of its section.
        let linked: Option<Vec<_>> =
            maps.iter().map(|(name, map)| Some((&**name, *descriptors.get(&**name)?, map))).collect();
        object.relocate_maps(linked?.into_iter(), &text).ok()?;
        object.relocate_calls(&text).ok()?;
        Some(Self { object, programs: HashMap::new() })
    }

    /// A program, loaded when it is first asked for.
    ///
    /// # Errors
    /// The kernel does not know such links, or refuses the program.
    pub(crate) fn program(&mut self, name: &'static str) -> io::Result<BorrowedFd<'_>> {
        if !self.programs.contains_key(name) {
            let program = load(&self.object, name)?;
            self.programs.insert(name, program);
        }
        Ok(self.programs[name].as_fd())
    }
}

/// Attaches a program to all `places` of a file, for every process that maps it, now or later.
///
/// # Errors
/// The kernel refuses one of them, and then all.
pub(super) fn attach(program: BorrowedFd<'_>, path: &Path, places: &[MultiPlace]) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let offsets: Vec<u64> = places.iter().map(|place| place.offset).collect();
    let semaphores: Vec<u64> = places.iter().map(|place| place.semaphore).collect();
    let cookies: Vec<u64> = places.iter().map(|place| place.cookie).collect();
    let attr = LinkCreateAttr {
        program: program.as_raw_fd() as u32,
        attach_type: BPF_TRACE_UPROBE_MULTI,
        path: path.as_ptr() as u64,
        offsets: offsets.as_ptr() as u64,
        semaphores: semaphores.as_ptr() as u64,
        cookies: cookies.as_ptr() as u64,
        count: places.len() as u32,
        ..LinkCreateAttr::default()
    };
    // SAFETY: the attribute, the path and the three arrays of `count` numbers outlive the call, which reads them only and returns a
    // new descriptor.
    unsafe { link::owned(libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const attr, size_of::<LinkCreateAttr>())) }
}

fn load(object: &Object, name: &str) -> io::Result<OwnedFd> {
    let absent = || io::Error::from(io::ErrorKind::NotFound);
    let program = object.programs.get(name).ok_or_else(absent)?;
    let instructions = &object.functions.get(&program.function_key()).ok_or_else(absent)?.instructions;
    let mut attr = ProgramLoadAttr {
        kind: BPF_PROG_TYPE_KPROBE,
        instructions_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: program.license.as_ptr() as u64,
        expected_attach_type: BPF_TRACE_UPROBE_MULTI,
        ..ProgramLoadAttr::default()
    };
    let length = name.len().min(NAME_BYTES - 1);
    attr.name[..length].copy_from_slice(&name.as_bytes()[..length]);
    // SAFETY: the attribute, the instructions and the license with its NUL outlive the call, which reads them only and returns a
    // new descriptor.
    unsafe { link::owned(libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attr, size_of::<ProgramLoadAttr>())) }
}

/// Maps of the kinds that the object has.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layouts_are_those_of_the_kernel() {
        assert_eq!((size_of::<ProgramLoadAttr>(), size_of::<LinkCreateAttr>()), (72, 64));
        assert_eq!(std::mem::offset_of!(ProgramLoadAttr, expected_attach_type), 68);
        assert_eq!(std::mem::offset_of!(LinkCreateAttr, count), 48);
    }
}
