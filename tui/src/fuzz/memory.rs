//! Counts the heap of the thread that runs a target, as the global allocator of the tests of this crate. Memory that libraries
//! written in C take is not seen.
#![expect(unsafe_code, reason = "counting needs a global allocator")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// Bytes that this thread has taken and not given back, less those that others took and it gave back.
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, with an account of what each thread takes.
struct Counting;

fn count(bytes: isize) {
    // A thread that ends still gives memory back.
    let _ = TAKEN.try_with(|taken| {
        let now = taken.get() + bytes;
        taken.set(now);
        let _ = MOST.try_with(|most| most.set(most.get().max(now)));
    });
}

// SAFETY: all calls go to the system's allocator as they are; beside that only numbers change, which takes no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps to the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps to the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both blocks may be there for a moment.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps to the contract.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps to the contract.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Runs something, and says how many bytes it had taken at its peak.
pub(super) fn most<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = TAKEN.get();
    MOST.set(before);
    let result = run();
    (result, MOST.get().saturating_sub(before).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_counts_and_not_what_is_left() {
        let ((), bytes) = most(|| {
            let mut grown = vec![0_u8; 1000];
            grown.resize(3000, 0);
            drop(grown);
            drop(vec![0_u8; 2000]);
        });
        assert_eq!(bytes, 4000);
        assert_eq!(most(|| std::thread::spawn(|| vec![0_u8; 1 << 20].len()).join().unwrap()).0, 1 << 20);
    }
}
