//! Bytes of a text that may be percent-encoded, also several times over (`%3D`, `%253D`).

/// The byte that is written at `at`, and how many bytes it takes there. `at` is inside of the text.
pub(super) fn byte(text: &[u8], at: usize) -> (u8, usize) {
    let first = text[at];
    if first != b'%' {
        return (first, 1);
    }
    let mut digits = at + 1;
    while text[digits..].starts_with(b"25") && text.get(digits + 2).is_some_and(u8::is_ascii_hexdigit) {
        digits += 2;
    }
    match (hex(text, digits), hex(text, digits + 1)) {
        (Some(high), Some(low)) => (high * 16 + low, digits + 2 - at),
        _ => (first, 1),
    }
}

fn hex(text: &[u8], at: usize) -> Option<u8> {
    char::from(*text.get(at)?).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::byte;

    #[test]
    fn a_byte_is_found_however_often_it_is_encoded() {
        for (text, expected) in [
            ("=", (b'=', 1)),
            ("%3D", (b'=', 3)),
            ("%3dx", (b'=', 3)),
            ("%253D", (b'=', 5)),
            ("%25253D", (b'=', 7)),
            ("%25", (b'%', 3)),
            ("%2525", (b'%', 5)),
            ("%", (b'%', 1)),
            ("%2", (b'%', 1)),
            ("%zz", (b'%', 1)),
        ] {
            assert_eq!(byte(text.as_bytes(), 0), expected, "{text}");
        }
    }
}
