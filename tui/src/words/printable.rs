//! Text from outside made safe and measured for the terminal: escaping, width, cutting, padding.
//! It owns what one cell may hold; colours and places belong to `ui`.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// What stands for a character that must not reach the terminal.
pub(crate) const REPLACEMENT: char = '·';
/// What stands for text that was cut off.
pub(crate) const ELLIPSIS: char = '…';
/// Combining marks kept on one character; more would only blow up the output.
const MAX_MARKS: usize = 3;

/// `text` with everything that could steer or confuse a terminal replaced by a visible mark: control characters
/// (C0, DEL, C1, so every escape sequence), line and paragraph separators, bidirectional overrides and isolates, zero-width and
/// other format characters, private use characters. Borrows when nothing has to change.
pub fn printable(text: &str) -> Cow<'_, str> {
    if is_plain_ascii(text) || is_printable(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut marks = 0;
    for c in text.chars() {
        if unsafe_in_terminal(c) {
            out.push(REPLACEMENT);
            marks = 0;
        } else if c.width() == Some(0) {
            marks += 1;
            if marks <= MAX_MARKS && !out.is_empty() {
                out.push(c);
            }
        } else {
            out.push(c);
            marks = 0;
        }
    }
    Cow::Owned(out)
}

/// Columns that `text` takes, counted character by character as terminals do.
pub fn width(text: &str) -> usize {
    if is_plain_ascii(text) { text.len() } else { text.chars().map(columns).sum() }
}

/// `text` in at most `max` columns; the end gives way to `…`.
pub(crate) fn truncate_end(text: &str, max: usize) -> Cow<'_, str> {
    if width(text) <= max {
        return Cow::Borrowed(text);
    }
    if max == 0 {
        return Cow::Borrowed("");
    }
    let mut left = max - 1;
    let kept = text.char_indices().find(|&(_, c)| {
        let fits = columns(c) <= left;
        left = left.saturating_sub(columns(c));
        !fits
    });
    let end = kept.map_or(text.len(), |(at, _)| at);
    Cow::Owned(format!("{}{ELLIPSIS}", &text[..end]))
}

/// `text` in at most `max` columns; the start gives way to `…`, because the tail of a path is what tells it apart.
pub(crate) fn truncate_start(text: &str, max: usize) -> Cow<'_, str> {
    if width(text) <= max {
        return Cow::Borrowed(text);
    }
    if max == 0 {
        return Cow::Borrowed("");
    }
    let mut left = max - 1;
    let mut start = text.len();
    for (at, c) in text.char_indices().rev() {
        if columns(c) > left {
            break;
        }
        left -= columns(c);
        // A mark without its character would sit on the ellipsis.
        if columns(c) > 0 {
            start = at;
        }
    }
    Cow::Owned(format!("{ELLIPSIS}{}", &text[start..]))
}

/// `text` in exactly `columns` columns: cut at the end or filled with spaces.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    let cut = truncate_end(text, columns);
    let fill = columns - width(&cut).min(columns);
    format!("{cut}{:fill$}", "")
}

/// `text` in exactly `columns` columns, at the right edge.
pub(crate) fn pad_left(text: &str, columns: usize) -> String {
    let cut = truncate_end(text, columns);
    let fill = columns - width(&cut).min(columns);
    format!("{:fill$}{cut}", "")
}

fn columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

fn is_plain_ascii(text: &str) -> bool {
    text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

fn is_printable(text: &str) -> bool {
    let mut marks = MAX_MARKS;
    text.chars().all(|c| {
        marks = if c.width() == Some(0) { marks + 1 } else { 0 };
        !unsafe_in_terminal(c) && marks <= MAX_MARKS
    })
}

/// Control and format characters (Unicode Cc, Cf, Zl, Zp), fillers that look like nothing, and what changes the width of a
/// neighbour (variation selectors, emoji modifiers), on which terminals disagree.
pub(crate) fn unsafe_in_terminal(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0x00ad
            | 0x034f
            | 0x0600..=0x0605
            | 0x061c
            | 0x06dd
            | 0x070f
            | 0x08e2
            | 0x115f..=0x1160
            | 0x17b4..=0x17b5
            | 0x180b..=0x180f
            | 0x200b..=0x200f
            | 0x2028..=0x202e
            | 0x2060..=0x206f
            | 0x3164
            | 0xe000..=0xf8ff
            | 0xfe00..=0xfe0f
            | 0xfeff
            | 0xffa0
            | 0xfff0..=0xfffb
            | 0xfffe..=0xffff
            | 0x1bca0..=0x1bca3
            | 0x1d173..=0x1d17a
            | 0x1f3fb..=0x1f3ff
            | 0xe0000..=0x10ffff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_and_controls_become_visible() {
        assert_eq!(printable("a\x1b[31mb\n\tc\x7f\u{9b}"), "a·[31mb··c··");
    }

    #[test]
    fn bidi_and_zero_width_tricks_become_visible() {
        assert_eq!(printable("gpj\u{202e}exe\u{200b}\u{feff}\u{2066}\u{200e}"), "gpj·exe····");
    }

    #[test]
    fn wide_and_combining_text_stays() {
        assert_eq!(printable("日本 e\u{301} 🐘"), "日本 e\u{301} 🐘");
        assert_eq!(width("日本 e\u{301} 🐘"), 4 + 1 + 1 + 1 + 2);
    }

    #[test]
    fn a_heap_of_marks_is_cut() {
        let heap = format!("a{}b", "\u{301}".repeat(50));
        assert_eq!(printable(&heap), format!("a{}b", "\u{301}".repeat(MAX_MARKS)));
        assert_eq!(printable("\u{301}a"), "a", "a mark without a character would sit on the cell before");
    }

    #[test]
    fn a_path_keeps_its_tail() {
        assert_eq!(truncate_start("/srv/www/wp-includes/class-wpdb.php", 16), "…/class-wpdb.php");
        assert_eq!(truncate_start("日本語", 4), "…語");
        assert_eq!(truncate_end("日本語", 4), "日…");
    }

    #[test]
    fn padding_fills_to_the_column() {
        assert_eq!(pad("日本", 5), "日本 ");
        assert_eq!(pad_left("12", 4), "  12");
        assert_eq!(pad("abcdef", 3), "ab…");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_passes(text in any::<String>()) {
            let shown = printable(&text);
            prop_assert!(!shown.chars().any(|c| c.is_control() || unsafe_in_terminal(c)));
            prop_assert_eq!(printable(&shown), shown.clone());
        }

        #[test]
        fn cuts_never_exceed_the_width(text in any::<String>(), max in 0_usize..40) {
            let shown = printable(&text);
            prop_assert!(width(&truncate_end(&shown, max)) <= max);
            prop_assert!(width(&truncate_start(&shown, max)) <= max);
            prop_assert_eq!(width(&pad(&shown, max)), max);
        }
    }
}
