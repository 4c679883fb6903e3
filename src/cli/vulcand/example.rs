//! Requests that meet two routes at once, as far as one can be found. Nothing here is believed: whoever asks for an
//! example runs it.

use super::super::explain::Asked;
use crate::expr::shape::{self, PREFIX, REST, SegmentKind};
use crate::expr::{Matcher, Pattern, Term};
use regex_syntax::hir::{Class, Hir, HirKind};

/// What parameters become: an example for each.
pub(super) const FILLINGS: [&str; 3] = ["x", "7", "x-7"];

/// A request that meets all `terms`, unless they are more than this can see through; `filling` stands for parameters.
/// `None`: they contradict each other.
pub(super) fn example(terms: &[&Term], filling: &str) -> Option<Asked> {
    let mut asked = Asked {
        method: "GET".into(),
        host: "any.example".into(),
        path: format!("/{filling}"),
        ..Asked::default()
    };
    let (mut hosts, mut paths) = (Vec::new(), Vec::new());
    let (mut host_patterns, mut path_patterns, mut method) = (Vec::new(), Vec::new(), None);
    for term in terms.iter().filter(|term| !term.negated) {
        match &term.matcher {
            Matcher::Host(host) => hosts.push(host.shape().as_bytes()),
            Matcher::HostRegexp(pattern) => host_patterns.push(pattern),
            Matcher::Path(path) | Matcher::PathPrefix(path) => paths.push(path.shape().as_bytes()),
            Matcher::PathRegexp(pattern) => path_patterns.push(pattern),
            Matcher::Method(wanted) => {
                if method.as_ref().is_some_and(|method| *method != **wanted) {
                    return None;
                }
                method = Some(wanted.to_string());
            }
            Matcher::MethodRegexp(pattern) => asked.method = sample(pattern)?,
            Matcher::Header(name, value) => asked.headers.push((name.to_string(), value.to_string())),
            Matcher::HeaderRegexp(name, pattern) => {
                if !asked.headers.iter().any(|(known, _)| *known == **name) {
                    asked.headers.push((name.to_string(), sample(pattern)?));
                }
            }
            Matcher::Query(name, value) => {
                let and = if asked.query.is_empty() { "" } else { "&" };
                asked.query.push_str(&format!("{and}{name}={value}"));
            }
            Matcher::Cookie(name, value) => asked.headers.push(("cookie".into(), format!("{name}={value}"))),
            Matcher::ClientIp(net) => asked.client = Some(net.addr()),
        }
    }
    asked.method = method.unwrap_or(asked.method);
    match (hosts.as_slice(), host_patterns.as_slice()) {
        ([], []) => {}
        ([], patterns) => asked.host = sample_of_all(patterns)?.to_ascii_lowercase(),
        ([one], _) => asked.host = unify(one, one, b'.', filling)?,
        ([one, other, ..], _) => asked.host = unify(one, other, b'.', filling)?,
    }
    match (paths.as_slice(), path_patterns.as_slice()) {
        ([], []) => {}
        ([], patterns) => {
            let path = sample_of_all(patterns)?;
            asked.path = if path.starts_with('/') { path } else { format!("/{path}") };
        }
        ([one], _) => asked.path = unify(one, one, b'/', filling)?,
        ([one, other, ..], _) => asked.path = unify(one, other, b'/', filling)?,
    }
    Some(asked)
}

/// A text that two shapes match.
fn unify(one: &[u8], other: &[u8], separator: u8, filling: &str) -> Option<String> {
    let (mut left, mut right) = (Some(one), Some(other));
    let mut pieces: Vec<String> = Vec::new();
    loop {
        let (one, other) = match (left, right) {
            (None, None) => break,
            (Some(rest), None) | (None, Some(rest)) if rest == [PREFIX] => break,
            (Some(one), Some(other)) => (one, other),
            _ => return None,
        };
        let (a, a_behind) = shape::split(one, separator);
        let (b, b_behind) = shape::split(other, separator);
        match (a, b) {
            ([PREFIX], [PREFIX]) => break,
            // What takes the rest takes whatever the other one asks for.
            ([PREFIX | REST], [PREFIX | REST]) => {
                pieces.push(filling.to_owned());
                break;
            }
            ([PREFIX | REST], _) => {
                pieces.push(piece(b, b, filling)?);
                (left, right) = (Some(a), b_behind);
                if right.is_none() {
                    break;
                }
                continue;
            }
            (_, [PREFIX | REST]) => {
                pieces.push(piece(a, a, filling)?);
                (left, right) = (a_behind, Some(b));
                if left.is_none() {
                    break;
                }
                continue;
            }
            _ => pieces.push(piece(a, b, filling)?),
        }
        (left, right) = (a_behind, b_behind);
    }
    Some(pieces.join(if separator == b'.' { "." } else { "/" }))
}

/// A text that two segments match.
fn piece(a: &[u8], b: &[u8], filling: &str) -> Option<String> {
    let candidates = [fill(a, filling), fill(b, filling), fill(a, "7"), fill(b, "7")];
    let fits = |segment: &[u8], text: &str| match shape::kind(segment) {
        SegmentKind::Literal => segment == text.as_bytes(),
        _ => shape::match_segment(segment, text.as_bytes(), 0, &mut ()),
    };
    candidates.into_iter().find(|text| fits(a, text) && fits(b, text))
}

fn fill(segment: &[u8], filling: &str) -> String {
    let mut out = String::new();
    for byte in segment {
        match *byte {
            shape::INT => out.push('7'),
            byte if shape::is_parameter(byte) => out.push_str(filling),
            byte => out.push(char::from(byte)),
        }
    }
    out
}

/// A text that all expressions match, if one of their samples does.
fn sample_of_all(patterns: &[&Pattern]) -> Option<String> {
    let mut samples = patterns.iter().filter_map(|pattern| sample(pattern));
    samples.find(|text| patterns.iter().all(|pattern| pattern.is_match(text)))
}

/// A short text that a regular expression matches, if it is made of visible characters.
fn sample(pattern: &Pattern) -> Option<String> {
    let hir = regex_syntax::parse(pattern.as_str()).ok()?;
    let mut out = String::new();
    write(&hir, &mut out)?;
    (pattern.is_match(&out) && out.bytes().all(|byte| byte.is_ascii_graphic())).then_some(out)
}

fn write(hir: &Hir, out: &mut String) -> Option<()> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(Class::Unicode(class)) => out.push(character(class)?),
        HirKind::Class(Class::Bytes(class)) => {
            out.push(char::from(class.ranges().iter().map(|range| range.start().max(b'0')).next()?));
        }
        HirKind::Repetition(repetition) => {
            // What may be repeated without end is there once.
            let least = if repetition.max.is_none() { 1 } else { 0 };
            for _ in 0..repetition.min.max(least).min(64) {
                write(&repetition.sub, out)?;
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, out)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| write(part, out))?,
        HirKind::Alternation(parts) => write(parts.first()?, out)?,
    }
    Some(())
}

/// A letter or a digit if the class has one.
fn character(class: &regex_syntax::hir::ClassUnicode) -> Option<char> {
    let wanted = ['x', 'X', '7', '-', '_', '/'];
    let has = |c: &char| class.ranges().iter().any(|range| (range.start()..=range.end()).contains(c));
    wanted.into_iter().find(has).or_else(|| class.ranges().first().map(|range| range.start()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::Route;

    #[track_caller]
    fn check(one: &str, other: &str, expected: Option<&str>) {
        let (one, other) = (Route::parse(one).unwrap(), Route::parse(other).unwrap());
        let terms: Vec<&Term> =
            [&one, &other].iter().flat_map(|route| route.alternatives()[0].terms()).collect();
        let found = example(&terms, "x").map(|asked| {
            format!("{} {}{} {:?}", asked.method, asked.host, asked.path, asked.headers).replace(" []", "")
        });
        assert_eq!(found.as_deref(), expected, "{one} {other}");
    }

    #[test]
    fn two_routes_meet() {
        check(r#"Path("/a/<p>")"#, r#"Host("h") && Path("/<q>/b")"#, Some("GET h/a/b"));
        check(r#"Path("/a/<int:p>")"#, r#"Path("/a/<q>")"#, Some("GET any.example/a/7"));
        check(r#"Path("/a/v<int:p>")"#, r#"Path("/a/<q>")"#, Some("GET any.example/a/v7"));
        check(r#"Path("/a/<path:p>")"#, r#"Path("/<q>/b/c")"#, Some("GET any.example/a/b/c"));
        check(r#"Path("/a/<path:p>")"#, r#"Path("/<q>/<path:r>")"#, Some("GET any.example/a/x"));
        check(r#"PathPrefix("/a")"#, r#"Path("/a")"#, Some("GET any.example/a"));
        check(r#"Path("/a")"#, r#"Path("/b")"#, None);
        check(r#"Path("/a/b")"#, r#"Path("/a")"#, None);
        check(r#"Host("<s>.b.c")"#, r#"Host("a.<t>.c")"#, Some("GET a.b.c/x"));
        check(r#"Method("PUT")"#, r#"Method("GET")"#, None);
        check(r#"Method("PUT")"#, r#"MethodRegexp("GET|PUT")"#, Some("PUT any.example/x"));
        check(
            r#"PathRegexp("^/v[0-9]+/(?:a|b)$")"#,
            r#"Header("T", "1")"#,
            Some(r#"GET any.example/v7/a [("t", "1")]"#),
        );
        check(r#"HostRegexp(".*\\.b$")"#, r#"HostRegexp("^x")"#, Some("GET x.b/x"));
        check(r#"PathRegexp("^/a")"#, r#"PathRegexp("/.*")"#, Some("GET any.example/a"));
    }
}
