//! A parsed route expression.

use super::dnf;
use super::error::ExprError;
use super::matcher::{Matcher, Term};
use super::parser::{self, Node};
use std::fmt;
use std::sync::Arc;

/// Longest expression, in bytes.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Deepest nesting of parentheses and `!`.
pub const NESTING_MAX: usize = 64;
/// Most alternatives that `||` may make of one expression.
pub const ALTERNATIVES_MAX: usize = 64;

/// Which requests a frontend takes. Two are equal when their normalised forms are. A clone shares everything.
#[derive(Clone)]
pub struct Route(Arc<Inner>);

struct Inner {
    text: Box<str>,
    alternatives: Box<[Alternative]>,
}

/// What must hold together for a request to match.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    terms: Box<[Term]>,
}

impl Alternative {
    /// Its matchers, sorted and without repetition: those that are not negated first, hosts and paths in front, the
    /// more specific before the less. Never empty.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }
}

impl Route {
    /// Parses an expression of at most [`TEXT_BYTES_MAX`] bytes, nested at most [`NESTING_MAX`] deep.
    pub fn parse(text: &str) -> Result<Route, ExprError> {
        if text.len() > TEXT_BYTES_MAX {
            let problem = format!("{} bytes long, at most {TEXT_BYTES_MAX} are allowed", text.len());
            return Err(ExprError::new(1, problem));
        }
        let found = dnf::alternatives(parser::parse(text)?)?;
        let alternatives = found
            .into_iter()
            .map(|terms| Alternative { terms: terms.into_iter().map(|written| written.term).collect() })
            .collect();
        Ok(Route(Arc::new(Inner { text: text.into(), alternatives })))
    }

    /// The expression as written.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The expression in canonical form: `||` outermost, matchers and alternatives sorted, host names in lower case,
    /// nothing twice. Routes that differ in nothing else have the same; it parses to an equal route if it is not
    /// longer than an expression may be. Written anew at every call.
    pub fn normalised(&self) -> String {
        let conjunction = |alternative: &Alternative| {
            alternative.terms.iter().map(Term::to_string).collect::<Vec<_>>().join(" && ")
        };
        self.0.alternatives.iter().map(conjunction).collect::<Vec<_>>().join(" || ")
    }

    /// The matchers in the order in which they were written, if the expression is one conjunction and negates none of
    /// them. Parsed anew at every call.
    pub fn conjunction(&self) -> Option<Vec<Matcher>> {
        let (mut left, mut found) = (vec![parser::parse(self.text()).ok()?], Vec::new());
        while let Some(node) = left.pop() {
            match node {
                Node::Matcher(matcher) => found.push(matcher),
                Node::And(nodes) => left.extend(nodes.into_iter().rev()),
                Node::Not(_) | Node::Or(..) => return None,
            }
        }
        Some(found)
    }

    /// What `||` separates; at least one, at most [`ALTERNATIVES_MAX`].
    pub fn alternatives(&self) -> &[Alternative] {
        &self.0.alternatives
    }
}

impl std::str::FromStr for Route {
    type Err = ExprError;

    fn from_str(text: &str) -> Result<Self, ExprError> {
        Route::parse(text)
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.alternatives == other.0.alternatives
    }
}

impl Eq for Route {}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Route({})", self.text())
    }
}
