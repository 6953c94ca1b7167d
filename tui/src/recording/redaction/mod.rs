//! Replaces what a snapshot says of people, machines and code by pseudonyms, so that a recording can be given away. It owns which
//! field holds what ([`rule`]); how a text of one kind is replaced is [`text`]'s matter, and what is known to everybody is in
//! [`known`].
//!
//! It goes through the JSON of the snapshot, and a text in a field that is not listed here is replaced as a whole: a field that is
//! added later is redacted until somebody lists it. Numbers, times and the words of our own lists (states, kinds) stay.

mod known;
mod text;

use std::hash::{BuildHasher, RandomState};

use serde_json::{Map, Value};

use self::text::Pseudonyms;
use crate::model::{Snapshot, SnapshotError};

/// Redacts snapshots. The same text becomes the same pseudonym for as long as it lives: for one recording.
#[derive(Debug, Default)]
pub struct Redaction<S = RandomState> {
    pseudonyms: Pseudonyms<S>,
}

/// What a text is about, which decides how it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// One of our own words, or a time: it stays.
    Word,
    /// A word that stays if it is one that everybody knows.
    Known,
    /// A path of a file: its folders and its name one by one.
    Path,
    /// A path and a line: `/a.php:12`.
    Place,
    /// A URI or a route.
    Uri,
    /// A command line.
    CommandLine,
    /// The name of a group, a process or a pool.
    Name,
    /// The name of a unit: `nginx.service`.
    Unit,
    /// A path of a control group, made of units.
    Cgroup,
    /// The name of a user.
    User,
    /// The name of the machine.
    Host,
    /// A version: its numbers stay.
    Version,
    /// A function, built in or not.
    Function,
    /// A class, built in or not.
    Class,
    /// The text of a notice, which says its kind instead.
    OfKind,
    /// Anything else.
    Other,
}

impl<S: BuildHasher> Redaction<S> {
    /// A snapshot with pseudonyms in place of what it says of people, machines and code.
    ///
    /// # Errors
    /// What comes out is no snapshot, which is an error of the program.
    pub fn redact(&self, snapshot: &Snapshot) -> Result<Snapshot, SnapshotError> {
        let mut json = serde_json::to_value(snapshot)?;
        self.value(&mut json, &mut Vec::new(), None);
        Ok(serde_json::from_value(json)?)
    }

    /// Goes through a value. `within` are the names of the fields that it is in, `object` what it is a field of.
    fn value(&self, value: &mut Value, within: &mut Vec<String>, object: Option<&Known>) {
        match value {
            Value::String(text) => *text = self.text(rule(within), text, object),
            Value::Array(list) => list.iter_mut().for_each(|value| self.value(value, within, object)),
            Value::Object(fields) => {
                let known = Known::of(fields);
                for (name, value) in fields {
                    within.push(name.clone());
                    self.value(value, within, Some(&known));
                    within.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&self, rule: Rule, text: &str, object: Option<&Known>) -> String {
        let pseudonyms = &self.pseudonyms;
        let is_built_in = object.is_some_and(|object| object.is_built_in);
        match rule {
            _ if text.is_empty() => String::new(),
            Rule::Word => text.to_owned(),
            Rule::Function if is_built_in || known::FUNCTIONS.contains(&text) => text.to_owned(),
            Rule::Class if is_built_in || known::CLASSES.contains(&text) => text.to_owned(),
            Rule::Known if known::is_word(text) => text.to_owned(),
            Rule::Path => pseudonyms.path(text),
            Rule::Place => pseudonyms.place(text),
            Rule::Uri => pseudonyms.uri(text),
            Rule::CommandLine => pseudonyms.command_line(text),
            Rule::Name => pseudonyms.name(text),
            Rule::Unit => pseudonyms.unit(text),
            Rule::Cgroup => pseudonyms.cgroup(text),
            Rule::User if known::USERS.contains(&text) => text.to_owned(),
            Rule::Host => format!("host-{}", pseudonyms.of(text)),
            Rule::Version => pseudonyms.version(text),
            Rule::Class => pseudonyms.class(text),
            Rule::OfKind => match object.map(|object| object.kind.replace('_', " ")) {
                Some(kind) if !kind.is_empty() => format!("{kind} ({})", pseudonyms.of(text)),
                _ => pseudonyms.of(text),
            },
            Rule::Function if text.starts_with("{closure") => "{closure}".to_owned(),
            Rule::Function | Rule::User | Rule::Known | Rule::Other => pseudonyms.of(text),
        }
    }
}

/// What decides over other fields of the same object.
struct Known {
    /// It is a function that is built into PHP, or a call of one.
    is_built_in: bool,
    /// `kind` of a notice.
    kind: String,
}

impl Known {
    fn of(fields: &Map<String, Value>) -> Self {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        // Lines are calls of built-in functions, or files.
        let is_built_in = text("kind") == "internal" || fields.get("included") == Some(&Value::Bool(false));
        Self { is_built_in, kind: text("kind").to_owned() }
    }
}

/// What a field holds, by the names of the fields that lead to it. Lists have no name.
fn rule(within: &[String]) -> Rule {
    let mut names = [""; 4];
    let last = within.len().saturating_sub(names.len());
    for (name, field) in names.iter_mut().rev().zip(within[last..].iter().rev()) {
        *name = field;
    }
    match names {
        // Times, and words of our own. Those that a newer version has are not in them: they were read as `other`.
        ["", "", "", "at"]
        | ["", "", "processes", "started_at" | "state" | "pss_unknown"]
        | ["", "php", "functions" | "exact", "kind"]
        | ["", "php", "requests", "started_at" | "memory_unknown"]
        | ["", "php", "request_stacks", "started_at"]
        | ["php", "requests", "waiting", "since"]
        | ["requests", "waiting", "function" | "caller", "kind"]
        | ["", "php", "workers", "since"]
        | ["php", "workers", "bloated_by", "at"]
        | ["", "php", "exhausted", "at"]
        | ["", "php", "pools", "bound" | "process_manager" | "fits_unknown"]
        | ["", "", "php", "state"]
        | ["", "php", "workers" | "exact", "state"]
        | ["targets", "tiers", _, "state" | "seen_by"]
        | ["", "memory", "parts", "kind"]
        | ["", "system", "killed", "at" | "before"]
        | ["", "", "pool_events", "at" | "kind" | "ended_by"]
        | ["", "php", "pools", "events_since"]
        | ["php", "pools", "events", "at" | "kind" | "ended_by"]
        | ["", "", "notices", "level" | "kind"] => Rule::Word,
        ["", "php", "routes" | "requests", "method"]
        | ["php", "pools", "route", "method"]
        | ["php", "workers", "bloated_by", "method"]
        | ["", "pool_events", "request", "method"]
        | ["pools", "events", "request", "method"]
        | ["", "php", "errors", "level"]
        | ["", "php", "targets" | "compiles", "sapi"]
        | ["", "php", "targets", "probes" | "functions"]
        | ["", "", "groups", "rule"] => Rule::Known,
        ["", "", "host", "name"] => Rule::Host,
        ["", "", "host", "kernel"] | ["", "php", "targets", "version"] => Rule::Version,
        ["", "", "groups", "name"]
        | ["", "", "processes", "comm" | "pool"]
        | ["", "system", "killed", "comm" | "group"]
        | ["", "php", "workers" | "exact", "pool"]
        | ["", "php", "pools", "name"]
        | ["", "", "pool_events", "group"]
        | ["php", "pools", "events", "group"]
        | ["", "php", "workers" | "pools" | "routes", "group"] => Rule::Name,
        ["", "", "processes", "cmdline"] => Rule::CommandLine,
        ["", "", "processes", "user"] => Rule::User,
        ["", "", "processes", "unit"] | ["php", "targets", "masters", "unit"] => Rule::Unit,
        ["", "", "cgroups", "path"] | ["", "system", "killed", "cgroup"] => Rule::Cgroup,
        ["", "php", "functions" | "lines", "name"] | ["requests", "waiting", "function" | "caller", "name"] => {
            Rule::Function
        }
        ["", "php", "functions" | "lines" | "exceptions", "class"]
        | ["requests", "waiting", "function" | "caller", "class"] => Rule::Class,
        ["", "php", "functions" | "lines" | "exceptions" | "errors" | "compiles" | "exhausted", "file"]
        | ["requests", "waiting", "function" | "caller", "file"]
        | ["", "php", "routes" | "exceptions" | "errors", "script"]
        | ["", "memory", "parts", "mount"]
        | ["", "php", "targets", "exe"] => Rule::Path,
        ["", "php", "exceptions", "caught_at"] => Rule::Place,
        ["", "php", "routes", "route"]
        | ["", "php", "requests", "uri"]
        | ["php", "pools", "route", "route"]
        | ["", "pool_events", "request", "route"]
        | ["pools", "events", "request", "route"]
        | ["php", "workers", "bloated_by", "route"] => Rule::Uri,
        ["", "", "notices", "text"] => Rule::OfKind,
        _ => Rule::Other,
    }
}

#[cfg(test)]
mod tests;
