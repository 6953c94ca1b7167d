//! Secrets in texts from outside, masked before anything keeps, prints or records them. Each module knows one way in which a
//! secret stands in a text and finds it in linear time; here it is decided which of them a kind of text needs. Who reads a text
//! masks it once.

mod command_line;
mod encoding;
mod pairs;
mod prose;
mod shapes;
mod urls;
mod weight;

use std::{borrow::Cow, ops::Range};

use self::pairs::Ends;

/// What is shown in place of a secret.
pub const MASK: &str = "***";

/// How often a text is looked at, at most.
const LOOKS: usize = 4;

/// Whether secrets are masked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Secrets {
    /// They are shown as [`MASK`].
    #[default]
    Masked,
    /// Everything is shown as it is: `--show-secrets`.
    Shown,
}

impl Secrets {
    /// A command line as /proc/PID/cmdline has it, with a NUL between arguments. The text has a space there.
    pub fn command_line(self, arguments: &str) -> String {
        self.arguments(arguments).replace('\0', " ")
    }

    fn arguments(self, arguments: &str) -> Cow<'_, str> {
        self.masked(arguments, |text, places| {
            command_line::find(text, places);
            find_in_text(text, places);
        })
    }

    /// The URI of a request, with or without scheme and host.
    pub fn uri(self, uri: &str) -> Cow<'_, str> {
        if !urls::may_hold_secrets(uri) {
            return Cow::Borrowed(uri);
        }
        self.masked(uri, |text, places| {
            pairs::find(text, Ends::Parameter, places);
            urls::find_users(text, Ends::Parameter, places);
            urls::find_in_path(text, places);
            shapes::find(text, places);
            shapes::find_in_query(text, places);
        })
    }

    /// The message of an exception or an error, and any other text that people read.
    pub fn message(self, message: &str) -> Cow<'_, str> {
        self.masked(message, find_in_text)
    }

    /// Masks what is found. The sign that ends one secret may have hidden the next one, so what is left is looked at again.
    fn masked(self, text: &str, find: impl Fn(&str, &mut Places)) -> Cow<'_, str> {
        let mut masked = Cow::Borrowed(text);
        for _ in 0..LOOKS {
            if self == Self::Shown {
                break;
            }
            let mut places = Places::default();
            find(&masked, &mut places);
            match places.masked(&masked) {
                Some(more) => masked = Cow::Owned(more),
                None => break,
            }
        }
        masked
    }
}

fn find_in_text(text: &str, places: &mut Places) {
    pairs::find(text, Ends::Word, places);
    urls::find_users(text, Ends::Word, places);
    prose::find(text, places);
    shapes::find(text, places);
}

/// Where secrets are in a text, in any order; places may overlap. Nothing is allocated until one is found.
#[derive(Debug, Default)]
struct Places(Vec<Range<usize>>);

impl Places {
    /// A secret is there, unless what is there says nothing.
    fn add(&mut self, text: &str, place: Range<usize>) {
        if !says_nothing(&text.as_bytes()[place.clone()]) {
            self.0.push(place);
        }
    }

    /// The text with all places masked, two that touch as one; `None` without any.
    fn masked(mut self, text: &str) -> Option<String> {
        self.0.sort_unstable_by_key(|place| (place.start, place.end));
        let mut masked = String::new();
        let mut shown = 0;
        for place in self.0 {
            if masked.is_empty() {
                masked.reserve(text.len());
            } else if place.start <= shown {
                shown = shown.max(place.end);
                continue;
            }
            masked.push_str(&text[shown..place.start]);
            masked.push_str(MASK);
            shown = place.end;
        }
        if masked.is_empty() {
            return None;
        }
        masked.push_str(&text[shown..]);
        Some(masked)
    }
}

/// Values of which nothing has to be hidden: none at all, a switch, a placeholder, what is masked already.
fn says_nothing(value: &[u8]) -> bool {
    const WORDS: [&[u8]; 11] =
        [b"0", b"1", b"yes", b"no", b"true", b"false", b"null", b"none", b"on", b"off", b"undefined"];
    value.iter().all(|&byte| byte == b'*')
        || matches!(value, b"?" | b"%s" | b"[redacted]" | b"[filtered]")
        || WORDS.iter().any(|word| word.eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests;
