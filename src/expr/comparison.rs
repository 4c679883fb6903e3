//! What conditions have in common: quantities compared with numbers.

use super::error::{ExprError, nearest};
use super::joined::{Joined, Operator, Reader, Test};
use super::lexer::TokenKind;

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
pub(super) type Comparisons<Q> = Joined<Comparison<Q>>;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Comparison<Q> {
    left: Operand<Q>,
    operator: Operator,
    right: Operand<Q>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operand<Q> {
    Quantity(Q),
    Number(f64),
}

impl<Q> Comparisons<Q> {
    /// Whether it holds, where `value` tells what each quantity is.
    pub(super) fn holds(&self, value: &dyn Fn(&Q) -> f64) -> bool {
        let of = |operand: &Operand<Q>| match operand {
            Operand::Quantity(quantity) => value(quantity),
            Operand::Number(number) => *number,
        };
        self.judge(&|it| Some(it.operator.holds(of(&it.left), of(&it.right)))) == Some(true)
    }
}

impl<Q: Quantity> Test for Comparison<Q> {
    fn read(reader: &mut Reader) -> Result<Self, ExprError> {
        let left = operand(reader)?;
        let token = reader.next();
        let Some(operator) = Operator::of(&token.kind) else {
            let problem = format!("expected a comparison, found {}", token.kind.describe());
            return Err(ExprError::new(token.column, problem).hint(example::<Q>()));
        };
        Ok(Self { left, operator, right: operand(reader)? })
    }
}

fn operand<Q: Quantity>(reader: &mut Reader) -> Result<Operand<Q>, ExprError> {
    let token = reader.next();
    match token.kind {
        TokenKind::Int(number) => Ok(Operand::Number(number as f64)),
        TokenKind::Float(number) => Ok(Operand::Number(number)),
        TokenKind::Name(name) if Q::NAMES.contains(&&*name) => {
            let arguments = arguments(reader)?;
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
fn arguments(reader: &mut Reader) -> Result<Option<Vec<f64>>, ExprError> {
    if *reader.peek() != TokenKind::Open {
        return Ok(None);
    }
    reader.next();
    let mut arguments = Vec::new();
    loop {
        let token = reader.next();
        match token.kind {
            TokenKind::Close if arguments.is_empty() => return Ok(Some(arguments)),
            TokenKind::Int(number) => arguments.push(number as f64),
            TokenKind::Float(number) => arguments.push(number),
            other => {
                let problem = format!("expected a number, found {}", other.describe());
                return Err(ExprError::new(token.column, problem));
            }
        }
        let token = reader.next();
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

fn example<Q: Quantity>() -> String {
    format!("for example `{}`", Q::EXAMPLE)
}
