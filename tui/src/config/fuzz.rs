//! Configuration files and values of the command line, made of real ones by chance.

use std::path::Path;

use super::{ConfigError, Settings, file, values};
use crate::{fuzz::Target, words::times::When};

#[test]
fn any_configuration_is_read_or_told_what_is_wrong_and_where() {
    let target = Target {
        name: "config",
        longest: 8 << 10,
        // A class such as \pL takes a megabyte when it is compiled; regex refuses patterns that take more than 10.
        memory: 64 << 20,
        words: &[
            "[[groups.rules]]\n",
            "name = ",
            "cmdline = ",
            "comm = ",
            "[keys]\n",
            "[memory]\n",
            "interval = \"1s\"\n",
            "pss_budget = ",
            "{exe}",
            "(?P<a>.)",
            "{100}",
            "\\pL",
            "[",
            "\"\"\"",
            "1e",
        ],
    };
    target.run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let lines = text.bytes().filter(|&byte| byte == b'\n').count() + 1;
        let path = Path::new("/etc/tusktop/config.toml");
        let content = file::parse(path, text);
        let rules = content.and_then(|content| {
            // Other files are not read.
            let groups = super::GroupSettings { import: None, ..content.groups };
            Settings { groups, file: Some(path.to_owned()), ..Settings::default() }.rules()
        });
        match rules {
            Ok(rules) => assert!(!rules.all().is_empty()),
            Err(ConfigError::Content { line, .. }) => assert!((1..=lines).contains(&line), "line {line} of {lines}"),
            Err(error) => panic!("{error}"),
        }
    });
}

#[test]
fn any_value_is_read_or_refused() {
    let target = Target {
        name: "values",
        longest: 64,
        memory: 64 << 10,
        words: &["1h", "ms", "MiB", "%", "ago", "2026-11-27T14:05:33Z", "-", ":", "e9", "."],
    };
    target.run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        for parse in [values::parse_duration, values::parse_length, values::parse_window, values::parse_read_limit] {
            assert!(parse(text).is_ok() || !parse(text).unwrap_err().is_empty());
        }
        for share in [values::parse_share(text), values::parse_pss_budget(text)].into_iter().flatten() {
            assert!(share.is_finite() && share >= 0.0, "{text:?}: {share}");
        }
        let _ = values::parse_size(text);
        if let Ok(when) = When::parse(text) {
            let span = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
            let short = (jiff::Timestamp::UNIX_EPOCH, jiff::Timestamp::UNIX_EPOCH);
            for span in [span, short, (span.1, span.0)] {
                when.within(span, &jiff::tz::TimeZone::UTC);
            }
        }
    });
}
