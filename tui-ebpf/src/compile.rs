//! Compiled files, which are those that opcache did not have: counted by path in a map.

use aya_ebpf::{helpers::bpf_get_current_uid_gid, macros::uprobe, programs::ProbeContext};
use tusktop_shared::{ContentKey, Image, SITE_COMPILE, SITE_COMPILE_PATH, SITE_COMPILE_TEXT, Site, mix, share, stat};

use crate::{
    maps::{COMPILE_TEXTS, COMPILED, COMPILES, EMPTY_COMPILED, add},
    php::{STRING_TEXT, Text, fetch},
    process::config,
    stack::{NOT_COPIED, copy_tail},
    tally::{Room, atomic_add, begin, measured, plain, quick_argument, room, string_of, tally, text_key},
};

/// `zend_file_handle.filename` and, behind it, `.opened_path` (Zend/zend_stream.h, PHP 7.4 to 8.5).
const HANDLE_NAME: u64 = 40;

/// A file is compiled.
#[uprobe]
pub fn compile(context: ProbeContext) -> u32 {
    measured(&context, try_compile);
    0
}

#[inline(always)]
fn try_compile(context: &ProbeContext, site: &Site, _image: &Image, _bias: u64) -> Option<()> {
    if let Some(compiled) = COMPILED.get_ptr_mut(site.image) {
        // SAFETY: an aligned integer of a live entry.
        unsafe { atomic_add(compiled, 1) };
    }
    let handle = quick_argument(context, &site.arguments[0]);
    let mut name = 0;
    let mut path;
    if site.kind == SITE_COMPILE_PATH {
        // Without a path, the argument is the place where its text would be.
        path = if handle < 4096 { 0 } else { handle.wrapping_sub(STRING_TEXT) };
        name = quick_argument(context, &site.arguments[1]);
    } else {
        let mut names = [0_u64; 2];
        if !fetch(handle.wrapping_add(HANDLE_NAME), &mut names) {
            add(stat::NAMES_UNREAD, 1);
            return None;
        }
        path = names[1];
        if site.kind == SITE_COMPILE && path == 0 {
            path = names[0];
        }
        if site.kind == SITE_COMPILE_TEXT {
            name = names[0];
        }
    }
    if path == 0 {
        path = string_of(name);
    }
    let mut room: Text = [0; 16];
    let hash = mix(config()?.seed, u64::from(site.image));
    let hash = mix(hash, text_key(path, name, &mut room)) | 1;
    let key = ContentKey::new(hash, bpf_get_current_uid_gid() as u32);
    if tally(&COMPILES, &key, 0) {
        return Some(());
    }
    if keep(site.image, &key, path, name) && !begin(&COMPILES, &key, 0) {
        // User space finds texts by their tallies: one without would stay forever.
        let _ = COMPILE_TEXTS.remove(key);
    }
    Some(())
}

/// Copies the path of a new key; `false` when it could not be read or does not fit.
#[inline(always)]
fn keep(image: u32, key: &ContentKey, path: u64, name: u64) -> bool {
    match room(&COMPILE_TEXTS, &EMPTY_COMPILED, key, share::COMPILES) {
        Room::Made => {}
        Room::Taken => return true,
        Room::Full => return false,
    }
    let Some(entry) = COMPILE_TEXTS.get_ptr_mut(key) else { return false };
    // SAFETY: the entry was made by this program, and nothing else writes it before it is complete.
    let entry = unsafe { &mut *entry };
    entry.image = image;
    entry.file_len = if path != 0 { copy_tail(path, &mut entry.file) } else { plain(&mut entry.file, name) };
    if entry.file_len == NOT_COPIED {
        add(stat::NAMES_UNREAD, 1);
        let _ = COMPILE_TEXTS.remove(key);
        return false;
    }
    // SAFETY: a reference to an integer. Volatile, so that it is written last.
    unsafe { (&raw mut entry.complete).write_volatile(1) };
    true
}
