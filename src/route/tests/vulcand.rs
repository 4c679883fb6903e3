//! Vulcand's order against its algorithm, step by step as its router does it.

use super::*;
use crate::model::RouteOrder;

/// The trie of one expression, or of several that were merged: each node with the step that leads to it.
#[derive(Debug, Clone, Default)]
struct Node {
    step: String,
    children: Vec<Node>,
    ends: Vec<String>,
}

/// One after the other: what a trie takes, and one that takes nothing but itself.
#[derive(Debug)]
enum Tried {
    Trie(Node, Vec<String>),
    Alone(String),
}

/// The calls of an expression such as `Host("a") && Path("/b")`, as name and arguments.
fn calls(expression: &str) -> Vec<(String, Vec<String>)> {
    let call = |text: &str| {
        let (name, rest) = text.split_once('(').unwrap();
        let arguments = rest.strip_suffix(')').unwrap().split(", ");
        (name.to_owned(), arguments.map(|argument| argument.trim_matches('"').to_owned()).collect())
    };
    expression.split(" && ").map(call).collect()
}

/// One character or one parameter each.
fn steps(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = if first == '<' { rest.find('>').unwrap() + 1 } else { first.len_utf8() };
        found.push(rest[..end].to_owned());
        rest = &rest[end..];
    }
    found
}

/// One expression by itself.
fn trie(name: &str, steps: &[String]) -> Node {
    fn build(step: String, rest: &[String], name: &str) -> Node {
        match rest.split_first() {
            Some((next, rest)) => {
                Node { step, children: vec![build(next.clone(), rest, name)], ends: Vec::new() }
            }
            None => Node { step, children: Vec::new(), ends: vec![name.to_owned()] },
        }
    }
    build(String::new(), steps, name)
}

fn merge(one: &Node, other: &Node) -> Node {
    let mut children = Vec::new();
    let met = |node: &Node, others: &[Node]| others.iter().any(|other| other.step == node.step);
    for child in &one.children {
        children.extend(other.children.iter().filter(|o| o.step == child.step).map(|o| merge(child, o)));
    }
    children.extend(one.children.iter().filter(|child| !met(child, &other.children)).cloned());
    children.extend(other.children.iter().filter(|child| !met(child, &one.children)).cloned());
    Node { step: one.step.clone(), children, ends: [one.ends.clone(), other.ends.clone()].concat() }
}

/// Vulcand's `equivalent`, with what it does not compare.
fn common(left: &[String], right: &[String]) -> Option<Vec<String>> {
    if left.len() == 1 || right.len() == 1 {
        return (left == right).then(|| left.to_vec());
    }
    let (longer, shorter) = if left.len() > right.len() { (left, right) } else { (right, left) };
    for (index, part) in longer.iter().enumerate() {
        if index >= shorter.len() - 1 {
            return Some(longer.to_vec());
        }
        if *part != shorter[index] {
            return None;
        }
    }
    Some(longer.to_vec())
}

fn compile(table: &BTreeMap<String, String>) -> Vec<Tried> {
    let mut sorted: Vec<(&String, &String)> = table.iter().map(|(name, route)| (route, name)).collect();
    sorted.sort_by(|a, b| b.0.cmp(a.0).then(a.1.cmp(b.1)));
    let mut tried: Vec<Tried> = Vec::new();
    for (route, name) in sorted {
        let calls = calls(route);
        if calls.iter().any(|(matcher, _)| matcher.ends_with("Regexp")) {
            tried.push(Tried::Alone(name.clone()));
            continue;
        }
        let parts: Vec<String> = calls
            .iter()
            .map(|(matcher, arguments)| match matcher.as_str() {
                "Header" => format!("Header {}", arguments[0]),
                matcher => matcher.to_owned(),
            })
            .collect();
        let texts: Vec<Vec<String>> =
            calls.iter().map(|(_, arguments)| steps(arguments.last().unwrap())).collect();
        let own = trie(name, &texts.join(&"next".to_owned()));
        match tried.last_mut() {
            Some(Tried::Trie(node, before)) if common(before, &parts).is_some() => {
                *before = common(before, &parts).unwrap();
                *node = merge(node, &own);
            }
            _ => tried.push(Tried::Trie(own, parts)),
        }
    }
    tried
}

/// Depth first; below a node its children before itself.
fn walk(node: &Node, order: &mut Vec<String>) {
    node.children.iter().for_each(|child| walk(child, order));
    order.extend(node.ends.iter().cloned());
}

fn order(table: &BTreeMap<String, String>) -> Vec<String> {
    let mut order = Vec::new();
    for tried in compile(table) {
        match tried {
            Tried::Trie(node, _) => walk(&node, &mut order),
            Tried::Alone(name) => order.push(name),
        }
    }
    order
}

fn router(table: &Table) -> Router<String> {
    let mut router = Router::with_order(RouteOrder::Vulcand);
    table.iter().for_each(|(name, (route, priority))| insert(&mut router, name, route, *priority));
    router.settle();
    router
}

/// Routes with the best first, as what real vulcand 0.9.2 does with the request before it.
#[test]
fn vulcands_choice() {
    let check = |request: &str, routes: &[&str]| {
        for turned in 0..routes.len() {
            // In whatever order they come.
            let mut given: Vec<&str> = routes.to_vec();
            given.rotate_left(turned);
            let table =
                given.iter().enumerate().map(|(i, r)| (format!("f{i}"), (r.to_string(), 0))).collect();
            let router = router(&table);
            let matching: Vec<String> = router
                .explain(&Request::new(request).query())
                .into_iter()
                .filter(|candidate| !matches!(candidate.outcome, Outcome::Unmet(_)))
                .map(|candidate| table[candidate.value].0.clone())
                .collect();
            assert_eq!(matching, routes, "{request}");
            assert_eq!(
                ask_loosely(&router, request).map(|name| table[&name].0.clone()),
                Some(routes[0].into())
            );
        }
    };
    // A regular expression for the path beats any host.
    check(
        "a/x",
        &[r#"PathRegexp("/.*")"#, r#"Path("/x")"#, r#"Method("GET")"#, r#"Host("a") && Path("/x")"#],
    );
    // The order within an expression counts.
    check("a/x", &[r#"Path("/x") && Host("a")"#, r#"Host("a") && Path("/x")"#]);
    // Letters beat parameters, digits lose.
    check("a/me", &[r#"Path("/me")"#, r#"Path("/<id>")"#]);
    check("a/42", &[r#"Path("/<id>")"#, r#"Path("/42")"#]);
    check("a/-", &[r#"Path("/<id>")"#, r#"Path("/-")"#]);
    check("a/x/y", &[r#"Path("/x/y")"#, r#"Path("/<id>/y")"#]);
    // Longer conjunctions first, in one trie.
    check(
        "a/x",
        &[r#"Host("a") && Path("/x") && Method("GET")"#, r#"Host("a") && Path("/x")"#, r#"Host("a")"#],
    );
    // What vulcand does not have stands behind, in our order.
    check("a/x", &[r#"Host("a") && Path("/<p>")"#, r#"Host("a") && PathPrefix("/x")"#, r#"PathPrefix("/")"#]);
}

fn ask_loosely(router: &Router<String>, request: &str) -> Option<String> {
    router.find(&Request::new(request).query(), &mut Params::new()).cloned()
}

#[test]
fn a_second_route_through_a_parameter_brings_it_to_the_front() {
    let routes = [r#"Path("/me")"#, r#"Path("/<id>")"#, r#"Path("/<id>/x")"#];
    let mut table: Table =
        routes.iter().enumerate().map(|(i, route)| (format!("f{i}"), (route.to_string(), 0))).collect();
    let mut router = router(&table);
    assert_eq!(ask_loosely(&router, "a/me").as_deref(), Some("f1"));
    let (route, priority) = table.remove("f2").unwrap();
    remove(&mut router, "f2", &route, priority);
    router.settle();
    assert_eq!(ask_loosely(&router, "a/me").as_deref(), Some("f0"));
    // A priority is ours, and goes first.
    insert(&mut router, "p", r#"Path("/<id>") && Method("GET")"#, 1);
    router.settle();
    assert_eq!(ask_loosely(&router, "a/me").as_deref(), Some("p"));
}

fn matcher_of_vulcand() -> impl Strategy<Value = String> {
    let text = |name: &str, choices: &[&str]| {
        let calls = choices.iter().map(|choice| format!("{name}(\"{choice}\")")).collect::<Vec<_>>();
        proptest::sample::select(calls)
    };
    prop_oneof![
        3 => text("Host", &["a.b.c", "a.b.c", "x.b.c", "<h>.b.c", "a.<h>.c", "a.<g>.c", "b.c"]),
        5 => text("Path", &["/a", "/7", "/a/7", "/<n>", "/<m>", "/<int:n>", "/<n>/7", "/<n>/a", "/a/<n>", "/v<int:n>",
            "/v7", "/a/<path:p>", "/<path:p>", "/-"]),
        2 => text("Method", &["GET", "PUT"]),
        1 => Just("Header(\"T\", \"1\")".to_owned()),
        1 => text("PathRegexp", &["/.*", "^/a"]),
        1 => text("HostRegexp", &["b", "^a"]),
    ]
}

fn route_of_vulcand() -> impl Strategy<Value = String> {
    proptest::collection::vec(matcher_of_vulcand(), 1..4).prop_map(|terms| terms.join(" && "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_vulcands_algorithm(
        routes in proptest::collection::vec(route_of_vulcand(), 1..40),
        others in proptest::collection::vec(expression(), 0..4),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), route_of_vulcand()), 0..6),
        requests in proptest::collection::vec(request(), 1..24),
    ) {
        let mut known: BTreeMap<String, String> =
            routes.into_iter().enumerate().map(|(index, route)| (format!("f{index}"), route)).collect();
        let extra: Table = others
            .into_iter()
            .enumerate()
            .map(|(index, route)| (format!("o{index}"), (route + " && PathPrefix(\"/\")", 0)))
            .collect();
        let mut table: Table = known.iter().map(|(name, route)| (name.clone(), (route.clone(), 0))).collect();
        table.extend(extra.clone());
        let mut router = router(&table);
        let mut edits = edits.into_iter().enumerate();
        loop {
            let order = order(&known);
            for request in &requests {
                let only = |name: &String| Table::from([(name.clone(), table[name].clone())]);
                let first = order.iter().find(|name| naive::find(&only(name), request).is_some()).cloned();
                let wanted = first.or_else(|| naive::find(&extra, request));
                let found = router.find(&request.query(), &mut Params::new()).cloned();
                prop_assert_eq!(found, wanted, "{:#?} {:#?} {:?}", known, request, order);
            }
            let Some((index, (at, route))) = edits.next() else { break };
            let name = known.keys().nth(at.index(known.len())).unwrap().clone();
            remove(&mut router, &name, &known.remove(&name).unwrap(), 0);
            table.remove(&name);
            let name = format!("e{index}");
            insert(&mut router, &name, &route, 0);
            table.insert(name.clone(), (route.clone(), 0));
            known.insert(name, route);
            router.settle();
        }
    }
}
