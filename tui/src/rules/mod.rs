//! Rules that decide the group of a process: conditions on its names and a template for the group's name. First match wins.
//! Those of the user come first, from the configuration or from one of process-exporter; the built-in ones need neither.

mod builtin;
mod condition;
#[cfg(test)]
mod fuzz;
pub(crate) mod naming;
pub mod process_exporter;
mod property;
mod template;

use std::{fmt, sync::Arc};

use regex::Regex;

use self::{condition::Captured, process_exporter::Name, template::Template};
pub use self::{condition::Condition, process_exporter::ImportError, property::Property};
use crate::collect::proc::Details;

/// Characters of a group's name that are kept.
const NAME_CHARACTERS: usize = 200;
/// Name of a group whose template came out empty, which process-exporter allows.
const NO_NAME: &str = "(no name)";

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
    #[error("the group name uses {{{name}}}, which is neither captured by cmdline nor one of {known}")]
    Template {
        /// What is between the braces.
        name: String,
        /// What could be there.
        known: String,
    },
}

/// Where a rule was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In tusktop itself.
    BuiltIn,
    /// In a file.
    File {
        file: Arc<str>,
        /// The line, from 1.
        line: usize,
    },
}

impl Origin {
    /// The name of a rule that has none: the name of its file without folders, and the line.
    pub(crate) fn short(file: &str, line: usize) -> Arc<str> {
        format!("{}:{line}", file.rsplit('/').next().unwrap_or_default()).into()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::File { file, line } => write!(f, "{file}:{line}"),
        }
    }
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    name: Arc<str>,
    origin: Origin,
    conditions: Vec<Condition>,
    group_name: GroupName,
    children: bool,
}

#[derive(Debug)]
enum GroupName {
    /// `php-fpm: {pool}`.
    Braces(Template),
    /// `{{.ExeBase}}`.
    Go(Name),
}

/// What a rule says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It belongs to this group.
    Takes(String),
    /// It does not belong here: the first condition that does not hold, in words.
    Leaves(String),
}

impl Rule {
    /// A rule with all of `conditions` (each pattern is unanchored) and a group name such as `php-fpm: {pool}`.
    ///
    /// # Errors
    /// [`RuleError`] for a bad pattern or an unknown name in braces.
    pub fn new(name: &str, conditions: &[(Property, &str)], template: &str) -> Result<Self, RuleError> {
        let conditions = conditions
            .iter()
            .map(|&(property, pattern)| Ok(Condition::pattern(property, Regex::new(pattern)?)))
            .collect::<Result<Vec<_>, regex::Error>>()
            .map_err(|source| RuleError::Pattern { rule: name.to_owned(), source })?;
        Self::with(name.into(), Origin::BuiltIn, conditions, template)
    }

    /// A rule from a file, with all of `conditions`.
    ///
    /// # Errors
    /// [`RuleError`] for an unknown name in braces.
    pub(crate) fn with(
        name: Arc<str>,
        origin: Origin,
        conditions: Vec<Condition>,
        template: &str,
    ) -> Result<Self, RuleError> {
        let template = Template::parse(template, &conditions)
            .map_err(|name| RuleError::Template { name, known: Property::names().collect::<Vec<_>>().join(", ") })?;
        Ok(Self { name, origin, conditions, group_name: GroupName::Braces(template), children: false })
    }

    /// The rule, and whether processes that no rule of the user takes follow a parent in its group.
    #[must_use]
    pub fn children(self, children: bool) -> Self {
        Self { children, ..self }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where it was written.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether children follow into its group.
    pub(crate) fn has_children(&self) -> bool {
        self.children
    }

    /// The name that its groups get, as it was written.
    pub fn template(&self) -> &str {
        match &self.group_name {
            GroupName::Braces(template) => template.written(),
            GroupName::Go(name) => name.written(),
        }
    }

    /// Its conditions in words.
    pub(crate) fn conditions(&self) -> Vec<String> {
        self.conditions.iter().map(Condition::describe).collect()
    }

    /// The group's name when all conditions hold and all parts of the name are known.
    fn group(&self, process: &Details) -> Option<String> {
        let mut captured: Vec<Captured> = Vec::new();
        for condition in &self.conditions {
            captured.extend(condition.check(process)?);
        }
        self.named(process, &captured).ok()
    }

    fn named(&self, process: &Details, captured: &[Captured]) -> Result<String, String> {
        match &self.group_name {
            GroupName::Braces(template) => {
                let name = template.name(process, captured)?;
                let name: String = name.chars().take(NAME_CHARACTERS).collect();
                if name.trim().is_empty() { Err("a name that is not empty".into()) } else { Ok(name.trim().to_owned()) }
            }
            GroupName::Go(name) => {
                let name = name.name(process, captured);
                let name: String = name.chars().take(NAME_CHARACTERS).collect();
                Ok(if name.is_empty() { NO_NAME.to_owned() } else { name })
            }
        }
    }

    /// As the decision goes, with the reason.
    pub(crate) fn explain(&self, process: &Details) -> Verdict {
        let mut captured: Vec<Captured> = Vec::new();
        for condition in &self.conditions {
            match condition.check(process) {
                Some(found) => captured.extend(found),
                None => return Verdict::Leaves(condition.why_not(process)),
            }
        }
        match self.named(process, &captured) {
            Ok(name) => Verdict::Takes(name),
            Err(part) => Verdict::Leaves(format!(
                "all conditions match, but the name needs {part}, which the process does not have"
            )),
        }
    }
}

/// Number of a rule in [`Rules`].
pub(crate) type RuleId = usize;

/// Rules in the order in which they are tried.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    /// How many of them, the first ones, are the user's.
    own: usize,
}

impl Default for Rules {
    /// The built-in rules.
    fn default() -> Self {
        Self::new(Vec::new(), true)
    }
}

impl Rules {
    /// The rules of the user in this order, then the built-in ones if wanted. A process that none of them takes goes to
    /// `{user} processes`.
    pub fn new(own: Vec<Rule>, built_in: bool) -> Self {
        let texts = if built_in { builtin::RULES } else { &[] };
        let (first, mut rules) = (own.len(), own);
        rules.extend(texts.iter().chain(&[builtin::REST]).map(|&(name, conditions, template)| {
            Rule::new(name, conditions, template).expect("the built-in rules are constants and a test compiles them")
        }));
        Self { rules, own: first }
    }

    /// All rules in their order; `RuleId` is the place.
    pub fn all(&self) -> &[Rule] {
        &self.rules
    }

    /// How many of [`Rules::all`], the first ones, are the user's.
    pub fn own(&self) -> usize {
        self.own
    }

    /// Whether any rule lets children follow.
    pub(crate) fn any_children(&self) -> bool {
        self.rules[..self.own].iter().any(|rule| rule.children)
    }

    /// The group by the user's rules, and the rule.
    pub(crate) fn own_group(&self, process: &Details) -> Option<(String, RuleId)> {
        first(&self.rules[..self.own], process)
    }

    /// The group by the built-in rules, and the rule.
    pub(crate) fn built_in_group(&self, process: &Details) -> (String, RuleId) {
        let found = first(&self.rules[self.own..], process).map(|(group, place)| (group, self.own + place));
        // Only a user without a name could get so far.
        found.unwrap_or_else(|| ("other processes".into(), self.rules.len() - 1))
    }

    /// The group of a process by itself, and the rule.
    #[cfg(test)]
    fn group(&self, process: &Details) -> (String, RuleId) {
        self.own_group(process).unwrap_or_else(|| self.built_in_group(process))
    }
}

fn first(rules: &[Rule], process: &Details) -> Option<(String, RuleId)> {
    rules.iter().enumerate().find_map(|(place, rule)| Some((rule.group(process)?, place)))
}

#[cfg(test)]
mod tests;
