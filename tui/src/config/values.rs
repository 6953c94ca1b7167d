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
}
