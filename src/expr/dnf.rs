//! Turns an expression into alternatives, each a conjunction of matchers or their opposites.

use super::error::ExprError;
use super::matcher::Term;
use super::parser::Node;
use super::route::ALTERNATIVES_MAX;
use std::cmp::Ordering;

/// A term with its text, by which terms are compared.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) term: Term,
    pub(super) text: String,
}

type Conjunction = Vec<Written>;

/// All alternatives, each sorted and free of repetition, and they themselves too; at most [`ALTERNATIVES_MAX`].
pub(super) fn alternatives(node: Node) -> Result<Vec<Conjunction>, ExprError> {
    expand(node, false, 1)
}

/// `negated` is pushed down to the matchers; `column` is where to point if the limit is passed.
fn expand(node: Node, negated: bool, column: usize) -> Result<Vec<Conjunction>, ExprError> {
    match node {
        Node::Matcher(matcher) => {
            let term = Term { negated, matcher };
            Ok(vec![vec![Written { text: term.to_string(), term }]])
        }
        Node::Not(inner) => expand(*inner, !negated, column),
        Node::And(nodes) if !negated => all(nodes, negated, column),
        Node::Or(nodes, at) if negated => all(nodes, negated, at),
        Node::And(nodes) => any(nodes, negated, column),
        Node::Or(nodes, at) => any(nodes, negated, at),
    }
}

fn any(nodes: Vec<Node>, negated: bool, column: usize) -> Result<Vec<Conjunction>, ExprError> {
    let mut found = Vec::new();
    for node in nodes {
        found.extend(expand(node, negated, column)?);
    }
    bounded(found, column)
}

fn all(nodes: Vec<Node>, negated: bool, column: usize) -> Result<Vec<Conjunction>, ExprError> {
    let mut found: Vec<Conjunction> = vec![Vec::new()];
    for node in nodes {
        let right = expand(node, negated, column)?;
        let mut product = Vec::with_capacity(found.len() * right.len());
        for left in &found {
            for right in &right {
                let mut joined = left.clone();
                joined.extend(right.iter().cloned());
                joined.sort_by(compare);
                joined.dedup_by(|a, b| a.text == b.text);
                product.push(joined);
            }
        }
        found = bounded(product, column)?;
    }
    Ok(found)
}

fn bounded(mut found: Vec<Conjunction>, column: usize) -> Result<Vec<Conjunction>, ExprError> {
    let texts = |conjunction: &Conjunction| conjunction.iter().map(|w| w.text.clone()).collect::<Vec<_>>();
    found.sort_by_cached_key(texts);
    found.dedup_by(|a, b| a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.text == b.text));
    match found.len() {
        count if count > ALTERNATIVES_MAX => {
            let problem = format!(
                "`||` makes {count} alternatives of this expression, at most {ALTERNATIVES_MAX} are allowed"
            );
            Err(ExprError::new(column, problem)
                .hint("spread it over several frontends, or use a regular expression"))
        }
        _ => Ok(found),
    }
}

fn compare(a: &Written, b: &Written) -> Ordering {
    (a.term.negated, a.term.matcher.order(), &a.text).cmp(&(b.term.negated, b.term.matcher.order(), &b.text))
}
