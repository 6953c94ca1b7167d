//! FastCGI 1.0, the client's side of one request on one connection: what nginx does, without nginx.
//!
//! The record layout is section 3.3 of the FastCGI specification, name-value pairs are section 3.4. The crates that
//! speak it are asynchronous and keep connections; a test wants to block and to know which connection it used.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use super::{PATIENCE, Request, Response};

const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const RESPONDER: u8 = 1;
const REQUEST_ID: u16 = 1;

/// Sends `request` to the FastCGI server on `socket`; its script lies in `document_root`. Panics when no valid answer
/// comes.
pub fn send(socket: &Path, document_root: &Path, request: &Request) -> Response {
    let started = Instant::now();
    let (status, body) = exchange(socket, document_root, request)
        .unwrap_or_else(|error| panic!("{} {} over {}: {error}", request.method, request.uri, socket.display()));
    Response { status, body, elapsed: started.elapsed() }
}

fn exchange(socket: &Path, document_root: &Path, request: &Request) -> io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE * 3))?;
    let mut message = Vec::new();
    record(&mut message, BEGIN_REQUEST, &[0, RESPONDER, 0, 0, 0, 0, 0, 0]);
    stream_records(&mut message, PARAMS, &params(document_root, request));
    stream_records(&mut message, STDIN, &request.body);
    stream.write_all(&message)?;
    answer(&mut stream)
}

/// The variables that nginx's `fastcgi.conf` sets.
fn params(document_root: &Path, request: &Request) -> Vec<u8> {
    let root = document_root.to_string_lossy();
    let length = if request.body.is_empty() { String::new() } else { request.body.len().to_string() };
    let kind = if request.body.is_empty() { "" } else { "application/x-www-form-urlencoded" };
    let path = request.uri.split('?').next().unwrap_or_default();
    let pairs = [
        ("SCRIPT_FILENAME", format!("{root}/{}", request.script)),
        ("QUERY_STRING", request.query().to_owned()),
        ("REQUEST_METHOD", request.method.clone()),
        ("CONTENT_TYPE", kind.to_owned()),
        ("CONTENT_LENGTH", length),
        ("SCRIPT_NAME", format!("/{}", request.script)),
        ("REQUEST_URI", request.uri.clone()),
        ("DOCUMENT_URI", path.to_owned()),
        ("DOCUMENT_ROOT", root.to_string()),
        ("SERVER_PROTOCOL", "HTTP/1.1".to_owned()),
        ("REQUEST_SCHEME", "http".to_owned()),
        ("GATEWAY_INTERFACE", "CGI/1.1".to_owned()),
        ("SERVER_SOFTWARE", "tusktop-tests".to_owned()),
        ("REMOTE_ADDR", "127.0.0.1".to_owned()),
        ("REMOTE_PORT", "0".to_owned()),
        ("SERVER_ADDR", "127.0.0.1".to_owned()),
        ("SERVER_PORT", "80".to_owned()),
        ("SERVER_NAME", "localhost".to_owned()),
        ("HTTP_HOST", "localhost".to_owned()),
    ];
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        for length in [name.len(), value.len()] {
            match u8::try_from(length) {
                Ok(short) if short < 128 => bytes.push(short),
                _ => bytes.extend_from_slice(&(length as u32 | 0x8000_0000).to_be_bytes()),
            }
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

fn record(message: &mut Vec<u8>, kind: u8, content: &[u8]) {
    let length = u16::try_from(content.len()).expect("records are cut at 65535 bytes");
    message.extend_from_slice(&[1, kind]);
    message.extend_from_slice(&REQUEST_ID.to_be_bytes());
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(content);
}

/// A stream of records ends with an empty one.
fn stream_records(message: &mut Vec<u8>, kind: u8, content: &[u8]) {
    for chunk in content.chunks(usize::from(u16::MAX)) {
        record(message, kind, chunk);
    }
    record(message, kind, &[]);
}

fn answer(stream: &mut impl Read) -> io::Result<(u16, String)> {
    let mut output = Vec::new();
    loop {
        let mut header = [0; 8];
        stream.read_exact(&mut header)?;
        let [_, kind, _, _, high, low, padding, _] = header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let mut content = vec![0; length + usize::from(padding)];
        stream.read_exact(&mut content)?;
        content.truncate(length);
        match kind {
            STDOUT => output.extend_from_slice(&content),
            END_REQUEST => break,
            _ => {}
        }
    }
    let text = String::from_utf8_lossy(&output);
    let (head, body) =
        text.split_once("\r\n\r\n").ok_or_else(|| io::Error::other(format!("no end of the headers in {text:?}")))?;
    // CGI, RFC 3875 section 6.3.3: without a Status header the answer is 200.
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).and_then(|line| line.get(..3));
    let status = status.unwrap_or("200").parse().map_err(io::Error::other)?;
    Ok((status, body.to_owned()))
}
