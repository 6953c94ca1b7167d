//! Which branches an input takes. LLVM counts them in a build with its pass `sancov-module` (see `make fuzz`); in other builds there
//! are no counters, and no input is new.
#![cfg_attr(tusktop_coverage, expect(unsafe_code, reason = "LLVM hands over its counters as two pointers"))]

#[cfg(tusktop_coverage)]
mod counters {
    use std::{
        ptr, slice,
        sync::atomic::{AtomicPtr, Ordering::Relaxed},
    };

    static START: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
    static END: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

    /// What the code of LLVM calls before `main`: the counters of the whole program, once for each part of it.
    ///
    /// Documented in clang's `SanitizerCoverage`.
    // SAFETY: no other part of the program has this name.
    #[unsafe(no_mangle)]
    extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
        START.store(start, Relaxed);
        END.store(end, Relaxed);
    }

    /// All counters; none in a program that has not said where they are.
    pub(super) fn all<'a>() -> &'a mut [u8] {
        let (start, end) = (START.load(Relaxed), END.load(Relaxed));
        if start.is_null() {
            return &mut [];
        }
        // SAFETY: the range is a section of the program that only its counting code writes; one thread runs a target (`make fuzz`
        // has one at a time) and holds this only while it counts nothing. Numbers of one byte have no wrong value.
        unsafe { slice::from_raw_parts_mut(start, end.offset_from_unsigned(start)) }
    }
}

#[cfg(not(tusktop_coverage))]
mod counters {
    pub(super) fn all<'a>() -> &'a mut [u8] {
        &mut []
    }
}

/// Counters that are looked at together: most of them are 0 after any input, and comparing many bytes at once is fast.
const CHUNK: usize = 1024;
const ZEROS: [u8; CHUNK] = [0; CHUNK];

/// Sets all counters to 0.
pub(super) fn clear() {
    for counters in counters::all().chunks_mut(CHUNK) {
        if *counters != ZEROS[..counters.len()] {
            counters.fill(0);
        }
    }
}

/// What all inputs so far have reached: for each branch one bit for each magnitude of its count.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    reached: Vec<u8>,
}

impl Coverage {
    /// Adds what the last input reached, and says whether it was more.
    pub(super) fn grew(&mut self) -> bool {
        let counters = counters::all();
        self.reached.resize(counters.len(), 0);
        let mut grew = false;
        for (counters, reached) in counters.chunks(CHUNK).zip(self.reached.chunks_mut(CHUNK)) {
            if *counters == ZEROS[..counters.len()] {
                continue;
            }
            for (&count, reached) in counters.iter().zip(reached) {
                let bit = magnitude(count);
                grew |= bit & !*reached != 0;
                *reached |= bit;
            }
        }
        grew
    }

    /// Branches that any input has taken.
    pub(super) fn branches(&self) -> usize {
        self.reached.iter().filter(|&&bits| bits != 0).count()
    }

    /// The inputs that are needed to take all branches again, as small as they are.
    pub(super) fn smallest(&self, mut inputs: Vec<Vec<u8>>, run: impl Fn(&[u8])) -> Vec<Vec<u8>> {
        inputs.sort_by_key(Vec::len);
        let mut again = Self::default();
        inputs.retain(|input| {
            clear();
            run(input);
            let counters = counters::all();
            let before = again.branches();
            counters.iter_mut().for_each(|count| *count = (*count).min(1));
            again.grew();
            again.branches() > before
        });
        inputs
    }
}

/// One bit for 1, 2, 3, up to 7, 15, 31, 127 and more.
fn magnitude(count: u8) -> u8 {
    const BITS: [u8; 9] = [0, 1, 2, 8, 16, 32, 64, 64, 128];
    if count == 3 { 4 } else { BITS[(u8::BITS - count.leading_zeros()) as usize] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_magnitude_has_a_bit() {
        let bits = [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 127, 128, 255].map(magnitude);
        assert_eq!(bits, [0, 1, 2, 4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 128]);
    }
}
