//! Pseudonyms for texts, which keep the shape of a path, a URI or a command line. A pseudonym is a hash with a random key that is kept
//! nowhere: the same text has the same one, and from a pseudonym a text cannot be guessed and tried. It has 30 bits, so that of 10 000
//! texts in a recording two are taken for one in 1 of 20 recordings.

use std::hash::{BuildHasher, RandomState};

use super::known;

/// Characters of a pseudonym: letters and digits that are not taken for each other.
const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// How many of them it has, 5 bits each.
const LENGTH: u32 = 6;
/// What stands for parts of a folded path.
const MARKS: [&str; 2] = [":n", ":id"];

/// Makes pseudonyms.
#[derive(Debug, Default)]
pub(super) struct Pseudonyms<S = RandomState> {
    key: S,
}

impl<S: BuildHasher> Pseudonyms<S> {
    /// The pseudonym of a text as a whole.
    pub(super) fn of(&self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let hash = self.key.hash_one(text);
        (0..LENGTH).map(|digit| char::from(DIGITS[(hash >> (5 * digit)) as usize & 31])).collect()
    }

    /// A path of a file, absolute or not.
    pub(super) fn path(&self, text: &str) -> String {
        let (folders, file) = text.rsplit_once('/').map_or((None, text), |(folders, file)| (Some(folders), file));
        let file = self.file(file);
        match folders {
            Some(folders) => {
                let folders: Vec<String> = folders.split('/').map(|folder| self.folder(folder)).collect();
                format!("{}/{file}", folders.join("/"))
            }
            None => file,
        }
    }

    fn folder(&self, name: &str) -> String {
        let is_version = name.split('.').count() == 2 && name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if matches!(name, "" | "." | "..") || known::FOLDERS.contains(&name) || (is_version && name.len() <= 5) {
            return name.to_owned();
        }
        self.of(name)
    }

    fn file(&self, name: &str) -> String {
        if known::FILES.contains(&name) || known::is_program(name) {
            return name.to_owned();
        }
        match name.rsplit_once('.') {
            Some((stem, ending)) if known::ENDINGS.contains(&ending) => {
                let is_known = known::FILES.contains(&stem) || known::is_program(stem);
                format!("{}.{ending}", if is_known { stem.to_owned() } else { self.of(stem) })
            }
            _ => self.of(name),
        }
    }

    /// A path with the number of a line behind it.
    pub(super) fn place(&self, text: &str) -> String {
        match text.rsplit_once(':') {
            Some((path, line)) if !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{}:{line}", self.path(path))
            }
            _ => self.path(text),
        }
    }

    /// A URI, or the path that it was folded to.
    pub(super) fn uri(&self, text: &str) -> String {
        let (rest, fragment) = split(text, '#');
        let (path, query) = split(rest, '?');
        let mut out: Vec<String> = path.split('/').map(|segment| self.segment(segment)).collect();
        if let Some(last) = path.rsplit('/').next().filter(|last| !MARKS.iter().any(|mark| last.contains(mark)))
            && let Some(place) = out.last_mut()
            && !last.is_empty()
        {
            *place = self.file(last);
        }
        let mut out = out.join("/");
        if let Some(query) = query {
            let pair = |pair: &str| match pair.split_once('=') {
                Some((name, value)) => format!("{}={}", self.of(name), self.of(value)),
                None => self.of(pair),
            };
            out.push('?');
            out.push_str(&query.split('&').map(pair).collect::<Vec<_>>().join("&"));
        }
        if let Some(fragment) = fragment {
            out.push('#');
            out.push_str(&self.of(fragment));
        }
        out
    }

    /// A part of a path of a URI: marks of what was folded stay.
    fn segment(&self, text: &str) -> String {
        let mark = MARKS.iter().filter_map(|mark| Some((text.find(mark)?, *mark))).min();
        match mark {
            Some((at, mark)) => {
                format!("{}{mark}{}", self.segment(&text[..at]), self.segment(&text[at + mark.len()..]))
            }
            None => self.of(text),
        }
    }

    /// A command line, arguments joined by spaces.
    pub(super) fn command_line(&self, text: &str) -> String {
        for (title, words) in known::TITLES {
            if text.starts_with(title) {
                let word = |word: &str| if words.contains(&word) { word.to_owned() } else { self.argument(word) };
                return text.split(' ').map(word).collect::<Vec<_>>().join(" ");
            }
        }
        let mut arguments = text.split(' ');
        let first = arguments.next().unwrap_or_default();
        let program = if first.contains('/') { self.path(first) } else { self.name(first) };
        let rest = arguments.map(|argument| self.argument(argument));
        std::iter::once(program).chain(rest).collect::<Vec<_>>().join(" ")
    }

    /// An argument: a path keeps its shape, everything else is replaced as a whole.
    fn argument(&self, text: &str) -> String {
        let inner = text.trim_start_matches(['(', '-']);
        let start = &text[..text.len() - inner.len()];
        let plain = inner.trim_end_matches(')');
        let end = &inner[plain.len()..];
        format!("{start}{}{end}", if plain.starts_with('/') { self.path(plain) } else { self.of(plain) })
    }

    /// The name of a group, a process or a pool: `php-fpm: www`. Programs and users that everybody has stay.
    pub(super) fn name(&self, text: &str) -> String {
        let part = |part: &str| {
            let name = part.strip_suffix(':').unwrap_or(part);
            let end = &part[name.len()..];
            let is_known = known::is_program(name) || known::USERS.contains(&name);
            format!("{}{end}", if is_known { name.to_owned() } else { self.unit(name) })
        };
        if known::is_program(text) {
            return text.to_owned();
        }
        text.split(' ').map(part).collect::<Vec<_>>().join(" ")
    }

    /// The name of a unit: `nginx.service`.
    pub(super) fn unit(&self, text: &str) -> String {
        let ending = known::UNITS.iter().find(|ending| text.ends_with(**ending)).copied().unwrap_or_default();
        let stem = &text[..text.len() - ending.len()];
        let is_known = known::is_program(stem) || known::is_program(text) || matches!(stem, "system" | "user");
        if is_known { text.to_owned() } else { format!("{}{ending}", self.of(stem)) }
    }

    /// A path of a control group.
    pub(super) fn cgroup(&self, text: &str) -> String {
        text.split('/').map(|part| self.unit(part)).collect::<Vec<_>>().join("/")
    }

    /// A version: its numbers, without what a distribution or a company adds.
    pub(super) fn version(&self, text: &str) -> String {
        let is_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-');
        let numbers = text.split(|c: char| !is_number(c)).next().unwrap_or_default().trim_end_matches(['-', '.']);
        if numbers.is_empty() { self.of(text) } else { numbers.to_owned() }
    }

    /// A class with its namespace.
    pub(super) fn class(&self, text: &str) -> String {
        if text.contains("@anonymous") {
            return "class@anonymous".to_owned();
        }
        text.split('\\').map(|part| self.of(part)).collect::<Vec<_>>().join("\\")
    }
}

/// What is before a character, and what is behind it if it is there.
fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, behind)| (before, Some(behind)))
}
