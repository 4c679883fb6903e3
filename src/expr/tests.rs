use super::lexer::{TokenKind, tokens};
use super::*;

#[test]
fn tokens_of_every_kind() {
    let kinds = |text: &str| -> Vec<TokenKind> {
        tokens(text)
            .unwrap()
            .into_iter()
            .map(|token| token.kind)
            .filter(|kind| *kind != TokenKind::End)
            .collect()
    };
    use TokenKind::*;
    assert_eq!(
        kinds("&& || ! == != < <= > >= ( ) ,"),
        [And, Or, Not, Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual, Open, Close, Comma]
    );
    assert_eq!(
        kinds("a_1 12 1.5 2e3 7."),
        [Name("a_1".into()), Int(12), Float(1.5), Float(2000.0), Float(7.0)]
    );
    for (source, value) in [
        (r#""a\"b\\c\n\t""#, "a\"b\\c\n\t"),
        (r#""\x41\101\u00e9\U0001F600""#, "AA\u{e9}\u{1f600}"),
        (r#""\xc3\xa9 é""#, "é é"),
        (r"`a\d\n`", r"a\d\n"),
        ("`a\r\nb`", "a\nb"),
    ] {
        assert_eq!(kinds(source), [Text(value.into())], "{source}");
    }
}

#[test]
fn errors_say_what_where_and_what_would_be_right() {
    for (text, wanted) in [
        ("", "column 1: a matcher is missing before the end; for example Host(\"www.example.com\")"),
        (r#"Hots("a")"#, "column 1: unknown matcher `Hots`; did you mean `Host`?"),
        (r#"Host("é") && path("/")"#, "column 6: 'é' is not ASCII; write the host's xn-- form"),
        (r#"Host(`a`) && path("/")"#, "column 14: unknown matcher `path`; did you mean `Path`?"),
        (r#"Header("é", "b")"#, "column 8: \"é\" is not a field name"),
        (r#"Host("a") & Path("/")"#, "column 11: a single `&`; write `&&`"),
        (r#"Host("a") Path("/")"#, "column 11: unexpected `Path`; matchers are joined by `&&` or `||`"),
        (r#"(Host("a")"#, "column 11: `)` is missing before the end: `(` at column 1 is open"),
        (r#"Host("a"))"#, "column 10: `)` without `(`"),
        (r#"Host "a""#, "column 6: `(` is missing behind `Host`; write Host(\"...\")"),
        (r#"Host(a)"#, "column 6: `Host` takes strings, not `a`; strings stand in \"...\" or back quotes"),
        (r#"Host()"#, "column 1: `Host` takes 1 string, not 0; write Host(\"...\")"),
        (r#"Header("a")"#, "column 1: `Header` takes 2 strings, not 1; write Header(\"name\", \"value\")"),
        (r#"Host("a" "b")"#, "column 10: expected `,` or `)`, found a string"),
        (r#"Host("a)"#, "column 6: this string does not end; close it with `\"`"),
        (r"Host(`a)", "column 6: this string does not end; close it with a back quote"),
        (
            r#"PathRegexp("/\d+")"#,
            "column 14: unknown escape `\\d`; double the backslash, or use back quotes, where backslashes are plain",
        ),
        (
            r#"Host("\xff")"#,
            "column 6: the escapes of this string do not make UTF-8; write characters beyond ASCII as they are, or as \\u and four hexadecimal digits",
        ),
        (r#"Path("a")"#, "column 6: a path begins with `/`: \"/a\""),
        (
            r#"Path("/a?b=1")"#,
            "column 6: a path ends before `?` and `#`; use Query(\"name\", \"value\") for the query",
        ),
        (r#"Path("/a b")"#, "column 6: a path as it is sent cannot contain ' '; write it percent-encoded"),
        (
            r#"Path("/<path:p>/a")"#,
            "column 6: `<path:...>` takes the rest of the path, so it must be the whole last segment",
        ),
        (
            r#"Header("A", "<imt:b>")"#,
            "column 13: `imt` is no kind of parameter; there are <name>, <int:name> and <path:name>",
        ),
        (
            r#"PathPrefix("/<path:p>")"#,
            "column 12: a prefix already takes the rest of the path: leave `<path:...>` out",
        ),
        (
            r#"Path("/<imt:p>")"#,
            "column 6: unknown kind of parameter `imt` (did you mean `int`?); there are `string`, `int` and `path`",
        ),
        (r#"Path("/<a>/<a>")"#, "column 6: two parameters are called `a`"),
        (r#"Path("/<a><b>")"#, "column 6: `<b>` follows another parameter with nothing between them"),
        (
            r#"Path("/<a")"#,
            "column 6: `<` without `>`: a parameter is `<name>`, `<int:name>` or `<path:name>`",
        ),
        (r#"Path("/<>")"#, "column 6: `<>`: a parameter's name is made of letters, digits, `_`, `-` and `.`"),
        (r#"Host("a.b:80")"#, "column 6: a host is matched without its port"),
        (r#"Host("a.*.b")"#, "column 6: `*` stands for the first label only, as in \"*.example.com\""),
        (r#"Host("a..b")"#, "column 6: a label of this host is empty"),
        (
            r#"Host("<path:a>.b")"#,
            "column 6: `<path:...>` belongs to paths; in a host write `<name>` for one label",
        ),
        (
            r#"ClientIP("10.0.0.0/33")"#,
            "column 10: \"10.0.0.0/33\" is neither an address nor a network; for example \"192.0.2.7\", \"192.0.2.0/24\" or \"2001:db8::/32\"",
        ),
        (r#"PathRegexp("(")"#, "column 12: not a regular expression: unclosed group"),
        (
            r#"PathRegexp("a{1000}{1000}")"#,
            "column 12: not a regular expression: it would take more than 1048576 bytes",
        ),
    ] {
        let error = Route::parse(text).expect_err(text);
        assert_eq!(error.to_string(), wanted, "{text}");
    }
}

#[test]
fn limits_hold() {
    let nested = |depth: usize| format!("{}Host(\"a\"){}", "(".repeat(depth), ")".repeat(depth));
    assert!(Route::parse(&nested(NESTING_MAX - 1)).is_ok());
    assert_eq!(
        Route::parse(&nested(NESTING_MAX)).unwrap_err().to_string(),
        "column 65: nested deeper than 64"
    );
    let many = |count: usize| (0..count).map(|n| format!("Host(\"h{n}\")")).collect::<Vec<_>>().join(" || ");
    assert_eq!(Route::parse(&many(ALTERNATIVES_MAX)).unwrap().alternatives().len(), ALTERNATIVES_MAX);
    let error = Route::parse(&many(65)).unwrap_err();
    assert!(error.problem.contains("65 alternatives") && error.problem.contains("at most 64"), "{error}");
    let product = format!("({}) && ({})", many(9), many(9).replace("Host(\"h", "Path(\"/p"));
    assert!(Route::parse(&product).unwrap_err().problem.contains("81 alternatives"));
    let doubling = vec!["(Method(\"A\") || Method(\"B\"))"; 300].join(" && ");
    assert_eq!(Route::parse(&doubling).unwrap().alternatives().len(), 3);
    let long = format!("Path(\"/{}\")", "a".repeat(TEXT_BYTES_MAX));
    assert!(Route::parse(&long).unwrap_err().problem.contains("bytes long"));
    assert!(
        Route::parse(&format!("Path(\"{}\")", "/a".repeat(64))).unwrap_err().problem.contains("segments")
    );
    assert!(Pattern::new(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
}

#[test]
fn equal_routes_have_one_normalised_form() {
    for (text, wanted) in [
        (r#"Host("A.Example.com.")&&Path(`/x`)"#, r#"Host("a.example.com") && Path("/x")"#),
        (r#"Path("/<string:id>") && Host("a")"#, r#"Host("a") && Path("/<id>")"#),
        (r#"Path("/b") || Path("/a") || Path("/b")"#, r#"Path("/a") || Path("/b")"#),
        (r#"Method("GET") && Method("GET")"#, r#"Method("GET")"#),
        (
            r#"Host("a") && (Path("/x") || Path("/y"))"#,
            r#"Host("a") && Path("/x") || Host("a") && Path("/y")"#,
        ),
        (r#"!(Host("a") && Path("/x"))"#, r#"!Host("a") || !Path("/x")"#),
        (r#"!(Host("a") || !Path("/x"))"#, r#"Path("/x") && !Host("a")"#),
        (r#"!!Host("a")"#, r#"Host("a")"#),
        (r#"Header("A", "x/<b>;<int:c>")"#, r#"HeaderRegexp("a", "(?s)^x/[^/]*;[0-9]+$")"#),
        (r#"Header("A", "<>.<path:b>")"#, r#"HeaderRegexp("a", "(?s)^<>\\..*$")"#),
        (r#"Header("A", "a<b")"#, r#"Header("a", "a<b")"#),
        (r#"Path("/a<path:b>")"#, r#"PathRegexp("(?s)^/a.*$")"#),
        (r#"PathPrefix("/a/") && Host("*.b")"#, r#"Host("*.b") && PathPrefix("/a")"#),
        (r#"PathPrefix("/")"#, r#"PathPrefix("/")"#),
        (r#"Host("[2001:DB8::1]")"#, r#"Host("2001:db8::1")"#),
        (r#"Header("X-A", "\"q\"")"#, r#"Header("x-a", "\"q\"")"#),
        (r"PathRegexp(`^/\d`)", r#"PathRegexp("^/\\d")"#),
        (r#"ClientIP("10.1.2.3/8")"#, r#"ClientIP("10.0.0.0/8")"#),
        (r#"ClientIP("10.1.2.3/32")"#, r#"ClientIP("10.1.2.3")"#),
        (r#"Host("<Tenant>.Example.com")"#, r#"Host("<Tenant>.example.com")"#),
        (r#"Host("*.b") && Host("a.b")"#, r#"Host("a.b") && Host("*.b")"#),
    ] {
        let route = Route::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(route.normalised(), wanted, "{text}");
        let again = Route::parse(wanted).unwrap();
        assert_eq!(again.normalised(), wanted, "{text}");
        assert_eq!(route, again);
        assert_eq!(route.text(), text);
        assert_eq!(route.alternatives(), again.alternatives());
    }
}

#[test]
fn patterns_match_as_in_go() {
    for (pattern, text, wanted) in [
        ("/.*", "/a", true),
        ("/.*", "a", false),
        (".*", "", true),
        ("", "a", true),
        ("^/api", "/api/x", true),
        ("^/api", "/v1/api", false),
        ("^/api/.*", "/api", false),
        ("^/api/.*", "/api/", true),
        ("api", "/v1/api/x", true),
        (".*api", "/v1/api", true),
        ("^.*$", "a", true),
        (r"^/(v\d+)/", "/v12/x", true),
        (r"^/(v\d+)/", "/w12/x", false),
        ("(?i)GET", "get", true),
        ("a|b", "b", true),
        ("a.*b", "axb", true),
        ("a.*b", "a.*", false),
    ] {
        assert_eq!(Pattern::new(pattern).unwrap().is_match(text), wanted, "{pattern} on {text}");
    }
}

#[test]
fn captures_are_numbered_and_named() {
    let pattern = Pattern::new("/(?P<kind>[a-z]+)/([0-9]+)").unwrap();
    let captures = pattern.captures("/x/items/42").unwrap();
    assert_eq!(
        (captures.get(0), captures.get(1), captures.get(2)),
        (Some("/items/42"), Some("items"), Some("42"))
    );
    assert_eq!((captures.name("kind"), captures.name("other"), captures.get(3)), (Some("items"), None, None));
    assert_eq!((captures.range(), pattern.group_count(), pattern.has_group("kind")), (2..11, 3, true));
    assert!(pattern.captures_from("/items/42", 1).is_none());
    let quick = Pattern::new("^/old/.*").unwrap();
    assert_eq!(quick.captures("/old/a").and_then(|captures| captures.get(0)), Some("/old/a"));
    assert_eq!(quick, Pattern::new("^/old/.*").unwrap());
}
