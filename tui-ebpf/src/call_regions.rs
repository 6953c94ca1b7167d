//! The stacks of a traced thread, its own and those of its fibers, told by their addresses: on which one a hit is, and whose time
//! goes on.

use tusktop_shared::{CALL_REGIONS, Traced};

use crate::call_frames::slot_of_frame;

/// Distance that a stack pointer may have from those seen on the same stack. Stacks of fibers are 2 MiB apart.
const NEAR: u64 = 256 << 10;

/// A value of the hit, read again: see [`tusktop_shared::Hit`].
macro_rules! hit {
    ($traced:expr, $field:ident) => {
        // SAFETY: a reference to an integer of the map.
        unsafe { (&raw const $traced.hit.$field).read_volatile() }
    };
}

pub(crate) use hit;

/// The stack that the hit is on; [`CALL_REGIONS`] when there are too many.
#[inline(always)]
pub fn region_of_hit(traced: &Traced) -> usize {
    hit!(traced, found) as usize
}

/// Turns to the stack that the hit is on.
#[inline(always)]
pub fn turn_to_region(traced: &mut Traced) {
    traced.hit.found = u64::from(traced.current);
    let current = &traced.regions[traced.current as usize & (CALL_REGIONS - 1)];
    if hit!(traced, stack_pointer) > current.high || hit!(traced, stack_pointer) < current.low {
        turn_to_other_region(traced);
    }
}

/// Whether the hit is near a stack.
#[inline(always)]
fn is_near(traced: &Traced, number: usize) -> bool {
    let region = &traced.regions[number & (CALL_REGIONS - 1)];
    region.high != 0
        && hit!(traced, stack_pointer).wrapping_add(NEAR) >= region.low
        && hit!(traced, stack_pointer) <= region.high.wrapping_add(NEAR)
}

/// Makes a stack as wide as the hit needs it.
#[inline(always)]
fn widen(traced: &mut Traced, number: usize) {
    let stack_pointer = hit!(traced, stack_pointer);
    let region = &mut traced.regions[number & (CALL_REGIONS - 1)];
    if region.high == 0 || hit!(traced, stack_pointer) < region.low {
        region.low = stack_pointer;
    }
    let region = &mut traced.regions[number & (CALL_REGIONS - 1)];
    if hit!(traced, stack_pointer) > region.high {
        region.high = stack_pointer;
    }
}

/// Widens the current stack, or turns to another or a new one.
///
/// Fibers run inside a call of the thread's own stack, which is the first: for that call their time is a child's. For the open
/// calls of a fiber time only goes on while it runs.
#[inline(never)]
#[unsafe(no_mangle)]
fn turn_to_other_region(traced: &mut Traced) {
    let current = traced.current as usize;
    if traced.regions[current & (CALL_REGIONS - 1)].high == 0 || is_near(traced, current) {
        widen(traced, current);
        return;
    }
    traced.hit.found = CALL_REGIONS as u64;
    traced.hit.empty = CALL_REGIONS as u64;
    let mut i = 0;
    while i < CALL_REGIONS {
        if is_near(traced, i) {
            traced.hit.found = i as u64;
        } else if traced.regions[i].top == 0 && i != 0 {
            traced.hit.empty = i as u64;
        }
        i += 1;
    }
    if hit!(traced, found) >= CALL_REGIONS as u64 {
        traced.hit.found = hit!(traced, empty);
        let region = &mut traced.regions[region_of_hit(traced) & (CALL_REGIONS - 1)];
        if hit!(traced, empty) < CALL_REGIONS as u64 {
            region.high = 0;
            region.away_ns = 0;
            region.left_ns = hit!(traced, now_ns);
        }
    }
    if hit!(traced, found) >= CALL_REGIONS as u64 {
        return;
    }
    let number = region_of_hit(traced);
    widen(traced, number);
    let region = &mut traced.regions[number & (CALL_REGIONS - 1)];
    let away_ns = hit!(traced, now_ns).saturating_sub(region.left_ns);
    if number != 0 {
        region.away_ns += away_ns;
    } else {
        let top = region.top;
        traced.frames[slot_of_frame(top)].child_ns += away_ns;
    }
    traced.regions[traced.current as usize & (CALL_REGIONS - 1)].left_ns = hit!(traced, now_ns);
    traced.current = number as u32;
}
