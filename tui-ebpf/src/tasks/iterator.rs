//! The task iterator: user space reads it like a file, and the kernel calls the program for every thread there is.

use core::ptr;

use aya_ebpf::{bindings::seq_file, helpers::generated::bpf_seq_write};
use tusktop_shared::{ProcessRecord, RECORD_PROCESS, RECORD_THREAD, TaskHead};

use crate::kernel::{fetch, long, offset, pointer, word};

/// `struct bpf_iter_meta` (include/linux/bpf.h).
#[repr(C)]
struct Meta {
    output: *mut seq_file,
    session: u64,
    number: u64,
}

/// `struct bpf_iter__task` (kernel/bpf/task_iter.c).
#[repr(C)]
pub struct Context {
    meta: *const Meta,
    task: *const u8,
}

/// One thread; a null pointer marks the end.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub extern "C" fn tasks(context: *mut Context) -> i32 {
    // SAFETY: the kernel hands over a context of this type.
    let Context { meta, task } = unsafe { ptr::read(context) };
    if task.is_null() {
        return 0;
    }
    // SAFETY: as above; the verifier knows the type.
    let output = unsafe { (*meta).output };
    let pid = word(task, offset!(task_tgid));
    let head = TaskHead {
        kind: RECORD_THREAD,
        pid,
        cpu_ns: long(task, offset!(task_cpu_time)),
        read_bytes: if offset!(task_read) > 0 { long(task, offset!(task_read)) } else { 0 },
        written_bytes: if offset!(task_written) > 0 { long(task, offset!(task_written)) } else { 0 },
    };
    if pid == word(task, offset!(task_pid)) {
        process(output, task, head);
    } else {
        write(output, &head);
    }
    0
}

#[inline(always)]
fn process(output: *mut seq_file, task: *const u8, head: TaskHead) {
    let signal = pointer(task, offset!(task_signal));
    let memory = pointer(task, offset!(task_memory));
    let (read, written) = match offset!(signal_read) {
        0 => (0, 0),
        at => (long(signal, at), long(signal, offset!(signal_written))),
    };
    let mut record = ProcessRecord {
        head: TaskHead {
            kind: RECORD_PROCESS,
            cpu_ns: head.cpu_ns.wrapping_add(long(signal, offset!(signal_cpu_time))),
            read_bytes: head.read_bytes.wrapping_add(read),
            written_bytes: head.written_bytes.wrapping_add(written),
            ..head
        },
        start_ns: long(task, offset!(task_start)),
        file_pages: 0,
        anonymous_pages: 0,
        swap_pages: 0,
        shared_pages: 0,
        parent: word(pointer(task, offset!(task_parent)), offset!(task_tgid)),
        threads: word(signal, offset!(signal_threads)),
        flags: word(task, offset!(task_flags)),
        state: word(task, offset!(task_state)),
        exit_state: word(task, offset!(task_exit_state)),
        reserved: 0,
        comm: [0; tusktop_shared::COMM_BYTES],
    };
    fetch(task, offset!(task_comm), &mut record.comm);
    if !memory.is_null() {
        let (first, stride) = (offset!(memory_pages), offset!(memory_pages_stride));
        fetch(memory, first, &mut record.file_pages);
        fetch(memory, first + stride, &mut record.anonymous_pages);
        fetch(memory, first + 2 * stride, &mut record.swap_pages);
        fetch(memory, first + 3 * stride, &mut record.shared_pages);
    }
    write(output, &record);
}

/// A record that finds no room is written again by the kernel's next call.
#[inline(always)]
fn write<T>(output: *mut seq_file, record: &T) {
    // SAFETY: the record is initialised and of this size.
    unsafe { bpf_seq_write(output, ptr::from_ref(record).cast(), size_of::<T>() as u32) };
}
