//! What conditions and predicates have in common: tests joined by `&&`, `||`, `!` and parentheses, and how two values
//! compare.

use super::error::ExprError;
use super::lexer::{Token, TokenKind, tokens};
use super::route::{NESTING_MAX, TEXT_BYTES_MAX};

/// What is joined, in one grammar.
pub(super) trait Test: Sized {
    /// The test that is next.
    ///
    /// # Errors
    /// What is wrong and where.
    fn read(reader: &mut Reader) -> Result<Self, ExprError>;
}

/// Tests as they were joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Joined<T> {
    Test(T),
    Not(Box<Joined<T>>),
    And(Vec<Joined<T>>),
    Or(Vec<Joined<T>>),
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

/// Parses a whole expression.
///
/// # Errors
/// What is wrong and where.
pub(super) fn parse<T: Test>(text: &str) -> Result<Joined<T>, ExprError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ExprError::new(1, format!("an expression has at most {TEXT_BYTES_MAX} bytes")));
    }
    let mut reader = Reader { tokens: tokens(text)?, at: 0, nesting: 0 };
    let joined = reader.or()?;
    let last = reader.next();
    match last.kind {
        TokenKind::End => Ok(joined),
        TokenKind::Close => Err(ExprError::new(last.column, "`)` without `(`")),
        other => Err(ExprError::new(last.column, format!("unexpected {}", other.describe()))
            .hint("comparisons are joined by `&&` or `||`")),
    }
}

impl<T> Joined<T> {
    /// Whether it holds, where `test` says what each test does; `None`: that is not known.
    pub(super) fn judge(&self, test: &dyn Fn(&T) -> Option<bool>) -> Option<bool> {
        match self {
            Self::Test(one) => test(one),
            Self::Not(joined) => joined.judge(test).map(|holds| !holds),
            Self::And(all) => judge_all(all, test, false),
            Self::Or(all) => judge_all(all, test, true),
        }
    }
}

/// `decides`: the judgement of one that decides about all.
fn judge_all<T>(all: &[Joined<T>], test: &dyn Fn(&T) -> Option<bool>, decides: bool) -> Option<bool> {
    let mut together = Some(!decides);
    for joined in all {
        match joined.judge(test) {
            Some(holds) if holds == decides => return Some(decides),
            Some(_) => {}
            None => together = None,
        }
    }
    together
}

impl Operator {
    pub(super) fn of(token: &TokenKind) -> Option<Self> {
        Some(match token {
            TokenKind::Less => Self::Less,
            TokenKind::LessEqual => Self::LessEqual,
            TokenKind::Greater => Self::Greater,
            TokenKind::GreaterEqual => Self::GreaterEqual,
            TokenKind::Equal => Self::Equal,
            TokenKind::NotEqual => Self::NotEqual,
            _ => return None,
        })
    }

    pub(super) fn holds<V: PartialOrd>(self, left: V, right: V) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterEqual => left >= right,
            Self::Equal => left == right,
            Self::NotEqual => left != right,
        }
    }

    /// The same comparison with its sides exchanged.
    pub(super) fn turned(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            same => same,
        }
    }
}

/// An expression on the way through its tokens.
pub(super) struct Reader {
    tokens: Vec<Token>,
    at: usize,
    nesting: usize,
}

impl Reader {
    pub(super) fn peek(&self) -> &TokenKind {
        self.tokens.get(self.at).map_or(&TokenKind::End, |token| &token.kind)
    }

    /// The last token, which is `End`, is never passed.
    pub(super) fn next(&mut self) -> Token {
        let token = self.tokens.get(self.at).cloned().unwrap_or(Token { kind: TokenKind::End, column: 1 });
        if token.kind != TokenKind::End {
            self.at += 1;
        }
        token
    }

    fn or<T: Test>(&mut self) -> Result<Joined<T>, ExprError> {
        let first = self.and()?;
        let mut all = vec![first];
        while *self.peek() == TokenKind::Or {
            self.next();
            all.push(self.and()?);
        }
        Ok(if all.len() > 1 { Joined::Or(all) } else { all.remove(0) })
    }

    fn and<T: Test>(&mut self) -> Result<Joined<T>, ExprError> {
        let first = self.unary()?;
        let mut all = vec![first];
        while *self.peek() == TokenKind::And {
            self.next();
            all.push(self.unary()?);
        }
        Ok(if all.len() > 1 { Joined::And(all) } else { all.remove(0) })
    }

    fn unary<T: Test>(&mut self) -> Result<Joined<T>, ExprError> {
        if !matches!(self.peek(), TokenKind::Not | TokenKind::Open) {
            return T::read(self).map(Joined::Test);
        }
        let token = self.next();
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(ExprError::new(token.column, format!("nested deeper than {NESTING_MAX}")));
        }
        let joined = if token.kind == TokenKind::Not {
            Joined::Not(Box::new(self.unary()?))
        } else {
            let joined = self.or()?;
            let close = self.next();
            if close.kind != TokenKind::Close {
                let problem = format!("`)` is missing, found {}", close.kind.describe());
                return Err(ExprError::new(close.column, problem));
            }
            joined
        };
        self.nesting -= 1;
        Ok(joined)
    }
}
