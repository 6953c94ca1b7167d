//! Numbers as people read them: bytes (1024), durations, shares, rates, counts, ages.
//! Every function is pure and gives short text of bounded width; unknown values are the caller's matter.

const BYTE_UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Bytes in the largest fitting unit of 1024, with one decimal below 10: `1.9 GiB`, `402 MiB`, `0 B`.
pub(crate) fn bytes(bytes: u64) -> String {
    let (value, unit) = scaled_bytes(bytes);
    if unit > 0 && value < 9.95 {
        format!("{value:.1} {}", BYTE_UNITS[unit])
    } else {
        format!("{value:.0} {}", BYTE_UNITS[unit])
    }
}

/// A part of a whole in the unit of the whole: `11.2 of 24.0 GiB`.
pub(crate) fn bytes_of(part: u64, whole: u64) -> String {
    let (value, unit) = scaled_bytes(whole);
    let scale = 1024_f64.powi(unit as i32);
    format!("{:.1} of {value:.1} {}", part as f64 / scale, BYTE_UNITS[unit])
}

/// Milliseconds with the unit that keeps it short: `0.42 ms`, `21 ms`, `1.25 s`, `3m 20s`, `2h 05m`.
pub(crate) fn duration_ms(ms: f64) -> String {
    if !ms.is_finite() || ms < 0.0 {
        return "-".to_owned();
    }
    if ms < 0.995 {
        format!("{ms:.2} ms")
    } else if ms < 9.95 {
        format!("{ms:.1} ms")
    } else if ms < 999.5 {
        format!("{ms:.0} ms")
    } else if ms < 9_995.0 {
        format!("{:.2} s", ms / 1000.0)
    } else if ms < 59_950.0 {
        format!("{:.1} s", ms / 1000.0)
    } else {
        age((ms / 1000.0) as u64)
    }
}

/// Nanoseconds with the unit that keeps it short: `640 ns`, `12 us`, then as [`duration_ms`].
pub(crate) fn duration_ns(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..10_000 => format!("{:.1} us", ns as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} us", ns as f64 / 1e3),
        _ => duration_ms(ns as f64 / 1e6),
    }
}

/// Milliseconds without a unit, for columns that name it: `0.4`, `21`, `4016`; `-` when unknown.
pub(crate) fn milliseconds(ms: Option<f64>) -> String {
    match ms {
        Some(ms) if ms < 9.95 => format!("{ms:.1}"),
        Some(ms) => format!("{ms:.0}"),
        None => "-".to_owned(),
    }
}

/// A ratio (0 to 1) as percent: `0.6 %`, `34 %`, `100 %`.
pub(crate) fn percent(ratio: f64) -> String {
    let value = ratio * 100.0;
    if value > 0.0 && value < 9.95 { format!("{value:.1} %") } else { format!("{value:.0} %") }
}

/// A ratio (0 to 1) as percent with one decimal, for columns: `31.2 %`.
pub(crate) fn percent_column(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

/// A count, shortened from ten thousand on: `999`, `9 999`, `12 k`, `3.4 M`.
pub(crate) fn count(count: u64) -> String {
    match count {
        0..=999 => count.to_string(),
        1_000..=9_999 => format!("{} {:03}", count / 1000, count % 1000),
        10_000..=999_499 => format!("{:.0} k", count as f64 / 1e3),
        _ => {
            let millions = count as f64 / 1e6;
            if millions < 9.95 { format!("{millions:.1} M") } else { format!("{millions:.0} M") }
        }
    }
}

/// Events per second: `0.2/s`, `83.4/s`, `1.2 k/s`.
pub(crate) fn rate(per_s: f64) -> String {
    if per_s < 999.95 { format!("{per_s:.1}/s") } else { format!("{:.1} k/s", per_s / 1000.0) }
}

/// Bytes per second: `12 MiB/s`; `-` when unknown.
pub(crate) fn bytes_rate(per_s: Option<f64>) -> String {
    per_s.map_or_else(|| "-".to_owned(), |per_s| format!("{}/s", bytes(per_s.max(0.0) as u64)))
}

/// A count that `text` shows, marked where there may be `error` more and that is more than a hundredth of it.
pub(crate) fn at_least(text: String, count: u64, error: u64) -> String {
    if error > count / 100 { format!("≥{text}") } else { text }
}

/// An age or uptime in its two largest units: `4 s`, `3m 20s`, `2h 05m`, `12 d`.
pub(crate) fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn scaled_bytes(bytes: u64) -> (f64, usize) {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < BYTE_UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    (value, unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_binary_and_short() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (10 << 20, "10 MiB"), (u64::MAX, "16 EiB")];
        for (value, text) in cases {
            assert_eq!(bytes(value), text);
        }
        assert_eq!(bytes((1 << 30) * 19 / 10), "1.9 GiB");
        assert_eq!(bytes((1 << 30) - 1), "1.0 GiB");
        assert_eq!(bytes_of(12 << 30, 24 << 30), "12.0 of 24.0 GiB");
    }

    #[test]
    fn durations_keep_three_digits() {
        let cases = [(0.0, "0.00 ms"), (0.996, "1.0 ms"), (21.4, "21 ms"), (1250.0, "1.25 s"), (200_000.0, "3m 20s")];
        for (value, text) in cases {
            assert_eq!(duration_ms(value), text);
        }
        assert_eq!(duration_ms(f64::NAN), "-");
    }

    #[test]
    fn shares_counts_rates_and_ages() {
        assert_eq!((percent(0.006), percent(0.34), percent(0.0)), ("0.6 %".into(), "34 %".into(), "0 %".into()));
        assert_eq!((count(9_999), count(12_000), count(3_400_000)), ("9 999".into(), "12 k".into(), "3.4 M".into()));
        assert_eq!((rate(83.4), rate(1_234.0)), ("83.4/s".into(), "1.2 k/s".into()));
        assert_eq!((age(4), age(7_500), age(1_100_000)), ("4 s".into(), "2h 05m".into(), "12 d".into()));
    }
}
