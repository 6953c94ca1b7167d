//! Exceptions: thrown, looked at by a `catch`, or not caught.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid},
    macros::uprobe,
    programs::ProbeContext,
};
use tusktop_shared::{
    ContentKey, FAILURE_THROWN, FAILURE_UNCAUGHT, Image, SITE_CATCH, SITE_THROWN_CLASS, SITE_THROWN_VALUE,
    SITE_UNCAUGHT, Site, stat,
};

use crate::{
    failure::{Found, LEVELS, count},
    globals::globals,
    maps::{FAILURE_TEXTS, THROWN, add},
    php::{STRING_TEXT, fetch, pointer},
    stack::{NOT_COPIED, copy_tail},
    tally::{measured, quick_argument},
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

/// `zend_execute_data.opline` and `.func`, `zend_op.lineno`, `ZEND_USER_FUNCTION`.
const FRAME_OPLINE: u64 = 0;
const FRAME_FUNCTION: u64 = 24;
const OPLINE_LINE: u64 = 24;
const USER_FUNCTION: u8 = 2;
/// Frames that are looked at for the innermost PHP code: built-in functions that call each other.
const FRAMES: usize = 8;

/// An exception is thrown, or was not caught, by the kind of the site.
#[uprobe]
pub fn exception(context: ProbeContext) -> u32 {
    measured(&context, try_exception);
    0
}

#[inline(always)]
fn try_exception(context: &ProbeContext, site: &Site, image: &Image, bias: u64) -> Option<()> {
    let mut object = quick_argument(context, &site.arguments[0]);
    // The engine goes on to throw what it holds already.
    if object == 0 {
        return None;
    }
    let mut found = Found::of(FAILURE_THROWN, site.image);
    if site.kind == SITE_THROWN_CLASS {
        found.class = object.wrapping_sub(STRING_TEXT);
        running(image, bias, &mut found.file, &mut found.line);
    } else {
        if site.kind == SITE_THROWN_VALUE {
            object = pointer(object);
        }
        if !read(object, &mut found) {
            return None;
        }
        if site.kind == SITE_UNCAUGHT {
            found.kind = FAILURE_UNCAUGHT;
            found.level = quick_argument(context, &site.arguments[1]) as u32 & LEVELS;
        }
    }
    let key = count(&found, 0);
    if key != 0 && found.kind == FAILURE_THROWN {
        remember(key);
    }
    Some(())
}

/// Reads what an exception is; `false` when it is none, or cannot be read.
#[inline(always)]
fn read(object: u64, found: &mut Found) -> bool {
    let mut words = [0_u64; OBJECT_WORDS];
    let mut class = [0_u64; 2];
    if !fetch(object.wrapping_add(OBJECT_CLASS), &mut words) || !fetch(words[CLASS], &mut class) {
        // The marks for `exit` have no properties, so that less can be read of them at the end of a mapping.
        add(stat::NAMES_UNREAD, 1);
        return false;
    }
    if class[0] as u8 != INTERNAL_CLASS && class[0] as u8 != USER_CLASS {
        return false;
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
    true
}

/// Keeps which exception this thread threw last, for the `catch` that looks at it.
#[inline(always)]
fn remember(key: u64) {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: an integer is compared. To look is much cheaper than to write.
    if unsafe { THROWN.get(thread) }.is_none_or(|known| *known != key) {
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
    // It is PHP code that catches, so the innermost frame is the one.
    let globals = globals(image, bias)?;
    let frame = pointer(globals.wrapping_add(u64::from(image.current_execute_data)));
    let instruction = pointer(frame.wrapping_add(FRAME_OPLINE));
    let mut line = 0;
    if !fetch(instruction.wrapping_add(OPLINE_LINE), &mut line) || line == 0 {
        return None;
    }
    let key = ContentKey::new(key, bpf_get_current_uid_gid() as u32);
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

/// File (a string) and line of the innermost PHP code that runs; both are left as they are when there is none.
#[inline(always)]
fn running(image: &Image, bias: u64, file: &mut u64, line: &mut u32) {
    let Some(globals) = globals(image, bias) else { return };
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
