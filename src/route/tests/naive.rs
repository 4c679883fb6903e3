//! Looks at every route, and reads patterns from their text.

use super::*;

type Segment = (u8, Reverse<usize>, String);

/// Splits into literals and `<...>`.
fn pieces(segment: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for c in segment.chars() {
        if c == '<' && !found.last().unwrap().is_empty() {
            found.push(String::new());
        }
        found.last_mut().unwrap().push(c);
        if c == '>' {
            found.push(String::new());
        }
    }
    found.retain(|piece| !piece.is_empty());
    found
}

fn segment_key(segment: &str) -> Segment {
    let pieces = pieces(segment);
    match pieces.as_slice() {
        [one] if one.starts_with("<path:") => (5, Reverse(0), String::new()),
        [one] if one.starts_with("<int:") => (3, Reverse(0), String::new()),
        [one] if one.starts_with('<') => (4, Reverse(0), String::new()),
        [] | [_] => (1, Reverse(0), String::new()),
        many => {
            let literal = many.iter().filter(|p| !p.starts_with('<')).map(String::len).sum();
            let kind = |p: &String| match (p.starts_with("<int:"), p.starts_with('<')) {
                (true, _) => "\u{1}".to_owned(),
                (_, true) => "\u{2}".to_owned(),
                _ => p.clone(),
            };
            (2, Reverse(literal), many.iter().map(kind).collect())
        }
    }
}

pub(super) fn segment_matches(pattern: &str, text: &str) -> bool {
    let pieces = pieces(pattern);
    let mut rest = text;
    for (index, piece) in pieces.iter().enumerate() {
        let following = pieces.get(index + 1);
        if piece.starts_with("<int:") {
            let behind = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            if behind.len() == rest.len() {
                return false;
            }
            rest = behind;
        } else if piece.starts_with('<') {
            let end = match following {
                None => Some(rest.len()),
                Some(literal) if index + 2 == pieces.len() => {
                    rest.strip_suffix(literal.as_str()).map(str::len)
                }
                Some(literal) => rest.get(1..).and_then(|r| r.find(literal.as_str())).map(|at| at + 1),
            };
            match end {
                Some(end) if end > 0 => rest = &rest[end..],
                _ => return false,
            }
        } else {
            match rest.strip_prefix(piece.as_str()) {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
    }
    rest.is_empty()
}

fn path_matches(pattern: &str, path: &str, prefix: bool) -> bool {
    let mut wanted: Vec<&str> = pattern.split('/').collect();
    if prefix && pattern == "/" {
        wanted.pop();
    }
    let given: Vec<&str> = path.split('/').collect();
    for (index, segment) in wanted.iter().enumerate() {
        let Some(text) = given.get(index) else { return false };
        if segment.starts_with("<path:") {
            return true;
        }
        if !segment_matches(segment, text) {
            return false;
        }
    }
    prefix || wanted.len() == given.len()
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let (wanted, given): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), host.split('.').collect());
    let label = |(wanted, given): (&&str, &&str)| match *wanted {
        "*" => !given.is_empty(),
        wanted => segment_matches(wanted, given),
    };
    wanted.len() == given.len() && wanted.iter().zip(&given).all(label)
}

pub(super) fn holds(matcher: &Matcher, r: &Request) -> bool {
    let any = |list: &[(String, String)], name: &str, test: &dyn Fn(&str) -> bool| {
        list.iter().any(|(own, value)| own.eq_ignore_ascii_case(name) && test(value))
    };
    match matcher {
        Matcher::Host(host) => host_matches(&host.to_string(), &r.host),
        Matcher::HostRegexp(pattern) => pattern.is_match(&r.host),
        Matcher::Path(path) => path_matches(&path.to_string(), &r.path, false),
        Matcher::PathPrefix(path) => path_matches(&path.to_string(), &r.path, true),
        Matcher::PathRegexp(pattern) => pattern.is_match(&r.path),
        Matcher::Method(method) => **method == *r.method,
        Matcher::MethodRegexp(pattern) => pattern.is_match(&r.method),
        Matcher::Header(name, value) => any(&r.headers, name, &|own| *own == **value),
        Matcher::HeaderRegexp(name, pattern) => any(&r.headers, name, &|own| pattern.is_match(own)),
        Matcher::Query(name, value) => any(&r.query, name, &|own| *own == **value),
        Matcher::Cookie(name, value) => any(&r.cookies, name, &|own| *own == **value),
        Matcher::ClientIp(net) => r.client.is_some_and(|client| net.contains(&client)),
    }
}

fn rank(terms: &[Term], priority: i64, name: &str, index: usize) -> impl Ord + use<> {
    let plain = || terms.iter().filter(|term| !term.negated).map(|term| &term.matcher);
    let host = plain().find(|m| matches!(m, Matcher::Host(_) | Matcher::HostRegexp(_)));
    let path =
        plain().find(|m| matches!(m, Matcher::Path(_) | Matcher::PathPrefix(_) | Matcher::PathRegexp(_)));
    let host_class = match host {
        Some(Matcher::Host(host)) => {
            let text = host.to_string();
            let labels: Vec<_> = text.split('.').collect();
            let special = |label: &&str| label.contains(['<', '*']);
            let whole = labels[0] == "*" || (pieces(labels[0]).len() == 1 && special(&labels[0]));
            match (labels.iter().any(special), whole && !labels[0].starts_with("<int:")) {
                (false, _) => 0,
                (true, true) if !labels[1..].iter().any(special) && labels.len() > 1 => 1,
                _ => 2,
            }
        }
        Some(_) => 3,
        None => 4,
    };
    let (path_class, segments) = match path {
        Some(Matcher::Path(path)) => (0, path.to_string().split('/').map(segment_key).collect()),
        Some(Matcher::PathPrefix(path)) => {
            let text = path.to_string();
            let mut keys: Vec<Segment> = text.trim_end_matches('/').split('/').map(segment_key).collect();
            keys.push((5, Reverse(0), String::new()));
            (0, keys)
        }
        Some(_) => (1, Vec::new()),
        None => (2, Vec::new()),
    };
    let predicates = terms.len() - usize::from(host.is_some()) - usize::from(path.is_some());
    (Reverse(priority), host_class, path_class, segments, Reverse(predicates), name.to_owned(), index)
}

pub(super) fn find(table: &Table, request: &Request) -> Option<String> {
    let mut found = Vec::new();
    for (name, (route, priority)) in table {
        for (index, alternative) in Route::parse(route).unwrap().alternatives().iter().enumerate() {
            let terms = alternative.terms();
            if terms.iter().all(|term| holds(&term.matcher, request) != term.negated) {
                found.push((rank(terms, *priority, name, index), name.clone()));
            }
        }
    }
    found.into_iter().min().map(|(_, name)| name)
}
