//! `trace`: records that arrive where they should, and requests that do not care whether they do.

use super::way::{PROTOCOLS, Way};
use crate::support::{Directory, Flipgate, Recorder, shared, until};
use serde_json::{Value, json};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

fn server() -> Recorder {
    Recorder::answering(
        b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\nX-Id: 7\r\nSet-Cookie: a=b\r\n\r\nseen",
    )
}

fn check(record: &Value, url: &str) {
    let (request, response) = (&record["request"], &record["response"]);
    assert_eq!(request["method"], "POST", "{record}");
    assert_eq!(request["url"], url);
    assert_eq!(request["body_bytes"], 10);
    assert_eq!(request["headers"], json!({"X-Who": ["ann"]}));
    assert!(request.get("tls").is_none());
    assert_eq!((&response["code"], &response["body_bytes"]), (&json!(201), &json!(4)), "{record}");
    assert_eq!(response["headers"], json!({"X-Id": ["7"]}));
    assert!(response["roundtrip"].as_f64().is_some_and(|ms| ms > 0.0 && ms < 20_000.0));
}

#[test]
fn syslog_files_and_stdout_get_vulcands_records() {
    let _machine = shared();
    let dir = tempfile::tempdir().unwrap();
    let (socket, file) = (dir.path().join("log.sock"), dir.path().join("traces/a.log"));
    std::fs::create_dir(dir.path().join("traces")).unwrap();
    let syslog = UnixDatagram::bind(&socket).unwrap();
    syslog.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let spec = |address: String| json!({"ReqHeaders": ["X-Who"], "RespHeaders": ["X-Id"], "Addr": address});
    let server = server();
    let middlewares = [
        ("a", "trace", spec(format!("syslog://{}?f=MAIL&sev=INFO&prefix=%3E", socket.display()))),
        ("b", "trace", spec(format!("syslog://{}", udp.local_addr().unwrap()))),
        ("c", "trace", spec(format!("file://{}", file.display()))),
        ("d", "trace", spec("stdout".into())),
    ];
    let traces = dir.path().join("traces");
    let way = Way::with(server.address(), &middlewares, &["--trace-dir", traces.to_str().unwrap()], |_| ());
    let url = "/x?y=1";
    for protocol in PROTOCOLS {
        let got = way.curl(&[protocol, "-d", "two apples", "-H", "X-Who: ann"], "/x?y=1");
        assert_eq!(got.status, 201);
        let mut text = [0; 4096];
        let length = syslog.recv(&mut text).unwrap();
        let line = String::from_utf8_lossy(&text[..length]).into_owned();
        assert!(
            line.starts_with("<22>") && line.contains(&format!(" pid[{}]: >{{", way.flipgate.pid())),
            "{line}"
        );
        check(&serde_json::from_str(line.split_once("]: >").unwrap().1).unwrap(), url);
        let length = udp.recv(&mut text).unwrap();
        let line = String::from_utf8_lossy(&text[..length]).into_owned();
        assert!(line.starts_with("<135>"), "{line}");
        check(&serde_json::from_str(line.split_once("]: @cee: ").unwrap().1).unwrap(), url);
    }
    let lines = |text: String| -> Vec<Value> {
        let lines = text.lines().filter(|line| line.starts_with(r#"{"request""#)).map(str::to_owned);
        lines.map(|line| serde_json::from_str(&line).unwrap()).collect()
    };
    let both = |what: &str, read: &dyn Fn() -> String| {
        let records = until(what, Duration::from_secs(5), || Some(lines(read())).filter(|it| it.len() == 2));
        records.iter().for_each(|record| check(record, url));
    };
    both("the file's lines", &|| std::fs::read_to_string(&file).unwrap_or_default());
    both("the output's lines", &|| way.flipgate.output());
    // A file that was moved away is made anew.
    std::fs::rename(&file, dir.path().join("traces/old.log")).unwrap();
    until("the file is made anew", Duration::from_secs(10), || {
        way.curl(&["-d", "two apples"], "/");
        file.exists().then_some(())
    });
}

#[test]
fn a_place_that_is_away_fails_no_request() {
    let _machine = shared();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("log.sock");
    let server = server();
    let address = format!("syslog://{}", socket.display());
    let way = Way::new(server.address(), &[("a", "trace", json!({"Addr": address}))]);
    for protocol in PROTOCOLS {
        assert_eq!(way.curl(&[protocol], "/").status, 201);
    }
    until("the loss is counted", Duration::from_secs(5), || {
        let metrics = way.flipgate.admin().ask("GET", "/metrics").text();
        metrics.contains("flipgate_trace_dropped_total 2").then_some(())
    });
    // It comes up later.
    let syslog = UnixDatagram::bind(&socket).unwrap();
    syslog.set_nonblocking(true).unwrap();
    until("a record comes", Duration::from_secs(10), || {
        assert_eq!(way.curl(&[], "/").status, 201);
        syslog.recv(&mut [0; 4096]).ok()
    });
}

#[test]
fn files_elsewhere_are_refused() {
    let _machine = shared();
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::with_listener();
    directory.put_way("a", "PathPrefix(`/`)", server().address());
    let file = format!("file://{}", dir.path().join("a.log").display());
    directory.put("frontends/a/middlewares/m", &json!({"Type": "trace", "Middleware": {"Addr": file}}));
    let flipgate = Flipgate::on(&directory.url()).ready();
    let problem = flipgate.admin().problem("no directory", |it| it["field"] == "Middleware.Addr");
    assert!(problem["reason"].as_str().unwrap().contains("--trace-dir"), "{problem}");
    assert!(!dir.path().join("a.log").exists());
}
