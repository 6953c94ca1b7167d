//! The filter of a pane: a case-insensitive regular expression, or plain text while it is not a valid one. In the memory pane,
//! the prefixes `user:`, `name:` and `pid:` choose what it applies to.

use regex::{Regex, RegexBuilder};

/// What a filter is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// Everything that the pane has of a row.
    All,
    /// The user of a process.
    User,
    /// The name of a group or a process.
    Name,
    Pid,
}

/// What rows must match.
#[derive(Debug, Clone)]
pub(crate) struct Filter(Option<Regex>);

impl Filter {
    /// The filter for a text; an empty one lets everything through.
    pub(crate) fn new(text: &str) -> Self {
        Self(if text.is_empty() { None } else { build(text).or_else(|_| build(&regex::escape(text))).ok() })
    }

    /// The filter for a text of the memory pane, and what it is about. The pid after `pid:` is a whole one.
    pub(crate) fn about(text: &str) -> (Self, About) {
        let prefixes = [("user:", About::User), ("name:", About::Name), ("pid:", About::Pid)];
        let found = prefixes.into_iter().find_map(|(prefix, about)| Some((text.strip_prefix(prefix)?.trim(), about)));
        match found {
            None => (Self::new(text), About::All),
            Some((pid, About::Pid)) if !pid.is_empty() => (Self::new(&format!("^(?:{pid})$")), About::Pid),
            Some((text, about)) => (Self::new(text), about),
        }
    }

    /// Whether everything passes.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether any of the texts matches.
    pub(crate) fn has(&self, texts: &[&str]) -> bool {
        self.0.as_ref().is_none_or(|regex| texts.iter().any(|text| regex.is_match(text)))
    }

    /// Whether a number, as it is written, matches.
    pub(crate) fn has_number(&self, number: u32) -> bool {
        self.0.as_ref().is_none_or(|regex| regex.is_match(&number.to_string()))
    }
}

/// Why a text is no regular expression, in a few words; `None` where it is one.
pub(crate) fn fault(text: &str) -> Option<String> {
    let error = build(text).err()?;
    // The message shows the expression with a mark below it; its last line says what is wrong.
    let message = error.to_string();
    let last = message.lines().last().unwrap_or_default();
    Some(last.trim_start_matches("error: ").to_owned())
}

fn build(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).case_insensitive(true).size_limit(1 << 20).build()
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

    #[test]
    fn what_is_wrong_with_an_expression_is_said() {
        assert_eq!(fault("php-(fpm|cgi"), Some("unclosed group".into()));
        assert_eq!((fault("php"), fault("")), (None, None));
        assert!(fault("(a{1000}){1000}{1000}").is_some(), "one that would take too much memory");
    }

    #[test]
    fn a_prefix_says_what_it_is_about() {
        let (filter, about) = Filter::about("user:^www");
        assert!(about == About::User && filter.has(&["www-data"]) && !filter.has(&["a-www"]));
        let (filter, about) = Filter::about("pid:12");
        assert!(about == About::Pid && filter.has_number(12) && !filter.has_number(123));
        let (filter, about) = Filter::about("pid:12|13");
        assert!(about == About::Pid && filter.has_number(13) && !filter.has_number(123));
        assert!(Filter::about("user:").0.is_empty(), "nothing is asked for yet");
        assert_eq!(Filter::about("http://user:x").1, About::All);
    }
}
