//! Where the kernel keeps what the programs read of a task, from its own type information.

use tusktop_shared::TaskLayout;

use crate::collect::bpf::btf::{KernelTypes, Structure};

/// All offsets.
///
/// # Errors
/// The first structure or member that this kernel does not have.
pub(super) fn task_layout(types: &KernelTypes) -> Result<TaskLayout, &'static str> {
    let structure = |name: &'static str| types.structure(name).ok_or(name);
    let [task, signal, memory, credentials] =
        [structure("task_struct")?, structure("signal_struct")?, structure("mm_struct")?, structure("cred")?];
    let offset = |of: Structure<'_>, member: &'static str| of.offset(member).ok_or(member);
    let (memory_pages, memory_pages_stride) = memory.page_counters().ok_or("rss_stat")?;
    Ok(TaskLayout {
        task_pid: offset(task, "pid")?,
        task_tgid: offset(task, "tgid")?,
        task_flags: offset(task, "flags")?,
        task_state: offset(task, "__state")?,
        task_exit_state: offset(task, "exit_state")?,
        task_parent: offset(task, "real_parent")?,
        task_leader: offset(task, "group_leader")?,
        task_start: offset(task, "start_boottime")?,
        task_cpu_time: offset(task, "se.sum_exec_runtime")?,
        task_signal: offset(task, "signal")?,
        task_memory: offset(task, "mm")?,
        task_comm: offset(task, "comm")?,
        task_credentials: offset(task, "real_cred")?,
        signal_threads: offset(signal, "nr_threads")?,
        signal_live: offset(signal, "live")?,
        signal_cpu_time: offset(signal, "sum_sched_runtime")?,
        memory_pages,
        memory_pages_stride,
        memory_arguments: offset(memory, "arg_start")?,
        memory_arguments_end: offset(memory, "arg_end")?,
        credentials_user: offset(credentials, "euid")?,
        reserved: 0,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn this_kernel_has_all_of_it() {
        let Ok(types) = KernelTypes::open(Path::new("/sys/kernel/btf/vmlinux")) else {
            // Without type information there is nothing to find, and the collector says so.
            assert!(!Path::new("/sys/kernel/btf/vmlinux").exists());
            return;
        };
        let layout = task_layout(&types).unwrap();
        assert!(layout.memory_pages_stride >= 8 && layout.task_comm > 0 && layout.task_pid != layout.task_tgid);
    }
}
