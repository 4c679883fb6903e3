//! Names and strings as an expression has them.

use std::fmt::Write as _;

/// Whether a text is a token: a method, a field's or a cookie's name (RFC 9110, 5.6.2).
pub fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// A string that the lexer reads back as it was.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            // Writing to a string does not fail.
            c if c.is_ascii_control() => drop(write!(quoted, "\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The same in backquotes, which need no escapes, where the text has none itself.
pub fn literal(text: &str) -> String {
    if text.contains('`') { quoted(text) } else { format!("`{text}`") }
}
