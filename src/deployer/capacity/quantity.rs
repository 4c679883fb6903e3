//! Quantities of Kubernetes, such as `500m`, `1.5` or `2Gi`: exact, in thousandths.

/// Most digits of a number; more than the API server keeps.
const DIGITS_MAX: usize = 20;

/// Reads a quantity, in thousandths. What is finer than that is rounded up, as the API server does.
pub(super) fn parse(text: &str) -> Option<i128> {
    let is_number = |character: char| character.is_ascii_digit() || matches!(character, '.' | '+' | '-');
    let (number, suffix) = text.split_at(text.find(|character| !is_number(character)).unwrap_or(text.len()));
    let (digits, places) = mantissa(number)?;
    let (factor, divisor) = scale(suffix)?;
    let divisor = divisor.checked_mul(10_i128.checked_pow(places)?)?;
    let thousandths = digits.checked_mul(1_000)?.checked_mul(factor)?;
    Some(thousandths.checked_add(divisor - 1)?.div_euclid(divisor))
}

/// The digits as a whole number, and how many of them stand behind the point.
fn mantissa(number: &str) -> Option<(i128, u32)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let places = u32::try_from(fraction.len()).ok()?;
    (digits.len() <= DIGITS_MAX && fraction.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| Some((digits.parse().ok()?, places)))?
}

/// By what the number is multiplied and divided.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    const SMALL: [&str; 3] = ["m", "u", "n"];
    let power = |units: &[&str]| {
        units.iter().position(|unit| *unit == suffix).and_then(|at| u32::try_from(at + 1).ok())
    };
    if suffix.is_empty() {
        return Some((1, 1));
    }
    if let Some(power) = power(&BINARY) {
        return Some((1024_i128.checked_pow(power)?, 1));
    }
    if let Some(power) = power(&DECIMAL) {
        return Some((1_000_i128.checked_pow(power)?, 1));
    }
    if let Some(power) = power(&SMALL) {
        return Some((1, 1_000_i128.checked_pow(power)?));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    Some(if exponent < 0 { (1, power) } else { (power, 1) })
}

/// A quantity of this resource for people: `500m`, `2`, `1536Mi`.
pub(super) fn show(resource: &str, thousandths: i128) -> String {
    let name = resource.trim_start_matches("requests.").trim_start_matches("limits.");
    let is_bytes =
        matches!(name, "memory" | "ephemeral-storage" | "storage") || name.starts_with("hugepages-");
    if thousandths % 1_000 != 0 {
        return format!("{thousandths}m");
    }
    let whole = thousandths / 1_000;
    if !is_bytes || whole == 0 {
        return whole.to_string();
    }
    let mut shown = whole;
    for unit in ["", "Ki", "Mi", "Gi", "Ti", "Pi"] {
        if shown % 1024 != 0 {
            return format!("{shown}{unit}");
        }
        shown /= 1024;
    }
    format!("{shown}Ei")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_exactly() {
        let check = |text: &str, thousandths: i128| assert_eq!(parse(text), Some(thousandths), "{text}");
        check("0", 0);
        check("2", 2_000);
        check("500m", 500);
        check("0.5", 500);
        check(".5", 500);
        check("1.", 1_000);
        check("+1.5", 1_500);
        check("-1.5", -1_500);
        check("-0.5", -500);
        check("1k", 1_000_000);
        check("1Ki", 1_024_000);
        check("0.1Gi", 107_374_182_400);
        check("1.5Gi", 1_610_612_736_000);
        check("8Ei", 9_223_372_036_854_775_808_000);
        check("1E", 1_000_000_000_000_000_000_000);
        check("1e3", 1_000_000);
        check("1E3", 1_000_000);
        check("12e-1", 1_200);
        check("128974848", 128_974_848_000);
        check("129e6", 129_000_000_000);
        // Finer than a thousandth: up.
        check("1u", 1);
        check("1500u", 2);
        check("2000000n", 2);
        check("2000001n", 3);
        check("0.0001", 1);
    }

    #[test]
    fn what_is_none_is_not_read() {
        for text in
            ["", "x", "1x", "1 Gi", "1ki", "Gi", "1.2.3", "--1", "1-", "1.-2", "1e", "1e99", "1E+", "1mi"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&"9".repeat(40)), None);
    }

    #[test]
    fn quantities_are_shown_as_people_write_them() {
        let check = |resource: &str, text: &str, shown: &str| {
            assert_eq!(show(resource, parse(text).unwrap()), shown, "{resource} {text}");
        };
        check("cpu", "0.5", "500m");
        check("requests.cpu", "2000m", "2");
        check("memory", "1Gi", "1Gi");
        check("limits.memory", "1.5Gi", "1536Mi");
        check("memory", "1000", "1000");
        check("memory", "0", "0");
        check("pods", "1024", "1024");
        check("hugepages-2Mi", "4Mi", "4Mi");
    }
}
