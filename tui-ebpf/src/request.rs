//! The requests tier: one probe hit at the start and one at the end of a request.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_ktime_get_ns,
        generated::{bpf_get_attach_cookie, bpf_probe_read_user_str},
    },
    macros::uprobe,
    programs::ProbeContext,
};
use tusktop_shared::{
    ABORTED, ABORTED_LOOKED_AT, Config, EVENT_REQUEST, Image, Process, Request, RequestEvent, SITE_SHUTDOWN_HEAP,
    SITE_STARTUP, Site, URI_APACHE, URI_FASTCGI, URI_SAPI, governor, share, stat,
};

use crate::{
    arguments::{argument, register},
    calls,
    globals::{sapi_globals_in, storage},
    growth,
    heap::look,
    maps::{EMPTY_REQUEST, EVENTS, IMAGES, PROCESSES, REQUESTS, RING_BYTES, SITES, add, hit, spend},
    php::{apache_request_line, fastcgi_uri, fetch, pointer, sapi},
    process::{add_process, config, has_memory, report_storm, title},
    share::{give_share, take_share},
    switch::{count_skipped, cpu_time, request_begins},
};

/// The reader is woken when more than this waits in the ring.
const WAKEUP_BYTES: u64 = RING_BYTES as u64 / 4;

/// A request starts or ends, by the kind of the site.
#[uprobe]
pub fn request(context: ProbeContext) -> u32 {
    // SAFETY: a plain helper call.
    let began = unsafe { bpf_ktime_get_ns() };
    let _ = try_request(&context, began);
    add(stat::PROBE_HITS, 1);
    // SAFETY: a plain helper call.
    add(stat::PROBE_NS, unsafe { bpf_ktime_get_ns() } - began);
    0
}

#[inline(always)]
fn try_request(context: &ProbeContext, now: u64) -> Option<()> {
    // SAFETY: the context is the one that the kernel gave to this program.
    let cookie = unsafe { bpf_get_attach_cookie(context.as_ptr()) } as u32;
    hit(cookie);
    if spend(governor::OF_REQUESTS, governor::REQUEST_HIT_NS, now) {
        report_storm();
    }
    // SAFETY: entries of both maps are written before the site is attached and not changed afterwards.
    let site = unsafe { SITES.get(cookie) }?;
    let image = IMAGES.get(site.image)?;
    let config = config()?;
    let bias = register(context, config.instruction_pointer)?.wrapping_sub(site.address);
    let key = bpf_get_current_pid_tgid();
    // Calls that a fatal error left without a return end with their request.
    // SAFETY: the entry may be replaced while it is read; it is plain integers.
    if let Some(process) = unsafe { PROCESSES.get((key >> 32) as u32) }
        && process.traced != 0
    {
        calls::end_all(process.traced - 1, now);
    }
    if site.kind == SITE_STARTUP {
        start(context, config, site, image, bias, key, now)
    } else {
        end(config, site, image, bias, key, now)
    }
}

#[inline(always)]
fn start(
    context: &ProbeContext,
    config: &Config,
    site: &Site,
    image: &Image,
    bias: u64,
    key: u64,
    now: u64,
) -> Option<()> {
    let pid = (key >> 32) as u32;
    // A library may come back at another address: Apache unloads and loads its modules at a graceful restart.
    // SAFETY: the entry may be replaced while it is read; it is plain integers.
    let known = unsafe { PROCESSES.get(pid) }.is_some_and(|known| known.bias == bias && known.image == site.image);
    let user = bpf_get_current_uid_gid() as u32;
    if !known {
        add_process(pid, &Process { bias, image: site.image, traced: 0, user, master: 0, anonymous: 0, reserved: 0 });
    }
    if let Some(process) = PROCESSES.get_ptr_mut(pid) {
        growth::begin(process);
    }
    // The entry of a request whose end was not seen is used again.
    // SAFETY: the entry is only tested for being there.
    let is_new = unsafe { REQUESTS.get(key) }.is_none();
    if is_new && !take_share(share::REQUESTS, user) {
        add(stat::REQUESTS_FULL, 1);
        return None;
    }
    if REQUESTS.insert(key, EMPTY_REQUEST.get(0)?, 0).is_err() {
        add(stat::REQUESTS_FULL, 1);
        give_share(share::REQUESTS, user);
        return None;
    }
    // SAFETY: the entry belongs to this thread alone: its key is the thread's own id.
    let request = unsafe { &mut *REQUESTS.get_ptr_mut(key)? };
    request.started_ns = now;
    request.cpu_ns = cpu_time(config, now);
    request_begins();
    request.pid = pid;
    request.image = site.image;
    request.user = user;

    let storage = storage(image, bias);
    let globals = sapi_globals_in(image, bias, storage).unwrap_or(0);
    // A site at a plain symbol has no arguments: then everything comes from `sapi_globals`.
    let or = |argument: u64, field: u64| if argument == 0 { pointer(globals.wrapping_add(field)) } else { argument };
    text(&mut request.script, or(argument(context, &site.arguments[0]), sapi::PATH_TRANSLATED));
    text(&mut request.method, or(argument(context, &site.arguments[2]), sapi::REQUEST_METHOD));
    let mut source = image.uri_source;
    let mut uri = match source {
        URI_FASTCGI => fastcgi_uri(globals, image),
        URI_APACHE => apache_request_line(globals),
        _ => 0,
    };
    if uri == 0 {
        source = URI_SAPI;
        uri = or(argument(context, &site.arguments[1]), sapi::REQUEST_URI);
    }
    text(&mut request.uri, uri);
    request.uri_source = source;
    if image.uri_source == URI_FASTCGI {
        text(&mut request.title, title(config));
    }
    look(request, image, bias, storage);
    request.memory_start = request.memory;
    Some(())
}

#[inline(always)]
fn end(config: &Config, site: &Site, image: &Image, bias: u64, key: u64, now: u64) -> Option<()> {
    // SAFETY: the entry belongs to this thread alone: its key is the thread's own id.
    let request = unsafe { &mut *REQUESTS.get_ptr_mut(key)? };
    let storage = storage(image, bias);
    if site.kind == SITE_SHUTDOWN_HEAP {
        look(request, image, bias, storage);
    }
    let mut status = 0_u32;
    if let Some(globals) = sapi_globals_in(image, bias, storage) {
        fetch(globals.wrapping_add(u64::from(image.response_code)), &mut status);
    }
    let user = request.user;
    count_skipped(key);
    finish(request, key as u32, status, now, cpu_time(config, now), 0);
    let _ = REQUESTS.remove(key);
    give_share(share::REQUESTS, user);
    Some(())
}

/// Ends the request of a thread that goes away inside it. Where its memory is still there, the allocator is asked a last time.
#[inline(always)]
pub fn abort() {
    let key = bpf_get_current_pid_tgid();
    // SAFETY: the entry belongs to this thread alone: its key is the thread's own id.
    if let Some(request) = REQUESTS.get_ptr_mut(key).map(|request| unsafe { &mut *request }) {
        // SAFETY: a plain helper call.
        let now = unsafe { bpf_ktime_get_ns() };
        let cpu = config().map_or(0, |config| cpu_time(config, now));
        let user = request.user;
        count_skipped(key);
        let aborted = if has_memory() && look_again(request, key).is_some() { ABORTED_LOOKED_AT } else { ABORTED };
        finish(request, key as u32, 0, now, cpu, aborted);
        let _ = REQUESTS.remove(key);
        give_share(share::REQUESTS, user);
    }
}

/// Asks the allocator of a request that is not at its end; `None` where it does not answer.
#[inline(always)]
fn look_again(request: &mut Request, key: u64) -> Option<()> {
    // SAFETY: the entry may be replaced while it is read; it is plain integers.
    let process = unsafe { PROCESSES.get((key >> 32) as u32) }?;
    let image = IMAGES.get(request.image)?;
    look(request, image, process.bias, storage(image, process.bias)).then_some(())
}

#[inline(always)]
fn finish(request: &Request, tid: u32, status: u32, ended_ns: u64, cpu_ns: u64, aborted: u32) {
    // A flood of requests of one user, or of one program, leaves room for those of others.
    if !take_share(share::ENDED_OF_IMAGES, request.image) {
        add(stat::RING_FULL, 1);
        return;
    }
    if !take_share(share::ENDED_REQUESTS, request.user) {
        give_share(share::ENDED_OF_IMAGES, request.image);
        add(stat::RING_FULL, 1);
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<RequestEvent>(0) else {
        add(stat::RING_FULL, 1);
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: the reserved room has the size of the event and is ours until it is submitted; every field is written.
    unsafe {
        (*event).kind = EVENT_REQUEST;
        (*event).status = status;
        (*event).ended_ns = ended_ns;
        (*event).cpu_ns = cpu_ns;
        (*event).aborted = aborted;
        (*event).tid = tid;
        (&raw mut (*event).request).copy_from_nonoverlapping(request, 1);
    }
    // Waking user space for every request would cost more than the request's probes: it reads once a tick,
    // and in between only when the ring fills up.
    let waiting = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    entry.submit(u64::from(if waiting > WAKEUP_BYTES { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }));
}

/// Copies a C string of the process; an address below the first page is no string.
#[inline(always)]
fn text<const N: usize>(destination: &mut [u8; N], address: u64) {
    if address < 4096 {
        return;
    }
    // SAFETY: a checked read into an array of the length that is given.
    unsafe { bpf_probe_read_user_str(destination.as_mut_ptr().cast(), N as u32, address as *const _) };
}
