//! Wiring: configuration in, running parts with their bound addresses out; the drain; the upgrade; and the embedder's
//! [`Gate`].

mod gate;
mod handover;
mod machine;
#[cfg(feature = "admin")]
mod observe;
mod systemd;
mod upgrade;
mod wiring;

pub use crate::proxy::{GateBody, GateError, Peer};
pub use gate::{Builder, Gate};
pub use handover::Legacy;
pub use systemd::notify;
pub use upgrade::{Invocation, UpgradeError, UpgradeOutcome};

use crate::config::{Config, ListenerOverride};
use crate::control::Control;
use crate::control::membership::Identity;
use crate::model::{ListenAddress, ListenerId, Object, ObjectKey, Strictness};
use crate::proxy::{Bound, ClientBits, Http2Settings, Override, PageFiles, Proxy, Settings};
use crate::store::{EtcdAccess, StoreOptions, StoreUrl};
use crate::telemetry::AccessLog;
use crate::tls::SealKeys;
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use wiring::{Member, Plan, Wired};
use zeroize::Zeroizing;

/// One wait for the first table; another follows.
const READY_WAIT: Duration = Duration::from_secs(3600);
/// What the access log gets to reach its target at the end.
const LOG_PATIENCE: Duration = Duration::from_secs(2);
/// vulcand's own listener, for those who ask for it.
const DEFAULT_LISTENER: &str = r#"{"Protocol":"http","Address":{"Network":"tcp","Address":"0.0.0.0:8181"}}"#;

/// Why the program does not start. Nothing that a store holds is among them.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is nothing to follow.
    #[error(
        "no store is given: use --store dir:PATH for a directory of files, --store etcd://HOST:PORT for etcd, or \
         try `flipgate demo`"
    )]
    NoStore,
    /// `--store` is not understood, or its settings contradict each other.
    #[error("--store {url}: {reason}")]
    Store {
        /// As given.
        url: String,
        /// What would be right.
        reason: String,
    },
    /// A seal key cannot be used.
    #[error("--seal-key-file: {0}")]
    Seal(crate::tls::SealError),
    /// The data directory cannot be used.
    #[error("--data-dir: {0}")]
    Data(crate::control::journal::JournalError),
    /// A setting needs what the machine does not give.
    #[error("{setting}: {error}")]
    Io {
        /// The flag.
        setting: String,
        /// What the machine said.
        error: io::Error,
    },
    /// The admin API would be open to others.
    #[cfg(feature = "admin")]
    #[error("--admin: {0}")]
    Admin(crate::admin::AccessError),
}

/// A proxy that runs, and what follows its table.
pub struct Running {
    control: Control,
    proxy: Proxy,
    bound: Arc<Bound>,
    access_log: AccessLog,
    admin: Option<SocketAddr>,
    health: Option<SocketAddr>,
    #[cfg(feature = "admin")]
    access: Option<Arc<crate::admin::Access>>,
    error_pages: Option<Arc<PageFiles>>,
    member: Member,
    drain_delay: Duration,
    stop: CancellationToken,
    /// Ends the admin servers, and is cancelled by `stop` too.
    stop_admin: CancellationToken,
    /// Cancelled once they may answer: no process before this one does.
    may_answer: CancellationToken,
    publisher: tokio::task::JoinHandle<()>,
    data_dir: PathBuf,
    secret: Zeroizing<[u8; 32]>,
    /// To the process before this one, which waits.
    line: Option<UnixStream>,
    /// The admin servers' sockets once more: which, and the address that was asked for.
    sockets: Vec<(usize, SocketAddr, TcpListener)>,
}

/// Starts everything that `config` asks for, on the current runtime and on threads of its own. Returns once all
/// addresses that the configuration names are bound; whether there is a table yet, [`Running::ready`] says.
///
/// # Errors
/// What only the operator can mend: see [`StartError`].
pub async fn start(config: Config) -> Result<Running, StartError> {
    start_from(config, Legacy::default()).await
}

/// As [`start`], with what was left to this process; [`Running::take_over`] is to follow.
///
/// # Errors
/// As there.
pub async fn start_from(config: Config, mut legacy: Legacy) -> Result<Running, StartError> {
    let store = open_store(&config)?;
    let direct: Vec<&str> = config.store.seal_keys.iter().map(|key| key.expose()).collect();
    let seal_keys = SealKeys::gather(&direct, &config.store.seal_key_files).map_err(StartError::Seal)?;
    let access_log = AccessLog::start(&config.access_log.target, config.access_log.format)
        .map_err(|error| StartError::Io { setting: "--access-log".to_owned(), error })?;
    let open = |dir: &PathBuf| {
        PageFiles::open(dir).map_err(|error| StartError::Io { setting: "--error-pages".to_owned(), error })
    };
    let error_pages = config.error_pages.as_ref().map(open).transpose()?;
    let (secret, line) = (legacy.secret.clone(), legacy.line.take());
    #[cfg(feature = "admin")]
    let bound = observe::bind(&config, &mut legacy).await?;
    let plan = Plan {
        store: store.clone(),
        seal_keys: seal_keys.clone(),
        secrets_dir: config.secrets_dir.clone(),
        data_dir: Some(config.data_dir.clone()),
        workers: config.workers,
        route_order: config.route_order,
        settings: Settings { error_pages: error_pages.clone(), ..settings(&config) },
        overrides: overrides(&config),
        identity: Identity {
            name: config.name.clone(),
            home: Some(home(&config.data_dir)),
            isolation_stop_after: config.isolation_stop_after,
        },
        extra_listeners: if config.default_listener { default_listener() } else { Vec::new() },
        legacy,
    };
    let Wired { control, proxy, stop, publisher, member } = wiring::start(plan, &access_log).await?;
    let running = Running {
        bound: proxy.bound().clone(),
        admin: None,
        health: None,
        #[cfg(feature = "admin")]
        access: None,
        error_pages,
        member,
        drain_delay: config.drain_delay,
        access_log,
        control,
        proxy,
        stop_admin: stop.child_token(),
        may_answer: CancellationToken::new(),
        stop,
        publisher,
        data_dir: config.data_dir.clone(),
        secret,
        line,
        sockets: Vec::new(),
    };
    // Nobody else answers there.
    if running.line.is_none() {
        running.may_answer.cancel();
    }
    #[cfg(feature = "admin")]
    let running = bound.serve(running, &config, store, Arc::new(seal_keys));
    #[cfg(not(feature = "admin"))]
    drop((store, seal_keys));
    Ok(running)
}

impl Running {
    const ADMIN: usize = 0;
    const HEALTH: usize = 1;

    /// The listeners that accept connections, with the addresses that were bound.
    pub fn listeners(&self) -> BTreeMap<ListenerId, ListenAddress> {
        self.bound.addresses()
    }

    /// Where the admin API answers.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Where health and metrics answer.
    pub fn health(&self) -> Option<SocketAddr> {
        self.health
    }

    /// Waits until a first table is served.
    pub async fn ready(&self) {
        while !self.control.wait_ready(READY_WAIT).await {}
    }

    /// Waits until this proxy was cut off from its store for longer than `--isolation-stop-after` allows.
    pub async fn isolated(&self) {
        self.member.isolated.cancelled().await;
    }

    /// How things stand.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Reopens logs, and reads the files that hosts and settings name again.
    pub fn reload(&self) {
        self.access_log.reopen();
        let control = self.control.clone();
        tokio::spawn(async move { control.reload().await });
        if let Some(pages) = &self.error_pages
            && let Err(error) = pages.reload()
        {
            tracing::error!(%error, "the former error pages stay in force");
        }
        #[cfg(feature = "admin")]
        if let Some(access) = &self.access
            && let Err(error) = access.reload()
        {
            tracing::error!(%error, "the former admin tokens stay in force");
        }
    }

    /// Says not ready, waits for the drain delay so that load balancers before this one notice, stops accepting, lets
    /// what is open end within `deadline`, and brings image and log to the disk. What did not end in time is cut off.
    pub async fn shutdown(self, deadline: Duration) {
        self.member.lame.send_replace(true);
        if !self.drain_delay.is_zero() {
            tokio::time::sleep(self.drain_delay).await;
        }
        if let Err(connections) = self.proxy.drain(deadline).await {
            tracing::warn!(connections, ?deadline, "cut off: not everything that was open ended in time");
        }
        self.stop.cancel();
        // Both end by themselves; what they could not do they have said.
        let _ = self.publisher.await;
        let _ = self.member.task.await;
        let log = self.access_log;
        // A target that is stuck does not keep the process.
        let _ = tokio::task::spawn_blocking(move || log.close(LOG_PATIENCE)).await;
    }
}

/// What tells a data directory apart on its machine.
fn home(data_dir: &Path) -> String {
    std::fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned()).display().to_string()
}

fn open_store(config: &Config) -> Result<Arc<dyn crate::store::Store>, StartError> {
    let Some(url) = &config.store.url else { return Err(StartError::NoStore) };
    let failed = |reason: String| StartError::Store { url: url.clone(), reason };
    let parsed: StoreUrl =
        url.parse().map_err(|error: crate::store::InvalidStoreUrl| failed(error.to_string()))?;
    let etcd = !matches!(parsed, StoreUrl::Directory(_));
    let settings = &config.store;
    let (certificate, key) = settings.etcd_cert_and_key.clone().unzip();
    let (user, password_file) = settings.etcd_user_and_password_file.clone().unzip();
    let options = StoreOptions {
        url: parsed,
        prefix: etcd.then(|| settings.prefix.clone()),
        state_prefix: etcd.then(|| settings.state_prefix.clone()).filter(|prefix| !prefix.is_empty()),
        access: EtcdAccess {
            tls: false,
            ca: settings.etcd_ca.clone(),
            certificate,
            key,
            user,
            password_file,
        },
        counter: Some(config.data_dir.join("directory-revision")),
    };
    crate::store::open(&options).map_err(|error| failed(error.to_string()))
}

fn settings(config: &Config) -> Settings {
    let limits = &config.limits;
    let mut settings = Settings {
        head_timeout: limits.head_timeout,
        keep_alive_timeout: limits.idle_timeout,
        idle_timeout: limits.body_timeout,
        tunnel_timeout: limits.tunnel_timeout,
        request_timeout: limits.request_timeout,
        body_rate_min: limits.body_rate_min,
        answer_rate_min: limits.answer_rate_min,
        connections_max: machine::connections(limits.connections),
        connections_per_client_max: limits.connections_per_client,
        client_bits: ClientBits { v4: limits.client_bits_v4, v6: limits.client_bits_v6 },
        memory_max: machine::memory(limits.memory),
        lag_max: limits.lag,
        trusted_proxies: config.trusted_proxies.clone().into(),
        trace_dir: config.trace_dir.clone(),
        ..Settings::default()
    };
    settings.limits.head_bytes = limits.head_bytes;
    settings.limits.fields = limits.fields;
    settings.http2 = Http2Settings {
        streams_max: limits.h2_streams,
        requests_max: limits.h2_requests,
        odd_frames_max: limits.h2_odd_frames,
        odd_frames_per_second: limits.h2_odd_frames_per_second,
        stall_timeout: limits.h2_stall_timeout,
    };
    settings
}

fn overrides(config: &Config) -> BTreeMap<ListenerId, Override> {
    let listeners = config.listeners.iter().map(|(id, listener)| {
        let listener = match listener {
            ListenerOverride::Address(address) => Override::Address(address.clone()),
            ListenerOverride::Off => Override::Off,
        };
        (id.clone(), listener)
    });
    listeners.collect()
}

fn default_listener() -> Vec<crate::model::Listener> {
    let parsed = ListenerId::try_from("default").ok().and_then(|id| {
        Object::parse(&ObjectKey::Listener(id), DEFAULT_LISTENER.as_bytes(), Strictness::Written).object
    });
    match parsed {
        Some(Object::Listener(listener)) => vec![listener],
        _ => Vec::new(),
    }
}
