//! Decodes the records of the ring. They come from our own programs, but texts in them come from other processes.

use std::sync::Arc;

use tusktop_shared::{EVENT_EXEC, EVENT_EXIT, EVENT_FORK, EVENT_REQUEST, Request, RequestEvent, URI_APACHE};

use crate::{collect::bpf::wire, model::pool_of_title};

/// A request as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestText {
    /// Process.
    pub pid: u32,
    /// Image.
    pub image: u32,
    /// `CLOCK_MONOTONIC` at its start.
    pub started_ns: u64,
    /// CPU time of its thread at its start; 0 when not known.
    pub cpu_ns: u64,
    /// Time that its thread was blocked since then, waits that have ended.
    pub wait_ns: u64,
    /// php-fpm pool of the process; `None` elsewhere.
    pub pool: Option<Arc<str>>,
    /// HTTP method; empty on the command line.
    pub method: String,
    /// Script; empty when unknown.
    pub script: String,
    /// URI as the browser sent it; empty on the command line.
    pub uri: String,
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

/// One record of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A request ended.
    Request(Box<FinishedRequest>),
    /// A process replaced its image.
    Exec {
        /// Process.
        pid: u32,
    },
    /// A PHP process forked.
    Fork {
        /// Parent.
        parent: u32,
        /// Child.
        child: u32,
    },
    /// A PHP process ended.
    Exit {
        /// Process.
        pid: u32,
    },
}

impl Event {
    /// Decodes a record; `None` for one that is cut or of an unknown kind.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let pid = word(4)?;
        match word(0)? {
            EVENT_REQUEST => Some(Self::Request(Box::new(finished(bytes)?))),
            EVENT_EXEC => Some(Self::Exec { pid }),
            EVENT_FORK => Some(Self::Fork { parent: word(8)?, child: pid }),
            EVENT_EXIT => Some(Self::Exit { pid }),
            _ => None,
        }
    }
}

fn finished(bytes: &[u8]) -> Option<FinishedRequest> {
    let event: RequestEvent = wire::read(bytes)?;
    let request = RequestText::decode(&event.request);
    let cpu_ns = event.cpu_ns.checked_sub(request.cpu_ns).filter(|_| request.cpu_ns != 0);
    Some(FinishedRequest {
        status: u16::try_from(event.status).ok().filter(|status| (100..1000).contains(status)),
        duration_ns: event.ended_ns.saturating_sub(request.started_ns),
        cpu_ns,
        aborted: event.aborted != 0,
        request: Arc::new(request),
    })
}

impl RequestText {
    /// Turns a request of the kernel's map into text.
    pub fn decode(request: &Request) -> Self {
        let line = text(&request.uri);
        let uri = if request.uri_source == URI_APACHE {
            // The whole request line: "GET /a?b HTTP/1.1".
            line.split(' ').nth(1).unwrap_or_default().to_owned()
        } else {
            line
        };
        Self {
            pid: request.pid,
            image: request.image,
            started_ns: request.started_ns,
            cpu_ns: request.cpu_ns,
            wait_ns: request.wait_ns,
            pool: pool_of_title(&text(&request.title)).map(Arc::from),
            method: known(text(&request.method)),
            script: known(text(&request.script)),
            uri: known(uri),
        }
    }
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
    use tusktop_shared::{METHOD_BYTES, SCRIPT_BYTES, TITLE_BYTES, URI_BYTES, URI_FASTCGI};

    fn request(uri: &[u8], uri_source: u32) -> Request {
        let mut request = Request {
            started_ns: 5,
            cpu_ns: 3,
            wait_ns: 0,
            pid: 42,
            image: 1,
            uri_source,
            reserved: 0,
            method: [0; METHOD_BYTES],
            title: [0; TITLE_BYTES],
            script: [0; SCRIPT_BYTES],
            uri: [0; URI_BYTES],
        };
        request.method[..3].copy_from_slice(b"GET");
        request.script[0] = b'-';
        request.uri[..uri.len()].copy_from_slice(uri);
        request
    }

    #[test]
    fn apache_gives_the_whole_request_line() {
        assert_eq!(RequestText::decode(&request(b"GET /a?b=1 HTTP/1.1", URI_APACHE)).uri, "/a?b=1");
        assert_eq!(RequestText::decode(&request(b"GET", URI_APACHE)).uri, "");
        assert_eq!(RequestText::decode(&request(b"/a b", URI_FASTCGI)).uri, "/a b");
    }

    #[test]
    fn a_dash_is_nothing_and_bytes_that_are_not_text_are_replaced() {
        let decoded = RequestText::decode(&request(b"/\xff\x1b[2J", URI_FASTCGI));
        assert_eq!((decoded.script.as_str(), decoded.method.as_str()), ("", "GET"));
        assert_eq!(decoded.uri, "/\u{fffd}\u{1b}[2J");
        assert_eq!(RequestText::decode(&request(&[b'a'; URI_BYTES], URI_FASTCGI)).uri.len(), URI_BYTES);
    }

    #[test]
    fn a_cut_record_is_refused() {
        assert_eq!(Event::decode(&[1, 0, 0, 0, 1, 0, 0, 0]), None);
        assert_eq!(Event::decode(&[]), None);
        assert_eq!(Event::decode(&[2, 0, 0, 0, 7, 0, 0, 0]), Some(Event::Exec { pid: 7 }));
        assert_eq!(Event::decode(&[99, 0, 0, 0, 7, 0, 0, 0]), None);
    }
}
