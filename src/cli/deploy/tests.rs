//! The verbs as a user runs them, against a server that says what a deployer says.

use crate::cli::Exit;
use crate::cli::tests::{Ran, run_with};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

/// What it heard: `METHOD TARGET`, and a body.
type Heard = Arc<Mutex<Vec<(String, String)>>>;

/// Answers `METHOD PATH` with the answers given for it, the last one again and again; all else is 404.
struct Fake {
    address: SocketAddr,
    heard: Heard,
}

impl Fake {
    fn new(answers: &[(&str, &str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heard) = (listener.local_addr().unwrap(), Heard::default());
        let mut known: Vec<(String, VecDeque<(String, String)>)> = Vec::new();
        for (what, status, body) in answers {
            let answer = (status.to_string(), body.to_string());
            match known.iter_mut().find(|(own, _)| own == what) {
                Some((_, answers)) => answers.push_back(answer),
                None => known.push((what.to_string(), VecDeque::from([answer]))),
            }
        }
        let own = heard.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (what, body) = read(&mut reader);
                own.lock().unwrap().push((what.clone(), body));
                let path = what.split('?').next().unwrap();
                let (status, body) = match known.iter_mut().find(|(own, _)| own == path) {
                    Some((_, answers)) if answers.len() > 1 => answers.pop_front().unwrap(),
                    Some((_, answers)) => answers[0].clone(),
                    None => ("404".into(), r#"{"message":"there is no such thing"}"#.into()),
                };
                write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                )
                .unwrap();
            }
        });
        Self { address, heard }
    }

    fn run(&self, args: &[&str], stdin: &str) -> Ran {
        let url = self.address.to_string();
        run_with(&[args, &["--deployer", &url]].concat(), stdin, &[])
    }

    #[track_caller]
    fn check(&self, args: &[&str], stdin: &str, exit: Exit, out: &str, err: &str) {
        let ran = self.run(args, stdin);
        let all = format!("{args:?}\n{}\n{}", ran.out, ran.err);
        assert_eq!(ran.exit, exit, "{all}");
        assert!(ran.out.contains(out), "{out:?} is not in the result: {all}");
        assert!(ran.err.contains(err), "{err:?} is not in the messages: {all}");
    }

    fn heard(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

fn read(reader: &mut impl BufRead) -> (String, String) {
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let what = first.rsplit_once(' ').unwrap().0.to_owned();
    (what, String::from_utf8(body).unwrap())
}

fn deployment(status: &str, more: &str) -> String {
    format!(
        r#"{{"id":"d2","version":"2","status":"{status}","lastModified":"2026-01-02T03:04:05Z",
            "descriptor":{{"appName":"shop"}}{more}}}"#
    )
}

const DESCRIPTOR: &str =
    "appName: shop\nnewVersion: '2'\nnamespace: blog\npodspec: {containers: [{image: a}]}\n";
const POST: &str = "POST /deployments/";
const ONE: &str = "GET /deployments/d2/";
const LOGS: &str = "GET /deployments/d2/logs";
const LOG: &str = "id: 1\ndata: ready: 1 of 2 pods\n\nid: 2\ndata: \u{1b}[2Jdone\n\n";

fn ended(status: &str) -> String {
    format!("{LOG}event: end\ndata: {{\"status\":\"{status}\"}}\n\n")
}

#[test]
fn a_descriptor_is_sent_as_it_is() {
    let fake = Fake::new(&[(POST, "202", &deployment("DEPLOYING", ""))]);
    let hint = "deployment d2 of version 2: DEPLOYING; `flipgate logs d2 -f -n blog` shows how it goes\n";
    fake.check(&["deploy", "-f", "-"], DESCRIPTOR, Exit::Done, hint, "");
    let (what, body) = fake.heard().pop().unwrap();
    assert_eq!(what, "POST /deployments/?namespace=blog");
    let sent: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&sent["newVersion"], &sent["podspec"]["containers"][0]["image"]), (&"2".into(), &"a".into()));

    fake.check(&["deploy", "-f", "-", "-n", "shop"], DESCRIPTOR, Exit::Error, "", "the descriptor says blog");
    fake.check(&["deploy", "-f", "-"], "{a: 1}\n---\n{b: 2}", Exit::Error, "", "one descriptor is expected");
    assert!(fake.heard().is_empty());
}

#[test]
fn what_is_refused_is_told() {
    let busy = r#"{"message":"deployment d1 of shop is under way","id":"d1"}"#;
    let wrong = r#"{"message":"the descriptor is not valid","problems":[{"field":"replicas","reason":"is no number"}]}"#;
    for (status, body, exit, told) in [
        ("409", busy, Exit::No, "flipgate: deployment d1 of shop is under way"),
        ("400", wrong, Exit::Error, "the descriptor is not valid\n  replicas: is no number"),
        ("401", r#"{"message":"this token is not known"}"#, Exit::Error, "--deployer-token-file FILE"),
        ("403", r#"{"message":"no access"}"#, Exit::Error, "no access"),
    ] {
        let fake = Fake::new(&[(POST, status, body)]);
        fake.check(&["deploy", "-f", "-"], DESCRIPTOR, exit, "", told);
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let ran = run_with(&["deploy", "-f", "-", "--deployer", &nobody], DESCRIPTOR, &[]);
    assert_eq!(ran.exit, Exit::Error);
    assert!(ran.err.contains("no deployer answers at"), "{}", ran.err);
}

#[test]
fn a_dry_run_says_what_would_be_done() {
    let fake = Fake::new(&[(POST, "200", r#"{"dryRun":true,"wouldDo":["create a","flip b"]}"#)]);
    fake.check(&["deploy", "-f", "-", "--dry-run"], DESCRIPTOR, Exit::Done, "create a\nflip b\n", "");
    assert_eq!(fake.heard()[0].0, "POST /deployments/?namespace=blog&dryRun=true");
}

#[test]
fn waiting_ends_as_the_deployment_does() {
    let begun = deployment("DEPLOYING", r#","stage":"ready","course":"forward""#);
    let warm = deployment("DEPLOYING", r#","stage":"keepWarm","course":"forward""#);
    let failed = deployment("FAILURE", r#","reason":"ready: not in time""#);
    for (last, status, exit, out, err) in [
        (deployment("DEPLOYED", ""), "DEPLOYED", Exit::Done, "shop 2 is live\n", ""),
        (warm, "DEPLOYING", Exit::Done, "shop 2 is live; the version before is kept warm\n", ""),
        (failed, "FAILURE", Exit::No, "", "flipgate: shop 2 failed: ready: not in time\n"),
    ] {
        let is_over = status != "DEPLOYING";
        let log = if is_over { ended(status) } else { LOG.to_owned() };
        // What is kept warm is seen by looking; an end is told by the log.
        let first = if is_over { &last } else { &begun };
        let fake = Fake::new(&[
            (POST, "202", &begun),
            (ONE, "200", first),
            (ONE, "200", &last),
            (LOGS, "200", &log),
        ]);
        fake.check(&["deploy", "-f", "-", "--wait"], DESCRIPTOR, exit, out, err);
        if is_over {
            fake.check(&["logs", "d2", "-f"], "", Exit::Done, "ready: 1 of 2 pods\n", "");
        }
    }
}

#[test]
fn programs_get_lines_of_json() {
    let begun = deployment("DEPLOYING", r#","stage":"flip","course":"forward""#);
    let last = deployment("FAILURE", r#","reason":"no""#);
    let fake = Fake::new(&[(POST, "202", &begun), (ONE, "200", &last), (LOGS, "200", &ended("FAILURE"))]);
    let ran = fake.run(&["deploy", "-f", "-", "--wait", "--output", "json"], DESCRIPTOR);
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events = |name: &str| lines.iter().filter(|line| line["event"] == name).count();
    assert_eq!((events("line"), events("end"), ran.exit), (2, 1, Exit::No), "{}", ran.out);
    let end = lines.last().unwrap();
    assert_eq!((&end["deployment"]["status"], &end["reached"]), (&"FAILURE".into(), &false.into()));
}

#[test]
fn what_was_deployed_is_listed_and_its_log_shown() {
    let list = format!("[{}]", deployment("DEPLOYED", ""));
    let log = "1 ready: 1 of 2 pods\n2 \u{1b}[2Jdone\n";
    let fake = Fake::new(&[("GET /deployments/", "200", &list), (ONE, "200", &list), (LOGS, "200", log)]);
    fake.check(&["deployments", "shop"], "", Exit::Done, "d2  shop  2        DEPLOYED", "");
    assert_eq!(fake.heard()[0].0, "GET /deployments/?namespace=default&limit=10&appname=shop");
    // Nothing in a log commands a terminal.
    let log = "1 ready: 1 of 2 pods\n2 \\u001b[2Jdone\n";
    fake.check(&["logs", "shop"], "", Exit::Done, log, "");
    let nothing = Fake::new(&[]);
    nothing.check(&["deployments"], "", Exit::Done, "", "nothing was deployed");
    nothing.check(&["logs", "d9"], "", Exit::No, "", "there is no deployment d9 in this namespace");
}

#[test]
fn versions_are_changed() {
    let live = r#"[{"appName":"shop","live":{"id":"d2"}}]"#;
    let (deployed, going) = (deployment("DEPLOYED", ""), deployment("UNDEPLOYING", ""));
    let fake = Fake::new(&[
        ("GET /applications/", "200", live),
        (ONE, "200", &deployed),
        ("PATCH /deployments/d2/", "200", &deployed),
        ("DELETE /deployments/d2/", "202", &going),
        ("PUT /applications/shop/maintenance", "204", ""),
        ("DELETE /applications/shop/maintenance", "204", ""),
    ]);
    fake.check(&["scale", "shop", "3"], "", Exit::Done, "shop has 3 replicas\n", "");
    assert_eq!(fake.heard().pop().unwrap().1, r#"{"replicas":3}"#);
    fake.check(&["scale", "shop", "0"], "", Exit::Error, "", "");
    fake.check(
        &["undeploy", "shop"],
        "",
        Exit::Done,
        "deployment d2 of version 2: UNDEPLOYING; `flipgate logs d2 -f`",
        "",
    );
    let page = ["maintenance", "shop", "on", "--page", "-", "--retry-after", "60"];
    fake.check(&page, "<p>soon", Exit::Done, "shop is closed\n", "");
    let body: serde_json::Value = serde_json::from_str(&fake.heard().pop().unwrap().1).unwrap();
    assert_eq!(body, serde_json::json!({ "page": "<p>soon", "retryAfter": 60 }));
    fake.check(&["maintenance", "shop", "off"], "", Exit::Done, "shop is open\n", "");
}

#[test]
fn what_is_kept_warm_goes_when_it_is_told_to() {
    let warm = deployment("DEPLOYING", r#","stage":"keepWarm","course":"forward""#);
    let fake = Fake::new(&[
        ("GET /applications/", "200", r#"[{"appName":"shop","open":{"id":"d2"}}]"#),
        ("PATCH /deployments/d2/", "202", &warm),
        (ONE, "200", &deployment("DEPLOYED", "")),
        (LOGS, "200", &ended("DEPLOYED")),
    ]);
    fake.check(&["finish", "shop", "--wait"], "", Exit::Done, "shop 2 is live\n", "");
    let heard = fake.heard();
    assert!(heard.iter().any(|(_, body)| body == r#"{"flip":{"keepWarm":"0s"}}"#), "{heard:?}");
}

#[test]
fn a_redeploy_of_what_is_warm_waits_for_the_newer_one_to_go_back() {
    let old = deployment("DEPLOYED", "").replace("\"d2\"", "\"d1\"").replace("\"2\"", "\"1\"");
    let begun = deployment("DEPLOYING", r#","stage":"keepWarm","course":"forward""#);
    let fake = Fake::new(&[
        ("PUT /deployments/d1/", "202", &old),
        ("GET /applications/", "200", r#"[{"appName":"shop","open":{"id":"d2"}}]"#),
        (ONE, "200", &begun),
        (ONE, "200", &deployment("FAILURE", "")),
        (LOGS, "200", &ended("FAILURE")),
    ]);
    fake.check(&["redeploy", "d1", "--wait"], "", Exit::Done, "shop 2 has gone back\n", "");
}
