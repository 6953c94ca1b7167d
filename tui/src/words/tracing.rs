//! The state of exact tracing in words: its progress, and which part of PHP's work it saw.

use super::units;
use crate::model::{Exact, ExactState};

/// Parts that are less than this are not told by a number.
const LEAST: f64 = 0.001;
/// From here on it was all but for what rounding takes away.
const ALL: f64 = 0.995;

/// How far it is, in a few words.
pub(crate) fn state(exact: &Exact) -> String {
    match exact.state {
        ExactState::Tracing => match exact.left_ms {
            Some(left) => format!("{} left", left_s(left)),
            None => "tracing".to_owned(),
        },
        ExactState::Counting => "counting calls".to_owned(),
        ExactState::Priced => "not started".to_owned(),
        ExactState::Other => "?".to_owned(),
        ExactState::Ended | ExactState::Unavailable => format!("ended: {}", exact.reason),
    }
}

/// Time that is left, in whole seconds.
pub(crate) fn left_s(left_ms: u64) -> String {
    format!("{} s", left_ms.div_ceil(1000))
}

/// Which part of PHP's work was traced; empty while that is not known.
pub(crate) fn part(exact: &Exact) -> String {
    match exact.traced_ratio {
        Some(ratio) if ratio < LEAST => "less than 0.1 % of PHP's work".to_owned(),
        Some(ratio) if ratio < ALL => format!("{} of PHP's work", units::percent(ratio)),
        Some(_) => "all of PHP's work".to_owned(),
        None => String::new(),
    }
}

/// All that there is to say of what was traced, for a title above the calls.
pub(crate) fn summary(exact: &Exact) -> String {
    let mut text = format!("{} calls", units::count(exact.calls));
    if let Some(ratio) = exact.traced_ratio {
        let about = if (LEAST..ALL).contains(&ratio) { "about " } else { "" };
        text += &format!(", {about}{}", part(exact));
        if ratio < ALL {
            let all = exact.calls as f64 / ratio.max(f64::MIN_POSITIVE);
            text += &format!("; an estimated {} calls in all", units::count(all as u64));
        }
    }
    if let Some(call_ns) = exact.call_ns {
        text += &format!("; {} a call", units::duration_ns(call_ns as u64));
    }
    if let (Some(spent), Some(budget)) = (exact.spent_ratio, exact.budget_ratio) {
        text += &format!(", {} of all CPUs spent (budget {})", units::percent(spent), units::percent(budget));
    }
    match exact.state {
        ExactState::Ended | ExactState::Unavailable => text += &format!("; {}", exact.reason),
        ExactState::Counting => text += "; counting calls to find the price",
        ExactState::Tracing if !exact.reason.is_empty() => text += &format!("; {}", exact.reason),
        ExactState::Priced | ExactState::Tracing | ExactState::Other => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ExactKind;

    #[test]
    fn the_part_decides_whether_the_number_of_calls_is_an_estimate() {
        let exact = |ratio| Exact {
            state: ExactState::Tracing,
            kind: ExactKind::Functions,
            reason: String::new(),
            pool: None,
            candidates: 1,
            pids: Vec::new(),
            budget_ratio: None,
            spent_ratio: None,
            calls_per_cpu_s: None,
            call_ns: None,
            slowdown: None,
            traced_ratio: ratio,
            calls: 10,
            left_ms: None,
        };
        assert_eq!(summary(&exact(Some(1.0))), "10 calls, all of PHP's work");
        assert_eq!(summary(&exact(Some(0.5))), "10 calls, about 50 % of PHP's work; an estimated 20 calls in all");
        assert!(summary(&exact(Some(0.0001))).starts_with("10 calls, less than 0.1 % of PHP's work; an estimated"));
        assert_eq!((summary(&exact(None)), part(&exact(None))), ("10 calls".to_owned(), String::new()));
    }
}
