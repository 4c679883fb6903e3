//! A real etcd server on loopback, with its own ports and data, to be killed, frozen, wiped and restored.
//!
//! The program is `etcd` on the path, or what `FLIPGATE_ETCD` names.
#![allow(dead_code)]

use etcd_client::{Client, ConnectOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest time for a server to answer after its start.
const START_MAX: Duration = Duration::from_secs(20);

/// One server. Dropping it ends its process and removes its data.
pub struct Etcd {
    dir: TempDir,
    host: String,
    client_port: u16,
    peer_port: u16,
    flags: Vec<String>,
    name: String,
    /// Names and addresses of all members, if it is not alone.
    cluster: Option<String>,
    scheme: &'static str,
    child: Option<Child>,
}

/// Data as they were once.
pub struct Backup(TempDir);

impl Etcd {
    /// A server that answers.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A server with flags of its own, as `--max-request-bytes=4194304`.
    pub async fn start_with(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flags = flags.iter().map(|flag| flag.to_string()).collect();
        let mut etcd = Self::new(dir, "127.0.0.1", "one", "http", flags);
        etcd.run();
        etcd.answering().await;
        etcd
    }

    /// A server that speaks TLS only, and only to those who have a certificate of `ca`. It listens; nothing was asked.
    pub async fn start_encrypted(certificate: &Path, key: &Path, ca: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let flags = vec![
            flag("cert-file", certificate),
            flag("key-file", key),
            flag("trusted-ca-file", ca),
            "--client-cert-auth".to_owned(),
        ];
        let mut etcd = Self::new(dir, "127.0.0.1", "one", "https", flags);
        etcd.run();
        let late = Instant::now() + START_MAX;
        while tokio::net::TcpStream::connect(etcd.endpoint()).await.is_err() {
            assert!(Instant::now() < late, "etcd does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        etcd
    }

    fn new(dir: TempDir, host: &str, name: &str, scheme: &'static str, flags: Vec<String>) -> Self {
        let (client_port, peer_port) = free_ports();
        let (host, name) = (host.to_owned(), name.to_owned());
        Self { dir, host, client_port, peer_port, flags, name, cluster: None, scheme, child: None }
    }

    /// Members of one cluster, at these addresses, that do not run yet: [`Etcd::restart_soon`] starts each.
    pub fn members(hosts: &[&str]) -> Vec<Self> {
        let member = |(number, host): (usize, &&str)| {
            let flags = vec!["--unsafe-no-fsync".to_owned()];
            Self::new(tempfile::tempdir().unwrap(), host, &format!("m{number}"), "http", flags)
        };
        let mut members = hosts.iter().enumerate().map(member).collect::<Vec<_>>();
        let all = members.iter().map(|one| format!("{}=http://{}:{}", one.name, one.host, one.peer_port));
        let all = all.collect::<Vec<_>>().join(",");
        members.iter_mut().for_each(|member| member.cluster = Some(all.clone()));
        members
    }

    /// Whether it leads its cluster, if it answers soon.
    pub async fn leads(&self) -> Option<bool> {
        let asked = async {
            let status = self.client().await.status().await.ok()?;
            Some(status.leader() == status.header()?.member_id())
        };
        self.child.as_ref()?;
        tokio::time::timeout(Duration::from_secs(1), asked).await.ok().flatten()
    }

    /// `HOST:PORT`
    pub fn endpoint(&self) -> String {
        format!("{}:{}", self.host, self.client_port)
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// A client that is not the one under test.
    pub async fn client(&self) -> Client {
        let options = ConnectOptions::new().with_connect_timeout(Duration::from_secs(2));
        Client::connect([self.endpoint()], Some(options)).await.unwrap()
    }

    /// A client that logs in.
    pub async fn client_as(&self, user: &str, password: &str) -> Client {
        let options = ConnectOptions::new().with_user(user, password).with_auto_token_refresh(true);
        Client::connect([self.endpoint()], Some(options)).await.unwrap()
    }

    /// kill -9. The data stay.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Starts a killed server on its ports and data, and waits until it answers.
    pub async fn restart(&mut self) {
        self.kill();
        self.run();
        self.answering().await;
    }

    /// As [`Etcd::restart`], without waiting.
    pub fn restart_soon(&mut self) {
        self.kill();
        self.run();
    }

    /// Kills it and removes its data.
    pub fn wipe(&mut self) {
        self.kill();
        fs::remove_dir_all(self.data()).unwrap();
    }

    /// Kills it and copies its data.
    pub fn backup(&mut self) -> Backup {
        self.kill();
        let backup = tempfile::tempdir().unwrap();
        copy(&self.data(), &backup.path().join("data"));
        Backup(backup)
    }

    /// Kills it and puts data of before in place.
    pub fn restore(&mut self, backup: &Backup) {
        self.wipe();
        copy(&backup.0.path().join("data"), &self.data());
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    fn run(&mut self) {
        let program = std::env::var("FLIPGATE_ETCD").unwrap_or_else(|_| "etcd".to_owned());
        let client = format!("{}://{}", self.scheme, self.endpoint());
        let peer = format!("http://{}:{}", self.host, self.peer_port);
        let cluster = self.cluster.clone().unwrap_or_else(|| format!("{}={peer}", self.name));
        let log = File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let child = Command::new(&program)
            .arg(format!("--name={}", self.name))
            .arg(format!("--data-dir={}", self.data().display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster={cluster}"))
            // A single member waits for its own election at every start.
            .args([
                "--heartbeat-interval=20",
                if self.cluster.is_some() { "--election-timeout=500" } else { "--election-timeout=200" },
            ])
            .args(&self.flags)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program} (FLIPGATE_ETCD names another): {error}"));
        self.child = Some(child);
    }

    /// Waits until it answers.
    pub async fn answering(&mut self) {
        let late = Instant::now() + START_MAX;
        loop {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            let asked = async {
                let client = self.client().await;
                // An answer, if only that one has to log in.
                match client.kv_client().get("?", None).await {
                    Ok(_) => true,
                    Err(error) => error.to_string().contains("user name is empty"),
                }
            };
            if tokio::time::timeout(Duration::from_secs(1), asked).await.unwrap_or(false) {
                return;
            }
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < late, "etcd does not answer: {}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_ports() -> (u16, u16) {
    let (a, b) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    (a.local_addr().unwrap().port(), b.local_addr().unwrap().port())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
