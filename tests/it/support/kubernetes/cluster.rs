//! A cluster: its control plane, to be killed, frozen, emptied and started again, and what tests ask it.

use super::client::Client;
use super::control_plane::{self, ADMIN, Files, PORT};
pub use super::control_plane::{FLIPGATE, NOBODY};
use super::program;
use crate::support::{Keys, Process, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest time from a start to the first use.
const START_MAX: Duration = Duration::from_secs(60);

/// A running control plane. Dropping it ends it and removes its data.
pub struct Cluster {
    client: Client,
    controllers: Option<Process>,
    server: Option<Process>,
    /// Its etcd.
    store: Keys,
    flags: Vec<String>,
    runs: usize,
    files: Files,
}

/// One address behind a service, as its EndpointSlices have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub address: IpAddr,
    /// May get traffic: it serves, and is not about to end.
    pub ready: bool,
    /// Answers well, whether it is about to end or not.
    pub serving: bool,
    /// Was told to end.
    pub terminating: bool,
    pub zone: Option<String>,
    /// Of the pod.
    pub name: String,
}

impl Cluster {
    /// Starts everything in the network of the calling thread, and waits until objects can be written and read.
    pub fn start(flags: &[&str]) -> Self {
        let (start, files) = (Instant::now(), Files::new());
        let store = Keys::start_with(&["--unsafe-no-fsync"]).below("");
        let client = Client::of(&files.path(&format!("kubeconfig-{ADMIN}")));
        let flags = flags.iter().map(|flag| flag.to_string()).collect();
        let mut cluster = Self { client, controllers: None, server: None, store, flags, runs: 0, files };
        cluster.start_server();
        cluster.start_controllers();
        cluster.wait_ready();
        println!("a cluster after {:.1?}", start.elapsed());
        cluster
    }

    /// The API, for an administrator.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// `https://HOST:PORT`
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{PORT}")
    }

    /// The certificate that clients of the API have to trust.
    pub fn certificate(&self) -> PathBuf {
        self.files.certificate()
    }

    /// A kubeconfig file of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.files.path(&format!("kubeconfig-{ADMIN}"))
    }

    /// One of a user who may do only what roles allow: [`FLIPGATE`] or [`NOBODY`].
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        self.files.write_kubeconfig(user, user)
    }

    /// One of a service account, which is waited for. Its token is good for an hour.
    pub fn kubeconfig_of_account(&self, namespace: &str, account: &str) -> PathBuf {
        self.files.write_kubeconfig(account, &self.account_token(namespace, account))
    }

    /// A token of a service account, which is waited for.
    pub fn account_token(&self, namespace: &str, account: &str) -> String {
        until("the service account has a token", START_MAX, || {
            let output = self.try_kubectl(&["-n", namespace, "create", "token", account], "");
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        })
    }

    /// Runs kubectl; what it prints.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        succeeded(arguments, self.try_kubectl(arguments, ""))
    }

    /// Writes objects from YAML, as `kubectl apply -f` does.
    pub fn apply(&self, yaml: &str) {
        let arguments = ["apply", "-f", "-"];
        succeeded(&arguments, self.try_kubectl(&arguments, yaml));
    }

    /// Runs kubectl with an input, whether that goes well or not.
    pub fn try_kubectl(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(program("kubectl"))
            .env_clear()
            .env("KUBECONFIG", self.kubeconfig())
            .arg(format!("--cache-dir={}", self.files.path("cache").display()))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Whoever does not read its input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// The endpoints of a service in the namespace `default`, from all its slices, by address.
    pub fn endpoints(&self, service: &str) -> Vec<Endpoint> {
        let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
        let slices = self.client.list(&format!("{path}?labelSelector=kubernetes.io/service-name={service}"));
        let mut all = Vec::new();
        for slice in &slices {
            all.extend(slice["endpoints"].as_array().into_iter().flatten().flat_map(endpoints_of));
        }
        all.sort_by_key(|endpoint| endpoint.address);
        all
    }

    /// Waits until a kubelet's nodes are there and take pods.
    pub fn wait_nodes(&self) {
        until("there are nodes", START_MAX, || {
            let nodes = self.client.list("/api/v1/nodes");
            let takes_pods = |node: &Value| node["spec"]["taints"].is_null();
            (nodes.len() == 2 && nodes.iter().all(takes_pods)).then_some(())
        });
    }

    /// How many endpoints all services of the namespace `default` have together.
    pub fn count_endpoints(&self) -> usize {
        let slices = self.client.list("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices");
        slices.iter().flat_map(|slice| slice["endpoints"].as_array()).map(Vec::len).sum()
    }

    /// Waits until a service has so many endpoints that are ready, and no other.
    pub fn wait_endpoints(&self, service: &str, count: usize, most: Duration) -> Vec<Endpoint> {
        until(&format!("{service} has {count} endpoints, all ready"), most, || {
            let endpoints = self.endpoints(service);
            (endpoints.len() == count && endpoints.iter().all(|one| one.ready)).then_some(endpoints)
        })
    }
}

/// What befalls it.
impl Cluster {
    /// kill -9 to the API server. Data and controllers stay.
    pub fn kill_server(&mut self) {
        self.server = None;
    }

    /// Starts the API server again, at the same address, and waits until it is ready.
    pub fn restart_server(&mut self) {
        self.kill_server();
        self.start_server();
        self.wait_ready();
    }

    /// SIGSTOP: its connections stay open and nothing answers.
    pub fn freeze_server(&self) {
        self.server.as_ref().expect("it runs").signal(Signal::SIGSTOP);
    }

    /// SIGCONT
    pub fn thaw_server(&self) {
        self.server.as_ref().expect("it runs").signal(Signal::SIGCONT);
    }

    /// kill -9 to the controllers: pods and EndpointSlices are no longer made to fit.
    pub fn kill_controllers(&mut self) {
        self.controllers = None;
    }

    pub fn restart_controllers(&mut self) {
        self.kill_controllers();
        self.start_controllers();
    }

    /// The etcd below, to be frozen.
    pub fn store(&self) -> &Keys {
        &self.store
    }

    /// The etcd below, to be killed and restarted. The API server finds it again by itself.
    pub fn store_mut(&mut self) -> &mut Keys {
        &mut self.store
    }

    /// Writes pods into etcd past the API server, which then tells of them as if it had written them: pods that are ready
    /// from the first, ten thousand in a second. The controllers best begin after that and after the services, with
    /// [`Cluster::kill_controllers`] before and [`Cluster::restart_controllers`] behind: who sees its slices change under
    /// it tries again with delays that grow to minutes.
    pub fn store_pods(&mut self, pods: &[Value]) {
        let key =
            |pod: &Value| format!("registry/pods/default/{}", pod["metadata"]["name"].as_str().unwrap());
        let puts = pods.iter().map(|pod| (key(pod), pod.clone())).collect::<Vec<_>>();
        self.store.put_many(&puts);
    }

    /// Another cluster at the same address, with the same keys and nothing in it, as after a restore that went wrong.
    /// Revisions begin anew. What the kubelet runs is not told, if it is paused.
    pub fn start_over_empty(&mut self) {
        self.kill_controllers();
        self.kill_server();
        self.store.wipe();
        self.store.restart();
        self.restart_server();
        self.restart_controllers();
    }

    /// Forgets all revisions so far, also within the API server: whoever goes on watching from one gets 410. The server is
    /// killed and started for that.
    pub fn expire_watches(&mut self) {
        self.kill_server();
        // A revision of its own, so that none that a client knows is the last.
        let revision = self.store.put_bytes("touched", Vec::new());
        self.store.compact(revision);
        self.restart_server();
    }

    fn start_server(&mut self) {
        self.runs += 1;
        let etcd = self.store.address().to_string();
        self.server = Some(control_plane::start_server(&self.files, &etcd, &self.flags, self.runs));
    }

    fn start_controllers(&mut self) {
        self.runs += 1;
        self.controllers = Some(control_plane::start_controllers(&self.files, self.runs));
    }

    fn wait_ready(&mut self) {
        until("the API server is ready", START_MAX, || {
            let ended = self.server.as_mut().and_then(Process::ended);
            assert!(ended.is_none(), "the API server ended with {ended:?}");
            let is_ready = self.client.text("/readyz").as_deref() == Some("ok");
            (is_ready && self.client.get("/api/v1/namespaces/default").is_some()).then_some(())
        });
    }
}

fn endpoints_of(endpoint: &Value) -> Vec<Endpoint> {
    let condition = |name: &str| endpoint["conditions"][name] == Value::Bool(true);
    let one = |address: &Value| Endpoint {
        address: address.as_str().unwrap().parse().unwrap(),
        ready: condition("ready"),
        serving: condition("serving"),
        terminating: condition("terminating"),
        zone: endpoint["zone"].as_str().map(str::to_owned),
        name: endpoint["targetRef"]["name"].as_str().unwrap_or_default().to_owned(),
    };
    endpoint["addresses"].as_array().unwrap().iter().map(one).collect()
}

fn succeeded(arguments: &[&str], output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
