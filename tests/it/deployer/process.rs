//! The program's deployer, and a client of its API.

use crate::support::{Answer, Process, flipgate, try_call, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const START_MAX: Duration = Duration::from_secs(30);

/// Longest time in which a deployment ends, whatever happens on the way.
pub const ENDS_MAX: Duration = Duration::from_secs(180);

/// A running `flipgate deployer`. Dropping it is a kill -9.
pub struct Deployer {
    // Before the directory with its output, so that it can show that when it is dropped.
    process: Process,
    dir: TempDir,
    runs: usize,
    store: String,
    kubeconfig: PathBuf,
    arguments: Vec<String>,
    address: SocketAddr,
}

impl Deployer {
    /// One between a cluster and a store, which answers.
    pub fn start(kubeconfig: &Path, store: &str) -> Self {
        Self::start_with(kubeconfig, store, &[])
    }

    /// The same, with further arguments.
    pub fn start_with(kubeconfig: &Path, store: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let arguments = arguments.iter().map(|argument| argument.to_string()).collect::<Vec<_>>();
        let (process, address) = run(kubeconfig, store, &arguments, &dir.path().join("output-0"));
        let (store, kubeconfig) = (store.to_owned(), kubeconfig.to_owned());
        let deployer = Self { process, dir, runs: 0, store, kubeconfig, arguments, address };
        deployer.wait_ready();
        deployer
    }

    /// kill -9
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it once more, at another address, and does not wait until it knows what is there.
    pub fn start_again(&mut self) {
        self.kill();
        self.runs += 1;
        let output = self.dir.path().join(format!("output-{}", self.runs));
        (self.process, self.address) = run(&self.kubeconfig, &self.store, &self.arguments, &output);
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub fn wait_ready(&self) {
        until("the deployer is ready", START_MAX, || {
            let answer = self.try_call("GET", "/readyz", None).ok()?;
            (answer.status == 200).then_some(())
        });
    }

    /// A call of its API, which is answered.
    pub fn call(&self, method: &str, target: &str, body: Option<&Value>) -> Answer {
        let answer = self.try_call(method, target, body);
        answer.unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    pub fn try_call(&self, method: &str, target: &str, body: Option<&Value>) -> std::io::Result<Answer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        try_call(self.address, (method, target), &[("Content-Type", "application/json")], &body)
    }

    /// A call whose body need not be JSON, and has no type.
    pub fn call_plainly(&self, method: &str, target: &str, body: &str) -> Answer {
        let answer = try_call(self.address, (method, target), &[], body);
        answer.unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }
}

/// What pipelines do.
impl Deployer {
    /// `POST /deployments/`, which is accepted; the id.
    pub fn deploy(&self, descriptor: &Value) -> String {
        let answer = self.call("POST", "/deployments/?namespace=default", Some(descriptor));
        assert_eq!(answer.status, 202, "{}", answer.text());
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert!(answer.field("location").is_some_and(|place| place.contains(&id)), "{:?}", answer.fields);
        id
    }

    /// A call about a deployment, which is accepted.
    pub fn change(&self, method: &str, id: &str, body: Option<&Value>) -> Value {
        let answer = self.call(method, &format!("/deployments/{id}/?namespace=default"), body);
        assert!(matches!(answer.status, 200 | 202), "{method} {id}: {} {}", answer.status, answer.text());
        answer.json()
    }

    /// How a deployment is. `None`: it does not say at the moment, or knows of none.
    pub fn look(&self, id: &str) -> Option<Value> {
        let answer = self.try_call("GET", &format!("/deployments/{id}/?namespace=default"), None).ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    /// Waits until a deployment is over; how it is then.
    pub fn ended(&self, id: &str) -> Value {
        let begin = Instant::now();
        let mut last = Value::Null;
        while begin.elapsed() < ENDS_MAX {
            if let Some(deployment) = self.look(id) {
                if !matches!(deployment["status"].as_str(), Some("DEPLOYING" | "UNDEPLOYING")) {
                    return deployment;
                }
                last = deployment;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        last["descriptor"] = json!("...");
        panic!("deployment {id} does not end: {last}\n{}", self.log(id));
    }

    /// Waits until a deployment has this status at its end.
    pub fn ends(&self, id: &str, status: &str) -> Value {
        let deployment = self.ended(id);
        assert_eq!(deployment["status"], status, "{}\n{}", deployment["reason"], self.log(id));
        deployment
    }

    /// Waits until it is in a stage, on its way forward, or past it.
    pub fn wait_stage(&self, id: &str, stage: &str) {
        until(&format!("deployment {id} is in stage {stage}"), ENDS_MAX, || {
            let deployment = self.look(id)?;
            let is_over = !matches!(deployment["status"].as_str(), Some("DEPLOYING" | "UNDEPLOYING"));
            assert!(!is_over, "{id} is over before {stage}: {}\n{}", deployment["reason"], self.log(id));
            (deployment["stage"] == stage).then_some(())
        });
    }

    /// Its log, as text.
    pub fn log(&self, id: &str) -> String {
        let answer = self.try_call("GET", &format!("/deployments/{id}/logs?namespace=default"), None);
        answer.map(|answer| answer.text()).unwrap_or_default()
    }
}

fn run(kubeconfig: &Path, store: &str, arguments: &[String], output: &Path) -> (Process, SocketAddr) {
    let mut command = flipgate::command();
    command.args(["deployer", "--store", store, "--deploy", "127.0.0.1:0"]);
    command.arg("--kubeconfig").arg(kubeconfig).args(arguments);
    let mut process = Process::start(&mut command, output);
    let address = process.printed("deployments at http://", START_MAX);
    let address = address.split_whitespace().next().unwrap_or_default().parse().unwrap();
    (process, address)
}
