//! Where PHP's allocator keeps the peak of a request: found by following the code of the exported function `zend_memory_peak_usage`,
//! which is a few instructions long. What is not understood is refused.
//!
//! In a thread-safe build the pointer to the heap is in the storage of the thread, at an offset that a word of the image has.
//!
//! The function returns one of two fields of the heap, by its argument. So it is followed twice, on a machine that knows only the
//! instructions that compilers make of it, and values only as far as they are of use. Encodings: Intel's manual, volume 2; Arm's
//! Architecture Reference Manual, C6.

use super::{operand::Architecture, thread_storage::ThreadStorage};

/// Bytes of the function that are read; real ones have fewer than 60.
pub(crate) const CODE: usize = 128;
/// Instructions that are followed.
const STEPS: usize = 32;
/// Fields of the heap end before (Zend/zend_alloc.c, `struct _zend_mm_heap`).
const HEAP: u32 = 4096;
/// `zend_mm_heap.peak`, in every version: what the real peak is told by.
const PEAK: u32 = 24;

/// Where the allocator of an image keeps its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heap {
    /// Address, as linked, of the pointer to the heap; in builds for threads, of the word that has its offset in a thread's storage.
    pub pointer: u64,
    /// Offset in the heap of the peak of what was taken from the system. The size now is 8 bytes before it and the limit 8 bytes behind
    /// it in every version (7.0 to 8.5).
    pub peak: u32,
}

/// What is known of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Unknown,
    /// A number, or an address.
    Number(u64),
    /// What is at an address: the heap, plus an offset.
    Heap {
        pointer: u64,
        offset: u64,
    },
    /// A field of the heap.
    Field {
        pointer: u64,
        offset: u64,
    },
    /// The storage of the thread.
    Storage,
    /// Where in it the offset says that is at an address.
    InStorage {
        pointer: u64,
    },
}

impl Value {
    fn plus(self, by: u64) -> Self {
        match self {
            Self::Number(number) => Self::Number(number.wrapping_add(by)),
            Self::Heap { pointer, offset } => Self::Heap { pointer, offset: offset.wrapping_add(by) },
            Self::Storage | Self::InStorage { .. } if by == 0 => self,
            Self::Unknown | Self::Field { .. } | Self::Storage | Self::InStorage { .. } => Self::Unknown,
        }
    }

    /// This and an offset that is at an address, or the other way round.
    fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Storage, Self::Heap { pointer, offset: 0 }) | (Self::Heap { pointer, offset: 0 }, Self::Storage) => {
                Self::InStorage { pointer }
            }
            _ => Self::Unknown,
        }
    }

    /// What a thread has at this distance from its thread pointer.
    fn of_thread(self, storage: Option<ThreadStorage>) -> Self {
        match (self, storage) {
            (Self::Number(number), Some(ThreadStorage::Offset(offset))) if number == offset => Self::Storage,
            (Self::Heap { pointer, offset: 0 }, Some(ThreadStorage::Slot(slot))) if pointer == slot => Self::Storage,
            _ => Self::Unknown,
        }
    }

    /// What is in memory at this address.
    fn at(self) -> Self {
        match self {
            Self::Number(pointer) => Self::Heap { pointer, offset: 0 },
            Self::Heap { pointer, offset } => Self::Field { pointer, offset },
            Self::InStorage { pointer } => Self::Heap { pointer, offset: 0 },
            Self::Unknown | Self::Field { .. } | Self::Storage => Self::Unknown,
        }
    }
}

/// Finds it in the code of `zend_memory_peak_usage`, which begins at `address` as linked; `None` where that is not understood.
///
/// In a build for threads it has to begin with their `storage`, which is not known on arm64.
pub(crate) fn find(
    architecture: Architecture,
    code: &[u8],
    address: u64,
    storage: Option<ThreadStorage>,
) -> Option<Heap> {
    let returned = |argument| match architecture {
        Architecture::X86_64 => x86(code, address, argument, storage),
        Architecture::Aarch64 => arm(code, address, argument),
    };
    let (Value::Field { pointer, offset: peak }, Value::Field { pointer: same, offset: all }) =
        (returned(1)?, returned(0)?)
    else {
        return None;
    };
    let peak = u32::try_from(peak).ok().filter(|peak| *peak > PEAK && *peak < HEAP && peak % 8 == 0)?;
    (pointer == same && all == u64::from(PEAK)).then_some(Heap { pointer, peak })
}

/// Follows x86-64 code with this argument to its return.
fn x86(code: &[u8], address: u64, argument: u64, storage: Option<ThreadStorage>) -> Option<Value> {
    const RAX: usize = 0;
    const RDI: usize = 7;
    let mut registers = [Value::Unknown; 16];
    registers[RDI] = Value::Number(argument);
    let mut is_zero = None;
    let mut at = 0_usize;
    for _ in 0..STEPS {
        let byte = |offset: usize| code.get(at.checked_add(offset)?).copied();
        let signed = |offset: usize, size: usize| {
            let bytes = code.get(at.checked_add(offset)?..at.checked_add(offset + size)?)?;
            match size {
                1 => Some(i64::from(bytes[0].cast_signed())),
                _ => Some(i64::from(i32::from_le_bytes(bytes.try_into().ok()?))),
            }
        };
        // endbr64
        if code.get(at..)?.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]) {
            at += 4;
            continue;
        }
        // mov %fs:PLACE,%REGISTER
        if byte(0)? == 0x64 {
            let rex = byte(1).filter(|byte| byte & 0xf8 == 0x48)?;
            let absolute = byte(3)? & 0xc7 == 0x04 && byte(4)? == 0x25;
            let operand = if absolute { None } else { Some(modrm(code, at + 3)?) };
            let (distance, size) = match operand {
                None => (Value::Number(signed(5, 4)?.cast_unsigned()), 6),
                Some(operand) => (effective(operand.place, &registers, rex, address, 0)?, operand.size),
            };
            if byte(2)? != 0x8b || operand.is_some_and(|operand| matches!(operand.place, Place::Near(_))) {
                return None;
            }
            registers[usize::from(byte(3)? >> 3 & 7) | usize::from(rex & 4) << 1] = distance.of_thread(storage);
            at += 3 + size;
            continue;
        }
        let rex = byte(0).filter(|byte| byte & 0xf0 == 0x40);
        let start = usize::from(rex.is_some());
        let rex = rex.unwrap_or(0);
        let wide = rex & 8 != 0;
        let operation = byte(start)?;
        match operation {
            0xc3 => return Some(registers[RAX]),
            0x90 => at += start + 1,
            // push, pop: of the frame pointer, which no value comes from.
            0x55 | 0x5d if start == 0 => at += 1,
            // je, jne, jmp
            0x74 | 0x75 | 0xeb if start == 0 => {
                let taken = operation == 0xeb || is_zero? == (operation == 0x74);
                at = moved(at + 2, if taken { signed(1, 1)? } else { 0 })?;
            }
            // mov r32, imm32
            0xb8..=0xbf if !wide => {
                let number = u64::from(signed(start + 1, 4)? as u32);
                registers[usize::from(operation & 7) | usize::from(rex & 1) << 3] = Value::Number(number);
                at += start + 5;
            }
            0x0f => {
                let second = byte(start + 1)?;
                match second {
                    0x84 | 0x85 if start == 0 => {
                        let taken = is_zero? == (second == 0x84);
                        at = moved(at + 6, if taken { signed(2, 4)? } else { 0 })?;
                    }
                    // nop with an operand
                    0x1f => at += start + 2 + modrm(code, at + start + 2)?.size,
                    // cmove, cmovne; movzx of a byte
                    0x44 | 0x45 | 0xb6 => {
                        let operand = modrm(code, at + start + 2)?;
                        let end = at + start + 2 + operand.size;
                        let from = match operand.place {
                            Place::Register(register) => registers[register | usize::from(rex & 1) << 3],
                            place if second != 0xb6 && wide => effective(place, &registers, rex, address, end)?.at(),
                            _ => return None,
                        };
                        if second == 0xb6 || is_zero? == (second == 0x44) {
                            registers[operand.register | usize::from(rex & 4) << 1] = from;
                        }
                        at = end;
                    }
                    _ => return None,
                }
            }
            // mov r64, imm32
            0xc7 if wide && byte(start + 1)? & 0xf8 == 0xc0 => {
                let register = usize::from(byte(start + 1)? & 7) | usize::from(rex & 1) << 3;
                registers[register] = Value::Number(signed(start + 2, 4)?.cast_unsigned());
                at += start + 6;
            }
            // xor; add from memory or between registers; test of a byte or a word; mov between registers, from memory; lea
            0x01 | 0x03 | 0x31 | 0x84 | 0x85 | 0x89 | 0x8b | 0x8d => {
                let operand = modrm(code, at + start + 1)?;
                let end = at + start + 1 + operand.size;
                let register = operand.register | usize::from(rex & 4) << 1;
                match (operation, operand.place) {
                    (0x84 | 0x85, Place::Register(other)) => {
                        let other = other | usize::from(rex & 1) << 3;
                        let Value::Number(number) = registers[register] else { return None };
                        if other != register {
                            return None;
                        }
                        is_zero = Some(number & 0xff == 0);
                    }
                    (0x31, Place::Register(other)) if other | usize::from(rex & 1) << 3 == register => {
                        registers[register] = Value::Number(0);
                        is_zero = Some(true);
                    }
                    (0x01, Place::Register(other)) if wide => {
                        let other = other | usize::from(rex & 1) << 3;
                        registers[other] = registers[other].with(registers[register]);
                    }
                    (0x03, place) if wide => {
                        let added = match place {
                            Place::Register(other) => registers[other | usize::from(rex & 1) << 3],
                            place => effective(place, &registers, rex, address, end)?.at(),
                        };
                        registers[register] = registers[register].with(added);
                    }
                    (0x89, Place::Register(other)) => {
                        registers[other | usize::from(rex & 1) << 3] = registers[register];
                    }
                    (0x8b, Place::Register(other)) => {
                        registers[register] = registers[other | usize::from(rex & 1) << 3];
                    }
                    (0x8b, place) if wide => {
                        registers[register] = effective(place, &registers, rex, address, end)?.at();
                    }
                    (0x8d, place) if wide => {
                        registers[register] = effective(place, &registers, rex, address, end)?;
                    }
                    _ => return None,
                }
                at = end;
            }
            _ => return None,
        }
    }
    None
}

/// An operand of x86-64: a register, or a place in memory.
#[derive(Debug, Clone, Copy)]
enum Place {
    Register(usize),
    /// Relative to the next instruction.
    Near(i64),
    /// Base, index with its scale, displacement.
    Based {
        base: usize,
        index: Option<(usize, u64)>,
        by: i64,
    },
}

#[derive(Debug, Clone, Copy)]
struct Operands {
    register: usize,
    place: Place,
    /// Bytes that it takes.
    size: usize,
}

fn modrm(code: &[u8], at: usize) -> Option<Operands> {
    let byte = *code.get(at)?;
    let (mode, register, low) = (byte >> 6, usize::from(byte >> 3 & 7), usize::from(byte & 7));
    let number = |at: usize, size: usize| -> Option<i64> {
        let bytes = code.get(at..at + size)?;
        match size {
            0 => Some(0),
            1 => Some(i64::from(bytes[0].cast_signed())),
            _ => Some(i64::from(i32::from_le_bytes(bytes.try_into().ok()?))),
        }
    };
    if mode == 3 {
        return Some(Operands { register, place: Place::Register(low), size: 1 });
    }
    if mode == 0 && low == 5 {
        return Some(Operands { register, place: Place::Near(number(at + 1, 4)?), size: 5 });
    }
    let size = [0, 1, 4][usize::from(mode)];
    if low != 4 {
        let place = Place::Based { base: low, index: None, by: number(at + 1, size)? };
        return Some(Operands { register, place, size: 1 + size });
    }
    let sib = *code.get(at + 1)?;
    let (scale, index, base) = (1 << (sib >> 6), usize::from(sib >> 3 & 7), usize::from(sib & 7));
    if mode == 0 && base == 5 {
        return None;
    }
    let index = (index != 4).then_some((index, scale));
    Some(Operands { register, place: Place::Based { base, index, by: number(at + 2, size)? }, size: 2 + size })
}

fn effective(place: Place, registers: &[Value; 16], rex: u8, address: u64, end: usize) -> Option<Value> {
    match place {
        Place::Register(_) => None,
        Place::Near(by) => Some(Value::Number(address.wrapping_add(end as u64).wrapping_add_signed(by))),
        Place::Based { base, index, by } => {
            let base = registers[base | usize::from(rex & 1) << 3];
            let index = index.map(|(index, scale)| (registers[index | usize::from(rex & 2) << 2], scale));
            let sum = match (base, index) {
                (base, None) => base,
                (base, Some((Value::Number(number), scale))) => base.plus(number.wrapping_mul(scale)),
                (Value::Number(number), Some((index, 1))) => index.plus(number),
                (base, Some((index, 1))) => base.with(index),
                _ => return None,
            };
            Some(sum.plus(by.cast_unsigned()))
        }
    }
}

fn moved(at: usize, by: i64) -> Option<usize> {
    at.checked_add_signed(isize::try_from(by).ok()?)
}

/// Follows arm64 code with this argument to its return.
fn arm(code: &[u8], address: u64, argument: u64) -> Option<Value> {
    let mut registers = [Value::Unknown; 32];
    registers[0] = Value::Number(argument);
    let mut is_zero = None;
    let mut at = 0_usize;
    for _ in 0..STEPS {
        let word = u32::from_le_bytes(code.get(at..at.checked_add(4)?)?.try_into().ok()?);
        let field = |low: u32, bits: u32| word >> low & ((1 << bits) - 1);
        let register = |low: u32| field(low, 5) as usize;
        let signed = |low: u32, bits: u32| i64::from((field(low, bits) << (32 - bits)).cast_signed() >> (32 - bits));
        let mut next = at + 4;
        let branch = |by: i64| moved(at, by * 4);
        match word {
            // ret
            0xd65f_03c0 => return Some(registers[0]),
            // hints: nop, bti, paciasp, autiasp
            _ if word & 0xffff_f01f == 0xd503_201f => {}
            // adrp
            _ if word & 0x9f00_0000 == 0x9000_0000 => {
                let pages = signed(5, 19) << 2 | i64::from(field(29, 2));
                let page = address.wrapping_add(at as u64) & !0xfff;
                registers[register(0)] = Value::Number(page.wrapping_add_signed(pages << 12));
            }
            // add of 64 bits with a constant
            _ if word & 0xff80_0000 == 0x9100_0000 => {
                let by = u64::from(field(10, 12)) << if field(22, 1) == 1 { 12 } else { 0 };
                registers[register(0)] = registers[register(5)].plus(by);
            }
            // ldr of 64 bits with a constant, or with a register
            _ if word & 0xffc0_0000 == 0xf940_0000 => {
                registers[register(0)] = registers[register(5)].plus(u64::from(field(10, 12)) * 8).at();
            }
            _ if word & 0xffe0_fc00 == 0xf860_6800 => {
                let Value::Number(by) = registers[register(16)] else { return None };
                registers[register(0)] = registers[register(5)].plus(by).at();
            }
            // mov of a constant of 16 bits
            _ if word & 0x7fe0_0000 == 0x5280_0000 => registers[register(0)] = Value::Number(field(5, 16).into()),
            // tst w0, #0xff and tst w0, w0; cmp w0, #0; tst w0, #1
            0x7200_1c1f | 0x6a00_001f | 0x7100_001f | 0x7200_001f => {
                let Value::Number(number) = registers[0] else { return None };
                is_zero = Some(number & 0xff == 0);
            }
            // cbz, cbnz
            _ if word & 0x7e00_0000 == 0x3400_0000 => {
                let Value::Number(number) = registers[register(0)] else { return None };
                if (number == 0) == (field(24, 1) == 0) {
                    next = branch(signed(5, 19))?;
                }
            }
            // tbz, tbnz of bit 0
            _ if word & 0xfef8_0000 == 0x3600_0000 => {
                let Value::Number(number) = registers[register(0)] else { return None };
                if (number & 1 == 0) == (field(24, 1) == 0) {
                    next = branch(signed(5, 14))?;
                }
            }
            // b.eq, b.ne
            _ if word & 0xff00_001e == 0x5400_0000 => {
                if is_zero? == (field(0, 1) == 0) {
                    next = branch(signed(5, 19))?;
                }
            }
            // b
            _ if word & 0xfc00_0000 == 0x1400_0000 => next = branch(signed(0, 26))?,
            // csel of 64 bits, by eq or ne
            _ if word & 0xffe0_ec00 == 0x9a80_0000 => {
                let first = is_zero? == (field(12, 1) == 0);
                registers[register(0)] = registers[register(if first { 5 } else { 16 })];
            }
            _ => return None,
        }
        at = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        text.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    fn found(architecture: Architecture, address: u64, code: &str) -> Option<(u64, u32)> {
        find(architecture, &bytes(code), address, None).map(|heap| (heap.pointer, heap.peak))
    }

    #[test]
    fn the_code_of_debians_packages_is_understood() {
        use Architecture::{Aarch64, X86_64};
        // 7.4.33, 8.2.36 and 8.4.27 for both.
        let amd64 = [
            (0x27_cbe0, "48 8b 05 f1 54 22 00 85 ff 74 0d 48 8b 80 18 01 00 00 c3 0f 1f 44 00 00 48 8b 40 18 c3"),
            (0x2c_8920, "48 8b 05 c9 9b 2b 00 40 84 ff 74 0c 48 8b 80 18 01 00 00 c3 0f 1f 40 00 48 8b 40 18 c3"),
            (
                0x33_c630,
                "f3 0f 1e fa 48 8b 05 0d 73 2b 00 40 84 ff 74 10 48 8b 80 20 01 00 00 c3 0f 1f 84 00 00 00 00 00 48 8b 40 18 c3",
            ),
        ];
        let expected = [(0x4a_20d8, 0x118), (0x58_24f0, 0x118), (0x5f_3948, 0x120)];
        assert_eq!(amd64.map(|(address, code)| found(X86_64, address, code)), expected.map(Some));
        let arm64 = [
            (0x26_ab30, "c1 11 00 90 21 a8 45 f9 60 00 00 34 20 8c 40 f9 c0 03 5f d6 20 0c 40 f9 c0 03 5f d6"),
            (
                0x2b_f100,
                "c1 15 00 b0 21 60 44 f9 1f 1c 00 72 60 00 00 54 20 8c 40 f9 c0 03 5f d6 20 0c 40 f9 c0 03 5f d6",
            ),
            (
                0x31_f640,
                "5f 24 03 d5 c1 16 00 d0 21 e8 41 f9 60 00 00 36 20 90 40 f9 c0 03 5f d6 20 0c 40 f9 c0 03 5f d6",
            ),
        ];
        let expected = [(0x4a_2b50, 0x118), (0x57_88c0, 0x118), (0x5f_93d0, 0x120)];
        assert_eq!(arm64.map(|(address, code)| found(Aarch64, address, code)), expected.map(Some));
    }

    #[test]
    fn other_forms_that_compilers_make_of_it_are_understood() {
        let understood = |code| assert_eq!(found(Architecture::X86_64, 0x1000, code), Some((0x1107, 0x118)), "{code}");
        // A frame pointer; cmov between two addresses; cmov between two offsets.
        understood("48 8b 05 00 01 00 00 55 48 89 e5 40 84 ff 74 09 48 8b 80 18 01 00 00 5d c3 48 8b 40 18 5d c3");
        understood("48 8b 05 00 01 00 00 48 8d 88 18 01 00 00 48 8d 40 18 85 ff 48 0f 45 c1 48 8b 00 c3");
        understood("48 8b 0d 00 01 00 00 b8 18 00 00 00 ba 18 01 00 00 85 ff 48 0f 45 c2 48 8b 04 01 c3");
    }

    #[test]
    fn a_thread_safe_build_has_it_in_the_storage_of_the_thread() {
        let find = |code, storage| {
            let found = find(Architecture::X86_64, &bytes(code), 0x1000, Some(storage));
            found.map(|heap| (heap.pointer, heap.peak))
        };
        let (slot, offset) = (ThreadStorage::Slot(0x2000), ThreadStorage::Offset(0_u64.wrapping_sub(24)));
        // 8.2.32 as a library and as a program.
        let library = "48 8b 05 f9 0f 00 00 64 48 8b 10 48 8b 05 ee 1f 00 00 48 8b 04 02 40 84 ff 74 0d 48 8b 80 18 01 00 00 c3 0f 1f 44 00 00 48 8b 40 18 c3";
        let program = "48 c7 c0 e8 ff ff ff 64 48 8b 10 48 8b 05 ee 1f 00 00 48 8b 04 02 40 84 ff 74 0d 48 8b 80 18 01 00 00 c3 0f 1f 44 00 00 48 8b 40 18 c3";
        assert_eq!(find(library, slot), Some((0x3000, 0x118)));
        assert_eq!(find(program, offset), Some((0x3000, 0x118)));
        // By an absolute distance, and by an addition.
        let absolute = "64 48 8b 04 25 e8 ff ff ff 48 03 05 f0 1f 00 00 48 8b 00 85 ff 74 08 48 8b 80 18 01 00 00 c3 48 8b 40 18 c3";
        assert_eq!(find(absolute, offset), Some((0x3000, 0x118)));
        assert_eq!((find(library, offset), find(program, slot)), (None, None), "it is not the storage");
        assert_eq!(find(library, ThreadStorage::Slot(0x2008)), None);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let refused = |code| assert_eq!(found(Architecture::X86_64, 0, code), None, "{code}");
        // A thread-safe build reads the heap from its thread's storage.
        refused("64 48 8b 04 25 f8 ff ff ff 48 8b 40 08 c3");
        // Both fields are the same, none is PHP's, there is no end.
        refused("48 8b 05 00 01 00 00 48 8b 40 18 c3");
        refused("48 8b 05 00 01 00 00 85 ff 74 05 48 8b 40 40 c3 48 8b 40 10 c3");
        refused("48 8b 05 00 01 00 00 85 ff 74 05 48 8b 40 40 c3 48 8b 40 18");
        refused("eb fe");
        assert_eq!(find(Architecture::Aarch64, &[], 0, None), None);
    }

    proptest! {
        #[test]
        fn no_code_makes_it_panic(code in proptest::collection::vec(any::<u8>(), 0..CODE), address in any::<u64>()) {
            let _ = find(Architecture::X86_64, &code, address, Some(ThreadStorage::Slot(address)));
            let _ = find(Architecture::Aarch64, &code, address, None);
        }
    }
}
