//! Regular expressions, bounded in size and linear in time.
//!
//! The syntax is RE2's, which Go uses, as the crate `regex` reads it, and like there a pattern matches anywhere unless
//! it is anchored. What differs from Go: `\d \s \w \b` know Unicode, `\Q..\E` and `\C` are refused, and `{,n}` is a
//! repetition instead of plain text.

use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures as Groups;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Longest pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 4 * 1024;
/// Most memory the compiled form may take, in bytes.
pub const COMPILED_BYTES_MAX: usize = 1024 * 1024;

/// A text that is not a pattern, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a regular expression: {0}")]
pub struct InvalidPattern(String);

/// A compiled regular expression. Two are equal when their texts are. A clone shares everything.
#[derive(Clone)]
pub struct Pattern(Arc<Inner>);

struct Inner {
    text: Box<str>,
    quick: Option<Quick>,
    /// Filled by `new`, except for quick patterns, which need it for captures only.
    regex: OnceLock<Option<Regex>>,
}

/// Patterns that need no automaton.
enum Quick {
    Always,
    Contains(Box<str>),
    Prefix(Box<str>),
}

impl Pattern {
    /// Compiles `text`: at most [`PATTERN_BYTES_MAX`] long and [`COMPILED_BYTES_MAX`] compiled.
    pub fn new(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > PATTERN_BYTES_MAX {
            let problem = format!("longer than {PATTERN_BYTES_MAX} bytes");
            return Err(InvalidPattern(problem));
        }
        let quick = Quick::of(text);
        let regex = OnceLock::new();
        if quick.is_none() {
            let compiled = compile(text)?;
            regex.get_or_init(|| Some(compiled));
        }
        Ok(Self(Arc::new(Inner { text: text.into(), quick, regex })))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether it matches anywhere in `text`.
    pub fn is_match(&self, text: impl AsRef<[u8]>) -> bool {
        let text = text.as_ref();
        match &self.0.quick {
            Some(Quick::Always) => true,
            Some(Quick::Prefix(prefix)) => text.starts_with(prefix.as_bytes()),
            Some(Quick::Contains(part)) => memchr::memmem::find(text, part.as_bytes()).is_some(),
            None => self.regex().is_some_and(|regex| regex.is_match(text)),
        }
    }

    /// The leftmost match and its groups.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.captures_from(text, 0)
    }

    /// The leftmost match that begins at or behind byte `start`; what stands before counts for `^` and `\b`.
    pub fn captures_from<'t>(&self, text: &'t str, start: usize) -> Option<Captures<'t>> {
        if start > text.len() {
            return None;
        }
        let regex = self.regex()?;
        let mut groups = regex.create_captures();
        regex.captures(Input::new(text).range(start..).anchored(Anchored::No), &mut groups);
        groups.is_match().then_some(Captures { text, groups })
    }

    /// Number of groups, with group 0, the whole match.
    pub fn group_count(&self) -> usize {
        self.regex().map_or(1, |regex| regex.group_info().group_len(regex_automata::PatternID::ZERO))
    }

    /// Whether a group is called `name`.
    pub fn has_group(&self, name: &str) -> bool {
        self.regex()
            .is_some_and(|regex| regex.group_info().to_index(regex_automata::PatternID::ZERO, name).is_some())
    }

    fn regex(&self) -> Option<&Regex> {
        self.0.regex.get_or_init(|| compile(&self.0.text).ok()).as_ref()
    }
}

fn compile(text: &str) -> Result<Regex, InvalidPattern> {
    Regex::builder()
        .configure(
            Regex::config()
                .nfa_size_limit(Some(COMPILED_BYTES_MAX))
                .onepass_size_limit(Some(COMPILED_BYTES_MAX / 4))
                .hybrid_cache_capacity(COMPILED_BYTES_MAX / 4),
        )
        .syntax(syntax::Config::new().nest_limit(100))
        .build(text)
        .map_err(|error| {
            let problem = match (error.size_limit(), error.syntax_error()) {
                (Some(_), _) => format!("it would take more than {COMPILED_BYTES_MAX} bytes"),
                (None, Some(syntax)) => one_line(&syntax.to_string()),
                (None, None) => one_line(&error.to_string()),
            };
            InvalidPattern(problem)
        })
}

/// The last line of a syntax error is what is wrong; the lines before draw the pattern.
fn one_line(message: &str) -> String {
    let last = message.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

impl Quick {
    /// `.*` does not match a line end, but where it ends an unanchored pattern it may match nothing at all.
    fn of(text: &str) -> Option<Self> {
        let (anchored, rest) = match text.strip_prefix('^') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix(".*").unwrap_or(text)),
        };
        let literal = rest.strip_suffix(".*").unwrap_or(rest);
        if literal.contains(['.', '*', '+', '?', '(', ')', '[', ']', '{', '}', '^', '$', '|', '\\']) {
            return None;
        }
        Some(match (literal.is_empty(), anchored) {
            (true, _) => Quick::Always,
            (false, true) => Quick::Prefix(literal.into()),
            (false, false) => Quick::Contains(literal.into()),
        })
    }
}

/// One match and its groups; group 0 is the whole match.
#[derive(Debug)]
pub struct Captures<'t> {
    text: &'t str,
    groups: Groups,
}

impl<'t> Captures<'t> {
    /// The group's text; `None` if there is no such group or it took no part.
    pub fn get(&self, index: usize) -> Option<&'t str> {
        let span = self.groups.get_group(index)?;
        self.text.get(span.start..span.end)
    }

    /// The text of the group called `name`.
    pub fn name(&self, name: &str) -> Option<&'t str> {
        let span = self.groups.get_group_by_name(name)?;
        self.text.get(span.start..span.end)
    }

    /// Where the whole match lies.
    pub fn range(&self) -> Range<usize> {
        self.groups.get_group(0).map_or(0..0, |span| span.start..span.end)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.as_str())
    }
}
