//! The grammar of a breaker's condition, vulcand's: what was measured of late, compared with numbers.
//!
//! ```text
//! NetworkErrorRatio() > 0.5 || LatencyAtQuantileMS(50.0) > 500 || ResponseCodeRatio(500, 600, 0, 600) > 0.25
//! ```

use super::comparison::{Comparisons, Quantity};
use super::error::ExprError;
use super::joined;
use std::fmt;

/// What a breaker measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TripMeasure {
    /// `NetworkErrorRatio()`: the share of requests that no server answered.
    NetworkErrorRatio,
    /// `LatencyAtQuantileMS(percent)`: whole milliseconds that this share of the requests did not exceed, 0 to 100.
    LatencyAtQuantileMs(f64),
    /// `ResponseCodeRatio(a0, a1, b0, b1)`: answers with a status from `a0` to below `a1` for each from `b0` to below `b1`.
    ResponseCodeRatio(u16, u16, u16, u16),
}

/// When a breaker trips. Its `Display` is the text it was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct TripCondition {
    text: Box<str>,
    comparisons: Comparisons<TripMeasure>,
}

impl TripCondition {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        Ok(Self { comparisons: joined::parse(text)?, text: text.trim().into() })
    }

    /// Whether it holds, where `value` tells what was measured.
    pub fn holds(&self, value: &dyn Fn(&TripMeasure) -> f64) -> bool {
        self.comparisons.holds(value)
    }
}

impl fmt::Display for TripCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Quantity for TripMeasure {
    const NAMES: &'static [&'static str] = &["NetworkErrorRatio", "LatencyAtQuantileMS", "ResponseCodeRatio"];
    const EXAMPLE: &'static str = "NetworkErrorRatio() > 0.5";

    fn read(name: &str, arguments: Option<&[f64]>) -> Result<Self, String> {
        let code = |number: f64| {
            (number.fract() == 0.0 && (0.0..=1_000.0).contains(&number)).then_some(number as u16)
        };
        match (name, arguments) {
            ("NetworkErrorRatio", Some([])) => Ok(Self::NetworkErrorRatio),
            ("NetworkErrorRatio", _) => Err("is written `NetworkErrorRatio()`".to_owned()),
            ("LatencyAtQuantileMS", Some([percent])) if (0.0..=100.0).contains(percent) => {
                Ok(Self::LatencyAtQuantileMs(*percent))
            }
            ("LatencyAtQuantileMS", _) => {
                Err("takes one number from 0 to 100, as in `LatencyAtQuantileMS(50.0)`".to_owned())
            }
            (_, Some([a0, a1, b0, b1])) => match (code(*a0), code(*a1), code(*b0), code(*b1)) {
                (Some(a0), Some(a1), Some(b0), Some(b1)) => Ok(Self::ResponseCodeRatio(a0, a1, b0, b1)),
                _ => Err("takes whole numbers from 0 to 1000".to_owned()),
            },
            _ => Err("takes four numbers, as in `ResponseCodeRatio(500, 600, 0, 600)`".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: bool) {
        let value = |measure: &TripMeasure| match measure {
            TripMeasure::NetworkErrorRatio => 0.5,
            TripMeasure::LatencyAtQuantileMs(percent) => 10.0 * percent,
            TripMeasure::ResponseCodeRatio(500, 600, 0, 600) => 0.1,
            TripMeasure::ResponseCodeRatio(..) => 9.0,
        };
        assert_eq!(TripCondition::parse(text).unwrap().holds(&value), expected, "{text}");
    }

    #[test]
    fn conditions_hold_or_do_not() {
        check("NetworkErrorRatio() > 0.49", true);
        check("NetworkErrorRatio() > 0.5", false);
        check("LatencyAtQuantileMS(50.0) >= 500", true);
        check("LatencyAtQuantileMS(99) < 990", false);
        check("ResponseCodeRatio(500, 600, 0, 600) == 0.1", true);
        check("ResponseCodeRatio(200, 300, 0, 600) != 9", false);
        check(
            "NetworkErrorRatio() > 0.9 || LatencyAtQuantileMS(50.0) > 40 && NetworkErrorRatio() > 0.1",
            true,
        );
        check("!(0.4 < NetworkErrorRatio()) || (1 <= 0)", false);
        assert_eq!(
            TripCondition::parse(" NetworkErrorRatio() > 0.5\n").unwrap().to_string(),
            "NetworkErrorRatio() > 0.5"
        );
    }

    #[test]
    fn errors_say_where_and_what_would_be_right() {
        for (text, column, part) in [
            ("", 1, "for example `NetworkErrorRatio() > 0.5`"),
            ("NetworkErrorRatio > 0.5", 1, "is written `NetworkErrorRatio()`"),
            ("NetworkErrorRatio(1) > 0.5", 1, "is written `NetworkErrorRatio()`"),
            ("networkErrorRatio() > 0.5", 1, "did you mean `NetworkErrorRatio`"),
            ("LatencyAtQuantileMS() > 1", 1, "takes one number from 0 to 100"),
            ("LatencyAtQuantileMS(101) > 1", 1, "takes one number from 0 to 100"),
            ("1 < ResponseCodeRatio(500, 600)", 5, "takes four numbers"),
            ("ResponseCodeRatio(500, 600, 0, 0.5) > 1", 1, "takes whole numbers"),
            ("ResponseCodeRatio(500, ) > 1", 24, "expected a number, found `)`"),
            ("ResponseCodeRatio(500 600) > 1", 23, "expected `,` or `)`"),
            ("NetworkErrorRatio()", 20, "expected a comparison"),
        ] {
            let error = TripCondition::parse(text).unwrap_err();
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
