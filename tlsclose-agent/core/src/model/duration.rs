//! Durations, read as Prometheus writes them and shown as people read them.

use std::time::Duration;

use thiserror::Error;

/// Units from the longest to the shortest: a duration names each at most once, in this order.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3600 * 1000),
    ("w", 7 * 24 * 3600 * 1000),
    ("d", 24 * 3600 * 1000),
    ("h", 3600 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// Why a text is no duration; says how to write one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ParseError {
    /// Not of the form that [`parse`] reads.
    #[error("not a duration: write it like 500ms, 3s, 5m or 1h30m")]
    Malformed,
    /// A number other than 0 by itself.
    #[error("the unit is missing: write it like 500ms, 3s, 5m or 1h30m")]
    NoUnit,
    /// More milliseconds than a `u64` holds.
    #[error("the duration is too long")]
    TooLong,
    /// 0, where only something longer makes sense.
    #[error("must be longer than 0")]
    Zero,
}

/// Reads `500ms`, `3s`, `5m`, `1h30m`, `2d` or a bare `0`.
///
/// The grammar is Prometheus's (`model.ParseDuration`): whole numbers, the units
/// `y w d h m s ms`, each at most once and from long to short.
pub fn parse(text: &str) -> Result<Duration, ParseError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(ParseError::Malformed);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ParseError::NoUnit);
    }
    let mut rest = text;
    let mut units = UNITS.as_slice();
    let mut total = 0u64;
    while !rest.is_empty() {
        let (number, after) = split(rest, |byte| byte.is_ascii_digit());
        let (unit, after) = split(after, |byte| byte.is_ascii_alphabetic());
        let at = units.iter().position(|(name, _)| *name == unit);
        let (Some(at), false) = (at, number.is_empty()) else {
            return Err(ParseError::Malformed);
        };
        let number: u64 = number.parse().map_err(|_| ParseError::TooLong)?;
        total = number.checked_mul(units[at].1).and_then(|part| total.checked_add(part)).ok_or(ParseError::TooLong)?;
        units = &units[at + 1..];
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// Like [`parse`], where 0 makes no sense.
pub fn parse_positive(text: &str) -> Result<Duration, ParseError> {
    match parse(text)? {
        Duration::ZERO => Err(ParseError::Zero),
        longer => Ok(longer),
    }
}

fn split(text: &str, belongs: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().take_while(|byte| belongs(*byte)).count();
    text.split_at(end)
}

/// An age as a person reads it: the two units that matter, `0.4s`, `12s`, `30m33s`, `5h02m`, `3d4h`.
pub fn human(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    if seconds < 10.0 {
        return format!("{seconds:.1}s");
    }
    let whole = seconds as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86400);
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{minutes}m{:02}s", whole % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_reads_them() {
        let ms = Duration::from_millis;
        let cases = [
            ("0", Ok(ms(0))),
            ("0s", Ok(ms(0))),
            ("500ms", Ok(ms(500))),
            ("3s", Ok(ms(3000))),
            ("5m", Ok(ms(300_000))),
            ("1h30m", Ok(ms(5_400_000))),
            ("1d", Ok(ms(86_400_000))),
            ("1w", Ok(ms(604_800_000))),
            ("1y", Ok(ms(31_536_000_000))),
            ("1m1s1ms", Ok(ms(61_001))),
            ("007s", Ok(ms(7000))),
            ("", Err(ParseError::Malformed)),
            ("s", Err(ParseError::Malformed)),
            ("-3s", Err(ParseError::Malformed)),
            ("1.5s", Err(ParseError::Malformed)),
            ("3 s", Err(ParseError::Malformed)),
            ("3S", Err(ParseError::Malformed)),
            ("30m1h", Err(ParseError::Malformed)),
            ("1s1s", Err(ParseError::Malformed)),
            ("1sé", Err(ParseError::Malformed)),
            ("3", Err(ParseError::NoUnit)),
            ("1s3", Err(ParseError::Malformed)),
            ("99999999999999999999s", Err(ParseError::TooLong)),
            ("9999999999999y", Err(ParseError::TooLong)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn zero_is_refused_where_it_makes_no_sense() {
        assert_eq!(parse_positive("0"), Err(ParseError::Zero));
        assert_eq!(parse_positive("0ms"), Err(ParseError::Zero));
        assert_eq!(parse_positive("1ms"), Ok(Duration::from_millis(1)));
    }

    #[test]
    fn ages_are_shown_with_the_two_units_that_matter() {
        let cases = [
            (0.0, "0.0s"),
            (0.44, "0.4s"),
            (9.96, "10.0s"),
            (12.9, "12s"),
            (60.0, "1m00s"),
            (1833.2, "30m33s"),
            (18_120.0, "5h02m"),
            (273_600.0, "3d4h"),
            (f64::NAN, "?"),
            (-1.0, "?"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human(seconds), expected, "{seconds}");
        }
    }
}
