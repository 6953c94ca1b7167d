//! Where a thread-safe build (ZTS) keeps the globals of each thread: found in the code of the exported function
//! `tsrm_get_ls_cache_tcb_offset` (PHP 8.0 and newer), which is made to tell it to the JIT. What is not understood is refused.
//!
//! It returns how far from the thread pointer the pointer to a thread's globals is: a constant in a program, and in a library a word
//! that the loader has filled in (`TSRM/TSRM.c`; Drepper, "ELF Handling For Thread-Local Storage", models initial-exec and
//! local-exec). Each kind of globals begins at an offset from there that the build exports, such as `executor_globals_offset`.
//! Builds for musl return 0, since their offset is not fixed.

use super::operand::Architecture;

/// Bytes of the function that are read; real ones have fewer than 20.
pub(crate) const CODE: usize = 32;

/// Where the pointer to a thread's globals is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ThreadStorage {
    /// So far from the thread pointer, in two's complement.
    Offset(u64),
    /// As far as the word at this address, as linked, says.
    Slot(u64),
}

/// Finds it in the code of `tsrm_get_ls_cache_tcb_offset`, which begins at `address` as linked; `None` where that is not understood.
pub(crate) fn find(architecture: Architecture, code: &[u8], address: u64) -> Option<ThreadStorage> {
    let found = match architecture {
        Architecture::X86_64 => x86(code, address),
        Architecture::Aarch64 => arm(code, address),
    };
    found.filter(|found| match found {
        ThreadStorage::Offset(offset) => *offset != 0 && offset.is_multiple_of(8),
        ThreadStorage::Slot(slot) => slot.is_multiple_of(8),
    })
}

fn x86(code: &[u8], address: u64) -> Option<ThreadStorage> {
    // endbr64; push %rbp; mov %rsp,%rbp
    let mut rest = code;
    for start in [&[0xf3, 0x0f, 0x1e, 0xfa][..], &[0x55], &[0x48, 0x89, 0xe5]] {
        rest = rest.strip_prefix(start).unwrap_or(rest);
    }
    let (operation, rest) = rest.split_first_chunk::<3>()?;
    let (number, rest) = rest.split_first_chunk::<4>()?;
    let next = address.wrapping_add((code.len() - rest.len()) as u64);
    let number = i64::from(i32::from_le_bytes(*number));
    // pop %rbp; ret
    let rest = rest.strip_prefix(&[0x5d]).unwrap_or(rest);
    if rest.first() != Some(&0xc3) {
        return None;
    }
    match operation {
        // mov SLOT(%rip),%rax
        [0x48, 0x8b, 0x05] => Some(ThreadStorage::Slot(next.wrapping_add_signed(number))),
        // mov $OFFSET,%rax, which the linker makes of it in a program
        [0x48, 0xc7, 0xc0] => Some(ThreadStorage::Offset(number.cast_unsigned())),
        _ => None,
    }
}

fn arm(code: &[u8], address: u64) -> Option<ThreadStorage> {
    let mut slot = None;
    // x0, if it is known.
    let mut value = None;
    for (at, word) in code.as_chunks::<4>().0.iter().enumerate() {
        let word = u32::from_le_bytes(*word);
        let number = |low: u32, bits: u32| u64::from(word >> low & ((1 << bits) - 1));
        match word {
            // ret
            0xd65f_03c0 => return slot.map(ThreadStorage::Slot).or(value.map(ThreadStorage::Offset)),
            // hints, such as bti
            _ if word & 0xffff_f01f == 0xd503_201f => {}
            // mov x0, xzr
            0xaa1f_03e0 => value = Some(0),
            // adrp x0
            _ if word & 0x9f00_001f == 0x9000_0000 => {
                let pages = ((number(5, 19) << 2 | number(29, 2)) << 43).cast_signed() >> 31;
                value = Some((address.wrapping_add(4 * at as u64) & !0xfff).wrapping_add_signed(pages));
            }
            // ldr x0, [x0, #]
            _ if word & 0xffc0_03ff == 0xf940_0000 && slot.is_none() => {
                slot = Some(value?.wrapping_add(number(10, 12) * 8));
            }
            // add x0, x0, #, with or without lsl #12
            _ if word & 0xff80_03ff == 0x9100_0000 => {
                value = Some(value?.wrapping_add(number(10, 12) << (12 * number(22, 1))));
            }
            // movz x0, #, lsl #16 and movk x0, #, which the linker makes of adrp and ldr in a program
            _ if word & 0xffe0_001f == 0xd2a0_0000 => value = Some(number(5, 16) << 16),
            _ if word & 0xffe0_001f == 0xf280_0000 => value = Some(value? & !0xffff | number(5, 16)),
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(architecture: Architecture, code: &str) -> Option<ThreadStorage> {
        let bytes: Vec<_> = code.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        find(architecture, &bytes, 0x1000)
    }

    #[test]
    fn a_library_has_a_word_that_says_where_and_a_program_a_constant() {
        let x86 = |code| found(Architecture::X86_64, code);
        assert_eq!(x86("48 8b 05 f9 0f 00 00 c3"), Some(ThreadStorage::Slot(0x2000)));
        assert_eq!(x86("f3 0f 1e fa 48 8b 05 f5 0f 00 00 c3"), Some(ThreadStorage::Slot(0x2000)));
        assert_eq!(x86("55 48 89 e5 48 8b 05 f5 0f 00 00 5d c3"), Some(ThreadStorage::Slot(0x2000)));
        assert_eq!(x86("48 c7 c0 f0 ff ff ff c3"), Some(ThreadStorage::Offset(0_u64.wrapping_sub(16))));
        let arm = |code| found(Architecture::Aarch64, code);
        // adrp x0, 0x2000; ldr x0, [x0, #0xff8]
        assert_eq!(arm("00 00 00 b0 00 fc 47 f9 c0 03 5f d6"), Some(ThreadStorage::Slot(0x2ff8)));
        // The same behind `bti c`, and with a page before this one.
        assert_eq!(arm("5f 24 03 d5 e0 ff ff f0 00 00 40 f9 c0 03 5f d6"), Some(ThreadStorage::Slot(0)));
        // mov x0, xzr; add x0, x0, #1, lsl #12; add x0, x0, #0x28
        assert_eq!(arm("e0 03 1f aa 00 04 40 91 00 a0 00 91 c0 03 5f d6"), Some(ThreadStorage::Offset(0x1028)));
        // movz x0, #0, lsl #16; movk x0, #0x28
        assert_eq!(arm("00 00 a0 d2 00 05 80 f2 c0 03 5f d6"), Some(ThreadStorage::Offset(0x28)));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let refused = |code| assert_eq!(found(Architecture::X86_64, code), None, "{code}");
        // musl: xor %eax,%eax. No end, another register, a constant that is no place.
        refused("31 c0 c3");
        refused("48 8b 05 f9 0f 00 00 90");
        refused("48 8b 0d f9 0f 00 00 c3");
        refused("48 c7 c0 00 00 00 00 c3");
        refused("48 c7 c0 f1 ff ff ff c3");
        assert_eq!(found(Architecture::Aarch64, "00 00 80 d2 c0 03 5f d6"), None);
        assert_eq!(found(Architecture::Aarch64, "00 fc 47 f9 c0 03 5f d6"), None);
    }

    proptest! {
        #[test]
        fn no_code_makes_it_panic(code in proptest::collection::vec(any::<u8>(), 0..CODE), address in any::<u64>()) {
            let _ = find(Architecture::X86_64, &code, address);
            let _ = find(Architecture::Aarch64, &code, address);
        }
    }
}
