//! One condition of a rule: what a property must be. It says whether a process matches, and in words why it does not.

use std::collections::HashMap;

use regex::{Captures, Regex};

use super::property::Property;
use crate::{collect::proc::Details, words::printable::truncate_end};

/// Columns of a value in an explanation.
const VALUE_COLUMNS: usize = 100;

/// What a property has to be.
#[derive(Debug)]
pub struct Condition {
    property: Property,
    test: Test,
}

#[derive(Debug)]
enum Test {
    /// It matches, and captures.
    Pattern(Regex),
    /// It is one of these; none is never.
    OneOf(Vec<Text>),
    /// The first argument has this last part; with a path it is the path. As process-exporter keeps it: one entry a name.
    Program(HashMap<String, Option<String>>),
}

#[derive(Debug)]
struct Text {
    written: String,
    /// For a text with stars.
    glob: Option<Regex>,
}

/// What a pattern found.
#[derive(Debug)]
pub(super) struct Captured<'p> {
    pub pattern: &'p Regex,
    pub groups: Captures<'p>,
}

impl Condition {
    /// The property matches `pattern`, which may match anywhere in it.
    pub(crate) fn pattern(property: Property, pattern: Regex) -> Self {
        Self { property, test: Test::Pattern(pattern) }
    }

    /// The property is one of `texts`, where a star stands for any characters.
    pub(crate) fn one_of(property: Property, texts: impl IntoIterator<Item = String>) -> Self {
        let text = |written: String| Text { glob: written.contains('*').then(|| glob(&written)), written };
        Self { property, test: Test::OneOf(texts.into_iter().map(text).collect()) }
    }

    /// The property is one of `texts` as they are.
    pub(crate) fn exactly(property: Property, texts: impl IntoIterator<Item = String>) -> Self {
        let text = |written| Text { written, glob: None };
        Self { property, test: Test::OneOf(texts.into_iter().map(text).collect()) }
    }

    /// The `exe` of process-exporter: names are compared with the last part of the first argument; of paths with the same
    /// last part, and of a path and that name, the last one counts.
    pub(crate) fn program(names: impl IntoIterator<Item = String>) -> Self {
        let by_name = names.into_iter().map(|name| match name.contains('/') {
            true => (base(&name).to_owned(), Some(name)),
            false => (name, None),
        });
        Self { property: Property::FirstArgument, test: Test::Program(by_name.collect()) }
    }

    /// The pattern, if it is one.
    pub(super) fn regex(&self) -> Option<&Regex> {
        match &self.test {
            Test::Pattern(pattern) => Some(pattern),
            Test::OneOf(_) | Test::Program(_) => None,
        }
    }

    /// Whether it holds, and what it captures.
    pub(super) fn check<'p>(&'p self, process: &'p Details) -> Option<Option<Captured<'p>>> {
        match &self.test {
            Test::Pattern(pattern) => {
                let groups = pattern.captures(self.property.of(process)?)?;
                Some(Some(Captured { pattern, groups }))
            }
            Test::OneOf(texts) => texts.iter().any(|text| self.is(process, text)).then_some(None),
            Test::Program(names) => {
                let argument = &*process.exe;
                let path = names.get(base(argument)).filter(|_| !argument.is_empty())?;
                path.as_ref().is_none_or(|path| path == argument).then_some(None)
            }
        }
    }

    fn is(&self, process: &Details, text: &Text) -> bool {
        // A program is named by its last part, or by all of its first argument.
        let property = if self.property == Property::Exe && text.written.contains('/') {
            Property::FirstArgument
        } else {
            self.property
        };
        property.of(process).is_some_and(|value| match &text.glob {
            Some(glob) => glob.is_match(value),
            None => value == text.written,
        })
    }

    /// The condition in words.
    pub(super) fn describe(&self) -> String {
        let label = self.property.label();
        match &self.test {
            Test::Pattern(pattern) => format!("{label} matches /{pattern}/"),
            Test::OneOf(_) | Test::Program(_) => format!("{label} is {}", self.wanted()),
        }
    }

    /// Why it does not hold for a process that it does not hold for.
    pub(super) fn why_not(&self, process: &Details) -> String {
        let label = self.property.label();
        let value = match self.property.of(process) {
            None => return format!("it has no {label}; the rule needs {}", self.wanted()),
            Some("") => "empty".to_owned(),
            Some(value) => format!("`{}`", truncate_end(value, VALUE_COLUMNS)),
        };
        match &self.test {
            Test::Pattern(pattern) => format!("{label} is {value}, which does not match /{pattern}/"),
            Test::OneOf(_) | Test::Program(_) => format!("{label} is {value}, not {}", self.wanted()),
        }
    }

    fn wanted(&self) -> String {
        let mut texts: Vec<&str> = match &self.test {
            Test::Pattern(pattern) => return format!("one that matches /{pattern}/"),
            Test::OneOf(texts) => texts.iter().map(|text| &*text.written).collect(),
            Test::Program(names) => {
                let mut names: Vec<&str> = names.iter().map(|(name, path)| path.as_deref().unwrap_or(name)).collect();
                names.sort_unstable();
                names
            }
        };
        texts.dedup();
        match texts.split_last() {
            None => "anything (the list is empty, so nothing matches)".to_owned(),
            Some((last, [])) => format!("`{last}`"),
            Some((last, rest)) => {
                let rest: Vec<String> = rest.iter().map(|text| format!("`{text}`")).collect();
                format!("{} or `{last}`", rest.join(", "))
            }
        }
    }
}

/// `filepath.Base` of Go for a path that is not empty.
pub(super) fn base(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    match path.rsplit('/').next() {
        Some(name) if !name.is_empty() => name,
        _ => "/",
    }
}

fn glob(text: &str) -> Regex {
    let parts: Vec<String> = text.split('*').map(regex::escape).collect();
    // Escaped text and `.*` always make a pattern; a text of a megabyte may be too big for one and matches nothing.
    Regex::new(&format!("(?s)^{}$", parts.join(".*"))).unwrap_or_else(|_| nothing())
}

fn nothing() -> Regex {
    Regex::new("[a&&b]").expect("a constant that a test compiles")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::process;

    fn holds(condition: &Condition, process: &Details) -> bool {
        condition.check(process).is_some()
    }

    #[test]
    fn a_star_stands_for_any_characters_and_all_others_for_themselves() {
        for (text, comm, expected) in [
            ("php*", "php-fpm8.2", true),
            ("php*", "xphp", false),
            ("*", "", true),
            ("a.c", "abc", false),
            ("(*", "(sd-pam)", true),
            ("a*c", "a\nb c", true),
            ("", "", true),
        ] {
            let condition = Condition::one_of(Property::Comm, [text.to_owned()]);
            assert_eq!(holds(&condition, &process(comm, "")), expected, "{text} {comm}");
        }
        assert!(!holds(&Condition::exactly(Property::Comm, ["a*".to_owned()]), &process("ab", "")));
        assert!(!nothing().is_match("a"));
    }

    #[test]
    fn a_program_is_named_by_its_last_part_or_by_its_path() {
        let is = |texts: &[&str], cmdline: &str| {
            holds(&Condition::one_of(Property::Exe, texts.iter().map(|&text| text.into())), &process("c", cmdline))
        };
        assert!(
            is(&["php"], "/usr/bin/php -r 1") && is(&["/usr/bin/php"], "/usr/bin/php") && is(&["/usr/*"], "/usr/x")
        );
        assert!(!is(&["/usr/bin/php"], "php") && !is(&["/bin/php"], "/usr/bin/php"));
    }

    #[test]
    fn programs_of_process_exporter_are_kept_by_their_last_part() {
        let is = |names: &[&str], cmdline: &str| {
            holds(&Condition::program(names.iter().map(|&name| name.into())), &process("sleep", cmdline))
        };
        assert!(is(&["sleep"], "/usr/bin/sleep 9") && is(&["/usr/bin/sleep"], "/usr/bin/sleep"));
        assert!(!is(&["/usr/bin/sleep"], "/bin/sleep"));
        assert!(is(&["/usr/bin/sleep", "sleep"], "/bin/sleep"), "the later entry wins");
        assert!(!is(&["/usr/bin/sleep", "/bin/sleep"], "/usr/bin/sleep"), "the last path counts");
        assert!(!is(&["sleep"], "") && !is(&[], "sleep"), "without arguments it never matches");
    }

    #[test]
    fn it_is_told_in_words_why_a_condition_fails() {
        let bash = process("bash", "-bash");
        let one = Condition::one_of(Property::Comm, ["a".into(), "b*".into(), "c".into()]);
        assert_eq!(one.describe(), "comm is `a`, `b*` or `c`");
        assert_eq!(one.why_not(&process("x", "")), "comm is `x`, not `a`, `b*` or `c`");
        let pattern = Condition::pattern(Property::Cmdline, Regex::new("^php").unwrap());
        assert_eq!(pattern.why_not(&bash), "cmdline is `-bash`, which does not match /^php/");
        let unit = Condition::one_of(Property::Unit, ["x.service".into()]);
        assert_eq!(unit.why_not(&bash), "it has no unit; the rule needs `x.service`");
    }

    #[test]
    fn base_names_are_those_of_go() {
        for (path, expected) in
            [("/usr/bin/x", "x"), ("x", "x"), ("a/", "a"), ("///", "/"), ("php-fpm: a (/b/c)", "c)")]
        {
            assert_eq!(base(path), expected);
        }
    }
}
