//! The key of a traced call: made of the content of names, as in samples, and remembered by the probe's arguments for as long as a
//! request lasts, since reading a process's memory takes longer than everything else at a hit.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_uid_gid, generated::bpf_probe_read_kernel},
    programs::ProbeContext,
};
use tusktop_shared::{
    ContentKey, FUNCTION_COMPILE, FUNCTION_INTERNAL, REGISTER_WORDS, REMEMBERED, Traced, call, mix, stat,
};

use crate::{
    arguments::register,
    maps::{GENERATION, KNOWN, KNOWN_KEYS, NAMES, add},
    php::{OPLINE_LINE, STRING_TEXT, StringHead, fetch, fetch_string_head, pointer, string_key},
    process::config,
    stack::{
        CLASS_NAME, FRAME_FUNCTION, FRAME_WORDS, FUNCTION_KIND, FUNCTION_NAME, FUNCTION_SCOPE, fetch_function,
        keep_texts, kind, place,
    },
};

/// The word of `zend_execute_data.opline`.
const FRAME_OPLINE: usize = 0;

/// Offset of the stack pointer in `struct pt_regs` of x86-64, and the number of its words.
const X86_STACK_POINTER: u32 = 152;
const X86_REGISTERS: usize = 21;

/// Reads the stack pointer of the hit.
#[inline(always)]
pub fn fetch_stack_pointer(context: &ProbeContext, traced: &mut Traced) {
    // A place that is known now is read without a call; on another architecture it is another register, read below.
    // SAFETY: the context is the saved registers, of which every architecture has that many.
    let x86 = unsafe { context.as_ptr().cast::<u64>().add(X86_STACK_POINTER as usize / 8).read_volatile() };
    traced.hit.stack_pointer = x86;
    if traced.stack_pointer != X86_STACK_POINTER {
        traced.hit.stack_pointer = register(context, traced.stack_pointer).unwrap_or(0);
    }
}

/// Reads the arguments of the probe. They pass through the map: there they are unknown to the verifier, so that all ways
/// look alike to it. An argument in memory is only read where it is needed, since that takes as long as all the rest.
#[inline(always)]
pub fn fetch_arguments(context: &ProbeContext, traced: &mut Traced) {
    if traced.stack_pointer == X86_STACK_POINTER {
        let mut i = 0;
        while i < X86_REGISTERS {
            // SAFETY: as in `stack_pointer`.
            traced.registers[i] = unsafe { context.as_ptr().cast::<u64>().add(i).read_volatile() };
            i += 1;
        }
    } else {
        let bytes = traced.register_bytes & (REGISTER_WORDS * 8 - 1) as u32;
        // SAFETY: a checked read of no more bytes than the room has; the context is the saved registers.
        unsafe { bpf_probe_read_kernel(traced.registers.as_mut_ptr().cast(), bytes, context.as_ptr()) };
    }
    let mut i = 0;
    while i < 4 {
        let argument = &traced.arguments[i];
        let register = traced.registers[argument.register as usize & (REGISTER_WORDS - 1)];
        let index = traced.registers[argument.index as usize & (REGISTER_WORDS - 1)];
        let place = register
            .wrapping_mul(argument.factor)
            .wrapping_add(index.wrapping_mul(argument.scale))
            .wrapping_add(argument.displacement);
        traced.values[i] = place;
        if i != CLASS && argument.memory != 0 {
            fetch(place, &mut traced.values[i]);
        }
        i += 1;
    }
}

/// Which of the arguments is which.
const NAME: usize = 0;
const FILE: usize = 1;
const LINE: usize = 2;
const CLASS: usize = 3;

/// Where the key of a function with these arguments is remembered.
#[inline(always)]
fn place_of(values: &[u64; 4]) -> usize {
    ((values[NAME] >> 3) ^ (values[FILE] >> 5)).wrapping_add(values[LINE]) as usize & (REMEMBERED - 1)
}

/// The class that the probe tells; 0 where it cannot be read.
#[inline(always)]
fn class(traced: &Traced) -> u64 {
    let mut class = traced.values[CLASS];
    if traced.arguments[CLASS].memory != 0 && !fetch(traced.values[CLASS], &mut class) {
        return 0;
    }
    class
}

/// Looks for the key of the function that is being entered by the values of the probe's arguments.
#[inline(always)]
pub fn recall(traced: &mut Traced) {
    let (entry, values) = (&traced.remembered[place_of(&traced.values)], &traced.values);
    let different = (entry.request ^ traced.request)
        | (entry.arguments[NAME] ^ values[NAME])
        | (entry.arguments[FILE] ^ values[FILE])
        | (entry.arguments[LINE] ^ values[LINE]);
    if different != 0
        || (entry.file_hash != 0 && hash_of_text(values[FILE]) != entry.file_hash)
        || (entry.class != 0 && class(traced) != entry.class)
    {
        return;
    }
    traced.hit.key = entry.key;
}

/// Remembers a key, if the arguments stand for it until the request ends.
///
/// They point to strings. An interned one is the same for as long as the request lasts; the path of a file that is included a
/// second time is not, so it is known by its hash, too. In one place of one file there is one name, but for calls that the
/// engine makes up (`__call`), which have no line; and one class, but for methods of traits.
#[inline(always)]
pub fn remember(traced: &mut Traced) {
    let file = traced.values[FILE];
    let file_hash = if is_interned(file) { 0 } else { hash_of_text(file) };
    if traced.values[LINE] == 0 || (file_hash == 0 && !is_interned(file)) {
        return;
    }
    let of_trait = traced.function_room[FUNCTION_KIND] >> 32 & TRAIT_CLONE != 0;
    let class = if of_trait { class(traced) } else { 0 };
    if of_trait && class == 0 {
        return;
    }
    let (entry, values) = (&mut traced.remembered[place_of(&traced.values)], &traced.values);
    entry.arguments[NAME] = values[NAME];
    entry.arguments[FILE] = values[FILE];
    entry.arguments[LINE] = values[LINE];
    entry.class = class;
    entry.file_hash = file_hash;
    entry.key = traced.hit.key;
    entry.request = traced.request;
}

/// `ZEND_ACC_TRAIT_CLONE` of PHP 7.4 and newer, in the upper half of the first word of a `zend_function`.
const TRAIT_CLONE: u64 = 1 << 27;

/// Whether the string of a text is interned (`IS_STR_INTERNED` in `gc.u.type_info`, PHP 7.3 and newer).
#[inline(always)]
fn is_interned(text: u64) -> bool {
    const TYPE_INFO: u64 = 20;
    const INTERNED: u32 = 1 << 6;
    let mut type_info = 0_u32;
    fetch(text.wrapping_sub(TYPE_INFO), &mut type_info) && type_info & INTERNED != 0
}

/// PHP's hash of a string by the address of its text; 0 when it has none or cannot be read.
#[inline(always)]
fn hash_of_text(text: u64) -> u64 {
    let mut head = StringHead { hash: 0, len: 0 };
    if fetch_string_head(text.wrapping_sub(STRING_TEXT), &mut head) { head.hash } else { 0 }
}

/// Makes the key of the file that is being compiled, by its path where that is known already, else by its name as the code has
/// it. No PHP code needs to run: a script itself is compiled, too.
#[inline(never)]
#[unsafe(no_mangle)]
pub fn make_compile_key(traced: &mut Traced) {
    const PAGE: u64 = 4096;
    let path = if traced.values[0] >= PAGE { traced.values[0] } else { traced.values[1] };
    let file = path.wrapping_sub(STRING_TEXT);
    let hash = string_key(file, &mut traced.text_room);
    if hash == 0 {
        add(stat::CALLS_UNREAD, 1);
        return;
    }
    traced.user = bpf_get_current_uid_gid() as u32;
    let key = mix(mix(seed(), u64::from(FUNCTION_COMPILE)), hash) | 1;
    traced.function_room[FUNCTION_KIND] = u64::from(FUNCTION_COMPILE);
    traced.function_room[FUNCTION_NAME] = 0;
    traced.function_room[FUNCTION_SCOPE] = 0;
    traced.hit.key = key;
    keep(traced, key, file, 0);
}

/// Makes the key of the call that is being entered and keeps its name; the key is 0 when it does not count or cannot be read.
#[inline(never)]
#[unsafe(no_mangle)]
pub fn make_key(traced: &mut Traced, call_kind: u32) {
    let frame = pointer(traced.executor_globals.wrapping_add(u64::from(traced.current_execute_data)));
    if !fetch(frame, &mut traced.frame_room)
        || !fetch_function(traced.frame_room[FRAME_FUNCTION], &mut traced.function_room)
    {
        add(stat::CALLS_UNREAD, 1);
        return;
    }
    // Of `dtrace_execute_ex` only whole files count: functions have probes of their own.
    if call_kind == call::FILE && traced.function_room[FUNCTION_NAME] != 0 {
        return;
    }
    traced.user = bpf_get_current_uid_gid() as u32;
    let function_kind = kind(&traced.function_room);
    let mut key = mix(seed(), u64::from(function_kind));
    let name = traced.function_room[FUNCTION_NAME];
    if name != 0 {
        key = mix(key, string_key(name, &mut traced.text_room));
    }
    let scope = traced.function_room[FUNCTION_SCOPE];
    if scope != 0 {
        key = mix(key, string_key(pointer(scope.wrapping_add(CLASS_NAME)), &mut traced.text_room));
    }
    let mut file = 0;
    let mut line = 0;
    if call_kind == call::INTERNAL {
        // A built-in function has no place of its own: it is told by that of its caller.
        let word = (traced.previous_execute_data >> 3) as usize & (FRAME_WORDS - 1);
        let caller = traced.frame_room[word];
        if fetch(caller, &mut traced.frame_room) {
            fetch(traced.frame_room[FRAME_OPLINE].wrapping_add(OPLINE_LINE), &mut line);
            let function = traced.frame_room[FRAME_FUNCTION];
            let word = u64::from(traced.filename);
            if function != 0 {
                file = pointer(function.wrapping_add(word));
            }
        }
    } else if function_kind != FUNCTION_INTERNAL {
        let lines;
        (file, lines) = place(&traced.function_room, traced.filename);
        line = lines as u32;
    }
    if file != 0 {
        key = mix(mix(key, string_key(file, &mut traced.text_room)), u64::from(line));
    }
    traced.hit.key = key | 1;
    keep(traced, key | 1, file, line);
}

/// What all keys begin with.
#[inline(always)]
fn seed() -> u64 {
    config().map_or(0, |config| config.seed)
}

/// Makes sure that the name of a key is kept.
#[inline(never)]
#[unsafe(no_mangle)]
fn keep(traced: &mut Traced, key: u64, file: u64, line: u32) {
    let user = traced.user;
    let tag = (key >> 32) as u32 ^ GENERATION.get(0).copied().unwrap_or(0) ^ user.wrapping_mul(0x9e37_79b1);
    let Some(known) = KNOWN.get_ptr_mut(key as u32 >> 1 & (KNOWN_KEYS - 1)) else { return };
    // SAFETY: the pointer is an entry of the map; one aligned integer is read and written.
    unsafe {
        if known.read_volatile() == tag {
            return;
        }
        let key = ContentKey::new(key, user);
        if NAMES.get(key).is_some()
            || keep_texts(&key, &traced.function_room, &mut traced.name_room, file, u64::from(line))
        {
            known.write_volatile(tag);
        }
    }
}
