//! Parses the argument descriptions of `.note.stapsdt` ("8@%rax -4@-20(%rbp) 8@$0") into [`Operand`]s.
//! Syntax: GNU assembler operands behind a size, see the SystemTap wiki, "UserSpaceProbeImplementation".

use tusktop_shared::{OPERAND_CONSTANT, OPERAND_MEMORY, OPERAND_REGISTER, Operand};

/// Saved registers of a CPU architecture, as the kernel hands them to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Architecture {
    /// `struct pt_regs` of x86-64.
    X86_64,
    /// `struct user_pt_regs` of arm64.
    Aarch64,
}

impl Architecture {
    /// The architecture that this program runs on; `None` where probes are not supported.
    pub(crate) fn current() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// Byte offset of the instruction pointer (arch/x86/include/asm/ptrace.h, arch/arm64/include/uapi/asm/ptrace.h).
    pub(crate) fn instruction_pointer(self) -> u32 {
        match self {
            Self::X86_64 => 128,
            Self::Aarch64 => 256,
        }
    }

    /// Size of the saved registers in bytes.
    pub(crate) fn register_bytes(self) -> u32 {
        match self {
            Self::X86_64 => 168,
            Self::Aarch64 => 272,
        }
    }

    /// Byte offset of the stack pointer.
    pub(crate) fn stack_pointer(self) -> u32 {
        match self {
            Self::X86_64 => 152,
            Self::Aarch64 => 248,
        }
    }

    /// Byte offsets of the registers in which PHP's executor keeps its frame and the running instruction, where it is compiled so
    /// (Zend/zend_execute.c, `ZEND_VM_FP_GLOBAL_REG` and `ZEND_VM_IP_GLOBAL_REG`): r14 and r15, x27 and x28.
    pub(crate) fn executor_registers(self) -> (u32, u32) {
        match self {
            Self::X86_64 => (8, 0),
            Self::Aarch64 => (216, 224),
        }
    }

    /// The register that holds an argument (0 to 3) of a C function when it begins (System V ABI, AAPCS64).
    pub(crate) fn function_argument(self, number: usize) -> Operand {
        let registers = match self {
            Self::X86_64 => ["rdi", "rsi", "rdx", "rcx"],
            Self::Aarch64 => ["x0", "x1", "x2", "x3"],
        };
        let register = registers.get(number).and_then(|name| self.register(name));
        match register {
            Some(register) => Operand { kind: OPERAND_REGISTER, register, size: 8, ..Operand::default() },
            None => Operand::default(),
        }
    }

    fn register(self, name: &str) -> Option<u32> {
        match self {
            Self::X86_64 => x86_register(name),
            Self::Aarch64 => arm_register(name),
        }
    }
}

/// Why an argument was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown form of a probe argument: {text:?}")]
pub(crate) struct OperandError {
    /// The argument as it is in the note.
    pub text: String,
}

/// Parses all arguments of a note.
///
/// # Errors
/// The first argument that is not understood.
pub(crate) fn parse(architecture: Architecture, text: &str) -> Result<Vec<Operand>, OperandError> {
    split(architecture, text)
        .map(|argument| one(architecture, argument).ok_or_else(|| OperandError { text: argument.to_owned() }))
        .collect()
}

/// Arguments are separated by spaces; those of arm64 hold spaces inside brackets.
fn split(architecture: Architecture, text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.split(move |c: char| {
        inside = architecture == Architecture::Aarch64 && (c == '[' || (inside && c != ']'));
        c == ' ' && !inside
    })
    .filter(|argument| !argument.is_empty())
}

fn one(architecture: Architecture, text: &str) -> Option<Operand> {
    let (size, place) = text.split_once('@')?;
    let size: i32 = size.parse().ok()?;
    let width = size.unsigned_abs();
    if ![1, 2, 4, 8].contains(&width) {
        return None;
    }
    let operand = match architecture {
        Architecture::X86_64 => x86_place(place)?,
        Architecture::Aarch64 => arm_place(place)?,
    };
    Some(Operand { size: width, signed: u32::from(size < 0), ..operand })
}

fn register(architecture: Architecture, name: &str) -> Option<Operand> {
    Some(Operand { kind: OPERAND_REGISTER, register: architecture.register(name)?, ..Operand::default() })
}

fn constant(text: &str) -> Option<Operand> {
    Some(Operand { kind: OPERAND_CONSTANT, displacement: text.parse().ok()?, ..Operand::default() })
}

/// `%rax`, `$5`, `8(%rax)`, `(%rax,%rcx,8)`.
fn x86_place(place: &str) -> Option<Operand> {
    if let Some(number) = place.strip_prefix('$') {
        return constant(number);
    }
    if let Some(name) = place.strip_prefix('%') {
        return register(Architecture::X86_64, name);
    }
    let (displacement, inside) = place.strip_suffix(')')?.split_once('(')?;
    let displacement = if displacement.is_empty() { 0 } else { displacement.parse().ok()? };
    let mut parts = inside.split(',').map(str::trim);
    let base = x86_register(parts.next()?.strip_prefix('%')?)?;
    let (index, scale) = match parts.next() {
        None => (0, 0),
        Some(name) => (
            x86_register(name.strip_prefix('%')?)?,
            parts.next().map_or(Some(1), |s| s.parse().ok().filter(|s| [1, 2, 4, 8].contains(s)))?,
        ),
    };
    parts.next().is_none().then_some(Operand {
        kind: OPERAND_MEMORY,
        displacement,
        register: base,
        index,
        scale,
        ..Operand::default()
    })
}

/// `x0`, `w0`, `sp`, `5`, `[sp, 16]`, `[x0]`.
fn arm_place(place: &str) -> Option<Operand> {
    if let Some(inside) = place.strip_prefix('[').and_then(|p| p.strip_suffix(']')) {
        let (base, displacement) = match inside.split_once(',') {
            None => (inside, 0),
            Some((base, displacement)) => (base, displacement.trim().trim_start_matches('#').parse().ok()?),
        };
        let register = arm_register(base.trim())?;
        return Some(Operand { kind: OPERAND_MEMORY, displacement, register, ..Operand::default() });
    }
    register(Architecture::Aarch64, place).or_else(|| constant(place))
}

fn x86_register(name: &str) -> Option<u32> {
    let slot = match name {
        "r15" | "r15d" | "r15w" | "r15b" => 0,
        "r14" | "r14d" | "r14w" | "r14b" => 1,
        "r13" | "r13d" | "r13w" | "r13b" => 2,
        "r12" | "r12d" | "r12w" | "r12b" => 3,
        "rbp" | "ebp" | "bp" | "bpl" => 4,
        "rbx" | "ebx" | "bx" | "bl" => 5,
        "r11" | "r11d" | "r11w" | "r11b" => 6,
        "r10" | "r10d" | "r10w" | "r10b" => 7,
        "r9" | "r9d" | "r9w" | "r9b" => 8,
        "r8" | "r8d" | "r8w" | "r8b" => 9,
        "rax" | "eax" | "ax" | "al" => 10,
        "rcx" | "ecx" | "cx" | "cl" => 11,
        "rdx" | "edx" | "dx" | "dl" => 12,
        "rsi" | "esi" | "si" | "sil" => 13,
        "rdi" | "edi" | "di" | "dil" => 14,
        "rsp" | "esp" | "sp" | "spl" => 19,
        _ => return None,
    };
    Some(slot * 8)
}

fn arm_register(name: &str) -> Option<u32> {
    if name == "sp" {
        return Some(31 * 8);
    }
    let number: u32 = name.strip_prefix(['x', 'w'])?.parse().ok()?;
    (number <= 30).then(|| number * 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x86(text: &str) -> Operand {
        parse(Architecture::X86_64, text).unwrap()[0]
    }

    #[test]
    fn registers_memory_and_constants_are_told_apart() {
        assert_eq!((x86("8@%rax").kind, x86("8@%rax").register), (OPERAND_REGISTER, 80));
        let memory = x86("8@112(%rsp)");
        assert_eq!((memory.kind, memory.register, memory.displacement), (OPERAND_MEMORY, 152, 112));
        assert_eq!((x86("8@$0").kind, x86("8@$-3").displacement), (OPERAND_CONSTANT, -3));
        assert_eq!((x86("-4@%r13d").size, x86("-4@%r13d").signed, x86("4@4(%rsp)").signed), (4, 1, 0));
        let indexed = x86("8@-8(%rbx,%rcx,4)");
        assert_eq!((indexed.register, indexed.index, indexed.scale, indexed.displacement), (40, 88, 4, -8));
    }

    #[test]
    fn arm_arguments_may_hold_spaces() {
        let operands = parse(Architecture::Aarch64, "8@[sp, 16] -4@w3 8@[x0] 8@5").unwrap();
        assert_eq!(operands.len(), 4);
        assert_eq!((operands[0].kind, operands[0].register, operands[0].displacement), (OPERAND_MEMORY, 248, 16));
        assert_eq!((operands[1].register, operands[1].signed), (24, 1));
        assert_eq!(operands[3].kind, OPERAND_CONSTANT);
    }

    #[test]
    fn what_is_not_understood_is_an_error_with_the_text() {
        for text in [
            "8@symbol(%rip)",
            "3@%rax",
            "8",
            "@%rax",
            "8@(%rax,%rcx,3)",
            "8@%xmm0",
            "8@[x31]",
            "8@8(%rax",
            "99999999999@%rax",
        ] {
            assert_eq!(parse(Architecture::X86_64, text), Err(OperandError { text: text.to_owned() }));
        }
        assert_eq!(parse(Architecture::X86_64, " ").unwrap(), []);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = parse(Architecture::X86_64, &text);
            let _ = parse(Architecture::Aarch64, &text);
        }
    }
}
