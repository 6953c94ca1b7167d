//! The grammar of conditions: `p99 of /checkout > 2s in 1m for 30s`.

use std::time::Duration;

use jiff::SignedDuration;
use regex::Regex;

use super::{Amount, Name, Quantile, Resource, Trigger, What};
use crate::config::{parse_share, parse_size};

/// The grammar, for the help and the documentation.
pub const GRAMMAR: &str = "\
Conditions (--when):
  p99 > 2s                       duration of requests that finished in the last 10s; also p50, p95, max
  5xx > 5%                       requests with status 500 or above, of all in the last 10s; also 5xx > 3/s or 20/m
  exceptions > 100/m             exceptions thrown in the last 1m, caught or not; also 2/s
  memory > 90%                   memory in use on the machine; also memory > 12G
  memory of php-fpm: www > 2G    memory of a process group; also a share of the machine's memory
  growth of php-fpm: * > 500M    how far memory of a group is above its least in the last 5m; of the machine without a name
  memory pressure > 20%          share of the last 10 s in which tasks waited for memory (PSI); also cpu and io
  pool www full                  all workers that pm.max_children allows are busy; also pool full
  oom kill                       the kernel killed a process because memory was gone

  Names: `p99 of /checkout`, `5xx of /api/*`, `exceptions of PDOException`. `*` stands for any text; of several groups that match, the
  biggest counts. Quote a name that has a `>` in it.
  in TIME at the end takes another span than the last 10s, 1m or 5m: `p99 > 2s in 1m`.
  for TIME at the end: it has to hold for that long: `cpu pressure > 50% for 30s`.
  A condition that was true has to become false before it can start another file.";

/// What can be watched, for messages.
const POSSIBLE: &str = "p50, p95, p99, max, 5xx, exceptions, memory, growth, `cpu pressure`, `io pressure`, `memory pressure`, `pool full` and `oom kill`";
/// Longest condition.
const MAX_TEXT: usize = 500;
/// Longest span that requests and exceptions are added up over.
const MAX_WITHIN: Duration = Duration::from_secs(600);
/// Longest span that growth is measured in, and longest time that something has to last.
const MAX_TIME: Duration = Duration::from_secs(3600);

pub(super) fn trigger(text: &str) -> Result<Trigger, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("it is empty; possible are {POSSIBLE}"));
    }
    if text.len() > MAX_TEXT {
        return Err(format!("it is longer than {MAX_TEXT} bytes"));
    }
    let (subject, rest) = match comparison(text) {
        Some(at) => (text[..at].trim(), Some(text[at + 1..].trim())),
        None => (text, None),
    };
    let (what, lasting) = match rest {
        Some(rest) => compared(subject, rest)?,
        None => moment(subject)?,
    };
    Ok(Trigger { text: text.to_owned(), what, lasting })
}

/// Where the `>` is, which is not in quotes.
fn comparison(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (c == '>' && !quoted).then_some(at)
    })
}

/// A condition without a value: `pool www full for 10s`, `oom kill`.
fn moment(text: &str) -> Result<(What, Duration), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["oom", "kill"] | ["oom"] => return Ok((What::OomKill, Duration::ZERO)),
        ["oom", "kill", ..] => {
            return Err(format!("`{}`: `oom kill` is a moment, and nothing can follow it", words[2..].join(" ")));
        }
        ["pool", ..] => {}
        _ => {
            let (first, name) = subject_and_name(text);
            known(first)?;
            let name = if name.is_some() { " of NAME" } else { "" };
            return Err(format!("expected `>` and a value: `{first}{name} > {}`", example(first)));
        }
    }
    let mut rest = text["pool".len()..].trim();
    let mut lasting = Duration::ZERO;
    if let Some((before, time)) = rest.rsplit_once(" for ")
        && (before.trim_end().ends_with(" full") || before.trim() == "full")
    {
        (rest, lasting) = (before.trim(), self::lasting(time)?);
    }
    let named = rest.strip_suffix("full").filter(|name| name.is_empty() || name.ends_with(' '));
    let named = named.ok_or_else(|| format!("`{text}`: expected `pool full` or `pool NAME full`"))?.trim();
    let of = if named.is_empty() { Name(None) } else { name(named)? };
    Ok((What::PoolFull { of }, lasting))
}

/// A condition with a value: what is before and what is behind the `>`.
fn compared(text: &str, rest: &str) -> Result<(What, Duration), String> {
    let (subject, named) = subject_and_name(text);
    known(subject)?;
    if matches!(subject, "pool" | "oom kill") {
        return Err(format!("`{subject}` is not compared with anything: write `{}`", example(subject)));
    }
    let of = named.map_or(Ok(Name(None)), name)?;
    let is_pressure = subject.ends_with("pressure");
    if is_pressure && !of.is_any() {
        return Err(format!("`{subject}` has no `of`"));
    }
    let clauses = Clauses::read(rest)?;
    let value = clauses.value;
    let within = |default: u64, most: Duration| {
        let Some(within) = clauses.within else { return Ok(Duration::from_secs(default)) };
        bounded("in", within, Duration::from_secs(1), most)
    };
    let what = match subject {
        "p50" | "p95" | "p99" | "max" => What::Requests {
            quantile: match subject {
                "p50" => Quantile::At(0.5, "p50"),
                "p95" => Quantile::At(0.95, "p95"),
                "p99" => Quantile::At(0.99, "p99"),
                _ => Quantile::Max,
            },
            of,
            above_ms: time(value)?.as_secs_f64() * 1000.0,
            within: within(10, MAX_WITHIN)?,
        },
        "5xx" => What::Failed {
            of,
            above: rate(value).map_or_else(|| share(value, "5%, 3/s or 20/m"), Ok)?,
            within: within(10, MAX_WITHIN)?,
        },
        "exceptions" => What::Exceptions {
            of,
            above: rate(value).ok_or_else(|| wrong(value, "a rate such as 100/m or 2/s"))?,
            within: within(60, MAX_WITHIN)?,
        },
        "growth" => What::Growth {
            of,
            above: parse_size(value).map_err(|why| format!("`{value}`: {why}"))?,
            within: within(300, MAX_TIME)?,
        },
        _ if clauses.within.is_some() => {
            return Err(format!("`{subject}` has no `in`; `for TIME` says how long it has to hold"));
        }
        "memory" => What::Memory {
            of,
            above: match value.ends_with('%') {
                true => share(value, "90% or 2G")?,
                false => {
                    Amount::Bytes(parse_size(value).map_err(|why| format!("`{value}`: {why}, or a share such as 90%"))?)
                }
            },
        },
        _ => {
            let Amount::Share(above) = share(value, "20%")? else { return Err(wrong(value, "a share such as 20%")) };
            let of = match subject {
                "cpu pressure" => Resource::Cpu,
                "io pressure" => Resource::Io,
                _ => Resource::Memory,
            };
            What::Pressure { of, above }
        }
    };
    Ok((what, clauses.lasting.map_or(Ok(Duration::ZERO), |time| bounded("for", time, Duration::ZERO, MAX_TIME))?))
}

/// What is behind the `>`.
struct Clauses<'a> {
    value: &'a str,
    within: Option<Duration>,
    lasting: Option<Duration>,
}

impl<'a> Clauses<'a> {
    fn read(rest: &'a str) -> Result<Self, String> {
        // A time may have spaces in it, as `1m 30s`.
        let (rest, lasting) = match rest.rsplit_once(" for ") {
            Some((rest, lasting)) => (rest, Some(time(lasting)?)),
            None => (rest, None),
        };
        let (value, within) = match rest.split_once(" in ") {
            Some((value, within)) => (value, Some(time(within)?)),
            None => (rest, None),
        };
        match value.trim() {
            "" => Err("there is no value behind the `>`".into()),
            value if value.starts_with('=') => Err("`>=` is not known; write `>`".into()),
            value => Ok(Self { value, within, lasting }),
        }
    }
}

/// `p99 of /checkout`: what is measured, and of what.
fn subject_and_name(text: &str) -> (&str, Option<&str>) {
    match (text.split_once(" of "), text.strip_suffix(" of")) {
        (Some((subject, name)), _) => (subject.trim(), Some(name.trim())),
        (None, Some(subject)) => (subject.trim(), Some("")),
        (None, None) => (text.trim(), None),
    }
}

fn known(subject: &str) -> Result<(), String> {
    const SUBJECTS: [&str; 12] = [
        "p50",
        "p95",
        "p99",
        "max",
        "5xx",
        "exceptions",
        "memory",
        "growth",
        "cpu pressure",
        "io pressure",
        "memory pressure",
        "pool",
    ];
    if SUBJECTS.contains(&subject) || subject == "oom kill" {
        return Ok(());
    }
    let near = SUBJECTS.iter().find(|known| strsim::damerau_levenshtein(known, subject) <= 2);
    let meant = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
    Err(format!("`{subject}` cannot be watched{meant}; possible are {POSSIBLE}"))
}

/// A value for a message.
fn example(subject: &str) -> &'static str {
    match subject {
        "5xx" => "5%",
        "exceptions" => "100/m",
        "memory" => "90%",
        "growth" => "500M",
        "pool" => "pool full",
        "oom kill" => "oom kill",
        _ if subject.ends_with("pressure") => "20%",
        _ => "2s",
    }
}

fn name(text: &str) -> Result<Name, String> {
    let unquoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if unquoted.is_empty() || unquoted.contains('"') {
        return Err(format!("`{text}` is no name; a name in quotes has one at both ends, and none within"));
    }
    let pattern = format!("(?s)^{}$", regex::escape(unquoted).replace("\\*", ".*"));
    Regex::new(&pattern)
        .map(|pattern| Name(Some((pattern, unquoted.to_owned()))))
        .map_err(|_| format!("`{text}` is too long for a name"))
}

fn time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let time = text.parse::<SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    time.filter(|time| !time.is_zero()).ok_or_else(|| wrong(text, "a time such as 500ms, 2s or 1m"))
}

fn lasting(text: &str) -> Result<Duration, String> {
    bounded("for", time(text)?, Duration::ZERO, MAX_TIME)
}

fn bounded(word: &str, time: Duration, least: Duration, most: Duration) -> Result<Duration, String> {
    if (least..=most).contains(&time) {
        return Ok(time);
    }
    let from = if least.is_zero() { String::new() } else { format!("from {}s ", least.as_secs()) };
    Err(format!("the time behind `{word}` may be {from}up to {}m", most.as_secs() / 60))
}

fn share(text: &str, examples: &str) -> Result<Amount, String> {
    parse_share(text).map(Amount::Share).map_err(|_| wrong(text, &format!("a value such as {examples}")))
}

/// `100/m` or `2/s`.
fn rate(text: &str) -> Option<Amount> {
    let (count, unit) = text.split_once('/')?;
    let count: f64 = count.trim().parse().ok().filter(|count: &f64| count.is_finite() && *count >= 0.0)?;
    match unit.trim() {
        "s" => Some(Amount::PerSecond(count, false)),
        "m" | "min" => Some(Amount::PerSecond(count / 60.0, true)),
        _ => None,
    }
}

fn wrong(text: &str, expected: &str) -> String {
    format!("`{text}`: expected {expected}")
}
