//! Secrets that neither a name and a sign nor their shape give away: credentials behind the name of their scheme, SQL's
//! `IDENTIFIED BY`, arguments in PHP's stack traces.

use super::Places;

/// Shortest credentials.
const CREDENTIALS: usize = 8;

/// Finds them.
pub(super) fn find(text: &str, places: &mut Places) {
    find_behind_words(text, places);
    find_arguments(text, places);
}

/// Finds what follows `Bearer`, `Basic` and `IDENTIFIED BY`.
fn find_behind_words(text: &str, places: &mut Places) {
    let bytes = text.as_bytes();
    let (mut before, mut at) = (&b""[..], 0);
    while at < bytes.len() {
        let length = bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let word = &bytes[at..at + length];
        at += length;
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let spaces = bytes[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let next = at + spaces;
        if spaces > 0 && (is(b"bearer") || is(b"basic")) {
            let end = next + bytes[next..].iter().take_while(|byte| is_of_credentials(byte)).count();
            if looks_like_credentials(&bytes[next..end]) {
                places.add(text, next..end);
            }
        } else if is(b"by") && before.eq_ignore_ascii_case(b"identified") {
            let password =
                bytes[next..].iter().take(16).position(|byte| matches!(byte, b'\'' | b'"')).map(|quote| next + quote);
            if let Some(start) = password {
                let quote = bytes[start];
                let end = bytes[start + 1..].iter().position(|&byte| byte == quote || matches!(byte, 0 | b'\n'));
                places.add(text, start + 1..end.map_or(bytes.len(), |length| start + 1 + length));
            }
        }
        if length > 0 {
            before = word;
        }
        at = if spaces > 0 { next } else { at + usize::from(length == 0) };
    }
}

/// `token68` of RFC 9110.
fn is_of_credentials(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

/// Not the word of a sentence, such as `Basic authentication`.
fn looks_like_credentials(word: &[u8]) -> bool {
    let plain = word.iter().skip(1).all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'-'));
    word.len() >= CREDENTIALS && !plain
}

/// Finds texts among the arguments of `#0 /shop/db.php(3): PDO->__construct('mysql:...', 'root', 'hunter2')`.
fn find_arguments(text: &str, places: &mut Places) {
    let mut start = 0;
    while let Some(found) = memchr::memchr(b'#', &text.as_bytes()[start..]) {
        start += found + 1;
        if !text.as_bytes()[start..].first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let line = memchr::memchr2(b'\n', 0, &text.as_bytes()[start..]).map_or(text.len(), |length| start + length);
        let call = text[start..line].find("): ").or_else(|| text[start..line].find("]: ")).map(|call| start + call + 3);
        let arguments = call.and_then(|call| Some(call + text[call..line].find('(')?));
        if let Some(arguments) = arguments {
            find_quoted(text, arguments, line, places);
        }
        // What this line does not have behind its first number, it does not have behind another.
        start = line;
    }
}

fn find_quoted(text: &str, start: usize, end: usize, places: &mut Places) {
    let mut at = start;
    while let Some(opened) = memchr::memchr(b'\'', &text.as_bytes()[at..end]).map(|found| at + found + 1) {
        // A quote in an argument is not escaped: what closes it is followed by a comma or a parenthesis.
        let bytes = text.as_bytes();
        let closes = |at: &usize| bytes[*at] == b'\'' && (*at + 1 == end || matches!(bytes[*at + 1], b',' | b')'));
        let closed = (opened..end).find(closes).unwrap_or(end);
        places.add(text, opened..closed);
        at = (closed + 1).min(end);
    }
}
