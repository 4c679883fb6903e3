//! Settings of a process, which are not routing: flag, then environment, then `flipgate.toml`, then default.
//!
//! [`Config::resolve`] is pure: it is given the flags, the environment and the file's text, and reports everything
//! that is wrong with them at once, each problem with the place it came from.

mod deployer;
mod file;
mod limits;
mod registrar;
mod settings;

pub use deployer::DeployerSettings;
pub use limits::{LimitSettings, MemoryLimit};
pub use registrar::RegistrarSettings;
pub use settings::{SETTINGS, Setting, TABLES};

use crate::model::{AccessLogFormat, AccessLogTarget, RouteOrder};
use crate::model::{ListenAddress, ListenerId, duration, parse_network};
use ipnet::IpNet;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Read when no `--config` is given; it need not exist.
pub const DEFAULT_FILE: &str = "/etc/flipgate/flipgate.toml";

/// Most workers.
pub const WORKERS_MAX: usize = 1024;

/// Everything that `flipgate proxy` needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where objects live.
    pub store: StoreSettings,
    /// Files named by objects lie below it; without it objects cannot name files.
    pub secrets_dir: Option<PathBuf>,
    /// Files of traces lie below it; without it traces cannot name files.
    pub trace_dir: Option<PathBuf>,
    /// For what must survive a restart.
    pub data_dir: PathBuf,
    /// This proxy's name in the fleet; the machine's if there is none.
    pub name: Option<String>,
    /// A proxy that is cut off from its store for so long stops serving; `None`: it serves on.
    pub isolation_stop_after: Option<Duration>,
    /// Threads that move traffic, 1 to [`WORKERS_MAX`].
    pub workers: usize,
    /// In which order routes are preferred.
    pub route_order: RouteOrder,
    /// Whether to listen on 0.0.0.0:8181 as vulcand does.
    pub default_listener: bool,
    /// Listeners of this machine that differ from the stored ones.
    pub listeners: BTreeMap<ListenerId, ListenerOverride>,
    /// Between saying not ready and refusing new connections.
    pub drain_delay: Duration,
    /// What open requests get to end once draining.
    pub drain_timeout: Duration,
    /// What a new program gets to take over.
    pub upgrade_timeout: Duration,
    /// Exit when no table is served within this time.
    pub require_table: Option<Duration>,
    /// The admin API; none: off.
    pub admin: AdminSettings,
    /// Answers only `/healthz`, `/readyz` and `/metrics`.
    pub health: Option<SocketAddr>,
    /// Statistics to statsd: `HOST:PORT`.
    pub statsd: Option<String>,
    /// What their names begin with.
    pub statsd_prefix: String,
    /// Directory with error pages.
    pub error_pages: Option<PathBuf>,
    /// Proxies before this one, which are believed what they say of their clients.
    pub trusted_proxies: Vec<IpNet>,
    /// What a client may cost.
    pub limits: LimitSettings,
    /// The access log.
    pub access_log: AccessLogSettings,
    /// The log of events.
    pub log: LogSettings,
    /// What `flipgate registrar` needs besides.
    pub registrar: RegistrarSettings,
    /// What `flipgate deployer` needs besides that.
    pub deployer: DeployerSettings,
}

/// Where objects live and how to get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// `dir:PATH` or `etcd://H:P,H:P`, not yet read; none was given.
    pub url: Option<String>,
    /// Taken literally.
    pub prefix: String,
    /// For what is shared and not routing.
    pub state_prefix: String,
    /// PEM.
    pub etcd_ca: Option<PathBuf>,
    /// PEM; with its key.
    pub etcd_cert_and_key: Option<(PathBuf, PathBuf)>,
    /// User name and the file with the password.
    pub etcd_user_and_password_file: Option<(String, PathBuf)>,
    /// Given directly; they stand before those in files.
    pub seal_keys: Vec<Secret>,
    /// The first key of all seals.
    pub seal_key_files: Vec<PathBuf>,
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How a stored listener listens on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerOverride {
    /// Elsewhere.
    Address(ListenAddress),
    /// Not at all.
    Off,
}

/// The admin API's access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// None: off.
    pub address: Option<SocketAddr>,
    /// Lines of `read TOKEN` or `write TOKEN`; a single token alone may write.
    pub token_file: Option<PathBuf>,
    /// Need no token.
    pub trusted: Vec<IpNet>,
    /// Names in `Host` that requests without a token may carry, besides `localhost` and addresses.
    pub hosts: Vec<String>,
}

/// The access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Where it goes.
    pub target: AccessLogTarget,
    /// How a line looks.
    pub format: AccessLogFormat,
}

/// The log of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// `info`, or several by module.
    pub level: String,
    /// One JSON object a line instead of text for people.
    pub json: bool,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `--drain-delay`
    Flag(&'static str),
    /// `FLIPGATE_DRAIN_DELAY`
    Variable(String),
    /// A line of the file, counted from 1.
    File {
        /// As it was given.
        path: Arc<Path>,
        /// Counted from 1.
        line: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Variable(variable) => f.write_str(variable),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where.
    pub origin: Origin,
    /// What, and what would be right.
    pub message: String,
}

/// Everything that is wrong, a line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<ConfigProblem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let line_feed = if index > 0 { "\n" } else { "" };
            write!(f, "{line_feed}{}: {}", problem.origin, problem.message)?;
        }
        Ok(())
    }
}

/// The values of some flags, not yet read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Partial {
    values: HashMap<&'static str, Vec<String>>,
}

impl Partial {
    /// Whether a flag has a value.
    pub fn has(&self, flag: &str) -> bool {
        self.values.contains_key(flag)
    }

    /// Gives a flag a value; a further one where the flag takes many, in place of the former otherwise.
    pub fn set(&mut self, setting: &Setting, value: impl Into<String>) {
        let values = self.values.entry(setting.flag).or_default();
        if !setting.many {
            values.clear();
        }
        values.push(value.into());
    }
}

impl Config {
    /// Puts the layers together: a value of `flags`, else of the environment, else of the file, else the default.
    /// An empty variable counts as none. `listener` is put together id by id, other lists are taken whole.
    ///
    /// # Errors
    /// Everything that is wrong with any layer.
    pub fn resolve(
        flags: Partial,
        env: impl Fn(&str) -> Option<String>,
        file: Option<(PathBuf, String)>,
    ) -> Result<Self, ConfigError> {
        let (file, problems) = match &file {
            Some((path, text)) => file::read(path, text),
            None => Default::default(),
        };
        let mut layers = Layers { flags, env, file, problems };
        let config = layers.config();
        match layers.problems {
            problems if problems.is_empty() => Ok(config),
            problems => Err(ConfigError { problems }),
        }
    }
}

/// Reads the file that `--config` or `FLIPGATE_CONFIG` names, else [`DEFAULT_FILE`], which need not exist.
///
/// # Errors
/// The file cannot be read, with its path.
pub fn read_file(given: Option<&Path>) -> Result<Option<(PathBuf, String)>, ConfigFileError> {
    let path = given.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) if given.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ConfigFileError { path: path.to_owned(), error }),
    }
}

/// A file of settings cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct ConfigFileError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub error: std::io::Error,
}

struct Layers<E> {
    flags: Partial,
    env: E,
    file: file::Lines,
    problems: Vec<ConfigProblem>,
}

impl<E: Fn(&str) -> Option<String>> Layers<E> {
    fn config(&mut self) -> Config {
        let path = |text: &str| Ok(PathBuf::from(text));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Config {
            store: self.store(),
            secrets_dir: self.optional("secrets-dir", path),
            trace_dir: self.optional("trace-dir", path),
            data_dir: self.value("data-dir", path),
            name: self.optional("name", member_name),
            isolation_stop_after: self.optional("isolation-stop-after", duration),
            workers: self
                .optional("workers", |text| count(text, 1, WORKERS_MAX))
                .unwrap_or(cores.min(WORKERS_MAX)),
            route_order: self.value("route-order", |text| {
                choice(text, &[("flipgate", RouteOrder::Flipgate), ("vulcand", RouteOrder::Vulcand)])
            }),
            default_listener: self.value("default-listener", on_or_off),
            listeners: self.listeners(),
            drain_delay: self.value("drain-delay", duration),
            drain_timeout: self.value("drain-timeout", duration),
            upgrade_timeout: self.value("upgrade-timeout", duration),
            require_table: self.optional("require-table", duration),
            admin: AdminSettings {
                address: self.value("admin", address_or_off),
                token_file: self.optional("admin-token-file", path),
                trusted: self.many("admin-trusted", network),
                hosts: self.many("admin-host", |text| Ok(text.to_ascii_lowercase())),
            },
            health: self.value("health", address_or_off),
            statsd: self.value("statsd", host_and_port_or_off),
            statsd_prefix: self.optional("statsd-prefix", |text| Ok(text.to_owned())).unwrap_or_default(),
            error_pages: self.optional("error-pages", path),
            trusted_proxies: self.many("trusted-proxies", network),
            limits: self.limits(),
            access_log: AccessLogSettings {
                target: self.value("access-log", |text| {
                    Ok(match text {
                        "off" => AccessLogTarget::Off,
                        "stdout" | "-" => AccessLogTarget::Stdout,
                        path => AccessLogTarget::File(path.into()),
                    })
                }),
                format: self.value("access-log-format", |text| {
                    choice(text, &[("json", AccessLogFormat::Json), ("text", AccessLogFormat::Text)])
                }),
            },
            log: LogSettings {
                level: self.value("log-level", |text| Ok(text.to_owned())),
                json: self.value("log-format", |text| choice(text, &[("text", false), ("json", true)])),
            },
            registrar: self.registrar(),
            deployer: self.deployer(),
        }
    }

    fn store(&mut self) -> StoreSettings {
        let path = |text: &str| Ok(PathBuf::from(text));
        let text = |text: &str| Ok(text.to_owned());
        StoreSettings {
            url: self.optional("store", text),
            prefix: self.value("prefix", text),
            state_prefix: self.value("state-prefix", text),
            etcd_ca: self.optional("etcd-ca", path),
            etcd_cert_and_key: self.pair(("etcd-cert", path), ("etcd-key", path)),
            etcd_user_and_password_file: self.pair(("etcd-user", text), ("etcd-password-file", path)),
            seal_keys: self.many("seal-key", |text| Ok(Secret(text.into()))),
            seal_key_files: self.many("seal-key-file", path),
        }
    }

    /// Lower layers first, so that higher ones win id by id.
    fn listeners(&mut self) -> BTreeMap<ListenerId, ListenerOverride> {
        let layers =
            [self.file_values("listener"), self.variable_values("listener"), self.flag_values("listener")];
        let given: Vec<_> = layers.into_iter().flatten().collect();
        given.into_iter().filter_map(|(text, origin)| self.read(&text, origin, listener)).collect()
    }

    fn flag_values(&self, flag: &'static str) -> Vec<(String, Origin)> {
        let values = self.flags.values.get(flag).into_iter().flatten();
        values.map(|text| (text.clone(), Origin::Flag(flag))).collect()
    }

    fn variable_values(&self, flag: &'static str) -> Vec<(String, Origin)> {
        let Some(setting) = Setting::of(flag) else { return Vec::new() };
        let variable = setting.variable();
        let text = (self.env)(&variable).unwrap_or_default();
        let parts: Vec<&str> = if setting.many { text.split(',').collect() } else { vec![&text] };
        let parts = parts.into_iter().map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| (part.to_owned(), Origin::Variable(variable.clone()))).collect()
    }

    fn file_values(&self, flag: &'static str) -> Vec<(String, Origin)> {
        self.file.get(flag).cloned().unwrap_or_default()
    }

    /// The values of the highest layer that has any.
    fn given(&self, flag: &'static str) -> Vec<(String, Origin)> {
        let flags = self.flag_values(flag);
        let env = if flags.is_empty() { self.variable_values(flag) } else { flags };
        if env.is_empty() { self.file_values(flag) } else { env }
    }

    fn read<T>(
        &mut self,
        text: &str,
        origin: Origin,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(reason) => {
                let message = format!("{text:?} {reason}");
                self.problems.push(ConfigProblem { origin, message });
                None
            }
        }
    }

    fn optional<T>(&mut self, flag: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let (text, origin) = self.given(flag).pop()?;
        self.read(&text, origin, parse)
    }

    fn many<T>(&mut self, flag: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let given = self.given(flag);
        given.into_iter().filter_map(|(text, origin)| self.read(&text, origin, &parse)).collect()
    }

    /// A setting with a default, which also stands in for a value that is wrong and reported.
    fn value<T: Default>(&mut self, flag: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let given = self.optional(flag, &parse);
        let default = || Setting::of(flag).and_then(|setting| parse(setting.default).ok());
        given.or_else(default).unwrap_or_default()
    }

    /// Two settings that make sense only together.
    fn pair<A, B>(
        &mut self,
        (first, parse_first): (&'static str, impl Fn(&str) -> Result<A, String>),
        (second, parse_second): (&'static str, impl Fn(&str) -> Result<B, String>),
    ) -> Option<(A, B)> {
        let origin = |layers: &Self, flag| layers.given(flag).pop().map(|(_, origin)| origin);
        let lonely = match (origin(self, first), origin(self, second)) {
            (Some(origin), None) => Some((origin, first, second)),
            (None, Some(origin)) => Some((origin, second, first)),
            _ => None,
        };
        if let Some((origin, given, missing)) = lonely {
            let message = format!("`{given}` needs `{missing}` as well");
            self.problems.push(ConfigProblem { origin, message });
        }
        self.optional(first, parse_first).zip(self.optional(second, parse_second))
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

fn member_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    if text.len() > 128 || text.starts_with('.') || !text.chars().all(plain) {
        return Err("is no name of a proxy: up to 128 letters, digits, `.`, `_`, `-` and `:` are, not beginning with a \
                    dot"
            .to_owned());
    }
    Ok(text.to_owned())
}

fn on_or_off(text: &str) -> Result<bool, String> {
    choice(text, &[("on", true), ("off", false), ("true", true), ("false", false)])
}

fn choice<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let names: Vec<_> = known.iter().take(2).map(|(name, _)| format!("`{name}`")).collect();
        format!("is neither {}", names.join(" nor "))
    })
}

fn count(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let number = text.replace('_', "").parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("is no whole number from {least} to {most}"))
}

fn number<T: TryFrom<usize>>(text: &str, least: usize, most: usize) -> Result<T, String> {
    let number = count(text, least, most)?;
    T::try_from(number).map_err(|_| format!("is no whole number from {least} to {most}"))
}

/// `65536`, `64KiB`, `1MiB`, `2GiB`
fn bytes(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let mut parts =
        units.iter().filter_map(|(unit, scale)| Some((text.strip_suffix(unit)?.trim_end(), *scale)));
    let number = parts.next().and_then(|(digits, scale)| digits.parse::<usize>().ok()?.checked_mul(scale));
    let number = number.filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("is no size from {least} to {most} bytes, like `65536` or `64KiB`"))
}

fn network(text: &str) -> Result<IpNet, String> {
    parse_network(text).ok_or_else(|| "is no network, like `10.0.0.0/8`".to_owned())
}

fn address_or_off(text: &str) -> Result<Option<SocketAddr>, String> {
    match text.parse() {
        _ if text == "off" => Ok(None),
        Ok(ListenAddress::Tcp(address)) => Ok(Some(address)),
        _ => Err("is neither an address with a port, like `127.0.0.1:8182`, nor `off`".to_owned()),
    }
}

/// A name is looked up when it is needed.
fn host_and_port_or_off(text: &str) -> Result<Option<String>, String> {
    if text == "off" {
        return Ok(None);
    }
    match text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(1..))) if !host.is_empty() => Ok(Some(text.to_owned())),
        _ => Err("is neither a host with a port, like `127.0.0.1:8125`, nor `off`".to_owned()),
    }
}

fn listener(text: &str) -> Result<(ListenerId, ListenerOverride), String> {
    let (id, address) = text.split_once('=').ok_or("is not of the form ID=ADDRESS or ID=off")?;
    let id = ListenerId::try_from(id).map_err(|error| format!("names no listener: {error}"))?;
    let address = match address {
        "off" => ListenerOverride::Off,
        address => ListenerOverride::Address(address.parse().map_err(|error| format!("{error}, or `off`"))?),
    };
    Ok((id, address))
}

#[cfg(test)]
mod tests;
