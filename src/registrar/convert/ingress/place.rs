//! Hosts and paths of Ingresses as routes, and the ids of frontends.
//!
//! A path that is a regular expression is placed among the others by what it begins with, so that the router finds and
//! ranks it like them: `/api(/|$)(.*)` is the prefix `/api`, and `/item/[0-9]+` stands below `/item`. Where
//! ingress-nginx would compare lengths, here the path with more literal segments wins; among expressions with the same
//! literal segments the longer one does, within one Ingress. Literal parts are compared with regard to case.

use super::super::form::{Matches, PathMatch};
use crate::expr::{Pattern, Route, literal};
use crate::kubernetes::Name;
use crate::model::{BackendId, FrontendId};
use crate::registrar::digest::short_digest;
use crate::registrar::seen::{IngressPath, PathType};

/// Longest id, in bytes: what is longer ends in a digest of the whole.
const ID_BYTES_MAX: usize = 200;
/// What stands for any number of characters of a URL's last part.
const REST: [&str; 4] = ["(.*)$", "(.*)", ".*$", ".*"];
/// A segment's end, or the path's.
const ENDS: [&str; 4] = ["(/|$)", "(?:/|$)", "($|/)", "(?:$|/)"];

/// Which paths an Ingress's path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// All.
    Any,
    /// This one.
    Exact(String),
    /// It and what is below it, by whole segments.
    Prefix(String),
    /// All that begin with this text.
    Begins(String),
    /// What an expression matches from the path's beginning, with the whole segments before anything that is no
    /// literal.
    Regexp {
        /// As its author wrote it.
        text: String,
        /// Absent: none.
        below: Option<String>,
    },
}

/// A place and, for rewrites, the expression that its paths match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathPlace {
    pub(super) place: Place,
    /// From the path's beginning; not anchored at its end, unless it says so.
    pub(super) pattern: String,
}

impl PathPlace {
    /// What a path means, `is_regexp` where annotations make regular expressions of paths.
    ///
    /// # Errors
    /// What is wrong with it, as a predicate.
    pub(super) fn of(path: &IngressPath, is_regexp: bool) -> Result<Self, String> {
        let text = path.path.as_deref().filter(|text| !text.is_empty()).unwrap_or("/");
        if !text.starts_with('/') {
            return Err("does not begin with a slash".to_owned());
        }
        let escaped = || escape(text.trim_end_matches('/'));
        let (place, pattern) = match path.kind {
            PathType::Exact => (Place::Exact(text.to_owned()), format!("{}$", escape(text))),
            _ if is_regexp && !is_literal(text) => (regexp(text), text.to_owned()),
            PathType::Prefix => match text.trim_end_matches('/') {
                "" => (Place::Any, "/".to_owned()),
                trimmed => (Place::Prefix(trimmed.to_owned()), escaped()),
            },
            PathType::ImplementationSpecific => match text {
                "/" => (Place::Any, "/".to_owned()),
                _ => (Place::Begins(text.to_owned()), escape(text)),
            },
        };
        Pattern::new(&anchored(&pattern)).map_err(|error| format!("is {error}"))?;
        Ok(Self { place, pattern })
    }
}

/// An expression of the path from its beginning, without regard to case, as ingress-nginx has it.
pub(super) fn anchored(pattern: &str) -> String {
    format!("(?i)^(?:{pattern})")
}

/// The requests for any of these hosts (or for every one where there is none) and a place.
///
/// # Errors
/// What is wrong with it, as a predicate.
pub(super) fn matches(hosts: &[&str], place: &Place) -> Result<Matches, String> {
    let simple = match place {
        Place::Any => Some(PathMatch::Any),
        Place::Exact(path) => Some(PathMatch::Exact(path.clone())),
        Place::Prefix(path) => Some(PathMatch::Prefix(path.clone())),
        Place::Begins(_) | Place::Regexp { .. } => None,
    };
    let matches = match (hosts, simple) {
        ([], Some(path)) => Matches::Place { host: None, path },
        ([host], Some(path)) => Matches::Place { host: Some((*host).to_owned()), path },
        (hosts, simple) => {
            let path = match simple {
                Some(path) => Matches::Place { host: None, path }.expression(),
                None => expression(place),
            };
            let hosts: Vec<String> = hosts.iter().map(|host| format!("Host({})", literal(host))).collect();
            Matches::Expression(match hosts.as_slice() {
                [] => path,
                [host] => format!("{host} && {path}"),
                _ => format!("({}) && {path}", hosts.join(" || ")),
            })
        }
    };
    Route::parse(&matches.expression()).map_err(|error| format!("is no route: {error}"))?;
    Ok(matches)
}

/// Of places that are no simple match; binds at least as tight as `&&`.
fn expression(place: &Place) -> String {
    match place {
        // The first alternative ranks like a prefix; the second takes what goes on within the segment.
        Place::Begins(text) => match text.strip_suffix('/') {
            Some(_) => format!("Path({})", literal(&format!("{text}<path:rest>"))),
            None => {
                let parent = text.rsplit_once('/').map(|(parent, _)| parent).filter(|it| !it.is_empty());
                format!(
                    "(PathPrefix({}) || PathPrefix({}) && PathRegexp({}))",
                    literal(text),
                    literal(parent.unwrap_or("/")),
                    literal(&format!("^{}", escape(text)))
                )
            }
        },
        Place::Regexp { text, below } => format!(
            "PathPrefix({}) && PathRegexp({})",
            literal(below.as_deref().unwrap_or("/")),
            literal(&anchored(text))
        ),
        Place::Any | Place::Exact(_) | Place::Prefix(_) => String::new(),
    }
}

/// Where an expression places itself.
fn regexp(text: &str) -> Place {
    let (literal, rest) = literal_start(text);
    let is_rest = |rest: &str| REST.contains(&rest);
    let ends = ENDS.iter().find_map(|end| rest.strip_prefix(end));
    let segments = literal.trim_end_matches('/');
    if let Some(behind) = ends
        && (behind.is_empty() || is_rest(behind))
        && !segments.is_empty()
    {
        return Place::Prefix(segments.to_owned());
    }
    if matches!(rest, "(/.*)?" | "(/.*)?$") && !segments.is_empty() {
        return Place::Prefix(segments.to_owned());
    }
    if is_rest(rest) || is_rest(rest.strip_prefix("/?").unwrap_or(rest)) {
        return if matches!(literal.as_str(), "" | "/") { Place::Any } else { Place::Begins(literal) };
    }
    // An expression may end within the last segment.
    let below = literal.rsplit_once('/').map(|(below, _)| below.to_owned()).filter(|it| !it.is_empty());
    Place::Regexp { text: text.to_owned(), below }
}

/// What an expression begins with for certain, and what stands behind it.
fn literal_start(text: &str) -> (String, &str) {
    if has_alternatives(text) {
        return (String::new(), text);
    }
    let mut literal = String::new();
    let mut end = 0;
    let mut rest = text.char_indices().peekable();
    while let Some((_, c)) = rest.next() {
        let c = match c {
            '\\' => match rest.next() {
                Some((_, escaped)) if escaped.is_ascii_punctuation() => escaped,
                _ => break,
            },
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' | '|' => break,
            c => c,
        };
        let (next, following) = rest.peek().map_or((text.len(), None), |(at, c)| (*at, Some(*c)));
        if matches!(following, Some('*' | '+' | '?' | '{')) {
            break;
        }
        literal.push(c);
        end = next;
    }
    (literal, text.get(end..).unwrap_or_default())
}

/// Whether `|` stands outside of all parentheses.
fn has_alternatives(text: &str) -> bool {
    let (mut depth, mut escaped, mut class) = (0_i32, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            '(' if !class => depth += 1,
            ')' if !class => depth -= 1,
            '|' if !class && depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// Whether a path has nothing that means something in an expression. A dot is taken as what it is.
fn is_literal(text: &str) -> bool {
    !text.contains(['\\', '*', '+', '?', '(', ')', '[', ']', '{', '}', '^', '$', '|'])
}

/// An expression that matches a text and nothing else.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if ".\\*+?()[]{}^$|".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// `shop-web:shop.example:api`: it stays the same whatever else the Ingress has. Behind an exact path stands `=`, behind
/// the beginning of a text `*`; an expression is a digest behind `~`, the longer first.
pub(super) fn frontend_id(ingress: &Name, host: Option<&str>, place: &Place) -> Option<FrontendId> {
    let base = format!("{}-{}:{}", ingress.namespace, ingress.name, host.unwrap_or("any"));
    let plain = |path: &str, end: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte);
        match path.bytes().all(is_plain) {
            true => format!("{}{end}", path.replace('/', ":")),
            false => format!("~{}{end}", short_digest([path])),
        }
    };
    let path = match place {
        Place::Any => String::new(),
        Place::Exact(path) => plain(path, "="),
        Place::Prefix(path) => plain(path, ""),
        Place::Begins(text) => plain(text, "*"),
        Place::Regexp { text, .. } => {
            format!("~{:04}-{}", 9_999_usize.saturating_sub(text.len()), short_digest([text.as_str()]))
        }
    };
    FrontendId::try_from(bounded(base + &path).as_str()).ok()
}

/// A further frontend of an Ingress's host, that none of its paths is.
pub(super) fn further_id(ingress: &Name, host: &str, what: &str) -> Option<FrontendId> {
    let id = format!("{}-{}:{host}~{what}", ingress.namespace, ingress.name);
    FrontendId::try_from(bounded(id).as_str()).ok()
}

/// The parts with hyphens between them.
pub(super) fn backend_id(parts: &[&str]) -> Option<BackendId> {
    BackendId::try_from(bounded(parts.join("-")).as_str()).ok()
}

fn bounded(id: String) -> String {
    if id.len() <= ID_BYTES_MAX {
        return id;
    }
    let start: String = id.chars().take(ID_BYTES_MAX / 2).collect();
    format!("{start}~{}", short_digest([id.as_str()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_placed_by_what_they_begin_with() {
        let any = || Place::Any;
        let prefix = |text: &str| Place::Prefix(text.to_owned());
        let begins = |text: &str| Place::Begins(text.to_owned());
        let below = |text: &str, below: &str| Place::Regexp {
            text: text.to_owned(),
            below: (!below.is_empty()).then(|| below.to_owned()),
        };
        for (text, expected) in [
            ("/(.*)", any()),
            ("/.*", any()),
            ("/?(.*)", any()),
            ("/api(/|$)(.*)", prefix("/api")),
            ("/api/(.*)", begins("/api/")),
            ("/api/?(.*)", begins("/api")),
            ("/api(/.*)?", prefix("/api")),
            ("/v1\\.2(/|$)(.*)", prefix("/v1.2")),
            ("/api/v[0-9]+/(.*)", below("/api/v[0-9]+/(.*)", "/api")),
            ("/item/(\\d+)", below("/item/(\\d+)", "/item")),
            ("/colou?r", below("/colou?r", "")),
            ("/a|/b", below("/a|/b", "")),
            ("/x(/|$)y", below("/x(/|$)y", "")),
            ("/[a|b]/c", below("/[a|b]/c", "")),
        ] {
            assert_eq!(regexp(text), expected, "{text}");
        }
    }
}
