//! Verbs as a user runs them, over a directory.

use super::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What a run left.
pub(super) struct Ran {
    pub(super) exit: Exit,
    pub(super) out: String,
    pub(super) err: String,
}

pub(super) fn run_with(args: &[&str], stdin: &str, env: &[(&str, &str)]) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let env: BTreeMap<&str, &str> = env.iter().copied().collect();
    let variable = |name: &str| match name {
        // No settings of this machine.
        "FLIPGATE_CONFIG" => Some(env.get(name).copied().unwrap_or("/dev/null").to_owned()),
        _ => env.get(name).map(|value| (*value).to_owned()),
    };
    let mut stdin = stdin.as_bytes();
    let args = std::iter::once("flipgate").chain(args.iter().copied());
    let exit = {
        let mut plain = (anstream::StripStream::new(&mut out), anstream::StripStream::new(&mut err));
        let mut io = Io { stdin: &mut stdin, stdout: &mut plain.0, stderr: &mut plain.1, env: &variable };
        run(args.map(OsString::from), &mut io)
    };
    Ran { exit, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// A store in a directory of its own.
struct Stored {
    dir: tempfile::TempDir,
    url: String,
}

impl Stored {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("routes")).unwrap();
        let url = format!("dir:{}", dir.path().join("routes").display());
        Self { dir, url }
    }

    /// A blue and a green backend, an alias, a frontend.
    fn shop() -> Self {
        let stored = Self::new();
        let documents = "\
kind: server\nid: blue/a\nspec: {url: 'http://127.0.0.1:1'}\n---
kind: server\nid: green/a\nspec: {url: 'http://127.0.0.1:2'}\n---
kind: backend\nid: blue\nspec: {type: http}\n---
kind: backend\nid: shop\nspec: {type: alias, target: blue}\n---
kind: frontend\nid: shop\nspec: {backendId: shop, route: 'Host(\"shop.example\") && PathPrefix(\"/\")'}\n---
kind: frontend\nid: cart\nspec: {backendId: green, route: 'Host(\"shop.example\") && Path(\"/cart\") && Method(\"POST\")'}\n";
        let ran = stored.run_in(&["apply", "-f", "-"], documents);
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Done, ""), "{}", ran.err);
        stored
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.run_in(args, "")
    }

    fn run_in(&self, args: &[&str], stdin: &str) -> Ran {
        run_with(args, stdin, &[("FLIPGATE_STORE", &self.url)])
    }

    #[track_caller]
    fn check(&self, args: &[&str], exit: Exit, out: &str, err: &str) -> Ran {
        let ran = self.run(args);
        let all = format!("{args:?}\n{}\n{}", ran.out, ran.err);
        assert_eq!(ran.exit, exit, "{all}");
        assert!(ran.out.contains(out), "{out:?} is not in the result: {all}");
        assert!(ran.err.contains(err), "{err:?} is not in the messages: {all}");
        ran
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        self.dir.path().join(below)
    }
}

#[test]
fn the_command_line_is_sound() {
    use clap::CommandFactory;
    Program::command().debug_assert();
}

#[test]
fn help_version_and_usage() {
    let check = |args: &[&str], exit, out: &str, err: &str| {
        let ran = run_with(args, "", &[]);
        assert_eq!(ran.exit, exit, "{args:?} {}", ran.err);
        assert!(ran.out.contains(out) && ran.err.contains(err), "{args:?}\n{}\n{}", ran.out, ran.err);
    };
    check(&["--version"], Exit::Done, &format!("flipgate {}\n", env!("CARGO_PKG_VERSION")), "");
    check(&["--help"], Exit::Done, "flipgate demo", "");
    check(&["proxy", "--help"], Exit::Done, "--drain-delay <DURATION>", "");
    check(&[], Exit::Error, "", "Usage: flipgate");
    check(&["prxy"], Exit::Error, "", "proxy");
    check(&["get", "frontnd"], Exit::Error, "", "did you mean `frontend`?");
    check(&["put", "frontend", "x"], Exit::Error, "", "--file");
    check(&["get", "frontends", "--store", "dir:x", "--admin", "http://a"], Exit::Error, "", "--admin");
    check(&["completions", "bash"], Exit::Done, "_flipgate", "");
    for verb in [
        "proxy", "demo", "get", "put", "delete", "apply", "check", "export", "status", "explain", "confirm",
        "import", "secret",
    ] {
        check(&[verb, "--help"], Exit::Done, "Examples:", "");
    }
}

#[test]
fn help_is_that_of_the_verb() {
    let check = |args: &[&str], exit, out: &str, err: &str| {
        let ran = run_with(args, "", &[]);
        assert_eq!(ran.exit, exit, "{args:?} {}", ran.err);
        assert!(ran.out.contains(out) && ran.err.contains(err), "{args:?}\n{}\n{}", ran.out, ran.err);
    };
    for (asked, flag) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "get"], &["get", "--help"]),
        (&["help", "fleet", "forget"], &["fleet", "forget", "--help"]),
        (&["help", "help"], &["help", "--help"]),
    ] {
        let (asked, flag) = (run_with(asked, "", &[]), run_with(flag, "", &[]));
        assert_eq!((asked.exit, asked.out), (Exit::Done, flag.out));
    }
    check(
        &["help", "gett"],
        Exit::Error,
        "",
        "there is no help for `gett`; there is for proxy, upgrade, demo, ",
    );
    check(&["help", "middleware"], Exit::Done, "redirect", "help middleware TYPE");
    check(&["help", "middleware", "Redirect"], Exit::Done, "* `PrefixFrom` (path", "");
    check(&["help", "middleware", "redirct"], Exit::Error, "", "is no type of middleware; there are");
    check(&["help", "middleware", "redirect", "headers"], Exit::Error, "", "takes one type; 2 were given");
}

/// Every example of a middleware's page can be put, and is then what the store holds.
#[test]
fn examples_of_middlewares_can_be_put() {
    let stored = Stored::shop();
    let json = |args: &[&str]| -> serde_json::Value {
        let ran = stored.run(args);
        assert_eq!(ran.exit, Exit::Done, "{args:?} {}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    };
    let mut examples = 0;
    for page in json(&["help", "middleware", "--output", "json"]).as_array().unwrap() {
        let page = json(&["help", "middleware", page["type"].as_str().unwrap(), "--output", "json"]);
        for example in page["examples"].as_array().unwrap() {
            let id = format!("shop/{}-{examples}", page["type"].as_str().unwrap());
            for said in ["written", "is so already"] {
                let ran = stored.run_in(&["put", "middleware", &id, "-f", "-"], &example.to_string());
                assert!(
                    ran.exit == Exit::Done && ran.out.contains(said),
                    "{example} {} {}",
                    ran.out,
                    ran.err
                );
            }
            examples += 1;
        }
    }
    assert!(examples >= crate::model::MIDDLEWARE_TYPES.len());
}

#[test]
fn a_proxy_without_a_store_names_the_choices() {
    let ran = run_with(&["proxy"], "", &[]);
    assert_eq!(ran.exit, Exit::Error);
    for choice in ["--store dir:PATH", "--store etcd://", "flipgate demo"] {
        assert!(ran.err.contains(choice), "{}", ran.err);
    }
}

#[test]
fn settings_come_from_flags_variables_and_a_file() {
    let stored = Stored::shop();
    let file = stored.path("flipgate.toml");
    fs::write(&file, format!("[store]\nstore = \"{}\"\n", stored.url)).unwrap();
    let file = file.to_str().unwrap();
    for (args, env) in [
        (vec!["get", "backends", "--store", &stored.url], vec![]),
        (vec!["get", "backends", "--config", file], vec![]),
        (vec!["get", "backends"], vec![("FLIPGATE_CONFIG", file)]),
        (
            vec!["get", "backends"],
            vec![("FLIPGATE_STORE", stored.url.as_str()), ("FLIPGATE_ADMIN", "http://x")],
        ),
    ] {
        let ran = run_with(&args, "", &env);
        assert!(ran.out.contains("blue"), "{args:?} {}", ran.err);
    }
    fs::write(file, "[stor]\n").unwrap();
    let ran = run_with(&["get", "backends", "--config", file], "", &[]);
    assert!(ran.err.contains("flipgate.toml:1: `stor`") && ran.exit == Exit::Error, "{}", ran.err);
    for (store, said) in
        [("routes", "is no store"), ("dir:/no/such", "cannot be read"), ("etcd://a", "end point")]
    {
        let ran = run_with(&["get", "backends", "--store", store], "", &[]);
        assert!(ran.exit == Exit::Error && ran.err.contains(said), "{}", ran.err);
    }
}

#[test]
fn no_proxy_is_an_error_that_says_what_to_do() {
    let ran = run_with(&["status", "--admin", "http://127.0.0.1:9"], "", &[]);
    assert_eq!(ran.exit, Exit::Error);
    assert!(ran.err.contains("no proxy answers at http://127.0.0.1:9"), "{}", ran.err);
}

#[test]
fn objects_are_listed_and_shown() {
    let stored = Stored::shop();
    stored.check(&["get", "backends"], Exit::Done, "shop   alias  -> blue", "");
    stored.check(&["get", "frontends"], Exit::Done, "Path(\"/cart\")", "");
    stored.check(&["get", "servers"], Exit::Done, "green/a", "");
    let one = stored.check(&["get", "servers", "blue"], Exit::Done, "blue/a", "");
    assert!(!one.out.contains("green/a"));
    stored.check(&["get", "backend", "shop"], Exit::Done, "type: alias\ntarget: blue\n", "");
    stored.check(&["get", "backend", "shop", "--output", "json"], Exit::Done, "\"Target\": \"blue\"", "");
    stored.check(&["get", "hosts"], Exit::Done, "", "no hosts");
    stored.check(&["get", "backend", "none"], Exit::No, "", "there is no backend none");
}

#[test]
fn one_field_is_put() {
    let stored = Stored::shop();
    stored.check(&["put", "backend", "shop", "--set", "Target=green"], Exit::Done, "written at revision", "");
    stored.check(&["get", "backend", "shop"], Exit::Done, "target: green", "");
    stored.check(&["put", "backend", "shop", "--set", "Target=green"], Exit::Done, "is so already", "");
    stored.check(
        &["put", "backend", "shop", "--set", "Target=none"],
        Exit::Done,
        "written",
        "there is no backend none yet",
    );
    stored.check(&["put", "backend", "shop", "--set", "Target=green"], Exit::Done, "written", "");
    stored.check(&["put", "frontend", "shop", "--set", "Rout=x"], Exit::Error, "", "Route");
    stored.check(&["put", "frontend", "new", "--set", "BackendId=blue"], Exit::Error, "", "Route");
    stored.check(
        &["put", "backend", "shop", "--set", "Target=blue", "--expect", "absent"],
        Exit::No,
        "",
        "it exists",
    );
    stored.check(&["put", "backend", "shop", "--set", "Target=blue", "--expect", "1"], Exit::No, "", "not 1");
    stored.check(&["put", "server", "blue", "--set", "URL=http://a:1"], Exit::Error, "", "BACKEND/SERVER");
    stored.check(&["put", "server", "blue/a", "--set", "Weight=2", "--ttl", "5s"], Exit::Error, "", "etcd");
    let version = stored.run(&["get", "backend", "shop", "--output", "json"]).out;
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();
    let version = version["modRevision"].to_string();
    stored.check(
        &["put", "backend", "shop", "--set", "Target=blue", "--expect", &version],
        Exit::Done,
        "written",
        "",
    );
    let ran = stored.run_in(&["put", "middleware", "shop/m", "-f", "-"], "type: headers\nmiddleware: {}\n");
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    stored.check(&["get", "middlewares"], Exit::Done, "shop/m", "");
}

#[test]
fn what_is_named_is_not_deleted() {
    let stored = Stored::shop();
    stored.check(&["delete", "backend", "blue"], Exit::No, "", "is named by backend shop");
    stored.check(&["delete", "backend", "blue", "--force"], Exit::Done, "removed at revision", "");
    stored.check(&["get", "server", "blue/a"], Exit::Done, "url", "");
    stored.check(&["delete", "frontend", "cart", "--expect", "1"], Exit::No, "", "nothing was removed");
    stored.check(&["delete", "frontend", "cart"], Exit::Done, "removed", "");
    stored.check(&["delete", "frontend", "cart"], Exit::No, "", "there is no frontend cart");
}

#[test]
fn files_are_applied() {
    let stored = Stored::shop();
    let file = stored.path("f.yaml");
    let file_name = file.to_str().unwrap();
    fs::write(&file, "kind: backend\nid: shop\nspec: {type: alias, target: green}\n").unwrap();
    let dry = stored.check(
        &["apply", "-f", file_name, "--dry-run", "--diff"],
        Exit::Done,
        "-target: blue\n+target: green\n",
        "",
    );
    assert!(dry.out.contains("nothing was written"), "{}", dry.out);
    stored.check(&["get", "backend", "shop"], Exit::Done, "target: blue", "");
    stored.check(
        &["apply", "-f", file_name],
        Exit::Done,
        "changed  backend shop\n1 change written at revision",
        "",
    );
    stored.check(&["apply", "-f", file_name], Exit::Done, "nothing to do, 1 object so already", "");
    stored.check(&["apply", "-f", file_name, "--prune"], Exit::Done, "removed  backend blue", "");
    stored.check(&["get", "frontend", "shop"], Exit::Done, "shop.example", "");
    fs::write(&file, "kind: server\nid: blue/a\nspec: {url: 'http://127.0.0.1:1'}\n").unwrap();
    stored.check(
        &["apply", "-f", file_name, "--prune"],
        Exit::No,
        "",
        "pruning would remove what others name",
    );
    stored.check(
        &["apply", "-f", file_name, "--prune", "--force"],
        Exit::Done,
        "removed  server green/a",
        "",
    );
    fs::write(&file, "kind: backend\nid: b\nspec: {tipe: http}\n---\nkind: x\nid: y\nspec: {}\n").unwrap();
    stored.check(&["apply", "-f", file_name], Exit::Error, "", "document 2: \"x\" is no kind");
    stored.check(&["apply", "-f", "/no/such"], Exit::Error, "", "/no/such cannot be read");
}

#[test]
fn everything_wrong_is_found() {
    let stored = Stored::shop();
    stored.check(&["check"], Exit::Done, "", "6 objects checked: 0 errors, 0 warnings");
    fs::write(stored.path("routes/frontends/bad.yaml"), "route: Path(\nbackendId: none\n").unwrap();
    fs::write(stored.path("routes/backends/broken.yaml"), "a: [\n").unwrap();
    let found = stored.check(&["check"], Exit::No, "broken YAML", "2 errors");
    assert!(found.out.contains("frontends/bad"), "{}", found.out);
    stored.check(&["check", "--output", "json"], Exit::No, "\"errors\": 2", "");
    let path = stored.path("routes");
    stored.check(&["check", "-f", path.to_str().unwrap()], Exit::No, "frontends/bad", "2 errors");
    let ran = run_with(
        &["check", "-f", "-"],
        "kind: frontend\nid: f\nspec: {backendId: none, route: Path(\"/\")}",
        &[],
    );
    assert!(ran.exit == Exit::No && ran.out.contains("names the backend none"), "{}{}", ran.out, ran.err);
}

#[test]
fn what_is_exported_can_be_applied() {
    let stored = Stored::shop();
    let out = stored.path("out");
    stored.check(&["export", out.to_str().unwrap()], Exit::Done, "6 objects at revision", "");
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    assert_eq!(read(&out.join("backends/shop/backend.yaml")), "type: alias\ntarget: blue\n");
    stored.check(
        &["apply", "-f", out.to_str().unwrap()],
        Exit::Done,
        "nothing to do, 6 objects so already",
        "",
    );
    stored.check(&["export", out.to_str().unwrap()], Exit::Error, "", "is not empty");
    for format in ["yaml", "json"] {
        let documents = stored.run(&["export", "-", "--format", format]).out;
        let other = Stored::new();
        let ran = other.run_in(&["apply", "-f", "-"], &documents);
        assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
        other.check(&["apply", "-f", out.to_str().unwrap()], Exit::Done, "nothing to do", "");
    }
}

#[test]
fn private_keys_leave_only_when_asked() {
    let stored = Stored::new();
    let pem = |kind: &str| format!("-----BEGIN {kind}-----\\nSECRET\\n-----END {kind}-----\\n");
    let (cert, key) = (pem("CERTIFICATE"), pem("PRIVATE KEY"));
    let value = format!(
        "{{\"Settings\":{{\"Default\":true,\"KeyPair\":{{\"Cert\":\"{cert}\",\"Key\":\"{key}\"}}}}}}"
    );
    let ran = stored.run_in(&["put", "host", "a.example", "-f", "-"], &value);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    for args in [
        &["get", "host", "a.example"][..],
        &["get", "hosts"],
        &["get", "hosts", "--output", "json"],
        &["export", "-"],
    ] {
        let ran = stored.run(args);
        assert!(ran.exit == Exit::Done && !ran.out.contains("SECRET"), "{args:?} {}", ran.out);
    }
    stored.check(&["export", "-", "--with-keys"], Exit::Done, "SECRET", "");
    stored.check(&["put", "host", "a.example", "--set", "Settings.Default=false"], Exit::Done, "written", "");
    stored.check(&["export", "-", "--with-keys"], Exit::Done, "SECRET", "");
    stored.check(&["delete", "host", "a.example"], Exit::Done, "", "");

    let value = format!(
        "{{\"Settings\":{{\"TLS\":{{\"ServerName\":\"a\",\"KeyPair\":{{\"Cert\":\"{cert}\",\"Key\":\"{key}\"}}}}}}}}"
    );
    let ran = stored.run_in(&["put", "backend", "b", "-f", "-"], &value);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let ran = stored.run(&["get", "backend", "b"]);
    assert!(ran.out.contains("Redacted: plain") && !ran.out.contains("SECRET"), "{}", ran.out);
    let again = ran.out.replace("serverName: a", "serverName: b");
    let ran = stored.run_in(&["put", "backend", "b", "-f", "-"], &again);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    for args in [&["get", "backends", "--output", "json"][..], &["export", "-"]] {
        let ran = stored.run(args);
        assert!(ran.exit == Exit::Done && !ran.out.contains("SECRET"), "{args:?} {}", ran.out);
    }
    stored.check(&["export", "-", "--with-keys"], Exit::Done, "SECRET", "");
}

#[test]
fn a_request_is_explained_from_the_store() {
    let stored = Stored::shop();
    let explain = |args: &[&str], exit, out: &str| {
        let args: Vec<&str> = [&["explain"], args, &["--store", &stored.url]].concat();
        stored.check(&args, exit, out, "")
    };
    let ran = explain(&["GET", "http://shop.example/cart"], Exit::Done, "no: Method(\"POST\")");
    assert!(
        ran.out.contains("backend   shop -> blue") && ran.out.contains("http://127.0.0.1:1"),
        "{}",
        ran.out
    );
    explain(&["POST", "http://SHOP.example:8080/cart?x=1"], Exit::Done, "frontend  cart");
    explain(&["GET", "http://other.example/"], Exit::No, "no route takes it");
    explain(&["GET", "http://127.0.0.1/", "-H", "Host: shop.example"], Exit::Done, "frontend  shop");
    explain(&["GET", "http://shop.example/", "--output", "json"], Exit::Done, "\"matched\": {");
    stored.check(&["explain", "GET", "/cart", "--store", &stored.url], Exit::Error, "", "is no URL");
}

/// A proxy over a directory, with its admin API; it ends with its runtime.
fn proxy(stored: &Stored) -> (tokio::runtime::Runtime, crate::app::Running, String) {
    use crate::config::{Config, Partial, Setting};
    let mut flags = Partial::default();
    let data = stored.path("data").display().to_string();
    for (flag, value) in
        [("store", &*stored.url), ("data-dir", &data), ("admin", "127.0.0.1:0"), ("workers", "1")]
    {
        flags.set(Setting::of(flag).unwrap(), value);
    }
    flags.set(Setting::of("drain-delay").unwrap(), "0s");
    let config = Config::resolve(flags, |_| None, None).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let running = runtime.block_on(async {
        let running = crate::app::start(config).await.unwrap();
        running.ready().await;
        running
    });
    let admin = format!("http://{}", running.admin().unwrap());
    (runtime, running, admin)
}

#[test]
fn a_proxy_is_spoken_to_through_its_api() {
    let stored = Stored::shop();
    let (runtime, running, admin) = proxy(&stored);
    let check = |args: &[&str], exit, out: &str, err: &str| {
        let ran = run_with(args, "", &[("FLIPGATE_ADMIN", &admin)]);
        let all = format!("{args:?}\n{}\n{}", ran.out, ran.err);
        assert!(
            ran.exit == exit && ran.out.contains(out) && ran.err.contains(err),
            "{exit:?} {out:?} {err:?}: {all}"
        );
        ran
    };
    check(&["status"], Exit::Done, " is ready\n", "");
    check(&["status", "--output", "json"], Exit::Done, "\"ready\": true", "");
    check(&["status", "--wait-revision", "999", "--timeout", "10ms"], Exit::No, "", "999");
    check(&["get", "backends"], Exit::Done, "shop   alias  -> blue", "");
    check(&["get", "backends"], Exit::Done, "green  http   1        servers alone", "");
    check(&["get", "server", "blue/a"], Exit::Done, "url: http://127.0.0.1:1", "");
    check(&["get", "server", "blue/b"], Exit::No, "", "there is no server blue/b");
    check(
        &["put", "backend", "shop", "--set", "Target=green", "--expect", "absent"],
        Exit::No,
        "",
        "it exists",
    );
    check(&["put", "backend", "shop", "--set", "Targt=green"], Exit::Error, "", "Target");
    let ran =
        check(&["put", "backend", "shop", "--set", "Target=green", "--output", "json"], Exit::Done, "", "");
    let revision: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    check(&["status", "--wait-revision", &revision["revision"].to_string()], Exit::Done, " is ready\n", "");
    check(&["explain", "GET", "http://shop.example/"], Exit::Done, "backend   shop -> green", "");
    check(&["explain", "GET", "http://shop.example/cart"], Exit::Done, "no: Method(\"POST\")", "");
    check(&["explain", "GET", "http://other.example/"], Exit::No, "no route takes it", "");
    check(&["check"], Exit::Done, "", "0 errors");
    check(&["delete", "backend", "shop"], Exit::No, "", "is named by");
    check(&["delete", "server", "blue/a"], Exit::Done, "removed at revision", "");
    check(&["confirm"], Exit::Done, "nothing is held", "");
    check(&["export", "-", "--with-keys"], Exit::Error, "", "do not pass the admin API");
    let documents = check(&["export", "-"], Exit::Done, "kind: frontend", "").out;
    let ran = run_with(&["apply", "-f", "-"], &documents, &[("FLIPGATE_ADMIN", &admin)]);
    assert!(
        ran.exit == Exit::Done && ran.out.contains("nothing to do, 5 objects so already"),
        "{}{}",
        ran.out,
        ran.err
    );
    runtime.block_on(running.shutdown(std::time::Duration::ZERO));
}

#[test]
fn a_confirmation_is_written_where_proxies_look() {
    let stored = Stored::shop();
    stored.check(&["confirm"], Exit::Done, "every removal up to revision", "");
    let written = fs::read(stored.path("routes.state/keys/confirm/removals.json")).unwrap();
    let read = crate::control::confirm::from_slice(&written).unwrap();
    assert!(read.revision.0 > 0);
    stored.check(&["confirm", "--dry-run"], Exit::Error, "", "proxies know");
}

/// Vulcand's keys as etcd's API version 2 gives them.
const DUMP: &str = r#"{"action":"get","node":{"key":"/vulcand","dir":true,"nodes":[
  {"key":"/vulcand/frontends","dir":true,"nodes":[{"key":"/vulcand/frontends/f","dir":true,"nodes":[
    {"key":"/vulcand/frontends/f/frontend","value":"{\"Type\":\"http\",\"BackendId\":\"b\",\"Route\":\"Path(\\\"/\\\")\",\"Odd\":1}"}]}]},
  {"key":"/vulcand/hosts","dir":true,"nodes":[{"key":"/vulcand/hosts/a.example","dir":true,"nodes":[
    {"key":"/vulcand/hosts/a.example/host","value":"{\"Settings\":{\"AutoCert\":{\"Email\":\"a@b.example\"}}}"}]}]},
  {"key":"/vulcand/backends","dir":true,"nodes":[{"key":"/vulcand/backends/b","dir":true,"nodes":[
    {"key":"/vulcand/backends/b/backend","value":"{\"Type\":\"http\"}"},
    {"key":"/vulcand/backends/b/servers","dir":true,"nodes":[
      {"key":"/vulcand/backends/b/servers/s","value":"{\"URL\":\"http://10.0.0.1:80\"}","ttl":9}]}]}]}]}}"#;

#[test]
fn vulcands_objects_are_imported() {
    let stored = Stored::new();
    let file = stored.path("dump.json");
    fs::write(&file, DUMP).unwrap();
    let base = ["import", "vulcand", "--file", file.to_str().unwrap()];
    let import =
        |more: &[&'static str]| base.iter().copied().chain(more.iter().copied()).collect::<Vec<&str>>();
    let ran =
        stored.check(&import(&[]), Exit::Done, "4 to be new, 0 to be overwritten", "nothing was written");
    for told in [
        "Odd",
        "Settings.AutoCert",
        "is written to last",
        "carried over: 1 backend, 1 frontend, 1 host, 1 server",
    ] {
        assert!(ran.out.contains(told), "{told}: {}", ran.out);
    }
    stored.check(&["get", "frontends"], Exit::Done, "", "");
    assert!(!stored.path("routes/frontends").exists());
    stored.check(&import(&["--write"]), Exit::Done, "4 to be new", "transaction 1 of 1 written");
    let kept = stored.run(&["get", "frontend", "f", "--output", "json"]).out;
    assert!(kept.contains("\"BackendId\": \"b\"") && !kept.contains("Odd"), "{kept}");
    stored.check(&["get", "host", "a.example"], Exit::Done, "a@b.example", "");
    stored.check(&import(&["--write"]), Exit::Done, "4 so already", "");
    stored.check(&["put", "server", "b/s", "--set", "URL=http://10.0.0.2:80"], Exit::Done, "", "");
    stored.check(
        &import(&["--write"]),
        Exit::No,
        "1 to be overwritten",
        "would be overwritten; nothing was written",
    );
    stored.check(&["get", "server", "b/s"], Exit::Done, "10.0.0.2", "");
    stored.check(&import(&["--write", "--force"]), Exit::Done, "1 to be overwritten", "written");
    stored.check(&["get", "server", "b/s"], Exit::Done, "10.0.0.1", "");
    // Without a store it is only told.
    let ran = run_with(&import(&["--output", "json"]), "", &[]);
    let told: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.exit, told["carried"].as_array().unwrap().len()), (Exit::Done, 4), "{}", ran.err);
    let bad = DUMP.replace("\\\"Type\\\":\\\"http\\\"}", "5");
    let ran = stored.run_in(&["import", "vulcand", "--file", "-"], &bad);
    assert!(ran.exit == Exit::No && ran.out.contains("not carried"), "{}", ran.out);
    stored.check(&["import", "vulcand"], Exit::Error, "", "--from etcd://HOST:PORT");
    let ran = run_with(&["import", "vulcand", "--", "-port", "80"], "", &[]);
    assert!(
        ran.exit == Exit::Done && ran.out.contains("default = \"0.0.0.0:80\""),
        "{} {}",
        ran.out,
        ran.err
    );
}

#[test]
fn vulcands_order_is_compared() {
    let stored = Stored::new();
    let documents = "\
kind: server\nid: b/a\nspec: {url: 'http://127.0.0.1:1'}\n---
kind: frontend\nid: one\nspec: {backendId: b, route: 'Path(\"/42\")'}\n---
kind: frontend\nid: other\nspec: {backendId: b, route: 'Path(\"/<id>\")'}\n---
kind: frontend\nid: other2\nspec: {backendId: b, route: 'PathPrefix(\"/new\")'}\n";
    assert_eq!(stored.run_in(&["apply", "-f", "-"], documents).exit, Exit::Done);
    stored.check(&["check"], Exit::Done, "", "4 objects checked: 0 errors, 0 warnings");
    let ran = stored.check(
        &["check", "--vulcand"],
        Exit::No,
        "one   other    GET http://any.example/42",
        "1 pair of frontends would get other requests",
    );
    assert!(ran.out.contains("begin with another: other and other2"), "{}", ran.out);
    assert!(ran.err.contains("1 frontend not compared"), "{}", ran.err);
    let explain = ["explain", "GET", "http://any.example/42", "--store", &stored.url];
    stored.check(&explain, Exit::Done, "frontend  one", "");
    let ran = stored.check(
        &[&explain[..], &["--route-order", "vulcand"]].concat(),
        Exit::Done,
        "frontend  other",
        "",
    );
    assert!(ran.out.contains("in vulcand's order"), "{}", ran.out);
    let json: serde_json::Value =
        serde_json::from_str(&stored.run(&["check", "--vulcand", "--output", "json"]).out).unwrap();
    let difference = &json["vulcand"]["differences"][0];
    assert_eq!((&difference["flipgate"], &difference["vulcand"]), (&"one".into(), &"other".into()));
}

#[test]
fn keys_are_made_and_seal() {
    let stored = Stored::new();
    let (key, other) = (stored.path("seal.key"), stored.path("other.key"));
    let (key, other) = (key.to_str().unwrap(), other.to_str().unwrap());
    for file in [key, other] {
        stored.check(&["secret", "new-key", "-f", file], Exit::Done, "", "");
        stored.check(&["secret", "new-key", "-f", file], Exit::Error, "", "cannot be made");
        assert_eq!(fs::read_to_string(file).unwrap().trim().len(), 64);
    }
    let pair = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let (cert, private) = (stored.path("cert.pem"), stored.path("key.pem"));
    fs::write(&cert, pair.cert.pem()).unwrap();
    fs::write(&private, pair.signing_key.serialize_pem()).unwrap();
    let (cert, private) = (cert.to_str().unwrap(), private.to_str().unwrap());
    let seal = ["secret", "seal", "--cert", cert, "--key", private];
    stored.check(&seal, Exit::Error, "", "no seal key is given");
    let with_key = [&seal[..], &["--seal-key-file", key]].concat();
    stored.check(&with_key, Exit::Done, r#"{"Encryption":"secretbox.v1","Value":{"Val":""#, "");
    let swapped = ["secret", "seal", "--cert", cert, "--key", cert, "--seal-key-file", key];
    stored.check(&swapped, Exit::Error, "", "key");
    let digits = fs::read_to_string(key).unwrap();
    let direct = [&seal[..], &["--host", "--default", "--seal-key", digits.trim()]].concat();
    let ran = stored.check(
        &direct,
        Exit::Done,
        r#"{"Settings":{"Default":true,"KeyPair":""#,
        "others on this machine",
    );
    assert_eq!(stored.run_in(&["put", "host", "a.example", "-f", "-"], &ran.out).exit, Exit::Done);
    let host: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let set = format!("Settings.TLS.KeyPair={}", host["Settings"]["KeyPair"].as_str().unwrap());
    stored.check(&["put", "backend", "b", "--set", &set], Exit::Done, "", "");
    let closed =
        "backends/b/backend    Settings.TLS.KeyPair  is sealed, and none of the seal keys given opens it";
    stored.check(&["check", "--seal-key-file", other], Exit::No, closed, "2 errors");
    stored.check(&["check", "--seal-key-file", key], Exit::Done, "", "0 errors");

    let sealed = stored.run_in(&with_key, "").out;
    let backend = format!(r#"{{"type":"http","settings":{{"tls":{{"keyPair":{sealed}}}}}}}"#);
    assert_eq!(stored.run_in(&["put", "backend", "b", "-f", "-"], &backend).exit, Exit::Done);

    // Another first key, and the old one behind it.
    let rotate = ["secret", "rotate", "--seal-key-file", other, "--seal-key-file", key];
    let only_other = ["secret", "rotate", "--seal-key-file", other];
    stored.check(&only_other, Exit::No, "none of the keys opens it", "nothing to seal anew");
    stored.check(
        &rotate,
        Exit::Done,
        "was sealed with another key",
        "2 key pairs to seal anew; nothing was written",
    );
    stored.check(&[&rotate[..], &["--write"]].concat(), Exit::Done, "", "2 key pairs sealed anew");
    stored.check(&only_other, Exit::Done, "sealed with the first key already", "nothing to seal anew");
    let ran = stored.run_in(&["secret", "rotate"], "");
    assert!(ran.exit == Exit::Error && ran.err.contains("no seal key"), "{}", ran.err);
    let env = [("FLIPGATE_STORE", stored.url.as_str()), ("FLIPGATE_SEAL_KEY_FILE", other)];
    assert_eq!(run_with(&["secret", "rotate"], "", &env).exit, Exit::Done);
}

#[test]
fn secrets_are_neither_shown_nor_lost() {
    use std::os::unix::fs::PermissionsExt;
    let stored = Stored::new();
    stored.check(&["put", "host", "h.example", "--set", "Settings.AutoCert.Key=hush"], Exit::Done, "", "");
    let door = r#"{"type":"auth","middleware":{"username":"ann","password":"hush"}}"#;
    assert_eq!(stored.run_in(&["put", "middleware", "m", "-f", "-"], door).exit, Exit::Done);
    for get in [["get", "host", "h.example"], ["get", "middleware", "m"]] {
        let shown = stored.run_in(&get, "").out;
        assert!(shown.contains("(hidden)") && !shown.contains("hush"), "{shown}");
        let back = stored.run_in(&["put", get[1], get[2], "-f", "-"], &shown);
        assert_eq!(back.exit, Exit::Done, "{}", back.err);
        assert!(back.out.contains("already") || back.out.contains("written"), "{}", back.out);
    }
    let refused =
        stored.run_in(&["put", "middleware", "other", "-f", "-"], &door.replace("hush", "(hidden)"));
    assert!(refused.exit == Exit::Error && refused.err.contains("Middleware.Password"), "{}", refused.err);
    let ran = stored.check(&["export", "-"], Exit::Done, "ann", "private key of host h.example is left out");
    assert_eq!(ran.out.matches("hush").count(), 1, "{}", ran.out);
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("all");
    stored.check(&["export", to.to_str().unwrap(), "--with-keys"], Exit::Done, "", "");
    for file in ["hosts/h.example/host.yaml", "middlewares/m.yaml"] {
        let file = to.join(file);
        assert!(fs::read_to_string(&file).unwrap().contains("hush"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn what_the_registrar_keeps_is_not_changed_in_vain() {
    let stored = Stored::shop();
    let owner = "Owner=kubernetes:service/shop/web";
    let kept = "is kept by kubernetes:service/shop/web: the registrar";
    let ran = stored.run(&["put", "frontend", "cart", "--set", owner]);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    let ran = stored.run(&["put", "frontend", "cart", "--set", "Priority=5"]);
    assert!(
        ran.exit == Exit::Done && ran.err.contains(kept) && ran.err.contains("without `Owner`"),
        "{}",
        ran.err
    );
    let ran = stored.run(&["flip", "cart=blue", "--dry-run"]);
    assert!(ran.exit == Exit::No && ran.err.contains(kept) && ran.err.contains("--force"), "{}", ran.err);
    let ran = stored.run(&["flip", "cart=blue", "--dry-run", "--force"]);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    // Who takes the field away takes the object over.
    let ran = stored.run(&["put", "frontend", "cart", "--set", "Owner=null"]);
    assert!(ran.exit == Exit::Done && !ran.err.contains("kept"), "{}", ran.err);
    let ran = stored.run(&["flip", "cart=blue", "--dry-run"]);
    assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
    stored.run(&["put", "frontend", "cart", "--set", owner]);
    let ran = stored.run(&["delete", "frontend", "cart"]);
    assert!(ran.exit == Exit::Done && ran.err.contains(kept), "{}", ran.err);
}
