//! Texts that were cut to the fixed room in the maps: names keep their head, paths their tail.
//! Lengths come from PHP's memory through the programs and may be wrong.

use tusktop_shared::{CLASS_BYTES, FILE_BYTES};

/// A text of `len` bytes of which at most `room` were kept from its start. What was cut is marked.
pub(crate) fn head(bytes: &[u8], len: u32, room: usize) -> String {
    let len = len as usize;
    let kept = &bytes[..len.min(room).min(bytes.len())];
    let mut text = String::from_utf8_lossy(kept).into_owned();
    if len > room {
        // The cut may have gone through a character.
        while text.ends_with('\u{fffd}') && std::str::from_utf8(kept).is_err_and(|error| error.error_len().is_none()) {
            text.pop();
        }
        text.push('…');
    }
    text
}

/// A path of `len` bytes, of which the last ones were kept.
pub(crate) fn tail(bytes: &[u8; FILE_BYTES], len: u32) -> String {
    let len = len as usize;
    let text = String::from_utf8_lossy(&bytes[..len.min(FILE_BYTES)]);
    if len > FILE_BYTES { format!("…{text}") } else { text.into_owned() }
}

/// The name of a class. That of an anonymous class goes on behind a NUL with the place where it is.
pub(crate) fn class(bytes: &[u8; CLASS_BYTES], len: u32) -> String {
    let text = head(bytes, len, CLASS_BYTES);
    text.split('\0').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_goes_through_a_character_and_bytes_that_are_none_stay_visible() {
        assert_eq!(head("aé".as_bytes(), 3, 3), "aé");
        assert_eq!(head(&"aéé".as_bytes()[..4], 5, 4), "aé…");
        assert_eq!(head(b"\xff\xfe", 2, 8), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn lengths_that_lie_do_not_panic() {
        assert!(head(b"ab", u32::MAX, 100).starts_with("ab"));
        assert!(tail(&[b'/'; FILE_BYTES], u32::MAX).starts_with('…'));
        assert_eq!(class(&[0; CLASS_BYTES], u32::MAX), "");
    }
}
