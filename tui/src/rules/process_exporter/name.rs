//! Names of groups as process-exporter writes them: the part of Go's text/template that such names use. That is fields, `index`
//! of `.Matches` and `.Cgroups`, trim markers and comments; everything else is refused with its place.

use std::collections::BTreeMap;

use jiff::Unit;

use crate::{
    collect::proc::Details,
    rules::condition::{Captured, base},
};

/// What Go prints for a capture that does not exist.
const NO_VALUE: &str = "<no value>";

/// A parsed name.
#[derive(Debug)]
pub(in crate::rules) struct Name {
    written: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Field(Field),
    /// `.Matches.x`.
    Match(String),
    /// `index .Matches "x"`.
    IndexMatch(String),
    /// `index .Cgroups 0`.
    IndexCgroup(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Field {
    Comm,
    ExeBase,
    ExeFull,
    Username,
    Pid,
    StartTime,
    Cgroups,
    Matches,
}

const FIELDS: [(&str, Field); 8] = [
    (".Comm", Field::Comm),
    (".ExeBase", Field::ExeBase),
    (".ExeFull", Field::ExeFull),
    (".Username", Field::Username),
    (".PID", Field::Pid),
    (".StartTime", Field::StartTime),
    (".Cgroups", Field::Cgroups),
    (".Matches", Field::Matches),
];

/// For start times.
const HUNDREDTHS: (Unit, i64) = (Unit::Millisecond, 10);

/// What is wrong with a name, and how many characters into it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NameError {
    pub at: usize,
    pub message: String,
}

impl Name {
    /// Reads a name; an empty one is `{{.ExeBase}}`.
    pub(super) fn parse(written: &str) -> Result<Self, NameError> {
        let written = if written.is_empty() { "{{.ExeBase}}" } else { written };
        let place = |rest: &str| written[..written.len() - rest.len()].chars().count();
        let mut parts = Vec::new();
        let mut rest = written;
        let mut trim = false;
        loop {
            let (text, tail) = match rest.split_once("{{") {
                Some((text, tail)) => (text, Some(tail)),
                None => (rest, None),
            };
            let text = if std::mem::take(&mut trim) { text.trim_start_matches(BLANKS) } else { text };
            let Some(tail) = tail else {
                parts.push(Part::Text(text.to_owned()));
                return Ok(Self { written: written.to_owned(), parts });
            };
            let at = place(tail).saturating_sub(2);
            let error = |message: String| NameError { at, message };
            // A marker is a minus with a blank on the other side.
            let (text, tail) = match tail.strip_prefix('-').filter(|tail| tail.starts_with(BLANKS)) {
                Some(tail) => (text.trim_end_matches(BLANKS), tail),
                None => (text, tail),
            };
            parts.push(Part::Text(text.to_owned()));
            let end = action_end(tail).ok_or_else(|| error("`{{` without `}}`".into()))?;
            let action = &tail[..end];
            rest = &tail[end + 2..];
            let action = match action.strip_suffix('-').filter(|action| action.ends_with(BLANKS)) {
                Some(action) => {
                    trim = true;
                    action
                }
                None => action,
            };
            parts.extend(read_action(action.trim_matches(BLANKS)).map_err(error)?);
        }
    }

    /// The name as it was written.
    pub(in crate::rules) fn written(&self) -> &str {
        &self.written
    }

    /// The name of a process's group. `captured` are the matches of all patterns, in order.
    pub(in crate::rules) fn name(&self, process: &Details, captured: &[Captured]) -> String {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Field(field) => push_field(&mut name, *field, process, captured),
                Part::Match(capture) => name.push_str(matched(captured, capture).unwrap_or(NO_VALUE)),
                Part::IndexMatch(capture) => name.push_str(matched(captured, capture).unwrap_or_default()),
                Part::IndexCgroup(index) => match process.cgroups.get(*index) {
                    Some(path) => name.push_str(path),
                    // Go's template ends at an error, and process-exporter keeps what it wrote before.
                    None => break,
                },
            }
        }
        name
    }
}

/// What Go trims and takes for blanks.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// Where the closing braces are, outside of quotes.
fn action_end(tail: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in tail.char_indices() {
        match quote {
            None if tail[at..].starts_with("}}") => return Some(at),
            None if matches!(c, '"' | '`') => quote = Some(c),
            None => {}
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if open == c => quote = None,
            Some(_) => {}
        }
    }
    None
}

fn read_action(action: &str) -> Result<Option<Part>, String> {
    if action.starts_with("/*") {
        return if action.ends_with("*/") { Ok(None) } else { Err("a comment without its end".into()) };
    }
    if let Some(text) = text(action) {
        return Ok(Some(Part::Text(text)));
    }
    let mut words = action.splitn(3, BLANKS).map(|word| word.trim_matches(BLANKS));
    let (first, second, third) = (words.next().unwrap_or_default(), words.next(), words.next());
    if second.is_none() {
        if let Some(&(_, field)) = FIELDS.iter().find(|(name, _)| *name == first) {
            return Ok(Some(Part::Field(field)));
        }
        if let Some(capture) = first.strip_prefix(".Matches.").filter(|name| is_identifier(name)) {
            return Ok(Some(Part::Match(capture.to_owned())));
        }
        if first.is_empty() {
            return Err("nothing between the braces".into());
        }
        if first.starts_with('.') && is_identifier(&first[1..]) {
            let known: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "`{first}` is not a field, and process-exporter would cut the name here; the fields are {}",
                known.join(" ")
            ));
        }
    }
    match (first, second, third.map(str::trim)) {
        ("index", Some(".Matches"), Some(capture)) if let Some(capture) = text(capture) => {
            Ok(Some(Part::IndexMatch(capture)))
        }
        ("index", Some(".Cgroups"), Some(index)) if let Ok(index) = index.parse() => Ok(Some(Part::IndexCgroup(index))),
        _ => Err(format!(
            "`{action}` is not supported: tusktop reads fields, `index .Matches \"name\"` and `index .Cgroups 0`"
        )),
    }
}

/// A text in quotes; escapes other than of the quote and the backslash are left to Go.
fn text(quoted: &str) -> Option<String> {
    if let Some(raw) = quoted.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
        return (!raw.contains('`')).then(|| raw.to_owned());
    }
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))?;
    (!inner.contains(['"', '\\'])).then(|| inner.to_owned())
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c == '_' || c.is_alphanumeric())
}

/// `.Matches` of a name. Whole matches and groups without a name are all under the empty name, where the last one stays.
fn matched<'c>(captured: &'c [Captured], name: &str) -> Option<&'c str> {
    captured.iter().rev().find_map(|captured| {
        let known = captured.pattern.capture_names().enumerate();
        let at = known.filter(|(_, known)| known.unwrap_or_default() == name).last()?.0;
        Some(captured.groups.get(at).map_or("", |found| found.as_str()))
    })
}

fn push_field(name: &mut String, field: Field, process: &Details, captured: &[Captured]) {
    // Without arguments, as a zombie or a kernel thread is, it is the comm; a first argument may be empty, too.
    let without_arguments = process.cmdline.is_empty();
    let full = if without_arguments { &process.comm } else { &process.exe };
    match field {
        Field::Comm => name.push_str(&process.comm),
        Field::ExeBase if without_arguments => name.push_str(full),
        Field::ExeBase => name.push_str(if full.is_empty() { "." } else { base(full) }),
        Field::ExeFull => name.push_str(full),
        Field::Username => name.push_str(&process.user),
        Field::Pid => name.push_str(&process.pid.to_string()),
        // As Go prints a time in UTC, the fraction without zeros at its end; the kernel counts in hundredths.
        Field::StartTime => match process.started_at.and_then(|at| at.round(HUNDREDTHS).ok()) {
            Some(at) => name.push_str(&at.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string()),
            None => name.push_str(NO_VALUE),
        },
        Field::Cgroups => {
            let paths: Vec<&str> = process.cgroups.iter().map(|path| &**path).collect();
            name.push_str(&format!("[{}]", paths.join(" ")));
        }
        Field::Matches => {
            let mut all = BTreeMap::new();
            for captured in captured {
                for (at, key) in captured.pattern.capture_names().enumerate() {
                    let value = captured.groups.get(at).map_or("", |found| found.as_str());
                    all.insert(key.unwrap_or_default(), value);
                }
            }
            let all: Vec<String> = all.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            name.push_str(&format!("map[{}]", all.join(" ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::rules::tests::process;

    fn name(template: &str, patterns: &[&str]) -> String {
        let process = Details {
            pid: 42,
            cgroups: [Arc::from("/a"), Arc::from("/b")].into(),
            started_at: Some("2026-11-22T13:44:38.7312Z".parse().unwrap()),
            ..process("php-fpm8.2", "/usr/sbin/php-fpm8.2 pool www")
        };
        let patterns: Vec<Regex> = patterns.iter().map(|pattern| Regex::new(pattern).unwrap()).collect();
        let captured: Vec<Captured> = patterns
            .iter()
            .map(|pattern| Captured { pattern, groups: pattern.captures(&process.cmdline).unwrap() })
            .collect();
        Name::parse(template).unwrap_or_else(|error| panic!("{template}: {error:?}")).name(&process, &captured)
    }

    #[test]
    fn names_are_those_of_process_exporter() {
        for (template, expected) in [
            ("", "php-fpm8.2"),
            ("{{.Comm}}|{{ .ExeBase }}|{{.ExeFull}}", "php-fpm8.2|php-fpm8.2|/usr/sbin/php-fpm8.2"),
            ("{{.Username}}:{{.PID}}", "alice:42"),
            ("{{.StartTime}}", "2026-11-22 13:44:38.73 +0000 UTC"),
            ("{{.Cgroups}} {{index .Cgroups 1}}", "[/a /b] /b"),
            ("a{{index .Cgroups 2}}b", "a"),
            ("{{.Matches.Pool}}", "www"),
            ("{{index .Matches \"Pool\"}}{{index .Matches `Pool`}}", "wwwwww"),
            ("{{.Matches.Nope}}|{{index .Matches \"Nope\"}}|", "<no value>||"),
            ("{{index .Matches \"\"}}", "l www"),
            ("{{.Matches}}", "map[:l www Pool:www]"),
            ("a  {{- .PID -}}  b", "a42b"),
            ("a {{/* note */}}b{{- /* x */ -}} c", "a bc"),
            ("a}}b{{\"}}\"}}", "a}}b}}"),
            ("{{\"two words }}\"}}", "two words }}"),
            ("plain", "plain"),
        ] {
            let expected = expected.to_owned();
            assert_eq!(name(template, &[r"pool (?P<Pool>\S+)", r"\S (?P<Pool>w+)$"]), expected, "{template}");
        }
        let zombie = Name::parse("{{.ExeBase}} {{.ExeFull}}").unwrap().name(&process("(x/y)", ""), &[]);
        assert_eq!(zombie, "(x/y) (x/y)", "without arguments it is the comm as it is");
        let unnamed = Name::parse("{{.ExeBase}}|{{.ExeFull}}|").unwrap().name(&process("x", " -v"), &[]);
        assert_eq!(unnamed, ".||", "Go calls the last part of nothing a dot");
    }

    #[test]
    fn what_is_not_read_is_refused_with_its_place() {
        for (template, at, part) in [
            ("A{{.Nope}}B", 1, "`.Nope` is not a field"),
            ("é{{if .PID}}x{{end}}", 1, "if .PID"),
            ("{{printf \"%d\" .PID}}", 0, "printf"),
            ("{{.PID | print}}", 0, "| print"),
            ("ab{{.PID", 2, "without `}}`"),
            ("{{}}", 0, "nothing between"),
            ("{{index .Matches Pool}}", 0, "index .Matches Pool"),
            ("{{/* x}}", 0, "comment"),
        ] {
            let error = Name::parse(template).expect_err(template);
            assert!(error.at == at && error.message.contains(part), "{template}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_an_error(text in r#"([{}\-. "`/*a]|\{\{|\}\}|index|\.Matches|\.PID|.){0,12}"#) {
            if let Ok(parsed) = Name::parse(&text) {
                let _ = parsed.name(&process("c", "a b"), &[]);
            }
        }

        #[test]
        fn text_without_braces_is_the_name(text in "[^{}]{1,40}") {
            prop_assert_eq!(Name::parse(&text).unwrap().name(&process("c", ""), &[]), text);
        }
    }
}
