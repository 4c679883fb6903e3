//! Steps that remember, over requests and over edits. Time is given.

use super::*;
use std::time::Duration;

/// A middleware that is edited.
pub(super) struct Edited {
    kind: &'static str,
    step: Arc<Step>,
}

impl Edited {
    pub(super) fn new(kind: &'static str, spec: &str) -> Self {
        Self { kind, step: Self::compile(kind, spec, None) }
    }

    fn compile(kind: &str, spec: &str, previous: Option<&Step>) -> Arc<Step> {
        let fresh = step("m", &format!(r#"{{"Type":"{kind}","Middleware":{spec}}}"#));
        Step::compile(fresh.middleware.clone(), previous)
    }

    pub(super) fn edit(&mut self, spec: &str) {
        self.step = Self::compile(self.kind, spec, Some(&self.step));
    }

    pub(super) fn chain(&self) -> Chain {
        Chain::compile(std::slice::from_ref(&self.step))
    }
}

/// A request at `at`, with further field lines; what holds it, and its answer if the chain gives one.
fn ask(chain: &Chain, at: Instant, client: &str, fields: &str) -> (Visit, Option<Reply>) {
    let mut request = read(&format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n")).unwrap();
    let context = RequestContext { client: client.parse().ok(), now: at, ..plain() };
    let mut visit = Visit::default();
    match chain.on_request(&mut visit, &mut request, &context) {
        Verdict::Continue => (visit, None),
        Verdict::Reply(reply) => (visit, Some(reply)),
        Verdict::Ask(_) => unreachable!("limits ask nobody"),
    }
}

/// One that is let through, or when it may come again.
fn retry(chain: &Chain, at: Instant, client: &str, fields: &str) -> Option<String> {
    let reply = ask(chain, at, client, fields).1?;
    assert_eq!((reply.status, reply.reason), (429, Some(Reason::Limited)));
    let (name, told) = &reply.fields[0];
    assert_eq!(*name, "X-Retry-In");
    let text = format!("max rate reached: retry-in {told}");
    assert_eq!(reply.body.unwrap().1, text);
    Some(told.to_string())
}

#[test]
fn a_rate_holds_for_each_client() {
    let chain = of("ratelimit", r#"{"Requests":1,"PeriodSeconds":2,"Burst":2,"Variable":"client.ip"}"#);
    let start = Instant::now();
    let check = |seconds: u64, client: &str, expected: Option<&str>| {
        let at = start + Duration::from_secs(seconds);
        assert_eq!(retry(&chain, at, client, "").as_deref(), expected, "{client} at {seconds}");
    };
    check(0, "192.0.2.1", None);
    check(0, "192.0.2.1", None);
    check(0, "192.0.2.1", Some("2s"));
    check(0, "192.0.2.2", None);
    check(1, "192.0.2.1", Some("1s"));
    check(2, "192.0.2.1", None);
    check(2, "192.0.2.1", Some("2s"));
    // IPv6 clients are limited apart.
    check(2, "2001:db8::1", None);
    check(2, "2001:db8::2", None);
    check(2, "2001:db8::1", None);
    check(2, "2001:db8::1", Some("2s"));
    // Over a Unix socket all are one.
    check(2, "", None);
    check(2, "", None);
    check(2, "", Some("2s"));
}

#[test]
fn what_lacks_the_variable_shares_one_bucket() {
    for (variable, one, other) in [
        ("request.header.X-Key", "X-Key: a\r\n", "x-key: b\r\n"),
        ("request.cookie.sid", "Cookie: x=y; sid=a\r\n", "Cookie: sid=b\r\n"),
    ] {
        let spec = format!(r#"{{"Requests":1,"PeriodSeconds":1,"Variable":"{variable}"}}"#);
        let chain = of("ratelimit", &spec);
        let now = Instant::now();
        let passes = |fields: &str| retry(&chain, now, "192.0.2.1", fields).is_none();
        assert!(passes(one) && passes(other) && passes("") && !passes(one) && !passes("X-Other: a\r\n"));
    }
}

#[test]
fn a_request_may_bring_its_rates() {
    let chain = of(
        "ratelimit",
        r#"{"Requests":1,"PeriodSeconds":1,"Variable":"client.ip","RateVar":"request.header.X-Rates"}"#,
    );
    let start = Instant::now();
    let check = |millis: u64, rates: &str, expected: Option<&str>| {
        let fields = if rates.is_empty() { String::new() } else { format!("X-Rates: {rates}\r\n") };
        let at = start + Duration::from_millis(millis);
        assert_eq!(retry(&chain, at, "192.0.2.1", &fields).as_deref(), expected, "{rates} at {millis}");
    };
    let both = r#"[{"PeriodSeconds":1,"Requests":2},{"PeriodSeconds":60,"Requests":3}]"#;
    check(0, both, None);
    check(0, both, None);
    check(0, both, Some("500ms"));
    check(1_000, both, None);
    check(2_000, both, Some("18s"));
    // Rates that cannot be read, and none, are as those of the middleware: its second has a bucket of its own.
    check(10_000, "[{", None);
    check(10_000, "", Some("1s"));
}

#[test]
fn an_edit_keeps_buckets_that_still_mean_something() {
    let spec = |requests: u32, period: u32, burst: u32, variable: &str| {
        format!(
            r#"{{"Requests":{requests},"PeriodSeconds":{period},"Burst":{burst},"Variable":"{variable}"}}"#
        )
    };
    let now = Instant::now();
    let mut edited = Edited::new("ratelimit", &spec(1, 10, 2, "client.ip"));
    let retry = |edited: &Edited| retry(&edited.chain(), now, "192.0.2.1", "");
    assert_eq!((retry(&edited), retry(&edited)), (None, None));
    assert_eq!(retry(&edited).as_deref(), Some("10s"));
    edited.edit(&spec(10, 10, 2, "client.ip"));
    assert_eq!(retry(&edited).as_deref(), Some("1s"));
    edited.edit(&spec(10, 10, 3, "client.ip"));
    assert_eq!(retry(&edited), None);
    // Counted by something else, or in another period, everything begins anew.
    edited.edit(&spec(1, 10, 1, "request.host"));
    assert_eq!(retry(&edited), None);
    edited.edit(&spec(1, 11, 1, "request.host"));
    assert_eq!(retry(&edited), None);
    edited.edit(&spec(1, 11, 1, "request.host"));
    assert_eq!(retry(&edited).as_deref(), Some("11s"));
}

#[test]
fn requests_in_flight_are_limited_until_they_end() {
    let mut edited = Edited::new("connlimit", r#"{"Connections":2,"Variable":"client.ip"}"#);
    let now = Instant::now();
    let ask = |edited: &Edited, client: &str| ask(&edited.chain(), now, client, "");
    let limited = |edited: &Edited, client: &str, most: u32| {
        let (_, reply) = ask(edited, client);
        let reply = reply.unwrap();
        assert_eq!((reply.status, reply.reason), (429, Some(Reason::Limited)));
        assert_eq!(reply.body.unwrap().1, format!("max connections reached: {most}"));
    };
    let (first, second) = (ask(&edited, "192.0.2.1"), ask(&edited, "192.0.2.1"));
    assert!(first.1.is_none() && second.1.is_none());
    limited(&edited, "192.0.2.1", 2);
    assert!(ask(&edited, "192.0.2.2").1.is_none());
    // What is in flight is still counted after an edit.
    edited.edit(r#"{"Connections":1,"Variable":"client.ip"}"#);
    drop(first);
    limited(&edited, "192.0.2.1", 1);
    drop(second);
    let third = ask(&edited, "192.0.2.1");
    assert!(third.1.is_none());
    edited.edit(r#"{"Connections":1,"Variable":"request.host"}"#);
    assert!(ask(&edited, "192.0.2.1").1.is_none());
    edited.edit(r#"{"Connections":0,"Variable":"request.host"}"#);
    limited(&edited, "192.0.2.1", 0);
}

/// A breaker over time: each line is milliseconds, the status that the server would give, and what the client gets.
struct Broken {
    edited: Edited,
    start: Instant,
    effects: Vec<String>,
}

impl Broken {
    fn new(spec: &str) -> Self {
        Self { edited: Edited::new("cbreaker", spec), start: Instant::now(), effects: Vec::new() }
    }

    /// `None`: the request passed, took `latency` and was answered with `status`.
    fn ask(&mut self, at: u64, latency: u64, status: u16) -> Option<Reply> {
        let ms = Duration::from_millis;
        let (mut visit, reply) = ask(&self.edited.chain(), self.start + ms(at), "192.0.2.1", "");
        self.effects.extend(visit.take_effect().map(|effect| effect.event.to_owned()));
        assert_eq!(visit.is_watched(), reply.is_none());
        visit.end(status, self.start + ms(at + latency), 70);
        self.effects.extend(visit.take_effect().map(|effect| effect.event.to_owned()));
        assert!(!visit.is_watched());
        reply
    }
}

const HOOKS: &str = r#""OnTripped":{"Type":"webhook","Action":{"URL":"http://a"}},"OnStandby":{"Type":"webhook","Action":{"URL":"http://a"}}"#;

#[test]
fn a_breaker_trips_recovers_and_stands_by() {
    let mut broken = Broken::new(&format!(
        r#"{{"Condition":"NetworkErrorRatio() > 0.5","Fallback":{{"Type":"response","Action":{{"StatusCode":418,"ContentType":"text/html","Body":"<p>"}}}},{HOOKS},"FallbackDuration":"1s","RecoveryDuration":"1s"}}"#
    ));
    assert!(broken.ask(0, 0, 200).is_none());
    assert!(broken.ask(10, 0, 502).is_none());
    // Two of three, but the next check is only due 100 ms after the first.
    assert!(broken.ask(20, 0, 504).is_none());
    assert!(broken.ask(90, 0, 200).is_none());
    assert!(broken.ask(95, 0, 502).is_none());
    assert!(broken.effects.is_empty());
    assert!(broken.ask(100, 0, 504).is_none());
    assert_eq!(broken.effects, ["tripped"]);
    let reply = broken.ask(110, 0, 200).unwrap();
    assert_eq!((reply.status, reply.reason), (418, Some(Reason::Tripped)));
    assert_eq!(reply.body.unwrap(), ("text/html".into(), "<p>".into()));
    assert!((111..1_100).step_by(50).all(|at| broken.ask(at, 0, 200).is_some()));
    // Recovering, more and more passes, at the end about a half.
    let passed = (1_100..2_100).filter(|at| broken.ask(*at, 0, 200).is_none()).count();
    assert!((450..=500).contains(&passed), "{passed}");
    assert_eq!(broken.effects, ["tripped"]);
    assert!((2_101..2_200).all(|at| broken.ask(at, 0, 200).is_none()));
    assert_eq!(broken.effects, ["tripped", "standby"]);
}

#[test]
fn a_breaker_measures_latency_and_codes() {
    let with = |condition: &str| {
        Broken::new(&format!(
            r#"{{"Condition":"{condition}","Fallback":{{"Type":"redirect","Action":{{"URL":"https://sorry.example/x/","PreservePath":true}}}}}}"#
        ))
    };
    let mut slow = with("LatencyAtQuantileMS(50.0) > 40");
    assert!(slow.ask(0, 40, 200).is_none());
    assert!(slow.ask(200, 100, 200).is_none());
    assert!(slow.ask(400, 100, 200).is_none());
    let reply = slow.ask(600, 0, 200).unwrap();
    assert_eq!((reply.status, &*reply.fields[0].1), (302, "https://sorry.example/x/"));
    // Without a webhook there is nothing to be done.
    assert!(slow.effects.is_empty());
    let mut bad = with("ResponseCodeRatio(500, 600, 200, 600) >= 0.5");
    assert!(bad.ask(0, 0, 200).is_none());
    assert!(bad.ask(200, 0, 503).is_none());
    assert!(bad.ask(400, 0, 200).is_some());
}

#[test]
fn a_breaker_keeps_its_state_over_edits() {
    let spec = |condition: &str, status: u16| {
        format!(
            r#"{{"Condition":"{condition}","Fallback":{{"Type":"response","Action":{{"StatusCode":{status}}}}}}}"#
        )
    };
    let mut broken = Broken::new(&spec("NetworkErrorRatio() > 0.6", 503));
    assert!(broken.ask(0, 0, 200).is_none());
    assert!(broken.ask(200, 0, 502).is_none());
    // The measures count for the new condition too.
    broken.edited.edit(&spec("NetworkErrorRatio() > 0.4", 503));
    assert!(broken.ask(400, 0, 502).is_none());
    assert_eq!(broken.ask(410, 0, 200).unwrap().status, 503);
    broken.edited.edit(&spec("NetworkErrorRatio() > 0.9", 500));
    assert_eq!(broken.ask(420, 0, 200).unwrap().status, 500);
}

/// Status, reason and the named field of an answer; `None`: the request passed.
fn answer(chain: &Chain, client: &str, fields: &str) -> Option<(u16, Option<Reason>, String)> {
    let (_, reply) = ask(chain, Instant::now(), client, fields);
    reply.map(|reply| {
        (
            reply.status,
            reply.reason,
            reply.fields.first().map(|(_, value)| value.to_string()).unwrap_or_default(),
        )
    })
}

#[test]
fn who_has_no_password_is_asked_for_one() {
    let chain = of("auth", r#"{"Username":"ann","Password":"a:b","Realm":"Shop"}"#);
    let challenge = || Some((401, Some(Reason::Auth), "Basic realm=\"Shop\", charset=\"UTF-8\"".to_owned()));
    // `ann:a:b` in base64, with and without its padding.
    for good in ["Basic YW5uOmE6Yg==", "basic YW5uOmE6Yg", "BASIC   YW5uOmE6Yg=="] {
        assert_eq!(answer(&chain, "", &format!("Authorization: {good}\r\n")), None, "{good}");
    }
    for wrong in ["Basic YW5uOmI=", "Basic YW5u", "Basic !", "Basic", "Bearer YW5uOmE6Yg==", ""] {
        assert_eq!(answer(&chain, "", &format!("Authorization: {wrong}\r\n")), challenge(), "{wrong}");
    }
    assert_eq!(answer(&chain, "", ""), challenge());
    let twice = "Authorization: Basic YW5uOmE6Yg==\r\nAuthorization: Basic YW5uOmI=\r\n";
    assert_eq!(answer(&chain, "", twice), challenge());

    for (pass, expected) in [(false, None), (true, Some(&b"Basic YW5uOmE6Yg=="[..]))] {
        let spec = format!(r#"{{"Username":"ann","Password":"a:b","PassAuthorization":{pass}}}"#);
        let mut request =
            read("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YW5uOmE6Yg==\r\n\r\n").unwrap();
        let verdict = of("basicauth", &spec).on_request(&mut Visit::default(), &mut request, &plain());
        assert_eq!(verdict, Verdict::Continue);
        assert_eq!(request.fields.get("Authorization"), expected);
    }
}

#[test]
fn addresses_are_let_in_or_not() {
    let chain = of("ipfilter", r#"{"Allow":["10.0.0.0/8","2001:db8::/32"],"Deny":["10.1.0.0/16"]}"#);
    for (client, passes) in [
        ("10.2.3.4", true),
        ("::ffff:10.2.3.4", true),
        ("10.1.3.4", false),
        ("192.0.2.1", false),
        ("2001:db8::1", true),
        ("2001:db9::1", false),
        ("", false),
    ] {
        let expected = (!passes).then(|| (403, Some(Reason::Forbidden), String::new()));
        assert_eq!(answer(&chain, client, ""), expected, "{client}");
    }
    let chain = of("ipfilter", r#"{"Deny":["10.1.0.0/16"]}"#);
    assert!(answer(&chain, "10.1.2.3", "").is_some());
    assert!(answer(&chain, "192.0.2.1", "").is_none() && answer(&chain, "", "").is_none());
}

#[test]
fn answers_may_always_be_the_same() {
    let reply = |spec: &str| ask(&of("respond", spec), Instant::now(), "", "").1.unwrap();
    assert_eq!(reply("{}"), Reply::of(200));
    assert_eq!(
        reply(r#"{"Body":"hi there"}"#).body.unwrap(),
        ("text/plain; charset=utf-8".into(), "hi there".into())
    );
    let full =
        reply(r#"{"Status":410,"Body":"{}","ContentType":"application/json","Headers":{"X-A":["1","2"]}}"#);
    assert_eq!((full.status, full.reason), (410, None));
    assert_eq!(full.passed, [("X-A".into(), (*b"1").into()), ("X-A".into(), (*b"2").into())]);
    assert_eq!(full.body.unwrap(), ("application/json".into(), "{}".into()));
}
