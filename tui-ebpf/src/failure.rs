//! Exceptions and errors are counted by content in a map, their texts copied when a key is new. A place that fails
//! thousands of times a second costs the probe and a look into the map; nothing travels to user space for it.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid, generated::bpf_probe_read_kernel},
    macros::uprobe,
    programs::ProbeContext,
};
use tusktop_shared::{ContentKey, FAILURE_ERROR, Failure, Image, SCRIPT_BYTES, SITE_ERROR, Site, mix, share, stat};

use crate::{
    globals::{globals_in, storage},
    heap::look,
    maps::{EMPTY_FAILURE, FAILURE_TEXTS, FAILURES, REQUESTS, add},
    php::{STRING_TEXT, Text, fetch, string_key},
    process::config,
    stack::{NOT_COPIED, copy_head, copy_tail},
    tally::{Room, begin, measured, plain, quick_argument, room, string_of, tally, text_key},
};

/// `executor_globals.error_reporting`, in PHP 7.0 to 8.5.
const ERROR_REPORTING: u64 = 424;
/// All levels; higher bits of the argument are flags.
pub const LEVELS: u32 = 0x7fff;
/// `E_ERROR`; a level of 0 is not known.
const FATAL: u32 = 1;
/// The engine goes on after the error: so it is with uncaught exceptions, which are seen elsewhere.
const DONT_BAIL: u32 = 0x8000;
const UNCAUGHT: [u8; 8] = *b"Uncaught";
/// How the error begins by which `memory_limit` is exceeded (Zend/zend_alloc.c), in all versions.
const EXHAUSTED: [u8; 16] = *b"Allowed memory s";

/// What a failure is, before it is known whether it was seen before: addresses of strings, 0 where there is none.
#[derive(Clone, Copy)]
pub struct Found {
    pub kind: u32,
    pub level: u32,
    pub line: u32,
    pub image: u32,
    pub class: u64,
    pub message: u64,
    pub file: u64,
    /// Text without a head, where there is no string.
    plain_message: u64,
    plain_file: u64,
}

impl Found {
    #[inline(always)]
    pub fn of(kind: u32, image: u32) -> Self {
        Self { kind, level: 0, line: 0, image, class: 0, message: 0, file: 0, plain_message: 0, plain_file: 0 }
    }
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
    let message = quick_argument(context, &site.arguments[0]);
    let file = quick_argument(context, &site.arguments[1]);
    found.line = quick_argument(context, &site.arguments[2]) as u32;
    let mut silenced = 0;
    if site.kind == SITE_ERROR {
        let level = quick_argument(context, &site.arguments[3]) as u32;
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
        if let Some(globals) = globals_in(image, bias, storage(image, bias)) {
            fetch(globals.wrapping_add(ERROR_REPORTING), &mut reported);
        }
        silenced = u64::from(reported & found.level == 0);
    } else {
        found.plain_message = message;
        found.file = string_of(file);
        found.plain_file = file;
    }
    let counted = count(&found, silenced);
    let mut head = [0_u8; EXHAUSTED.len()];
    let text = if site.kind == SITE_ERROR { message.wrapping_add(STRING_TEXT) } else { message };
    if found.level & !FATAL == 0
        && fetch(text, &mut head)
        && head == EXHAUSTED
        && let Some(request) = REQUESTS.get_ptr_mut(bpf_get_current_pid_tgid())
    {
        // SAFETY: the entry belongs to this thread alone: its key is the thread's own id.
        let request = unsafe { &mut *request };
        request.exhausted = counted;
        look(request, image, bias, storage(image, bias));
    }
    Some(())
}

/// Counts a failure and returns the hash of its key; 0 when there was no room or its texts could not be read.
#[inline(always)]
pub fn count(found: &Found, silenced: u64) -> u64 {
    let mut room: Text = [0; 16];
    let user = bpf_get_current_uid_gid() as u32;
    let mut key = mix(config().map_or(0, |config| config.seed), u64::from(found.kind));
    key = mix(key, u64::from(found.image) << 32 | u64::from(found.level));
    key = mix(key, u64::from(found.line));
    key = mix(key, text_key(found.file, found.plain_file, &mut room));
    if found.class != 0 {
        key = mix(key, string_key(found.class, &mut room));
    }
    let key = ContentKey::new(key | 1, user);
    if tally(&FAILURES, &key, silenced) {
        return key.hash;
    }
    if !keep(found, &key) {
        return 0;
    }
    if begin(&FAILURES, &key, silenced) {
        return key.hash;
    }
    // User space finds texts by their tallies: one without would stay forever.
    let _ = FAILURE_TEXTS.remove(key);
    0
}

/// Copies the texts of a new key; `false` when they could not be read or do not fit.
#[inline(always)]
fn keep(found: &Found, key: &ContentKey) -> bool {
    match room(&FAILURE_TEXTS, &EMPTY_FAILURE, key, share::FAILURES) {
        Room::Made => {}
        Room::Taken => return true,
        Room::Full => return false,
    }
    let Some(entry) = FAILURE_TEXTS.get_ptr_mut(key) else { return false };
    // SAFETY: the entry was made by this program, and nothing else writes it before it is complete.
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

/// Notes the script of the request that runs.
#[inline(always)]
fn script(entry: &mut Failure) {
    // SAFETY: the entry belongs to this thread alone: its key is the thread's own id.
    let Some(request) = (unsafe { REQUESTS.get(bpf_get_current_pid_tgid()) }) else { return };
    let from = &raw const request.script;
    // SAFETY: a checked copy between two arrays of the same size. The helper, or it becomes a loop of bytes.
    unsafe { bpf_probe_read_kernel(entry.script.as_mut_ptr().cast(), SCRIPT_BYTES as u32, from.cast()) };
}
