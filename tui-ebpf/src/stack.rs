//! Walks the PHP stack of the process while it is stopped, and keeps stacks and names by content.
//!
//! Frames are keyed by content (the engine's own string hashes), never by address. In the steady state
//! a walk reads the head of each frame and looks a key up: the key of a function is remembered for as long as the request
//! lasts. Names and stacks are copied when their key is new.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid, generated},
};
use tusktop_shared::{
    ContentKey, FUNCTION_INTERNAL, FunctionName, Image, MAX_FRAMES, NO_FUNCTION, Process, STACK_TRUNCATED, Stack, mix,
    share, stat,
};

use crate::{
    lines::Lines,
    maps::{COMPILED, GENERATION, MET, MET_KEYS, NAMES, SCRATCH, STACKS, add},
    php::{STRING_TEXT, StringHead, Text, fetch, fetch_string_head, pointer, string_key},
    process::config,
    share::take_share,
};

/// Room for one walk: more than the 512 bytes of a BPF stack.
#[repr(C)]
pub struct Scratch {
    stack: Stack,
    functions: [u64; MAX_FRAMES],
    name: FunctionName,
    text: Text,
    links: [u64; LINK_WORDS],
    place: [u64; 2],
    function: [u64; FUNCTION_ROOM],
    pub walk: Walk,
    /// Where the frames of `functions` are.
    pub frames: [u64; MAX_FRAMES],
    /// What is sent of the lines that they are at.
    pub lines: Lines,
}

/// What a walk carries from frame to frame. It lives in the map, not in registers: there its values are unknown to
/// the verifier from the start, so that all frames look alike to it and one of them is verified for all.
#[repr(C)]
pub struct Walk {
    hash: u64,
    frame: u64,
    pub depth: u64,
    /// What the keys of this walk are remembered by until the request ends, 0 when they are not.
    owner: u64,
    /// What keys of functions that outlive requests are remembered by, 0 when they are not.
    family: u64,
    /// What the whole stack is remembered by: its functions by address.
    stack_met_as: u64,
    /// 0 once a function was met that may not stay where it is until the request ends.
    lasting: u64,
    /// Of the function whose key is made.
    met_as: u64,
    place: u64,
    key: u64,
    scope: u64,
    file: u64,
    /// The generator whose frame is walked next because it delegates, 0 where none does.
    generator: u64,
    /// As in [`Stack::delegations`].
    delegations: u64,
    /// The frame behind them.
    after: u64,
    /// The frame of the innermost generator.
    running: u64,
    /// How much farther than in PHP 8 a generator has its frame and its parent.
    shift: u64,
    /// The frame that was walked last.
    last: u64,
}

/// A key that was made before, where its function was met.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Met {
    /// What it was met as, combined with the key: of a torn entry, written by two CPUs at one time, both do not fit together.
    check: u64,
    /// The key.
    key: u64,
}

/// Words of `zend_execute_data` up to `prev_execute_data`, wherever it is in 7.0 to 8.5, and the one of `.func`.
pub const FRAME_WORDS: usize = 8;
pub const FRAME_FUNCTION: usize = 3;

/// What a walk reads of a frame: the words from `.func` on, up to `prev_execute_data`. It is less than a cache line, which the
/// kernel copies word by word; a longer copy starts slower.
const LINK_WORDS: usize = FRAME_WORDS - FRAME_FUNCTION;
const LINKS: u64 = 8 * FRAME_FUNCTION as u64;

/// Words of `zend_function` up to `op_array.line_start`; the array in the map is longer, so that a masked index is inside.
const FUNCTION_WORDS: usize = 23;
pub const FUNCTION_ROOM: usize = 32;
pub const FUNCTION_KIND: usize = 0;
pub const FUNCTION_NAME: usize = 1;
pub const FUNCTION_SCOPE: usize = 2;

/// `zend_class_entry.name`.
pub const CLASS_NAME: u64 = 8;

/// Walks the PHP stack of the current process from its leaf frame, makes sure that the stack and its names are in their
/// maps, and returns the stack's key. `request` is the start of the thread's request, 0 when none is known, and `now_ns` the time.
///
/// Call it only where nothing else on this CPU can call it meanwhile: from a timer, or from the scheduler, which
/// no timer interrupts.
#[inline(always)]
pub fn capture(image: &Image, process: &Process, leaf: u64, request: u64, now_ns: u64) -> Option<ContentKey> {
    // SAFETY: the pointer is this CPU's slot, and nothing else uses it meanwhile, as said above.
    let scratch = unsafe { &mut *SCRATCH.get_ptr_mut(0)? };
    // Without a request nothing says when the memory of a function becomes that of another one. Names that were forgotten
    // have to be kept again.
    let generation = u64::from(GENERATION.get(0).copied().unwrap_or(0));
    let user = bpf_get_current_uid_gid() as u32;
    let seed = config()?.seed;
    let owner = if request == 0 { 0 } else { mix(mix(mix(seed, request), generation), bpf_get_current_pid_tgid()) | 1 };
    scratch.walk.owner = owner;
    let family = family(process, mix(seed, generation), user, now_ns);
    kept(&mut scratch.walk.family, family);
    scratch.walk.frame = leaf;
    let depth = collect(scratch, image) as u64;
    let depth = kept(&mut scratch.walk.depth, depth);
    add(stat::FRAMES, depth);
    // A thread blocks again and again at the same places: then the stack is in its map already.
    let met_as = mix(mix(scratch.walk.stack_met_as, scratch.walk.frame), depth);
    let met_as = kept(&mut scratch.walk.stack_met_as, met_as);
    let known = recall(read(&scratch.walk.owner), met_as);
    if known != NO_FUNCTION {
        return Some(ContentKey::new(known, user));
    }
    let key = ContentKey::new(walk(scratch, image, seed), user);
    if keep_stack(scratch, image, &key) && scratch.walk.lasting != 0 {
        remember(scratch.walk.owner, scratch.walk.stack_met_as, key.hash);
    }
    Some(key)
}

/// What keys of functions that outlive requests are remembered by in a process and those that its master forked, for about a second;
/// 0 when its master is not known.
///
/// Functions that PHP brings along, and those in opcache's memory, stay where they are. opcache uses its memory again only after a
/// restart, and then compiles what it puts there. Where that is not seen, names may be those from before for the rest of the second.
#[inline(always)]
fn family(process: &Process, seed: u64, user: u32, now_ns: u64) -> u64 {
    if process.master == 0 {
        return 0;
    }
    let compiled = COMPILED.get(process.image).copied().unwrap_or(0);
    let family = mix(mix(seed, u64::from(process.master) << 32 | u64::from(user)), u64::from(process.image));
    mix(mix(family, compiled), now_ns >> LASTING_SHIFT) | 1
}

/// 2^30 ns.
const LASTING_SHIFT: u32 = 30;

/// Makes the keys of `scratch.functions` in `scratch.stack` and returns the stack's key.
#[inline(always)]
fn walk(scratch: &mut Scratch, image: &Image, seed: u64) -> u64 {
    scratch.walk.hash = seed;
    scratch.walk.lasting = 1;
    // Several loops and not one: what an iteration may do multiplies within a loop for the verifier, and adds between loops.
    let mut i = 0;
    while i < MAX_FRAMES {
        if i as u64 >= read(&scratch.walk.depth) {
            break;
        }
        let slot = i & (MAX_FRAMES - 1);
        let function = scratch.functions[slot];
        let family = read(&scratch.walk.family);
        let mut key = recall(family, mix(family, function));
        if key == NO_FUNCTION {
            key = recall(scratch.walk.owner, mix(scratch.walk.owner, function));
        }
        scratch.stack.frames[slot] = key;
        i += 1;
    }
    let mut i = 0;
    while i < MAX_FRAMES {
        if i as u64 >= read(&scratch.walk.depth) {
            break;
        }
        let slot = i & (MAX_FRAMES - 1);
        let function = scratch.functions[slot];
        if scratch.stack.frames[slot] == NO_FUNCTION {
            scratch.stack.frames[slot] = recall_code_of_file(scratch, image, function);
        }
        i += 1;
    }
    let mut i = 0;
    while i < MAX_FRAMES {
        if i as u64 >= read(&scratch.walk.depth) {
            break;
        }
        let slot = i & (MAX_FRAMES - 1);
        let function = scratch.functions[slot];
        i += 1;
        if function != 0 {
            let mut key = scratch.stack.frames[slot];
            if key == NO_FUNCTION {
                key = key_of(scratch, image, function, seed);
            }
            scratch.stack.frames[slot] = key;
            scratch.walk.hash = mix(scratch.walk.hash, key);
        }
    }
    let depth = read(&scratch.walk.depth);
    scratch.stack.depth = depth as u32;
    scratch.stack.flags = if scratch.walk.frame == 0 { 0 } else { STACK_TRUNCATED };
    scratch.stack.missing = 0;
    scratch.stack.delegations = read(&scratch.walk.delegations) as u32;
    mix(scratch.walk.hash, u64::from(scratch.stack.flags) << 32 | u64::from(scratch.stack.delegations)) | 1
}

/// Puts the functions of all frames from the leaf to the root into `scratch.functions`, mixes their addresses into
/// `scratch.walk.stack_met_as` and returns how many there are.
/// The engine puts frames without a function between calls; they are not PHP code, and keep their slot with a 0.
#[inline(always)]
fn collect(scratch: &mut Scratch, image: &Image) -> usize {
    scratch.walk.stack_met_as = scratch.walk.owner;
    scratch.walk.generator = 0;
    scratch.walk.delegations = 0;
    let mut i = 0;
    while i < MAX_FRAMES {
        if scratch.walk.frame == 0 {
            break;
        }
        if !fetch(scratch.walk.frame.wrapping_add(LINKS), &mut scratch.links) {
            add(stat::SAMPLES_BROKEN, 1);
            break;
        }
        let previous = (u64::from(image.previous_execute_data).wrapping_sub(LINKS) >> 3) as usize;
        let frame = read(&scratch.walk.frame);
        scratch.walk.frame = if previous < LINK_WORDS { scratch.links[previous] } else { 0 };
        let function = scratch.links[0];
        scratch.functions[i & (MAX_FRAMES - 1)] = function;
        scratch.frames[i & (MAX_FRAMES - 1)] = frame;
        scratch.walk.stack_met_as = mix(scratch.walk.stack_met_as, function);
        if function == 0 {
            scratch.walk.running = read(&scratch.walk.last);
            begin_delegation(scratch, frame, i);
        } else if read(&scratch.walk.generator) != 0 {
            delegate(scratch);
        }
        scratch.walk.last = frame;
        i += 1;
    }
    i
}

/// Offsets of `zend_generator.execute_data` and `.node.parent`, and how far the placeholder is from the start of the generator that it
/// is part of: PHP 8.1 to 8.5. In 7.4 the first two are 8 bytes more and the third 16. So the distance tells the layout, and that a
/// frame is a placeholder.
const GENERATOR_DATA: u64 = 0x38;
const GENERATOR_PARENT: u64 = 0x98;
const PLACEHOLDER: u64 = 0xb8;
const PLACEHOLDER_7: u64 = 0xc8;

/// `Z_OBJ` of `zend_execute_data.This` in the links of a frame.
const LINK_OBJECT: usize = 1;

/// Where a generator delegates (`yield from`), the engine runs the innermost one and puts a placeholder behind its frame, which is
/// part of the outermost generator (Zend/zend_generators.c, `zend_generator_check_placeholder_frame`). The generators between are
/// found from there, each by its parent, which is the next inner one: so they come in the other order, and
/// user space turns them round.
#[inline(always)]
fn begin_delegation(scratch: &mut Scratch, frame: u64, slot: usize) {
    let generator = scratch.links[LINK_OBJECT];
    let distance = frame.wrapping_sub(generator);
    if distance == PLACEHOLDER || distance == PLACEHOLDER_7 {
        scratch.walk.delegations = read(&scratch.walk.delegations) << 16 | (slot as u64) << 8;
        scratch.walk.after = scratch.walk.frame;
        scratch.walk.generator = generator;
        scratch.walk.shift = (distance - PLACEHOLDER) >> 1;
        scratch.walk.frame = pointer(generator.wrapping_add(GENERATOR_DATA).wrapping_add(scratch.walk.shift));
    }
}

/// Counts the frame of a generator that delegates and goes on to the next inner one. The innermost has its frame already.
#[inline(always)]
fn delegate(scratch: &mut Scratch) {
    scratch.walk.delegations += 1;
    let generator = read(&scratch.walk.generator).wrapping_add(read(&scratch.walk.shift));
    let inner = pointer(generator.wrapping_add(GENERATOR_PARENT));
    let inner = kept(&mut scratch.walk.generator, inner).wrapping_add(read(&scratch.walk.shift));
    let frame = pointer(inner.wrapping_add(GENERATOR_DATA));
    let frame = kept(&mut scratch.walk.frame, frame);
    if frame == 0 || frame == read(&scratch.walk.running) {
        scratch.walk.generator = 0;
        scratch.walk.frame = read(&scratch.walk.after);
    }
}

/// Bits of `zend_function.fn_flags` of functions that live in an object which may be freed within a request, in any of the
/// versions: closures, fake closures, trampolines (Zend/zend_compile.h; some of them mean something harmless elsewhere).
const SHORT_LIVED: u64 = 1 << 6 | 1 << 18 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 23;
/// `fn_flags` are the upper half of the first word.
const FLAGS_SHIFT: u32 = 32;

/// The key of a function, if it is the code of a file that was met in this request; [`NO_FUNCTION`] if not. Such code is told by its
/// place, since other code may be at its address next.
#[inline(always)]
fn recall_code_of_file(scratch: &mut Scratch, image: &Image, function: u64) -> u64 {
    scratch.place = [0; 2];
    fetch(function.wrapping_add(u64::from(image.filename)), &mut scratch.place);
    let owner = read(&scratch.walk.owner);
    let key = recall(owner, mix(mix(owner, CODE_OF_FILE ^ function), mix(scratch.place[0], scratch.place[1])));
    if key != NO_FUNCTION {
        scratch.walk.lasting = 0;
    }
    key
}

/// Tells what was met as the code of a file from what was met as a function.
const CODE_OF_FILE: u64 = 1;

/// Whether a function outlives the request: PHP brings it along, or it is in opcache's memory. Then nothing else comes to its address.
#[inline(always)]
fn outlives(words: &[u64; FUNCTION_ROOM]) -> bool {
    let flags = words[FUNCTION_KIND] >> FLAGS_SHIFT;
    flags & SHORT_LIVED == 0 && (kind(words) == FUNCTION_INTERNAL || flags & IMMUTABLE != 0)
}

/// `ZEND_ACC_IMMUTABLE` of a function: it is in opcache's memory, and so are its texts. 7.4 has it only for some functions, older
/// versions for none.
const IMMUTABLE: u64 = 1 << 7;

/// Key by its content of a function that is not remembered by its address; [`NO_FUNCTION`] when it cannot be read.
///
/// A function that has a name and is no closure stays where it is until its request ends: its key is remembered by its address.
/// All others are read each time, and their key is remembered by the addresses of their texts.
#[inline(always)]
fn key_of(scratch: &mut Scratch, image: &Image, function: u64, seed: u64) -> u64 {
    if !fetch_function(function, &mut scratch.function) {
        add(stat::SAMPLES_BROKEN, 1);
        scratch.walk.lasting = 0;
        return NO_FUNCTION;
    }
    let words = &scratch.function;
    let kind = kind(words);
    let (file, line) = if kind == FUNCTION_INTERNAL { (0, 0) } else { place(words, image.filename) };
    let file = kept(&mut scratch.walk.file, file);
    let place = kept(&mut scratch.walk.place, u64::from(line as u32) << 8 | u64::from(kind));
    let (name, scope) = (words[FUNCTION_NAME], words[FUNCTION_SCOPE]);
    let lasts = name != 0 && (words[FUNCTION_KIND] >> FLAGS_SHIFT) & SHORT_LIVED == 0;
    let mut met_as = mix(scratch.walk.owner, function);
    if !lasts {
        scratch.walk.lasting = 0;
        met_as ^= mix(mix(name, scope), mix(file, place));
    }
    if name == 0 {
        // The code of a file is told by its place alone: it may have no other.
        let word = (image.filename >> 3) as usize & (FUNCTION_ROOM - 1);
        let place = mix(words[word], words[(word + 1) & (FUNCTION_ROOM - 1)]);
        met_as = mix(mix(scratch.walk.owner, CODE_OF_FILE ^ function), place);
    }
    let met_as = kept(&mut scratch.walk.met_as, met_as);
    let key = recall(scratch.walk.owner, met_as);
    if key != NO_FUNCTION {
        return key;
    }
    // A part that cannot be read counts as 0; its text cannot be copied either, so no name is kept for such a key, and it is
    // not remembered.
    let name = scratch.function[FUNCTION_NAME];
    let name = if name == 0 { 1 } else { string_key(name, &mut scratch.text) };
    kept(&mut scratch.walk.key, name);
    let scope = scratch.function[FUNCTION_SCOPE];
    let scope = if scope == 0 { 1 } else { string_key(pointer(scope.wrapping_add(CLASS_NAME)), &mut scratch.text) };
    kept(&mut scratch.walk.scope, scope);
    let file = read(&scratch.walk.file);
    let file = if file == 0 { 1 } else { string_key(file, &mut scratch.text) };
    kept(&mut scratch.walk.file, file);
    let (name, scope, file) = (read(&scratch.walk.key), read(&scratch.walk.scope), read(&scratch.walk.file));
    let key = mix(mix(seed, name), scope);
    let key = mix(key, mix(file, read(&scratch.walk.place))) | 1;
    if name != 0 && scope != 0 && file != 0 {
        let outlives = outlives(&scratch.function);
        let owner = if outlives { read(&scratch.walk.family) } else { 0 };
        if owner != 0 {
            remember(owner, mix(owner, function), key);
        } else {
            remember(scratch.walk.owner, read(&scratch.walk.met_as), key);
        }
    } else {
        scratch.walk.lasting = 0;
    }
    key
}

/// Reads a value from the map each time, so that no comparison is remembered with it.
#[inline(always)]
pub fn read(place: &u64) -> u64 {
    // SAFETY: a reference is a valid place.
    unsafe { (&raw const *place).read_volatile() }
}

/// Writes a value to the map and reads it again: as a register, all that is known of it would make paths of their own for the
/// verifier, while what comes out of a map is unknown.
#[inline(always)]
fn kept(place: &mut u64, value: u64) -> u64 {
    // SAFETY: a reference is a valid place.
    unsafe {
        (&raw mut *place).write_volatile(value);
        (&raw const *place).read_volatile()
    }
}

/// The key of what was met before in this request; [`NO_FUNCTION`] when it is not remembered.
#[inline(always)]
fn recall(owner: u64, met_as: u64) -> u64 {
    if owner == 0 {
        return NO_FUNCTION;
    }
    match MET.get(met_as as u32 & (MET_KEYS - 1)) {
        Some(met) if met.check ^ met.key == met_as => met.key,
        _ => NO_FUNCTION,
    }
}

#[inline(always)]
fn remember(owner: u64, met_as: u64, key: u64) {
    if owner == 0 {
        return;
    }
    if let Some(met) = MET.get_ptr_mut(met_as as u32 & (MET_KEYS - 1)) {
        // SAFETY: the pointer is an entry of the map; what another CPU writes at the same time is found out by `check`.
        unsafe {
            (*met).check = met_as ^ key;
            (*met).key = key;
        }
    }
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

/// `op_array.filename` and, behind it in every version, `.line_start` with `.line_end` in the upper half.
#[inline(always)]
pub fn place(function: &[u64; FUNCTION_ROOM], filename: u32) -> (u64, u64) {
    let word = (filename >> 3) as usize & (FUNCTION_ROOM - 1);
    (function[word], function[(word + 1) & (FUNCTION_ROOM - 1)])
}

/// Makes sure that the stack and the names of its frames are in their maps; `false` when one of them is not.
#[inline(always)]
fn keep_stack(scratch: &mut Scratch, image: &Image, stack_key: &ContentKey) -> bool {
    // SAFETY: one aligned integer of the entry is read.
    let known = unsafe { STACKS.get(stack_key) }.map(|stack| stack.missing);
    if known == Some(0) {
        return true;
    }
    if known.is_none() && !take_share(share::STACKS, stack_key.user) {
        add(stat::STACKS_FULL, 1);
        return false;
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
        if key != NO_FUNCTION && unsafe { NAMES.get(ContentKey::new(key, stack_key.user)) }.is_none() {
            let function = scratch.functions[i & (MAX_FRAMES - 1)];
            if !keep_name(scratch, image, &ContentKey::new(key, stack_key.user), function) {
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
    // SAFETY: a reference is a valid place. Volatile for the reason that `read` gives.
    let missing = unsafe { (&raw const scratch.stack.missing).read_volatile() };
    kept.is_ok() && missing == 0
}

/// Copies the texts of one function. Returns `false` when one of them could not be read.
#[inline(always)]
fn keep_name(scratch: &mut Scratch, image: &Image, key: &ContentKey, function: u64) -> bool {
    if !fetch_function(function, &mut scratch.function) {
        add(stat::NAMES_UNREAD, 1);
        return false;
    }
    let (file, lines) = place(&scratch.function, image.filename);
    let file = if kind(&scratch.function) == FUNCTION_INTERNAL { 0 } else { file };
    keep_texts(key, &scratch.function, &mut scratch.name, file, lines)
}

/// Copies the texts of a function whose words were read; `file` is 0 for a function without a place, `lines` is as in [`place`]. Returns
/// `false` when one of them could not be read.
#[inline(always)]
pub fn keep_texts(
    key: &ContentKey,
    function: &[u64; FUNCTION_ROOM],
    name: &mut FunctionName,
    file: u64,
    lines: u64,
) -> bool {
    name.kind = kind(function);
    name.line = 0;
    name.last_line = 0;
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
        name.line = lines as u32;
        name.last_line = (lines >> 32) as u32;
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
