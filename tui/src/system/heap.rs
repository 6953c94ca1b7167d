//! Allocator tuning: returns freed memory to the kernel. To load BPF programs, each collector's thread reads the kernel's types,
//! some 20 MB for a moment; afterwards a few are enough.
#![expect(unsafe_code, reason = "mallopt(3) and malloc_trim(3) have no safe wrapper")]

/// Blocks of this size and more are mapped, and unmapped when they are freed. The allocator would raise the limit by itself to
/// the biggest block that was ever freed.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 4 << 20;

/// Has all threads share one heap, whose free end goes back to the kernel; those of glibc's further ones stay as big as they
/// ever were. Threads hardly meet there: none allocates for each process or event. To be called before other threads start.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets two numbers of the allocator, while there is no other thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
    }
}

/// Hands free memory back to the kernel.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches nothing but memory that is free, under the allocator's own lock.
    unsafe {
        libc::malloc_trim(0);
    }
}
