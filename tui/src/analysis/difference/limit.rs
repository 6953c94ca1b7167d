//! Limits of a difference, as they are typed (`route /checkout p95 +20%`), and whether they are exceeded. It owns their grammar:
//!
//! ```text
//! LIMIT   = SUBJECT MEASURE BOUND
//! SUBJECT = requests | route [METHOD] PATH | function NAME | group NAME | exceptions [CLASS] | errors [LEVEL]
//! MEASURE = requests, errors, p50, p95 or p99 (of requests and routes); self or total (of functions);
//!           memory, cpu or processes (of groups); count (of exceptions and errors)
//! BOUND   = +20% or -20% (relative), +50ms or -50ms (a difference), >500ms or <500ms (the value afterwards)
//! ```
//!
//! A name that ends with `*` means all that begin with it; then one of them is enough.

use std::fmt;

use serde::Serialize;

use super::{Change, Difference, ProblemName, RouteDifference, Verdict};
use crate::{model::ProblemKind, words::nearest::nearest};

/// Requests of which a percentile is told by one of them at least, and below which it is not compared with a value: 5 for the
/// median, 20 for p95, 100 for p99.
const BEHIND: [(Measure, f64); 3] = [(Measure::P50, 5.0), (Measure::P95, 20.0), (Measure::P99, 100.0)];

/// A limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    text: String,
    subject: Subject,
    /// Name; `None` where all together are meant.
    name: Option<String>,
    /// HTTP method that was named with a route.
    method: Option<String>,
    measure: Measure,
    bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Requests,
    Route,
    Function,
    Group,
    Exceptions,
    Errors,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Measure {
    Requests,
    Errors,
    P50,
    P95,
    P99,
    Own,
    Total,
    Memory,
    Cpu,
    Processes,
    Count,
}

/// What a value is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Events per second.
    PerSecond,
    /// Events per minute.
    PerMinute,
    /// A share, 0 to 1.
    Ratio,
    /// Milliseconds.
    Milliseconds,
    /// Milliseconds per second.
    MillisecondsPerSecond,
    /// Bytes.
    Bytes,
    /// Cores.
    Cores,
    /// A number of things.
    Count,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    /// The relative difference is more than this, upwards or (below 0) downwards.
    Relative(f64),
    /// The difference is.
    Difference(f64),
    /// The value afterwards is above.
    Above(f64),
    /// The value afterwards is below.
    Below(f64),
}

/// What became of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is exceeded.
    Exceeded,
    /// It is kept.
    Kept,
    /// It cannot be told; the finding says why.
    Unknown,
}

/// A limit that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The limit as it was typed.
    pub limit: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What it was decided by: the worst of all that the limit is about; empty where all together are meant.
    pub of: String,
    /// Its value; `None` where there is none.
    pub change: Option<Change>,
    /// What the value is counted in.
    pub unit: Unit,
    /// Why it cannot be told, or why a difference does not count; empty where nothing is to be said.
    pub reason: String,
}

impl Limit {
    /// Reads a limit.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [subject, middle @ .., measure, bound] = &words[..] else {
            return Err("expected a subject, a measure and a bound, such as `route /checkout p95 +20%`".into());
        };
        let subject = Subject::parse(subject)?;
        let mut name = middle.join(" ");
        if name.len() > 1 && name.starts_with('"') && name.ends_with('"') {
            name = name[1..name.len() - 1].to_owned();
        }
        let measure = subject.measure(measure)?;
        let bound = Bound::parse(bound, measure.unit())?;
        let mut method = None;
        if subject == Subject::Route
            && let Some((first, rest)) = name.split_once(' ')
            && first.bytes().all(|byte| byte.is_ascii_uppercase())
        {
            (method, name) = (Some(first.to_owned()), rest.to_owned());
        }
        match (subject, name.is_empty()) {
            (Subject::Route | Subject::Function | Subject::Group, true) => {
                return Err(format!("which {}? its name goes before `{}`", subject.word(), measure.word()));
            }
            (Subject::Requests, false) => {
                return Err(format!("`requests` means all of them; did you mean `route {name} {}`?", measure.word()));
            }
            _ => {}
        }
        let name = (!name.is_empty()).then_some(name);
        Ok(Self { text: text.to_owned(), subject, name, method, measure, bound })
    }

    /// Looks at a difference.
    pub fn find(&self, difference: &Difference) -> Finding {
        let candidates = self.candidates(difference);
        let finding = |outcome, of: String, change, reason: String| Finding {
            limit: self.text.clone(),
            outcome,
            of,
            change,
            unit: self.measure.unit(),
            reason,
        };
        if candidates.is_empty() {
            return self.missing(difference, finding);
        }
        let mut decided = candidates.into_iter().map(|candidate| {
            let (outcome, reason) = self.decide(&candidate, difference.after.php_seconds);
            (outcome, candidate, reason)
        });
        // What is exceeded decides, then what can be told, then the larger difference.
        let rank = |(outcome, candidate, _): &(Outcome, Candidate, String)| {
            let rank = match outcome {
                Outcome::Exceeded => 2,
                Outcome::Kept => 1,
                Outcome::Unknown => 0,
            };
            (rank, candidate.change.difference.unwrap_or_default().abs())
        };
        let first = decided.next();
        let worst = first.map(|first| {
            decided.fold(first, |worst, next| {
                if rank(&next).partial_cmp(&rank(&worst)).is_some_and(|order| order.is_gt()) { next } else { worst }
            })
        });
        match worst {
            Some((outcome, candidate, reason)) => finding(outcome, candidate.of, Some(candidate.change), reason),
            None => finding(Outcome::Unknown, String::new(), None, String::new()),
        }
    }

    /// Nothing has the name. Of problems this is what one hopes for.
    fn missing(
        &self,
        difference: &Difference,
        finding: impl Fn(Outcome, String, Option<Change>, String) -> Finding,
    ) -> Finding {
        let name = self.name.as_deref().unwrap_or_default();
        let all = match self.subject {
            Subject::Exceptions => Some(&difference.exceptions_per_min),
            Subject::Errors => Some(&difference.errors_per_min),
            _ => None,
        };
        if let Some(all) = all {
            let zero = |value: Option<f64>| value.map(|_| 0.0);
            let change =
                Change { before: zero(all.before), after: zero(all.after), difference: None, verdict: Verdict::Noise };
            let candidate = Candidate { of: name.to_owned(), change, requests: None };
            let (outcome, reason) = self.decide(&candidate, 0.0);
            return finding(outcome, candidate.of, Some(candidate.change), reason);
        }
        let known: Vec<String> = match self.subject {
            Subject::Route => difference.routes.iter().map(|route| route.name.route.to_string()).collect(),
            Subject::Function => difference.functions.iter().map(|function| function.name.called()).collect(),
            _ => difference.groups.iter().map(|group| group.group.to_string()).collect(),
        };
        let word = self.subject.word();
        let reason = match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("no {word} is called {name} in either span; did you mean {near}?"),
            None => format!("no {word} is called {name} in either span"),
        };
        finding(Outcome::Unknown, name.to_owned(), None, reason)
    }

    /// All that the limit is about.
    fn candidates(&self, difference: &Difference) -> Vec<Candidate> {
        let has = |name: &str| match self.name.as_deref() {
            None => true,
            Some(wanted) => match wanted.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == wanted,
            },
        };
        let of_route = |of: String, route: &RouteDifference| {
            let change = match self.measure {
                Measure::Requests => route.requests_per_s,
                Measure::Errors => route.error_ratio,
                Measure::P50 => route.p50_ms,
                Measure::P95 => route.p95_ms,
                _ => route.p99_ms,
            };
            Candidate { of, change, requests: route.requests_per_s.after }
        };
        let counted = |of: String, change| Candidate { of, change, requests: None };
        match self.subject {
            Subject::Requests => vec![of_route(String::new(), &difference.requests)],
            Subject::Route => {
                let wanted = |route: &&RouteDifference| {
                    has(&route.name.route) && self.method.as_deref().is_none_or(|method| *method == *route.name.method)
                };
                let routes = difference.routes.iter().filter(wanted);
                routes.map(|route| of_route(route.name.to_string(), route)).collect()
            }
            Subject::Function => {
                let functions = difference.functions.iter().filter(|function| {
                    has(&function.name.called()) || (!function.name.class.is_empty() && has(&function.name.name))
                });
                let change = |function: &super::FunctionDifference| match self.measure {
                    Measure::Own => function.self_ms_per_s,
                    _ => function.total_ms_per_s,
                };
                functions.map(|function| counted(function.name.called(), change(function))).collect()
            }
            Subject::Group => {
                let change = |group: &super::GroupDifference| match self.measure {
                    Measure::Memory => group.memory_bytes,
                    Measure::Cpu => group.cpu_ratio,
                    _ => group.processes,
                };
                let groups = difference.groups.iter().filter(|group| has(&group.group));
                groups.map(|group| counted(group.group.to_string(), change(group))).collect()
            }
            Subject::Exceptions | Subject::Errors if self.name.is_none() => vec![counted(
                String::new(),
                if self.subject == Subject::Errors { difference.errors_per_min } else { difference.exceptions_per_min },
            )],
            Subject::Exceptions | Subject::Errors => {
                let kind = if self.subject == Subject::Errors { ProblemKind::Error } else { ProblemKind::Exception };
                let problems = difference.problems.iter();
                let problems = problems.filter(|problem| problem.name.kind == kind && has(&problem.name.name));
                problems.map(|problem| counted(problem.name.to_string(), problem.per_min)).collect()
            }
        }
    }

    /// Whether one thing exceeds the limit, and what is to be said of it.
    fn decide(&self, candidate: &Candidate, php_seconds: f64) -> (Outcome, String) {
        let Change { before, after, difference, verdict } = candidate.change;
        let decided = |exceeded| (if exceeded { Outcome::Exceeded } else { Outcome::Kept }, String::new());
        let not_known = |span: &str| {
            let what = match self.measure {
                Measure::Errors | Measure::P50 | Measure::P95 | Measure::P99 => "there was no request to it",
                _ => "it was not measured",
            };
            (Outcome::Unknown, format!("{what} in the span {span}"))
        };
        let Some(after) = after else { return not_known("that is compared") };
        if let Some(least) = BEHIND.iter().find(|(measure, _)| *measure == self.measure).map(|(_, least)| *least)
            && let Some(requests) = candidate.requests.map(|per_s| (per_s * php_seconds).round())
            && requests < least
        {
            let reason = format!("there were {requests} requests, and {} takes {least}", self.measure.word());
            return (Outcome::Unknown, reason);
        }
        match self.bound {
            Bound::Above(value) => return decided(after > value),
            Bound::Below(value) => return decided(after < value),
            Bound::Relative(_) | Bound::Difference(_) => {}
        }
        let Some(before) = before else { return not_known("that it is compared with") };
        let difference = difference.unwrap_or_default();
        let exceeds = match self.bound {
            Bound::Relative(ratio) if ratio < 0.0 => difference < before * ratio,
            Bound::Relative(ratio) => difference > before * ratio,
            Bound::Difference(least) if least < 0.0 => difference < least,
            Bound::Difference(least) => difference > least,
            Bound::Above(_) | Bound::Below(_) => false,
        };
        match (exceeds, verdict) {
            (true, Verdict::Changed) => decided(true),
            (false, _) => decided(false),
            (true, Verdict::Noise) => (Outcome::Kept, "this difference is noise".into()),
            // That there are few events is no reason to stop: it would be noticed if there were many more.
            (true, Verdict::Unsure) if self.measure.is_counted() => {
                (Outcome::Kept, "too few to tell from noise".into())
            }
            (true, Verdict::Unsure) => {
                (Outcome::Unknown, "there is too little in the spans to tell it from noise".into())
            }
        }
    }
}

/// One thing that a limit is about.
struct Candidate {
    of: String,
    change: Change,
    /// Requests per second of a route afterwards.
    requests: Option<f64>,
}

impl Subject {
    const ALL: [Self; 6] = [Self::Requests, Self::Route, Self::Function, Self::Group, Self::Exceptions, Self::Errors];

    fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Route => "route",
            Self::Function => "function",
            Self::Group => "group",
            Self::Exceptions => "exceptions",
            Self::Errors => "errors",
        }
    }

    fn parse(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|subject| subject.word() == word).ok_or_else(|| {
            let known = Self::ALL.map(Self::word);
            match nearest(word, known) {
                Some(near) => format!("`{word}` is not known; did you mean `{near}`?"),
                None => format!("`{word}` is not known; it begins with one of {}", known.join(", ")),
            }
        })
    }

    fn measures(self) -> &'static [Measure] {
        match self {
            Self::Requests | Self::Route => {
                &[Measure::Requests, Measure::Errors, Measure::P50, Measure::P95, Measure::P99]
            }
            Self::Function => &[Measure::Own, Measure::Total],
            Self::Group => &[Measure::Memory, Measure::Cpu, Measure::Processes],
            Self::Exceptions | Self::Errors => &[Measure::Count],
        }
    }

    fn measure(self, word: &str) -> Result<Measure, String> {
        self.measures().iter().copied().find(|measure| measure.word() == word).ok_or_else(|| {
            let known: Vec<_> = self.measures().iter().map(|measure| measure.word()).collect();
            format!("`{word}` is not measured of `{}`; that is {}", self.word(), known.join(", "))
        })
    }
}

impl Measure {
    fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Errors => "errors",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::Own => "self",
            Self::Total => "total",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Processes => "processes",
            Self::Count => "count",
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::Requests => Unit::PerSecond,
            Self::Errors => Unit::Ratio,
            Self::P50 | Self::P95 | Self::P99 => Unit::Milliseconds,
            Self::Own | Self::Total => Unit::MillisecondsPerSecond,
            Self::Memory => Unit::Bytes,
            Self::Cpu => Unit::Cores,
            Self::Processes => Unit::Count,
            Self::Count => Unit::PerMinute,
        }
    }

    fn is_counted(self) -> bool {
        matches!(self, Self::Requests | Self::Errors | Self::Own | Self::Total | Self::Count)
    }
}

impl Bound {
    fn parse(text: &str, unit: Unit) -> Result<Self, String> {
        let (sign, value) = text.split_at_checked(1).unwrap_or_default();
        let wrong = || format!("`{text}`: expected a bound such as +20%, +{0}, >{0} or <{0}", unit.example());
        let percent = value.strip_suffix('%').map(|number| number.parse::<f64>().ok().filter(|number| *number >= 0.0));
        let ratio = match percent {
            Some(None) => return Err(wrong()),
            Some(Some(percent)) => Some(percent / 100.0),
            None => None,
        };
        match (sign, ratio) {
            ("+", Some(ratio)) => Ok(Self::Relative(ratio)),
            ("-", Some(ratio)) if ratio > 0.0 => Ok(Self::Relative(-ratio)),
            (">", Some(ratio)) if unit == Unit::Ratio => Ok(Self::Above(ratio)),
            ("<", Some(ratio)) if unit == Unit::Ratio => Ok(Self::Below(ratio)),
            (_, Some(_)) => Err(wrong()),
            ("+" | "-", None) if unit == Unit::Ratio => Err(wrong()),
            ("+", None) => unit.parse(value).map(Self::Difference).ok_or_else(wrong),
            ("-", None) => unit.parse(value).map(|value| Self::Difference(-value)).ok_or_else(wrong),
            (">", None) => unit.parse(value).map(Self::Above).ok_or_else(wrong),
            ("<", None) => unit.parse(value).map(Self::Below).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

impl Unit {
    fn example(self) -> &'static str {
        match self {
            Self::PerSecond => "5/s",
            Self::PerMinute => "5/min",
            Self::Ratio => "2%",
            Self::Milliseconds => "50ms",
            Self::MillisecondsPerSecond => "50ms",
            Self::Bytes => "100M",
            Self::Cores => "0.5",
            Self::Count => "4",
        }
    }

    /// Reads a value of this unit; `None` where it is none.
    fn parse(self, text: &str) -> Option<f64> {
        let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(at);
        let factor = match (self, suffix) {
            (Self::PerSecond, "" | "/s") | (Self::PerMinute, "" | "/min") => 1.0,
            (Self::PerSecond, "/min") => 1.0 / 60.0,
            (Self::PerMinute, "/s") => 60.0,
            (Self::Milliseconds | Self::MillisecondsPerSecond, "us") => 1e-3,
            (Self::Milliseconds | Self::MillisecondsPerSecond, "ms") => 1.0,
            (Self::Milliseconds | Self::MillisecondsPerSecond, "s") => 1e3,
            (Self::Bytes, "k" | "K" | "KiB") => 1024.0,
            (Self::Bytes, "M" | "MiB") => 1024.0 * 1024.0,
            (Self::Bytes, "G" | "GiB") => 1024.0 * 1024.0 * 1024.0,
            (Self::Cores | Self::Count, "") => 1.0,
            _ => return None,
        };
        number.parse::<f64>().ok().map(|number| number * factor)
    }
}

impl super::FunctionName {
    /// `class::name`, or the name where there is no class.
    pub fn called(&self) -> String {
        crate::words::names::called(&self.class, &self.name).into_owned()
    }
}

impl fmt::Display for super::RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = if self.method.is_empty() { "" } else { " " };
        write!(f, "{}{method}{}", self.method, self.route)?;
        if !self.group.is_empty() {
            write!(f, " ({})", self.group)?;
        }
        Ok(())
    }
}

impl fmt::Display for ProblemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, file, .. } = self;
        if file.is_empty() { write!(f, "{name}") } else { write!(f, "{name} in {file}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::difference::{Summary, difference, tests::two_releases};

    fn find(text: &str) -> Finding {
        let (before, after) = two_releases();
        Limit::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).find(&difference(&before, &after))
    }

    #[test]
    fn limits_are_exceeded_by_changes_only() {
        for (text, outcome) in [
            ("route /slower p95 +20%", Outcome::Exceeded),
            ("route GET /slower p95 +20%", Outcome::Exceeded),
            ("route /s* p95 +20%", Outcome::Exceeded),
            ("route /slower p95 +20ms", Outcome::Exceeded),
            ("route /slower p95 +90%", Outcome::Kept),
            ("route /slower p95 -10%", Outcome::Kept),
            ("route /slower p95 >60ms", Outcome::Exceeded),
            ("route /slower p50 <60ms", Outcome::Kept),
            ("route /slower p50 >0.2s", Outcome::Kept),
            ("route /steady p99 +0%", Outcome::Kept),
            ("route /slower errors >0.5%", Outcome::Kept),
            ("requests p95 >10ms", Outcome::Exceeded),
            ("requests requests -50%", Outcome::Kept),
            ("function C::add self +20%", Outcome::Exceeded),
            ("function add self >14ms", Outcome::Exceeded),
            ("function add total >16ms", Outcome::Kept),
            ("group php-fpm: www memory +10%", Outcome::Exceeded),
            ("group \"php-fpm: www\" memory >1G", Outcome::Kept),
            ("group php-fpm: www processes +1", Outcome::Kept),
            ("exceptions count +10%", Outcome::Exceeded),
            ("exceptions count >100/min", Outcome::Exceeded),
            ("exceptions count >100/s", Outcome::Kept),
            ("exceptions E count +10/min", Outcome::Exceeded),
            ("exceptions Other count +1", Outcome::Kept),
            ("exceptions Other count >0", Outcome::Kept),
        ] {
            let finding = find(text);
            assert_eq!(finding.outcome, outcome, "{finding:?}");
        }
    }

    #[test]
    fn what_cannot_be_told_says_why() {
        for (text, reason) in [
            ("route /slowr p95 +20%", "no route is called /slowr in either span; did you mean /slower?"),
            ("route POST /slower p95 +20%", "no route is called /slower"),
            ("route /rare p95 +20%", "there were 2 requests, and p95 takes 20"),
            ("route /gone p95 >1ms", "there was no request to it in the span that is compared"),
            ("group nginx memory +1%", "no group is called nginx"),
            ("group php-fpm: www cpu +1%", "it was not measured in the span that is compared"),
            ("function nothing self +1%", "no function is called nothing"),
            ("errors count >0", "it was not measured"),
            ("errors warning count >0", "it was not measured"),
        ] {
            let finding = find(text);
            assert!(finding.outcome == Outcome::Unknown && finding.reason.contains(reason), "{text}: {finding:?}");
        }
        let nothing = difference(&Summary::default(), &Summary::default());
        let finding = Limit::parse("requests p95 +1%").unwrap().find(&nothing);
        assert_eq!((finding.outcome, finding.change.unwrap().after), (Outcome::Unknown, None));
    }

    #[test]
    fn what_is_wrong_with_a_limit_is_said() {
        for (text, said) in [
            ("", "expected a subject, a measure and a bound"),
            ("p95 +20%", "expected a subject"),
            ("rute /a p95 +20%", "did you mean `route`?"),
            ("cpu www p95 +20%", "it begins with one of requests, route"),
            ("route /a p90 +20%", "that is requests, errors, p50, p95, p99"),
            ("route p95 +20%", "which route?"),
            ("requests /a p95 +20%", "did you mean `route /a p95`?"),
            ("route /a p95 20%", "expected a bound such as +20%, +50ms, >50ms or <50ms"),
            ("route /a p95 +20", "+50ms"),
            ("route /a p95 >20%", "+50ms"),
            ("route /a p95 -0%", "expected a bound"),
            ("route /a errors +2", ">2%"),
            ("group a memory +1T", "+100M"),
            ("group a cpu +1ms", "+0.5"),
            ("exceptions count", "expected a subject"),
            ("exceptions count >é", "expected a bound"),
            ("exceptions count é", "expected a bound"),
        ] {
            let error = Limit::parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
