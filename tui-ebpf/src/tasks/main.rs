//! The BPF programs that see all processes: the iterator that writes one record a process, what is noted of a
//! process until it ends, and who is killed because memory is gone. They are an object of their own, because they are small and needed without PHP, too.
#![no_std]
#![no_main]

mod ended;
mod iterator;
mod kernel;
mod oom;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
