//! Users and passwords in URLs (`scheme://user:password@host`, `user:password@host`), and paths that hold a secret
//! (`/reset/4f9c...`).

use super::{Places, encoding, pairs::Ends, shapes, weight};

/// Shortest part of a path that can be a secret.
const SHORTEST: usize = 16;

/// Whether there is anything in a URI that could be a secret; most have nothing.
pub(super) fn may_hold_secrets(uri: &str) -> bool {
    uri.bytes().any(|byte| matches!(byte, b'?' | b'=' | b'@' | b'%' | b':'))
        || uri.split('/').any(|segment| segment.len() >= SHORTEST)
}

/// Finds what is before the `@` of an authority: all of it, because a token may stand in the user's place.
pub(super) fn find_users(text: &str, ends: Ends, places: &mut Places) {
    let bytes = text.as_bytes();
    // Start of the word, as long as it can be the name of a user.
    let (mut at, mut user) = (0, Some(0));
    // No `@` is between the last authority that was looked through and this.
    let mut searched = 0;
    while at < bytes.len() {
        let (byte, taken) = encoding::byte(bytes, at);
        let next = at + taken;
        match byte {
            b':' => {
                if let Some((start, level)) = slashes(bytes, next) {
                    let authority = Authority::read(bytes, start, level, ends, searched);
                    if let Some(host) = authority.host {
                        places.add(text, start..host);
                    }
                    (at, user, searched) = (authority.end, None, authority.searched);
                    continue;
                }
                let start = user.take().filter(|&start| start < at && taken == 1 && !is_scheme(&bytes[start..at]));
                if start.is_some() {
                    at = find_password(text, next, places);
                    continue;
                }
            }
            b'=' | b',' | b'(' => user = Some(next),
            _ if is_end_of_word(byte) => user = Some(next),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'-' | b'.' => {}
            _ => user = None,
        }
        at = next;
    }
}

/// Where `//` ends, and how many bytes a slash takes there.
fn slashes(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let mut level = 1;
    for _ in 0..2 {
        let (byte, taken) = (at < bytes.len()).then(|| encoding::byte(bytes, at))?;
        if byte != b'/' {
            return None;
        }
        (at, level) = (at + taken, taken);
    }
    Some((at, level))
}

/// What is behind `//`.
struct Authority {
    end: usize,
    /// The last `@`.
    host: Option<usize>,
    searched: usize,
}

impl Authority {
    /// A password may hold what should have been encoded. So where the port is no number, all of the word is looked at.
    fn read(bytes: &[u8], start: usize, level: usize, ends: Ends, searched: usize) -> Self {
        let (mut at, mut end, mut host) = (start, None, None);
        let (mut colon, mut number) = (false, true);
        while at < bytes.len() {
            let (byte, taken) = encoding::byte(bytes, at);
            if is_end_of_word(bytes[at]) || (ends == Ends::Parameter && bytes[at] == b'&') {
                break;
            }
            // What is encoded more often than the slashes is a part of the text.
            match byte {
                b'/' | b'?' | b'#' | b'\\' if taken <= level && end.is_none() => {
                    end = Some(at);
                    if host.is_some() || !colon || number || searched > at {
                        break;
                    }
                }
                b'@' if taken <= level => host = Some(at),
                b':' if end.is_none() => (colon, number) = (true, true),
                b']' if end.is_none() => (colon, number) = (false, true),
                _ if end.is_none() => number &= byte.is_ascii_digit(),
                _ => {}
            }
            at += taken;
        }
        if at == bytes.len() && host.is_none() && colon && !number && end.is_none() {
            // The text was cut before the `@`.
            host = Some(at);
        }
        let end = if host.is_some() { at } else { end.unwrap_or(at) };
        Self { end, host, searched: searched.max(at) }
    }
}

/// Finds the password of `user:password@host`, which begins at `start`, and says where to go on.
fn find_password(text: &str, start: usize, places: &mut Places) -> usize {
    let bytes = text.as_bytes();
    let end = |&byte: &u8| matches!(byte, b'@' | b'/' | b':' | b'&' | b'=') || is_end_of_word(byte);
    let Some(length) = bytes[start..].iter().position(end) else { return bytes.len() };
    let at = start + length;
    let host = &bytes[at + 1..];
    // The digest of a container's image is no host.
    if bytes[at] == b'@' && host.first().is_some_and(u8::is_ascii_alphanumeric) && !host.starts_with(b"sha256:") {
        places.add(text, start..at);
    }
    at
}

/// Schemes without slashes, whose user is no secret.
fn is_scheme(name: &[u8]) -> bool {
    [&b"mailto"[..], b"sip", b"sips", b"xmpp", b"acct", b"urn"].iter().any(|scheme| scheme.eq_ignore_ascii_case(name))
}

fn is_end_of_word(byte: u8) -> bool {
    matches!(byte, 0 | b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'\'' | b'`' | b'<' | b'>')
}

/// Finds parts of a path that are secrets: long and without a word in them, behind a part that announces them.
pub(super) fn find_in_path(uri: &str, places: &mut Places) {
    let path = &uri[..uri.find(['?', '#']).unwrap_or(uri.len())];
    let (mut at, mut announced) = (0, false);
    for segment in path.split('/') {
        if announced && segment.len() >= SHORTEST && shapes::is_id(segment.as_bytes()) {
            places.add(uri, at..at + segment.len());
        }
        announced = announced || weight::announces_secret(segment.as_bytes());
        at += segment.len() + 1;
    }
}
