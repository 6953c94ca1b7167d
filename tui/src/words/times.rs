//! Moments as people type them: `14:05`, `3m ago`, RFC 3339. One parser for arguments and for the screen.

use jiff::{SignedDuration, Timestamp, ToSpan as _, civil, tz::TimeZone};

/// A moment as it was typed. Which one it is depends on what it is said of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// `2026-11-27T14:05:33Z`.
    At(Timestamp),
    /// `2026-11-27 14:05`, in the time zone of who reads.
    Local(civil::DateTime),
    /// `14:05` or `14:05:33`.
    Clock(civil::Time),
    /// `3m ago`: before the end.
    Ago(SignedDuration),
}

/// A span of time as it was typed, `13:00..14:05`: either end may be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Between {
    /// Its start; `None` where it is open.
    pub from: Option<When>,
    /// Its end; `None` where it is open.
    pub to: Option<When>,
}

impl Between {
    /// Reads a span.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (from, to) = text
            .split_once("..")
            .ok_or_else(|| format!("{text:?}: expected a span such as 13:00..14:05 or ..14:05"))?;
        let end = |text: &str| if text.trim().is_empty() { Ok(None) } else { When::parse(text).map(Some) };
        let span = Self { from: end(from)?, to: end(to)? };
        if (span.from, span.to) == (None, None) { Err("a span has at least one end".into()) } else { Ok(span) }
    }
}

impl When {
    /// Reads a moment.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(age) = text.strip_suffix("ago").map(str::trim) {
            let age = age.parse::<SignedDuration>().ok().filter(|age| !age.is_negative());
            return age.map(Self::Ago).ok_or_else(|| format!("{text:?}: expected an age such as 3m ago or 1h 30m ago"));
        }
        let at = text.parse().map(Self::At);
        // A time alone first: it would be read as one of today otherwise.
        let clock = text.parse().map(Self::Clock).ok().filter(|_| text.contains(':') && !text.contains('-'));
        let local = || text.parse().map(Self::Local).ok().filter(|_| text.contains('-'));
        at.ok().or(clock).or_else(local).ok_or_else(|| {
            format!("{text:?}: expected a time such as 14:05, 3m ago, 2026-11-27 14:05 or 2026-11-27T14:05:33Z")
        })
    }

    /// The moment within a span of time from `first` to `last`. Ages are those at its end. A time of day is the last one in the
    /// span; where there is none, the one next to it.
    pub fn within(self, (first, last): (Timestamp, Timestamp), zone: &TimeZone) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Local(local) => local.to_zoned(zone.clone()).map_or(last, |zoned| zoned.timestamp()),
            Self::Ago(age) => last.checked_sub(age).unwrap_or(Timestamp::MIN),
            Self::Clock(time) => {
                let today = last.to_zoned(zone.clone()).date();
                let on = |day: civil::Date| Some(day.to_datetime(time).to_zoned(zone.clone()).ok()?.timestamp());
                let days = [today, today.saturating_sub(1.day())].into_iter().filter_map(on);
                let distance = |at: &Timestamp| {
                    let (before, after) = (first.duration_since(*at), at.duration_since(last));
                    before.max(after).max(SignedDuration::ZERO)
                };
                // The first of those that are equally near is the later one.
                days.min_by_key(distance).unwrap_or(last)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        let span = (at("2026-11-27T13:00:00Z"), at("2026-11-27T15:00:00Z"));
        let cases = [
            ("14:05", "2026-11-27T14:05:00Z"),
            (" 14:05:33 ", "2026-11-27T14:05:33Z"),
            ("3m ago", "2026-11-27T14:57:00Z"),
            ("99999999999999h ago", "-009999-01-02T01:59:59Z"),
            ("1h 30m ago", "2026-11-27T13:30:00Z"),
            ("2026-11-26 14:05", "2026-11-26T14:05:00Z"),
            ("2026-11-27T14:05:33+01:00", "2026-11-27T13:05:33Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(When::parse(text).map(|when| when.within(span, &TimeZone::UTC)), Ok(at(expected)), "{text}");
        }
        for text in ["", "x", "25:00", "ago", "-3m ago", "14", "noon", "2026-13-01"] {
            assert!(When::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_may_be_open_at_one_end() {
        let clock = |text| Some(When::parse(text).unwrap());
        assert_eq!(Between::parse("13:00..14:05"), Ok(Between { from: clock("13:00"), to: clock("14:05") }));
        assert_eq!(Between::parse("..3m ago"), Ok(Between { from: None, to: clock("3m ago") }));
        assert_eq!(Between::parse("2026-11-27T14:05:33Z .. ").unwrap().to, None);
        for text in ["", "..", "13:00", "13:00-14:00", "x..14:00"] {
            assert!(Between::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_of_day_is_in_the_span_or_next_to_it() {
        let night = (at("2026-11-26T22:00:00Z"), at("2026-11-27T02:00:00Z"));
        let clock = |text: &str| When::parse(text).unwrap().within(night, &TimeZone::UTC);
        assert_eq!(clock("23:00"), at("2026-11-26T23:00:00Z"));
        assert_eq!(clock("01:00"), at("2026-11-27T01:00:00Z"));
        assert_eq!(clock("02:05"), at("2026-11-27T02:05:00Z"));
        assert_eq!(clock("21:55"), at("2026-11-26T21:55:00Z"));
    }

    #[test]
    fn a_time_of_day_is_that_of_the_reader() {
        let zone = TimeZone::fixed(jiff::tz::offset(9));
        let span = (at("2026-11-27T00:00:00Z"), at("2026-11-27T04:00:00Z"));
        assert_eq!(When::parse("10:30").unwrap().within(span, &zone), at("2026-11-27T01:30:00Z"));
    }
}
