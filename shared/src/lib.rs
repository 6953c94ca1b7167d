//! Wire types that the BPF programs and user space share: plain `#[repr(C)]` integers and byte arrays.
//! It owns layouts and the pure functions that both sides must agree on; it knows neither aya nor std.
#![no_std]
