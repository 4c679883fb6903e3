//! Durations in Go's form: `1h30m`, `50ms`, `1.5s`. They are never negative here: every duration of a routing table
//! is a wait or a bound.

use std::fmt::Write as _;
use std::time::Duration;

/// Longest duration that Go can hold, in nanoseconds (about 292 years).
pub const NANOSECONDS_MAX: u64 = i64::MAX as u64;

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3_600 * SECOND),
];
const SECOND: u64 = 1_000_000_000;

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// Not Go's form.
    #[error(
        "is not a duration: numbers with a unit (ns, us, ms, s, m, h) are expected, like `50ms` or `1h30m`"
    )]
    Form,
    /// A number without a unit.
    #[error("lacks a unit (ns, us, ms, s, m, h): write `{0}s` for seconds")]
    Unit(String),
    /// Below zero.
    #[error("is negative: a duration here is zero or more")]
    Negative,
    /// Above [`NANOSECONDS_MAX`].
    #[error("is longer than 292 years")]
    TooLong,
}

/// Reads Go's form; `0` needs no unit.
///
/// # Errors
/// Says what is wrong with the text, as a predicate that follows it.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if body == "0" {
        return Ok(Duration::ZERO);
    }
    if body.is_empty() {
        return Err(InvalidDuration::Form);
    }
    let mut total: u64 = 0;
    let mut rest = body;
    while !rest.is_empty() {
        let (nanoseconds, after) = component(rest)?;
        total = total.checked_add(nanoseconds).ok_or(InvalidDuration::TooLong)?;
        rest = after;
    }
    if total > NANOSECONDS_MAX {
        return Err(InvalidDuration::TooLong);
    }
    if negative && total > 0 {
        return Err(InvalidDuration::Negative);
    }
    Ok(Duration::from_nanos(total))
}

/// One number with its unit, in nanoseconds, and what follows.
fn component(text: &str) -> Result<(u64, &str), InvalidDuration> {
    let (whole, after) = digits(text);
    let (fraction, after) = match after.strip_prefix('.') {
        Some(after) => digits(after),
        None => ("", after),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(InvalidDuration::Form);
    }
    let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
    let (unit, rest) = after.split_at_checked(unit_end).ok_or(InvalidDuration::Form)?;
    if unit.is_empty() {
        return Err(InvalidDuration::Unit(text.trim_end().chars().take(20).collect()));
    }
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(InvalidDuration::Form)?;
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| InvalidDuration::TooLong)?,
    };
    let whole = whole.checked_mul(*scale).ok_or(InvalidDuration::TooLong)?;
    // Digits past the eighteenth are below a nanosecond for every unit.
    let mut part: u128 = 0;
    let mut divisor: u128 = 1;
    for digit in fraction.bytes().take(18) {
        part = part * 10 + u128::from(digit - b'0');
        divisor *= 10;
    }
    let part = u64::try_from(part * u128::from(*scale) / divisor).map_err(|_| InvalidDuration::TooLong)?;
    Ok((whole.checked_add(part).ok_or(InvalidDuration::TooLong)?, rest))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Writes Go's form as `time.Duration.String` does: `1h30m0s`, `1.5s`, `50ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let mut text = String::new();
    let second = u128::from(SECOND);
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    if nanoseconds < second {
        let (scale, unit) = match nanoseconds {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "\u{b5}s"),
            _ => (1_000_000, "ms"),
        };
        decimal(&mut text, nanoseconds, scale);
        text.push_str(unit);
        return text;
    }
    let (minutes, rest) = (nanoseconds / (60 * second), nanoseconds % (60 * second));
    let (hours, minutes) = (minutes / 60, minutes % 60);
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    decimal(&mut text, rest, second);
    text.push('s');
    text
}

fn decimal(text: &mut String, value: u128, scale: u128) {
    let _ = write!(text, "{}", value / scale);
    let mut fraction = value % scale;
    if fraction == 0 {
        return;
    }
    text.push('.');
    let mut place = scale / 10;
    while fraction > 0 && place > 0 {
        let _ = write!(text, "{}", fraction / place);
        fraction %= place;
        place /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<u64, InvalidDuration>) {
        assert_eq!(parse(text), expected.map(Duration::from_nanos), "{text:?}");
    }

    #[test]
    fn gos_form_is_read() {
        check("0", Ok(0));
        check("-0", Ok(0));
        check("0s", Ok(0));
        check("50ms", Ok(50_000_000));
        check("1h30m", Ok(5_400 * SECOND));
        check("1.5s", Ok(1_500_000_000));
        check(".5s", Ok(500_000_000));
        check("1.s", Ok(SECOND));
        check("+5s", Ok(5 * SECOND));
        check("1us", Ok(1_000));
        check("1µs", Ok(1_000));
        check("1μs", Ok(1_000));
        check("0.3333333333333333333h", Ok(1_199_999_999_999));
        check("1h2m3s4ms5us6ns", Ok(3_723_004_005_006));
        check("2540400h10m10.000000000s", Ok(9_145_440_610 * SECOND));
        check("", Err(InvalidDuration::Form));
        check("-", Err(InvalidDuration::Form));
        check(".", Err(InvalidDuration::Form));
        check(".s", Err(InvalidDuration::Form));
        check("s", Err(InvalidDuration::Form));
        check("5 s", Err(InvalidDuration::Form));
        check("5S", Err(InvalidDuration::Form));
        check("5d", Err(InvalidDuration::Form));
        check("1h-5m", Err(InvalidDuration::Form));
        check("30", Err(InvalidDuration::Unit("30".into())));
        check("1h30", Err(InvalidDuration::Unit("30".into())));
        check("-5s", Err(InvalidDuration::Negative));
        check("9223372036854775808ns", Err(InvalidDuration::TooLong));
        check("9223372036854775807ns", Ok(NANOSECONDS_MAX));
        check("99999999999999999999999h", Err(InvalidDuration::TooLong));
        check("3000000h", Err(InvalidDuration::TooLong));
    }

    #[test]
    fn gos_form_is_written() {
        for text in [
            "0s",
            "1ns",
            "1.1µs",
            "2.2ms",
            "3.3s",
            "4m5s",
            "4m5.001s",
            "5h6m7.001s",
            "8m0.000000001s",
            "1h30m0s",
        ] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(format(Duration::from_nanos(NANOSECONDS_MAX)), "2562047h47m16.854775807s");
    }
}
