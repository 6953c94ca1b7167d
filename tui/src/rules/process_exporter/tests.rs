//! Configurations that process-exporter takes and those that it refuses.

use proptest::prelude::*;

use super::*;
use crate::rules::{NO_NAME, Rules, tests::process};

fn imported(text: &str) -> Rules {
    Rules::new(rules("/etc/pe.yml", text).unwrap_or_else(|error| panic!("{text}: {error}")), false)
}

/// The group of a process, or a dash when no rule of the file takes it.
fn group(text: &str, comm: &str, cmdline: &str) -> String {
    imported(text).own_group(&process(comm, cmdline)).map_or_else(|| "-".to_owned(), |(name, _)| name)
}

#[test]
fn the_file_that_comes_with_process_exporter_groups_by_comm_and_leaves_the_kernel_out() {
    let text = "process_names:\n  - name: \"{{.Comm}}\"\n    cmdline:\n    - '.+'\n";
    assert_eq!(group(text, "bash", "-bash"), "bash");
    assert_eq!(group(text, "kthreadd", ""), "-");
}

#[test]
fn selectors_are_joined_by_and_and_the_first_item_wins() {
    let text = r"
process_names:
  - name: 'both {{.Matches.Pool}}'
    comm: [php-fpm8.2, php-fpm]
    cmdline: ['^php-fpm: pool (?P<Pool>\S+)', 'w$']
  - comm: [php-fpm]
  - exe: [/usr/sbin/nginx, sshd]
    name: '{{.ExeFull}}'
  - name: '{{.Comm}}'
    cmdline: [.+]
";
    assert_eq!(group(text, "php-fpm", "php-fpm: pool www"), "both www");
    assert_eq!(group(text, "php-fpm", "php-fpm: pool shop"), "php-fpm:", "only the first pattern matches");
    assert_eq!(group(text, "nginx", "/usr/sbin/nginx -g"), "/usr/sbin/nginx");
    assert_eq!(group(text, "nginx", "/opt/nginx -g"), "nginx");
    assert_eq!(group(text, "sshd", "/any/sshd"), "/any/sshd");
}

#[test]
fn the_title_trap_is_as_in_process_exporter() {
    let text = "process_names:\n- comm: [php-fpm8.2]\n";
    let mut worker = process("php-fpm8.2", "");
    worker.exe = "php-fpm: pool www".into();
    worker.cmdline = worker.exe.clone();
    assert_eq!(imported(text).group(&worker).0, "php-fpm: pool www");
    worker.exe = "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)".into();
    assert_eq!(imported(text).group(&worker).0, "php-fpm.conf)");
}

#[test]
fn what_process_exporter_takes_is_taken() {
    for text in [
        "",
        "# nothing\n",
        "---\n",
        "other: key\n",
        "process_names:\n",
        "process_names: ~\n",
        "process_names: []\n",
        "process_names: [{comm: [a], nope: 1}]\nunknown: {a: b}\n",
        "process_names:\n- comm: []\n",
        "process_names:\n- comm: [a]\n  comm: [b]\n",
        "process_names: [{comm: [a]}]\n---\nanother: [document\n",
        "process_names:\n- &a\n  comm: [x]\n- <<: *a\n  name: y\n",
        "process_names:\n- exe: [a]\n  comm: [!!str 5, 0x10, yes, 1.50, ~]\n",
        "process_names:\n- name: ~\n  exe: ~\n  comm: [a]\n",
        "{\"process_names\": [{\"cmdline\": [\"a\\\\.b\"]}]}",
        "\u{feff}process_names: [{comm: [a]}]\n",
    ] {
        imported(text);
    }
    assert_eq!(group("process_names: [{comm: [0x10, 1.50]}]", "0x10", "x"), "x", "a number is a text as it is written");
    assert_eq!(group("process_names: [{comm: [1.50]}]", "1.5", "x"), "-");
    assert_eq!(group("process_names: [{comm: []}]", "", ""), "-", "an empty list never matches");
    let merged = "process_names:\n- &a\n  comm: [x]\n- <<: *a\n  comm: [z]\n- <<: [*a]\n  name: y\n  exe: ['y']\n";
    assert_eq!(group(merged, "x", "y"), "y", "the first item takes x by its own name");
    assert_eq!(group("process_names:\n- comm: [a]\n  comm: [b]\n  name: n\n", "b", ""), "n", "the last of equal keys");
    assert_eq!(group("process_names: [{comm: [a], name: ''}]", "a", "/b/c d"), "c");
    assert_eq!(group("process_names: [{comm: [a], name: '{{.Matches.X}}'}]", "a", "b"), "<no value>");
    assert_eq!(group("process_names: [{comm: [a], name: '{{index .Matches \"X\"}}'}]", "a", "b"), NO_NAME);
}

#[test]
fn what_process_exporter_refuses_is_refused_with_its_line_and_what_to_do() {
    for (text, line, part) in [
        ("process_names:\n- name: x\n", 2, "no matchers provided"),
        ("process_names:\n- comm: [a]\n-\n", 3, "no matchers provided"),
        ("process_names:\n- comm: ~\n", 2, "no matchers provided"),
        ("process_names:\n- comm: a\n", 2, "comm: expected a list of texts, such as `comm: [\"…\"]`, found a text"),
        ("process_names:\n- comm: [a]\n  cmdline:\n  - 'x'\n  - '(y'\n", 5, "bad regular expression `(y`"),
        ("process_names:\n- comm: [[a]]\n", 2, "comm: expected a text, found a list"),
        ("process_names:\n- comm: [a]\n  name: [b]\n", 3, "name: expected a text"),
        ("process_names:\n- comm: [a]\n  name: {{.Comm}}\n", 3, "name: "),
        ("process_names: x\n", 1, "process_names: expected a list"),
        ("process_names:\n  comm: [a]\n", 2, "process_names: expected a list of items"),
        ("process_names:\n- x\n", 2, "expected keys"),
        ("- comm: [a]\n", 1, "expected keys such as `process_names:`, found a list"),
        ("a: [\n", 2, "not YAML"),
        ("process_names:\n\t- comm: [a]\n", 2, "not YAML"),
        ("process_names: *nope\n", 1, "not YAML"),
        ("process_names:\n- comm: [a]\n  name: '{{.Comm'\n", 3, "name: character 1 of `{{.Comm`"),
        ("process_names:\n- comm: [a]\n  name: 'é{{.Nope}}'\n", 3, "name: character 2 of"),
        ("process_names:\n- comm: [a]\n  cmdline: ['a**']\n", 3, "repeats a repetition"),
    ] {
        let error = rules("pe.yml", text).expect_err(text);
        assert!(error.line == line && error.message.contains(part), "{text}: {error}");
    }
}

#[test]
fn hostile_files_are_refused_without_harm() {
    let laughs: String = (1..12)
        .map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(",")))
        .fold("a0: &a0 [x]\n".to_owned(), |all, line| all + &line);
    assert!(rules("f", &laughs).is_err());
    for deep in ["[".repeat(200_000), "- ".repeat(200_000), "{a: ".repeat(50_000), "? ".repeat(100_000)] {
        assert!(rules("f", &deep).is_err());
    }
    assert!(rules("f", &"#".repeat(MAX_BYTES + 1)).unwrap_err().message.contains("bytes"));
}

#[test]
fn every_rule_knows_its_line() {
    let rules = rules("/etc/x/pe.yml", "\nprocess_names:\n\n- comm: [a]\n- name: b\n  exe: [b]\n").unwrap();
    let names: Vec<_> = rules.iter().map(|rule| (&**rule.name(), rule.origin().to_string())).collect();
    assert_eq!(names, [("pe.yml:4", "/etc/x/pe.yml:4".into()), ("pe.yml:5", "/etc/x/pe.yml:5".into())]);
}

proptest! {
    #[test]
    fn any_text_is_rules_or_an_error(text in r#"(process_names:|- |comm: |exe: |cmdline: |name: |\[|\]|\{|\}|"|'|\n|  |&a |\*a |<<: |!!str |~|#|.){0,40}"#) {
        match rules("f", &text) {
            Ok(rules) => prop_assert!(!Rules::new(rules, false).group(&process("a", "b c")).0.is_empty()),
            Err(error) => prop_assert!(error.line >= 1 && !error.message.is_empty()),
        }
    }
}
