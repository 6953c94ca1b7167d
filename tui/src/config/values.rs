//! Values as they are typed, on the command line and in the file: durations, shares and sizes.

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

/// Reads how long something goes on: `90s`, `10m`, `1h 30m`, `2d` or a number of seconds, up to a year.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn parse_length(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let days = text.strip_suffix('d').and_then(|days| days.trim().parse::<f64>().ok());
    let duration = match days.map(|days| days * 86_400.0).or_else(|| text.parse::<f64>().ok()) {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => text.parse::<jiff::SignedDuration>().ok().and_then(|duration| duration.try_into().ok()),
    };
    let duration = duration.ok_or("expected a duration such as 90s, 10m, 1h 30m or 2d")?;
    let bounds = MIN_INTERVAL..=Duration::from_secs(366 * 86_400);
    if bounds.contains(&duration) { Ok(duration) } else { Err("must be between 100ms and a year".into()) }
}

/// Reads the time that is added up of a recording: as [`parse_length`], up to a minute.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn parse_window(text: &str) -> Result<Duration, String> {
    parse_length(text).and_then(|window| {
        let bounds = MIN_INTERVAL..=Duration::from_secs(60);
        if bounds.contains(&window) { Ok(window) } else { Err("must be between 100ms and 1m".into()) }
    })
}

/// Reads the size of a file: `500k`, `100M`, `2G` in units of 1024, from 64 KiB to 1 TiB.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) = match text.char_indices().last() {
        Some((at, unit)) if unit.is_ascii_alphabetic() => (&text[..at], unit.to_ascii_lowercase()),
        _ => (text, ' '),
    };
    let shift = match unit {
        ' ' => Some(0),
        'k' => Some(10),
        'm' => Some(20),
        'g' => Some(30),
        _ => None,
    };
    let number = number.trim().parse::<u64>().ok();
    let size = number.zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift));
    let size = size.ok_or("expected a size such as 500k, 100M or 2G")?;
    if (16 << 10..=1 << 40).contains(&size) { Ok(size) } else { Err("must be between 16k and 1024G".into()) }
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
    fn a_recording_may_be_long_and_its_files_have_a_size() {
        let lengths = [("90", 90), ("10m", 600), ("1h 30m", 5400), ("2d", 172_800)];
        assert!(lengths.iter().all(|&(text, seconds)| parse_length(text) == Ok(Duration::from_secs(seconds))));
        assert_eq!(["64k", "100M", "2G", "65536"].map(parse_size), [64 << 10, 100 << 20, 2 << 30, 65_536].map(Ok));
        for text in ["", "x", "-1M", "1", "9999999G", "1.5M", "10T", "é"] {
            assert!(parse_size(text).is_err() && parse_size(&format!("{text}é")).is_err(), "{text}");
        }
        assert_eq!(["10s", "1m"].map(parse_window), [10, 60].map(|seconds| Ok(Duration::from_secs(seconds))));
        assert!(parse_window("61s").is_err());
        for text in ["", "0", "-1d", "NaNd", "400d"] {
            assert!(parse_length(text).is_err(), "{text}");
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
