//! The programs of a control plane, and the files that they share: certificates, tokens, keys.

use super::program;
use crate::support::{Process, TestCertificate};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Where the API server listens. A port that no outgoing connection gets, so that it is free after a kill too: the
/// namespace has nobody else.
pub const PORT: u16 = 6443;

/// Users with fixed tokens, which are their names.
pub const ADMIN: &str = "admin";
pub const FLIPGATE: &str = "flipgate";
pub const NOBODY: &str = "nobody";

/// The controllers that tests rest on.
const CONTROLLERS: &str = "deployment-controller,replicaset-controller,statefulset-controller,endpointslice-controller,\
                           garbage-collector-controller,namespace-controller,serviceaccount-controller,\
                           root-ca-certificate-publisher-controller,job-controller,resourcequota-controller";

/// What the programs of one cluster read, and where they write.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let server = TestCertificate::of(&["127.0.0.1", "localhost", "kubernetes.default.svc"]);
        let account_key = rcgen::KeyPair::generate().unwrap();
        for (name, text) in [
            ("server.crt", server.certificate),
            ("server.key", server.key),
            ("accounts.key", account_key.serialize_pem()),
            ("accounts.pub", account_key.public_key_pem()),
            (
                "tokens",
                format!("{ADMIN},{ADMIN},1,system:masters\n{FLIPGATE},{FLIPGATE},2\n{NOBODY},{NOBODY},3\n"),
            ),
        ] {
            fs::write(files.path(name), text).unwrap();
        }
        files.write_kubeconfig(ADMIN, ADMIN);
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The certificate of the API server, which whoever connects has to trust.
    pub fn certificate(&self) -> PathBuf {
        self.path("server.crt")
    }

    /// A file for clients that log in with this token.
    pub fn write_kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        let path = self.path(&format!("kubeconfig-{name}"));
        let certificate = self.certificate();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             contexts: [{{name: test, context: {{cluster: test, user: {name}}}}}]\n\
             clusters: [{{name: test, cluster: {{server: 'https://127.0.0.1:{PORT}', certificate-authority: {}}}}}]\n\
             users: [{{name: {name}, user: {{token: {token}}}}}]\n",
            certificate.display()
        );
        fs::write(&path, text).unwrap();
        path
    }
}

/// Starts an API server on an etcd.
pub fn start_server(files: &Files, etcd: &str, flags: &[String], run: usize) -> Process {
    let mut command = Command::new(program("kube-apiserver"));
    let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
    command
        .arg(format!("--etcd-servers=http://{etcd}"))
        .arg(format!("--secure-port={PORT}"))
        // Nobody connects to the one it advertises, but it has to be none of loopback.
        .args([
            "--bind-address=127.0.0.1",
            "--advertise-address=10.244.0.1",
            "--endpoint-reconciler-type=none",
        ])
        .arg(flag("tls-cert-file", &files.certificate()))
        .arg(flag("tls-private-key-file", &files.path("server.key")))
        .arg(flag("cert-dir", &files.path("")))
        .arg(flag("token-auth-file", &files.path("tokens")))
        .args(["--authorization-mode=RBAC", "--service-account-issuer=https://kubernetes.default.svc"])
        .arg(flag("service-account-key-file", &files.path("accounts.pub")))
        .arg(flag("service-account-signing-key-file", &files.path("accounts.key")))
        .arg("--service-cluster-ip-range=10.96.0.0/16,fd00:96::/108")
        // Pods need no account, and so need not wait for one.
        .args(["--disable-admission-plugins=ServiceAccount", "--enable-priority-and-fairness=false"])
        .args(["--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000"])
        .args(flags);
    start(command, &files.path(&format!("server-{run}.log")))
}

/// Starts the controllers, which wait for an API server.
pub fn start_controllers(files: &Files, run: usize) -> Process {
    let mut command = Command::new(program("kube-controller-manager"));
    command
        .arg(format!("--kubeconfig={}", files.path(&format!("kubeconfig-{ADMIN}")).display()))
        .arg(format!("--root-ca-file={}", files.certificate().display()))
        .args(["--leader-elect=false", "--secure-port=0"])
        .arg(format!("--controllers={CONTROLLERS}"))
        // Nothing is held back, so that thousands of objects are there soon.
        .args(["--kube-api-qps=5000", "--kube-api-burst=5000", "--concurrent-service-endpoint-syncs=20"])
        .args(["--concurrent-deployment-syncs=20", "--concurrent-replicaset-syncs=20"]);
    start(command, &files.path(&format!("controllers-{run}.log")))
}

fn start(mut command: Command, output: &Path) -> Process {
    // Memory is there for a moment only, processors are for others too.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("GOGC", "400");
    Process::start(&mut command, output)
}
