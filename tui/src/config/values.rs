//! Values as they are typed, on the command line and in the file: durations and shares.

use std::time::Duration;

/// Shortest interval.
pub const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// Longest interval.
pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);

/// Reads `500ms`, `2s`, `1m 30s`, or a number of seconds, within [`MIN_INTERVAL`] and [`MAX_INTERVAL`].
///
/// # Errors
/// What is wrong, as a sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let duration = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => text.parse::<jiff::SignedDuration>().ok().and_then(|duration| duration.try_into().ok()),
    };
    let duration = duration.ok_or("expected a duration such as 500ms, 2s, 1m or a number of seconds")?;
    if (MIN_INTERVAL..=MAX_INTERVAL).contains(&duration) {
        Ok(duration)
    } else {
        Err("must be between 100ms and 1h".into())
    }
}

/// Reads a share such as `2%` or `0.5%`, above nothing and up to all.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let percent = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let percent = percent.ok_or("expected a share such as 2% or 0.5%")?;
    if percent > 0.0 && percent <= 100.0 { Ok(percent / 100.0) } else { Err("must be above 0% and up to 100%".into()) }
}

/// Reads the share of one core that reading PSS may take: `1%`, or `0` for none.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn parse_pss_budget(text: &str) -> Result<f64, String> {
    if matches!(text.trim(), "0" | "0%") { Ok(0.0) } else { parse_share(text) }
}

/// Reads the time that one reading of PSS may take: `20ms`, from a millisecond to ten seconds.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn parse_read_limit(text: &str) -> Result<Duration, String> {
    let duration = text.trim().parse::<jiff::SignedDuration>().ok().and_then(|duration| duration.try_into().ok());
    let duration: Duration = duration.ok_or("expected a duration such as 20ms or 1s")?;
    let bounds = Duration::from_millis(1)..=Duration::from_secs(10);
    if bounds.contains(&duration) { Ok(duration) } else { Err("must be between 1ms and 10s".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let cases = [("500ms", 500), ("2s", 2000), ("2", 2000), ("0.25", 250), (" 1m ", 60_000), ("1h", 3_600_000)];
        for (text, ms) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "x", "-1s", "-1", "NaN", "inf", "1e300", "99ms", "0", "61m"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_budget_of_pss_may_be_nothing_and_its_limit_is_short() {
        assert_eq!(["0", " 0% ", "1%", "0.5%"].map(parse_pss_budget), [0.0, 0.0, 0.01, 0.005].map(Ok));
        for text in ["", "1", "-1%", "101%", "nan%", "off"] {
            assert!(parse_pss_budget(text).is_err(), "{text}");
        }
        assert_eq!(parse_read_limit("20ms"), Ok(Duration::from_millis(20)));
        for text in ["", "20", "0ms", "900us", "11s", "-1s", "1 parsec"] {
            assert!(parse_read_limit(text).is_err(), "{text}");
        }
    }
}
