//! The expression language: which requests a frontend takes.
//!
//! One lexer, [`lexer`], serves every grammar of this kind; [`Condition`] and [`TripCondition`] compare what is measured,
//! [`Predicate`] says which attempts are repeated. [`Route`] is the grammar of routes:
//!
//! ```text
//! Host("shop.example.com") && (Path("/items/<int:id>") || PathPrefix("/static")) && !Cookie("beta", "1")
//! ```
//!
//! Strings are Go's: `"..."` with escapes, or back quotes without. `&&` binds tighter than `||`, `!` tighter than both.
//! Parameters stand in `Path`, `PathPrefix` and `Host`: `<name>` (or `<string:name>`) is one segment or label and never
//! empty, `<int:name>` is decimal digits, `<path:name>` is the rest of the path, may be empty, and comes last.

mod comparison;
mod condition;
mod dnf;
mod error;
mod joined;
pub mod lexer;
mod matcher;
mod parser;
mod pattern;
mod predicate;
mod route;
pub mod shape;
mod text;
mod trip;

pub use condition::{Condition, Measures};
pub use error::ExprError;
pub use matcher::{Matcher, Term};
pub use pattern::{COMPILED_BYTES_MAX, Captures, InvalidPattern, PATTERN_BYTES_MAX, Pattern};
pub use predicate::{Predicate, Tried};
pub use route::{ALTERNATIVES_MAX, Alternative, NESTING_MAX, Route, TEXT_BYTES_MAX};
pub use shape::{HostPattern, Names, PathPattern, Sink, Span, Spans};
pub use text::{is_token, literal, quoted};
pub use trip::{TripCondition, TripMeasure};

#[cfg(test)]
mod tests;
