//! Asks the kernel whether it accepts every program of the object, without attaching any.

use aya::{
    Btf, EbpfLoader,
    programs::{Program, ProgramError},
};

use super::{
    KernelError, OBJECT,
    error::{concise, permission},
};

/// What the kernel says of one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    pub name: String,
    /// Why it is refused; `None` when it is accepted.
    pub refused: Option<String>,
}

/// Loads the object and each of its programs, and lets go of them again.
///
/// # Errors
/// The object itself is refused: by rights, or for want of a kind of map.
pub(crate) fn verify() -> Result<Vec<Verified>, KernelError> {
    let mut ebpf = EbpfLoader::new().btf(None).load(OBJECT).map_err(permission)?;
    let mut verified: Vec<_> = ebpf
        .programs_mut()
        .map(|(name, program)| Verified {
            name: name.to_owned(),
            refused: load(program).err().map(|error| concise(&error)),
        })
        .collect();
    verified.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(verified)
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::UProbe(program) => program.load(),
        Program::PerfEvent(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        Program::Iter(program) => program.load("task", &Btf::from_sys_fs()?),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}
