//! The filter of a pane: a regular expression without regard to case, or the text itself while it is none yet.

use regex::{Regex, RegexBuilder};

/// What rows must match.
#[derive(Debug, Clone)]
pub struct Filter(Option<Regex>);

impl Filter {
    /// The filter for a text; an empty one lets everything through.
    pub fn new(text: &str) -> Self {
        let build = |pattern: &str| RegexBuilder::new(pattern).case_insensitive(true).size_limit(1 << 20).build().ok();
        Self(if text.is_empty() { None } else { build(text).or_else(|| build(&regex::escape(text))) })
    }

    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether any of the texts matches.
    pub fn has(&self, texts: &[&str]) -> bool {
        self.0.as_ref().is_none_or(|regex| texts.iter().any(|text| regex.is_match(text)))
    }

    /// Whether a number, as it is written, matches.
    pub fn has_number(&self, number: u32) -> bool {
        self.0.as_ref().is_none_or(|regex| regex.is_match(&number.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_expression_is_taken_literally() {
        assert!(Filter::new("php-(fpm|cgi").has(&["x php-(fpm|cgi y"]));
        assert!(Filter::new("PHP-(fpm|cgi)").has(&["php-cgi"]));
        assert!(!Filter::new("^www$").has(&["www-data", "root"]));
        assert!(Filter::new("").has(&[]));
    }
}
