//! Where a probe's argument is, as plain integers: parsed from the ELF note in user space, read in BPF.

/// No argument.
pub const OPERAND_NONE: u32 = 0;
/// The displacement itself is the value.
pub const OPERAND_CONSTANT: u32 = 1;
/// The value is in a register.
pub const OPERAND_REGISTER: u32 = 2;
/// The value is in memory at register + index register * scale + displacement.
pub const OPERAND_MEMORY: u32 = 3;

/// One argument of a probe.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Operand {
    /// Displacement or constant.
    pub displacement: i64,
    /// [`OPERAND_NONE`], [`OPERAND_CONSTANT`], [`OPERAND_REGISTER`] or [`OPERAND_MEMORY`].
    pub kind: u32,
    /// Offset of the register in the saved registers.
    pub register: u32,
    /// Offset of the index register in the saved registers; only read when `scale` is not 0.
    pub index: u32,
    /// Factor of the index register, 0 when there is none.
    pub scale: u32,
    /// Size of the value in bytes: 1, 2, 4 or 8.
    pub size: u32,
    /// 1 when the value is signed.
    pub signed: u32,
}

impl Operand {
    /// Cuts a raw 64-bit value to the operand's size and extends its sign.
    #[inline(always)]
    pub fn narrow(&self, raw: u64) -> u64 {
        match (self.size, self.signed) {
            (1, 0) => u64::from(raw as u8),
            (1, _) => i64::from(raw as u8 as i8) as u64,
            (2, 0) => u64::from(raw as u16),
            (2, _) => i64::from(raw as u16 as i16) as u64,
            (4, 0) => u64::from(raw as u32),
            (4, _) => i64::from(raw as u32 as i32) as u64,
            _ => raw,
        }
    }
}

const _: () = assert!(size_of::<Operand>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_extends_the_sign_of_signed_values_only() {
        let operand = |size, signed| Operand { size, signed, ..Operand::default() };
        assert_eq!(operand(4, 1).narrow(0x1_ffff_fffe), -2_i64 as u64);
        assert_eq!(operand(4, 0).narrow(0x1_ffff_fffe), 0xffff_fffe);
        assert_eq!(operand(2, 1).narrow(0x8000), (-32768_i64) as u64);
        assert_eq!(operand(1, 0).narrow(0x1ff), 0xff);
        assert_eq!(operand(8, 0).narrow(u64::MAX), u64::MAX);
    }
}
