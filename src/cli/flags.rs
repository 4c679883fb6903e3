//! Flags made from the list of settings, so that help, environment and file say the same.

use super::api::{ADMIN, ApiClient};
use super::context::Context;
use super::target::Target;
#[cfg(feature = "kubernetes")]
use crate::config::RegistrarSettings;
use crate::config::{Config, Partial, SETTINGS, Setting, StoreSettings};
#[cfg(feature = "kubernetes")]
use crate::kubernetes::Access;
use crate::model::RouteOrder;
use crate::store::{EtcdAccess, Store, StoreOptions, StoreUrl, open};
use crate::tls::SealKeys;
use anyhow::bail;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// Where the admin API is when nothing says otherwise.
pub(super) const ADMIN_DEFAULT: &str = "http://127.0.0.1:8182";

/// The flags of `flipgate proxy`: every setting but the registrar's.
#[derive(Debug, Clone)]
pub(super) struct ProxyFlags(pub(super) Partial);

/// The flags of `flipgate upgrade`: what names the running proxy.
#[derive(Debug, Clone)]
pub(super) struct UpgradeFlags(pub(super) Partial);

/// The flags of `flipgate registrar`.
#[cfg(feature = "kubernetes")]
#[derive(Debug, Clone)]
pub(super) struct RegistrarFlags(pub(super) Partial);

/// The flags of `flipgate deployer`.
#[cfg(feature = "kubernetes")]
#[derive(Debug, Clone)]
pub(super) struct DeployerFlags(pub(super) Partial);

/// The flags of `flipgate import ingress-nginx`: which cluster is read, and what of it.
#[cfg(feature = "kubernetes")]
#[derive(Debug, Clone)]
pub(super) struct ClusterFlags(Partial);

/// The flags of `flipgate doctor` about Kubernetes: what says which cluster is meant, and what the registrar needs there.
#[cfg(feature = "kubernetes")]
#[derive(Debug, Clone)]
pub(super) struct DoctorFlags(Partial);

/// Where objects are read and written: the settings of the store, or an admin API's URL.
#[derive(Debug, Clone)]
pub(super) struct TargetFlags {
    settings: Partial,
    store_given: bool,
    admin: Option<String>,
}

fn heading(table: &str) -> &'static str {
    match table {
        "store" => "Store",
        "admin" => "Admin API",
        "health" => "Health",
        "limits" => "Limits",
        "access_log" => "Access log",
        "log" => "Log",
        "registrar" => "Kubernetes",
        "deployer" => "Deployer",
        _ => "Process",
    }
}

fn arg(setting: &'static Setting) -> Arg {
    let mut help = setting.help.to_owned();
    if !setting.default.is_empty() {
        help.push_str(&format!(" [default: {}]", setting.default));
    }
    if setting.many {
        help.push_str(" (repeatable)");
    }
    let arg = Arg::new(setting.flag)
        .long(setting.flag)
        .value_name(setting.value)
        .help(help)
        .help_heading(heading(setting.table));
    match setting {
        Setting { many: true, .. } => arg.action(ArgAction::Append),
        // `--default-listener` alone means on.
        Setting { value: "on|off", .. } => arg.num_args(0..=1).default_missing_value("on"),
        _ => arg,
    }
}

fn partial(matches: &ArgMatches, is_wanted: impl Fn(&Setting) -> bool) -> Partial {
    let mut partial = Partial::default();
    for setting in SETTINGS.iter().filter(|setting| is_wanted(setting)) {
        if matches.value_source(setting.flag) == Some(ValueSource::CommandLine) {
            for value in matches.get_many::<String>(setting.flag).into_iter().flatten() {
                partial.set(setting, value);
            }
        }
    }
    partial
}

/// What clap needs of flags that are settings: which of them, and the argument that each makes.
macro_rules! flags {
    ($flags:ident, $is_wanted:path, $arg:path) => {
        impl FromArgMatches for $flags {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self(partial(matches, $is_wanted)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }

        impl Args for $flags {
            fn augment_args(command: Command) -> Command {
                command.args(SETTINGS.iter().filter(|setting| $is_wanted(setting)).map($arg))
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }
    };
}

flags!(ProxyFlags, is_of_proxy, arg);
flags!(UpgradeFlags, is_of_upgrade, arg);

fn is_of_upgrade(setting: &Setting) -> bool {
    matches!(setting.flag, "data-dir" | "upgrade-timeout")
}

#[cfg(feature = "kubernetes")]
flags!(RegistrarFlags, is_of_registrar, arg);

#[cfg(feature = "kubernetes")]
flags!(DeployerFlags, is_of_deployer, arg);

fn is_of_proxy(setting: &Setting) -> bool {
    !matches!(setting.table, "registrar" | "deployer")
}

#[cfg(feature = "kubernetes")]
fn is_of_deployer(setting: &Setting) -> bool {
    let shared = ["health", "kubeconfig", "kube-context", "host-of", "plain-keys"];
    matches!(setting.table, "store" | "deployer" | "log") || shared.contains(&setting.flag)
}

#[cfg(feature = "kubernetes")]
fn is_of_registrar(setting: &Setting) -> bool {
    matches!(setting.table, "store" | "registrar" | "log") || setting.flag == "health"
}

#[cfg(feature = "kubernetes")]
fn is_of_cluster(setting: &Setting) -> bool {
    ["kubeconfig", "kube-context", "namespace", "ingress-class", "plain-keys"].contains(&setting.flag)
}

/// Who looks at a cluster only reads it.
#[cfg(feature = "kubernetes")]
fn cluster_arg(setting: &'static Setting) -> Arg {
    match setting.flag {
        "namespace" => arg(setting).help("Namespace that is looked at; default: all (repeatable)"),
        "ingress-class" => {
            arg(setting).help("Class whose Ingresses are looked at; default: nginx (repeatable)")
        }
        _ => arg(setting),
    }
}

#[cfg(feature = "kubernetes")]
flags!(ClusterFlags, is_of_cluster, cluster_arg);

#[cfg(feature = "kubernetes")]
impl ClusterFlags {
    /// The settings with these flags in front.
    pub(super) fn settings(&self, context: &Context<'_, '_>) -> anyhow::Result<RegistrarSettings> {
        registrar_settings(&self.0, context)
    }
}

#[cfg(feature = "kubernetes")]
fn is_of_doctor(setting: &Setting) -> bool {
    let wanted =
        ["kubeconfig", "kube-context", "namespace", "ingress-class", "lease-namespace", "write-status"];
    wanted.contains(&setting.flag)
}

#[cfg(feature = "kubernetes")]
flags!(DoctorFlags, is_of_doctor, arg);

#[cfg(feature = "kubernetes")]
impl DoctorFlags {
    /// The settings with these flags in front.
    pub(super) fn settings(&self, context: &Context<'_, '_>) -> anyhow::Result<RegistrarSettings> {
        registrar_settings(&self.0, context)
    }
}

#[cfg(feature = "kubernetes")]
fn registrar_settings(flags: &Partial, context: &Context<'_, '_>) -> anyhow::Result<RegistrarSettings> {
    // As for all verbs, FLIPGATE_ADMIN may be a URL.
    Ok(context.settings(flags.clone(), |name| name != "FLIPGATE_ADMIN")?.registrar)
}

/// Which cluster is meant.
#[cfg(feature = "kubernetes")]
pub(super) fn access(settings: &RegistrarSettings) -> Access {
    Access { kubeconfig: settings.kubeconfig.clone(), context: settings.context.clone() }
}

fn is_of_target(setting: &Setting) -> bool {
    setting.table == "store" || setting.flag == "admin-token-file"
}

impl FromArgMatches for TargetFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            settings: partial(matches, is_of_target),
            store_given: matches.contains_id("store"),
            admin: matches.get_one::<String>("admin").cloned(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for TargetFlags {
    fn augment_args(command: Command) -> Command {
        let admin = Arg::new("admin")
            .long("admin")
            .value_name("URL")
            .help(format!("Admin API of a proxy, used when no store is named [default: {ADMIN_DEFAULT}]"))
            .help_heading(heading("admin"))
            .conflicts_with("store");
        let token = |setting: &'static Setting| match setting.flag {
            "admin-token-file" => arg(setting).help("File with the token that the admin API asks for"),
            _ => arg(setting),
        };
        command.args(SETTINGS.iter().filter(|setting| is_of_target(setting)).map(token)).arg(admin)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl TargetFlags {
    /// The store that is named, else the admin API.
    pub(super) fn open(&self, context: &Context<'_, '_>) -> anyhow::Result<Target> {
        let config = self.config(context)?;
        let admin_given = self.admin.is_some() && !self.store_given;
        match config.store.url {
            Some(_) if !admin_given => Ok(Target::Store(open_store(&config.store)?)),
            _ => Ok(Target::Admin(self.client(context, &config)?)),
        }
    }

    /// The admin API, whether or not a store is named somewhere.
    pub(super) fn admin(&self, context: &Context<'_, '_>) -> anyhow::Result<ApiClient> {
        self.client(context, &self.config(context)?)
    }

    /// Whether a store or an admin API stands on the command line.
    pub(super) fn is_given(&self) -> bool {
        self.store_given || self.admin.is_some()
    }

    /// Whether a store is named anywhere, and not an admin API in its place.
    pub(super) fn store_named(&self, context: &Context<'_, '_>) -> anyhow::Result<bool> {
        let admin_given = self.admin.is_some() && !self.store_given;
        Ok(!admin_given && self.config(context)?.store.url.is_some())
    }

    /// Whether `--store` stands on the command line.
    pub(super) fn store_given(&self) -> bool {
        self.store_given
    }

    /// The keys that seal what is written to a store.
    pub(super) fn seal_keys(&self, context: &Context<'_, '_>) -> anyhow::Result<SealKeys> {
        let store = self.config(context)?.store;
        let direct: Vec<&str> = store.seal_keys.iter().map(|key| key.expose()).collect();
        Ok(SealKeys::gather(&direct, &store.seal_key_files)?)
    }

    /// Whether a seal key stands on the command line, where others can read it.
    pub(super) fn shows_seal_key(&self) -> bool {
        self.settings.has("seal-key")
    }

    /// The prefix of the store's keys.
    pub(super) fn prefix(&self, context: &Context<'_, '_>) -> anyhow::Result<String> {
        Ok(self.config(context)?.store.prefix)
    }

    /// The order of routes that the settings name.
    pub(super) fn route_order(&self, context: &Context<'_, '_>) -> anyhow::Result<RouteOrder> {
        Ok(self.config(context)?.route_order)
    }

    fn config(&self, context: &Context<'_, '_>) -> anyhow::Result<Config> {
        // For a verb FLIPGATE_ADMIN may be a URL, which is no address to listen on.
        context.settings(self.settings.clone(), |name| name != "FLIPGATE_ADMIN")
    }

    fn client(&self, context: &Context<'_, '_>, config: &Config) -> anyhow::Result<ApiClient> {
        let variable = (context.io.env)("FLIPGATE_ADMIN").filter(|text| !text.trim().is_empty());
        let url = match self.admin.clone().or(variable) {
            Some(url) => url,
            None => match config.admin.address {
                Some(address) => format!("http://{}", reachable(address)),
                None => ADMIN_DEFAULT.to_owned(),
            },
        };
        ApiClient::new(&ADMIN, &url, config.admin.token_file.as_deref(), None)
    }
}

/// The store at `url` under another prefix, reached as the settings say.
///
/// # Errors
/// It cannot be a store.
pub(super) fn open_other(
    flags: &TargetFlags,
    context: &Context<'_, '_>,
    (name, url): (&str, &str),
    prefix: &str,
) -> anyhow::Result<Arc<dyn Store>> {
    let settings = StoreSettings {
        url: Some(url.to_owned()),
        prefix: prefix.to_owned(),
        ..flags.config(context)?.store
    };
    open_store(&settings).map_err(|error| anyhow::anyhow!("{name}: {error:#}"))
}

/// The address by which this machine reaches a listener of its own.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Opens the store that settings name.
///
/// # Errors
/// None is named, or what is named cannot be a store.
pub(super) fn open_store(settings: &StoreSettings) -> anyhow::Result<Arc<dyn Store>> {
    let Some(url) = &settings.url else {
        bail!("no store is named: give --store dir:PATH or --store etcd://HOST:PORT");
    };
    let url: StoreUrl = url.parse().map_err(|error| anyhow::anyhow!("--store: {error}"))?;
    let in_etcd = matches!(url, StoreUrl::Etcd(_));
    if let StoreUrl::Directory(path) = &url {
        is_directory(path)?;
    }
    let (certificate, key) = settings.etcd_cert_and_key.clone().unzip();
    let (user, password_file) = settings.etcd_user_and_password_file.clone().unzip();
    let options = StoreOptions {
        prefix: in_etcd.then(|| settings.prefix.clone()),
        state_prefix: in_etcd.then(|| settings.state_prefix.clone()),
        access: EtcdAccess {
            tls: false,
            ca: settings.etcd_ca.clone(),
            certificate,
            key,
            user,
            password_file,
        },
        ..StoreOptions::new(url)
    };
    Ok(open(&options)?)
}

fn is_directory(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => bail!("--store dir:{shown}: this is a file, and a directory is expected"),
        Err(error) => bail!("--store dir:{shown}: the directory cannot be read: {error}"),
    }
}
