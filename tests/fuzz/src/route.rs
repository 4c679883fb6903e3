//! An expression means what it says: as parsed and sorted it holds for the requests that the tree of its words holds for,
//! its normal form is the same route, and the router finds what a look at every route finds.
//!
//! The input is text, one thing a line: `+2 Host("a")` adds a route of priority 2, `-3` removes the third, and
//! `?GET a.example/path` asks; behind a tab may follow `@10.0.0.1` for the client, `~name=value` for a cookie, `?name=value`
//! for a query parameter, and `name:value` for a field.

#[path = "../../../src/route/tests/naive.rs"]
mod naive;

use flipgate::expr::lexer::{TokenKind, tokens};
use flipgate::expr::{Matcher, Route, TEXT_BYTES_MAX, Term, quoted};
use flipgate::model::FrontendId;
use flipgate::route::{Lookup, Outcome, Params, Query, Router};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What a run looks at, so that it stays quick.
const LINES_MAX: usize = 24;

#[derive(Debug, Clone, Default)]
struct Request {
    host: String,
    path: String,
    method: String,
    client: Option<IpAddr>,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
    cookies: Vec<(String, String)>,
}

impl Lookup for Request {
    fn header(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.headers.iter().any(|(own, value)| own.eq_ignore_ascii_case(name) && test(value.as_bytes()))
    }

    fn query(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.query.iter().any(|(own, value)| own == name && test(value.as_bytes()))
    }

    fn cookie(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.cookies.iter().any(|(own, value)| own == name && test(value.as_bytes()))
    }
}

/// All routes by frontend.
type Table = BTreeMap<String, (String, i64)>;

pub fn check(raw: &[u8]) {
    let Ok(text) = std::str::from_utf8(raw) else { return };
    let (mut table, mut router) = (Table::new(), Router::new());
    for (number, line) in text.split('\n').take(LINES_MAX).enumerate() {
        match line.split_at_checked(1) {
            Some(("+", rest)) => {
                let (priority, expression) = match rest.split_once(' ') {
                    Some((priority, expression)) => (priority.parse().unwrap_or(0), expression),
                    None => (0, rest),
                };
                let Ok(route) = Route::parse(expression) else { continue };
                check_form(&route);
                router.insert(&id(&format!("f{number}")), &route, priority, format!("f{number}"));
                table.insert(format!("f{number}"), (expression.to_owned(), priority));
            }
            Some(("-", rest)) => {
                let index = rest.parse().unwrap_or(0);
                let Some((name, (route, priority))) =
                    table.iter().nth(index).map(|(name, it)| (name.clone(), it.clone()))
                else {
                    continue;
                };
                router.remove(&id(&name), &Route::parse(&route).expect("parsed before"), priority);
                table.remove(&name);
            }
            Some(("?", rest)) => check_request(&router, &table, &request(rest)),
            _ => {}
        }
    }
}

fn id(text: &str) -> FrontendId {
    FrontendId::try_from(text).expect("an id")
}

fn request(line: &str) -> Request {
    let mut parts = line.split('\t');
    // A head is read only with what may stand in a target and in a host.
    let mut first = parts.next().unwrap_or_default().to_owned();
    first.retain(|c| c.is_ascii_graphic() || c == ' ');
    let (method, rest) = first.split_once(' ').unwrap_or(("GET", &first));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut request = Request {
        host: host.to_ascii_lowercase(),
        path: format!("/{}", path.replace(' ', "")),
        method: method.to_owned(),
        ..Request::default()
    };
    for part in parts {
        let pair = |text: &str, at: char| {
            text.split_once(at).map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        match part.split_at_checked(1) {
            Some(("@", rest)) => request.client = rest.parse().ok(),
            Some(("~", rest)) => request.cookies.extend(pair(rest, '=')),
            Some(("?", rest)) => request.query.extend(pair(rest, '=')),
            _ => request.headers.extend(pair(part, ':')),
        }
    }
    request
}

fn check_form(route: &Route) {
    assert!(!route.alternatives().is_empty());
    let normal = route.normalised();
    if normal.len() <= TEXT_BYTES_MAX {
        let again = Route::parse(&normal).unwrap_or_else(|error| panic!("{normal}: {error}"));
        assert_eq!(again.normalised(), normal);
        assert!(again == *route, "{} became {normal}", route.text());
    }
}

fn check_request(router: &Router<String>, table: &Table, request: &Request) {
    let query = Query {
        host: &request.host,
        path: &request.path,
        method: &request.method,
        client: request.client,
        lookup: request,
    };
    let mut params = Params::new();
    let found = router.find(&query, &mut params).cloned();
    assert_eq!(found, naive::find(table, request), "{request:?} {table:?}");
    params.each(query.host, query.path, &mut |_, value| {
        assert!(query.host.contains(value) || query.path.contains(value));
    });
    let explained = router.explain(&query);
    let chosen = explained.iter().find(|candidate| candidate.outcome == Outcome::Chosen);
    assert_eq!(found.as_ref(), chosen.map(|candidate| candidate.value), "{request:?}: {explained:?}");
    for (expression, _) in table.values() {
        let route = Route::parse(expression).expect("parsed before");
        let term = |term: &Term| naive::holds(&term.matcher, request) != term.negated;
        let sorted = route.alternatives().iter().any(|it| it.terms().iter().all(term));
        assert_eq!(Tree::new(expression).or(request), sorted, "{expression} {request:?}");
    }
}

/// An expression as it is written, judged from left to right.
struct Tree {
    tokens: Vec<TokenKind>,
    at: usize,
}

impl Tree {
    fn new(expression: &str) -> Self {
        let tokens = tokens(expression).expect("parsed before").into_iter().map(|token| token.kind).collect();
        Self { tokens, at: 0 }
    }

    fn takes(&mut self, kind: &TokenKind) -> bool {
        let takes = self.tokens.get(self.at) == Some(kind);
        self.at += usize::from(takes);
        takes
    }

    fn or(&mut self, request: &Request) -> bool {
        let mut holds = self.and(request);
        while self.takes(&TokenKind::Or) {
            holds |= self.and(request);
        }
        holds
    }

    fn and(&mut self, request: &Request) -> bool {
        let mut holds = self.one(request);
        while self.takes(&TokenKind::And) {
            holds &= self.one(request);
        }
        holds
    }

    fn one(&mut self, request: &Request) -> bool {
        if self.takes(&TokenKind::Not) {
            return !self.one(request);
        }
        if self.takes(&TokenKind::Open) {
            let holds = self.or(request);
            assert!(self.takes(&TokenKind::Close));
            return holds;
        }
        let mut call = String::new();
        loop {
            let token = self.tokens.get(self.at).expect("a matcher").clone();
            self.at += 1;
            match token {
                TokenKind::Name(name) => call.push_str(&name),
                TokenKind::Text(text) => call.push_str(&quoted(&text)),
                TokenKind::Open => call.push('('),
                TokenKind::Comma => call.push_str(", "),
                TokenKind::Close => break,
                other => panic!("{other:?} in a matcher"),
            }
        }
        let matcher = Route::parse(&format!("{call})")).expect("a matcher is an expression");
        naive::holds(&matcher.alternatives()[0].terms()[0].matcher, request)
    }
}
