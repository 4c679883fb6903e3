//! Answers with another URL, made of the one that was asked.

use super::url::{Url, is_authority, is_label, is_visible, split_port};
use super::{Outcome, Reply, URL_BYTES_MAX, refusal};
use crate::model::RedirectSpec;
use crate::model::template::{Piece, Template};

pub(super) fn names_parameters(spec: &RedirectSpec) -> bool {
    let names = |template: &Option<Template>| {
        template.iter().flat_map(Template::pieces).any(|piece| matches!(piece, Piece::Parameter(_)))
    };
    names(&spec.host) || names(&spec.path)
}

/// Passes a request whose URL is the one to redirect to: it arrived. A request that names no host where the redirect
/// names none either, or a parameter that cannot stand in a host, is answered with 400.
pub(super) fn run<'p>(
    spec: &RedirectSpec,
    asked: &Url<'_>,
    parameters: &dyn Fn(&str) -> Option<&'p str>,
) -> Outcome {
    let scheme = spec.scheme.unwrap_or(asked.scheme);
    let refuse = |status| Outcome::Reply(refusal(status));
    // The location is always absolute, so that no path can be taken for a host, whatever it begins with.
    let mut location = format!("{}://", scheme.as_str());
    let authority_start = location.len();
    match &spec.host {
        Some(host) => {
            // A parameter is at most a part of a label, so that it cannot lead away from the host that was given.
            if !fill(&mut location, host, |name| parameters(name).filter(|value| is_label(value))) {
                return refuse(400);
            }
        }
        None => location.push_str(split_port(asked.authority).0),
    }
    let kept_port = if scheme == asked.scheme { asked.given_port() } else { None };
    if let Some(port) = spec.port.or(kept_port).filter(|port| *port != scheme.default_port()) {
        location.push_str(&format!(":{port}"));
    }
    let authority_end = location.len();
    let (path, query) = match asked.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (asked.target, None),
    };
    match (&spec.path, &spec.prefix) {
        // A parameter that the route does not have is empty.
        (Some(template), _) => {
            fill(&mut location, template, |name| Some(parameters(name).unwrap_or_default()));
        }
        (None, Some((from, to))) => move_prefix(&mut location, path, from, to),
        (None, None) => location.push_str(path),
    }
    if let Some(query) = query.filter(|_| !spec.drop_query) {
        location.push('?');
        location.push_str(query);
    }
    if location.len() > URL_BYTES_MAX {
        return refuse(414);
    }
    let (Some(authority), Some(target)) =
        (location.get(authority_start..authority_end), location.get(authority_end..))
    else {
        return refuse(400);
    };
    let valid = is_authority(authority) && target.starts_with('/') && is_visible(target);
    if !valid {
        return refuse(400);
    }
    if asked.is_same(&Url { scheme, authority, target }) {
        return Outcome::Pass;
    }
    Outcome::Reply(Reply::redirect(spec.code, location))
}

/// Writes a template; false where a parameter is missing.
fn fill<'p>(out: &mut String, template: &Template, parameter: impl Fn(&str) -> Option<&'p str>) -> bool {
    template.pieces().iter().all(|piece| {
        let text = match piece {
            Piece::Text(text) => Some(&**text),
            Piece::Parameter(name) => parameter(name),
        };
        text.map(|text| out.push_str(text)).is_some()
    })
}

/// Writes the path with its leading segments replaced; one that does not begin with all of them stays as it is.
fn move_prefix(out: &mut String, path: &str, from: &str, to: &str) {
    let rest = match path.strip_prefix(from.trim_end_matches('/')) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => return out.push_str(path),
    };
    let to = to.trim_end_matches('/');
    out.push_str(to);
    out.push_str(rest);
    if to.is_empty() && rest.is_empty() {
        out.push('/');
    }
}
