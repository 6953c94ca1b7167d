//! Configurations of process-exporter, and processes of any name, made of real ones by chance.

use std::sync::LazyLock;

use super::{Rules, process_exporter, tests::process};
use crate::fuzz::Target;

#[test]
fn any_configuration_of_process_exporter_is_read_or_told_what_is_wrong() {
    let target = Target {
        name: "process_exporter",
        longest: 4096,
        memory: 64 << 20,
        words: &[
            "process_names:\n",
            "- name: ",
            "  cmdline:\n",
            "  comm: [a]\n",
            "{{.Comm}}",
            "{{.Matches.a}}",
            "(?P<a>.)",
            "&a ",
            "*a",
            "<<: ",
            "!!binary ",
            "|\n",
            "? ",
            "{100}",
            "\\pL",
            "[[:alpha:]]",
        ],
    };
    target.run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        match process_exporter::rules("pe.yml", text) {
            Ok(rules) => {
                let rules = Rules::new(rules, true);
                rules.own_group(&process("php-fpm8.2", "php-fpm: pool www"));
            }
            Err(error) => assert!(error.line >= 1 && !error.message.is_empty()),
        }
    });
}

#[test]
fn a_process_of_any_name_has_a_group() {
    static BUILT_IN: LazyLock<Rules> = LazyLock::new(Rules::default);
    let target = Target {
        name: "names",
        longest: 4096,
        // A regular expression takes what it needs while it searches, and keeps it for the next time.
        memory: 4 << 20,
        words: &["php", "php-fpm: pool ", "php-fpm: master process", "\0", " -d ", ".php", "/usr/bin/", "java"],
    };
    target.run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (comm, cmdline) = text.split_once('\0').unwrap_or((&text, ""));
        let (group, _) = BUILT_IN.built_in_group(&process(comm, cmdline));
        assert!(!group.is_empty());
    });
}
