//! `flipgate import ingress-nginx`, over manifests.

use crate::support::Directory;
use crate::support::flipgate::{command, verb};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

/// A shop of two Ingresses, one of them a canary, as people keep it in a directory.
const SHOP: &str = "
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop}
  spec: {ports: [{name: http, port: 80, targetPort: 8080}]}
- apiVersion: v1
  kind: Service
  metadata: {name: next, namespace: shop}
  spec: {ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: IngressList
items:
- metadata:
    name: web
    namespace: shop
    annotations:
      nginx.ingress.kubernetes.io/ssl-redirect: 'false'
      nginx.ingress.kubernetes.io/limit-rps: '5'
      nginx.ingress.kubernetes.io/proxy-body-size: 8m
      cert-manager.io/cluster-issuer: mine
  spec:
    ingressClassName: nginx
    rules:
    - host: shop.example
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}
- metadata:
    name: next
    namespace: shop
    annotations:
      nginx.ingress.kubernetes.io/canary: 'true'
      nginx.ingress.kubernetes.io/canary-weight: '10'
  spec:
    ingressClassName: nginx
    rules:
    - host: shop.example
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: next, port: {number: 80}}}}]}
";

const ENDPOINTS: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.1.2.3], conditions: {ready: true}}]
";

const SETTINGS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: ingress-nginx-controller, namespace: ingress-nginx}
data: {use-http2: 'true', keep-alive: '30', proxy-body-size: 20m}
";

/// Something of everything that is lost.
const LOST: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: old
  namespace: shop
  annotations:
    nginx.ingress.kubernetes.io/configuration-snippet: 'more_set_headers \"X: y\";'
    nginx.ingress.kubernetes.io/unheard-of: 'true'
    nginx.ingress.kubernetes.io/limit-rps: many
spec:
  ingressClassName: nginx
  rules:
  - host: old.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: gone, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: theirs, namespace: shop}
spec: {ingressClassName: traefik, defaultBackend: {service: {name: web, port: {number: 80}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: mine, namespace: infra}
data: {http-snippet: 'map $a $b {}', proxi-body-size: 1m}
";

fn manifests(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn import(directory: &Path, more: &[&str]) -> (i32, String, String) {
    let base = ["import", "ingress-nginx", "--file", directory.to_str().unwrap()];
    verb(&[&base[..], more].concat(), Path::new("/"))
}

fn find<'v>(list: &'v Value, field: &str, value: &str) -> &'v Value {
    let found = list.as_array().unwrap().iter().find(|item| item[field] == *value);
    found.unwrap_or_else(|| panic!("no {value} in {list:#}"))
}

#[test]
fn what_can_be_carried_over_is_told() {
    let files = manifests(&[("a/shop.yaml", SHOP), ("settings.yml", SETTINGS), ("notes.txt", "{")]);
    let (code, out, error) = import(files.path(), &["--dry-run", "--output", "json"]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let told: Value = serde_json::from_str(&out).unwrap();
    let web = find(&told["ingresses"], "ingress", "shop/web");
    let frontend = &web["frontends"][0];
    assert_eq!(frontend["route"], *"Host(`shop.example`) && PathPrefix(`/`)", "{web:#}");
    assert!(frontend["leadsTo"].as_str().unwrap().contains("shop-next-80 10"), "{web:#}");
    for (annotation, support) in
        [("ssl-redirect", "yes"), ("limit-rps", "partly"), ("proxy-body-size", "yes")]
    {
        assert_eq!(find(&web["verdicts"], "what", annotation)["support"], *support, "{web:#}");
    }
    assert_eq!(
        web["verdicts"].as_array().unwrap().len(),
        3,
        "others' annotations are not ours to judge: {web:#}"
    );
    let canary = find(&told["ingresses"], "ingress", "shop/next");
    assert_eq!((&canary["canary"], &canary["frontends"]), (&json!(true), &json!([])));
    let keys = &told["configmap"]["keys"];
    assert_eq!(told["configmap"]["found"], true);
    assert_eq!(find(keys, "key", "use-http2")["support"], *"yes");
    assert!(find(keys, "key", "keep-alive")["note"].as_str().unwrap().contains("--idle-timeout"));
    assert_eq!(find(keys, "key", "hsts")["value"], Value::Null);
    assert_eq!(told["changes"], Value::Null);
    let (code, out, _) = import(files.path(), &[]);
    assert_eq!(code, 0);
    for said in [
        "ingress shop/web\n",
        "limit-rps ",
        "2 ingresses become 2 backends, 1 frontend",
        "keys of the configmap: ",
    ] {
        assert!(out.contains(said), "{said}: {out}");
    }
}

#[test]
fn what_is_lost_is_named_and_ends_with_1() {
    let files = manifests(&[("shop.yaml", SHOP), ("lost.yaml", LOST)]);
    let (code, out, error) =
        import(files.path(), &["--dry-run", "--configmap", "infra/mine", "--output", "json"]);
    assert_eq!(code, 1, "{error}");
    let told: Value = serde_json::from_str(&out).unwrap();
    let old = find(&told["ingresses"], "ingress", "shop/old");
    for annotation in ["configuration-snippet", "unheard-of", "limit-rps"] {
        assert_eq!(find(&old["verdicts"], "what", annotation)["support"], *"no", "{old:#}");
    }
    let field = "spec.rules[0].http.paths[0]";
    let verdicts = old["verdicts"].as_array().unwrap();
    let of_field = |verdict: &&Value| verdict["what"].as_str().unwrap().starts_with(field);
    assert!(verdicts.iter().find(of_field).unwrap()["reason"].as_str().unwrap().contains("gone"), "{old:#}");
    assert_eq!(told["others"], json!([{ "ingress": "shop/theirs", "class": "traefik" }]));
    let keys = &told["configmap"]["keys"];
    assert_eq!(find(keys, "key", "http-snippet")["support"], *"no");
    assert_eq!(find(keys, "key", "proxi-body-size")["support"], *"unknown");
    // Only the other one's class: nothing of this is lost.
    let (code, out, error) = import(files.path(), &["--ingress-class", "traefik", "--output", "json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, told["ingresses"].as_array().unwrap().len()), (0, 1), "{out} {error}");
    // Another namespace has none.
    let (code, _, error) = import(files.path(), &["--namespace", "blog"]);
    assert!(code == 1 && error.contains("nothing to import"), "{error}");
}

#[test]
fn objects_are_written_as_somebodys_own() {
    let files = manifests(&[("shop.yaml", SHOP), ("endpoints.yaml", ENDPOINTS)]);
    let store = Directory::new();
    let to = |more: &[&str]| import(files.path(), &[&["--store", &store.url()], more].concat());
    let (code, out, error) = to(&[]);
    assert!(code == 0 && error.contains("nothing was written"), "{out} {error}");
    let (code, out, error) = to(&["--write"]);
    assert_eq!(code, 0, "{out} {error}");
    let get = |kind: &str, id: &str| {
        let (code, out, error) =
            verb(&["get", kind, id, "--store", &store.url(), "--output", "json"], Path::new("/"));
        assert_eq!(code, 0, "{error}");
        out
    };
    let server = get("server", "shop-web-80/10.1.2.3:8080");
    assert!(server.contains("http://10.1.2.3:8080") && !server.contains("Owner"), "{server}");
    // Again, and there is nothing to do; with --force what somebody changed is put back.
    assert_eq!(to(&["--write"]).0, 0);
    let url = store.url();
    let put =
        ["put", "server", "shop-web-80/10.1.2.3:8080", "--set", "URL=http://10.9.9.9:1", "--store", &url];
    assert_eq!(verb(&put, Path::new("/")).0, 0);
    let (code, _, error) = to(&["--write"]);
    assert!(code == 1 && error.contains("1 object would be overwritten"), "{error}");
    assert_eq!(to(&["--write", "--force"]).0, 0);
    assert!(get("server", "shop-web-80/10.1.2.3:8080").contains("10.1.2.3"));
}

#[test]
fn standard_input_is_read_and_what_cannot_be_is_told() {
    let mut child = command()
        .args(["import", "ingress-nginx", "--dry-run", "--file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let old = "---\napiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: old}\n";
    child.stdin.take().unwrap().write_all(format!("{SHOP}{old}").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("extensions/v1beta1"), "{error}");
    let files = manifests(&[("broken.yaml", "a: [")]);
    let (code, _, error) = import(files.path(), &[]);
    assert!(code == 2 && error.contains("broken.yaml is neither YAML nor JSON"), "{error}");
    let (code, _, error) = verb(&["import", "ingress-nginx", "--configmap", "x"], Path::new("/"));
    assert!(code == 2 && error.contains("a namespace and a name"), "{error}");
}
