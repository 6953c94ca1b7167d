//! At which line each frame of a sampled stack is. It is read in some of the samples only, because it costs as much as all the rest.

use core::{ptr, slice};

use aya_ebpf::{
    EbpfContext, bindings::BPF_RB_NO_WAKEUP, helpers::generated::bpf_probe_read_kernel, programs::PerfEventContext,
};
use tusktop_shared::{ContentKey, MAX_FRAMES, StackLines, UNKNOWN_OFFSET, mix, stat};

use crate::{
    maps::{LINES, SCRATCH, add},
    php::{OPLINE_LINE, fetch},
    process::config,
    stack::{Scratch, read},
};

/// One of so many samples has lines; a power of two.
const EVERY: u64 = 16;

/// A sample with lines.
#[repr(C)]
pub struct Lines {
    head: StackLines,
    /// Longer than any stack, so that a masked length is inside.
    lines: [u32; 2 * MAX_FRAMES],
    opline: u64,
    register: u64,
}

/// Sends the lines of the stack that was walked last on this CPU, if it is the turn of this sample. That is left to chance: what PHP
/// does may be as regular as every sixteenth sample.
///
/// Call it only where nothing else on this CPU can walk a stack meanwhile, as [`crate::stack::capture`].
#[inline(always)]
pub fn send(context: &PerfEventContext, stack: &ContentKey, pid: u32, now_ns: u64) -> Option<()> {
    if mix(config()?.seed, now_ns) & (EVERY - 1) != 0 {
        return None;
    }
    // SAFETY: the pointer is this CPU's slot, and nothing else uses it meanwhile, as said above.
    let scratch = unsafe { &mut *SCRATCH.get_ptr_mut(0)? };
    let mut i = 0;
    while i < MAX_FRAMES {
        if i as u64 >= read(&scratch.walk.depth) {
            break;
        }
        let slot = i & (MAX_FRAMES - 1);
        scratch.lines.lines[slot] = 0;
        scratch.lines.opline = 0;
        fetch(scratch.frames[slot], &mut scratch.lines.opline);
        fetch(read(&scratch.lines.opline).wrapping_add(OPLINE_LINE), &mut scratch.lines.lines[slot]);
        i += 1;
    }
    fetch_running_line(context, scratch);
    let depth = read(&scratch.walk.depth) as u32;
    scratch.lines.head = StackLines { stack: stack.hash, user: stack.user, pid, depth, reserved: 0 };
    let length = size_of::<StackLines>() + size_of::<u32>() * (depth as usize & (2 * MAX_FRAMES - 1));
    // SAFETY: head and lines are next to each other, initialised, and longer than what is read of them.
    let bytes = unsafe { slice::from_raw_parts(ptr::from_ref(&scratch.lines).cast::<u8>(), length) };
    if LINES.output::<[u8]>(bytes, u64::from(BPF_RB_NO_WAKEUP)).is_err() {
        add(stat::LINES_FULL, 1);
    }
    Some(())
}

/// Reads the line of the running frame again, where the executor has it in a register: it writes the place of the instruction to the frame
/// only before what may need it there (Zend/zend_execute.c, `SAVE_OPLINE`), which a function that only computes never does.
///
/// While code that the executor called runs, the registers may hold anything. So the one for the frame is asked, too: compilers use it
/// for something else before they use that of the instruction.
#[inline(always)]
fn fetch_running_line(context: &PerfEventContext, scratch: &mut Scratch) -> Option<()> {
    let config = config()?;
    if config.frame_register == UNKNOWN_OFFSET {
        return None;
    }
    // The context begins with the address of the saved registers (include/linux/perf_event.h, `struct bpf_perf_event_data_kern`).
    let mut registers = 0;
    fetch_kernel(context.as_ptr() as u64, &mut registers);
    fetch_kernel(registers.wrapping_add(u64::from(config.frame_register)), &mut scratch.lines.register);
    if read(&scratch.lines.register) != scratch.frames[0] {
        return None;
    }
    fetch_kernel(registers.wrapping_add(u64::from(config.opline_register)), &mut scratch.lines.register);
    fetch(read(&scratch.lines.register).wrapping_add(OPLINE_LINE), &mut scratch.lines.lines[0]);
    Some(())
}

/// Reads a word of the kernel into a place; it stays as it was where that cannot be read.
#[inline(always)]
fn fetch_kernel(address: u64, into: &mut u64) {
    // SAFETY: a checked read of exactly the size of the place.
    unsafe { bpf_probe_read_kernel(ptr::from_mut(into).cast(), size_of::<u64>() as u32, address as *const _) };
}
