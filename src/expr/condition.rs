//! The grammar of conditions: what is measured, compared with numbers.
//!
//! ```text
//! error_ratio > 0.01 && requests >= 100 || latency_ms > 250
//! ```
//!
//! `error_ratio` is errors by requests (0 without requests), `latency_ms` the mean time of a request in milliseconds.

use super::comparison::{Comparisons, Quantity};
use super::error::ExprError;
use super::joined;
use std::fmt;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measures {
    /// Requests that ended.
    pub requests: f64,
    /// Those that failed.
    pub errors: f64,
    /// Their times together, in microseconds.
    pub micros: f64,
}

/// Something that measures do or do not fulfil. Its `Display` is the text it was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    text: Box<str>,
    comparisons: Comparisons<Variable>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    ErrorRatio,
    Requests,
    Errors,
    LatencyMs,
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        Ok(Self { comparisons: joined::parse(text)?, text: text.trim().into() })
    }

    /// Whether the measures fulfil it.
    pub fn holds(&self, measures: &Measures) -> bool {
        let by_request = |sum: f64| if measures.requests > 0.0 { sum / measures.requests } else { 0.0 };
        self.comparisons.holds(&|variable| match variable {
            Variable::Requests => measures.requests,
            Variable::Errors => measures.errors,
            Variable::ErrorRatio => by_request(measures.errors),
            Variable::LatencyMs => by_request(measures.micros) / 1_000.0,
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Quantity for Variable {
    const NAMES: &'static [&'static str] = &["error_ratio", "requests", "errors", "latency_ms"];
    const EXAMPLE: &'static str = "error_ratio > 0.01";

    fn read(name: &str, arguments: Option<&[f64]>) -> Result<Self, String> {
        if arguments.is_some() {
            return Err("takes no arguments".to_owned());
        }
        Ok(match name {
            "error_ratio" => Self::ErrorRatio,
            "requests" => Self::Requests,
            "errors" => Self::Errors,
            _ => Self::LatencyMs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::route::NESTING_MAX;
    use super::*;

    #[track_caller]
    fn check(text: &str, requests: f64, errors: f64, expected: bool) {
        let measures = Measures { requests, errors, micros: requests * 5_000.0 };
        assert_eq!(Condition::parse(text).unwrap().holds(&measures), expected, "{text}");
    }

    #[test]
    fn conditions_hold_or_do_not() {
        check("error_ratio > 0.01", 100.0, 2.0, true);
        check("error_ratio > 0.01", 0.0, 0.0, false);
        check("error_ratio > 0.01 && requests >= 100", 99.0, 9.0, false);
        check("error_ratio > 0.01 && requests >= 100 || latency_ms > 4.5", 99.0, 9.0, true);
        check("!(latency_ms > 4.5)", 1.0, 0.0, false);
        check("!(errors == 0) && errors != 2", 10.0, 1.0, true);
        check("10 <= requests && requests < 1e1", 10.0, 1.0, false);
        assert_eq!(Condition::parse(" errors > 1 ").unwrap().to_string(), "errors > 1");
    }

    #[test]
    fn errors_say_where_and_what_would_be_right() {
        for (text, column, part) in [
            ("", 1, "expected a name or a number"),
            ("error_ration > 1", 1, "did you mean `error_ratio`"),
            ("requests", 9, "expected a comparison"),
            ("requests > 1 errors > 2", 14, "unexpected `errors`"),
            ("(requests > 1", 14, "`)` is missing"),
            ("requests > 1)", 13, "`)` without `(`"),
            ("requests > \"1\"", 12, "found a string"),
            ("requests & 1", 10, "a single `&`"),
        ] {
            let error = Condition::parse(text).unwrap_err();
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        assert!(Condition::parse(&"!".repeat(NESTING_MAX + 1)).is_err());
    }
}
