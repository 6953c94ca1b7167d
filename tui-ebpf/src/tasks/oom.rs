//! Processes that the kernel kills because memory is gone, of the machine or of a control group.

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::generated::{bpf_get_current_task, bpf_ktime_get_boot_ns},
    macros::{map, raw_tracepoint},
    maps::RingBuf,
    programs::RawTracePointContext,
};
use tusktop_shared::{OOM_RING_BYTES, OomKill};

use crate::kernel::{fetch, long, offset, pointer, word};

/// Levels of cgroups that are asked whether they are full.
const LEVELS: usize = 12;
/// A cgroup is full when less than this is left: the charge that failed was for at most a huge page and what a CPU keeps in stock.
const ROOM_PAGES: u64 = 512 + 64;

/// Who was killed. User space reads it once a tick and is never woken.
#[map]
static OOM_KILLS: RingBuf = RingBuf::with_byte_size(OOM_RING_BYTES, 0);

/// A process is chosen: `mark_victim(task, user)`, before Linux 6.8 `mark_victim(pid)`, but older kernels
/// that are still maintained have taken it over.
#[raw_tracepoint(tracepoint = "mark_victim")]
pub fn oom_kill(context: RawTracePointContext) -> i32 {
    let victim: u64 = context.arg(0);
    // SAFETY: the helper takes no arguments.
    let at_ns = unsafe { bpf_ktime_get_boot_ns() };
    let mut kill = OomKill { at_ns, ..OomKill::default() };
    // Who asked for the memory is in the cgroup that is full, too, and is often the one that is chosen.
    // SAFETY: as above.
    let current = unsafe { bpf_get_current_task() as *const u8 };
    // Addresses of the kernel have all upper bits set, with page tables of five levels only those from 56 on. An id is a small
    // number in a register whose upper half is not defined.
    let is_address = victim >> 56 == 0xff;
    let task = if is_address { victim as *const u8 } else { current };
    if is_address || word(task, offset!(task_pid)) == victim as u32 {
        let memory = pointer(task, offset!(task_memory));
        let (first, stride) = (offset!(memory_pages), offset!(memory_pages_stride));
        fetch(memory, first, &mut kill.file_pages);
        fetch(memory, first + stride, &mut kill.anonymous_pages);
        fetch(memory, first + 2 * stride, &mut kill.swap_pages);
        fetch(memory, first + 3 * stride, &mut kill.shared_pages);
        fetch(task, offset!(task_comm), &mut kill.comm);
        kill.pid = word(task, offset!(task_tgid));
        kill.known = 1;
    } else {
        kill.pid = victim as u32;
    }
    kill.limit_pages = limit(task);
    let _ = OOM_KILLS.output::<OomKill>(kill, u64::from(BPF_RB_NO_WAKEUP));
    0
}

/// The limit of the nearest cgroup that is full, in pages; 0 where none is.
#[inline(always)]
fn limit(task: *const u8) -> u64 {
    if offset!(task_groups) == 0 {
        return 0;
    }
    let group = pointer(pointer(task, offset!(task_groups)), offset!(groups_memory));
    let mut counter = group.wrapping_add(offset!(group_counter) as usize);
    for _ in 0..LEVELS {
        if counter.is_null() {
            return 0;
        }
        let (usage, most) = (long(counter, offset!(counter_usage)), long(counter, offset!(counter_max)));
        if most > 0 && usage.wrapping_add(ROOM_PAGES) >= most {
            return most;
        }
        counter = pointer(counter, offset!(counter_parent));
    }
    0
}
