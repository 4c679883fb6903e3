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
