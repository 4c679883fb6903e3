//! Texts with places to fill in: `<name>` in redirects, `$1` and `${name}` in rewrites. What fills a place is data and
//! is never read as a template again.

use std::fmt;

/// A text with route parameters as `<name>`. Equal if written equally.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    pieces: Box<[Piece]>,
}

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(Box<str>),
    /// The route parameter of that name.
    Parameter(Box<str>),
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// `<` without `>`, or `>` alone.
    #[error("has `<` or `>` that is not part of a parameter like `<name>`")]
    Bracket,
    /// What stands between `<` and `>` is not a name.
    #[error("has a parameter whose name is not made of letters, digits and underscores")]
    Name,
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// Says what is wrong, as a predicate that follows the text.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('<') {
            let (name, after) = after.split_once('>').ok_or(InvalidTemplate::Bracket)?;
            push_text(&mut pieces, before)?;
            if !is_name(name) {
                return Err(InvalidTemplate::Name);
            }
            pieces.push(Piece::Parameter(name.into()));
            rest = after;
        }
        push_text(&mut pieces, rest)?;
        Ok(Self { text: text.into(), pieces: pieces.into() })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// In order; no two texts stand side by side, and none is empty.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) -> Result<(), InvalidTemplate> {
    if text.contains('>') {
        return Err(InvalidTemplate::Bracket);
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text.into()));
    }
    Ok(())
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// What replaces a match: Go's `Expand` form. `$name` takes the longest name that can stand there, so a digit before
/// a letter is written `${1}x`. Equal if written equally.
#[derive(Clone, PartialEq, Eq)]
pub struct Replacement {
    text: Box<str>,
    parts: Box<[Part]>,
}

/// A part of a [`Replacement`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// As it stands.
    Text(Box<str>),
    /// What the group of that index matched; 0 is the whole match.
    Group(usize),
    /// What the group of that name matched.
    Named(Box<str>),
}

/// Why a text is not a replacement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReplacement {
    /// `$` without a name behind it.
    #[error("has a `$` without a group behind it: write `$$` for a dollar sign")]
    Dollar,
    /// No group of that name or number.
    #[error(
        "names the group `{0}`, which the regexp does not have (a number before a letter is written `${{1}}`)"
    )]
    Group(String),
}

impl Replacement {
    /// Reads a text. `has_group` knows the named groups; `groups` counts all, the whole match included.
    ///
    /// # Errors
    /// Says what is wrong, as a predicate that follows the text.
    pub fn parse(
        text: &str,
        groups: usize,
        has_group: impl Fn(&str) -> bool,
    ) -> Result<Self, InvalidReplacement> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                plain.push('$');
                rest = after;
                continue;
            }
            let (name, after) = match after.strip_prefix('{') {
                Some(braced) => braced.split_once('}').ok_or(InvalidReplacement::Dollar)?,
                None => {
                    let end = after.find(|c: char| !is_name_character(c)).unwrap_or(after.len());
                    after.split_at_checked(end).ok_or(InvalidReplacement::Dollar)?
                }
            };
            if !is_name(name) {
                return Err(InvalidReplacement::Dollar);
            }
            let part = match name.parse::<usize>() {
                Ok(index) if index < groups => Part::Group(index),
                Err(_) if has_group(name) => Part::Named(name.into()),
                _ => return Err(InvalidReplacement::Group(name.chars().take(60).collect())),
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            parts.push(part);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// In order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }
}

impl fmt::Debug for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_name_character)
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_template(text: &str, expected: Result<&str, InvalidTemplate>) {
        let shown = Template::parse(text).map(|template| {
            assert_eq!(template.text(), text);
            let show = |piece: &Piece| match piece {
                Piece::Text(text) => text.to_string(),
                Piece::Parameter(name) => format!("({name})"),
            };
            template.pieces().iter().map(show).collect::<Vec<_>>().join("+")
        });
        assert_eq!(shown.as_deref().map_err(Clone::clone), expected, "{text:?}");
    }

    #[test]
    fn parameters_are_found() {
        check_template("", Ok(""));
        check_template("/a", Ok("/a"));
        check_template("<a>", Ok("(a)"));
        check_template("/x/<a>-<b_2>/y", Ok("/x/+(a)+-+(b_2)+/y"));
        check_template("<a", Err(InvalidTemplate::Bracket));
        check_template("a>", Err(InvalidTemplate::Bracket));
        check_template("<a>>", Err(InvalidTemplate::Bracket));
        check_template("<>", Err(InvalidTemplate::Name));
        check_template("<<a>", Err(InvalidTemplate::Name));
        check_template("<int:a>", Err(InvalidTemplate::Name));
    }

    #[track_caller]
    fn check_replacement(text: &str, expected: Result<&str, InvalidReplacement>) {
        let shown = Replacement::parse(text, 3, |name| name == "rest").map(|replacement| {
            assert_eq!(replacement.text(), text);
            let show = |part: &Part| match part {
                Part::Text(text) => text.to_string(),
                Part::Group(index) => format!("({index})"),
                Part::Named(name) => format!("({name})"),
            };
            replacement.parts().iter().map(show).collect::<Vec<_>>().join("+")
        });
        assert_eq!(shown.as_deref().map_err(Clone::clone), expected, "{text:?}");
    }

    #[test]
    fn groups_are_found() {
        let group = |name: &str| Err(InvalidReplacement::Group(name.to_owned()));
        check_replacement("", Ok(""));
        check_replacement("http://$1/x", Ok("http://+(1)+/x"));
        check_replacement("$0$2", Ok("(0)+(2)"));
        check_replacement("${rest}x${1}y", Ok("(rest)+x+(1)+y"));
        check_replacement("$rest/", Ok("(rest)+/"));
        check_replacement("a$$1", Ok("a$1"));
        check_replacement("$$$1", Ok("$+(1)"));
        check_replacement("$3", group("3"));
        check_replacement("$1x", group("1x"));
        check_replacement("${nothing}", group("nothing"));
        check_replacement("$99999999999999999999999", group("99999999999999999999999"));
        check_replacement("$", Err(InvalidReplacement::Dollar));
        check_replacement("$-", Err(InvalidReplacement::Dollar));
        check_replacement("${1", Err(InvalidReplacement::Dollar));
        check_replacement("${}", Err(InvalidReplacement::Dollar));
        check_replacement("${a b}", Err(InvalidReplacement::Dollar));
    }
}
