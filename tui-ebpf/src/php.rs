//! PHP's own structures: zend_string, execute_data, the FastCGI environment. Layouts that differ by version
//! come from user space; those named here are equal in PHP 7.0 to 8.5 on 64-bit machines.

use aya_ebpf::{cty::c_void, helpers::generated::bpf_probe_read_user};
use tusktop_shared::{Image, mix};

/// Offsets in `sapi_globals`.
pub mod sapi {
    /// `server_context`.
    pub const SERVER_CONTEXT: u64 = 0;
    /// `request_info.request_method`.
    pub const REQUEST_METHOD: u64 = 8;
    /// `request_info.path_translated`.
    pub const PATH_TRANSLATED: u64 = 40;
    /// `request_info.request_uri`.
    pub const REQUEST_URI: u64 = 48;
}

/// `zend_string.h` and `.len` stand 16 and 8 bytes before the text.
const STRING_HASH: u64 = 8;
/// Offset of the text.
pub const STRING_TEXT: u64 = 24;
/// `zend_op.lineno`.
pub const OPLINE_LINE: u64 = 24;
/// Longest string that is believed.
pub const STRING_LIMIT: u64 = 1 << 20;

/// Reads a value of the process into a place that was set before; `false` below the first page and where the page is
/// not there. (An `Option` of a structure makes the compiler copy registers that it never set, which the verifier refuses.)
#[inline(always)]
pub fn fetch<T>(address: u64, into: &mut T) -> bool {
    if address < 4096 {
        return false;
    }
    // SAFETY: a checked read of user memory of exactly the size of the place, whose every bit pattern is a value.
    unsafe { bpf_probe_read_user((&raw mut *into).cast(), size_of::<T>() as u32, address as *const c_void) == 0 }
}

/// Reads a pointer of the process; 0 where it cannot be read.
#[inline(always)]
pub fn pointer(address: u64) -> u64 {
    let mut value = 0;
    if fetch(address, &mut value) { value } else { 0 }
}

/// Hash and length of a zend_string.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StringHead {
    /// PHP's own hash of the text, 0 when it was never needed.
    pub hash: u64,
    /// Length in bytes.
    pub len: u64,
}

/// Reads the head of a zend_string; `false` when it cannot be read or has an unlikely length.
#[inline(always)]
pub fn fetch_string_head(address: u64, head: &mut StringHead) -> bool {
    fetch(address.wrapping_add(STRING_HASH), head) && head.len <= STRING_LIMIT
}

/// Words of a text that are hashed when PHP has no hash for it.
const TEXT_WORDS: usize = 16;

/// Room for the text of one string.
pub type Text = [u64; TEXT_WORDS];

/// Key of a zend_string by its content: PHP's hash, or ours of its length and its last 128 bytes. 0 when it cannot be read.
#[inline(always)]
pub fn string_key(address: u64, room: &mut Text) -> u64 {
    let mut head = StringHead { hash: 0, len: 0 };
    if !fetch_string_head(address, &mut head) {
        return 0;
    }
    if head.hash != 0 {
        return mix(head.len, head.hash) | 1;
    }
    // The tail: paths and namespaces differ there.
    let whole = head.len as u32;
    let len = if whole > (TEXT_WORDS * 8) as u32 { (TEXT_WORDS * 8) as u32 } else { whole };
    let from = address.wrapping_add(STRING_TEXT).wrapping_add(u64::from(whole - len));
    // All words are cleared and hashed, whatever the length: a loop without exits is one path for the verifier.
    let mut i = 0;
    while i < TEXT_WORDS {
        // SAFETY: a reference to one word of the room. Volatile, or it becomes a call that clears byte by byte.
        unsafe { (&raw mut room[i & (TEXT_WORDS - 1)]).write_volatile(0) };
        i += 1;
    }
    // SAFETY: a checked read into room that is as long as the largest length.
    let read = unsafe { bpf_probe_read_user(room.as_mut_ptr().cast(), len, from as *const c_void) };
    if read != 0 {
        return 0;
    }
    let mut hash = head.len;
    let mut i = 0;
    while i < TEXT_WORDS {
        hash = mix(hash, room[i & (TEXT_WORDS - 1)]);
        i += 1;
    }
    hash | 1
}

/// A bucket of php-fpm's FastCGI environment (`main/fastcgi.c`, `fcgi_hash_bucket`).
#[repr(C)]
#[derive(Clone, Copy)]
struct Bucket {
    hash: u32,
    name_len: u32,
    name: u64,
    value_len: u32,
    padding: u32,
    value: u64,
    next: u64,
}

/// `FCGI_HASH_FUNC("REQUEST_URI", 11)`.
const REQUEST_URI_HASH: u32 = 1955;
const REQUEST_URI: [u8; 11] = *b"REQUEST_URI";
const BUCKETS: u32 = 128;
/// Longest chain of one bucket that is followed.
const CHAIN: usize = 8;

/// Address of the text of REQUEST_URI in the FastCGI environment of the current request; 0 when it is not there.
#[inline(always)]
pub fn fastcgi_uri(globals: u64, image: &Image) -> u64 {
    let request = pointer(globals.wrapping_add(sapi::SERVER_CONTEXT));
    let slot = u64::from(REQUEST_URI_HASH & (BUCKETS - 1));
    let mut address = pointer(request.wrapping_add(u64::from(image.fastcgi_environment)).wrapping_add(slot * 8));
    let mut i = 0;
    while i < CHAIN {
        let mut bucket = Bucket { hash: 0, name_len: 0, name: 0, value_len: 0, padding: 0, value: 0, next: 0 };
        if !fetch(address, &mut bucket) {
            return 0;
        }
        let mut name = [0; 11];
        if bucket.hash == REQUEST_URI_HASH
            && bucket.name_len == REQUEST_URI.len() as u32
            && fetch(bucket.name, &mut name)
            && name == REQUEST_URI
        {
            return bucket.value;
        }
        address = bucket.next;
        i += 1;
    }
    0
}

/// `request_rec *` in mod_php's `php_struct`.
const PHP_STRUCT_REQUEST: u64 = 8;
/// `request_rec.the_request`.
const THE_REQUEST: u64 = 48;

/// Address of the request line ("GET /a?b HTTP/1.1") of the current request under mod_php; 0 when it is not there.
#[inline(always)]
pub fn apache_request_line(globals: u64) -> u64 {
    let context = pointer(globals.wrapping_add(sapi::SERVER_CONTEXT));
    let request = pointer(context.wrapping_add(PHP_STRUCT_REQUEST));
    pointer(request.wrapping_add(THE_REQUEST))
}
