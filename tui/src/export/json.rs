//! Values as one line of JSON, such as the snapshot in schema 1. Control characters of terminals are escaped beyond what JSON
//! requires, because such a line is often printed to one.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::{model::Snapshot, words::printable};

/// Writes the snapshot and a newline.
///
/// # Errors
/// What `out` answers.
pub fn write(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    write_line(snapshot, out)
}

/// Writes one line of JSON.
///
/// # Errors
/// What `out` answers.
pub fn write_line(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, Escaped))?;
    out.write_all(b"\n")
}

/// JSON on one line; texts have no character that [`printable::printable`] would replace.
struct Escaped;

impl Formatter for Escaped {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut written = 0;
        for (at, c) in
            fragment.char_indices().filter(|&(_, c)| !c.is_ascii_graphic() && printable::unsafe_in_terminal(c))
        {
            writer.write_all(&fragment.as_bytes()[written..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            written = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[written..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> String {
        let mut out = Vec::new();
        write_line(&text, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn controls_overrides_and_what_has_no_width_are_escaped() {
        let expected = "\"é\\u001b[2J\\u009b\\u007f\\u202ex\\u200b\\udb40\\udc41\\n\"\n";
        assert_eq!(line("é\u{1b}[2J\u{9b}\u{7f}\u{202e}x\u{200b}\u{e0041}\n"), expected);
    }

    proptest! {
        #[test]
        fn any_text_reads_back_and_steers_nothing(text in any::<String>()) {
            let line = line(&text);
            prop_assert!(line.trim_end().chars().all(|c| !c.is_control()));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }
}
