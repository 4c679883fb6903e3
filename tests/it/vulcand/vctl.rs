//! The real `vctl`, every command of it, against vulcand and against Flipgate.

use super::{vctl_program, vulcand_program};
use crate::support::etcd::Etcd;
use crate::support::{
    Directory, Flipgate, Pod, Process, TestCertificate, flipgate, free_port, get, shared, until,
};
use ::flipgate::model::{Object, ObjectKey, Strictness};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Seals nothing but these tests' key pairs.
const SEAL_KEY: &str = "1b727a055500edd9ab826840ce9428dc8bace1c04addc67bbac6b096e25ede4b";

/// Waits on a thread that may hold a lock.
fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

/// Where `vctl` finds an API.
struct Side {
    vctl: PathBuf,
    url: String,
    /// What a listener is to be bound to.
    port: String,
}

/// A run of `vctl`: its exit code and what it printed.
#[derive(Debug, PartialEq)]
struct Ran {
    code: Option<i32>,
    out: String,
}

impl Side {
    fn at(vctl: &Path, admin: SocketAddr) -> Self {
        Self { vctl: vctl.to_owned(), url: format!("http://{admin}"), port: free_port().to_string() }
    }

    /// Words stand between single blanks; `PORT` is this side's own.
    fn run(&self, line: &str) -> Ran {
        let words = line.split(' ').map(|word| word.replace("PORT", &self.port));
        let output =
            Command::new(&self.vctl).env_clear().args(words).args(["--vulcan", &self.url]).output().unwrap();
        assert!(output.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        let out = String::from_utf8_lossy(&output.stdout).replace(&self.port, "PORT");
        Ran { code: output.status.code(), out }
    }
}

/// The real daemon on a prefix of an etcd.
struct Vulcand {
    process: Process,
    /// Where its API is.
    admin: SocketAddr,
    /// Where it serves.
    address: SocketAddr,
}

impl Vulcand {
    fn start(program: &Path, etcd: &Etcd, prefix: &str, dir: &Path) -> Self {
        let (api, port) = (free_port(), free_port());
        let mut command = Command::new(program);
        command.env_clear().args([
            &format!("-etcd=http://{}", etcd.endpoint()),
            &format!("-etcdKey={prefix}"),
            &format!("-apiPort={api}"),
            &format!("-port={port}"),
            &format!("-sealKey={SEAL_KEY}"),
            "-apiInterface=127.0.0.1",
            "-interface=127.0.0.1",
        ]);
        let process = Process::start(&mut command, &dir.join("vulcand"));
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let mut vulcand = Self { process, admin: at(api), address: at(port) };
        until("vulcand answers", Duration::from_secs(20), || {
            assert!(vulcand.process.ended().is_none(), "vulcand ended");
            std::net::TcpStream::connect(vulcand.admin).ok().map(drop)
        });
        vulcand
    }
}

fn seal_key_file(dir: &Path) -> String {
    let path = dir.join("seal-key");
    std::fs::write(&path, SEAL_KEY).unwrap();
    path.display().to_string()
}

fn flipgate_on(etcd: &Etcd, prefix: &str, seal: &str) -> Flipgate {
    let store = format!("etcd://{}", etcd.endpoint());
    Flipgate::on(&store).arguments(&["--prefix", prefix, "--seal-key-file", seal]).ready()
}

/// Every value below a prefix. Sealed key pairs differ each time; that there is one is compared.
fn values(etcd: &Etcd, prefix: &str) -> BTreeMap<String, Value> {
    let options = etcd_client::GetOptions::new().with_prefix();
    let prefix = format!("{prefix}/");
    let found = now(async { etcd.client().await.get(prefix.as_str(), Some(options)).await.unwrap() });
    let one = |kv: &etcd_client::KeyValue| {
        let key = kv.key_str().unwrap().strip_prefix(&prefix).unwrap().to_owned();
        let mut value: Value = serde_json::from_slice(kv.value()).unwrap();
        if value["Settings"]["KeyPair"].is_string() {
            value["Settings"]["KeyPair"] = "sealed".into();
        }
        (key, json!({ "value": value, "leased": kv.lease() != 0 }))
    };
    found.kvs().iter().map(one).collect()
}

/// Whether this version offers a type of middleware of vulcand's.
fn offered(kind: &str) -> bool {
    let key = ObjectKey::parse("middlewares/m").unwrap();
    let value = json!({ "Type": kind, "Middleware": {} });
    let findings = Object::parse_value(&key, &value, Strictness::Stored).findings;
    !findings.iter().any(|one| one.reason.contains("not offered"))
}

/// The commands, in order: what a command says depends on those before it. `CERT`, `KEY` are files.
const COMMANDS: [&str; 58] = [
    "log set_severity -s info",
    "log get_severity",
    "log set_severity -s warn",
    "log get_severity",
    "log set_severity -s loud",
    "top -refresh 0",
    "top -refresh 0 -limit 5 -b b1",
    "backend ls",
    "backend show -id b1",
    "backend upsert -id b1",
    "backend upsert -id b10 -readTimeout 5s -dialTimeout 2s -handshakeTimeout 3s -keepAlivePeriod 30s -maxIdleConns 12",
    "backend upsert -id tls -tlsSkipVerify -tlsSessionTicketsOff -tlsMinV VersionTLS12 -tlsMaxV VersionTLS12 -tlsCS TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "backend upsert -id cache -tlsSessionCache LRU -tlsSessionCacheCapacity 99 -tlsPreferServerCS",
    "backend upsert",
    "backend ls",
    "server ls -b b1",
    "server upsert -b b1 -id s1 -url http://127.0.0.1:5000",
    "server upsert -b b1 -id t10 -url http://127.0.0.1:5001 -ttl 600s",
    "server upsert -b zz -id s1 -url http://127.0.0.1:5000",
    "server upsert -b b1 -id s2 -url zz",
    "server ls -b b1",
    "server ls -b zz",
    "server show -b b1 -id s1",
    "server show -b b1 -id zz",
    "backend show -id b1",
    "backend show -id b10",
    "frontend ls",
    "frontend upsert -id f1 -route Host(`a.example`)&&Path(`/f1`) -b b1",
    "frontend upsert -id f10 -route PathRegexp(`/f10/.*`) -b b1 -ttl 600s -maxMemBodyKB 3 -maxBodyKB 9 -failoverPredicate IsNetworkError()&&Attempts()<2 -forwardHost proxy.example -trustForwardHeader -passHostHeader",
    "frontend upsert -id f2 -route Path(`/f2`) -b zz",
    "frontend upsert -id f2 -route Pat(`/f2`) -b b1",
    "frontend upsert -id f2 -route Path(`/f2`)",
    "frontend ls",
    "frontend show -id f1",
    "frontend show -id zz",
    "listener ls",
    "listener upsert -id l1 -proto http -net tcp -addr 127.0.0.1:PORT -scope Host(`a.example`)",
    "listener upsert -id l1 -proto ftp -net tcp -addr 127.0.0.1:PORT",
    "listener ls",
    "listener show -id l1",
    "listener show -id zz",
    "host ls",
    "host upsert -name plain.example",
    "host upsert -name ocsp.example -cert CERT -privateKey KEY -ocspSkipCheck -ocspPeriod 2h -ocspResponder http://ocsp.example",
    "host upsert",
    "host upsert -name x.example -cert CERT",
    "host ls",
    "host show -name ocsp.example",
    "host show -name zz.example",
    "backend rm -id b10",
    "server rm -b b1 -id s1",
    "server rm -b b1 -id zz",
    "frontend rm -id f10",
    "host rm -name plain.example",
    "host rm -name zz.example",
    "listener rm -id l1",
    "backend ls",
    "frontend ls",
];

/// Type, settings.
const MIDDLEWARES: [(&str, &str); 6] = [
    ("rewrite", "-regexp ^(.*)$ -replacement $1 -redirect"),
    ("ratelimit", "-requests 10 -period 2 -burst 30 -var request.host -rateVar request.header.X-Rates"),
    ("ratelimit", "-requests 1 -period 1 -ttl 600s -priority 7"),
    ("connlimit", "-conns 10 -var request.header.X-Who"),
    (
        "cbreaker",
        "-condition NetworkErrorRatio()>0.5||LatencyAtQuantileMS(50.0)>200 -fallbackDuration 20s -recoveryDuration 11s -checkPeriod 200ms -fallback {\"Type\":\"response\",\"Action\":{\"StatusCode\":503,\"Body\":\"x\"}}",
    ),
    ("trace", "-addr syslog://127.0.0.1:514?f=MAIL&sev=INFO -reqHeader X-A -respHeader X-B"),
];

#[test]
fn every_command_gives_the_same() {
    let _shared = shared();
    let (Some(vctl), Some(program)) = (vctl_program(), vulcand_program()) else { return };
    let etcd = now(Etcd::start());
    let dir = tempfile::tempdir().unwrap();
    let seal = seal_key_file(dir.path());
    let vulcand = Vulcand::start(&program, &etcd, "theirs", dir.path());
    let flipgate = flipgate_on(&etcd, "ours", &seal);
    let theirs = Side::at(&vctl, vulcand.admin);
    let ours = Side::at(&vctl, flipgate.admin().address());

    let pair = TestCertificate::of(&["ocsp.example"]);
    let (cert, key) = (pair.write(dir.path(), "cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&key, &pair.key).unwrap();
    let files = |line: &str| {
        line.replace("CERT", &cert.display().to_string()).replace("KEY", &key.display().to_string())
    };
    for line in COMMANDS {
        let line = files(line);
        assert_eq!(ours.run(&line), theirs.run(&line), "vctl {line}");
    }
    // vulcand shows its own innards here.
    let (refused, wanted) = (ours.run("backend rm -id b1"), theirs.run("backend rm -id b1"));
    assert!(wanted.out.contains("can not delete backend 'b1', it is in use by [{f1 "), "{}", wanted.out);
    assert!(refused.out.contains("can not delete backend 'b1', it is in use by [f1]"), "{}", refused.out);
    assert_eq!(refused.code, wanted.code);
    assert_eq!(values(&etcd, "ours"), values(&etcd, "theirs"));

    for (number, (kind, settings)) in MIDDLEWARES.iter().enumerate() {
        let id = format!("m{number}");
        let upsert = format!("{kind} upsert -f f1 -id {id} {settings}");
        if !offered(kind) {
            let refused = ours.run(&upsert);
            assert!(refused.out.contains("not offered by this version"), "{upsert}: {}", refused.out);
            continue;
        }
        assert_eq!(ours.run(&upsert), theirs.run(&upsert), "vctl {upsert}");
        assert_eq!(values(&etcd, "ours"), values(&etcd, "theirs"), "after {upsert}");
        for line in ["frontend show -id f1".to_owned(), format!("{kind} upsert -f zz -id {id} {settings}")] {
            assert_eq!(ours.run(&line), theirs.run(&line), "vctl {line}");
        }
    }
    for (number, (kind, _)) in MIDDLEWARES.iter().enumerate() {
        let line = format!("{kind} rm -f f1 -id m{number}");
        assert_eq!(ours.run(&line), theirs.run(&line), "vctl {line}");
    }
    for line in
        ["frontend show -id f1", "frontend rm -id f1", "backend rm -id b1", "backend ls", "server ls -b b1"]
    {
        assert_eq!(ours.run(line), theirs.run(line), "vctl {line}");
    }
    assert_eq!(values(&etcd, "ours"), values(&etcd, "theirs"));
}

/// Either writes, both read; either serves what the other wrote.
#[test]
fn what_either_writes_the_other_reads() {
    let _shared = shared();
    let (Some(vctl), Some(program)) = (vctl_program(), vulcand_program()) else { return };
    let etcd = now(Etcd::start());
    let dir = tempfile::tempdir().unwrap();
    let seal = seal_key_file(dir.path());
    let vulcand = Vulcand::start(&program, &etcd, "/vulcand", dir.path());
    let flipgate = flipgate_on(&etcd, "/vulcand", &seal);
    let theirs = Side::at(&vctl, vulcand.admin);
    let ours = Side { port: theirs.port.clone(), ..Side::at(&vctl, flipgate.admin().address()) };
    let pair = TestCertificate::of(&["a.example"]);
    let (cert, key) = (pair.write(dir.path(), "cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&key, &pair.key).unwrap();
    let pod = Pod::start("either");
    let lines = |name: &str| {
        [
            format!("backend upsert -id b-{name} -readTimeout 7s"),
            format!("server upsert -b b-{name} -id s -url http://{} -ttl 600s", pod.address()),
            format!("frontend upsert -id f-{name} -route Path(`/{name}`) -b b-{name} -passHostHeader"),
            format!("rewrite upsert -f f-{name} -id r -regexp ^(.*)/{name}$ -replacement $1/health"),
            format!(
                "host upsert -name {name}.example -cert {} -privateKey {}",
                cert.display(),
                key.display()
            ),
            format!("listener upsert -id l-{name} -proto http -net tcp -addr 127.0.0.1:{}", free_port()),
        ]
    };
    for (side, name) in [(&ours, "ours"), (&theirs, "theirs")] {
        for line in lines(name) {
            let ran = side.run(&line);
            assert!(ran.out.contains("OK: "), "vctl {line}: {}", ran.out);
        }
    }
    for line in [
        "backend ls",
        "backend show -id b-ours",
        "backend show -id b-theirs",
        "server ls -b b-ours",
        "server ls -b b-theirs",
        "frontend ls",
        "frontend show -id f-ours",
        "frontend show -id f-theirs",
        "host ls",
        "host show -name theirs.example",
        "listener ls",
        "listener show -id l-ours",
    ] {
        let (here, there) = (ours.run(line), theirs.run(line));
        assert_eq!(here, there, "vctl {line}");
        assert!(!here.out.contains("ERROR"), "vctl {line}: {}", here.out);
    }
    let routes = flipgate.admin().json("/v3/routes");
    let named = |route: &Value| route["frontend"].as_str().unwrap().to_owned();
    let mut frontends: Vec<_> = routes["routes"].as_array().unwrap().iter().map(named).collect();
    frontends.sort();
    assert_eq!(frontends, ["f-ours", "f-theirs"]);
    let problems = flipgate.admin().json("/v3/problems");
    // Two processes on one machine cannot both have a listener's address.
    let errors = problems["problems"].as_array().unwrap().iter();
    let errors = errors.filter(|one| one["severity"] == "error" && one["field"] != "Address.Address");
    assert_eq!(errors.cloned().collect::<Vec<_>>(), Vec::<Value>::new());
    for name in ["ours", "theirs"] {
        // vulcand's events come one by one.
        until(&format!("vulcand serves /{name}"), Duration::from_secs(20), || {
            (get(vulcand.address, "x.example", &format!("/{name}")).status == 200).then_some(())
        });
        let host = flipgate.admin().json(&format!("/v3/hosts/{name}.example"));
        assert_eq!(host["Settings"]["KeyPair"]["Redacted"], "sealed", "{host}");
    }
    // A removal is one for both.
    for (side, line) in [(&ours, "frontend rm -id f-theirs"), (&theirs, "frontend rm -id f-ours")] {
        assert!(side.run(line).out.contains("OK: frontend deleted"));
    }
    assert_eq!(ours.run("frontend ls"), theirs.run("frontend ls"));
}

/// What the proxy did is in `vctl top`, servers as well: vulcand has none there.
#[test]
fn top_shows_what_the_proxy_did() {
    let _shared = shared();
    let Some(vctl) = vctl_program() else { return };
    let directory = Directory::with_listener();
    let pod = Pod::start("one");
    directory.put_way("shop", "Host(`shop.example`)", pod.address());
    directory.put_way("gone", "Host(`gone.example`)", ([127, 0, 0, 1], 1).into());
    let flipgate = Flipgate::on(&directory.url()).ready();
    for host in ["shop.example", "shop.example", "gone.example"] {
        get(flipgate.address("http"), host, "/");
    }
    let side = Side::at(&vctl, flipgate.admin().address());
    let top = until("all is counted", Duration::from_secs(5), || {
        let ran = side.run("top -refresh 0");
        (ran.out.contains("200: 100.00") && ran.out.contains("502: 100.00")).then_some(ran.out)
    });
    let lines: Vec<Vec<&str>> = top.lines().map(|line| line.split_whitespace().collect()).collect();
    let begins = |words: &[&str]| lines.iter().any(|line| line.starts_with(words));
    assert!(begins(&["shop", "Host(`shop.example`)", "0.2"]), "{top}");
    assert!(begins(&["gone", "Host(`gone.example`)", "0.1"]), "{top}");
    assert!(begins(&["a", &format!("http://{}", pod.address()), "0.2"]), "{top}");
    let one = side.run("top -refresh 0 -b shop").out;
    assert!(!one.contains("gone.example") && one.contains("shop.example"), "{one}");
}

/// `vctl` has no token to give: a network that is trusted needs none.
#[test]
fn from_another_address_a_network_has_to_be_trusted() {
    let _shared = shared();
    let Some(vctl) = vctl_program() else { return };
    let etcd = now(Etcd::start());
    let dir = tempfile::tempdir().unwrap();
    // The machine's own address, as a neighbour would see it.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("this machine has an address beside loopback");
    let own = socket.local_addr().unwrap().ip();
    let start = |trusted: &str, name: &str| {
        let mut command = flipgate::command();
        command
            .args(["proxy", "--store", &format!("etcd://{}", etcd.endpoint()), "--admin"])
            .arg(SocketAddr::from((own, 0)).to_string())
            .args(["--admin-trusted", trusted, "--drain-delay", "0s", "--workers", "1", "--data-dir"])
            .arg(dir.path().join(name));
        let mut process = Process::start(&mut command, &dir.path().join(format!("output-{name}")));
        let address = process.printed("admin listening on http://", Duration::from_secs(20));
        let address = address.split_whitespace().next().unwrap().parse().unwrap();
        (process, Side::at(&vctl, address))
    };
    let (_trusting, side) = start(&format!("{own}/32"), "trusting");
    for (line, expected) in
        [("backend upsert -id b1", "OK: Backend(id=b1) upserted"), ("backend ls", "b1     http")]
    {
        let ran = side.run(line);
        assert!(ran.out.contains(expected), "vctl {line}: {}", ran.out);
    }
    let (_closed, side) = start("203.0.113.0/24", "closed");
    for line in ["backend ls", "backend upsert -id b2"] {
        let refused = side.run(line).out;
        assert!(refused.contains("ERROR: this address is not among those that need no token"), "{refused}");
    }
}

/// `vctl secret` needs no server; what it makes is read here.
#[test]
fn what_vctl_seals_is_opened() {
    let _shared = shared();
    let (Some(vctl), Some(_)) = (vctl_program(), vulcand_program()) else { return };
    let etcd = now(Etcd::start());
    let dir = tempfile::tempdir().unwrap();
    let local = Side { vctl, url: "http://127.0.0.1:1".to_owned(), port: "PORT".to_owned() };
    let key_file = dir.path().join("seal-key");
    let made = local.run(&format!("secret new_key -f {}", key_file.display()));
    assert_eq!(made.code, Some(0), "{}", made.out);
    let seal_key = std::fs::read_to_string(&key_file).unwrap();
    let pair = TestCertificate::of(&["a.example"]);
    let (cert, key) = (pair.write(dir.path(), "cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&key, &pair.key).unwrap();
    let sealed_file = dir.path().join("sealed");
    let sealed = local.run(&format!(
        "secret seal_keypair -sealKey {} -cert {} -privateKey {} -f {}",
        seal_key.trim(),
        cert.display(),
        key.display(),
        sealed_file.display()
    ));
    assert_eq!(sealed.code, Some(0), "{}", sealed.out);
    let sealed = std::fs::read_to_string(&sealed_file).unwrap();
    let host = json!({ "Settings": { "KeyPair": sealed.trim() } }).to_string();
    now(async { etcd.client().await.put("/p/hosts/a.example/host", host, None).await.unwrap() });
    let flipgate = flipgate_on(&etcd, "/p", &key_file.display().to_string());
    let told = flipgate.admin().json("/v2/hosts/a.example");
    assert!(told["Settings"]["KeyPair"]["Cert"].is_string(), "{told}");
    assert_eq!(told["Settings"]["KeyPair"]["Key"], Value::Null);
}
