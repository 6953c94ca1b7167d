//! A request as the tests write it, its answer, and the way over HTTP/1.1.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use super::PATIENCE;

/// One request. Over HTTP the server chooses the script; over FastCGI `script` does.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query, as a browser sends it.
    pub uri: String,
    /// The file below the document root that FastCGI is told to run.
    pub script: String,
    pub body: Vec<u8>,
}

impl Request {
    /// `GET uri`, answered by the front controller `index.php`.
    pub fn get(uri: &str) -> Self {
        Self { method: "GET".into(), uri: uri.into(), script: "index.php".into(), body: Vec::new() }
    }

    /// `POST uri` with a form as its body.
    pub fn post(uri: &str, body: &str) -> Self {
        Self { method: "POST".into(), body: body.as_bytes().to_vec(), ..Self::get(uri) }
    }

    /// The same request, run by another script over FastCGI.
    pub fn script(self, script: &str) -> Self {
        Self { script: script.into(), ..self }
    }

    /// The part of the URI behind the first `?`, or nothing.
    pub fn query(&self) -> &str {
        self.uri.split_once('?').map_or("", |(_, query)| query)
    }

    /// Sends the request to 127.0.0.1:`port` on a connection of its own. Panics when no valid answer comes.
    pub fn send(&self, port: u16) -> Response {
        let started = Instant::now();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE * 3)).expect("the timeout is not zero");
        let mut message = format!(
            "{} {} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.method,
            self.uri,
            self.body.len()
        );
        if !self.body.is_empty() {
            message.push_str("Content-Type: application/x-www-form-urlencoded\r\n");
        }
        message.push_str("\r\n");
        let mut bytes = message.into_bytes();
        bytes.extend_from_slice(&self.body);
        stream.write_all(&bytes).expect("the server reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("the server answers");
        Response::parse(&answer, started.elapsed())
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// As sent, so a chunked body still has its chunk lengths in it.
    pub body: String,
    /// From the connection's start to its end, as the client saw it.
    pub elapsed: Duration,
}

impl Response {
    fn parse(answer: &[u8], elapsed: Duration) -> Self {
        let text = String::from_utf8_lossy(answer);
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        match (status, body) {
            (Some(status), Some(body)) => Self { status, body, elapsed },
            _ => panic!("not an HTTP answer: {text:?}"),
        }
    }
}
