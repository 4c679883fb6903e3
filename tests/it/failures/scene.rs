//! A proxy with two colours of three pods each, traffic of all kinds, and flips.

use crate::support::flipgate::Builder;
use crate::support::keys::{alias, frontend};
use crate::support::{
    Colours, Encrypted, Flipgate, Keys, Plan, Pod, Tally, TestCertificate, Traffic, free_port, get, until,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub const HOST: &str = "shop.example";

/// The key whose value is the flip.
pub const ALIAS: &str = "backends/shop/backend";

/// Requests a second, plain and over TLS.
const RATES: (u64, u64) = (200, 100);

const COLOURS: [&str; 2] = ["blue", "green"];

pub struct Scene {
    pub keys: Keys,
    pub flipgate: Flipgate,
    pub sides: [Vec<Pod>; 2],
    /// The side that traffic goes to.
    pub here: usize,
    pub colours: Colours,
    /// Plain HTTP/1.1 and HTTP/2. Fixed, so that load goes on over a restart of the proxy; as are the others.
    pub address: SocketAddr,
    pub secure: SocketAddr,
    pub health: SocketAddr,
    pub certificate: TestCertificate,
    table: Vec<(String, Value)>,
}

impl Scene {
    pub fn start() -> Self {
        Self::on(Keys::start_with(&["--unsafe-no-fsync"]))
    }

    pub fn on(keys: Keys) -> Self {
        let url = keys.url();
        Self::with(keys, &url, |builder| builder)
    }

    /// With another way to the store, and a proxy that is started otherwise.
    pub fn with(mut keys: Keys, url: &str, how: impl FnOnce(Builder) -> Builder) -> Self {
        let sides = COLOURS.map(|colour| Pod::start_many(colour, 3));
        let certificate = TestCertificate::of(&[HOST]);
        let [address, secure, health] = [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let table = table(&sides, [address, secure], &certificate);
        let last = keys.put_together(&table);
        let builder = Flipgate::on(url).arguments(&["--health", &health.to_string()]);
        let flipgate = how(builder).ready();
        flipgate.admin().served(last);
        let colours = Colours::default();
        colours.begin(COLOURS[0]);
        colours.served();
        Self { keys, flipgate, sides, here: 0, colours, address, secure, health, certificate, table }
    }

    /// Puts everything back as it was at first.
    pub fn put_table(&mut self) -> i64 {
        self.keys.put_together(&self.table)
    }

    /// Load at the usual rate.
    pub fn load(&self) -> Load {
        self.load_at(Some(RATES))
    }

    /// Load at a rate, or as much as goes through.
    pub fn load_at(&self, rates: Option<(u64, u64)>) -> Load {
        let plan = |address| Plan {
            colours: Some(self.colours.clone()),
            kept: 6,
            short: 2,
            http2: (2, 3),
            ..Plan::mixed(&[address], HOST)
        };
        let plain = Plan { rate: rates.map(|rates| rates.0), ..plan(self.address) };
        let secure = Plan {
            rate: rates.map(|rates| rates.1),
            encrypted: Some(Encrypted::trusting(&self.certificate)),
            short: 1,
            ..plan(self.secure)
        };
        let load = Load { plain: Traffic::start(plain), secure: Traffic::start(secure) };
        until("the load runs", Duration::from_secs(20), || (load.requests() > 60).then_some(()));
        load
    }

    /// The colour that traffic goes to.
    pub fn colour(&self) -> &'static str {
        COLOURS[self.here]
    }

    /// Flips to the other colour; how long it took from the write to its being served.
    pub fn flip(&mut self) -> Duration {
        let value = self.turn();
        let revision = self.keys.put(ALIAS, &value);
        self.wait_served(revision)
    }

    /// Says that a flip to the other colour is about to be written; its value.
    pub fn turn(&mut self) -> Value {
        self.here = 1 - self.here;
        self.colours.begin(self.colour());
        alias(&format!("shop-{}", self.colour()))
    }

    /// Waits until a flip that was just written is served; how long that took.
    pub fn wait_served(&self, revision: i64) -> Duration {
        let written = Instant::now();
        self.flipgate.admin().served(revision);
        self.colours.served();
        written.elapsed()
    }

    /// Flips so often, with pauses; the longest time to its being served.
    pub fn flips(&mut self, count: u32, pause: Duration) -> Duration {
        let mut most = Duration::ZERO;
        for _ in 0..count {
            most = most.max(self.flip());
            std::thread::sleep(pause);
        }
        most
    }

    pub fn asked(&self) -> String {
        get(self.address, HOST, "/").text().split(' ').next().unwrap_or_default().to_owned()
    }

    /// Waits until the proxy says that it is in touch with the store, or that it is not; how long that took.
    pub fn wait_connected(&self, connected: bool, most: Duration) -> Duration {
        let begin = Instant::now();
        let what = if connected { "the store is there" } else { "the store is away" };
        self.flipgate.admin().state(what, most, |status| status["store"]["connected"] == connected);
        begin.elapsed()
    }

    /// The value of a metric, or of the sum of a family's.
    pub fn metric(&self, name: &str) -> f64 {
        let text = get(self.health, "localhost", "/metrics").text();
        let values = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// Load of all kinds.
pub struct Load {
    plain: Traffic,
    secure: Traffic,
}

impl Load {
    /// Answered and failed requests so far, without those taken.
    pub fn requests(&self) -> u64 {
        self.plain.requests().min(self.secure.requests())
    }

    /// What came since the start or the last time it was taken.
    pub fn take(&self) -> Tally {
        let mut tally = self.plain.take();
        tally.add(self.secure.take());
        tally
    }

    pub fn stop(self) -> Tally {
        let mut tally = self.plain.stop();
        tally.add(self.secure.stop());
        tally
    }

    /// Ends it; nothing of it may have failed.
    pub fn stop_well(self, what: &str) -> Tally {
        let tally = self.stop();
        println!("failures {what}: {} (bound 0)", tally.summary());
        assert_eq!(tally.failed, 0, "{what}: {:#?}", tally.failures);
        assert!(tally.requests > 100, "{what}: {} requests are no load", tally.requests);
        tally
    }
}

fn table(
    sides: &[Vec<Pod>; 2],
    addresses: [SocketAddr; 2],
    certificate: &TestCertificate,
) -> Vec<(String, Value)> {
    let listener = |protocol: &str, address: SocketAddr| {
        let address = json!({"Network": "tcp", "Address": address.to_string()});
        json!({"Protocol": protocol, "Address": address, "Settings": {"H2C": protocol == "http"}})
    };
    let mut table = vec![
        ("listeners/http".to_owned(), listener("http", addresses[0])),
        ("listeners/https".to_owned(), listener("https", addresses[1])),
        (format!("hosts/{HOST}/host"), certificate.host(true)),
        (ALIAS.to_owned(), alias("shop-blue")),
        ("frontends/shop/frontend".to_owned(), frontend(&format!("Host(`{HOST}`)"), "shop")),
    ];
    for (colour, pods) in COLOURS.iter().zip(sides) {
        table.push((format!("backends/shop-{colour}/backend"), json!({"Type": "http"})));
        let server = |pod: &Pod| (format!("backends/shop-{colour}/servers/{}", pod.name()), pod.server());
        table.extend(pods.iter().map(server));
    }
    table
}
