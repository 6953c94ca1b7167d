//! What the programs must know of this kernel, from its own type information.

use std::path::Path;

use tusktop_shared::{Config, UNKNOWN_OFFSET};

use crate::collect::{bpf::btf::KernelTypes, php::image::operand::Architecture};

/// Offsets of the kernel's structures; what its type information does not have is unknown, and what needs it is left out.
pub(crate) fn kernel_layout(architecture: Architecture, seed: u64) -> Config {
    let types = KernelTypes::open(Path::new("/sys/kernel/btf/vmlinux")).ok();
    let offset =
        |structure, path| types.as_ref().and_then(|types| types.offset(structure, path)).unwrap_or(UNKNOWN_OFFSET);
    let counters = types.as_ref().and_then(|types| types.structure("mm_struct")?.page_counters());
    // `MM_ANONPAGES` is the second (include/linux/mm_types_task.h).
    let anonymous = counters.map(|(first, stride)| first + stride);
    Config {
        seed,
        task_tgid: offset("task_struct", "tgid"),
        task_pid: offset("task_struct", "pid"),
        task_state: offset("task_struct", "__state"),
        task_cpu_time: offset("task_struct", "se.sum_exec_runtime"),
        task_memory: offset("task_struct", "mm"),
        task_signal: offset("task_struct", "signal"),
        signal_live: offset("signal_struct", "live"),
        memory_arguments: offset("mm_struct", "arg_start"),
        instruction_pointer: architecture.instruction_pointer(),
        memory_anonymous: anonymous.unwrap_or(UNKNOWN_OFFSET),
        // As it was set by the loader, or by who made the thread (arch/x86/include/asm/processor.h, arch/arm64 likewise).
        task_thread_pointer: match architecture {
            Architecture::X86_64 => offset("task_struct", "thread.fsbase"),
            Architecture::Aarch64 => offset("task_struct", "thread.uw.tp_value"),
        },
        frame_register: architecture.executor_registers().0,
        opline_register: architecture.executor_registers().1,
        reserved: 0,
    }
}
