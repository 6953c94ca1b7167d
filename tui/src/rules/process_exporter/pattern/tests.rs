//! Patterns that mean the same in Go, and those that are refused.

use proptest::prelude::*;

use super::*;

fn is(pattern: &str, text: &str) -> bool {
    compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).is_match(text)
}

#[test]
fn patterns_mean_what_they_mean_in_go() {
    for (pattern, matching, other) in [
        (r"^\w+$", "az_09", "é"),
        (r"^\d$", "5", "٥"),
        (r"a\sb", "a\tb", "a\u{a0}b"),
        (r"^\W$", "é", "e"),
        (r"^[\w-]+$", "a-b", "a b"),
        (r"^[^\w]$", "é", "e"),
        (r"^[\D]$", "x", "1"),
        (r"\bb\b", "éb", "ab"),
        (r"^\Qa.b(\E+$", "a.b((", "axb("),
        (r"\Q[", "[", "x"),
        (r"^[a[]$", "[", "b"),
        (r"^[a&&b]$", "&", "c"),
        (r"^[a~~b]$", "~", "c"),
        (r"^[+--]$", ",", "."),
        (r"^[]a]$", "]", "b"),
        (r"^[^]a]$", "b", "]"),
        (r"^[a-]$", "-", "b"),
        (r"^[[:alpha:]_]+$", "a_", "1"),
        (r"^[[:^digit:]]$", "a", "1"),
        (r"^a{$", "a{", "a"),
        (r"^a{,5}$", "a{,5}", "aa"),
        (r"^{x}$", "{x}", "x"),
        (r"^a{2,3}?$", "aaa", "a"),
        (r"^\<$", "<", ""),
        (r"^\101\x42\x{43}$", "ABC", "abc"),
        (r"^\0$", "\0", "0"),
        (r"(?i)^PHP$", "php", "phq"),
        (r"(?i:A)b", "ab", "aB"),
        (r"^(?U)a+?$", "aa", "b"),
        (r"^\pL\p{Greek}\P{Greek}\p{^Greek}$", "aαaa", "aaaa"),
        (r"^[\pL]$", "é", "1"),
        (r"^.$", "é", "ab"),
        (r"\Ax\z", "x", "x\n"),
        ("^a$", "a", "a\n"),
        (r"^(?P<Pool>\S+)$", "www", "w w"),
        (r"^a??$", "a", "aa"),
        (r"^[\.\-/]+$", "./-", "a"),
    ] {
        assert!(is(pattern, matching), "{pattern} {matching:?}");
        assert!(!is(pattern, other), "{pattern} {other:?}");
    }
}

#[test]
fn what_go_refuses_or_cannot_be_kept_is_refused_and_says_why() {
    for (pattern, expected) in [
        ("(", "unclosed group"),
        ("a**", "repeats a repetition"),
        ("a*+", "repeats a repetition"),
        ("a{2}{3}", "repeats a repetition"),
        ("a*??", "repeats a repetition"),
        ("a{1001}", "more than 1000"),
        ("(?=a)", "(?=a)"),
        ("(?<=a)", "(?<=a)"),
        ("(?x)a", "(?x)"),
        ("(?R:a)", "(?R:"),
        (r"a\1", r"`\1`"),
        (r"\Ba", r"`\B`"),
        (r"\Ca", r"`\C`"),
        (r"\e", r"`\e`"),
        (r"\Z", r"`\Z`"),
        ("[a", "closing bracket"),
        ("[b-a]", "not a range"),
        ("a\\", "backslash"),
        (r"\p{Nope}", "property"),
        ("*a", "repetition"),
        ("(?P<a>x)(?P<a>y)", "duplicate"),
    ] {
        let error = compile(pattern).expect_err(pattern);
        assert!(error.contains(expected), "{pattern}: {error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_pattern_or_an_error(text in r"[\[\](){}\\*+?|^$.:,\-<>=PQEiabwWdDxp0-9&~é ]{0,24}", other in ".{0,20}") {
        if let Ok(pattern) = compile(&text) {
            let _ = pattern.is_match(&other);
        } else {
            prop_assert!(!compile(&text).unwrap_err().is_empty());
        }
    }

    #[test]
    fn quoted_text_matches_itself_alone(text in r"[^\\]{0,30}") {
        let pattern = compile(&format!(r"^\Q{text}\E$")).unwrap();
        prop_assert!(pattern.is_match(&text));
        let longer = text + "x";
        prop_assert!(!pattern.is_match(&longer));
    }
}
