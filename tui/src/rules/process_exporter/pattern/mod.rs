//! Regular expressions of Go (RE2, <https://pkg.go.dev/regexp/syntax>) as those of the `regex` crate.
//!
//! Both are of one family; the differences are written out here, so that a pattern means the same or is refused:
//! `\w \d \s \b` are ASCII in Go; `[`, `&&`, `--` and `~~` are no operators in its classes; a brace that starts no
//! repetition is a brace; `\Q…\E` quotes; `\123` is octal; `\<` is `<`. Go refuses what repeats a repetition (`a**`) and
//! counts above 1000, and so does this. `\B` has no counterpart and is refused, as are names of groups that begin with a
//! digit or come twice; `\C` is refused by Go, too.

use std::{iter::Peekable, str::Chars};

use regex::Regex;

/// Highest count of a repetition in Go.
const MAX_REPEAT: u32 = 1000;

/// Compiles a pattern of Go.
///
/// # Errors
/// What is wrong with it, or what of it cannot be kept.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern)?;
    Regex::new(&translated).map_err(|error| {
        let text = error.to_string();
        // The crate draws the place below the pattern; its last line says what is wrong.
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    // Whether a repetition came just before: 1 without, 2 with the question mark that makes it lazy.
    let mut repeated = 0;
    while let Some(c) = rest.next() {
        let repetition = match c {
            '*' | '+' | '?' => Some(c.to_string()),
            '{' => counts(&mut rest)?,
            _ => None,
        };
        if let Some(repetition) = repetition {
            if repetition == "?" && repeated == 1 {
                repeated = 2;
            } else if repeated > 0 {
                return Err(format!(
                    "`{repetition}` repeats a repetition, which Go does not allow; put it in parentheses"
                ));
            } else {
                repeated = 1;
            }
            out.push_str(&repetition);
            continue;
        }
        repeated = 0;
        match c {
            '\\' => escape(&mut rest, &mut out)?,
            '[' => class(&mut rest, &mut out)?,
            '{' => out.push_str(r"\{"),
            '(' => {
                out.push('(');
                group(&mut rest, &mut out)?;
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// The rest of `{2}`, `{2,}` or `{2,3}`; `None`, and nothing taken, when it is none.
fn counts(rest: &mut Peekable<Chars>) -> Result<Option<String>, String> {
    let mut ahead = rest.clone();
    let inner: String = ahead.by_ref().take_while(|&c| c != '}').collect();
    let (least, most) = inner.split_once(',').map_or((&*inner, None), |(least, most)| (least, Some(most)));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Without its closing brace it was taken to the end.
    let closed = rest.clone().any(|c| c == '}');
    if !closed || !is_number(least) || !most.is_none_or(|most| most.is_empty() || is_number(most)) {
        return Ok(None);
    }
    let too_many = |text: &str| text.parse::<u32>().map_or(true, |count| count > MAX_REPEAT);
    if too_many(least) || most.is_some_and(|most| !most.is_empty() && too_many(most)) {
        return Err(format!("{{{inner}}} repeats more than {MAX_REPEAT} times"));
    }
    *rest = ahead;
    Ok(Some(format!("{{{inner}}}")))
}

/// What may follow an opening bracket: Go knows the flags i, m, s and U, and names.
fn group(rest: &mut Peekable<Chars>, out: &mut String) -> Result<(), String> {
    if rest.peek() != Some(&'?') {
        return Ok(());
    }
    rest.next();
    let mut inner = String::new();
    for c in rest.by_ref() {
        inner.push(c);
        if matches!(c, ':' | ')' | '>') {
            break;
        }
    }
    let named = inner.strip_prefix("P<").or_else(|| inner.strip_prefix('<')).and_then(|name| name.strip_suffix('>'));
    let flags = inner.strip_suffix([':', ')']).is_some_and(|flags| flags.chars().all(|c| "imsU-".contains(c)));
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    match named {
        Some(name) if is_name(name) => {
            // The crate wants a letter first; names with a digit first are rare and have to be changed.
            out.push_str("?P<");
            out.push_str(name);
            out.push('>');
        }
        None if flags => {
            out.push('?');
            out.push_str(&inner);
        }
        _ => {
            return Err(format!(
                "`(?{inner}` is not supported; neither Go nor tusktop has look-around or back-references"
            ));
        }
    }
    Ok(())
}

/// What a class of Perl holds, in ASCII, for use between brackets.
fn perl(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' | 'D' => "0-9",
        's' | 'S' => r"\t\n\x0C\r ",
        'w' | 'W' => "0-9A-Za-z_",
        _ => return None,
    })
}

fn escape(rest: &mut Peekable<Chars>, out: &mut String) -> Result<(), String> {
    let Some(&c) = rest.peek() else { return Err("it ends with a backslash".into()) };
    if let Some(ascii) = perl(c) {
        rest.next();
        out.push_str(&format!("[{}{ascii}]", if c.is_ascii_uppercase() { "^" } else { "" }));
        return Ok(());
    }
    match c {
        'Q' => {
            rest.next();
            while let Some(c) = rest.next() {
                if c == '\\' && rest.peek() == Some(&'E') {
                    rest.next();
                    break;
                }
                push_literal(c, out);
            }
        }
        'b' => {
            rest.next();
            out.push_str(r"(?-u:\b)");
        }
        'B' | 'C' => return Err(format!("`\\{c}` is not supported: it can match inside a character")),
        'A' | 'z' => {
            rest.next();
            out.push('\\');
            out.push(c);
        }
        'p' | 'P' => {
            rest.next();
            unicode_class(c, rest, out)?;
        }
        _ => push_literal(literal(rest)?, out),
    }
    Ok(())
}

/// `\pL` or `\p{Greek}` after the letter p.
fn unicode_class(letter: char, rest: &mut Peekable<Chars>, out: &mut String) -> Result<(), String> {
    let mut name: String = rest.next().ok_or("it ends after \\p")?.to_string();
    if name == "{" {
        name = rest.by_ref().take_while(|&c| c != '}').collect();
    }
    let inverted = name.starts_with('^') != (letter == 'P');
    let name = name.trim_start_matches('^');
    out.push_str(&format!("\\{}{{{name}}}", if inverted { 'P' } else { 'p' }));
    Ok(())
}

/// The character that an escape stands for, after the backslash.
fn literal(rest: &mut Peekable<Chars>) -> Result<char, String> {
    let c = rest.next().ok_or("it ends with a backslash")?;
    let of_number = |number: Option<u32>| {
        number.and_then(char::from_u32).ok_or_else(|| format!("`\\{c}…` is not a valid character code"))
    };
    match c {
        'a' => Ok('\x07'),
        'f' => Ok('\x0C'),
        't' => Ok('\t'),
        'n' => Ok('\n'),
        'r' => Ok('\r'),
        'v' => Ok('\x0B'),
        'x' => {
            let digits: String = match rest.peek() {
                Some('{') => {
                    rest.next();
                    rest.by_ref().take_while(|&c| c != '}').collect()
                }
                _ => rest.by_ref().take(2).collect(),
            };
            of_number(u32::from_str_radix(&digits, 16).ok())
        }
        // Go takes one digit other than 0 for a reference back, which it does not know.
        '0' | '1'..='7' if c == '0' || rest.peek().is_some_and(|c| ('0'..='7').contains(c)) => {
            let mut number = c.to_digit(8).unwrap_or_default();
            for _ in 0..2 {
                let Some(digit) = rest.peek().and_then(|c| c.to_digit(8)) else { break };
                rest.next();
                number = number * 8 + digit;
            }
            of_number(Some(number))
        }
        _ if c.is_ascii_punctuation() => Ok(c),
        _ => Err(format!("`\\{c}` is not an escape in Go")),
    }
}

fn push_literal(c: char, out: &mut String) {
    out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

/// A class after its opening bracket. Everything in it that is an operator to the crate and not to Go is escaped.
fn class(rest: &mut Peekable<Chars>, out: &mut String) -> Result<(), String> {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut first = true;
    loop {
        let c = *rest.peek().ok_or("a class without its closing bracket")?;
        if c == ']' && !first {
            rest.next();
            out.push(']');
            return Ok(());
        }
        first = false;
        if c == '[' && posix(rest, out)? {
            continue;
        }
        if c == '\\' {
            let letter = rest.clone().nth(1);
            if let Some(ascii) = letter.and_then(perl) {
                rest.next();
                rest.next();
                let inverted = letter.is_some_and(|letter| letter.is_ascii_uppercase());
                out.push_str(&if inverted { format!("[^{ascii}]") } else { ascii.to_owned() });
                continue;
            }
            if let Some(letter @ ('p' | 'P')) = letter {
                rest.next();
                rest.next();
                unicode_class(letter, rest, out)?;
                continue;
            }
        }
        let low = class_character(rest)?;
        let mut ahead = rest.clone();
        if ahead.next() == Some('-') && !matches!(ahead.peek(), None | Some(']')) {
            *rest = ahead;
            let high = class_character(rest)?;
            if high < low {
                return Err(format!("`{low}-{high}` is not a range"));
            }
            push_in_class(low, out);
            out.push('-');
            push_in_class(high, out);
        } else {
            push_in_class(low, out);
        }
    }
}

fn class_character(rest: &mut Peekable<Chars>) -> Result<char, String> {
    match rest.next() {
        Some('\\') => literal(rest),
        Some(c) => Ok(c),
        None => Err("a class without its closing bracket".into()),
    }
}

fn push_in_class(c: char, out: &mut String) {
    if c.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(c);
}

/// `[:alpha:]` within a class. False, and nothing taken, when it is none.
fn posix(rest: &mut Peekable<Chars>, out: &mut String) -> Result<bool, String> {
    let text: String = rest.clone().collect();
    let Some(inner) = text.strip_prefix("[:").and_then(|text| text.split_once(":]")).map(|(inner, _)| inner) else {
        return Ok(false);
    };
    if !inner.bytes().all(|byte| byte == b'^' || byte.is_ascii_lowercase()) {
        return Ok(false);
    }
    for _ in 0..inner.len() + 4 {
        rest.next();
    }
    out.push_str(&format!("[:{inner}:]"));
    Ok(true)
}

#[cfg(test)]
mod tests;
