//! The request that a process was found in: its texts, as the programs read them when one starts (`tui-ebpf/src/php.rs`), and when
//! it started.

use std::{io, time::Duration};

use tusktop_shared::{OTHER_ALLOCATOR, Request, TITLE_BYTES, URI_APACHE, URI_FASTCGI, URI_SAPI};

use super::pieces::Pieces;
use crate::collect::php::image::{heap::Heap, sapi::Sapi, versions::Offsets};

/// Offsets in `sapi_globals`, the same in PHP 7.0 to 8.5.
const SERVER_CONTEXT: u64 = 0;
const METHOD: u64 = 8;
const PATH_TRANSLATED: u64 = 40;
const URI: u64 = 48;
/// `options`, 4 bytes, and behind it `sapi_started`, a byte.
const OPTIONS: u64 = 432;
/// `global_request_time`, in seconds since 1970 as a double; 0 until something asks for it, which opcache does at the start.
const REQUEST_TIME: u64 = 440;
/// `request_rec *` in mod_php's `php_struct`, and in it the request line and when it was read, in microseconds since 1970.
const APACHE_REQUEST: u64 = 8;
const APACHE_LINE: u64 = 48;
const APACHE_TIME: u64 = 88;
/// `fcgi_hash_bucket` (main/fastcgi.c), and the hash of `REQUEST_URI`.
const BUCKET_HASH: u32 = 1955;
const BUCKETS: u32 = 128;
const BUCKET_NAME: u64 = 8;
const BUCKET_VALUE: u64 = 24;
const BUCKET_NEXT: u64 = 32;
const CHAIN: usize = 8;

/// What `sapi_globals` says of a process, wherever it is.
pub(super) struct Globals {
    pub address: u64,
    pub sapi: Sapi,
    pub offsets: Offsets,
}

/// How long ago something was: the time that the process has run, and what the wall clock says now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub monotonic_ns: u64,
    /// Since 1970.
    pub wall: Duration,
    /// Of the process.
    pub age: Duration,
}

impl Globals {
    /// Whether there is a request although no PHP code runs: it begins, compiles or ends. php-fpm and php-cgi have a script only
    /// during a request, mod_php a context. The command line keeps its script, but `sapi_started` is set by `sapi_activate` and
    /// taken back by `sapi_deactivate` (main/SAPI.c).
    pub(super) fn is_in_request<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(&self, memory: &mut Pieces<F>) -> bool {
        let field = match self.sapi {
            Sapi::Fpm | Sapi::Cgi => PATH_TRANSLATED,
            Sapi::Apache => SERVER_CONTEXT,
            Sapi::Cli => {
                let options = memory.word(self.address.wrapping_add(OPTIONS));
                return options.is_some_and(|word| word.to_le_bytes()[4] != 0);
            }
            Sapi::Phpdbg | Sapi::Embed => return false,
        };
        memory.word(self.address.wrapping_add(field)).is_some_and(|pointer| pointer != 0)
    }

    /// The request, and whether its start is known; otherwise it is said to have started now.
    pub(super) fn request<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(
        &self,
        memory: &mut Pieces<F>,
        clock: Clock,
        title: &[u8],
    ) -> (Request, bool) {
        let mut request =
            Request { started_ns: clock.monotonic_ns, uri_source: self.sapi.uri_source(), ..Request::EMPTY };
        let mut pointer = |address: u64| memory.word(address).unwrap_or(0);
        let field = |field: u64| self.address.wrapping_add(field);
        let (method, script) = (pointer(field(METHOD)), pointer(field(PATH_TRANSLATED)));
        let context = pointer(field(SERVER_CONTEXT));
        let seconds = f64::from_bits(pointer(field(REQUEST_TIME)));
        let apache = if self.sapi == Sapi::Apache { pointer(context.wrapping_add(APACHE_REQUEST)) } else { 0 };
        let mut uri = match request.uri_source {
            URI_FASTCGI => self.fastcgi_uri(memory, context),
            URI_APACHE => memory.word(apache.wrapping_add(APACHE_LINE)).unwrap_or(0),
            _ => 0,
        };
        if uri == 0 {
            request.uri_source = URI_SAPI;
            uri = memory.word(field(URI)).unwrap_or(0);
        }
        memory.text(method, &mut request.method);
        memory.text(script, &mut request.script);
        memory.text(uri, &mut request.uri);
        if self.sapi == Sapi::Fpm {
            let kept = title.len().min(TITLE_BYTES - 1);
            request.title[..kept].copy_from_slice(&title[..kept]);
        }
        let by_php = Duration::try_from_secs_f64(seconds).ok().and_then(|at| clock.ago(at));
        let by_apache = || {
            let microseconds = memory.word(apache.wrapping_add(APACHE_TIME)).filter(|_| apache != 0)?;
            clock.ago(Duration::from_micros(microseconds))
        };
        // A script is its process; the built-in server has a method.
        let by_process = || (self.sapi.runs_scripts() && method == 0).then_some(clock.age);
        let ago = by_process().or(by_php).or_else(by_apache);
        let ago_ns = ago.map_or(0, |ago| ago.as_nanos() as u64);
        request.started_ns = clock.monotonic_ns.saturating_sub(ago_ns).max(1);
        (request, ago.is_some())
    }

    /// Address of the text of `REQUEST_URI` in the FastCGI environment; 0 when it is not there.
    fn fastcgi_uri<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(&self, memory: &mut Pieces<F>, context: u64) -> u64 {
        let table = context.wrapping_add(self.offsets.fastcgi_environment.into());
        let slot = table.wrapping_add(u64::from(BUCKET_HASH % BUCKETS) * 8);
        let mut bucket = memory.word(slot).unwrap_or(0);
        for _ in 0..CHAIN {
            let Some(hash) = memory.number(bucket).filter(|_| bucket != 0) else { return 0 };
            let mut name = [0; 12];
            let text = memory.word(bucket.wrapping_add(BUCKET_NAME)).unwrap_or(0);
            memory.text(text, &mut name);
            if hash == BUCKET_HASH && &name == b"REQUEST_URI\0" {
                return memory.word(bucket.wrapping_add(BUCKET_VALUE)).unwrap_or(0);
            }
            bucket = memory.word(bucket.wrapping_add(BUCKET_NEXT)).unwrap_or(0);
        }
        0
    }
}

/// Notes what PHP's allocator has, whose pointer to its heap is at `pointer`, as the programs do (`tui-ebpf/src/heap.rs`). What it had at the start is not known.
pub(super) fn note_heap<F: FnMut(u64, &mut [u8]) -> io::Result<()>>(
    request: &mut Request,
    memory: &mut Pieces<F>,
    heap: Heap,
    pointer: u64,
) {
    let Some(at) = memory.word(pointer).filter(|&at| at != 0) else { return };
    let mut size = |field: u64| memory.word(at.wrapping_add(u64::from(heap.peak)).wrapping_add(field));
    let sizes = (size(0_u64.wrapping_sub(8)), size(0), size(8));
    match (memory.number(at), sizes) {
        (Some(0), (Some(now), Some(peak), Some(limit))) => {
            (request.memory, request.memory_peak, request.memory_limit) = (now, peak, limit);
        }
        (Some(custom), _) if custom != 0 => request.memory = OTHER_ALLOCATOR,
        _ => {}
    }
}

impl Clock {
    /// How long ago a moment was, if the process was there by then: the clock may have been set meanwhile.
    fn ago(self, at: Duration) -> Option<Duration> {
        self.wall.checked_sub(at).filter(|&ago| ago <= self.age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::php::image::versions;

    const NOW: Clock = Clock {
        monotonic_ns: 900_000_000_000,
        wall: Duration::from_secs(1_795_000_000),
        age: Duration::from_secs(100),
    };

    /// Memory in which `sapi_globals` is at 0x1000 and has these words.
    fn request(sapi: Sapi, words: &[(u64, u64)], texts: &[(u64, &str)]) -> (Request, bool) {
        let mut bytes = vec![0; 0x8000];
        for (at, word) in words {
            bytes[*at as usize..][..8].copy_from_slice(&word.to_le_bytes());
        }
        for (at, text) in texts {
            bytes[*at as usize..][..text.len()].copy_from_slice(text.as_bytes());
        }
        let mut memory = Pieces::new(|address: u64, into: &mut [u8]| {
            let part = bytes.get(address as usize..address as usize + into.len()).ok_or(io::ErrorKind::NotFound)?;
            into.copy_from_slice(part);
            Ok(())
        });
        let offsets = versions::of(versions::Version { major: 8, minor: 2 }).unwrap();
        Globals { address: 0x1000, sapi, offsets }.request(&mut memory, NOW, b"php-fpm: pool www")
    }

    #[test]
    fn what_the_allocator_has_is_noted_unless_another_one_is_in_its_place() {
        const MIB: u64 = 1 << 20;
        // The heap is at 0x2000, with its numbers from 0x2010 on.
        let heap = Heap { pointer: 0x1000, peak: 0x18 };
        let noted = |custom: u64, heap_at: u64| {
            let words =
                [(0x1000, heap_at), (0x2000, custom), (0x2010, 4 * MIB), (0x2018, 6 * MIB), (0x2020, 128 * MIB)];
            let mut memory = Pieces::new(|address: u64, into: &mut [u8]| {
                into.fill(0);
                let end = address + into.len() as u64;
                for (at, word) in words.into_iter().filter(|(at, _)| (address..end).contains(at)) {
                    into[(at - address) as usize..][..8].copy_from_slice(&word.to_le_bytes());
                }
                Ok(())
            });
            let mut request = Request::EMPTY;
            note_heap(&mut request, &mut memory, heap, heap.pointer);
            (request.memory, request.memory_peak, request.memory_limit)
        };
        assert_eq!(noted(0, 0x2000), (4 * MIB, 6 * MIB, 128 * MIB));
        assert_eq!(noted(2, 0x2000).0, OTHER_ALLOCATOR);
        assert_eq!(noted(0, 0), (0, 0, 0), "there is no heap yet");
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap().trim_end_matches('\0')
    }

    #[test]
    fn a_request_of_php_fpm_has_the_uri_of_its_environment_and_started_when_php_says() {
        let seconds = (NOW.wall - Duration::from_millis(2500)).as_secs_f64();
        let words = [
            (0x1000, 0x2000),
            (0x1000 + METHOD, 0x5000),
            (0x1000 + PATH_TRANSLATED, 0x5100),
            (0x1000 + URI, 0x5200),
            (0x1000 + REQUEST_TIME, seconds.to_bits()),
            (0x2000 + 8296 + 35 * 8, 0x6000),
            (0x6000, u64::from(BUCKET_HASH) | 11 << 32),
            (0x6008, 0x5300),
            (0x6018, 0x5400),
        ];
        let texts =
            [(0x5000, "GET"), (0x5100, "/srv/i.php"), (0x5200, "/i.php"), (0x5300, "REQUEST_URI"), (0x5400, "/a?b")];
        let (found, known) = request(Sapi::Fpm, &words, &texts);
        assert_eq!((text(&found.method), text(&found.script), text(&found.uri)), ("GET", "/srv/i.php", "/a?b"));
        assert_eq!((text(&found.title), found.uri_source), ("php-fpm: pool www", URI_FASTCGI));
        assert!(known && (NOW.monotonic_ns - found.started_ns).abs_diff(2_500_000_000) < 1_000_000);
        let (found, _) = request(Sapi::Fpm, &words[..4], &texts);
        assert_eq!((text(&found.uri), found.uri_source), ("/i.php", URI_SAPI));
    }

    #[test]
    fn a_script_started_with_its_process_and_a_time_that_cannot_be_is_not_believed() {
        let (found, known) = request(Sapi::Cli, &[(0x1000 + PATH_TRANSLATED, 0x5100)], &[(0x5100, "/a.php")]);
        assert_eq!(
            (text(&found.script), known, found.started_ns),
            ("/a.php", true, NOW.monotonic_ns - 100_000_000_000)
        );
        for seconds in [0.0, f64::NAN, -1.0, 1e300, 5.0, NOW.wall.as_secs_f64() + 9.0] {
            let (found, known) = request(Sapi::Fpm, &[(0x1000 + REQUEST_TIME, seconds.to_bits())], &[]);
            assert_eq!((known, found.started_ns), (false, NOW.monotonic_ns), "{seconds}");
        }
    }
}
