//! Walks the PHP stack of the process that stands still, and keeps stacks and names by content.
//!
//! Frames are keyed by content (the engine's own string hashes), never by address. In the steady state
//! a walk only reads and hashes; names and stacks are copied when their key is new.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_uid_gid, generated},
};
use tusktop_shared::{
    FUNCTION_INTERNAL, FunctionName, Image, MAX_FRAMES, NO_FUNCTION, STACK_TRUNCATED, Stack, mix, stat,
};

use crate::{
    maps::{NAMES, SCRATCH, STACKS, add},
    php::{STRING_TEXT, StringHead, Text, fetch, fetch_string_head, pointer, string_key},
};

/// Room for one walk: more than the 512 bytes of a BPF stack.
#[repr(C)]
pub struct Scratch {
    stack: Stack,
    functions: [u64; MAX_FRAMES],
    name: FunctionName,
    text: Text,
    frame: [u64; FRAME_WORDS],
    function: [u64; FUNCTION_ROOM],
    walk: Walk,
}

/// What a walk carries from frame to frame. It lives in the map, not in registers: there its values are unknown to
/// the verifier from the start, so that all frames look alike to it and one of them is verified for all.
#[repr(C)]
struct Walk {
    hash: u64,
    frame: u64,
    last_file: u64,
    last_file_key: u64,
    last_scope: u64,
    last_scope_key: u64,
}

/// Words of `zend_execute_data` up to `prev_execute_data`, wherever it stands in 7.0 to 8.5, and the one of `.func`.
pub const FRAME_WORDS: usize = 8;
pub const FRAME_FUNCTION: usize = 3;

/// Words of `zend_function` up to `op_array.line_start`; the array in the map is longer, so that a masked index is inside.
const FUNCTION_WORDS: usize = 23;
pub const FUNCTION_ROOM: usize = 32;
pub const FUNCTION_KIND: usize = 0;
pub const FUNCTION_NAME: usize = 1;
pub const FUNCTION_SCOPE: usize = 2;

/// `zend_class_entry.name`.
pub const CLASS_NAME: u64 = 8;

/// Walks the PHP stack of the current process from its leaf frame, makes sure that the stack and its names are in their
/// maps, and returns the stack's key.
///
/// Call it only where nothing else on this CPU can call it meanwhile: from a timer, or from the scheduler, which
/// no timer interrupts.
#[inline(always)]
pub fn capture(image: &Image, leaf: u64) -> Option<u64> {
    // SAFETY: the pointer is this CPU's slot, and nothing else uses it meanwhile, as said above.
    let scratch = unsafe { &mut *SCRATCH.get_ptr_mut(0)? };
    let key = walk(scratch, image, leaf);
    keep_stack(scratch, image, key);
    Some(key)
}

/// Fills `scratch.stack` and `scratch.functions` from the leaf to the root and returns the stack's key.
#[inline(always)]
fn walk(scratch: &mut Scratch, image: &Image, leaf: u64) -> u64 {
    // Names are keyed by user too, so that one user's process cannot name the functions of another's.
    let user = bpf_get_current_uid_gid() as u32;
    let walk = &mut scratch.walk;
    walk.hash = u64::from(user);
    walk.frame = leaf;
    // Neighbouring frames share files and classes; the process stands still while it is read.
    walk.last_file = 0;
    walk.last_file_key = 0;
    walk.last_scope = 0;
    walk.last_scope_key = 0;
    let mut i = 0;
    while i < MAX_FRAMES {
        if walk.frame == 0 {
            break;
        }
        if !fetch(walk.frame, &mut scratch.frame) {
            add(stat::SAMPLES_BROKEN, 1);
            break;
        }
        walk.frame = scratch.frame[(image.previous_execute_data >> 3) as usize & (FRAME_WORDS - 1)];
        let function = scratch.frame[FRAME_FUNCTION];
        let slot = i & (MAX_FRAMES - 1);
        i += 1;
        // The engine puts frames without a function between calls; they are not PHP code. They keep their slot:
        // a second counter would make every combination of both a state of its own for the verifier.
        scratch.stack.frames[slot] = NO_FUNCTION;
        scratch.functions[slot] = function;
        if function == 0 {
            continue;
        }
        if !fetch_function(function, &mut scratch.function) {
            add(stat::SAMPLES_BROKEN, 1);
            break;
        }
        let function = &scratch.function;
        // A part that cannot be read counts as 0; its text cannot be copied either, so no name is kept for such a key.
        let kind = kind(function);
        let mut key = mix(u64::from(user), u64::from(kind));
        if function[FUNCTION_NAME] != 0 {
            key = mix(key, string_key(function[FUNCTION_NAME], &mut scratch.text));
        }
        let scope = function[FUNCTION_SCOPE];
        if scope != 0 {
            if scope != walk.last_scope {
                walk.last_scope_key = string_key(pointer(scope.wrapping_add(CLASS_NAME)), &mut scratch.text);
                walk.last_scope = scope;
            }
            key = mix(key, walk.last_scope_key);
        }
        if kind != FUNCTION_INTERNAL {
            let (file, line) = place(function, image.filename);
            if file != walk.last_file {
                walk.last_file_key = string_key(file, &mut scratch.text);
                walk.last_file = file;
            }
            key = mix(mix(key, walk.last_file_key), u64::from(line));
        }
        key |= 1;
        scratch.stack.frames[slot] = key;
        walk.hash = mix(walk.hash, key);
    }
    scratch.stack.depth = i as u32;
    scratch.stack.flags = if walk.frame == 0 { 0 } else { STACK_TRUNCATED };
    scratch.stack.missing = 0;
    add(stat::FRAMES, i as u64);
    mix(walk.hash, u64::from(scratch.stack.flags)) | 1
}

/// Reads the start of a `zend_function`. That of a built-in function is shorter: at the end of a mapping only its
/// head can be read, which is all that it has.
#[inline(always)]
pub fn fetch_function(address: u64, function: &mut [u64; FUNCTION_ROOM]) -> bool {
    // SAFETY: the first words of the array are an array of their own.
    let words = unsafe { &mut *function.as_mut_ptr().cast::<[u64; FUNCTION_WORDS]>() };
    // SAFETY: as above.
    fetch(address, words) || fetch(address, unsafe { &mut *function.as_mut_ptr().cast::<[u64; 3]>() })
}

/// `zend_function.type`.
#[inline(always)]
pub fn kind(function: &[u64; FUNCTION_ROOM]) -> u32 {
    u32::from(function[FUNCTION_KIND] as u8)
}

/// `op_array.filename` and, behind it in every version, `.line_start`.
#[inline(always)]
pub fn place(function: &[u64; FUNCTION_ROOM], filename: u32) -> (u64, u32) {
    let word = (filename >> 3) as usize & (FUNCTION_ROOM - 1);
    (function[word], function[(word + 1) & (FUNCTION_ROOM - 1)] as u32)
}

/// Makes sure that the stack and the names of its frames are in their maps.
#[inline(always)]
fn keep_stack(scratch: &mut Scratch, image: &Image, stack_key: u64) {
    // SAFETY: one aligned integer of the entry is read.
    if unsafe { STACKS.get(stack_key) }.is_some_and(|stack| stack.missing == 0) {
        return;
    }
    let depth = scratch.stack.depth as usize;
    let mut missing = 0;
    let mut i = 0;
    while i < MAX_FRAMES {
        if i >= depth {
            break;
        }
        let key = scratch.stack.frames[i & (MAX_FRAMES - 1)];
        // SAFETY: the entry is only tested for being there.
        if key != NO_FUNCTION && unsafe { NAMES.get(key) }.is_none() {
            let function = scratch.functions[i & (MAX_FRAMES - 1)];
            if !keep_name(scratch, image, key, function) {
                missing += 1;
            }
        }
        i += 1;
    }
    scratch.stack.missing = missing;
    #[expect(clippy::needless_borrows_for_generic_args, reason = "by value it would be copied onto the BPF stack")]
    let kept = STACKS.insert(stack_key, &scratch.stack, 0);
    if kept.is_err() {
        add(stat::STACKS_FULL, 1);
    }
}

/// Copies the texts of one function. Returns `false` when one of them could not be read.
#[inline(always)]
fn keep_name(scratch: &mut Scratch, image: &Image, key: u64, function: u64) -> bool {
    if !fetch_function(function, &mut scratch.function) {
        add(stat::NAMES_UNREAD, 1);
        return false;
    }
    let (file, line) = place(&scratch.function, image.filename);
    let file = if kind(&scratch.function) == FUNCTION_INTERNAL { 0 } else { file };
    keep_texts(key, &scratch.function, &mut scratch.name, file, line)
}

/// Copies the texts of a function whose words were read; `file` is 0 for a function without a place. Returns `false` when
/// one of them could not be read.
#[inline(always)]
pub fn keep_texts(key: u64, function: &[u64; FUNCTION_ROOM], name: &mut FunctionName, file: u64, line: u32) -> bool {
    name.kind = kind(function);
    name.line = 0;
    name.function_len = 0;
    name.class_len = 0;
    name.file_len = 0;
    let mut complete = true;
    if function[FUNCTION_NAME] != 0 {
        name.function_len = copy_head(function[FUNCTION_NAME], &mut name.function);
        complete &= name.function_len != NOT_COPIED;
    }
    if function[FUNCTION_SCOPE] != 0 {
        let class = pointer(function[FUNCTION_SCOPE].wrapping_add(CLASS_NAME));
        name.class_len = copy_head(class, &mut name.class);
        complete &= name.class_len != NOT_COPIED;
    }
    if file != 0 {
        name.line = line;
        name.file_len = copy_tail(file, &mut name.file);
        complete &= name.file_len != NOT_COPIED;
    }
    if !complete {
        add(stat::NAMES_UNREAD, 1);
        return false;
    }
    #[expect(clippy::needless_borrows_for_generic_args, reason = "by value it would be copied onto the BPF stack")]
    let kept = NAMES.insert(key, &*name, u64::from(BPF_NOEXIST));
    // A name that is there already was kept by another CPU meanwhile.
    if kept.is_err_and(|error| error != -17) {
        add(stat::NAMES_FULL, 1);
    }
    true
}

/// Returned by the copies for a string that could not be read.
pub const NOT_COPIED: u32 = u32::MAX;

/// Copies the head of a zend_string; returns the length of the whole.
#[inline(always)]
pub fn copy_head<const N: usize>(string: u64, destination: &mut [u8; N]) -> u32 {
    copy_part(string, destination, false)
}

/// Copies the tail of a zend_string; returns the length of the whole.
#[inline(always)]
pub fn copy_tail<const N: usize>(string: u64, destination: &mut [u8; N]) -> u32 {
    copy_part(string, destination, true)
}

#[inline(always)]
fn copy_part<const N: usize>(string: u64, destination: &mut [u8; N], tail: bool) -> u32 {
    let mut head = StringHead { hash: 0, len: 0 };
    if !fetch_string_head(string, &mut head) {
        return NOT_COPIED;
    }
    let len = head.len as u32;
    let kept = if len > N as u32 { N as u32 } else { len };
    let skipped = if tail { u64::from(len - kept) } else { 0 };
    if copy(destination, kept, string.wrapping_add(STRING_TEXT).wrapping_add(skipped)) { len } else { NOT_COPIED }
}

#[inline(always)]
fn copy<const N: usize>(destination: &mut [u8; N], len: u32, from: u64) -> bool {
    if len > N as u32 {
        return false;
    }
    // SAFETY: a checked read of no more bytes than the array has.
    unsafe { generated::bpf_probe_read_user(destination.as_mut_ptr().cast(), len, from as *const _) == 0 }
}
