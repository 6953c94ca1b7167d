//! Reads members of the kernel's structures at the offsets that user space found.

use core::ptr;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tusktop_shared::TaskLayout;

/// Written by user space before the programs are loaded; the verifier knows its values.
#[unsafe(no_mangle)]
pub static LAYOUT: TaskLayout = TaskLayout {
    task_pid: 0,
    task_tgid: 0,
    task_flags: 0,
    task_state: 0,
    task_exit_state: 0,
    task_parent: 0,
    task_leader: 0,
    task_start: 0,
    task_cpu_time: 0,
    task_signal: 0,
    task_memory: 0,
    task_comm: 0,
    task_credentials: 0,
    signal_threads: 0,
    signal_live: 0,
    signal_cpu_time: 0,
    memory_pages: 0,
    memory_pages_stride: 0,
    memory_arguments: 0,
    memory_arguments_end: 0,
    credentials_user: 0,
    task_read: 0,
    task_written: 0,
    signal_read: 0,
    signal_written: 0,
    task_groups: 0,
    groups_memory: 0,
    group_counter: 0,
    counter_usage: 0,
    counter_max: 0,
    counter_parent: 0,
    task_exit_code: 0,
};

/// One offset of the layout.
macro_rules! offset {
    ($name:ident) => {
        // SAFETY: the static is initialised; it is volatile because user space changes it after compilation.
        unsafe { core::ptr::read_volatile(&raw const $crate::kernel::LAYOUT.$name) }
    };
}
pub(crate) use offset;

/// Reads a member; the kernel fills it with zeros where the address is not readable.
#[inline(always)]
pub fn fetch<T>(structure: *const u8, offset: u32, into: &mut T) {
    // SAFETY: a checked read into memory of this size, of integers and arrays of them only.
    unsafe {
        bpf_probe_read_kernel(
            ptr::from_mut(into).cast(),
            size_of::<T>() as u32,
            structure.wrapping_add(offset as usize).cast(),
        );
    }
}

/// Reads a member that is a pointer.
#[inline(always)]
pub fn pointer(structure: *const u8, offset: u32) -> *const u8 {
    let mut address = 0_u64;
    fetch(structure, offset, &mut address);
    address as *const u8
}

/// Reads a member of 32 bits.
#[inline(always)]
pub fn word(structure: *const u8, offset: u32) -> u32 {
    let mut value = 0;
    fetch(structure, offset, &mut value);
    value
}

/// Reads a member of 64 bits.
#[inline(always)]
pub fn long(structure: *const u8, offset: u32) -> u64 {
    let mut value = 0;
    fetch(structure, offset, &mut value);
    value
}
