//! Gives memory back that was only needed while the kernel's types were read.
#![expect(unsafe_code, reason = "malloc_trim(3) has no safe wrapper")]

/// Hands free memory of all threads back to the kernel: reading its types takes some 20 MB for a moment, which the
/// allocator would keep.
pub(super) fn trim() {
    // SAFETY: it touches nothing but memory that is free, under the allocator's own locks.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
