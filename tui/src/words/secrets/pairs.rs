//! Names and their values in running text: parameters of a query, `name=value`, `"name": "value"`, `'name' => 'value'`,
//! `name: value`, `PASSWORD 'value'`. It owns where a value ends; `weight` says whose value is secret.

use std::ops::Range;

use super::{
    Places, encoding,
    weight::{self, Weight},
};

/// Where a value ends that is not quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// In the URI of a request: with the parameter.
    Parameter,
    /// In other text: with the word, or before what looks like the next pair.
    Word,
}

/// Words between a name and credentials (RFC 9110, 11.4).
const SCHEMES: [&[u8]; 6] = [b"bearer", b"basic", b"digest", b"negotiate", b"token", b"apikey"];

/// A name that a separator may follow.
#[derive(Debug, Clone)]
struct Name {
    place: Range<usize>,
    /// What stands before it; 0 at the start.
    before: u8,
    /// A quote or a bracket has closed it.
    quoted: bool,
    /// A space follows it.
    spaced: bool,
}

/// Finds the values of secret names.
pub(super) fn find(text: &str, ends: Ends, places: &mut Places) {
    let bytes = text.as_bytes();
    let query = memchr::memchr(b'?', bytes).unwrap_or(bytes.len());
    let (mut name, mut before, mut at) = (None::<Name>, 0, 0);
    while at < bytes.len() {
        let (byte, taken) = encoding::byte(bytes, at);
        let next = at + taken;
        let mut found = None;
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'-' | b'.' | b'$' | b'[' | b']' => match &mut name {
                Some(name) if name.place.end == at => name.place.end = next,
                Some(name) if byte == b']' => name.quoted = true,
                _ => name = Some(Name { place: at..next, before, quoted: false, spaced: false }),
            },
            b' ' | b'\t' => name.iter_mut().for_each(|name| name.spaced = true),
            b'"' | b'\'' | b'\\' | b'`' | b'(' => {
                let start = if byte == b'(' { next } else { at };
                let named = name.as_ref().is_some_and(|name| is_named_by_word(bytes, name, start, byte));
                found = named.then(|| word_or_quoted(bytes, start));
                name = name.take_if(|name| !name.spaced && byte != b'(').map(|name| Name { quoted: true, ..name });
            }
            b'=' | b':' => {
                found = name.take().and_then(|name| {
                    let start = behind_separator(bytes, &name, at, next)?;
                    Some(match ends {
                        Ends::Parameter => start..end_of_parameter(bytes, start, query),
                        Ends::Word if is_cookie(&bytes[name.place.clone()]) && byte == b':' => {
                            start..end_of_header(bytes, start, name.before)
                        }
                        Ends::Word => word_or_quoted(bytes, start),
                    })
                });
            }
            _ => name = None,
        }
        (before, at) = (byte, next);
        if let Some(place) = found {
            (name, before, at) = (None, 0, place.end.max(next));
            places.add(text, place);
        }
    }
}

/// Whether a quoted value follows a name without a separator: `PASSWORD 'x'`, `password('x')`.
fn is_named_by_word(bytes: &[u8], name: &Name, start: usize, byte: u8) -> bool {
    let opens = if byte == b'(' { bytes.get(start).is_some_and(is_quote) } else { name.spaced };
    opens && !name.quoted && weight::is_password(&bytes[name.place.clone()])
}

/// Where the value begins behind a separator at `at`, if the name before it makes it secret.
fn behind_separator(bytes: &[u8], name: &Name, at: usize, next: usize) -> Option<usize> {
    let written = &bytes[name.place.clone()];
    let weight = weight::weigh(written);
    if weight == Weight::None {
        return None;
    }
    let colon = encoding::byte(bytes, at).0 == b':';
    let (mut start, mut arrow) = (next, false);
    // `=>`, `==`, `:=`; but `::` and `://` separate no value.
    while start < bytes.len() {
        let (byte, taken) = encoding::byte(bytes, start);
        match byte {
            b'=' => {}
            b'>' if !colon => arrow = true,
            b':' if colon => return None,
            b'/' if colon && bytes[start..].starts_with(b"//") => return None,
            _ => break,
        }
        start += taken;
    }
    let spaces = bytes[start..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let apart = name.spaced || spaces > 0;
    let enough = if name.quoted || arrow || (colon && (is_cookie(written) || written.eq_ignore_ascii_case(b"pass"))) {
        Weight::Value
    } else if colon || apart {
        Weight::Anywhere
    } else if matches!(name.before, b'?' | b'&') {
        Weight::Parameter
    } else {
        Weight::Value
    };
    (weight >= enough).then_some(start + spaces)
}

fn is_cookie(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"cookie") || name.eq_ignore_ascii_case(b"set-cookie")
}

/// `query` is where the query begins: before that, a `?` ends a value.
fn end_of_parameter(bytes: &[u8], start: usize, query: usize) -> usize {
    let end = |byte: &u8| matches!(byte, b'&' | b'#') || (*byte == b'?' && start <= query);
    bytes[start..].iter().position(end).map_or(bytes.len(), |length| start + length)
}

/// The end of a header's value that may have spaces: with the line, or with the quote that opened the header.
fn end_of_header(bytes: &[u8], start: usize, before: u8) -> usize {
    let end = |byte: &u8| matches!(byte, 0 | b'\n' | b'\r') || (is_quote(&before) && *byte == before);
    bytes[start..].iter().position(end).map_or(bytes.len(), |length| start + length)
}

/// What is quoted at `start`, without the quotes; or the word there.
fn word_or_quoted(bytes: &[u8], start: usize) -> Range<usize> {
    let backslashes = bytes[start..].iter().take_while(|&&byte| byte == b'\\').count();
    let opened = start + backslashes;
    match bytes.get(opened) {
        Some(quote) if is_quote(quote) => opened + 1..end_of_quoted(bytes, opened + 1, *quote, backslashes),
        _ => word(bytes, start),
    }
}

fn is_quote(byte: &u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

/// The end of what was opened by a quote behind so many backslashes: what closes it has no more of them.
fn end_of_quoted(bytes: &[u8], start: usize, quote: u8, backslashes: usize) -> usize {
    let mut before = 0;
    for (at, &byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            b'\\' => before += 1,
            0 => return at,
            _ if byte == quote => {
                let closes = if backslashes == 0 { before % 2 == 0 } else { before <= backslashes };
                if closes {
                    return at - before.min(backslashes);
                }
                before = 0;
            }
            _ => before = 0,
        }
    }
    bytes.len()
}

/// A word without what closes around it; behind the name of a scheme what follows that.
fn word(bytes: &[u8], start: usize) -> Range<usize> {
    let end = end_of_word(bytes, start);
    let scheme = &bytes[start..end];
    let spaces = bytes[end..].iter().take_while(|&&byte| byte == b' ').count();
    if spaces == 0 || !SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return start..end;
    }
    // A digest has parts, with quotes of their own.
    let digest = scheme.eq_ignore_ascii_case(b"digest");
    let start = end + spaces;
    start..if digest { end_of_header(bytes, start, 0) } else { end_of_word(bytes, start) }
}

fn end_of_word(bytes: &[u8], start: usize) -> usize {
    // Where the value ends if a name and `=` follow a separator.
    let mut separator = None;
    let mut end = bytes.len();
    for (at, &byte) in bytes.iter().enumerate().skip(start) {
        match byte {
            0 | b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'\'' | b'`' | b'<' | b'>' => {
                end = at;
                break;
            }
            b'&' | b';' | b',' => separator = Some(at),
            b'=' => {
                if let Some(separator) = separator.take_if(|separator| *separator + 1 < at) {
                    return separator;
                }
            }
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'-' | b'.' | b'[' | b']' | b'%' => {}
            _ => separator = None,
        }
    }
    let closes = |byte: &u8| matches!(byte, b',' | b';' | b'.' | b':' | b')' | b']' | b'}' | b'!' | b'\\');
    end - bytes[start..end].iter().rev().take_while(|byte| closes(byte)).count()
}
