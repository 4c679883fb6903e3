//! A routing table in a real etcd, written by clients that are not the program's own.

use super::etcd::{Backup, Etcd};
use etcd_client::{
    Client, CompactionOptions, ConnectOptions, EventType, GetOptions, KvClient, PutOptions, Txn, TxnOp,
    WatchOptions,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The prefix of the table, unless a test asks for another.
pub const PREFIX: &str = "/flipgate";

/// The prefix of what is not routing.
const STATE_PREFIX: &str = "/flipgate.state";

/// Between attempts to follow an etcd that is away.
const RETRY: Duration = Duration::from_millis(50);

/// What became of a key, and when that was told.
#[derive(Debug, Clone)]
pub struct KeyChange {
    /// Below the prefix.
    pub key: String,
    /// JSON; `None` once it is deleted.
    pub value: Option<Value>,
    pub revision: i64,
    pub at: Instant,
}

/// An etcd of the test's own with a client. Keys are relative to the prefix.
pub struct Keys {
    runtime: Runtime,
    etcd: Etcd,
    /// The other members of its cluster.
    others: Vec<Etcd>,
    client: KvClient,
    prefix: String,
}

impl Keys {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With flags of etcd.
    pub fn start_with(flags: &[&str]) -> Self {
        let runtime = runtime();
        let (etcd, client) = runtime.block_on(async {
            let etcd = Etcd::start_with(flags).await;
            let client = etcd.client().await.kv_client();
            (etcd, client)
        });
        let client = client.max_decoding_message_size(64 << 20);
        Self { runtime, etcd, others: Vec::new(), client, prefix: PREFIX.to_owned() }
    }

    /// On the running members of a cluster; waits until all answer.
    pub fn on_members(mut members: Vec<Etcd>) -> Self {
        let runtime = runtime();
        let client = runtime.block_on(async {
            for member in &mut members {
                member.answering().await;
            }
            members[0].client().await.kv_client()
        });
        let etcd = members.remove(0);
        Self { runtime, etcd, others: members, client, prefix: PREFIX.to_owned() }
    }

    /// A member of the cluster.
    pub fn member(&mut self, number: usize) -> &mut Etcd {
        if number == 0 { &mut self.etcd } else { &mut self.others[number - 1] }
    }

    /// The number of the member that leads, once there is one.
    pub fn leader(&self) -> usize {
        super::until("a leader", Duration::from_secs(20), || {
            let mut members = [&self.etcd].into_iter().chain(&self.others);
            members.position(|member| self.runtime.block_on(member.leads()) == Some(true))
        })
    }

    /// Writes JSON through whichever member takes it, again and again; the revision of the last write.
    pub fn put_patiently(&mut self, key: &str, value: &Value) -> i64 {
        let key = self.key(key);
        let members = [&self.etcd].into_iter().chain(&self.others).map(Etcd::endpoint).collect::<Vec<_>>();
        let mut turns = members.iter().cycle();
        super::until("a member that takes a write", Duration::from_secs(20), || {
            let endpoint = turns.next()?;
            let written = async {
                let options = ConnectOptions::new().with_connect_timeout(Duration::from_millis(500));
                let mut client = Client::connect([endpoint], Some(options)).await.ok()?;
                client
                    .put(key.as_str(), value.to_string(), None)
                    .await
                    .ok()?
                    .header()
                    .map(|head| head.revision())
            };
            let written =
                async { tokio::time::timeout(Duration::from_secs(1), written).await.ok().flatten() };
            self.runtime.block_on(written)
        })
    }

    /// From now on whoever speaks to etcd logs in. `user` may do everything; this client is another one.
    pub fn require_login(&mut self, user: &str, password: &str) {
        self.client = self.runtime.block_on(async {
            let mut client = self.etcd.client().await;
            for (name, password) in [("root", "root"), (user, password)] {
                client.user_add(name, password, None).await.unwrap();
                client.user_grant_role(name, "root").await.unwrap();
            }
            client.auth_enable().await.unwrap();
            self.etcd.client_as("root", "root").await.kv_client()
        });
    }

    /// Changes a user's password, which ends every login.
    pub fn set_password(&mut self, user: &str, password: &str) {
        self.client = self.runtime.block_on(async {
            let mut root = self.etcd.client_as("root", "root").await;
            root.user_change_password(user, password).await.unwrap();
            self.etcd.client_as("root", "root").await.kv_client()
        });
    }

    /// Another user, which makes every login older than the rights.
    pub fn add_user(&mut self, user: &str) {
        self.client = self.runtime.block_on(async {
            let mut root = self.etcd.client_as("root", "root").await;
            root.user_add(user, "x", None).await.unwrap();
            self.etcd.client_as("root", "root").await.kv_client()
        });
    }

    /// The same store, with everything below another prefix, as `vulcand`.
    pub fn below(mut self, prefix: &str) -> Self {
        self.prefix = prefix.to_owned();
        self
    }

    fn key(&self, key: &str) -> String {
        format!("{}/{key}", self.prefix)
    }

    /// As `--store` takes it.
    pub fn url(&self) -> String {
        let members = [&self.etcd].into_iter().chain(&self.others).map(Etcd::endpoint);
        format!("etcd://{}", members.collect::<Vec<_>>().join(","))
    }

    /// Where its clients connect.
    pub fn address(&self) -> std::net::SocketAddr {
        self.etcd.endpoint().parse().unwrap()
    }

    /// Writes JSON; the revision.
    pub fn put(&mut self, key: &str, value: &Value) -> i64 {
        self.put_bytes(key, value.to_string().into_bytes())
    }

    /// Writes anything; the revision.
    pub fn put_bytes(&mut self, key: &str, value: Vec<u8>) -> i64 {
        let key = self.key(key);
        let answer = self.runtime.block_on(self.client.put(key, value, None::<PutOptions>)).unwrap();
        answer.header().unwrap().revision()
    }

    /// Writes JSON under a lease of its own of so many seconds, which nobody keeps alive.
    pub fn put_leased(&mut self, key: &str, value: &Value, seconds: i64) -> i64 {
        let key = self.key(key);
        let written = async {
            let client = self.etcd.client().await;
            let lease = client.lease_client().grant(seconds, None).await.unwrap().id();
            let options = PutOptions::new().with_lease(lease);
            client.kv_client().put(key, value.to_string(), Some(options)).await.unwrap()
        };
        let answer = self.runtime.block_on(written);
        answer.header().unwrap().revision()
    }

    /// When a key's changes come from etcd, with their revisions. Returns once it watches.
    pub fn watch(&self, key: &str) -> Receiver<(Instant, i64)> {
        let key = self.key(key);
        let (send, changes) = channel();
        let mut stream = self.runtime.block_on(async {
            let mut client = self.etcd.client().await;
            client.watch(key, None).await.unwrap()
        });
        self.runtime.spawn(async move {
            while let Ok(Some(answer)) = stream.message().await {
                let revision = answer.header().map_or(0, |header| header.revision());
                let at = Instant::now();
                if answer.events().iter().any(|_| send.send((at, revision)).is_err()) {
                    return;
                }
            }
        });
        changes
    }

    /// Each change of a key that begins so, below the prefix, with its revision. Returns once it watches.
    pub fn changes(&self, start: &str) -> Receiver<(String, i64)> {
        let (start, prefix) = (self.key(start), self.key(""));
        let (send, changes) = channel();
        let mut stream = self.runtime.block_on(async {
            let mut client = self.etcd.client().await;
            client.watch(start, Some(WatchOptions::new().with_prefix())).await.unwrap()
        });
        self.runtime.spawn(async move {
            while let Ok(Some(answer)) = stream.message().await {
                for pair in answer.events().iter().filter_map(|event| event.kv()) {
                    let key = String::from_utf8_lossy(pair.key()).replacen(&prefix, "", 1);
                    if send.send((key, pair.mod_revision())).is_err() {
                        return;
                    }
                }
            }
        });
        changes
    }

    /// Every change from now on of a key that begins so, below the prefix: also what happens while etcd is killed or
    /// frozen is told, late, as long as it keeps its data.
    pub fn history(&self, start: &str) -> Receiver<KeyChange> {
        let (start, prefix, endpoint) = (self.key(start), self.key(""), self.etcd.endpoint());
        let (send, changes) = channel();
        let mut client = self.client.clone();
        let now = self.runtime.block_on(client.get("?", None)).unwrap().header().unwrap().revision();
        self.runtime.spawn(async move {
            let mut next = now + 1;
            while !matches!(tell(&endpoint, (&start, &prefix), &mut next, &send).await, Ok(Told::Unheard)) {
                tokio::time::sleep(RETRY).await;
            }
        });
        changes
    }

    /// Everything below the prefix.
    pub fn all(&mut self) -> BTreeMap<String, Value> {
        let (start, options) = (self.key(""), GetOptions::new().with_prefix());
        let answer = self.runtime.block_on(self.client.get(start.clone(), Some(options))).unwrap();
        let pairs = answer.kvs().iter().map(|pair| {
            let key = String::from_utf8_lossy(pair.key()).replacen(&start, "", 1);
            (key, serde_json::from_slice(pair.value()).unwrap())
        });
        pairs.collect()
    }

    /// The epoch of the registrars of the cluster `kubernetes`, and the revision at which it began.
    pub fn epoch(&mut self) -> (Value, i64) {
        let key = format!("{STATE_PREFIX}/{}/registrar/kubernetes/leader", self.prefix.trim_matches('/'));
        let answer = self.runtime.block_on(self.client.get(key, None)).unwrap();
        let pair = answer.kvs().first().expect("a registrar leads");
        (serde_json::from_slice(pair.value()).unwrap(), pair.mod_revision())
    }

    /// Everything in the state area that begins so, by its key within that area.
    #[cfg(feature = "kubernetes")]
    pub fn state(&mut self, start: &str) -> BTreeMap<String, Value> {
        let root = format!("{STATE_PREFIX}/{}/", self.prefix.trim_matches('/'));
        let options = GetOptions::new().with_prefix();
        let asked = self.client.get(format!("{root}{start}"), Some(options));
        let answer = self.runtime.block_on(asked).unwrap();
        let pairs = answer.kvs().iter().map(|pair| {
            let key = String::from_utf8_lossy(pair.key()).replacen(&root, "", 1);
            (key, serde_json::from_slice(pair.value()).unwrap_or(Value::Null))
        });
        pairs.collect()
    }

    /// How many keys begin so, below the prefix.
    pub fn count(&mut self, start: &str) -> usize {
        let options = GetOptions::new().with_prefix().with_count_only();
        let answer = self.runtime.block_on(self.client.get(self.key(start), Some(options))).unwrap();
        usize::try_from(answer.count()).unwrap()
    }

    /// Writes and deletes in one transaction, at most etcd's 128; the revision.
    pub fn change_together(&mut self, puts: &[(String, Value)], deletes: &[String]) -> i64 {
        let put = |(key, value): &(String, Value)| TxnOp::put(self.key(key), value.to_string(), None);
        let delete = |key: &String| TxnOp::delete(self.key(key), None);
        let operations = puts.iter().map(put).chain(deletes.iter().map(delete)).collect::<Vec<_>>();
        let transaction = Txn::new().and_then(operations);
        self.runtime.block_on(self.client.txn(transaction)).unwrap().header().unwrap().revision()
    }

    /// The JSON of a key, if it is there.
    pub fn get(&mut self, key: &str) -> Option<Value> {
        let key = self.key(key);
        let answer = self.runtime.block_on(self.client.get(key, None)).unwrap();
        answer.kvs().first().map(|pair| serde_json::from_slice(pair.value()).unwrap())
    }

    /// The records of flips that are not over.
    pub fn open_flips(&mut self) -> Vec<String> {
        let options = GetOptions::new().with_prefix().with_keys_only();
        let key = format!("{STATE_PREFIX}/{}/flips/", self.prefix.trim_matches('/'));
        let answer = self.runtime.block_on(self.client.get(key, Some(options))).unwrap();
        answer.kvs().iter().map(|pair| String::from_utf8_lossy(pair.key()).into_owned()).collect()
    }

    pub fn delete(&mut self, key: &str) -> i64 {
        let key = self.key(key);
        self.runtime.block_on(self.client.delete(key, None)).unwrap().header().unwrap().revision()
    }

    /// Removes everything below the prefix, in one revision.
    pub fn delete_all(&mut self) -> i64 {
        let options = etcd_client::DeleteOptions::new().with_prefix();
        let delete = self.client.delete(format!("{}/", self.prefix), Some(options));
        self.runtime.block_on(delete).unwrap().header().unwrap().revision()
    }

    /// Writes in one transaction, at most etcd's 128; the revision.
    pub fn put_together(&mut self, puts: &[(String, Value)]) -> i64 {
        self.change_together(puts, &[])
    }

    /// Writes many keys, 128 a transaction; the last revision.
    pub fn put_many(&mut self, puts: &[(String, Value)]) -> i64 {
        puts.chunks(128).map(|chunk| self.put_together(chunk)).last().unwrap_or(0)
    }

    /// Forgets the revisions before `revision`.
    pub fn compact(&mut self, revision: i64) {
        let options = CompactionOptions::new().with_physical();
        self.runtime.block_on(self.client.compact(revision, Some(options))).unwrap();
    }

    /// Writes with the program that people use; the revision.
    pub fn etcdctl_put(&self, key: &str, value: &Value) -> i64 {
        let program = std::env::var("FLIPGATE_ETCDCTL").unwrap_or_else(|_| "etcdctl".to_owned());
        let output = Command::new(program)
            .args(["--endpoints", &self.etcd.endpoint(), "--write-out", "json", "put"])
            .args([&self.key(key), &value.to_string()])
            .env("ETCDCTL_API", "3")
            .output()
            .unwrap_or_else(|error| panic!("cannot start etcdctl: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer = serde_json::from_slice::<Value>(&output.stdout).unwrap();
        answer["header"]["revision"].as_i64().unwrap()
    }

    pub fn kill(&mut self) {
        self.etcd.kill();
    }

    pub fn restart(&mut self) {
        self.runtime.block_on(self.etcd.restart());
        self.client = self.runtime.block_on(self.etcd.client()).kv_client();
    }

    /// Ends it and keeps a copy of its data; [`Keys::restart`] goes on.
    pub fn backup(&mut self) -> Backup {
        self.etcd.backup()
    }

    /// Ends it and puts a copy back; [`Keys::restart`] goes on.
    pub fn restore(&mut self, backup: &Backup) {
        self.etcd.restore(backup);
    }

    /// Ends it and removes all its data; [`Keys::restart`] goes on with nothing.
    pub fn wipe(&mut self) {
        self.etcd.wipe();
    }

    /// SIGSTOP
    pub fn freeze(&self) {
        self.etcd.freeze();
    }

    /// SIGCONT
    pub fn thaw(&self) {
        self.etcd.thaw();
    }

    /// A listener `http` on a free port.
    pub fn put_listener(&mut self) {
        self.put("listeners/http", &super::directory::listener("http"));
    }

    /// A backend with servers named `a`, `b`, ...
    pub fn put_backend(&mut self, id: &str, servers: &[std::net::SocketAddr]) {
        self.put(&format!("backends/{id}/backend"), &serde_json::json!({"Type": "http"}));
        for (server, name) in servers.iter().zip('a'..='z') {
            let value = serde_json::json!({"URL": format!("http://{server}")});
            self.put(&format!("backends/{id}/servers/{name}"), &value);
        }
    }

    pub fn put_frontend(&mut self, id: &str, route: &str, backend: &str) -> i64 {
        self.put(&format!("frontends/{id}/frontend"), &frontend(route, backend))
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// How a watch ended.
enum Told {
    /// Nobody takes what it tells.
    Unheard,
    /// It broke off.
    Off,
}

/// Tells the changes from the revision `next` on, which follows, of keys that begin with the first of two texts, without
/// the second.
async fn tell(
    endpoint: &str,
    (start, prefix): (&str, &str),
    next: &mut i64,
    send: &Sender<KeyChange>,
) -> Result<Told, etcd_client::Error> {
    let mut client = Client::connect([endpoint], None).await?;
    let options = WatchOptions::new().with_prefix().with_start_revision(*next);
    let mut stream = client.watch(start, Some(options)).await?;
    while let Some(answer) = stream.message().await? {
        // Who listens notices that by the end of its channel.
        assert_eq!(answer.compact_revision(), 0, "etcd has forgotten revision {next}");
        let at = Instant::now();
        for event in answer.events() {
            let Some(pair) = event.kv() else { continue };
            let is_there = event.event_type() == EventType::Put;
            let change = KeyChange {
                key: String::from_utf8_lossy(pair.key()).replacen(prefix, "", 1),
                value: if is_there { serde_json::from_slice(pair.value()).ok() } else { None },
                revision: pair.mod_revision(),
                at,
            };
            *next = change.revision + 1;
            if send.send(change).is_err() {
                return Ok(Told::Unheard);
            }
        }
    }
    Ok(Told::Off)
}

/// A frontend as scripts write it.
pub fn frontend(route: &str, backend: &str) -> Value {
    serde_json::json!({"Type": "http", "BackendId": backend, "Route": route})
}

/// An alias as scripts write it.
pub fn alias(target: &str) -> Value {
    serde_json::json!({"Type": "alias", "Target": target})
}
