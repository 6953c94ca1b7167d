//! Rules that decide the group of a process: conditions on its names and a template for the group's name.
//! First match wins. The built-in rules need no configuration; they are in `builtin`.

use std::{borrow::Cow, sync::Arc};

use regex::{Captures, Regex};

use crate::collect::proc::Details;

mod builtin;

/// Characters of a group's name that are kept.
const NAME_CHARACTERS: usize = 80;

/// A property of a process that a rule can look at and a template can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Property {
    /// Kernel's name of the process, 15 bytes at most.
    Comm,
    /// Last part of the first argument, or the comm where there is none.
    Exe,
    /// Arguments joined by a space.
    Cmdline,
    /// Effective user.
    User,
    /// systemd unit.
    Unit,
    /// Container id.
    Container,
    /// `kernel` for threads of the kernel.
    Kind,
}

impl Property {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Comm, "comm"),
        (Self::Exe, "exe"),
        (Self::Cmdline, "cmdline"),
        (Self::User, "user"),
        (Self::Unit, "unit"),
        (Self::Container, "container"),
        (Self::Kind, "kind"),
    ];

    fn of(self, process: &Details) -> Option<&str> {
        match self {
            Self::Comm => Some(&process.comm),
            Self::Exe => {
                let file = process.exe.rsplit('/').next().unwrap_or_default();
                Some(if file.is_empty() { &process.comm } else { file })
            }
            Self::Cmdline => Some(&process.cmdline),
            Self::User => Some(&process.user),
            Self::Unit => process.unit.as_deref(),
            Self::Container => process.container.as_deref(),
            Self::Kind => process.kernel_thread.then_some("kernel"),
        }
    }
}

/// Why a rule cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// A pattern is no regular expression.
    #[error("rule `{rule}`: {source}")]
    Pattern {
        /// Name of the rule.
        rule: String,
        /// What is wrong with the pattern.
        source: regex::Error,
    },
    /// The template names something that no condition captures.
    #[error("rule `{rule}`: the group name asks for {{{name}}}, which is neither a property nor captured by a condition")]
    Template {
        /// Name of the rule.
        rule: String,
        /// What is between the braces.
        name: String,
    },
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    name: Arc<str>,
    conditions: Vec<(Property, Regex)>,
    template: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Property(Property),
    Capture(String),
}

impl Rule {
    /// A rule with all of `conditions` (each pattern is unanchored) and a group name such as `php-fpm: {pool}`.
    ///
    /// # Errors
    /// [`RuleError`] for a bad pattern or an unknown name in braces.
    pub fn new(name: &str, conditions: &[(Property, &str)], template: &str) -> Result<Self, RuleError> {
        let conditions = conditions
            .iter()
            .map(|&(property, pattern)| Ok((property, Regex::new(pattern)?)))
            .collect::<Result<Vec<_>, regex::Error>>()
            .map_err(|source| RuleError::Pattern { rule: name.to_owned(), source })?;
        let template = parts(template, &conditions)
            .map_err(|unknown| RuleError::Template { rule: name.to_owned(), name: unknown })?;
        Ok(Self { name: name.into(), conditions, template })
    }

    /// The group's name when all conditions hold and all parts of the name are known.
    fn group(&self, process: &Details) -> Option<String> {
        let mut captured: Vec<Captures> = Vec::new();
        for (property, pattern) in &self.conditions {
            captured.push(pattern.captures(property.of(process)?)?);
        }
        let mut name = String::new();
        for part in &self.template {
            name.push_str(match part {
                Part::Text(text) => text,
                Part::Property(property) => property.of(process)?,
                Part::Capture(capture) => captured.iter().find_map(|captures| captures.name(capture))?.as_str(),
            });
        }
        Some(name.chars().take(NAME_CHARACTERS).collect::<String>().trim().to_owned()).filter(|name| !name.is_empty())
    }
}

fn parts(template: &str, conditions: &[(Property, Regex)]) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(|| after.to_owned())?;
        parts.push(Part::Text(text.to_owned()));
        let captures = |pattern: &Regex| pattern.capture_names().flatten().any(|capture| capture == name);
        if conditions.iter().any(|(_, pattern)| captures(pattern)) {
            parts.push(Part::Capture(name.to_owned()));
        } else if let Some(&(property, _)) = Property::ALL.iter().find(|(_, known)| *known == name) {
            parts.push(Part::Property(property));
        } else {
            return Err(name.to_owned());
        }
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

/// Rules in the order in which they are tried.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    none: Arc<str>,
}

impl Default for Rules {
    /// The built-in rules.
    fn default() -> Self {
        let rules = builtin::RULES
            .iter()
            .map(|&(name, conditions, template)| Rule::new(name, conditions, template))
            .collect::<Result<_, _>>()
            .expect("the built-in rules are constants and a test compiles them");
        Self::new(rules)
    }
}

impl Rules {
    /// Rules to be tried in this order. A process that none of them takes goes to `{user} processes`.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules, none: "user".into() }
    }

    /// Names of the group and of the rule that put the process there.
    pub fn group<'a>(&'a self, process: &Details) -> (Cow<'a, str>, &'a Arc<str>) {
        for rule in &self.rules {
            if let Some(group) = rule.group(process) {
                return (group.into(), &rule.name);
            }
        }
        (format!("{} processes", process.user).into(), &self.none)
    }
}
