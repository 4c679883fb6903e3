//! The program as a process: its flags, its exit codes, how it ends, and what it tells.

use crate::support::flipgate::{command, verb};
use crate::support::{
    Connection, Directory, Flipgate, Keys, Nginx, Python, TestCertificate, free_port, get, shared, until,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A proxy over a directory with a way to a server that can be slow.
fn scene(arguments: &[&str]) -> (Python, Directory, Flipgate) {
    let server = Python::upstream();
    let directory = Directory::with_listener();
    directory.put_way("a", "PathPrefix(`/`)", server.address());
    let flipgate = Flipgate::on(&directory.url()).arguments(arguments).ready();
    (server, directory, flipgate)
}

#[test]
fn a_proxy_without_a_store_says_what_there_is() {
    let (code, _, error) = verb(&["proxy"], Path::new("/"));
    assert_eq!(code, 2);
    for choice in ["--store dir:", "--store etcd://", "flipgate demo"] {
        assert!(error.contains(choice), "{error}");
    }
    let (code, _, error) = verb(&["proxy", "--store", "redis://x"], Path::new("/"));
    assert_eq!(code, 2, "{error}");
    let (code, _, error) = verb(&["proxy", "--stoer", "x"], Path::new("/"));
    assert!(code == 2 && error.contains("--store"), "the nearest flag is named: {error}");
}

#[test]
fn a_data_directory_belongs_to_one_process() {
    let _machine = shared();
    let (_server, directory, flipgate) = scene(&[]);
    let output = command()
        .args(["proxy", "--admin", "off", "--store", &directory.url(), "--data-dir"])
        .arg(flipgate.data_dir())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_proxy_that_is_told_to_end_lets_requests_end() {
    let _machine = shared();
    let (_server, _directory, mut flipgate) = scene(&[]);
    let address = flipgate.address("http");
    let mut idle = Connection::open(address);
    assert_eq!(idle.get("a.example", "/echo").unwrap().status, 200);
    let mut busy = Connection::open(address);
    busy.send(b"GET /slow?ms=700 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let mut long = Connection::open(address);
    long.send(b"GET /download?bytes=100000000 HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!(long.head().unwrap().status, 200);
    flipgate.signal(Signal::SIGTERM);
    until("new connections are refused", Duration::from_secs(5), || Connection::try_open(address).err());
    assert!(idle.rest().is_empty(), "an idle connection is closed");
    let answer = busy.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "slow\n"));
    assert!(answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")));
    let mut body = vec![0; 100_000_000];
    long.read_exact(&mut body).expect("a download goes on to its end");
    let status = flipgate.end(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_drain_has_a_deadline_and_a_second_signal_needs_none() {
    let _machine = shared();
    // The end waits for the disk, which others may be using.
    let most = Duration::from_secs(6);
    for second in [false, true] {
        let timeout = if second { "60s" } else { "1s" };
        let (_server, _directory, mut flipgate) = scene(&["--drain-timeout", timeout]);
        let address = flipgate.address("http");
        let mut stuck = Connection::open(address);
        stuck.send(b"POST /upload HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\nx");
        flipgate.signal(Signal::SIGTERM);
        until("new connections are refused", Duration::from_secs(5), || Connection::try_open(address).err());
        let begin = Instant::now();
        if second {
            flipgate.signal(Signal::SIGTERM);
        }
        flipgate.end(most);
        assert!(begin.elapsed() < most);
    }
}

#[test]
fn readiness_goes_before_the_listeners_do() {
    let _machine = shared();
    let server = Nginx::named("a");
    let directory = Directory::with_listener();
    directory.put_way("a", "PathPrefix(`/`)", server.address());
    let health = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut flipgate = Flipgate::on(&directory.url())
        .arguments(&["--health", &health.to_string(), "--drain-delay", "2s"])
        .ready();
    let address = flipgate.address("http");
    assert_eq!(get(health, "x", "/healthz").status, 200);
    assert_eq!(get(health, "x", "/readyz").status, 200);
    assert_eq!(get(health, "x", "/v3/status").status, 404, "the health port tells nothing else");
    assert_eq!(get(address, "a.example", "/").status, 200);
    let metrics = get(health, "x", "/metrics").text();
    assert!(metrics.contains("flipgate_requests_total{frontend=\"a\",code=\"200\"} 1"), "{metrics}");
    assert!(metrics.contains("flipgate_table_revision"), "{metrics}");
    flipgate.signal(Signal::SIGTERM);
    until("it says not ready", Duration::from_secs(1), || {
        (get(health, "x", "/readyz").status == 503).then_some(())
    });
    assert_eq!(get(address, "a.example", "/").status, 200, "whoever has not noticed is still served");
    assert!(flipgate.end(Duration::from_secs(10)).success());
}

#[test]
fn listeners_of_this_machine() {
    let _machine = shared();
    let server = Nginx::named("a");
    let directory = Directory::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = |address: String| json!({"Protocol": "http", "Address": {"Network": "tcp", "Address": address}});
    directory.put("listeners/moved", &at("203.0.113.1:80".to_owned()));
    directory.put("listeners/off", &at("203.0.113.1:81".to_owned()));
    directory.put("listeners/taken", &at(taken.local_addr().unwrap().to_string()));
    directory.put_way("a", "PathPrefix(`/`)", server.address());
    let flipgate = Flipgate::on(&directory.url())
        .arguments(&["--listener", "moved=127.0.0.1:0", "--listener", "off=off"])
        .ready();
    assert_eq!(get(flipgate.address("moved"), "a.example", "/").text(), "a\n");
    let problem = flipgate.admin().problem("the taken port", |one| one["key"] == "listeners/taken");
    assert_eq!((&problem["severity"], &problem["inForce"]), (&json!("error"), &json!("none")));
    let listeners = flipgate.admin().status()["listeners"].clone();
    assert_eq!(listeners.as_array().unwrap().len(), 1, "{listeners}");
}

#[test]
fn a_line_of_the_access_log() {
    let _machine = shared();
    let log = tempfile::tempdir().unwrap();
    let file = log.path().join("access");
    let (_server, _directory, flipgate) = scene(&["--access-log", file.to_str().unwrap()]);
    let address = flipgate.address("http");
    assert_eq!(get(address, "A.Example:80", "/echo?secret=1").status, 200);
    let read = |lines: usize| {
        until("lines are written", Duration::from_secs(5), || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let found =
                text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
            (found.len() == lines).then_some(found)
        })
    };
    let line = read(1).remove(0);
    let fields = line.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>();
    let wanted = "time id client listener protocol tls method host path status reason frontend backend server attempts \
                  bytes_in bytes_out duration_us upstream_us revision";
    assert_eq!(fields, wanted.split_whitespace().collect::<Vec<_>>());
    for (field, value) in [
        ("client", json!("127.0.0.1")),
        ("listener", json!("http")),
        ("protocol", json!("HTTP/1.1")),
        ("method", json!("GET")),
        ("host", json!("a.example")),
        ("path", json!("/echo")),
        ("status", json!(200)),
        ("reason", json!(null)),
        ("frontend", json!("a")),
        ("backend", json!("a")),
        ("server", json!("a")),
        ("attempts", json!(1)),
        ("tls", json!(null)),
        ("bytes_in", json!(0)),
    ] {
        assert_eq!(line[field], value, "{field} of {line}");
    }
    // A rotated file is left and a new one begun.
    let rotated = log.path().join("rotated");
    std::fs::rename(&file, &rotated).unwrap();
    flipgate.signal(Signal::SIGHUP);
    until("the file is opened anew", Duration::from_secs(5), || file.exists().then_some(()));
    get(address, "a.example", "/echo");
    read(1);
    assert_eq!(std::fs::read_to_string(&rotated).unwrap().lines().count(), 1);
}

#[test]
fn certificates_change_and_no_connection_drops() {
    let _machine = shared();
    let server = Nginx::named("a");
    let directory = Directory::new();
    directory.put("listeners/https", &crate::support::directory::listener("https"));
    directory.put_way("a", "PathPrefix(`/`)", server.address());
    let (first, second) = (TestCertificate::of(&["a.example"]), TestCertificate::of(&["a.example"]));
    let other = TestCertificate::of(&["*.b.example"]);
    directory.put("hosts/a.example/host", &first.host(true));
    directory.put("hosts/b/host", &other.host(false));
    let flipgate = Flipgate::on(&directory.url()).ready();
    let port = flipgate.address("https").port();
    let files = tempfile::tempdir().unwrap();
    let trusted = |certificate: &TestCertificate, name: &str| certificate.write(files.path(), name);
    let sees = |host: &str, trusted: &Path, version: &str| {
        let output = Command::new("curl")
            .args(["--silent", "--max-time", "5", version, "--cacert"])
            .arg(trusted)
            .args(["--resolve", &format!("{host}:{port}:127.0.0.1"), &format!("https://{host}:{port}/")])
            .output()
            .unwrap();
        output.stdout == b"a\n"
    };
    let (first_file, second_file) = (trusted(&first, "first"), trusted(&second, "second"));
    let other_file = trusted(&other, "other");
    for version in ["--tlsv1.3", "--tls-max=1.2", "--http1.1", "--http2"] {
        let version = if version == "--tls-max=1.2" { "--tlsv1.2" } else { version };
        assert!(sees("a.example", &first_file, version), "{version}");
    }
    assert!(sees("x.b.example", &other_file, "--http2"), "names in certificates count");
    assert!(!sees("a.example", &second_file, "--http2"));
    directory.put("hosts/a.example/host", &second.host(true));
    until("the new certificate is shown", Duration::from_secs(5), || {
        sees("a.example", &second_file, "--http2").then_some(())
    });
    // One whose key is another's changes nothing.
    let mixed = TestCertificate { certificate: first.certificate.clone(), key: second.key.clone() };
    directory.put("hosts/a.example/host", &mixed.host(true));
    let problem = flipgate
        .admin()
        .problem("the key", |one| one["key"] == "hosts/a.example/host" && one["severity"] == "error");
    assert_eq!(problem["inForce"], "previous");
    assert!(sees("a.example", &second_file, "--http2"));
    let told = format!(
        "{problem}{}{}",
        flipgate.admin().ask("GET", "/v3/hosts/a.example").text(),
        flipgate.output()
    );
    assert!(!told.contains("PRIVATE KEY"), "secrets stay in");
    use base64::Engine;
    let key = base64::engine::general_purpose::STANDARD.encode(&second.key);
    assert!(!told.contains(&key[..40]), "secrets stay in");
}

#[test]
fn verbs_on_etcd_reach_a_running_proxy() {
    let _machine = shared();
    let (blue, green) = (Nginx::named("blue"), Nginx::named("green"));
    let mut keys = Keys::start();
    let flipgate = Flipgate::on(&keys.url()).start();
    let dir = tempfile::tempdir().unwrap();
    let store = keys.url();
    let admin = format!("http://{}", flipgate.admin().address());
    let run = |arguments: &[&str], code: i32| {
        let (got, out, error) = verb(arguments, dir.path());
        assert_eq!(got, code, "{arguments:?}: {out}{error}");
        out
    };
    let table = format!(
        "kind: listener\nid: http\nspec: {{protocol: http, address: {{network: tcp, address: \"127.0.0.1:0\"}}}}\n---\n\
         kind: backend\nid: shop-blue\nspec: {{type: http}}\n---\n\
         kind: server\nid: shop-blue/a\nspec: {{url: \"http://{}\"}}\n---\n\
         kind: backend\nid: shop-green\nspec: {{type: http}}\n---\n\
         kind: server\nid: shop-green/a\nspec: {{url: \"http://{}\"}}\n---\n\
         kind: frontend\nid: shop\nspec: {{backendId: shop-blue, route: 'Host(\"shop.example\")'}}\n",
        blue.address(),
        green.address()
    );
    std::fs::write(dir.path().join("table.yaml"), table).unwrap();
    run(&["check", "-f", "table.yaml"], 0);
    run(&["apply", "-f", "table.yaml", "--store", &store], 0);
    let address = flipgate.address("http");
    until("blue answers", Duration::from_secs(5), || {
        (get(address, "shop.example", "/").text() == "blue\n").then_some(())
    });
    // One field changes and the others stay, also those that are not known here.
    let value = json!({"BackendId": "shop-blue", "Route": "Host(\"shop.example\")", "Amdatu": {"x": 1}});
    keys.put("frontends/shop/frontend", &value);
    run(&["put", "frontend", "shop", "--set", "BackendId=shop-green", "--store", &store], 0);
    until("green answers", Duration::from_secs(5), || {
        (get(address, "shop.example", "/").text() == "green\n").then_some(())
    });
    let shown = run(&["get", "frontend", "shop", "--store", &store, "--output", "json"], 0);
    assert!(shown.contains("\"Amdatu\"") && shown.contains("shop-green"), "{shown}");
    // Over the admin API as over the store.
    run(&["put", "frontend", "shop", "--set", "BackendId=shop-blue", "--admin", &admin], 0);
    until("blue answers again", Duration::from_secs(5), || {
        (get(address, "shop.example", "/").text() == "blue\n").then_some(())
    });
    let explained = run(&["explain", "GET", "http://shop.example/x", "--admin", &admin], 0);
    assert!(explained.contains("shop-blue"), "{explained}");
    run(&["explain", "GET", "http://other.example/", "--admin", &admin], 1);
    let status = run(&["status", "--admin", &admin, "--output", "json"], 0);
    assert_eq!(serde_json::from_str::<Value>(&status).unwrap()["ready"], true, "{status}");
    // What would break is refused with the nearest name.
    let (code, out, error) =
        verb(&["put", "frontend", "shop", "--set", "BackendIdd=x", "--store", &store], dir.path());
    assert!(code != 0 && format!("{out}{error}").contains("BackendId"), "{out}{error}");
    run(&["get", "frontend", "nobody", "--store", &store], 1);
    run(&["delete", "backend", "shop-blue", "--store", &store], 1);
    let exported = run(&["export", "--store", &store], 0);
    std::fs::write(dir.path().join("exported.yaml"), exported).unwrap();
    let diff = run(&["apply", "-f", "exported.yaml", "--store", &store, "--dry-run", "--diff", "--prune"], 0);
    assert!(!diff.contains("+++"), "an export applied changes nothing: {diff}");
    run(&["delete", "frontend", "shop", "--store", &store], 0);
    until("the route is gone", Duration::from_secs(5), || {
        (get(address, "shop.example", "/").status == 404).then_some(())
    });
}

#[test]
fn writes_over_the_admin_api() {
    let _machine = shared();
    let server = Nginx::named("a");
    let mut keys = Keys::start();
    keys.put_listener();
    let flipgate = Flipgate::on(&keys.url()).ready();
    let admin = flipgate.admin();
    let body = json!({"put": [
        {"key": "backends/a/backend", "value": {"Type": "http"}},
        {"key": "backends/a/servers/1", "value": {"URL": format!("http://{}", server.address())}},
        {"key": "frontends/a/frontend", "value": {"BackendId": "a", "Route": "Host(`a.example`)"}},
    ]});
    let answer = admin.send("POST", "/v3/transactions", &[], Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    admin.served(answer.json()["revision"].as_i64().unwrap());
    assert_eq!(get(flipgate.address("http"), "a.example", "/").text(), "a\n");

    let frontend = json!({"BackendId": "a", "Route": "Host(`b.example`)"});
    let put = |fields: &[(&str, &str)], value: &Value| {
        admin.send("PUT", "/v3/frontends/b", fields, Some(value)).status
    };
    assert_eq!(put(&[("If-Match", "1")], &frontend), 412);
    assert_eq!(put(&[("If-None-Match", "*")], &frontend), 200);
    assert_eq!(put(&[("If-None-Match", "*")], &frontend), 412);
    assert_eq!(put(&[], &json!({"BackendId": "a", "Route": "Host("})), 422);
    assert_eq!(put(&[], &json!({"BackendId": "a", "Route": "Host(`b`)", "Colour": 1})), 422);
    let answer = admin.ask("GET", "/v3/status?revision=999999&timeout=100ms");
    assert_eq!(answer.status, 504);
    assert_eq!(admin.ask("GET", "/v3/frontends/nobody").status, 404);
    let routes = admin.json("/v3/routes?host=a.example");
    let first = &routes["routes"][0];
    assert_eq!((&first["frontend"], &first["resolved"]), (&json!("a"), &json!("a")), "{routes}");
    assert_eq!(first["servers"][0]["id"], "1", "{routes}");
    keys.kill();
    admin.state("the store is away", Duration::from_secs(15), |status| status["store"]["connected"] == false);
    assert_eq!(put(&[], &frontend), 503);
}

#[test]
fn the_admin_api_is_for_this_machine_alone_unless_told_otherwise() {
    let _machine = shared();
    let directory = Directory::with_listener();
    let data = tempfile::tempdir().unwrap();
    let output = command()
        .args(["proxy", "--store", &directory.url(), "--admin", "0.0.0.0:0", "--data-dir"])
        .arg(data.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));

    let tokens = data.path().join("tokens");
    std::fs::write(&tokens, "read see-only\nwrite may-change\n").unwrap();
    let flipgate =
        Flipgate::on(&directory.url()).arguments(&["--admin-token-file", tokens.to_str().unwrap()]).start();
    let status = |method: &str, path: &str, fields: &[(&str, &str)]| {
        let body = (method != "GET").then(|| json!({"Type": "http"}));
        flipgate.admin().send(method, path, fields, body.as_ref()).status
    };
    let (reader, writer) = (("Authorization", "Bearer see-only"), ("Authorization", "Bearer may-change"));
    assert_eq!(status("GET", "/v3/status", &[]), 401);
    assert_eq!(status("GET", "/v3/status", &[("Authorization", "Bearer guess")]), 401);
    assert_eq!(status("GET", "/v3/status", &[reader]), 200);
    assert_eq!(status("PUT", "/v3/backends/x", &[reader]), 403);
    assert_eq!(status("PUT", "/v3/backends/x", &[writer]), 200);
    assert!(directory.path().join("backends/x").exists());
}

#[test]
fn the_unit_for_systemd_is_right() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/systemd");
    let dir = tempfile::tempdir().unwrap();
    let unit = std::fs::read_to_string(units.join("flipgate.service")).unwrap();
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("/usr/local/bin/flipgate"));
    // The flags exist: what is missing is a seal key, not a flag.
    let arguments =
        words.chain(["--seal-key-file", "/nowhere/key", "--data-dir", "/nowhere"]).collect::<Vec<_>>();
    let (code, _, error) = verb(&arguments, Path::new("/"));
    assert!(code == 2 && error.contains("--seal-key-file"), "{error}");
    for setting in ["Type=notify", "DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict"] {
        assert!(unit.lines().any(|line| line == setting), "{setting}");
    }
    // It looks for the program, which need not be there.
    std::fs::write(dir.path().join("flipgate.service"), unit.replace("/usr/local/bin/flipgate", "/bin/true"))
        .unwrap();
    std::fs::copy(units.join("flipgate.socket"), dir.path().join("flipgate.socket")).unwrap();
    let files = ["flipgate.service", "flipgate.socket"].map(|name| dir.path().join(name));
    match Command::new("systemd-analyze").arg("verify").args(&files).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
        Err(_) => println!("not run: systemd-analyze is not there"),
    }
}

#[test]
fn it_runs_without_rights_and_on_sockets_of_systemd() {
    let _machine = shared();
    if !nix::unistd::geteuid().is_root() {
        return println!("not run: only root can become nobody, and every other test has no rights then");
    }
    let server = Nginx::named("a");
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("flipgate");
    std::fs::copy(crate::support::flipgate::program(), &program).unwrap();
    // As systemd does: the socket is descriptor 3, and the process is told that it is for it.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let directory = Directory::new();
    directory.put(
        "listeners/http",
        &json!({"Protocol": "http", "Address": {"Network": "tcp", "Address": address.to_string()}}),
    );
    directory.put_way("a", "PathPrefix(`/`)", server.address());
    let routes = dir.path().join("routes");
    assert!(Command::new("cp").arg("-r").arg(directory.path()).arg(&routes).status().unwrap().success());
    let owned = Command::new("chown").args(["-R", "65534:65534"]).arg(dir.path()).status().unwrap();
    assert!(owned.success());
    // The shell puts the socket, its standard input, in its place and then becomes the program.
    let script = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec setpriv --reuid=65534 --regid=65534 \
                  --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \"$@\"";
    let mut command = Command::new("sh");
    command.env_remove("FLIPGATE_CONFIG").args(["-c", script, "sh"]).arg(&program);
    command
        .args(["proxy", "--admin", "off", "--drain-delay", "0s", "--store"])
        .arg(format!("dir:{}", routes.display()))
        .arg("--data-dir")
        .arg(dir.path().join("data"));
    let log = dir.path().join("output");
    let output = std::fs::File::create(&log).unwrap();
    let mut child = command
        .stdin(std::process::Stdio::from(std::os::fd::OwnedFd::from(socket)))
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(&log).unwrap();
    let answered = std::panic::catch_unwind(|| {
        until("it answers", Duration::from_secs(20), || {
            let mut connection = Connection::try_open(address).ok()?;
            connection.set_silence_max(Duration::from_secs(20));
            Some(connection.get("a.example", "/").ok()?.status == 200)
        })
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let ended = child.wait().unwrap();
    assert!(answered.is_ok_and(|answered| answered), "{}", said());
    assert!(status.contains("Uid:\t65534\t65534"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    assert!(ended.success(), "{}", said());
    assert!(dir.path().join("data/lock").exists());
}
