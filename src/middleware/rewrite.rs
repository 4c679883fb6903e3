//! Vulcand's rewrite: a regular expression over the whole URL or its path, and what each match is replaced by.

use super::url::{Url, is_label_byte};
use super::{Reply, URL_BYTES_MAX, refusal};
use crate::expr::Pattern;
use crate::model::RewriteSpec;
use crate::model::template::{Part, Replacement};
use std::ops::Range;

/// What a rewrite makes of a URL.
pub(super) enum Rewritten {
    /// Nothing.
    Pass,
    /// Another path and query, and another host where it changed.
    Target { target: String, host: Option<Box<str>> },
    /// A redirect, or a refusal: 400 where the rewritten text is not a URL or its host would be the client's choice,
    /// 414 where it is too long.
    Reply(Reply),
}

pub(super) fn run(spec: &RewriteSpec, asked: &Url<'_>) -> Rewritten {
    let refuse = |status| Rewritten::Reply(refusal(status));
    let origin = format!("{}://{}", asked.scheme.as_str(), asked.authority);
    let source = format!("{origin}{}", asked.target);
    let mut built = Built::default();
    let changed = match spec.path_only {
        true => replace_in_path(asked.target, spec, &mut built),
        false => replace_all(&source, origin.len(), &spec.regexp, &spec.replacement, &mut built),
    };
    let Some(changed) = changed else { return refuse(414) };
    if !changed || built.text == if spec.path_only { asked.target } else { &source } {
        return Rewritten::Pass;
    }
    if spec.path_only && !built.text.starts_with('/') {
        built.put_before("/");
    }
    if built.text.starts_with('/') {
        // Vulcand takes a path alone too. It stays on the host that was asked, also if it begins with two slashes.
        built.put_before(&origin);
    }
    let Some(url) = Url::parse(&built.text).filter(|url| built.host_is_given(url)) else {
        return refuse(400);
    };
    // Only a request that named no host may go on without one.
    if url.authority.is_empty() && (spec.redirect || !asked.authority.is_empty()) {
        return refuse(400);
    }
    let slash = if url.target.starts_with('/') { "" } else { "/" };
    if spec.redirect {
        if url.is_same(asked) {
            return Rewritten::Pass;
        }
        let location = format!("{}://{}{slash}{}", url.scheme.as_str(), url.authority, url.target);
        return Rewritten::Reply(Reply::redirect(302, location));
    }
    let host = (!url.authority.eq_ignore_ascii_case(asked.authority)).then(|| url.authority.into());
    Rewritten::Target { target: format!("{slash}{}", url.target), host }
}

/// The rewritten text, with a note of which bytes the client could choose: those of the target that was asked.
#[derive(Default)]
struct Built {
    text: String,
    chosen: Vec<Range<usize>>,
}

impl Built {
    /// Appends a piece of the source; what lies behind `origin` is the client's choice. False: too long.
    fn push_source(&mut self, source: &str, range: Range<usize>, origin: usize) -> bool {
        let from_target = range.start.max(origin)..range.end;
        if !from_target.is_empty() {
            let start = self.text.len() + (from_target.start - range.start);
            self.chosen.push(start..start + from_target.len());
        }
        self.push_given(source.get(range).unwrap_or_default())
    }

    fn push_given(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        self.text.len() <= URL_BYTES_MAX
    }

    fn put_before(&mut self, origin: &str) {
        self.text.insert_str(0, origin);
        for range in &mut self.chosen {
            *range = range.start + origin.len()..range.end + origin.len();
        }
    }

    /// Nothing that the client chose decides where the URL leads: in scheme and host it is at most letters, digits,
    /// hyphens and underscores before a dot and a rest that was given.
    fn host_is_given(&self, url: &Url<'_>) -> bool {
        let scheme_end = url.scheme.as_str().len() + "://".len();
        let authority_end = scheme_end + url.authority.len();
        let mut last = None;
        for range in self.chosen.iter().filter(|range| range.start < authority_end) {
            let inside = range.start..range.end.min(authority_end);
            let bytes = self.text.as_bytes().get(inside.clone()).unwrap_or_default();
            if inside.start < scheme_end || !bytes.iter().copied().all(is_label_byte) {
                return false;
            }
            last = Some(inside.end);
        }
        last.is_none_or(|end| {
            let rest = self.text.get(end..authority_end).unwrap_or_default();
            let host = super::url::split_port(rest).0;
            host.trim_end_matches('.').contains('.')
        })
    }
}

/// Replaces every match in the path; the query stays behind it, or behind what was put in for one.
fn replace_in_path(target: &str, spec: &RewriteSpec, out: &mut Built) -> Option<bool> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let changed = replace_all(path, 0, &spec.regexp, &spec.replacement, out)?;
    if let Some(query) = query.filter(|_| changed) {
        let joint = if out.text.contains('?') { "&" } else { "?" };
        if !out.push_given(joint) || !out.push_source(query, 0..query.len(), 0) {
            return None;
        }
    }
    Some(changed)
}

/// Replaces every match as Go's `ReplaceAllString` does: leftmost first, and no empty match right behind another
/// one. Says whether there was a match; `None`: the result is too long.
fn replace_all(
    source: &str,
    origin: usize,
    pattern: &Pattern,
    replacement: &Replacement,
    out: &mut Built,
) -> Option<bool> {
    let (mut copied, mut search, mut previous_end) = (0, 0, None);
    while let Some(captures) = pattern.captures_from(source, search) {
        let found = captures.range();
        let next = source.get(found.end..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
        search = if found.is_empty() { found.end + next } else { found.end };
        if found.is_empty() && previous_end == Some(found.start) {
            continue;
        }
        previous_end = Some(found.end);
        if !out.push_source(source, copied..found.start, origin) {
            return None;
        }
        copied = found.end;
        for part in replacement.parts() {
            let group = match part {
                Part::Text(text) => {
                    if !out.push_given(text) {
                        return None;
                    }
                    continue;
                }
                Part::Group(index) => captures.get(*index),
                Part::Named(name) => captures.name(name),
            };
            let range = group.map_or(0..0, |text| position(source, text));
            if !out.push_source(source, range, origin) {
                return None;
            }
        }
    }
    if previous_end.is_some() && !out.push_source(source, copied..source.len(), origin) {
        return None;
    }
    Some(previous_end.is_some())
}

/// Where `part`, a slice of `source`, lies in it.
fn position(source: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(source.as_ptr() as usize);
    start..start + part.len()
}
