//! Secrets in command lines: values of options and variables (`--password=x`, `--token x`, `PGPASSWORD=x`), and the short options
//! of well-known programs (`mysql -px`, `curl -u user:x`). An argument may be a whole command line (`sh -c`), or a title.

use std::ops::Range;

use super::{
    Places,
    weight::{self, Weight},
};

/// What the options of programs mean whose names say nothing.
struct Program {
    /// What its name begins with.
    names: &'static [&'static str],
    /// Letters whose value is in the same word: `-px`.
    attached: &'static [u8],
    /// Letters whose value is the next word: `-p x`.
    apart: &'static [u8],
    /// Other options whose value is the next word.
    long: &'static [&'static str],
    /// In the value, the secret is behind this.
    behind: Option<u8>,
}

impl Program {
    const fn new(names: &'static [&'static str], attached: &'static [u8], apart: &'static [u8]) -> Self {
        Self { names, attached, apart, long: &[], behind: None }
    }
}

const PROGRAMS: [Program; 12] = [
    Program::new(&["mysql*", "mariadb*", "mycli", "7z*"], b"p", b""),
    Program::new(&["sshpass", "mongo*"], b"p", b"p"),
    Program::new(&["redis-cli", "valkey-cli", "keydb-cli"], b"", b"a"),
    Program { long: &["user", "proxy-user"], behind: Some(b':'), ..Program::new(&["curl"], b"uU", b"uUE") },
    Program { behind: Some(b':'), ..Program::new(&["http", "https", "xh"], b"", b"a") },
    Program { behind: Some(b'%'), ..Program::new(&["smbclient"], b"U", b"U") },
    Program { behind: Some(b','), ..Program::new(&["lftp", "ncftp*"], b"u", b"u") },
    Program::new(&["ldap*"], b"w", b"w"),
    Program::new(&["snmp*"], b"", b"cAX"),
    Program::new(&["mosquitto_*", "zip", "unzip", "sqlcmd", "bcp"], b"P", b"P"),
    Program::new(&["openssl"], b"", b"kK"),
    // docker login, vault login
    Program::new(&["login"], b"", b"p"),
];

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Secret,
    /// Secret, unless it is the path of a file.
    SecretOrPath,
    /// Secret behind this sign.
    SecretBehind(u8),
}

/// What a word says of values.
enum Meaning {
    /// Its own value begins here.
    Own(usize, Value),
    /// The next word is one.
    Next(Value),
    Nothing,
}

/// Finds secrets in arguments with a NUL between them.
pub(super) fn find(arguments: &str, places: &mut Places) {
    let bytes = arguments.as_bytes();
    let mut expected = None;
    let mut program = None;
    let mut before: &[u8] = b"";
    let mut start = 0;
    while start < bytes.len() {
        let end = memchr::memchr(0, &bytes[start..]).map_or(bytes.len(), |length| start + length);
        // What follows `sh -c` is a command line, whose first word may set a variable; in other places, what a first word sets
        // goes to the end of the argument, also with spaces in it.
        let mut whole = !(before.starts_with(b"-") && before.ends_with(b"c"));
        for word in Words::of(bytes, start..end) {
            let text = &bytes[word.clone()];
            let place = if whole { word.start..end } else { word };
            whole = false;
            if let Some(value) = expected.take()
                && !(text.len() > 1 && text[0] == b'-')
            {
                add(arguments, place, value, places);
                continue;
            }
            match meaning(text, program) {
                Meaning::Own(at, value) => add(arguments, place.start + at..place.end, value, places),
                Meaning::Next(value) => expected = Some(value),
                Meaning::Nothing => program = known(text).or(program),
            }
        }
        before = &bytes[start..end];
        start = end + 1;
    }
}

fn meaning(word: &[u8], program: Option<&Program>) -> Meaning {
    let equals = memchr::memchr(b'=', word);
    let name = &word[..equals.unwrap_or(word.len())];
    let option = name.starts_with(b"-");
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'[' | b']' | b'$');
    let (Some(program), [b'-', letter, rest @ ..]) = (program, word) else {
        return named(name, equals.filter(|_| name.iter().all(is_name)), option);
    };
    let value = program.behind.map_or(Value::Secret, Value::SecretBehind);
    let long = name.strip_prefix(b"--").is_some_and(|name| program.long.iter().any(|long| long.as_bytes() == name));
    match equals {
        Some(equals) if long => Meaning::Own(equals + 1, value),
        None if long || (rest.is_empty() && program.apart.contains(letter)) => Meaning::Next(value),
        _ if !rest.is_empty() && program.attached.contains(letter) => Meaning::Own(2, value),
        _ => named(name, equals, option),
    }
}

/// What the name of an option or of a variable says.
fn named(name: &[u8], equals: Option<usize>, option: bool) -> Meaning {
    let value = match weight::weigh(name) {
        Weight::Anywhere => Value::Secret,
        Weight::Value => Value::SecretOrPath,
        Weight::Parameter | Weight::None => return Meaning::Nothing,
    };
    match equals {
        Some(equals) => Meaning::Own(equals + 1, value),
        None if option => Meaning::Next(value),
        None => Meaning::Nothing,
    }
}

fn add(text: &str, place: Range<usize>, value: Value, places: &mut Places) {
    let written = &text.as_bytes()[place.clone()];
    match value {
        Value::Secret => places.add(text, place),
        Value::SecretOrPath if is_path(written) => {}
        Value::SecretOrPath => places.add(text, place),
        Value::SecretBehind(sign) => {
            if let Some(at) = memchr::memchr(sign, written) {
                places.add(text, place.start + at + 1..place.end);
            }
        }
    }
}

fn is_path(value: &[u8]) -> bool {
    [&b"/"[..], b"./", b"../", b"~/"].iter().any(|start| value.starts_with(start))
}

/// The program that a word names, also with its folder.
fn known(word: &[u8]) -> Option<&'static Program> {
    let name = word.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let is = |known: &&str| match known.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => name == known.as_bytes(),
    };
    PROGRAMS.iter().find(|program| program.names.iter().any(is))
}

/// The words of an argument, as a shell would see them: quotes may be around one, or around the value in it.
struct Words<'a> {
    bytes: &'a [u8],
    rest: Range<usize>,
    /// These quotes are not closed any more.
    open: [bool; 2],
}

impl<'a> Words<'a> {
    fn of(bytes: &'a [u8], argument: Range<usize>) -> Self {
        Self { bytes, rest: argument, open: [false; 2] }
    }

    /// Where the quote that is opened at `at` is closed.
    fn closed(&mut self, at: usize) -> Option<usize> {
        let quote = self.bytes[at];
        let open = &mut self.open[usize::from(quote == b'"')];
        if *open || !matches!(quote, b'"' | b'\'') {
            return None;
        }
        let closed = memchr::memchr(quote, &self.bytes[at + 1..self.rest.end]).map(|length| at + 1 + length);
        *open = closed.is_none();
        closed
    }
}

impl Iterator for Words<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let spaces = self.bytes[self.rest.clone()].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let start = self.rest.start + spaces;
        if start >= self.rest.end {
            return None;
        }
        if let Some(end) = self.closed(start) {
            self.rest.start = end + 1;
            return Some(start + 1..end);
        }
        let mut at = start;
        while at < self.rest.end && !self.bytes[at].is_ascii_whitespace() {
            // Behind a letter or a digit it is an apostrophe, unless it belongs to an option: `-p'a b'`.
            let option =
                self.bytes[start] == b'-' || !self.bytes[at.saturating_sub(1).max(start)].is_ascii_alphanumeric();
            at = option.then(|| self.closed(at)).flatten().unwrap_or(at) + 1;
        }
        self.rest.start = at;
        Some(start..at)
    }
}
