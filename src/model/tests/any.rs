//! Whatever a store holds is judged; nothing panics.

use super::*;
use proptest::prelude::*;

const KEYS: [&str; 7] = [
    "listeners/l",
    "hosts/h/host",
    "frontends/f/frontend",
    "frontends/f/middlewares/m",
    "middlewares/m",
    "backends/b/backend",
    "backends/b/servers/s",
];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => any::<prop::sample::Index>().prop_map(|index| index.get(edit::NAMES).to_string()),
        1 => any::<prop::sample::Index>().prop_map(|index| index.get(edit::NAMES).to_lowercase()),
        1 => any::<String>(),
    ]
}

fn text() -> impl Strategy<Value = String> {
    const TEXTS: [&str; 26] = [
        "http",
        "https",
        "alias",
        "rewrite",
        "redirect",
        "headers",
        "b",
        "Host(\"a\")",
        "http://a:80",
        "5s",
        ":80",
        "/a/<b>",
        "$1",
        "unix",
        "secretbox.v1",
        "VersionTLS12",
        "ratelimit",
        "connlimit",
        "cbreaker",
        "basicauth",
        "ipfilter",
        "respond",
        "client.ip",
        "NetworkErrorRatio() > 0.5",
        "response",
        "webhook",
    ];
    prop_oneof![
        4 => prop::sample::select(&TEXTS[..]).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[a-z:/.@\\[\\]<>${}0-9%\\\\-]{0,24}",
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => (-2..1000i64).prop_map(Value::from),
        6 => text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            4 => prop::collection::vec((name(), inner), 0..12)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_judged(value in json()) {
        for key in KEYS {
            let key = ObjectKey::parse(key).unwrap();
            for strictness in [Strictness::Stored, Strictness::Written] {
                let parsed = Object::parse_value(&key, &value, strictness);
                let has_errors = parsed.findings.iter().any(|finding| finding.severity == Severity::Error);
                prop_assert_eq!(parsed.object.is_none(), has_errors);
                if let Some(object) = parsed.object {
                    let again = Object::parse_value(&key, &object.to_value(), Strictness::Written);
                    prop_assert_eq!(again.object, Some(object), "{:?}", again.findings);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_judged(value in prop::collection::vec(any::<u8>(), 0..200)) {
        for key in KEYS {
            let parsed = Object::parse(&ObjectKey::parse(key).unwrap(), &value, Strictness::Stored);
            prop_assert!(parsed.object.is_some() || !parsed.findings.is_empty());
        }
    }

    #[test]
    fn any_text_is_a_key_or_not(key in "[a-z/*.]{0,12}|(frontends|backends|hosts|middlewares)(/[^/]{0,3}){0,4}") {
        if let Some(parsed) = ObjectKey::parse(&key) {
            prop_assert_eq!(ObjectKey::parse(&parsed.canonical()), Some(parsed));
        }
    }

    #[test]
    fn any_edit_is_made_or_refused(mut value in json(), other in json(), path in "[a-zA-Z0-9.]{0,12}") {
        edit::merge(&value, &other);
        let _ = edit::set_path(&mut value, &path, other);
    }

    #[test]
    fn any_duration_comes_back(nanoseconds in 0..duration::NANOSECONDS_MAX, text in "[-+]?[0-9.hmsuµn]{0,20}") {
        let given = std::time::Duration::from_nanos(nanoseconds);
        prop_assert_eq!(duration::parse(&duration::format(given)), Ok(given));
        let _ = duration::parse(&text);
    }
}
