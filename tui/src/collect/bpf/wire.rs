//! Lets the wire types pass between user space and the kernel's maps.
#![expect(unsafe_code, reason = "aya asks for a promise that the types are plain data")]

use tusktop_shared::{
    CallKey, Calls, Compiled, Config, ContentKey, Count, CountKey, EndedProcess, Failure, FreedProcess, FunctionName,
    Image, Message, OomKill, Process, ProcessEvent, ProcessRecord, Request, RequestEvent, Site, Stack, StackLines,
    Tally, TaskHead, TaskLayout, ThreadPointer, Traced, Wait,
};

/// A wire type as aya wants to see it: the orphan rule asks for a type of this crate.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Wire<T>(pub T);

/// Types of `tusktop_shared`: `#[repr(C)]`, integers only, no padding.
pub(crate) trait Plain: Copy + 'static {}

macro_rules! plain {
    ($($name:ty),*) => { $(
        impl Plain for $name {}
        // SAFETY: the type is `#[repr(C)]` and holds integers and arrays of integers only; its size is asserted where it is defined.
        unsafe impl aya::Pod for Wire<$name> {}
    )* };
}

plain!(
    CallKey,
    Calls,
    Compiled,
    Config,
    ContentKey,
    Count,
    CountKey,
    EndedProcess,
    Failure,
    FreedProcess,
    FunctionName,
    Image,
    Message,
    OomKill,
    Process,
    ProcessEvent,
    ProcessRecord,
    Request,
    RequestEvent,
    Site,
    Stack,
    StackLines,
    Tally,
    TaskHead,
    TaskLayout,
    ThreadPointer,
    Traced,
    Wait
);

/// Copies a wire type out of bytes; `None` when there are too few.
pub(crate) fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    let bytes = bytes.get(..size_of::<T>())?;
    // SAFETY: there are enough bytes, every bit pattern is a value of a plain type, and the read does not need alignment.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}
