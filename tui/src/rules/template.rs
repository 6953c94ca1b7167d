//! The name of a group as text with braces: `php-fpm: {pool}`, `shop {1}`, `{user} on {host}` with a capture `host`.

use super::{
    condition::{Captured, Condition},
    property::Property,
};
use crate::collect::proc::Details;

/// A parsed name.
#[derive(Debug)]
pub(super) struct Template {
    written: String,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Property(Property),
    /// A named capture.
    Named(String),
    /// A capture by its number.
    Numbered(usize),
}

impl Template {
    /// Reads a name. A name in braces is a capture of `conditions` or a property; two braces stand for one.
    ///
    /// # Errors
    /// What is between braces and is neither.
    pub(crate) fn parse(written: &str, conditions: &[Condition]) -> Result<Self, String> {
        let patterns = || conditions.iter().filter_map(Condition::regex);
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = written;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, tail) = rest.split_at(at);
            text.push_str(before);
            if tail.starts_with("{{") || tail.starts_with('}') {
                // A single closing brace stands for itself: nothing else could be meant.
                text.push_str(&tail[..1]);
                rest = tail.strip_prefix("{{").or_else(|| tail.strip_prefix("}}")).unwrap_or(&tail[1..]);
                continue;
            }
            let (name, tail) = tail[1..].split_once('}').ok_or_else(|| tail[1..].to_owned())?;
            parts.push(Part::Text(std::mem::take(&mut text)));
            let number = name.parse().ok().filter(|&number: &usize| number > 0);
            parts.push(if patterns().any(|pattern| pattern.capture_names().flatten().any(|capture| capture == name)) {
                Part::Named(name.to_owned())
            } else if let Some(property) = Property::named(name) {
                Part::Property(property)
            } else if let Some(number) = number.filter(|&number| patterns().any(|p| p.captures_len() > number)) {
                Part::Numbered(number)
            } else {
                return Err(name.to_owned());
            });
            rest = tail;
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        Ok(Self { written: written.to_owned(), parts })
    }

    /// The name as it was written.
    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    /// The name of a process's group.
    ///
    /// # Errors
    /// The part that is not known of this process.
    pub(crate) fn name(&self, process: &Details, captured: &[Captured]) -> Result<String, String> {
        let mut name = String::new();
        for part in &self.parts {
            let value = match part {
                Part::Text(text) => Some(&**text),
                Part::Property(property) => property.of(process),
                Part::Named(capture) => {
                    captured.iter().find_map(|captured| captured.groups.name(capture)).map(|found| found.as_str())
                }
                Part::Numbered(number) => {
                    captured.iter().find_map(|captured| captured.groups.get(*number)).map(|found| found.as_str())
                }
            };
            name.push_str(value.ok_or_else(|| match part {
                Part::Text(_) => String::new(),
                Part::Property(property) => property.label().to_owned(),
                Part::Named(capture) => capture.clone(),
                Part::Numbered(number) => number.to_string(),
            })?);
        }
        Ok(name)
    }
}
