//! What processes say of themselves in their mappings and arguments, made of real texts by chance.

use super::{maps, moves};
use crate::fuzz::Target;

#[test]
fn any_list_of_mappings_is_read() {
    let target = Target {
        name: "maps",
        longest: 8 << 10,
        memory: 256 << 10,
        words: &["r-xp", "rw-s", "/dev/zero (deleted)", "-", "7f0000000000", " 00000000 00:01 7 ", "\n"],
    };
    target.run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        for mapping in maps::all(&text) {
            let _ = (mapping.bytes(), mapping.is_shared_anonymous());
        }
        moves::has_moved(&text);
    });
}

#[test]
fn any_arguments_and_settings_are_looked_through() {
    let target = Target {
        name: "settings",
        longest: 8 << 10,
        memory: 256 << 10,
        words: &["opcache.huge_code_pages", "=", "-d", "-c", "\0", "On", "PHPRC=", "PHP_INI_SCAN_DIR=", "/", ":"],
    };
    target.run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        moves::is_on(&text);
        let arguments: Vec<_> = text.split('\0').collect();
        assert!(moves::named(&arguments, &text).all(|path| path.is_absolute()));
    });
}
