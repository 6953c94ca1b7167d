//! The BPF programs of tusktop: they see PHP's requests and stacks and keep sums in maps.
//! They decide nothing about groups or names; user space reads the maps once a tick.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod arguments;
mod call_frames;
mod call_key;
mod call_regions;
mod calls;
mod compile;
mod exception;
mod failure;
mod globals;
mod growth;
mod heap;
mod lines;
mod maps;
mod php;
mod process;
mod request;
mod sample;
mod share;
mod stack;
mod switch;
mod tally;
mod threads;

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
