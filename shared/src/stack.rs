//! Stacks, function names and counts as the maps hold them.

/// Deepest stack that is kept.
pub const MAX_FRAMES: usize = 128;
/// Bytes kept of a function's name.
pub const FUNCTION_BYTES: usize = 128;
/// Bytes kept of a class's name.
pub const CLASS_BYTES: usize = 128;
/// Bytes kept of a file's path: its tail.
pub const FILE_BYTES: usize = 256;

/// The function is built in.
pub const FUNCTION_INTERNAL: u32 = 1;
/// The function is PHP code.
pub const FUNCTION_USER: u32 = 2;
/// The code of an `eval`.
pub const FUNCTION_EVAL: u32 = 4;

/// No function: a file is compiled.
pub const FUNCTION_COMPILE: u32 = 8;

/// Set in [`Stack::flags`] when the stack was deeper than [`MAX_FRAMES`].
pub const STACK_TRUNCATED: u32 = 1;

/// Key of a frame that the engine puts between calls; all other keys are odd.
pub const NO_FUNCTION: u64 = 0;

/// Mixes `value` into `hash`: one round of the 64-bit finalizer of MurmurHash3 over the running hash.
/// Both halves of a key must pass through it, so that equal parts in another order give another key.
#[inline(always)]
pub const fn mix(hash: u64, value: u64) -> u64 {
    let mut h = hash ^ value.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0xc4ce_b9fe_1a85_ec53);
    h ^= h >> 32;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^ (h >> 29)
}

/// Key of what a process showed: a hash of its content. The user is a field of its own, so that no process can name, or count
/// for, what belongs to another user, whatever it makes its memory look like.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentKey {
    /// Hash of the content and of [`crate::Config::seed`].
    pub hash: u64,
    /// User id of the process.
    pub user: u32,
    /// Keeps the layout free of padding.
    pub reserved: u32,
}

impl ContentKey {
    /// The key of a user's content.
    #[inline(always)]
    pub const fn new(hash: u64, user: u32) -> Self {
        Self { hash, user, reserved: 0 }
    }
}

/// The text of a function's key. Texts are not closed by a NUL; `*_len` is the length in PHP, which may exceed what is kept.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct FunctionName {
    /// [`FUNCTION_INTERNAL`], [`FUNCTION_USER`] or [`FUNCTION_EVAL`].
    pub kind: u32,
    /// Line where it starts, 0 when it has none.
    pub line: u32,
    /// Length of the name; 0 for the top-level code of a file.
    pub function_len: u32,
    /// Length of the class's name; 0 when it has none.
    pub class_len: u32,
    /// Length of the path; 0 when it has none.
    pub file_len: u32,
    /// Line where it ends, 0 when it has none or that was not read.
    pub last_line: u32,
    /// Head of the name.
    pub function: [u8; FUNCTION_BYTES],
    /// Head of the class's name.
    pub class: [u8; CLASS_BYTES],
    /// Tail of the path.
    pub file: [u8; FILE_BYTES],
}

/// A stack: keys of functions, leaf first.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Stack {
    /// Number of frames.
    pub depth: u32,
    /// [`STACK_TRUNCATED`] or 0.
    pub flags: u32,
    /// Frames whose names are not in their map yet; the next sample tries again.
    pub missing: u32,
    /// Frames in the other order, root first: those of generators that delegate. 16 bits for each of the last two places: the frame in
    /// front of them, and how many there are.
    pub delegations: u32,
    /// Keys of functions, without the user, who is that of the stack.
    pub frames: [u64; MAX_FRAMES],
}

/// At which line each frame of a stack was, in one sample: the head of what is sent. The lines follow, one of four bytes for each frame as
/// in [`Stack::frames`], 0 where it could not be read. Of frames of built-in functions they mean nothing.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct StackLines {
    /// Key of the stack, without the user.
    pub stack: u64,
    /// User id of the process.
    pub user: u32,
    /// Process.
    pub pid: u32,
    /// Number of frames.
    pub depth: u32,
    /// Keeps the layout free of padding.
    pub reserved: u32,
}

/// Key of no stack: that of a wait whose stack was not walked. All keys of stacks that were walked are odd.
pub const NOT_WALKED: u64 = 0;
/// Key of no stack: that of a wait in a request while no PHP code ran, as when its body is read or its output is sent.
pub const OUTSIDE: u64 = 2;
/// Key of no stack: that of a wait for which the thread's next wait with a stack is taken to be typical.
pub const SKIPPED: u64 = 4;
/// A wait of this length is never skipped: it is counted by itself, though without a stack.
pub const LONG_WAIT_NS: u64 = 10_000_000;

/// The last wait of a thread.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// `CLOCK_MONOTONIC` when it left the CPU; 0 when it is over.
    pub since_ns: u64,
    /// As in [`CountKey`].
    pub request: u64,
    /// Key of its stack, or [`NOT_WALKED`], [`OUTSIDE`] or [`SKIPPED`].
    pub stack: u64,
    /// User id of the process.
    pub user: u32,
    /// Waits that were skipped and are not counted yet, all of one request.
    pub skipped: u32,
    /// Their time.
    pub skipped_ns: u64,
    /// Their request.
    pub skipped_request: u64,
    /// When a wait ended last.
    pub ended_ns: u64,
}

/// What was counted for one stack. Of a failure, `samples` is how often it happened, and `waits` how often it was silenced.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Samples on the CPU.
    pub samples: u64,
    /// Waits that ended.
    pub waits: u64,
    /// Their time.
    pub wait_ns: u64,
    /// Anonymous pages by which its process grew.
    pub pages: u64,
}

/// What a count belongs to.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CountKey {
    /// [`crate::Request::started_ns`] of the request, 0 outside of any known request.
    pub request: u64,
    /// Key of the stack, or of a failure ([`crate::counted_as`]).
    pub stack: u64,
    /// Process.
    pub pid: u32,
    /// Its user id.
    pub user: u32,
}

const _: () = assert!(size_of::<FunctionName>() == 24 + FUNCTION_BYTES + CLASS_BYTES + FILE_BYTES);
const _: () = assert!(size_of::<Stack>() == 16 + 8 * MAX_FRAMES);
const _: () = assert!(size_of::<CountKey>() == 24);
const _: () = assert!(size_of::<Wait>() == 56);
const _: () = assert!(size_of::<ContentKey>() == 16);
const _: () = assert!(size_of::<Count>() == 32);
const _: () = assert!(size_of::<StackLines>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_mixed_values_matters() {
        assert_ne!(mix(mix(0, 1), 2), mix(mix(0, 2), 1));
        assert_ne!(mix(mix(0, 0), 0), mix(0, 0));
    }
}
