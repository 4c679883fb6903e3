//! Answers that lead elsewhere, and paths that servers know by another name.

use super::super::Converted;
use super::super::form::Filter;
use super::place::{PathPlace, anchored};
use super::said::{Said, shown};
use super::treatment::{Treatment, filter, order};
use crate::expr::Pattern;
use crate::registrar::seen::Ingress;
use serde_json::{Map, Value, json};

/// What ingress-nginx redirects to HTTPS with, and between the two names of a host.
const MOVED: u16 = 308;
/// Where authorities look for the answers to their challenges, over HTTP.
const CHALLENGES: &str = "/.well-known/acme-challenge";

/// `permanent-redirect` and `temporal-redirect`.
pub(super) fn read(said: &Said<'_>, treatment: &mut Treatment, converted: &mut Converted) {
    for (name, code_name, code) in [
        ("temporal-redirect", "temporal-redirect-code", 302),
        ("permanent-redirect", "permanent-redirect-code", 301),
    ] {
        let Some(text) = said.text(name) else { continue };
        let code = match said.number(code_name, 301..=308, converted) {
            Some(code @ (301..=303 | 307 | 308)) => code,
            Some(_) => {
                said.unreadable::<()>(code_name, "301, 302, 303, 307 or 308", converted);
                code
            }
            None => code,
        };
        match elsewhere(text, code) {
            Some((kind, spec)) => {
                treatment.add(said, name, filter("elsewhere", kind, order::ELSEWHERE, spec), converted);
            }
            None => {
                let expected =
                    "a URL, with no variables but `$scheme`, `$host` and `$request_uri` in their places,";
                said.unreadable::<()>(name, expected, converted);
            }
        }
        // The first one answers; nginx looks at them in this order, too.
        break;
    }
}

/// Type and settings of what answers with a URL.
fn elsewhere(text: &str, code: u64) -> Option<(&'static str, Value)> {
    if !text.contains('$') {
        return Some(("respond", json!({ "Status": code, "Headers": { "Location": text } })));
    }
    let mut spec = Map::new();
    spec.insert("Code".into(), code.into());
    let (scheme, rest) = text.split_once("://")?;
    if scheme != "$scheme" {
        spec.insert("Scheme".into(), scheme.into());
    }
    let (authority, path) = rest.split_at_checked(place_of_path(rest))?;
    if !matches!(authority, "$host" | "$http_host" | "$best_http_host") {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse::<u16>().ok()?)),
            None => (authority, None),
        };
        if authority.contains('$') {
            return None;
        }
        spec.insert("Host".into(), host.into());
        if let Some(port) = port {
            spec.insert("Port".into(), port.into());
        }
    }
    match path {
        "$request_uri" | "/$request_uri" => {}
        _ if path.contains(['$', '?', '<']) => return None,
        _ => {
            let path = if path.is_empty() { "/" } else { path };
            spec.insert("Path".into(), path.into());
            spec.insert("DropQuery".into(), true.into());
        }
    }
    Some(("redirect", spec.into()))
}

/// Where a URL's path begins, or what stands for it.
fn place_of_path(rest: &str) -> usize {
    let slash = rest.find('/').unwrap_or(rest.len());
    slash.min(rest.find("$request_uri").unwrap_or(rest.len()))
}

/// What is done to the requests of one path and not of all: to HTTPS, to the root of an application, and to the path
/// that its servers know. `host` is the rule's.
pub(super) fn of_path(
    said: &Said<'_>,
    host: Option<&str>,
    path: &PathPlace,
    converted: &mut Converted,
) -> Vec<Filter> {
    let mut filters = Vec::new();
    let mut add = |name: &str, made: Result<Filter, String>, converted: &mut Converted| match made {
        Ok(filter) => filters.push(filter),
        Err(reason) => said.error(name, reason, converted),
    };
    if is_moved_to_https(said, host, path, converted) {
        let spec = json!({ "Scheme": "https", "Code": MOVED });
        add("ssl-redirect", filter("https", "redirect", order::HTTPS, spec), converted);
    }
    if let Some(root) = said.text("app-root")
        && Pattern::new(&anchored(&path.pattern)).is_ok_and(|pattern| pattern.is_match("/"))
    {
        add("app-root", app_root(root), converted);
    }
    if let Some(target) = said.text("rewrite-target") {
        add("rewrite-target", rewrite(target, &path.pattern), converted);
    }
    filters
}

fn is_moved_to_https(
    said: &Said<'_>,
    host: Option<&str>,
    path: &PathPlace,
    converted: &mut Converted,
) -> bool {
    let is_wanted = said.flag("ssl-redirect", converted).unwrap_or(true);
    let is_forced = said.flag("force-ssl-redirect", converted).unwrap_or(false);
    let is_challenge = path.pattern.replace('\\', "").starts_with(CHALLENGES);
    !is_challenge && (is_forced || (is_wanted && has_tls(said.ingress(), host)))
}

/// Whether an Ingress says that a host speaks TLS.
fn has_tls(ingress: &Ingress, host: Option<&str>) -> bool {
    let Some(host) = host else { return false };
    let below = host.split_once('.').map(|(_, below)| below);
    ingress.tls.iter().any(|tls| {
        let is_it = |name: &str| {
            name.eq_ignore_ascii_case(host) || name.strip_prefix("*.").is_some_and(|name| Some(name) == below)
        };
        // Without names it is for those of the rules.
        tls.hosts.is_empty() || tls.hosts.iter().any(|name| is_it(name))
    })
}

/// A redirect from `/` and nothing else. The host stays; the query goes, as with nginx.
fn app_root(root: &str) -> Result<Filter, String> {
    if !root.starts_with('/') {
        return Err(format!("is {}; a path is expected", shown(root)));
    }
    let replacement = format!("${{1}}{}", root.replace('$', "$$"));
    let spec =
        json!({ "Regexp": "^(https?://[^/?]+)/?(?:\\?.*)?$", "Replacement": replacement, "Redirect": true });
    filter("app-root", "rewrite", order::APP_ROOT, spec)
}

/// The whole path becomes the target, with the groups of the path's own expression. What the client asked for behind
/// the question mark stays.
fn rewrite(target: &str, pattern: &str) -> Result<Filter, String> {
    if !target.starts_with('/') && !target.starts_with('$') {
        return Err(format!("is {}; a path is expected", shown(target)));
    }
    let regexp = format!("{}[\\s\\S]*$", anchored(pattern));
    let compiled = Pattern::new(&regexp).map_err(|error| format!("cannot be used: the path is {error}"))?;
    let replacement = replacement(target, compiled.group_count(), |name| compiled.has_group(name))?;
    let spec = json!({ "Regexp": regexp, "Replacement": replacement, "PathOnly": true });
    filter("rewrite", "rewrite", order::REWRITE, spec)
}

/// nginx's `$1` has one digit, and a group that is not there is empty.
fn replacement(target: &str, groups: usize, has_group: impl Fn(&str) -> bool) -> Result<String, String> {
    let mut replacement = String::new();
    let mut rest = target;
    while let Some((before, after)) = rest.split_once('$') {
        replacement.push_str(before);
        let (name, behind) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').unwrap_or((braced, "")),
            None => {
                let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = match after.starts_with(|c: char| c.is_ascii_digit()) {
                    true => 1,
                    false => after.find(|c| !is_word(c)).unwrap_or(after.len()),
                };
                after.split_at_checked(end).unwrap_or((after, ""))
            }
        };
        match name.parse::<usize>() {
            Ok(group) if group < groups => replacement.push_str(&format!("${{{group}}}")),
            Ok(_) => {}
            Err(_) if has_group(name) => replacement.push_str(&format!("${{{name}}}")),
            Err(_) => {
                return Err(format!(
                    "has {}, and only groups of the path are filled in",
                    shown(&format!("${name}"))
                ));
            }
        }
        rest = behind;
    }
    replacement.push_str(rest);
    Ok(replacement)
}

/// The other name of a host: with `www.`, or without.
pub(super) fn other_name(host: &str) -> Option<String> {
    match host.strip_prefix("www.") {
        _ if host.starts_with('*') => None,
        Some(rest) => Some(rest.to_owned()),
        None => Some(format!("www.{host}")),
    }
}

/// Leads to a host; all else stays as it was asked.
pub(super) fn to_host(host: &str) -> Result<Filter, String> {
    filter("elsewhere", "redirect", order::ELSEWHERE, json!({ "Host": host, "Code": MOVED }))
}
