//! Texts that look like secrets by themselves, whatever their name: tokens of known services, JSON web tokens, private keys,
//! long random texts.

use super::Places;

/// What tokens of well-known services begin with.
const PREFIXES: [&str; 26] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxr-",
    "xoxs-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "sk-ant-",
    "sk-proj-",
    "AIza",
    "ya29.",
    "SG.",
    "shpat_",
    "whsec_",
    "npm_",
    "dop_v1_",
    "hvs.",
    "pypi-",
];
/// Bytes behind such a beginning, at least.
const BEHIND_PREFIX: usize = 16;
/// Bytes of a random text, at least.
const RANDOM: usize = 32;

/// Finds them in any text.
pub(super) fn find(text: &str, places: &mut Places) {
    let bytes = text.as_bytes();
    let mut start = 0;
    while start < bytes.len() {
        let length = bytes[start..].iter().take_while(|byte| is_part(byte)).count();
        let word = &bytes[start..start + length];
        if is_token(word) || is_random(word) {
            places.add(text, start..start + length);
        }
        start += length + 1;
    }
    find_private_keys(text, places);
}

/// Finds values of parameters that are random texts, also hexadecimal ones and those with signs of base64.
pub(super) fn find_in_query(uri: &str, places: &mut Places) {
    let Some(query) = uri.find('?') else { return };
    let mut start = query + 1;
    for parameter in uri[start..].split('&') {
        if let Some(equals) = parameter.find('=') {
            let value = &parameter.as_bytes()[equals + 1..];
            if is_hexadecimal(value) || is_random(value) {
                places.add(uri, start + equals + 1..start + parameter.len());
            }
        }
        start += parameter.len() + 1;
    }
}

/// Letters and digits mixed, or hexadecimal digits, as ids and tokens are, and no words.
pub(super) fn is_id(text: &[u8]) -> bool {
    let digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = text.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    digits > 0 && letters > 0 && text.iter().all(is_part) && turns(text) * 5 >= text.len()
}

fn is_part(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn is_token(word: &[u8]) -> bool {
    let known = |prefix: &&str| word.len() >= prefix.len() + BEHIND_PREFIX && word.starts_with(prefix.as_bytes());
    // Base64 of `{"`: a JSON web token (RFC 7519) has two parts like that.
    let web_token = word.len() >= 20 && word.starts_with(b"eyJ") && memchr::memchr(b'.', word).is_some();
    web_token || PREFIXES.iter().any(known)
}

/// Upper case, lower case and digits change as often as in random text, and far more often than in names.
fn is_random(word: &[u8]) -> bool {
    if word.len() < RANDOM {
        return false;
    }
    let count = |is: fn(&u8) -> bool| word.iter().filter(|byte| is(byte)).count() >= 2;
    count(u8::is_ascii_digit)
        && count(u8::is_ascii_lowercase)
        && count(u8::is_ascii_uppercase)
        && word.iter().all(|byte| is_part(byte) || matches!(byte, b'+' | b'/' | b'=' | b'~' | b'%'))
        && turns(word) * 3 >= word.len()
}

/// How often the kind of a letter or digit differs from that of the one before it.
fn turns(word: &[u8]) -> usize {
    let kind = |byte: u8| match byte {
        b'0'..=b'9' => 1,
        b'a'..=b'z' => 2,
        b'A'..=b'Z' => 3,
        _ => 0,
    };
    word.windows(2).filter(|pair| kind(pair[0]) != kind(pair[1]) && kind(pair[0]) * kind(pair[1]) > 0).count()
}

fn is_hexadecimal(value: &[u8]) -> bool {
    value.len() >= RANDOM
        && value.iter().all(u8::is_ascii_hexdigit)
        && value.iter().any(u8::is_ascii_digit)
        && value.iter().any(u8::is_ascii_alphabetic)
}

/// Private keys in PEM (RFC 7468), to their end.
fn find_private_keys(text: &str, places: &mut Places) {
    const BEGIN: &str = "-----BEGIN ";
    const DASHES: &str = "-----";
    let mut start = 0;
    while let Some(found) = text[start..].find(BEGIN) {
        let label = start + found + BEGIN.len();
        let Some(length) = text[label..].find(DASHES) else { return };
        let key = label + length + DASHES.len();
        start = key;
        if text[label..label + length].ends_with("PRIVATE KEY") {
            start = text[key..].find(DASHES).map_or(text.len(), |length| key + length);
            places.add(text, key..start);
        }
    }
}
