//! What counting by content needs: the start of such a program, keys and copies of texts, and tallies that programs on
//! all CPUs add to at once.

use core::arch::asm;

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_NOEXIST,
    helpers::{
        bpf_ktime_get_ns,
        generated::{bpf_get_attach_cookie, bpf_probe_read_user_str},
    },
    maps::{Array, HashMap},
    programs::ProbeContext,
};
use tusktop_shared::{ContentKey, Image, OPERAND_REGISTER, Operand, Site, Tally, governor, mix, stat};

use crate::{
    arguments::{argument, register},
    maps::{IMAGES, SITES, STATS, add, hit, spend},
    php::{STRING_TEXT, StringHead, Text, fetch, fetch_string_head, string_key},
    process::{config, report_storm},
    share::take_share,
};

/// Longest text in front of which a string's head is believed where only its text is known.
const TEXT_LIMIT: u64 = 4096;

/// What the kernel answers for a key that is in a map already.
const EXISTS: i32 = -17;

/// Room for the texts of a new key.
pub enum Room {
    /// An empty entry was made: the caller fills it.
    Made,
    /// Another CPU fills it at this moment.
    Taken,
    /// There is none.
    Full,
}

/// Reads a register at a constant offset, which the verifier allows without a helper. Written out, so that the compiler
/// cannot make one read at a variable offset of several.
macro_rules! direct {
    ($context:expr, $offset:literal) => {{
        let value: u64;
        // SAFETY: the offset is inside the saved registers of every architecture.
        unsafe { asm!(concat!("{value} = *(u64 *)({context} + ", $offset, ")"), value = out(reg) value, context = in(reg) $context.as_ptr()) };
        Some(value)
    }};
}

/// A saved register, by its byte offset. Those that hold the first arguments of a function, and the instruction pointer of
/// x86-64, are read without a helper, which takes longer than all the rest.
#[inline(always)]
fn quick_register(context: &ProbeContext, offset: u32) -> u64 {
    let value = match offset {
        0 => direct!(context, 0),
        8 => direct!(context, 8),
        16 => direct!(context, 16),
        24 => direct!(context, 24),
        88 => direct!(context, 88),
        96 => direct!(context, 96),
        104 => direct!(context, 104),
        112 => direct!(context, 112),
        128 => direct!(context, 128),
        _ => register(context, offset),
    };
    value.unwrap_or(0)
}

/// An argument of a site.
#[inline(always)]
pub fn quick_argument(context: &ProbeContext, operand: &Operand) -> u64 {
    if operand.kind == OPERAND_REGISTER && operand.size == 8 {
        quick_register(context, operand.register)
    } else {
        argument(context, operand)
    }
}

/// One hit in so many is timed, for all of them: reading the clock costs as much as counting.
const TIMED: u64 = 16;

/// Runs `work` and counts the hit and its time.
#[inline(always)]
pub fn measured(context: &ProbeContext, work: impl FnOnce(&ProbeContext, &Site, &Image, u64) -> Option<()>) {
    let hits = STATS.get_ptr_mut(stat::PROBE_HITS);
    // SAFETY: the pointer is this CPU's slot of the map; a program that interrupts this one may lose one addition.
    let number = hits.map_or(0, |hits| unsafe {
        *hits += 1;
        *hits
    });
    let timed = number.is_multiple_of(TIMED);
    // SAFETY: a plain helper call.
    let began = if timed { unsafe { bpf_ktime_get_ns() } } else { 0 };
    if timed && spend(governor::OF_PROBLEMS, TIMED * governor::HIT_NS, began) {
        report_storm();
    }
    // SAFETY: the context is the one that the kernel gave to this program.
    let cookie = unsafe { bpf_get_attach_cookie(context.as_ptr()) } as u32;
    hit(cookie);
    // SAFETY: entries of both maps are written before the site is attached and not changed afterwards.
    if let Some(site) = unsafe { SITES.get(cookie) }
        && let Some(image) = IMAGES.get(site.image)
        && let Some(config) = config()
    {
        let address = quick_register(context, config.instruction_pointer);
        let _ = work(context, site, image, address.wrapping_sub(site.address));
    }
    if timed {
        // SAFETY: a plain helper call.
        add(stat::PROBE_NS, (unsafe { bpf_ktime_get_ns() } - began) * TIMED);
    }
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
pub fn tally(tallies: &HashMap<ContentKey, Tally>, key: &ContentKey, silenced: u64) -> bool {
    let Some(entry) = tallies.get_ptr_mut(key) else { return false };
    // SAFETY: both fields are aligned integers of a live entry.
    unsafe {
        atomic_add(&raw mut (*entry).count, 1);
        if silenced != 0 {
            atomic_add(&raw mut (*entry).silenced, 1);
        }
    }
    true
}

/// Adds in a single instruction: programs of probes interrupt each other, on one CPU too. (`AtomicU64` has no `fetch_add` for this
/// target.)
///
/// # Safety
/// The value is an aligned integer that is alive.
#[inline(always)]
pub unsafe fn atomic_add(value: *mut u64, amount: u64) {
    // SAFETY: the caller hands over an aligned integer that is alive.
    unsafe { asm!("lock *(u64 *)({value} + 0) += {amount}", value = in(reg) value, amount = in(reg) amount) };
}

/// Makes an entry and adds one to it, or to the one that another CPU has just made; `false` when there is no room.
#[inline(always)]
pub fn begin(tallies: &HashMap<ContentKey, Tally>, key: &ContentKey, silenced: u64) -> bool {
    let _ = tallies.insert(key, Tally { count: 0, silenced: 0 }, u64::from(BPF_NOEXIST));
    let counted = tally(tallies, key, silenced);
    if !counted {
        add(stat::FAILURES_FULL, 1);
    }
    counted
}

/// Makes an empty entry for the texts of a key.
#[inline(always)]
pub fn room<T>(texts: &HashMap<ContentKey, T>, empty: &Array<T>, key: &ContentKey, map: u32) -> Room {
    let Some(empty) = empty.get(0) else { return Room::Full };
    if !take_share(map, key.user) {
        add(stat::FAILURES_FULL, 1);
        return Room::Full;
    }
    match texts.insert(key, empty, u64::from(BPF_NOEXIST)) {
        Ok(()) => Room::Made,
        Err(EXISTS) => Room::Taken,
        Err(_) => {
            add(stat::FAILURES_FULL, 1);
            Room::Full
        }
    }
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
