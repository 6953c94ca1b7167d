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
    let accounting = [
        task.offset("ioac.read_bytes"),
        task.offset("ioac.write_bytes"),
        signal.offset("ioac.read_bytes"),
        signal.offset("ioac.write_bytes"),
    ];
    let [task_read, task_written, signal_read, signal_written] = match accounting {
        [Some(a), Some(b), Some(c), Some(d)] => [a, b, c, d],
        _ => [0; 4],
    };
    let groups = memory_groups(types, task).unwrap_or_default();
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
        task_read,
        task_written,
        signal_read,
        signal_written,
        task_groups: groups.task,
        groups_memory: groups.memory,
        group_counter: groups.counter,
        counter_usage: groups.usage,
        counter_max: groups.max,
        counter_parent: groups.parent,
        task_exit_code: offset(task, "exit_code")?,
    })
}

/// Where the memory cgroup of a task is, and its counter of pages.
#[derive(Debug, Clone, Copy, Default)]
struct MemoryGroups {
    task: u32,
    memory: u32,
    counter: u32,
    usage: u32,
    max: u32,
    parent: u32,
}

/// `None` in a kernel without memory cgroups.
fn memory_groups(types: &KernelTypes, task: Structure<'_>) -> Option<MemoryGroups> {
    let (set, group) = (types.structure("css_set")?, types.structure("mem_cgroup")?);
    let counter = types.structure("page_counter")?;
    let number = types.enumerator("cgroup_subsys_id", "memory_cgrp_id")?;
    // What the set points to is the first member of the group.
    group.offset("css").filter(|&at| at == 0)?;
    Some(MemoryGroups {
        task: task.offset("cgroups")?,
        memory: set.offset("subsys")? + number * size_of::<u64>() as u32,
        counter: group.offset("memory")?,
        usage: counter.offset("usage")?,
        max: counter.offset("max")?,
        parent: counter.offset("parent")?,
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
