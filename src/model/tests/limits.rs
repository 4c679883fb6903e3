//! Middlewares that limit.

use super::*;

const KEY: &str = "frontends/f/middlewares/m";

fn with(kind: &str, spec: &str) -> String {
    format!(r#"{{"Type":"{kind}","Middleware":{spec}}}"#)
}

#[track_caller]
fn same(kind: &str, spec: &str) {
    check_same(KEY, &with(kind, spec));
}

#[track_caller]
fn read_as(kind: &str, spec: &str, written: &str, findings: &[&str]) {
    check(KEY, &with(kind, spec), Some(&with(kind, written)), findings);
}

#[track_caller]
fn bad(kind: &str, spec: &str, findings: &[&str]) {
    check(KEY, &with(kind, spec), None, findings);
}

#[test]
fn ratelimits() {
    let least = r#"{"Requests":10,"PeriodSeconds":1,"Variable":"client.ip"}"#;
    same("ratelimit", least);
    same(
        "ratelimit",
        r#"{"Requests":10,"PeriodSeconds":1,"Burst":20,"Variable":"request.header.X-Key","RateVar":"request.header.X-Rates"}"#,
    );
    // As vulcand writes it, with everything in it.
    read_as(
        "ratelimit",
        r#"{"PeriodSeconds":1,"Requests":10,"Burst":0,"Variable":"client.ip","RateVar":""}"#,
        least,
        &[],
    );
    read_as(
        "ratelimit",
        r#"{"requests":10,"periodseconds":1,"burst":10,"variable":"client.ip","ipv6prefix":128}"#,
        least,
        &[],
    );
    bad(
        "ratelimit",
        "{}",
        &[
            "Middleware.Requests: is missing: a whole number from 1 to 1000000000 is expected",
            "Middleware.PeriodSeconds: is missing",
            "Middleware.Variable: is missing",
        ],
    );
    bad(
        "ratelimit",
        r#"{"Requests":0,"PeriodSeconds":-1,"Burst":-1,"Variable":"client.ip"}"#,
        &["Requests: is 0; from 1 to", "PeriodSeconds: is -1", "Burst: is -1; from 0 to"],
    );
    bad(
        "ratelimit",
        r#"{"Requests":1,"PeriodSeconds":31536000,"Burst":101,"Variable":"client.ip"}"#,
        &["Burst: is 101, which takes more than 100 years to fill up again"],
    );
    bad(
        "ratelimit",
        r#"{"Requests":1,"PeriodSeconds":1,"Variable":"client.ip","RateVar":"client.ip"}"#,
        &["RateVar: is \"client.ip\"; `request.header.NAME` is expected"],
    );
}

#[test]
fn connlimits() {
    same("connlimit", r#"{"Connections":3,"Variable":"request.host"}"#);
    same("connlimit", r#"{"Connections":3,"Variable":"client.ip","IPv6Prefix":64}"#);
    // As vulcand takes it, though its own message says that it must be more.
    read_as(
        "connlimit",
        r#"{"Connections":0,"Variable":"client.ip"}"#,
        r#"{"Connections":0,"Variable":"client.ip"}"#,
        &["w Middleware.Connections: is 0, which lets no request pass"],
    );
    bad(
        "connlimit",
        r#"{"Variable":"client.ip"}"#,
        &["Connections: is missing: a whole number from 0 to 1000000000 is expected"],
    );
    bad("connlimit", r#"{"Connections":-1,"Variable":"client.ip"}"#, &["Connections: is -1; from 0 to"]);
}

#[test]
fn variables() {
    let spec = |variable: &str| format!(r#"{{"Connections":1,"Variable":"{variable}"}}"#);
    for good in
        ["client.ip", "request.host", "request.header.X-Key", "request.header.x", "request.cookie.sid"]
    {
        same("connlimit", &spec(good));
    }
    for (wrong, reason) in [
        ("client.Ip", "did you mean `client.ip`?"),
        ("request.hosts", "did you mean `request.host`?"),
        ("request.path", "`request.header.NAME` or `request.cookie.NAME` is expected"),
        ("request.header.", "a header field's name is expected behind `request.header.`"),
        ("request.header.a b", "a header field's name is expected"),
        ("request.header.Connection", "a header field's name is expected"),
        ("request.cookie.", "a cookie's name is expected behind `request.cookie.`"),
        ("request.cookie.a=b", "a cookie's name is expected"),
    ] {
        bad("connlimit", &spec(wrong), &[reason]);
    }
    bad(
        "connlimit",
        r#"{"Connections":1,"Variable":"request.host","IPv6Prefix":64}"#,
        &["IPv6Prefix: stands beside a variable without addresses; only `client.ip` has them"],
    );
    bad(
        "connlimit",
        r#"{"Connections":1,"Variable":"client.ip","IPv6Prefix":129}"#,
        &["IPv6Prefix: is 129; from 0 to 128 is allowed"],
    );
}

#[test]
fn breakers() {
    let fallback = r#""Fallback":{"Type":"response","Action":{"StatusCode":503,"Body":""}}"#;
    let least = format!(r#"{{"Condition":"NetworkErrorRatio() > 0.5",{fallback}}}"#);
    same("cbreaker", &least);
    same(
        "cbreaker",
        r#"{"Condition":"LatencyAtQuantileMS(50.0) > 40 && ResponseCodeRatio(500, 600, 0, 600) > 0.1","Fallback":{"Type":"redirect","Action":{"URL":"https://sorry.example/x","PreservePath":true}},"OnTripped":{"Type":"webhook","Action":{"URL":"http://hooks.example:81/a?b","Method":"PUT","Headers":{"X-A":["1","2"]},"Form":{"a":["b"]},"Body":"aha!","Timeout":"1s"}},"FallbackDuration":1000000000,"RecoveryDuration":2000000000,"CheckPeriod":5000000}"#,
    );
    // As vulcand and `vctl` write it: texts in place of objects, empty ones, zeros.
    read_as(
        "cbreaker",
        r#"{"Condition":"NetworkErrorRatio() > 0.5","Fallback":"{\"Type\": \"response\", \"Action\": {\"StatusCode\": 503}}","OnTripped":"","OnStandby":null,"FallbackDuration":10000000000,"RecoveryDuration":0,"CheckPeriod":"100ms"}"#,
        &least,
        &[],
    );
    read_as("cbreaker", &least.replace("\"\"", r#"{"a": 1}"#), &least.replace("\"\"", r#""{\"a\":1}""#), &[]);
    bad("cbreaker", "{}", &["Condition: is missing", "Fallback: is missing: an answer is expected"]);
    bad(
        "cbreaker",
        r#"{"Condition":"whut?","Fallback":{"Type":"panic","Action":{"x":1}},"OnTripped":{"Type":"mail","Action":{"URL":"http://a"}},"CheckPeriod":-1}"#,
        &[
            "Condition: is \"whut?\": column 5",
            "Fallback.Type: is \"panic\"; one of response, redirect is expected",
            "OnTripped.Type: is \"mail\"; `webhook` is expected",
            "CheckPeriod: is -1, a negative number of nanoseconds",
            "w Middleware.Fallback.Action.x: is not a known field",
        ],
    );
    let with_fallback = |fallback: &str| format!(r#"{{"Condition":"1 < 2","Fallback":{fallback}}}"#);
    for (fallback, reason) in [
        (r#""{""#, "Fallback: is a text, but not one of JSON"),
        ("5", "Fallback: is the number 5; a JSON object is expected"),
        (r#"{"Type":"response"}"#, "Fallback.Action: is missing"),
        (r#"{"Type":"response","Action":{}}"#, "Fallback.Action.StatusCode: is missing"),
        (r#"{"Type":"response","Action":{"StatusCode":101}}"#, "StatusCode: is 101; from 200 to 599"),
        (r#"{"Type":"response","Action":{"StatusCode":204,"Body":"a b"}}"#, "an answer without a body"),
        (r#"{"Type":"response","Action":{"StatusCode":500,"Body":5}}"#, "a text, base64 or an object"),
        (r#"{"Type":"response","Action":{"StatusCode":500,"ContentType":"x"}}"#, "a type is expected"),
        (r#"{"Type":"redirect","Action":{"URL":"//evil.example"}}"#, "is neither an address"),
        (r#"{"Type":"redirect","Action":{"URL":"ftp://a"}}"#, "is neither an address"),
        (r#"{"Type":"redirect","Action":{"URL":"http://a/ b"}}"#, "is neither an address"),
    ] {
        bad("cbreaker", &with_fallback(fallback), &[reason]);
    }
    let with_hook = |hook: &str| {
        format!(r#"{{"Condition":"1 < 2",{fallback},"OnStandby":{{"Type":"webhook","Action":{hook}}}}}"#)
    };
    for (hook, reason) in [
        ("{}", "OnStandby.Action.URL: is missing"),
        (r#"{"URL":"ftp://a"}"#, "URL: is no address"),
        (r#"{"URL":"http://user:secret@a/"}"#, "URL: is no address"),
        (r#"{"URL":"http://a","Method":"A B"}"#, "Method: is \"A B\""),
        (r#"{"URL":"http://a","Timeout":"61s"}"#, "Timeout: is 1m1s; at most 1m0s is allowed"),
        (r#"{"URL":"http://a","Headers":{"Host":"b"}}"#, "Headers.Host: belongs to"),
        (r#"{"URL":"http://a","Form":{"a":1}}"#, "Form.a: is the number 1; a string is expected"),
    ] {
        bad("cbreaker", &with_hook(hook), &[reason]);
    }
}

/// Of nothing that anybody uses, at cost 4.
const HASH: &str = "$2y$04$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";

#[test]
fn names_and_passwords() {
    for kind in ["auth", "basicauth"] {
        same(kind, r#"{"Username":"ann","Password":"a b"}"#);
        same(
            kind,
            &format!(r#"{{"Users":{{"ann":"{HASH}"}},"Realm":"Shop \u00e4","PassAuthorization":true}}"#)
                .replace("\\u00e4", "ä"),
        );
    }
    let written = format!(
        r#"{{"Users":{{"ann":"{HASH}","bob":"{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g=","cy":"{{SHA256}}XohImNooBHFR0OVvjcYpJ3NgPQ1qq73WKhHvch0VQtg="}}}}"#
    );
    same("basicauth", &written);
    let lines = format!(
        r#"{{"Users":["ann:{HASH}","bob:{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g=","cy:{{SHA256}}XohImNooBHFR0OVvjcYpJ3NgPQ1qq73WKhHvch0VQtg="]}}"#
    );
    read_as("basicauth", &lines, &written, &[]);
    bad("auth", "{}", &["Middleware: names nobody"]);
    bad("auth", r#"{"Username":"a"}"#, &["Password: is missing beside Username"]);
    bad("auth", r#"{"Password":"a"}"#, &["Username: is missing beside Password"]);
    bad("auth", r#"{"Username":"a:b","Password":"x"}"#, &["has a colon"]);
    bad("auth", r#"{"Username":"a","Password":"x","Realm":"a\"b"}"#, &["Realm: has a quotation mark"]);
    for (users, reason) in [
        (r#"{"ann":"open"}"#, "Users.ann: is no hash that is known"),
        (r#"{"ann":"$apr1$a$b"}"#, "Users.ann: is no whole hash of MD5"),
        (r#"{"ann":"$5$a$b"}"#, "Users.ann: is no hash that is known"),
        (r#"{"ann":"{SHA}abcd"}"#, "is no SHA-1 in base64"),
        (r#"{"ann":"$2y$04$short"}"#, "is no whole hash of bcrypt"),
        (&format!(r#"{{"ann":"{}"}}"#, HASH.replace("$04$", "$13$")), "bcrypt with a cost over 12"),
        (&format!(r#"["ann:{HASH}","ann:{HASH}"]"#), "Users[1]: names \"ann\" once more"),
        (r#"["ann"]"#, "Users[0]: is no line of the form `NAME:HASH`"),
        ("5", "Users: is the number 5"),
        (r#"{"ann":1}"#, "Users.ann: is the number 1; a hash is expected"),
    ] {
        bad("basicauth", &format!(r#"{{"Users":{users}}}"#), &[reason]);
    }
}

#[test]
fn findings_and_debug_show_nothing_secret() {
    let value = with("basicauth", r#"{"Username":"ann","Password":"hush-hush","Users":{"bob":"hush-hush"}}"#);
    let parsed = parse(KEY, &value, Strictness::Stored);
    assert!(!shown(&parsed.findings).contains("hush"), "{}", shown(&parsed.findings));
    let parsed =
        parse(KEY, &with("auth", r#"{"Username":"ann","Password":"hush-hush"}"#), Strictness::Stored);
    assert!(!format!("{:?}", parsed.object.unwrap()).contains("hush"));
}

#[test]
fn ipfilters() {
    same("ipfilter", r#"{"Allow":["10.0.0.0/8","2001:db8::/32"],"Deny":["10.1.2.3/32"]}"#);
    read_as(
        "ipfilter",
        r#"{"Deny":["10.1.2.3","10.1.2.3/8","::ffff:192.0.2.1"]}"#,
        r#"{"Deny":["10.1.2.3/32","10.0.0.0/8","192.0.2.1/32"]}"#,
        &[],
    );
    bad("ipfilter", "{}", &["Middleware: filters nothing: Allow or Deny is expected"]);
    bad(
        "ipfilter",
        r#"{"Allow":["10.0.0.0/33","a"]}"#,
        &["Allow[0]: is \"10.0.0.0/33\"; an address or a network", "Allow[1]"],
    );
}

#[test]
fn responses() {
    same("respond", "{}");
    same(
        "respond",
        r#"{"Status":503,"Body":"<p>Back soon</p>","ContentType":"text/html","Headers":{"Retry-After":["60"],"X-A":["1","2"]}}"#,
    );
    same("respond", r#"{"Status":204}"#);
    read_as(
        "respond",
        r#"{"Body":{"ok":true},"Headers":{"X-A":"1"}}"#,
        r#"{"Body":"{\"ok\":true}","Headers":{"X-A":["1"]}}"#,
        &[],
    );
    bad("respond", r#"{"Status":100}"#, &["Status: is 100; from 200 to 599 is allowed"]);
    bad("respond", r#"{"Status":304,"Body":"a b"}"#, &["is 304, an answer without a body, and there is one"]);
    bad(
        "respond",
        r#"{"Headers":{"Content-Type":"a/b"}}"#,
        &["Headers: has Content-Type, which is ContentType here"],
    );
    bad(
        "respond",
        r#"{"Headers":{"Content-Length":"1","X":"a\nb"}}"#,
        &["Content-Length: belongs", "X: has a control"],
    );
}
