//! What conditions have in common: quantities compared with numbers, joined by `&&`, `||`, `!` and parentheses.

use super::error::{ExprError, nearest};
use super::lexer::{Token, TokenKind, tokens};
use super::route::{NESTING_MAX, TEXT_BYTES_MAX};

/// The quantities that one kind of condition knows.
pub(super) trait Quantity: Sized {
    /// Their names.
    const NAMES: &'static [&'static str];
    /// Shows what would be right.
    const EXAMPLE: &'static str;

    /// One of the names with its arguments; `None` where no parentheses follow it.
    ///
    /// # Errors
    /// What is wrong with the arguments.
    fn read(name: &str, arguments: Option<&[f64]>) -> Result<Self, String>;
}

/// A condition on quantities.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<Q> {
    Compare(Operand<Q>, Operator, Operand<Q>),
    Not(Box<Node<Q>>),
    And(Vec<Node<Q>>),
    Or(Vec<Node<Q>>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Operand<Q> {
    Quantity(Q),
    Number(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
}

/// Parses a whole condition.
pub(super) fn parse<Q: Quantity>(text: &str) -> Result<Node<Q>, ExprError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ExprError::new(1, format!("an expression has at most {TEXT_BYTES_MAX} bytes")));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, nesting: 0 };
    let node = parser.or()?;
    let last = parser.next();
    match last.kind {
        TokenKind::End => Ok(node),
        TokenKind::Close => Err(ExprError::new(last.column, "`)` without `(`")),
        other => Err(ExprError::new(last.column, format!("unexpected {}", other.describe()))
            .hint("comparisons are joined by `&&` or `||`")),
    }
}

impl<Q> Node<Q> {
    /// Whether it holds, where `value` tells what each quantity is.
    pub(super) fn holds(&self, value: &dyn Fn(&Q) -> f64) -> bool {
        match self {
            Self::Compare(left, operator, right) => {
                let of = |operand: &Operand<Q>| match operand {
                    Operand::Quantity(quantity) => value(quantity),
                    Operand::Number(number) => *number,
                };
                let (left, right) = (of(left), of(right));
                match operator {
                    Operator::Less => left < right,
                    Operator::LessEqual => left <= right,
                    Operator::Greater => left > right,
                    Operator::GreaterEqual => left >= right,
                    Operator::Equal => left == right,
                    Operator::NotEqual => left != right,
                }
            }
            Self::Not(node) => !node.holds(value),
            Self::And(nodes) => nodes.iter().all(|node| node.holds(value)),
            Self::Or(nodes) => nodes.iter().any(|node| node.holds(value)),
        }
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

    fn or<Q: Quantity>(&mut self) -> Result<Node<Q>, ExprError> {
        let first = self.and()?;
        let mut nodes = vec![first];
        while *self.peek() == TokenKind::Or {
            self.next();
            nodes.push(self.and()?);
        }
        Ok(if nodes.len() > 1 { Node::Or(nodes) } else { nodes.remove(0) })
    }

    fn and<Q: Quantity>(&mut self) -> Result<Node<Q>, ExprError> {
        let first = self.unary()?;
        let mut nodes = vec![first];
        while *self.peek() == TokenKind::And {
            self.next();
            nodes.push(self.unary()?);
        }
        Ok(if nodes.len() > 1 { Node::And(nodes) } else { nodes.remove(0) })
    }

    fn unary<Q: Quantity>(&mut self) -> Result<Node<Q>, ExprError> {
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

    fn comparison<Q: Quantity>(&mut self) -> Result<Node<Q>, ExprError> {
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
                return Err(ExprError::new(token.column, problem).hint(example::<Q>()));
            }
        };
        Ok(Node::Compare(left, operator, self.operand()?))
    }

    fn operand<Q: Quantity>(&mut self) -> Result<Operand<Q>, ExprError> {
        let token = self.next();
        match token.kind {
            TokenKind::Int(number) => Ok(Operand::Number(number as f64)),
            TokenKind::Float(number) => Ok(Operand::Number(number)),
            TokenKind::Name(name) if Q::NAMES.contains(&&*name) => {
                let arguments = self.arguments()?;
                let quantity = Q::read(&name, arguments.as_deref());
                Ok(Operand::Quantity(quantity.map_err(|problem| {
                    ExprError::new(token.column, format!("`{name}` {problem}")).hint(example::<Q>())
                })?))
            }
            TokenKind::Name(name) => {
                let error = ExprError::new(token.column, format!("unknown name `{name}`"));
                Err(match nearest(&name, Q::NAMES) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint(format!("{} are known", Q::NAMES.join(", "))),
                })
            }
            other => {
                let problem = format!("expected a name or a number, found {}", other.describe());
                Err(ExprError::new(token.column, problem).hint(example::<Q>()))
            }
        }
    }

    /// Numbers in parentheses, where an opening one is next.
    fn arguments(&mut self) -> Result<Option<Vec<f64>>, ExprError> {
        if *self.peek() != TokenKind::Open {
            return Ok(None);
        }
        self.next();
        let mut arguments = Vec::new();
        loop {
            let token = self.next();
            match token.kind {
                TokenKind::Close if arguments.is_empty() => return Ok(Some(arguments)),
                TokenKind::Int(number) => arguments.push(number as f64),
                TokenKind::Float(number) => arguments.push(number),
                other => {
                    let problem = format!("expected a number, found {}", other.describe());
                    return Err(ExprError::new(token.column, problem));
                }
            }
            let token = self.next();
            match token.kind {
                TokenKind::Comma => {}
                TokenKind::Close => return Ok(Some(arguments)),
                other => {
                    let problem = format!("expected `,` or `)`, found {}", other.describe());
                    return Err(ExprError::new(token.column, problem));
                }
            }
        }
    }
}

fn example<Q: Quantity>() -> String {
    format!("for example `{}`", Q::EXAMPLE)
}
