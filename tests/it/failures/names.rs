//! Servers with names, and a resolver that fails.

use super::closing::Closing;
use crate::support::{Flipgate, Keys, figure, get, shared, until};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const HOST: &str = "shop.example";

/// Runs a program that sees another hosts file and resolver.
const ISOLATED: &str =
    r#"mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@""#;

/// The hosts file stands for the answers of a resolver, and one that nobody listens for stands for one that is down:
/// what is not in the file is asked there. Nothing is kept between two questions, as with a lifetime of 0.
#[test]
fn p12_the_last_good_address_serves_while_a_name_cannot_be_resolved() {
    let _machine = shared();
    let dir = tempfile::tempdir().unwrap();
    let (hosts, resolver) = (dir.path().join("hosts"), dir.path().join("resolv.conf"));
    std::fs::write(&resolver, "nameserver 127.0.0.254\noptions timeout:1 attempts:1\n").unwrap();
    let answers = |lines: &str| std::fs::write(&hosts, format!("127.0.0.1 localhost\n{lines}")).unwrap();
    answers("127.0.0.1 pod.test\n");
    let under = ["unshare", "--mount", "sh", "-c", ISOLATED, "sh"];
    let files = [hosts.to_str().unwrap(), resolver.to_str().unwrap()];
    if !can_isolate(&under, &files) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "nothing can be mounted");
        println!("SKIPPED, no files of the test's own, which takes root with CAP_SYS_ADMIN");
        return;
    }
    // Each request resolves, as no connection can be kept.
    let server = Closing::start("blue", Duration::ZERO);
    let mut keys = Keys::start();
    keys.put_listener();
    keys.put("backends/shop/backend", &json!({"Type": "http"}));
    let url = format!("http://pod.test:{}", server.address.port());
    keys.put("backends/shop/servers/a", &json!({"URL": url}));
    let last = keys.put_frontend("shop", &format!("Host(`{HOST}`)"), "shop");
    let flipgate = Flipgate::on(&keys.url()).under(&[&under[..], &files].concat()).ready();
    flipgate.admin().served(last);
    let address = flipgate.address("http");
    let ask = || get(address, HOST, "/");
    assert_eq!(ask().status, 200);

    let many = |good: bool| {
        let none = (1..=999).map(|n| format!("127.1.{}.{} pod.test\n", n / 250, 1 + n % 250));
        let none = none.collect::<String>();
        if good { format!("127.0.0.1 pod.test\n{none}") } else { none }
    };
    for (what, lines) in [
        ("no such name, and the resolver down", String::new()),
        ("back", "127.0.0.1 pod.test\n".to_owned()),
        ("1,000 answers", many(true)),
        ("gone once more", String::new()),
    ] {
        answers(&lines);
        let begin = Instant::now();
        for _ in 0..10 {
            let answer = ask();
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        }
        let seconds = begin.elapsed().as_secs_f64() / 10.0;
        assert!(figure("failures P12: a request", seconds, "s", what, 1.5));
    }
    // Answers that lead nowhere are not the same as none.
    answers("127.9.9.9 pod.test\n");
    until("it goes where the name leads", Duration::from_secs(10), || (ask().status != 200).then_some(()));
    answers("127.0.0.1 pod.test\n");
    until("it comes back", Duration::from_secs(30), || (ask().status == 200).then_some(()));
}

fn can_isolate(under: &[&str], files: &[&str]) -> bool {
    let output = Command::new(under[0]).args(&under[1..]).args(files).arg("true").output();
    Path::new("/etc/resolv.conf").exists() && output.is_ok_and(|output| output.status.success())
}
