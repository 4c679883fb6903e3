//! The expression language of routes.

/// A parsed route expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Route(Box<str>);

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an expression is missing")]
pub struct ExprError;

impl Route {
    /// Parses an expression.
    ///
    /// # Errors
    /// The text is not an expression.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        if text.is_empty() { Err(ExprError) } else { Ok(Self(text.into())) }
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.0
    }
}
