//! Exceptions and errors: counted by content in a map, their texts copied when a key is new. A place that throws
//! thousands of times a second costs the probe and a look into the map; nothing travels to user space for it.

use core::arch::asm;

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_NOEXIST,
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_ktime_get_ns,
        generated::{bpf_get_attach_cookie, bpf_probe_read_kernel, bpf_probe_read_user_str},
    },
    macros::uprobe,
    maps::HashMap,
    programs::ProbeContext,
};
use tusktop_shared::{
    FAILURE_ERROR, FAILURE_THROWN, FAILURE_UNCAUGHT, Failure, Image, SCRIPT_BYTES, SITE_CATCH, SITE_ERROR,
    SITE_THROWN_CLASS, SITE_THROWN_VALUE, SITE_UNCAUGHT, Site, Tally, mix, stat,
};

use crate::{
    arguments::{argument, register},
    maps::{EMPTY_FAILURE, FAILURE_TEXTS, FAILURES, IMAGES, REQUESTS, SITES, THROWN, add},
    php::{STRING_TEXT, StringHead, Text, fetch, fetch_string_head, pointer, string_key},
    process::config,
    stack::{NOT_COPIED, copy_head, copy_tail},
};

/// `zend_object.ce`, and from there up to the end of the property `line`: exceptions declare `message`, `string`,
/// `code`, `file` and `line` first, and who extends them keeps these places (Zend/zend_exceptions.c, PHP 7.0 to 8.5).
const OBJECT_CLASS: u64 = 16;
const OBJECT_WORDS: usize = 13;
const CLASS: usize = 0;
const MESSAGE: usize = 3;
const FILE: usize = 9;
const LINE: usize = 11;

/// `Z_TYPE` of the word behind a value.
const IS_LONG: u8 = 4;
const IS_STRING: u8 = 6;

/// `zend_class_entry.type`: the engine's own marks for `exit` are objects of classes that are neither of both.
const INTERNAL_CLASS: u8 = 1;
const USER_CLASS: u8 = 2;

/// `executor_globals.error_reporting`, in PHP 7.0 to 8.5.
const ERROR_REPORTING: u64 = 424;
/// All levels; higher bits of the argument are flags.
const LEVELS: u32 = 0x7fff;
/// The engine goes on after the error: so it is with uncaught exceptions, which are seen elsewhere.
const DONT_BAIL: u32 = 0x8000;
const UNCAUGHT: [u8; 8] = *b"Uncaught";

/// `zend_execute_data.opline` and `.func`, `zend_op.lineno`, `ZEND_USER_FUNCTION`.
const FRAME_OPLINE: u64 = 0;
const FRAME_FUNCTION: u64 = 24;
const OPLINE_LINE: u64 = 24;
const USER_FUNCTION: u8 = 2;
/// Frames that are looked at for the innermost PHP code: built-in functions that call each other.
const FRAMES: usize = 8;

/// Longest text in front of which a string's head is believed where only its text is known.
const TEXT_LIMIT: u64 = 4096;

/// What a failure is, before it is known whether it was seen before: addresses of strings, 0 where there is none.
#[derive(Clone, Copy)]
struct Found {
    kind: u32,
    level: u32,
    line: u32,
    image: u32,
    class: u64,
    message: u64,
    file: u64,
    /// Text without a head, where there is no string.
    plain_message: u64,
    plain_file: u64,
}

impl Found {
    #[inline(always)]
    fn of(kind: u32, image: u32) -> Self {
        Self { kind, level: 0, line: 0, image, class: 0, message: 0, file: 0, plain_message: 0, plain_file: 0 }
    }
}

/// Runs `work` and counts the hit and its time.
#[inline(always)]
pub fn measured(context: &ProbeContext, work: impl FnOnce(&ProbeContext, &Site, &Image, u64) -> Option<()>) {
    // SAFETY: a plain helper call.
    let began = unsafe { bpf_ktime_get_ns() };
    // SAFETY: the context is the one that the kernel gave to this program.
    let cookie = unsafe { bpf_get_attach_cookie(context.as_ptr()) } as u32;
    // SAFETY: entries of both maps are written before the site is attached and not changed afterwards.
    if let Some(site) = unsafe { SITES.get(cookie) }
        // SAFETY: as above.
        && let Some(image) = unsafe { IMAGES.get(site.image) }
        && let Some(config) = config()
    {
        let address = register(context, config.instruction_pointer).unwrap_or(0);
        let _ = work(context, site, image, address.wrapping_sub(site.address));
    }
    add(stat::PROBE_HITS, 1);
    // SAFETY: a plain helper call.
    add(stat::PROBE_NS, unsafe { bpf_ktime_get_ns() } - began);
}

/// An exception is thrown, or nobody caught it, by the kind of the site.
#[uprobe]
pub fn exception(context: ProbeContext) -> u32 {
    measured(&context, try_exception);
    0
}

#[inline(always)]
fn try_exception(context: &ProbeContext, site: &Site, image: &Image, bias: u64) -> Option<()> {
    let mut object = argument(context, &site.arguments[0]);
    // The engine goes on to throw what it holds already.
    if object == 0 {
        return None;
    }
    let mut found = Found::of(FAILURE_THROWN, site.image);
    if site.kind == SITE_THROWN_CLASS {
        found.class = object.wrapping_sub(STRING_TEXT);
        running(image, bias, &mut found.file, &mut found.line);
        let key = count(&found, 0);
        remember(key);
        return Some(());
    }
    if site.kind == SITE_THROWN_VALUE {
        object = pointer(object);
    }
    let mut words = [0_u64; OBJECT_WORDS];
    let mut class = [0_u64; 2];
    if !fetch(object.wrapping_add(OBJECT_CLASS), &mut words) || !fetch(words[CLASS], &mut class) {
        // The marks for `exit` have no properties, so that less can be read of them at the end of a mapping.
        add(stat::NAMES_UNREAD, 1);
        return None;
    }
    if class[0] as u8 != INTERNAL_CLASS && class[0] as u8 != USER_CLASS {
        return None;
    }
    found.class = class[1];
    if words[MESSAGE + 1] as u8 == IS_STRING {
        found.message = words[MESSAGE];
    }
    if words[FILE + 1] as u8 == IS_STRING {
        found.file = words[FILE];
    }
    if words[LINE + 1] as u8 == IS_LONG {
        found.line = words[LINE] as u32;
    }
    if site.kind == SITE_UNCAUGHT {
        found.kind = FAILURE_UNCAUGHT;
        found.level = argument(context, &site.arguments[1]) as u32 & LEVELS;
        count(&found, 0);
        return Some(());
    }
    let key = count(&found, 0);
    remember(key);
    Some(())
}

/// Keeps which exception this thread threw last, for the `catch` that looks at it.
#[inline(always)]
fn remember(key: u64) {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: an integer is compared. To look is much cheaper than to write.
    if key != 0 && unsafe { THROWN.get(thread) }.is_none_or(|known| *known != key) {
        let _ = THROWN.insert(thread, key, 0);
    }
}

/// A `catch` looks whether it is for the exception that was thrown last: the last one that looked is the one that took it.
#[uprobe]
pub fn caught(context: ProbeContext) -> u32 {
    measured(&context, try_caught);
    0
}

#[inline(always)]
fn try_caught(_context: &ProbeContext, site: &Site, image: &Image, bias: u64) -> Option<()> {
    if site.kind != SITE_CATCH {
        return None;
    }
    // SAFETY: an integer is copied.
    let key = *unsafe { THROWN.get(bpf_get_current_pid_tgid()) }?;
    if image.executor_globals == 0 {
        return None;
    }
    // It is PHP code that catches, so the innermost frame is the one.
    let globals = image.executor_globals.wrapping_add(bias);
    let frame = pointer(globals.wrapping_add(u64::from(image.current_execute_data)));
    let instruction = pointer(frame.wrapping_add(FRAME_OPLINE));
    let mut line = 0;
    if !fetch(instruction.wrapping_add(OPLINE_LINE), &mut line) || line == 0 {
        return None;
    }
    // SAFETY: the entry may be written by another thread at the same time; it is plain bytes.
    let caught = unsafe { &mut (*FAILURE_TEXTS.get_ptr_mut(key)?).caught };
    // The same place again is the rule.
    if caught.line == line && caught.instruction == instruction {
        return None;
    }
    let function = pointer(frame.wrapping_add(FRAME_FUNCTION));
    let file = pointer(function.wrapping_add(u64::from(image.filename)));
    let len = copy_tail(file, &mut caught.file);
    if len != NOT_COPIED {
        caught.file_len = len;
        caught.line = line;
        caught.instruction = instruction;
    }
    Some(())
}

/// An error is raised.
#[uprobe]
pub fn error(context: ProbeContext) -> u32 {
    measured(&context, try_error);
    0
}

#[inline(always)]
fn try_error(context: &ProbeContext, site: &Site, image: &Image, bias: u64) -> Option<()> {
    let mut found = Found::of(FAILURE_ERROR, site.image);
    let message = argument(context, &site.arguments[0]);
    let file = argument(context, &site.arguments[1]);
    found.line = argument(context, &site.arguments[2]) as u32;
    let mut silenced = 0;
    if site.kind == SITE_ERROR {
        let level = argument(context, &site.arguments[3]) as u32;
        if level & DONT_BAIL != 0 {
            let mut head = [0_u8; 8];
            if fetch(message.wrapping_add(STRING_TEXT), &mut head) && head == UNCAUGHT {
                return None;
            }
        }
        found.level = level & LEVELS;
        found.message = message;
        found.file = file;
        let mut reported = LEVELS;
        if image.executor_globals != 0 {
            let globals = image.executor_globals.wrapping_add(bias);
            fetch(globals.wrapping_add(ERROR_REPORTING), &mut reported);
        }
        silenced = u64::from(reported & found.level == 0);
    } else {
        found.plain_message = message;
        found.file = string_of(file);
        found.plain_file = file;
    }
    count(&found, silenced);
    Some(())
}

/// The string that a text is part of; 0 when it is none, as texts that are built into PHP are.
#[inline(always)]
pub fn string_of(text: u64) -> u64 {
    let string = text.wrapping_sub(STRING_TEXT);
    let mut head = StringHead { hash: 0, len: 0 };
    let mut end = 1_u8;
    let plausible = text >= TEXT_LIMIT
        && fetch_string_head(string, &mut head)
        && head.len < TEXT_LIMIT
        && fetch(text.wrapping_add(head.len), &mut end)
        && end == 0;
    if plausible { string } else { 0 }
}

/// File (a string) and line of the innermost PHP code that runs; both are left as they are when there is none.
#[inline(always)]
fn running(image: &Image, bias: u64, file: &mut u64, line: &mut u32) {
    if image.executor_globals == 0 {
        return;
    }
    let globals = image.executor_globals.wrapping_add(bias);
    let mut frame = pointer(globals.wrapping_add(u64::from(image.current_execute_data)));
    let mut i = 0;
    while i < FRAMES {
        let function = pointer(frame.wrapping_add(FRAME_FUNCTION));
        let mut kind = 0_u8;
        fetch(function, &mut kind);
        if kind >= USER_FUNCTION {
            *file = pointer(function.wrapping_add(u64::from(image.filename)));
            fetch(pointer(frame.wrapping_add(FRAME_OPLINE)).wrapping_add(OPLINE_LINE), line);
            return;
        }
        frame = pointer(frame.wrapping_add(u64::from(image.previous_execute_data)));
        i += 1;
    }
}

/// Counts a failure and returns its key; 0 when there was no room or its texts could not be read.
#[inline(always)]
fn count(found: &Found, silenced: u64) -> u64 {
    let mut room: Text = [0; 16];
    // Keyed by user too, so that one user's process cannot name the failures of another's.
    let mut key = mix(bpf_get_current_uid_gid() as u32 as u64, u64::from(found.kind));
    key = mix(key, u64::from(found.image) << 32 | u64::from(found.level));
    key = mix(key, u64::from(found.line));
    key = mix(key, text_key(found.file, found.plain_file, &mut room));
    if found.class != 0 {
        key = mix(key, string_key(found.class, &mut room));
    }
    key |= 1;
    if tally(&FAILURES, key, silenced) {
        return key;
    }
    if !keep(found, key) {
        return 0;
    }
    if begin(&FAILURES, key, silenced) {
        return key;
    }
    // User space finds texts by their tallies: one without would stay for ever.
    let _ = FAILURE_TEXTS.remove(key);
    0
}

/// Key of a string, or of a plain text where there is no string.
#[inline(always)]
pub fn text_key(string: u64, plain: u64, room: &mut Text) -> u64 {
    if string != 0 || plain < TEXT_LIMIT {
        return string_key(string, room);
    }
    let mut i = 0;
    while i < room.len() {
        // SAFETY: a reference to one word of the room. Volatile, or it becomes a call that clears byte by byte.
        unsafe { (&raw mut room[i & 15]).write_volatile(0) };
        i += 1;
    }
    // SAFETY: a checked read into an array of the length that is given.
    unsafe { bpf_probe_read_user_str(room.as_mut_ptr().cast(), size_of::<Text>() as u32, plain as *const _) };
    let mut hash = 0;
    let mut i = 0;
    while i < room.len() {
        hash = mix(hash, room[i & 15]);
        i += 1;
    }
    hash | 1
}

/// Adds one to an entry; `false` when there is none.
#[inline(always)]
pub fn tally(tallies: &HashMap<u64, Tally>, key: u64, silenced: u64) -> bool {
    let Some(entry) = tallies.get_ptr_mut(key) else { return false };
    // SAFETY: both fields are aligned integers of a live entry.
    unsafe {
        increment(&raw mut (*entry).count);
        if silenced != 0 {
            increment(&raw mut (*entry).silenced);
        }
    }
    true
}

/// Adds one in a single instruction: programs of probes interrupt each other, on one CPU too. (`AtomicU64` has no
/// `fetch_add` for this target.)
#[inline(always)]
unsafe fn increment(value: *mut u64) {
    // SAFETY: the caller hands over an aligned integer that is alive.
    unsafe { asm!("lock *(u64 *)({value} + 0) += {one}", value = in(reg) value, one = in(reg) 1_u64) };
}

/// Makes an entry and adds one to it, or to the one that another CPU has just made; `false` when there is no room.
#[inline(always)]
pub fn begin(tallies: &HashMap<u64, Tally>, key: u64, silenced: u64) -> bool {
    let _ = tallies.insert(key, Tally { count: 0, silenced: 0 }, u64::from(BPF_NOEXIST));
    let counted = tally(tallies, key, silenced);
    if !counted {
        add(stat::FAILURES_FULL, 1);
    }
    counted
}

/// What the kernel answers for a key that is in a map already.
const EXISTS: i32 = -17;

/// Copies the texts of a new key; `false` when they could not be read or do not fit.
#[inline(always)]
fn keep(found: &Found, key: u64) -> bool {
    let Some(empty) = EMPTY_FAILURE.get(0) else { return false };
    match FAILURE_TEXTS.insert(key, empty, u64::from(BPF_NOEXIST)) {
        Ok(()) => {}
        // Another CPU writes it at this moment.
        Err(EXISTS) => return true,
        Err(_) => {
            add(stat::FAILURES_FULL, 1);
            return false;
        }
    }
    let Some(entry) = FAILURE_TEXTS.get_ptr_mut(key) else { return false };
    // SAFETY: the entry was made by this program, and nobody else writes it before it is complete.
    let entry = unsafe { &mut *entry };
    entry.kind = found.kind;
    entry.level = found.level;
    entry.line = found.line;
    entry.image = found.image;
    let mut read = true;
    if found.class != 0 {
        entry.class_len = copy_head(found.class, &mut entry.class);
        read &= entry.class_len != NOT_COPIED;
    }
    if found.message != 0 {
        entry.message_len = copy_head(found.message, &mut entry.message);
        read &= entry.message_len != NOT_COPIED;
    } else {
        entry.message_len = plain(&mut entry.message, found.plain_message);
    }
    if found.file != 0 {
        entry.file_len = copy_tail(found.file, &mut entry.file);
        read &= entry.file_len != NOT_COPIED;
    } else {
        entry.file_len = plain(&mut entry.file, found.plain_file);
    }
    if !read {
        add(stat::NAMES_UNREAD, 1);
        let _ = FAILURE_TEXTS.remove(key);
        return false;
    }
    script(entry);
    // SAFETY: a reference to an integer. Volatile, so that it is written last.
    unsafe { (&raw mut entry.complete).write_volatile(1) };
    true
}

/// Copies a plain text; returns its length without the NUL, 0 when there is none.
#[inline(always)]
pub fn plain<const N: usize>(destination: &mut [u8; N], text: u64) -> u32 {
    if text < TEXT_LIMIT {
        return 0;
    }
    // SAFETY: a checked read into an array of the length that is given.
    let len = unsafe { bpf_probe_read_user_str(destination.as_mut_ptr().cast(), N as u32, text as *const _) };
    if len > 0 { len as u32 - 1 } else { 0 }
}

/// Notes the script of the request that runs.
#[inline(always)]
fn script(entry: &mut Failure) {
    // SAFETY: the entry belongs to this thread alone: its key is the thread's own id.
    let Some(request) = (unsafe { REQUESTS.get(bpf_get_current_pid_tgid()) }) else { return };
    let from = &raw const request.script;
    // SAFETY: a checked copy between two arrays of the same size. The helper, or it becomes a loop of bytes.
    unsafe { bpf_probe_read_kernel(entry.script.as_mut_ptr().cast(), SCRIPT_BYTES as u32, from.cast()) };
}
