//! The grammar of conditions: what is measured, compared with numbers.
//!
//! ```text
//! error_ratio > 0.01 && requests >= 100 || latency_ms > 250
//! ```
//!
//! `error_ratio` is errors by requests (0 without requests), `latency_ms` the mean time of a request in milliseconds.

use super::error::{ExprError, nearest};
use super::lexer::{Token, TokenKind, tokens};
use super::route::{NESTING_MAX, TEXT_BYTES_MAX};
use std::fmt;

const VARIABLES: [(&str, Variable); 4] = [
    ("error_ratio", Variable::ErrorRatio),
    ("requests", Variable::Requests),
    ("errors", Variable::Errors),
    ("latency_ms", Variable::LatencyMs),
];

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
    node: Node,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Compare(Operand, Operator, Operand),
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operand {
    Variable(Variable),
    Number(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    ErrorRatio,
    Requests,
    Errors,
    LatencyMs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(ExprError::new(1, format!("an expression has at most {TEXT_BYTES_MAX} bytes")));
        }
        let mut parser = Parser { tokens: tokens(text)?, at: 0, nesting: 0 };
        let node = parser.or()?;
        let last = parser.next();
        match last.kind {
            TokenKind::End => Ok(Self { text: text.trim().into(), node }),
            TokenKind::Close => Err(ExprError::new(last.column, "`)` without `(`")),
            other => Err(ExprError::new(last.column, format!("unexpected {}", other.describe()))
                .hint("comparisons are joined by `&&` or `||`")),
        }
    }

    /// Whether the measures fulfil it.
    pub fn holds(&self, measures: &Measures) -> bool {
        holds(&self.node, measures)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn holds(node: &Node, measures: &Measures) -> bool {
    match node {
        Node::Compare(left, operator, right) => {
            let (left, right) = (value(*left, measures), value(*right, measures));
            match operator {
                Operator::Less => left < right,
                Operator::LessEqual => left <= right,
                Operator::Greater => left > right,
                Operator::GreaterEqual => left >= right,
                Operator::Equal => left == right,
                Operator::NotEqual => left != right,
            }
        }
        Node::Not(node) => !holds(node, measures),
        Node::And(nodes) => nodes.iter().all(|node| holds(node, measures)),
        Node::Or(nodes) => nodes.iter().any(|node| holds(node, measures)),
    }
}

fn value(operand: Operand, measures: &Measures) -> f64 {
    let by_request = |sum: f64| if measures.requests > 0.0 { sum / measures.requests } else { 0.0 };
    match operand {
        Operand::Number(number) => number,
        Operand::Variable(Variable::Requests) => measures.requests,
        Operand::Variable(Variable::Errors) => measures.errors,
        Operand::Variable(Variable::ErrorRatio) => by_request(measures.errors),
        Operand::Variable(Variable::LatencyMs) => by_request(measures.micros) / 1_000.0,
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    nesting: usize,
}

impl Parser {
    fn peek(&self) -> &TokenKind {
        self.tokens.get(self.at).map_or(&TokenKind::End, |token| &token.kind)
    }

    /// The last token, which is `End`, is never passed.
    fn next(&mut self) -> Token {
        let token = self.tokens.get(self.at).cloned().unwrap_or(Token { kind: TokenKind::End, column: 1 });
        if token.kind != TokenKind::End {
            self.at += 1;
        }
        token
    }

    fn or(&mut self) -> Result<Node, ExprError> {
        let first = self.and()?;
        let mut nodes = vec![first];
        while *self.peek() == TokenKind::Or {
            self.next();
            nodes.push(self.and()?);
        }
        Ok(if nodes.len() > 1 { Node::Or(nodes) } else { nodes.remove(0) })
    }

    fn and(&mut self) -> Result<Node, ExprError> {
        let first = self.unary()?;
        let mut nodes = vec![first];
        while *self.peek() == TokenKind::And {
            self.next();
            nodes.push(self.unary()?);
        }
        Ok(if nodes.len() > 1 { Node::And(nodes) } else { nodes.remove(0) })
    }

    fn unary(&mut self) -> Result<Node, ExprError> {
        if !matches!(self.peek(), TokenKind::Not | TokenKind::Open) {
            return self.comparison();
        }
        let token = self.next();
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(ExprError::new(token.column, format!("nested deeper than {NESTING_MAX}")));
        }
        let node = if token.kind == TokenKind::Not {
            Node::Not(Box::new(self.unary()?))
        } else {
            let node = self.or()?;
            let close = self.next();
            if close.kind != TokenKind::Close {
                let problem = format!("`)` is missing, found {}", close.kind.describe());
                return Err(ExprError::new(close.column, problem));
            }
            node
        };
        self.nesting -= 1;
        Ok(node)
    }

    fn comparison(&mut self) -> Result<Node, ExprError> {
        let left = self.operand()?;
        let token = self.next();
        let operator = match token.kind {
            TokenKind::Less => Operator::Less,
            TokenKind::LessEqual => Operator::LessEqual,
            TokenKind::Greater => Operator::Greater,
            TokenKind::GreaterEqual => Operator::GreaterEqual,
            TokenKind::Equal => Operator::Equal,
            TokenKind::NotEqual => Operator::NotEqual,
            other => {
                let problem = format!("expected a comparison, found {}", other.describe());
                return Err(ExprError::new(token.column, problem).hint("for example `error_ratio > 0.01`"));
            }
        };
        Ok(Node::Compare(left, operator, self.operand()?))
    }

    fn operand(&mut self) -> Result<Operand, ExprError> {
        let token = self.next();
        match token.kind {
            TokenKind::Int(number) => Ok(Operand::Number(number as f64)),
            TokenKind::Float(number) => Ok(Operand::Number(number)),
            TokenKind::Name(name) => match VARIABLES.iter().find(|(known, _)| *known == &*name) {
                Some((_, variable)) => Ok(Operand::Variable(*variable)),
                None => {
                    let known = VARIABLES.map(|(known, _)| known);
                    let error = ExprError::new(token.column, format!("unknown name `{name}`"));
                    Err(match nearest(&name, &known) {
                        Some(near) => error.hint(format!("did you mean `{near}`?")),
                        None => error.hint(format!("{} are known", known.join(", "))),
                    })
                }
            },
            other => {
                let problem = format!("expected a name or a number, found {}", other.describe());
                Err(ExprError::new(token.column, problem).hint("for example `error_ratio > 0.01`"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
