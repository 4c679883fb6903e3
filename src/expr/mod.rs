//! The expression language of routes.

/// A parsed route expression. To be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Route;
