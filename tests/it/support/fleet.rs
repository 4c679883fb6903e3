//! Proxies that follow one etcd, each with a name, a data directory and an address of its own.

use super::flipgate::{self, Flipgate};
use super::keys::{PREFIX, alias, frontend};
use super::{Keys, Pod, Relay, free_port, until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// The host that `shop` answers for.
pub const HOST: &str = "shop.example";

/// One proxy of a fleet.
pub struct Member {
    pub name: String,
    pub flipgate: Flipgate,
    /// Where its traffic goes in.
    pub address: SocketAddr,
    /// Its way to etcd, where that can be cut.
    relay: Option<Relay>,
}

/// etcd and proxies. The listener `http` speaks HTTP/1.1 and HTTP/2; the frontend and alias `shop` are for the tests
/// to use.
pub struct Fleet {
    pub members: Vec<Member>,
    pub keys: Keys,
}

/// How a fleet is started.
pub struct Builder {
    count: usize,
    cuttable: bool,
}

impl Builder {
    /// Each proxy reaches etcd through a wire of its own, which [`Fleet::cut`] cuts.
    pub fn cuttable(mut self) -> Self {
        self.cuttable = true;
        self
    }

    /// Starts etcd and the proxies, and waits until they are ready.
    pub fn start(self) -> Fleet {
        let mut keys = Keys::start_with(&["--unsafe-no-fsync"]);
        let listener = json!({
            "Protocol": "http", "Address": {"Network": "tcp", "Address": "127.0.0.1:0"}, "Settings": {"H2C": true},
        });
        keys.put("listeners/http", &listener);
        let mut fleet = Fleet { members: Vec::new(), keys };
        for number in 1..=self.count {
            fleet.join(&format!("p{number}"), self.cuttable);
        }
        for member in &fleet.members {
            member.flipgate.wait_ready(Duration::from_secs(20));
        }
        fleet
    }
}

impl Fleet {
    /// A fleet of `count` proxies named `p1`, `p2`, ...
    pub fn of(count: usize) -> Builder {
        Builder { count, cuttable: false }
    }

    fn join(&mut self, name: &str, cuttable: bool) {
        let relay = cuttable.then(|| Relay::to(self.keys.address()));
        let store = match &relay {
            Some(relay) => format!("etcd://{}", relay.address()),
            None => self.keys.url(),
        };
        // Fixed, so that it is the same after a restart.
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listener = format!("http={address}");
        let flipgate = Flipgate::on(&store).arguments(&["--name", name, "--listener", &listener]).start();
        self.members.push(Member { name: name.to_owned(), flipgate, address, relay });
    }

    /// Where traffic goes in, of each proxy.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.address).collect()
    }

    pub fn member(&mut self, name: &str) -> &mut Member {
        self.members.iter_mut().find(|member| member.name == name).expect("a member")
    }

    /// Breaks a proxy's way to etcd until [`Fleet::mend`].
    pub fn cut(&mut self, name: &str) {
        self.member(name).relay.as_ref().expect("a cuttable fleet").cut();
    }

    pub fn mend(&mut self, name: &str) {
        self.member(name).relay.as_ref().expect("a cuttable fleet").mend();
    }

    /// Waits until all proxies serve a revision.
    pub fn served(&self, revision: i64) {
        for member in &self.members {
            member.flipgate.admin().served(revision);
        }
    }

    /// A backend with pods as servers, in one revision.
    pub fn put_backend(&mut self, id: &str, settings: &Value, pods: &[Pod]) -> i64 {
        let mut puts =
            vec![(format!("backends/{id}/backend"), json!({"Type": "http", "Settings": settings}))];
        puts.extend(pods.iter().map(|pod| (format!("backends/{id}/servers/{}", pod.name()), pod.server())));
        self.keys.put_together(&puts)
    }

    /// Removes a backend with all its servers.
    pub fn delete_backend(&mut self, id: &str, pods: &[Pod]) -> i64 {
        for pod in pods {
            self.keys.delete(&format!("backends/{id}/servers/{}", pod.name()));
        }
        self.keys.delete(&format!("backends/{id}/backend"))
    }

    /// The frontend `shop`, which goes to the alias `shop`, which is `backend`; waits until it is served.
    pub fn put_shop(&mut self, backend: &str) -> i64 {
        self.put_shop_with(backend, &json!({}))
    }

    /// With settings of the frontend.
    pub fn put_shop_with(&mut self, backend: &str, settings: &Value) -> i64 {
        let mut shop = frontend(&format!("Host(`{HOST}`)"), "shop");
        shop["Settings"] = settings.clone();
        let puts = [
            ("backends/shop/backend".to_owned(), alias(backend)),
            ("frontends/shop/frontend".to_owned(), shop),
        ];
        let revision = self.keys.put_together(&puts);
        self.served(revision);
        revision
    }

    /// What the alias `shop` is, as the store has it.
    pub fn target(&mut self) -> String {
        let alias = self.keys.get("backends/shop/backend").expect("the alias is there");
        alias["Target"].as_str().expect("a target").to_owned()
    }

    /// A verb on the fleet's store.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = flipgate::command();
        command.args(arguments).args(["--store", &self.keys.url(), "--prefix", PREFIX]);
        command
    }

    /// Runs a verb to its end; its exit code, standard output and standard error.
    pub fn verb(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Waits until `flipgate fleet` lists exactly these proxies as following.
    pub fn wait_members(&self, names: &[&str]) {
        until(&format!("the fleet is {names:?}"), Duration::from_secs(20), || {
            let (code, out, _) = self.verb(&["fleet"]);
            (code == 0 && names.iter().all(|name| out.contains(name))).then_some(())
        });
    }
}
