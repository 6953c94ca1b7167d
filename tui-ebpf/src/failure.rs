//! Exceptions and errors are counted by content in a map, their texts copied when a key is new. A place that fails
//! thousands of times a second costs the probe and a look into the map; nothing travels to user space for it.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid, generated::bpf_probe_read_kernel},
    macros::uprobe,
    maps::HashMap,
    programs::ProbeContext,
};
use tusktop_shared::{
    ContentKey, Count, CountKey, FAILURE_ERROR, FAILURE_KEY, Failure, Image, MESSAGE_SLOTS, SCRIPT_BYTES, SITE_ERROR,
    Site, counted_as, mix, share, sizes, stat,
};

use crate::{
    globals::{globals_in, storage},
    heap::look,
    maps::{
        ACTIVE, COUNTS_0, COUNTS_1, EMPTY_FAILURE, EMPTY_MESSAGE, FAILURE_TEXTS, FAILURES, MESSAGES, REQUESTS, add,
    },
    php::{STRING_TEXT, Text, fetch, string_key},
    process::config,
    share::{take_of, take_share},
    stack::{NOT_COPIED, copy_head, copy_tail},
    tally::{Room, atomic_add, begin, measured, plain, quick_argument, room, string_of, tally, text_key},
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
    let key = ContentKey::new(key | FAILURE_KEY, user);
    if !tally(&FAILURES, &key, silenced) {
        if !keep(found, &key) {
            return 0;
        }
        if !begin(&FAILURES, &key, silenced) {
            // User space finds texts by their tallies: one without would stay forever.
            let _ = FAILURE_TEXTS.remove(key);
            return 0;
        }
    }
    count_in_request(&key, silenced);
    count_message(found, &key, &mut room);
    key.hash
}

/// Counts a failure for the request that runs, or for the process where none is known. What finds no room is in the tally alone.
#[inline(always)]
fn count_in_request(failure: &ContentKey, silenced: u64) {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: the entry belongs to this thread alone: its key is the thread's own id.
    let request = unsafe { REQUESTS.get(thread) }.map_or(0, |request| request.started_ns);
    let key = CountKey { request, stack: counted_as(failure.hash), pid: (thread >> 32) as u32, user: failure.user };
    let active = ACTIVE.get(0).copied().unwrap_or(0);
    let counts = if active == 0 { &COUNTS_0 } else { &COUNTS_1 };
    if add_failure(counts, &key, silenced) || !take_of(share::FAILED + (active & 1), key.user, sizes::FAILED) {
        return;
    }
    let first = Count { samples: 1, waits: silenced, wait_ns: 0, pages: 0 };
    // Another thread of the process may have just made it.
    if counts.insert(key, first, u64::from(BPF_NOEXIST)).is_err() {
        add_failure(counts, &key, silenced);
    }
}

/// Adds to an entry; `false` when there is none.
#[inline(always)]
fn add_failure(counts: &HashMap<CountKey, Count>, key: &CountKey, silenced: u64) -> bool {
    let Some(count) = counts.get_ptr_mut(key) else { return false };
    // SAFETY: both fields are aligned integers of a live entry.
    unsafe {
        atomic_add(&raw mut (*count).samples, 1);
        if silenced != 0 {
            atomic_add(&raw mut (*count).waits, 1);
        }
    }
    true
}

/// Counts a message of a place. One that finds its slot taken, or no room, is in the tally of the place alone.
#[inline(always)]
fn count_message(found: &Found, place: &ContentKey, room: &mut Text) {
    let text_key = text_key(found.message, found.plain_message, room);
    if text_key == 0 {
        return;
    }
    let slot = ContentKey::new(mix(place.hash, text_key & (MESSAGE_SLOTS - 1)), place.user);
    if MESSAGES.get_ptr_mut(slot).is_none() && !keep_message(found, place, text_key, &slot) {
        return;
    }
    let Some(entry) = MESSAGES.get_ptr_mut(slot) else { return };
    // SAFETY: aligned integers of a live entry.
    unsafe {
        let own = (&raw const (*entry).text_key).read_volatile() == text_key;
        let count = if own { &raw mut (*entry).count } else { &raw mut (*entry).others };
        atomic_add(count, 1);
    }
}

/// Makes the entry of a message; `false` when there is no room, or when it could not be read.
#[inline(always)]
fn keep_message(found: &Found, place: &ContentKey, text_key: u64, slot: &ContentKey) -> bool {
    let Some(empty) = EMPTY_MESSAGE.get(0) else { return false };
    if !take_share(share::MESSAGES, slot.user) {
        return false;
    }
    if MESSAGES.insert(slot, empty, u64::from(BPF_NOEXIST)).is_err() {
        // Another CPU has just made it, or the map is full.
        return true;
    }
    let Some(entry) = MESSAGES.get_ptr_mut(slot) else { return false };
    // SAFETY: the entry was made by this program, and nothing else writes its text.
    let entry = unsafe { &mut *entry };
    entry.place = place.hash;
    entry.len = if found.message != 0 {
        copy_head(found.message, &mut entry.text)
    } else {
        plain(&mut entry.text, found.plain_message)
    };
    if entry.len == NOT_COPIED {
        let _ = MESSAGES.remove(slot);
        return false;
    }
    // SAFETY: references to integers. Volatile, so that they are written last.
    unsafe {
        (&raw mut entry.text_key).write_volatile(text_key);
        (&raw mut entry.complete).write_volatile(1);
    }
    true
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
