//! Text from outside, made harmless: any text by chance.

use super::printable::{pad, printable, truncate_end, truncate_start, unsafe_in_terminal, width};
use crate::fuzz::Target;

#[test]
fn any_text_is_harmless_and_fits() {
    let target = Target {
        name: "printable",
        longest: 256,
        memory: 64 << 10,
        words: &[
            "\u{202e}",
            "\u{200b}",
            "\x1b[",
            "\u{9b}",
            "\u{301}",
            "\u{1f418}",
            "\u{e0001}",
            "\u{fe0f}",
            "漢",
            "\u{d55c}",
        ],
    };
    target.run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let shown = printable(&text);
        assert!(!shown.contains(unsafe_in_terminal) && printable(&shown) == shown, "{shown:?}");
        for columns in [0, 1, 2, 5, 80] {
            for cut in [truncate_end(&shown, columns), truncate_start(&shown, columns)] {
                assert!(width(&cut) <= columns, "{cut:?} takes more than {columns}");
            }
            assert!(width(&pad(&shown, columns)) >= columns);
        }
    });
}
