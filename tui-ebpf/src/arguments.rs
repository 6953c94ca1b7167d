//! Reads an argument of a probe by the description that user space parsed from the image.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_probe_read_kernel, bpf_probe_read_user},
    programs::ProbeContext,
};
use tusktop_shared::{OPERAND_CONSTANT, OPERAND_MEMORY, OPERAND_REGISTER, Operand};

/// The saved registers are smaller than this on every architecture; the mask keeps offsets inside for the verifier.
const REGISTER_MASK: u32 = 0x1ff;

/// One saved register, by its byte offset.
#[inline(always)]
pub fn register(context: &ProbeContext, offset: u32) -> Option<u64> {
    let base = context.as_ptr() as *const u8;
    // SAFETY: the address stays within the saved registers or just behind them on the kernel stack, and the read is checked.
    unsafe { bpf_probe_read_kernel(base.add((offset & REGISTER_MASK) as usize).cast::<u64>()) }.ok()
}

/// The value of an argument; 0 when there is none or it cannot be read. (An `Option` here makes the compiler copy a
/// register that it never set, which the verifier refuses.)
#[inline(always)]
pub fn argument(context: &ProbeContext, operand: &Operand) -> u64 {
    let raw = match operand.kind {
        OPERAND_CONSTANT => operand.displacement as u64,
        OPERAND_REGISTER => register(context, operand.register).unwrap_or(0),
        OPERAND_MEMORY => {
            let base = register(context, operand.register).unwrap_or(0);
            let mut address = base.wrapping_add(operand.displacement as u64);
            if operand.scale != 0 {
                let index = register(context, operand.index).unwrap_or(0);
                address = address.wrapping_add(index.wrapping_mul(u64::from(operand.scale)));
            }
            // SAFETY: a checked read of user memory.
            unsafe { bpf_probe_read_user(address as *const u64) }.unwrap_or(0)
        }
        _ => 0,
    };
    operand.narrow(raw)
}
