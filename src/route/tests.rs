//! The router against a matcher that looks at every route.

mod naive;
mod vulcand;

use super::*;
use crate::expr::{Matcher, Route, Term};
use crate::model::FrontendId;
use proptest::prelude::*;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

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

impl Request {
    /// `GET host/path`, or `METHOD host/path`.
    fn new(text: &str) -> Self {
        let (method, rest) = text.split_once(' ').unwrap_or(("GET", text));
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        Request { host: host.into(), path: format!("/{path}"), method: method.into(), ..Request::default() }
    }

    fn query(&self) -> Query<'_> {
        Query { host: &self.host, path: &self.path, method: &self.method, client: self.client, lookup: self }
    }
}

/// All routes by frontend, the table that tests edit.
type Table = BTreeMap<String, (String, i64)>;

fn id(text: &str) -> FrontendId {
    FrontendId::try_from(text).unwrap()
}

fn insert(router: &mut Router<String>, name: &str, route: &str, priority: i64) {
    router.insert(&id(name), &Route::parse(route).unwrap(), priority, name.into());
}

fn remove(router: &mut Router<String>, name: &str, route: &str, priority: i64) {
    router.remove(&id(name), &Route::parse(route).unwrap(), priority);
}

fn build(table: &Table) -> Router<String> {
    let mut router = Router::new();
    table.iter().for_each(|(name, (route, priority))| insert(&mut router, name, route, *priority));
    router
}

fn ask(router: &Router<String>, request: &Request) -> Option<String> {
    let mut params = Params::new();
    let found = router.find(&request.query(), &mut params).cloned();
    let explained: Vec<_> = router.explain(&request.query());
    let chosen = explained.iter().find(|candidate| candidate.outcome == Outcome::Chosen);
    assert_eq!(found.as_ref(), chosen.map(|candidate| candidate.value), "{request:?}: {explained:?}");
    assert!(explained.windows(2).all(|pair| pair[0].rank < pair[1].rank), "{explained:?}");
    found
}

#[track_caller]
fn check(routes: &[&str], questions: &[(&str, &str)]) {
    let named = || routes.iter().enumerate().map(|(index, route)| (format!("f{index}"), route.to_string()));
    let table: Table = named().map(|(name, route)| (name, (route, 0))).collect();
    let names: BTreeMap<String, String> = named().map(|(name, route)| (route, name)).collect();
    let router = build(&table);
    for (request, wanted) in questions {
        let request = Request::new(request);
        let wanted = (!wanted.is_empty()).then(|| names[*wanted].clone());
        assert_eq!(ask(&router, &request), wanted, "{request:?}");
        assert_eq!(naive::find(&table, &request), wanted, "the naive one, {request:?}");
    }
}

#[test]
fn paths_go_from_literal_to_any() {
    let [literal, mixed, int, name, rest, prefix, regexp, any] = [
        r#"Path("/a/v1")"#,
        r#"Path("/a/v<int:n>")"#,
        r#"Path("/a/<int:n>")"#,
        r#"Path("/a/<n>")"#,
        r#"Path("/a/<path:n>")"#,
        r#"PathPrefix("/a")"#,
        r#"PathRegexp("^/a")"#,
        r#"Host("h")"#,
    ];
    check(
        &[any, regexp, prefix, rest, name, int, mixed, literal],
        &[
            ("x/a/v1", literal),
            ("x/a/v2", mixed),
            ("x/a/7", int),
            ("x/a/b", name),
            // A path parameter and a prefix of the same length are equal: the id decides.
            ("x/a/b/c", prefix),
            ("x/a/", prefix),
            ("x/a", prefix),
            ("x/ab", regexp),
            ("x/b", ""),
            ("h/b", any),
            ("h/a/v1", any),
        ],
    );
}

#[test]
fn hosts_go_from_exact_to_any() {
    let [exact, wildcard, labels, regexp, any] = [
        r#"Host("a.example.com")"#,
        r#"Host("*.example.com")"#,
        r#"Host("<x>.<y>.com")"#,
        r#"HostRegexp("example")"#,
        r#"PathPrefix("/")"#,
    ];
    check(
        &[any, regexp, labels, wildcard, exact],
        &[
            ("a.example.com/", exact),
            ("b.example.com/", wildcard),
            ("example.com/", regexp),
            ("a.b.example.com/", regexp),
            (".example.com/", regexp),
            ("www.other.com/", labels),
            ("www.other.org/", any),
            ("/", any),
        ],
    );
}

#[test]
fn slashes_and_segments_count() {
    let [plain, slash, prefix, id_, rest, root] = [
        r#"Path("/a")"#,
        r#"Path("/a/")"#,
        r#"PathPrefix("/p/")"#,
        r#"Path("/u/<id>")"#,
        r#"Path("/r/<path:rest>")"#,
        r#"Path("/")"#,
    ];
    check(
        &[plain, slash, prefix, id_, rest, root],
        &[
            ("x/a", plain),
            ("x/a/", slash),
            ("x/a//", ""),
            ("x/A", ""),
            ("x/p", prefix),
            ("x/p/", prefix),
            ("x/p/q", prefix),
            ("x/pq", ""),
            ("x/u/1", id_),
            ("x/u/", ""),
            ("x/u/1/", ""),
            ("x/r", ""),
            ("x/r/", rest),
            ("x/r/a/b", rest),
            ("x/", root),
        ],
    );
}

#[test]
fn a_search_returns_from_a_dead_end() {
    let [deep, wide, last] =
        [r#"Path("/a/<x>/c")"#, r#"Path("/<y>/b/<z>")"#, r#"Host("h") && Path("/a/b/d") && Method("PUT")"#];
    check(
        &[deep, wide, last],
        &[
            ("h/a/b/c", deep),
            ("h/a/b/d", wide),
            ("PUT h/a/b/d", last),
            ("PUT g/a/b/d", wide),
            ("h/a/b/d/e", ""),
        ],
    );
}

#[test]
fn more_predicates_win_then_the_id() {
    let [two, one, none] = [
        r#"Path("/a") && Method("GET") && !Header("X-A", "1")"#,
        r#"Path("/a") && Method("GET")"#,
        r#"Path("/a")"#,
    ];
    let routes = [none, one, two];
    check(&routes, &[("x/a", two), ("POST x/a", none)]);
    let mut router = Router::new();
    for (name, route) in [("b", one), ("a", one), ("c", none)] {
        insert(&mut router, name, route, 0);
    }
    assert_eq!(ask(&router, &Request::new("x/a")).as_deref(), Some("a"));
}

#[test]
fn priority_goes_before_everything() {
    let table: Table = [
        ("exact", r#"Host("a.b") && Path("/x")"#, 0),
        ("tree", r#"Host("a.b") && Path("/<x>")"#, 1),
        ("catch", r#"PathRegexp("/.*")"#, 2),
        ("low", r#"Host("a.b")"#, -1),
        ("get", r#"Host("*.b") && Path("/g")"#, 3),
    ]
    .into_iter()
    .map(|(name, route, priority)| (name.to_owned(), (route.to_owned(), priority)))
    .collect();
    let mut router = build(&table);
    for (request, wanted) in [("a.b/x", "catch"), ("a.b/g", "get"), ("c/x", "catch")] {
        assert_eq!(ask(&router, &Request::new(request)).as_deref(), Some(wanted), "{request}");
    }
    remove(&mut router, "catch", r#"PathRegexp("/.*")"#, 2);
    for (request, wanted) in [("a.b/x", Some("tree")), ("a.b/x/y", Some("low")), ("c/x", None)] {
        assert_eq!(ask(&router, &Request::new(request)).as_deref(), wanted, "{request}");
    }
}

#[test]
fn parameters_are_handed_out() {
    let mut router = Router::new();
    let route = r#"Host("<tenant>.example.com") && Path("/v<int:major>/<kind>/<path:rest>")"#;
    insert(&mut router, "a", route, 0);
    insert(&mut router, "b", r#"Host("<tenant>.example.com") && Path("/v<int:major>/<kind>/")"#, 0);
    insert(&mut router, "c", r#"PathPrefix("/p/<x>") && Method("PUT")"#, 5);
    insert(&mut router, "d", r#"Path("/p/<y>/<z>")"#, 0);
    let mut params = Params::new();
    let mut check = |host: &str, path: &str, found: &str, wanted: &[(&str, Option<&str>)]| {
        let query = Query { host, path, method: "GET", client: None, lookup: &NoLookup };
        assert_eq!(router.find(&query, &mut params).map(String::as_str), Some(found));
        for (name, value) in wanted {
            assert_eq!(params.get(name, host, path), *value, "{name} of {path}");
        }
        let mut count = 0;
        params.each(host, path, &mut |_, _| count += 1);
        assert_eq!(count, wanted.iter().filter(|(_, value)| value.is_some()).count());
    };
    let tenant = ("tenant", Some("acme"));
    check(
        "acme.example.com",
        "/v12/items/a/b",
        "a",
        &[tenant, ("major", Some("12")), ("kind", Some("items")), ("rest", Some("a/b")), ("other", None)],
    );
    check(
        "acme.example.com",
        "/v1/i/",
        "b",
        &[tenant, ("major", Some("1")), ("kind", Some("i")), ("rest", None)],
    );
    check("h", "/p/1/2", "d", &[("y", Some("1")), ("z", Some("2")), ("x", None)]);
}

#[test]
fn fields_cookies_and_clients_are_asked() {
    let mut router = Router::new();
    insert(&mut router, "header", r#"Header("X-Tenant", "a")"#, 0);
    insert(&mut router, "match", r#"HeaderRegexp("Accept", "json$")"#, 0);
    insert(&mut router, "query", r#"Query("v", "2")"#, 0);
    insert(&mut router, "cookie", r#"Cookie("beta", "1")"#, 0);
    insert(&mut router, "inside", r#"ClientIP("10.0.0.0/8") || ClientIP("2001:db8::1")"#, 0);
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let base = Request::new("x/");
    let client = |text: &str| Request { client: Some(text.parse().unwrap()), ..base.clone() };
    let table = [
        (Request { headers: pair("x-tenant", "a"), ..base.clone() }, Some("header")),
        (Request { headers: pair("x-tenant", "a, b"), ..base.clone() }, None),
        (Request { headers: pair("ACCEPT", "application/json"), ..base.clone() }, Some("match")),
        (Request { query: pair("v", "2"), ..base.clone() }, Some("query")),
        (Request { cookies: pair("beta", "1"), ..base.clone() }, Some("cookie")),
        (client("10.1.2.3"), Some("inside")),
        (client("::ffff:10.1.2.3"), Some("inside")),
        (client("2001:db8::1"), Some("inside")),
        (client("11.0.0.1"), None),
        (base.clone(), None),
    ];
    for (request, wanted) in table {
        assert_eq!(ask(&router, &request).as_deref(), wanted, "{request:?}");
    }
}

#[test]
fn a_candidate_says_why_not() {
    let mut router = Router::new();
    insert(&mut router, "a", r#"Host("h") && Path("/x") && Method("PUT") && !Header("A", "b")"#, 0);
    insert(&mut router, "b", r#"Host("h") && PathPrefix("/")"#, 0);
    insert(&mut router, "c", r#"PathRegexp("^/y")"#, 9);
    insert(&mut router, "d", r#"Host("other")"#, 0);
    insert(&mut router, "e", r#"PathPrefix("/")"#, 0);
    let request = Request::new("h/x");
    let said: Vec<_> = router
        .explain(&request.query())
        .into_iter()
        .map(|candidate| (candidate.value.clone(), candidate.outcome))
        .collect();
    let unmet = |text: &str| Outcome::Unmet(text.into());
    let wanted = [
        ("c", unmet(r#"PathRegexp("^/y")"#)),
        ("a", unmet(r#"Method("PUT")"#)),
        ("b", Outcome::Chosen),
        ("e", Outcome::Behind),
    ];
    assert_eq!(said, wanted.map(|(name, outcome)| (name.to_owned(), outcome)));
    let names = |host| router.ranked(host).iter().map(|ranked| ranked.value.as_str()).collect::<String>();
    assert_eq!(names(None), "cabde");
    assert_eq!(names(Some("h")), "cabe");
    assert_eq!(names(Some("other")), "cde");
}

#[test]
fn the_same_insert_again_changes_the_value() {
    for route in
        [r#"Host("h") && Path("/a")"#, r#"Path("/<a>")"#, r#"Host("h")"#, r#"Path("/a") || Method("GET")"#]
    {
        let route = Route::parse(route).unwrap();
        let mut router = Router::new();
        router.insert(&id("f"), &route, 0, 1);
        let old = router.clone();
        router.insert(&id("f"), &route, 0, 2);
        assert_eq!(router.len(), route.alternatives().len());
        let request = Request::new("h/a");
        assert_eq!(router.find(&request.query(), &mut Params::new()), Some(&2));
        assert_eq!(old.find(&request.query(), &mut Params::new()), Some(&1));
        router.remove(&id("other"), &route, 0);
        router.remove(&id("f"), &route, 1);
        assert_eq!(router.len(), route.alternatives().len());
        router.remove(&id("f"), &route, 0);
        assert!(router.is_empty());
        assert_eq!(router.find(&request.query(), &mut Params::new()), None);
    }
}

#[test]
fn thousands_with_one_host_and_path() {
    let mut router = Router::new();
    let route = |n: usize| format!(r#"Host("h") && Path("/<x>") && Header("Tenant", "{n}")"#);
    (0..1000).for_each(|n| insert(&mut router, &format!("f{n}"), &route(n), 0));
    let full = router.clone();
    (0..1000).filter(|n| n % 3 != 0).for_each(|n| remove(&mut router, &format!("f{n}"), &route(n), 0));
    for n in 0..1000 {
        let request = Request { headers: vec![("Tenant".into(), n.to_string())], ..Request::new("h/a") };
        let name = format!("f{n}");
        assert_eq!(full.find(&request.query(), &mut Params::new()), Some(&name));
        let wanted = (n % 3 == 0).then_some(&name);
        assert_eq!(router.find(&request.query(), &mut Params::new()), wanted);
    }
}

fn segment() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "a",
        "b",
        "v1",
        "7",
        "",
        "<int:N>",
        "<N>",
        "v<int:N>",
        "<N>-<int:M>",
        "a<N>",
    ])
}

/// Gives each parameter its own name.
fn name_parameters(text: String) -> String {
    let mut count = 0;
    let mut out = String::new();
    for c in text.chars() {
        match c {
            'N' | 'M' => {
                count += 1;
                out.push_str(&format!("p{count}"));
            }
            c => out.push(c),
        }
    }
    out
}

fn path_pattern() -> impl Strategy<Value = String> {
    let tail = proptest::sample::select(vec!["", "", "/<path:N>"]);
    (proptest::collection::vec(segment(), 1..4), tail)
        .prop_map(|(segments, tail)| name_parameters(format!("/{}{tail}", segments.join("/"))))
}

fn matcher() -> impl Strategy<Value = String> {
    let host = ["a.b.c", "x.b.c", "*.b.c", "<h>.b.c", "a.<h>.c", "v<int:h>.b.c", "b.c", "a"];
    prop_oneof![
        3 => proptest::sample::select(host.to_vec()).prop_map(|host| format!("Host(\"{host}\")")),
        1 => proptest::sample::select(vec!["^a", "b", ".*"]).prop_map(|p| format!("HostRegexp(\"{p}\")")),
        4 => path_pattern().prop_map(|path| format!("Path(\"{path}\")")),
        2 => path_pattern().prop_filter("a prefix has no tail", |path| !path.contains("<path:"))
            .prop_map(|path| format!("PathPrefix(\"{path}\")")),
        1 => proptest::sample::select(vec!["/.*", "^/a", "7$"]).prop_map(|p| format!("PathRegexp(\"{p}\")")),
        2 => proptest::sample::select(vec!["GET", "PUT"]).prop_map(|m| format!("Method(\"{m}\")")),
        1 => Just("Header(\"T\", \"1\")".to_owned()),
        1 => Just("Cookie(\"C\", \"1\")".to_owned()),
        1 => Just("ClientIP(\"10.0.0.0/8\")".to_owned()),
    ]
}

fn conjunction() -> impl Strategy<Value = String> {
    let term = (matcher(), proptest::bool::weighted(0.12))
        .prop_map(|(matcher, negated)| if negated { format!("!{matcher}") } else { matcher });
    proptest::collection::vec(term, 1..4).prop_map(|terms| terms.join(" && "))
}

/// Routes that often match the same request.
fn crowded() -> impl Strategy<Value = String> {
    let hosts = ["", "Host(\"a.b.c\") && ", "Host(\"*.b.c\") && "];
    let segments = ["a", "7", "v7", "<int:N>", "<N>", "v<int:N>", "<N>7"];
    let path = proptest::collection::vec(proptest::sample::select(segments.to_vec()), 1..4);
    let kind = proptest::sample::select(vec!["Path", "Path", "PathPrefix", "Rest"]);
    let method = proptest::sample::select(vec!["", "", " && Method(\"GET\")", " && Method(\"PUT\")"]);
    (proptest::sample::select(hosts.to_vec()), path, kind, method).prop_map(|(host, path, kind, method)| {
        let path = path.join("/");
        let call = match kind {
            "Rest" => format!("Path(\"/{path}/<path:N>\")"),
            kind => format!("{kind}(\"/{path}\")"),
        };
        format!("{host}{}{method}", name_parameters(call))
    })
}

fn expression() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => crowded(),
        6 => conjunction(),
        1 => (conjunction(), conjunction()).prop_map(|(a, b)| format!("{a} || {b}")),
        1 => (conjunction(), conjunction()).prop_map(|(a, b)| format!("!({a}) && ({b})")),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let hosts =
        proptest::sample::select(vec!["a.b.c", "a.b.c", "x.b.c", "v7.b.c", "a.x.c", "b.c", "a", "", "q.w"]);
    let segments = proptest::sample::select(vec![
        "a", "a", "7", "7", "v7", "v7", "b", "v1", "", "zz", "a-7", "ab", "x-y-7",
    ]);
    let path = proptest::collection::vec(segments, 1..5);
    let method = proptest::sample::select(vec!["GET", "PUT"]);
    (hosts, path, method, any::<bool>(), any::<bool>()).prop_map(|(host, path, method, field, inside)| {
        let pair = |name: &str| field.then(|| (name.to_owned(), "1".to_owned())).into_iter().collect();
        Request {
            host: host.into(),
            path: format!("/{}", path.join("/")),
            method: method.into(),
            client: inside.then(|| "10.0.0.1".parse().unwrap()),
            headers: pair("T"),
            query: Vec::new(),
            cookies: pair("C"),
        }
    })
}

fn priority() -> impl Strategy<Value = i64> {
    prop_oneof![12 => Just(0i64), 1 => Just(3), 1 => Just(-2)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_the_naive_one_after_every_edit(
        routes in proptest::collection::vec((expression(), priority()), 1..60),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), expression(), priority()), 0..12),
        requests in proptest::collection::vec(request(), 1..24),
    ) {
        let mut table: Table = routes
            .into_iter()
            .enumerate()
            .map(|(index, route)| (format!("f{index}"), route))
            .collect();
        let mut router = build(&table);
        let mut before: Vec<(Router<String>, Vec<Option<String>>)> = Vec::new();
        let answers = |router: &Router<String>| requests.iter().map(|r| ask(router, r)).collect::<Vec<_>>();
        let wanted = |table: &Table| requests.iter().map(|r| naive::find(table, r)).collect::<Vec<_>>();
        prop_assert_eq!(answers(&router), wanted(&table), "{:#?} {:#?}", table, requests);
        for (index, (at, route, priority)) in edits.into_iter().enumerate() {
            before.push((router.clone(), answers(&router)));
            if !table.is_empty() && index % 3 != 2 {
                let name = table.keys().nth(at.index(table.len())).unwrap().clone();
                let (old, old_priority) = table.remove(&name).unwrap();
                remove(&mut router, &name, &old, old_priority);
            }
            if index % 3 != 1 {
                let name = format!("e{index}");
                insert(&mut router, &name, &route, priority);
                table.insert(name, (route, priority));
            }
            prop_assert_eq!(answers(&router), wanted(&table), "{:#?} {:#?}", table, requests);
            let entries: usize =
                table.values().map(|(route, _)| Route::parse(route).unwrap().alternatives().len()).sum();
            prop_assert_eq!(router.len(), entries);
            let ranked = router.ranked(None);
            prop_assert_eq!(ranked.len(), entries);
            prop_assert!(ranked.windows(2).all(|pair| pair[0].rank < pair[1].rank));
        }
        for (old, answered) in before {
            prop_assert_eq!(answers(&old), answered);
        }
        for (name, (route, priority)) in &table {
            remove(&mut router, name, route, *priority);
        }
        prop_assert!(router.is_empty() && answers(&router).iter().all(Option::is_none));
    }

    #[test]
    fn a_sharded_map_is_a_map(
        steps in proptest::collection::vec((any::<bool>(), 0u32..400), 0..900),
        copy_at in 0usize..900,
    ) {
        let mut map = ShardedMap::new();
        let mut model = std::collections::HashMap::new();
        let mut copy = None;
        for (index, (insert, key)) in steps.into_iter().enumerate() {
            if index == copy_at {
                copy = Some((map.clone(), model.clone()));
            }
            match insert {
                true => prop_assert_eq!(map.insert(key, index), model.insert(key, index)),
                false => prop_assert_eq!(map.remove(&key), model.remove(&key)),
            }
            prop_assert_eq!(map.len(), model.len());
        }
        for (map, model) in copy.into_iter().chain([(map, model)]) {
            prop_assert!((0..400).all(|key| map.get(&key) == model.get(&key)));
            let listed: std::collections::HashMap<_, _> = map.iter().map(|(k, v)| (*k, *v)).collect();
            prop_assert_eq!(listed, model);
        }
    }
}
