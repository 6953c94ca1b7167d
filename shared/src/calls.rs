//! Exact tracing: what the programs keep of a traced thread, and the sums per function.

use crate::{FunctionName, OPERAND_CONSTANT, OPERAND_MEMORY, OPERAND_NONE, Operand};

/// Threads that are traced at once.
pub const TRACED_THREADS: usize = 16;
/// Open calls that are kept of a thread; the time of deeper ones belongs to the deepest that is kept.
pub const CALL_FRAMES: usize = 1024;
/// Stacks of a thread: its own and those of its fibers.
pub const CALL_REGIONS: usize = 16;
/// Slots of the table of open calls by function.
pub const CALL_BUCKETS: usize = 256;
/// Functions of a thread whose keys are remembered for as long as a request lasts.
pub const REMEMBERED: usize = 256;
/// Room for the words of the saved registers: more than any architecture has, so that a masked index is inside.
pub const REGISTER_WORDS: usize = 64;
/// Buckets of [`Calls::durations`]: bucket n counts durations from 2^n nanoseconds to less than 2^(n+1).
pub const DURATION_BUCKETS: usize = 40;

/// Kinds of a traced site, the lowest byte of its cookie; the next byte is the slot of the thread.
pub mod call {
    /// A function written in PHP is entered (`function__entry`).
    pub const FUNCTION: u32 = 1;
    /// `dtrace_execute_ex` is entered: PHP code of any kind, of which only whole files count (`execute__entry`).
    pub const FILE: u32 = 2;
    /// `dtrace_execute_internal` is entered: a built-in function (`execute__entry`).
    pub const INTERNAL: u32 = 3;
    /// The return of any of them.
    pub const RETURN: u32 = 4;
    /// Calls are only counted.
    pub const COUNT: u32 = 5;
    /// A file is compiled (`compile__file__entry`).
    pub const COMPILE: u32 = 7;
    /// Nothing is done: for finding out what a hit costs.
    pub const NOTHING: u32 = 6;
}

/// An open call.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct CallFrame {
    /// Stack pointer at the entry, which is the same at the return.
    pub stack_pointer: u64,
    /// Key of the function.
    pub key: u64,
    /// `CLOCK_MONOTONIC` at the entry.
    pub started_ns: u64,
    /// Time in calls below it that have returned, and in fibers that it resumed.
    pub child_ns: u64,
    /// [`CallRegion::away_ns`] at the entry.
    pub away_ns: u64,
    /// The next frame towards the root, 0 for none.
    pub below: u32,
    /// The next open frame of the same bucket, 0 for none.
    pub chain: u32,
    /// 1 when the function was open already on the same stack.
    pub recursive: u32,
    /// Number of the stack that it is on.
    pub region: u32,
}

/// A stack of a traced thread: number 0 is its own, the others are those of fibers.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct CallRegion {
    /// Lowest and highest stack pointer seen.
    pub low: u64,
    /// See `low`.
    pub high: u64,
    /// When the thread left it for another one.
    pub left_ns: u64,
    /// How long it was suspended.
    pub away_ns: u64,
    /// Its innermost frame, 0 for none.
    pub top: u32,
    /// Keeps the layout free of padding.
    pub reserved: u32,
}

/// An [`Operand`] in a form that needs next to no decisions: register * factor + index * scale + displacement.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    /// Number of the register among the saved ones.
    pub register: u32,
    /// Number of the index register.
    pub index: u32,
    /// 1, or 0 where the register does not count.
    pub factor: u64,
    /// Factor of the index register.
    pub scale: u64,
    /// Added to both.
    pub displacement: u64,
    /// 1 when the sum is the address of the value, 0 when it is the value.
    pub memory: u64,
}

impl Argument {
    /// The same place as an operand's. The size is left out: a value is only compared with itself.
    pub const fn of(operand: &Operand) -> Self {
        let fixed = operand.kind == OPERAND_CONSTANT || operand.kind == OPERAND_NONE;
        let memory = operand.kind == OPERAND_MEMORY;
        Self {
            register: operand.register / 8,
            index: operand.index / 8,
            factor: !fixed as u64,
            scale: if memory { operand.scale as u64 } else { 0 },
            displacement: if memory || fixed { operand.displacement as u64 } else { 0 },
            memory: memory as u64,
        }
    }
}

/// A function as a probe's arguments tell it, and its key.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Remembered {
    /// Values of the arguments: addresses of name and file, and the line.
    pub arguments: [u64; 3],
    /// Address of the class's name, 0 where the others tell it.
    pub class: u64,
    /// PHP's hash of the file's path, 0 where its address tells it.
    pub file_hash: u64,
    /// Key of the function.
    pub key: u64,
    /// [`Traced::request`] when it was written.
    pub request: u64,
}

/// What one hit is about. It is kept in the map, where its values are unknown to the verifier: in registers, whatever they are
/// compared with would make another state of them.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Hit {
    /// Stack pointer.
    pub stack_pointer: u64,
    /// `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    /// Key of the function that is entered.
    pub key: u64,
    /// Frames with a stack pointer up to this one are ended.
    pub end: u64,
    /// Number of the stack that was found.
    pub found: u64,
    /// Number of a stack that is not used.
    pub empty: u64,
}

/// A traced thread. User space writes it before the probes are attached and reads it after they are gone.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Traced {
    /// Address of `executor_globals` in the process; 0 until its first hit, which finds out.
    pub executor_globals: u64,
    /// As in [`crate::Image`].
    pub current_execute_data: u32,
    /// As in [`crate::Image`].
    pub previous_execute_data: u32,
    /// As in [`crate::Image`].
    pub filename: u32,
    /// Offset of the stack pointer in the saved registers.
    pub stack_pointer: u32,
    /// Its process.
    pub pid: u32,
    /// Size of the saved registers in bytes.
    pub register_bytes: u32,
    /// 1 when keys can be remembered by the arguments of the probe.
    pub remembers: u32,
    /// Frames used so far; frame 0 stands for none.
    pub used: u32,
    /// First of the frames that are free again.
    pub free: u32,
    /// The stack that the thread is on.
    pub current: u32,
    /// Number of the request, from 1.
    pub request: u64,
    /// `CLOCK_MONOTONIC` when the process ended, 0 while it lives.
    pub ended_ns: u64,
    /// User id of the process at its last new key.
    pub user: u32,
    /// Keeps the layout free of padding.
    pub reserved: u32,
    /// Name, file, line and class of the function that is entered; path and name of a file that is compiled.
    pub arguments: [Argument; 4],
    /// Their values at the last hit.
    pub values: [u64; 4],
    /// Keys of functions, each in the place that its arguments give.
    pub remembered: [Remembered; REMEMBERED],
    /// The hit that is being handled.
    pub hit: Hit,
    /// Room for the saved registers.
    pub registers: [u64; REGISTER_WORDS],
    /// Stacks.
    pub regions: [CallRegion; CALL_REGIONS],
    /// First open frame of each bucket, by the lowest bits of the key.
    pub buckets: [u32; CALL_BUCKETS],
    /// Open calls.
    pub frames: [CallFrame; CALL_FRAMES],
    /// Room for a frame, a function and a text while a key is made.
    pub frame_room: [u64; 8],
    /// See `frame_room`.
    pub function_room: [u64; 32],
    /// See `frame_room`.
    pub text_room: [u64; 16],
    /// Room for a name.
    pub name_room: FunctionName,
}

/// What calls are summed by: each traced thread has sums of its own, so that no two write the same.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallKey {
    /// Key of the function.
    pub function: u64,
    /// Slot of the thread.
    pub slot: u32,
    /// User id of its process.
    pub user: u32,
}

/// Sums of one function.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    /// Calls that have returned.
    pub calls: u64,
    /// Their time without what they called.
    pub self_ns: u64,
    /// Their time; of recursive calls only the outermost counts.
    pub total_ns: u64,
    /// Calls by duration.
    pub durations: [u32; DURATION_BUCKETS],
}

impl Calls {
    /// No calls.
    pub const NONE: Self = Self { calls: 0, self_ns: 0, total_ns: 0, durations: [0; DURATION_BUCKETS] };
}

/// The bucket of a duration: its binary logarithm, bounded.
#[inline(always)]
pub const fn duration_bucket(ns: u64) -> usize {
    let bucket = 63 - (ns | 1).leading_zeros() as usize;
    if bucket < DURATION_BUCKETS { bucket } else { DURATION_BUCKETS - 1 }
}

const _: () = assert!(size_of::<CallFrame>() == 56);
const _: () = assert!(size_of::<CallRegion>() == 40);
const _: () = assert!(size_of::<Remembered>() == 56);
const _: () = assert!(size_of::<CallKey>() == 16);
const _: () = assert!(size_of::<Calls>() == 24 + 4 * DURATION_BUCKETS);
const _: () = assert!(
    size_of::<Traced>()
        == 72
            + 4 * size_of::<Argument>()
            + 4 * 8
            + 56 * REMEMBERED
            + size_of::<Hit>()
            + 8 * REGISTER_WORDS
            + 40 * CALL_REGIONS
            + 4 * CALL_BUCKETS
            + 56 * CALL_FRAMES
            + 8 * (8 + 32 + 16)
            + size_of::<FunctionName>()
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_of_their_binary_logarithm() {
        assert_eq!([0, 1, 2, 3, 4, 1_000_000].map(duration_bucket), [0, 0, 1, 1, 2, 19]);
        assert_eq!(duration_bucket(u64::MAX), DURATION_BUCKETS - 1);
    }
}
