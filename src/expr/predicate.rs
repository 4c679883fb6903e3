//! The grammar of failover predicates, as vulcand has it: whether an attempt that ended is followed by another.
//!
//! ```text
//! IsNetworkError() && (RequestMethod() == "GET" || RequestMethod() == "HEAD") && Attempts() < 3
//! ```
//!
//! `RequestMethod()` is compared with strings by `==` and `!=`; `Attempts()`, the attempts made so far, and
//! `ResponseCode()` with whole numbers by these, `<`, `<=`, `>` and `>=`; either side may come first. `!` is new.

use super::error::{ExprError, nearest};
use super::joined::{self, Joined, Operator, Reader, Test};
use super::lexer::TokenKind;
use std::fmt;

const FUNCTIONS: [&str; 4] = ["RequestMethod", "IsNetworkError", "Attempts", "ResponseCode"];
const EXAMPLE: &str = "for example `IsNetworkError() && RequestMethod() == \"GET\" && Attempts() < 3`";

/// An attempt that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried<'a> {
    /// The request's method.
    pub method: &'a str,
    /// Attempts so far, this one included.
    pub attempts: u32,
    /// The status that it was answered with; without an answer the one that the client would get: 502, or 504 where
    /// time ran out. These two are what `IsNetworkError()` is, whoever said them.
    pub status: u16,
}

/// Which attempts are followed by another. Its `Display` is the text it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predicate {
    text: Box<str>,
    terms: Joined<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    NetworkError,
    Method { is: bool, name: Box<str> },
    Number(Number, Operator, i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Attempts,
    ResponseCode,
}

impl Predicate {
    /// Reads a predicate.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        Ok(Self { terms: joined::parse(text)?, text: text.trim().into() })
    }

    /// Whether another attempt is to follow.
    pub fn holds(&self, tried: &Tried<'_>) -> bool {
        self.terms.judge(&|term| term.judge(tried.method, Some(tried))) == Some(true)
    }

    /// Whether it can hold for any attempt of a request with this method: where not, nothing need be kept for one.
    pub fn may_hold(&self, method: &str) -> bool {
        self.terms.judge(&|term| term.judge(method, None)) != Some(false)
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Term {
    /// `None`: it depends on the attempt, which is not known yet.
    fn judge(&self, method: &str, tried: Option<&Tried<'_>>) -> Option<bool> {
        match self {
            Self::NetworkError => tried.map(|tried| matches!(tried.status, 502 | 504)),
            Self::Method { is, name } => Some((method == &**name) == *is),
            Self::Number(number, operator, than) => tried.map(|tried| {
                let value = match number {
                    Number::Attempts => tried.attempts.into(),
                    Number::ResponseCode => tried.status.into(),
                };
                operator.holds(value, *than)
            }),
        }
    }
}

/// One side of a comparison.
enum Side {
    Method,
    Number(Number),
    NetworkError,
    Text(Box<str>),
    Int(i64),
}

impl Test for Term {
    fn read(reader: &mut Reader) -> Result<Self, ExprError> {
        let left = side(reader)?;
        let Some(operator) = Operator::of(reader.peek()) else {
            if matches!(left, Side::NetworkError) {
                return Ok(Self::NetworkError);
            }
            let token = reader.next();
            let problem = format!("expected a comparison, found {}", token.kind.describe());
            return Err(ExprError::new(token.column, problem).hint(EXAMPLE));
        };
        let column = reader.next().column;
        let right = side(reader)?;
        let wrong = |problem: &str| Err(ExprError::new(column, problem).hint(EXAMPLE));
        match (left, right) {
            (Side::Method, Side::Text(name)) | (Side::Text(name), Side::Method) => match operator {
                Operator::Equal | Operator::NotEqual => {
                    Ok(Self::Method { is: operator == Operator::Equal, name })
                }
                _ => wrong("a method is compared by `==` or `!=`"),
            },
            (Side::Number(number), Side::Int(than)) => Ok(Self::Number(number, operator, than)),
            (Side::Int(than), Side::Number(number)) => Ok(Self::Number(number, operator.turned(), than)),
            (Side::NetworkError, _) | (_, Side::NetworkError) => {
                wrong("`IsNetworkError()` is not compared: it holds or does not")
            }
            (Side::Method, _) | (_, Side::Method) => wrong("`RequestMethod()` is compared with a string"),
            (Side::Number(_), _) | (_, Side::Number(_)) => {
                wrong("`Attempts()` and `ResponseCode()` are compared with a whole number")
            }
            _ => wrong("one side of a comparison is a function"),
        }
    }
}

fn side(reader: &mut Reader) -> Result<Side, ExprError> {
    let token = reader.next();
    let name = match token.kind {
        TokenKind::Int(number) => return Ok(Side::Int(number)),
        TokenKind::Text(text) => return Ok(Side::Text(text)),
        TokenKind::Name(name) => name,
        other => {
            let problem =
                format!("expected a function, a string or a whole number, found {}", other.describe());
            return Err(ExprError::new(token.column, problem).hint(EXAMPLE));
        }
    };
    let side = match &*name {
        "RequestMethod" => Side::Method,
        "IsNetworkError" => Side::NetworkError,
        "Attempts" => Side::Number(Number::Attempts),
        "ResponseCode" => Side::Number(Number::ResponseCode),
        _ => {
            let error = ExprError::new(token.column, format!("unknown function `{name}`"));
            return Err(match nearest(&name, &FUNCTIONS) {
                Some(near) => error.hint(format!("did you mean `{near}()`?")),
                None => error.hint(format!("{} are known", FUNCTIONS.join(", "))),
            });
        }
    };
    for (expected, what) in [(TokenKind::Open, "`(`"), (TokenKind::Close, "`)`")] {
        let token = reader.next();
        if token.kind != expected {
            let problem = format!("expected {what}, found {}", token.kind.describe());
            return Err(ExprError::new(token.column, problem).hint(format!("write `{name}()`")));
        }
    }
    Ok(side)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, method: &str, attempts: u32, status: u16, expected: bool) {
        let predicate = Predicate::parse(text).unwrap();
        assert_eq!(predicate.holds(&Tried { method, attempts, status }), expected, "{text}");
        assert!(!expected || predicate.may_hold(method), "{text}: it holds, so it may");
    }

    #[test]
    fn predicates_hold_or_do_not() {
        let usual = r#"IsNetworkError() && RequestMethod() == "GET" && Attempts() < 20"#;
        check(usual, "GET", 1, 502, true);
        check(usual, "GET", 19, 504, true);
        check(usual, "GET", 20, 504, false);
        check(usual, "GET", 1, 503, false);
        check(usual, "POST", 1, 502, false);
        check("ResponseCode() == 503 || IsNetworkError()", "PUT", 1, 503, true);
        check("ResponseCode() >= 500 && ResponseCode() <= 599", "PUT", 1, 500, true);
        check("ResponseCode() > 500", "PUT", 1, 500, false);
        check("RequestMethod() != `POST` && !(ResponseCode() == 404)", "PUT", 1, 200, true);
        check("RequestMethod() != `POST` && !(ResponseCode() == 404)", "PUT", 1, 404, false);
        check("3 > Attempts()", "GET", 2, 0, true);
        check("3 > Attempts()", "GET", 3, 0, false);
        check("2 <= Attempts()", "GET", 2, 0, true);
        check("2 >= Attempts()", "GET", 3, 0, false);
        check("Attempts() < 2 || Attempts() < 4 && \"GET\" == RequestMethod()", "GET", 3, 0, true);
        assert_eq!(Predicate::parse(" IsNetworkError() ").unwrap().to_string(), "IsNetworkError()");
    }

    #[test]
    fn what_a_method_rules_out_is_known_beforehand() {
        let check = |text: &str, method: &str, expected: bool| {
            assert_eq!(Predicate::parse(text).unwrap().may_hold(method), expected, "{text} {method}");
        };
        check(r#"IsNetworkError() && RequestMethod() == "GET""#, "POST", false);
        check(r#"IsNetworkError() && RequestMethod() == "GET""#, "GET", true);
        check(r#"IsNetworkError() || RequestMethod() == "GET""#, "POST", true);
        check(r#"!(IsNetworkError() || RequestMethod() == "GET")"#, "GET", false);
        check(r#"!IsNetworkError() && RequestMethod() != "GET""#, "GET", false);
    }

    #[test]
    fn errors_say_where_and_what_would_be_right() {
        for (text, column, part) in [
            ("", 1, "expected a function"),
            ("IsNetworkErr()", 1, "did you mean `IsNetworkError()`"),
            ("Banana()", 1, "RequestMethod, IsNetworkError, Attempts, ResponseCode are known"),
            ("Attempts", 9, "expected `(`"),
            ("Attempts(1)", 10, "expected `)`"),
            ("Attempts()", 11, "expected a comparison"),
            ("Attempts() < 2.5", 14, "found the number 2.5"),
            ("Attempts() < \"2\"", 12, "with a whole number"),
            ("RequestMethod() == 1", 17, "with a string"),
            ("RequestMethod() > \"GET\"", 17, "by `==` or `!=`"),
            ("IsNetworkError() == 1", 18, "is not compared"),
            ("1 < 2", 3, "is a function"),
            ("Attempts() < 2 Attempts() < 3", 16, "unexpected `Attempts`"),
            ("(IsNetworkError()", 18, "`)` is missing"),
            ("IsNetworkError())", 17, "`)` without `(`"),
            ("IsNetworkError() & Attempts() < 2", 18, "a single `&`"),
        ] {
            let error = Predicate::parse(text).unwrap_err();
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        assert!(Predicate::parse(&"!".repeat(crate::expr::NESTING_MAX + 1)).is_err());
    }
}
