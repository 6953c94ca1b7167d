//! Requests as text: those that run, and those that ended between two ticks. They come from tusktop's own programs, but their
//! texts come from other processes.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tusktop_shared::{
    ABORTED, ContentKey, NO_LIMIT, OTHER_ALLOCATOR, Request, RequestEvent, TITLE_BYTES, URI_APACHE, share,
};

use crate::{
    collect::php::kernel::Kernel,
    model::{NumberMap, pool_of_title},
    words::secrets::Secrets,
};

/// Requests kept between two ticks; more are counted as dropped.
const FINISHED: usize = 20_000;

/// A request as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestText {
    /// Process.
    pub pid: u32,
    /// Thread; 0 when not known.
    pub tid: u32,
    /// Image.
    pub image: u32,
    /// `CLOCK_MONOTONIC` at its start.
    pub started_ns: u64,
    /// CPU time of its thread at its start; 0 when not known.
    pub cpu_ns: u64,
    /// Time that its thread was blocked since then, waits that have ended.
    pub wait_ns: u64,
    /// What PHP's allocator said.
    pub memory: RequestMemory,
    /// The error by which it exceeded `memory_limit`; `None` when it did not.
    pub exhausted: Option<ContentKey>,
    /// Whether it was seen from its start.
    pub start: Start,
    /// php-fpm pool of the process; `None` elsewhere.
    pub pool: Option<Arc<str>>,
    /// HTTP method; empty on the command line.
    pub method: String,
    /// Script; empty when unknown.
    pub script: String,
    /// URI as the browser sent it, with its secrets masked; empty on the command line.
    pub uri: String,
}

/// What PHP's allocator said of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RequestMemory {
    /// It was not asked, or it cannot be.
    #[default]
    Unknown,
    /// It is switched off, or another one is in its place.
    OtherAllocator,
    /// The process ended in the request, and its memory was gone before it could be asked a last time.
    Gone,
    /// It said this when it was asked last: at the end, or while PHP code ran.
    Known {
        /// What it had kept from earlier requests at the start.
        start_bytes: u64,
        /// What it had.
        bytes: u64,
        /// The most that it had until then.
        peak_bytes: u64,
        /// `memory_limit`; `None` where there is none.
        limit_bytes: Option<u64>,
    },
}

impl RequestMemory {
    fn decode(request: &Request) -> Self {
        match request.memory {
            OTHER_ALLOCATOR => Self::OtherAllocator,
            0 => Self::Unknown,
            bytes => Self::Known {
                start_bytes: request.memory_start,
                bytes,
                peak_bytes: request.memory_peak.max(bytes),
                limit_bytes: Some(request.memory_limit).filter(|&limit| limit < NO_LIMIT),
            },
        }
    }

    /// The most that it had; `None` when not known.
    pub fn peak_bytes(self) -> Option<u64> {
        match self {
            Self::Known { peak_bytes, .. } => Some(peak_bytes),
            Self::Unknown | Self::OtherAllocator | Self::Gone => None,
        }
    }
}

/// Whether a request was seen from its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    /// It was.
    #[default]
    Seen,
    /// It began before that, and when is known from PHP.
    Told,
    /// It began before that, at a time that is not known: `started_ns` is when it was found.
    Unknown,
}

/// A request that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedRequest {
    /// What was known at its start.
    pub request: Arc<RequestText>,
    /// HTTP status; `None` when there is none.
    pub status: Option<u16>,
    /// Duration.
    pub duration_ns: u64,
    /// CPU time of its thread; `None` when not known.
    pub cpu_ns: Option<u64>,
    /// Its process ended inside it.
    pub aborted: bool,
}

/// The requests of an interval.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    secrets: Secrets,
    finished: Vec<FinishedRequest>,
    /// How many of them each image has.
    of_images: NumberMap<u32, u64>,
    running: Vec<Arc<RequestText>>,
    /// Those that samples may belong to, by pid and start.
    recent: HashMap<(u32, u64), Arc<RequestText>>,
    /// Those that were not seen from their start, by pid and what is taken for it.
    unseen: HashMap<(u32, u64), Start>,
    dropped: u64,
}

impl Requests {
    /// Requests whose secrets are masked or not.
    pub(crate) fn new(secrets: Secrets) -> Self {
        Self { secrets, ..Self::default() }
    }

    /// Turns the event of a request that ended into text.
    pub(crate) fn decode(&self, event: &RequestEvent) -> FinishedRequest {
        FinishedRequest::decode(event, self.start_of(&event.request), self.secrets)
    }

    /// A request was found that had begun before.
    pub(crate) fn found(&mut self, request: &Request, start_known: bool) {
        let start = if start_known { Start::Told } else { Start::Unknown };
        if self.unseen.len() < FINISHED {
            self.unseen.insert((request.pid, request.started_ns), start);
        }
    }

    fn start_of(&self, request: &Request) -> Start {
        self.unseen.get(&(request.pid, request.started_ns)).copied().unwrap_or_default()
    }

    /// A request has ended.
    pub(crate) fn ended(&mut self, finished: FinishedRequest) {
        self.unseen.remove(&(finished.request.pid, finished.request.started_ns));
        if self.recent.len() < FINISHED {
            self.recent.insert((finished.request.pid, finished.request.started_ns), finished.request.clone());
        }
        // What floods one program leaves room for the requests of the others.
        let own = self.of_images.entry(finished.request.image).or_default();
        if !share::may_add(FINISHED as u32, *own, self.finished.len() as u64) {
            self.dropped += 1;
            return;
        }
        *own += 1;
        self.finished.push(finished);
    }

    /// Reads which requests run. Some of them may end before the ring is read, so [`Self::settle`] follows.
    pub(crate) fn look(&mut self, kernel: &Kernel) {
        let decode = |(thread, request): (u64, Request)| {
            RequestText::decode(&request, thread as u32, self.start_of(&request), self.secrets)
        };
        self.running = kernel.requests().map(|running| Arc::new(decode(running))).collect();
    }

    /// Keeps those that still run, because their end was not in the ring, and that count.
    pub(crate) fn settle(&mut self, mut counts: impl FnMut(&RequestText) -> bool) {
        let recent = &mut self.recent;
        self.running.retain(|request| {
            let key = (request.pid, request.started_ns);
            // What has ended meanwhile runs no more, and its process may be gone.
            let runs = !recent.contains_key(&key) && counts(request);
            if runs {
                recent.insert(key, request.clone());
            }
            runs
        });
    }

    /// The request of a process that started then, if it ran since the last reading.
    pub(crate) fn of(&self, pid: u32, started_ns: u64) -> Option<Arc<RequestText>> {
        self.recent.get(&(pid, started_ns)).cloned()
    }

    /// Ends a reading: no sample of it is left that could belong to a request.
    pub(crate) fn end_reading(&mut self) {
        self.recent.clear();
        if !self.unseen.is_empty() {
            // The end of one may have been missed.
            let runs: HashSet<_> = self.running.iter().map(|request| (request.pid, request.started_ns)).collect();
            self.unseen.retain(|key, _| runs.contains(key));
        }
    }

    /// The requests that ended since the last call, and those that ran at the last look.
    pub(crate) fn take(&mut self) -> (Vec<FinishedRequest>, Vec<Arc<RequestText>>) {
        self.of_images.clear();
        (std::mem::take(&mut self.finished), std::mem::take(&mut self.running))
    }

    /// Requests for which there was no room, since the last call.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

impl FinishedRequest {
    fn decode(event: &RequestEvent, start: Start, secrets: Secrets) -> Self {
        let mut request = RequestText::decode(&event.request, event.tid, start, secrets);
        // What was known some time before the end is less than the peak.
        if event.aborted == ABORTED && matches!(request.memory, RequestMemory::Known { .. }) {
            request.memory = RequestMemory::Gone;
        }
        let duration_ns = event.ended_ns.saturating_sub(request.started_ns);
        let cpu_ns = event.cpu_ns.checked_sub(request.cpu_ns).filter(|_| request.cpu_ns != 0);
        Self {
            status: u16::try_from(event.status).ok().filter(|status| (100..1000).contains(status)),
            duration_ns,
            // A host that takes time from the machine leaves open whether it did so before or after the start.
            cpu_ns: cpu_ns.map(|cpu_ns| cpu_ns.min(duration_ns)),
            aborted: event.aborted != 0,
            request: Arc::new(request),
        }
    }
}

impl RequestText {
    /// Turns a request of the kernel's map into text.
    fn decode(request: &Request, tid: u32, start: Start, secrets: Secrets) -> Self {
        // One that fills its room was cut: the name comes from the process itself.
        let title = Some(text(&request.title)).filter(|title| title.len() + 1 < TITLE_BYTES).unwrap_or_default();
        let line = text(&request.uri);
        let uri = if request.uri_source == URI_APACHE {
            // The whole request line: "GET /a?b HTTP/1.1".
            line.split(' ').nth(1).unwrap_or_default().to_owned()
        } else {
            line
        };
        Self {
            pid: request.pid,
            tid,
            image: request.image,
            started_ns: request.started_ns,
            cpu_ns: request.cpu_ns,
            wait_ns: request.wait_ns,
            memory: RequestMemory::decode(request),
            exhausted: (request.exhausted != 0).then(|| ContentKey::new(request.exhausted, request.user)),
            start,
            pool: pool_of_title(&title).map(Arc::from),
            method: known(text(&request.method)),
            script: known(text(&request.script)),
            uri: masked(known(uri), secrets),
        }
    }
}

fn masked(uri: String, secrets: Secrets) -> String {
    let masked = match secrets.uri(&uri) {
        Cow::Owned(masked) => Some(masked),
        Cow::Borrowed(_) => None,
    };
    masked.unwrap_or(uri)
}

/// PHP writes "-" where it has nothing.
fn known(text: String) -> String {
    if text == "-" { String::new() } else { text }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tusktop_shared::{URI_BYTES, URI_FASTCGI};

    fn request(uri: &[u8], uri_source: u32) -> Request {
        let mut request = Request { started_ns: 5, cpu_ns: 3, pid: 42, image: 1, uri_source, ..Request::EMPTY };
        request.method[..3].copy_from_slice(b"GET");
        request.script[0] = b'-';
        request.uri[..uri.len()].copy_from_slice(uri);
        request
    }

    fn decode(request: &Request) -> RequestText {
        RequestText::decode(request, 42, Start::Seen, Secrets::Masked)
    }

    #[test]
    fn a_flood_of_one_program_leaves_room_for_the_requests_of_others() {
        let mut requests = Requests::new(Secrets::Masked);
        let ended = |image, number| {
            let mut event = RequestEvent {
                kind: 0,
                status: 200,
                ended_ns: number + 1,
                cpu_ns: 0,
                aborted: 0,
                tid: 42,
                request: request(b"/", URI_FASTCGI),
            };
            (event.request.image, event.request.started_ns) = (image, number);
            event
        };
        for number in 0..2 * FINISHED as u64 {
            requests.ended(requests.decode(&ended(1, number)));
        }
        for number in 0..1_000 {
            requests.ended(requests.decode(&ended(2, number)));
        }
        let (finished, _) = requests.take();
        let of = |image| finished.iter().filter(|finished| finished.request.image == image).count();
        assert_eq!((of(1), of(2)), (FINISHED / 4 * 3, 1_000));
        assert_eq!(requests.take_dropped(), FINISHED as u64 / 4 * 5);
        requests.ended(requests.decode(&ended(1, 1)));
        assert_eq!(requests.take().0.len(), 1, "the next interval has room again");
    }

    #[test]
    fn apache_gives_the_whole_request_line() {
        assert_eq!(decode(&request(b"GET /a?b=1 HTTP/1.1", URI_APACHE)).uri, "/a?b=1");
        assert_eq!(decode(&request(b"GET", URI_APACHE)).uri, "");
        assert_eq!(decode(&request(b"/a b", URI_FASTCGI)).uri, "/a b");
    }

    #[test]
    fn memory_that_the_allocator_did_not_tell_is_unknown() {
        let memory =
            |memory, memory_limit| decode(&Request { memory, memory_limit, memory_peak: 9, ..request(b"/", 0) }).memory;
        assert_eq!((memory(0, 0), memory(OTHER_ALLOCATOR, 5)), (RequestMemory::Unknown, RequestMemory::OtherAllocator));
        let known = |limit_bytes| RequestMemory::Known { start_bytes: 0, bytes: 7, peak_bytes: 9, limit_bytes };
        assert_eq!((memory(7, 128), memory(7, i64::MAX as u64)), (known(Some(128)), known(None)));
    }

    #[test]
    fn a_dash_is_nothing_and_bytes_that_are_not_text_are_replaced() {
        let decoded = decode(&request(b"/\xff\x1b[2J", URI_FASTCGI));
        assert_eq!((decoded.script.as_str(), decoded.method.as_str()), ("", "GET"));
        assert_eq!(decoded.uri, "/\u{fffd}\u{1b}[2J");
        assert_eq!(decode(&request(&[b'a'; URI_BYTES], URI_FASTCGI)).uri.len(), URI_BYTES);
    }

    #[test]
    fn a_request_that_ends_while_both_lists_are_read_is_in_one_of_them() {
        let running = |started_ns| Arc::new(RequestText { started_ns, ..decode(&request(b"/", 0)) });
        let ended = |request: &Arc<RequestText>| FinishedRequest {
            request: request.clone(),
            status: Some(200),
            duration_ns: 1,
            cpu_ns: None,
            aborted: false,
        };
        let (first, second, other) = (running(1), running(2), running(3));
        let mut requests = Requests { running: vec![first.clone(), second.clone(), other], ..Requests::default() };
        requests.ended(ended(&first));
        requests.settle(|request| request.started_ns != 3);
        assert_eq!((requests.of(42, 1), requests.of(42, 2)), (Some(first.clone()), Some(second.clone())));
        assert_eq!(requests.of(42, 3), None, "it does not count");
        requests.end_reading();
        assert_eq!(requests.of(42, 1), None);
        assert_eq!(requests.take(), (vec![ended(&first)], vec![second]));
    }
}
