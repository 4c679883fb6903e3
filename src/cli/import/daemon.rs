//! vulcand's command line as our settings. Pure.

use crate::config::Setting;
use crate::model::duration;
use anyhow::bail;
use std::collections::BTreeMap;
use std::fmt::Write;

/// How a flag of Go takes its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Value,
    /// Alone it means true.
    Truth,
}
use Takes::{Truth, Value};

/// Every flag of vulcand 0.9.2 that stands for nothing here, with the reason; those with an empty one are settings.
const FLAGS: &[(&str, Takes, &str)] = &[
    ("etcd", Value, ""),
    ("etcdApiVer", Value, ""),
    ("etcdKey", Value, ""),
    ("etcdCaFile", Value, ""),
    ("etcdCertFile", Value, ""),
    ("etcdKeyFile", Value, ""),
    ("etcdConsistency", Value, "reads are always consistent"),
    ("etcdSyncIntervalSeconds", Value, "name all members of etcd in `store`"),
    ("etcdUsername", Value, ""),
    ("etcdPassword", Value, ""),
    (
        "etcdInsecureSkipVerify",
        Truth,
        "etcd's certificate is always verified; name its authority with `etcd-ca`",
    ),
    ("etcdEnableTLS", Truth, "TLS to etcd begins with `etcd-ca`"),
    ("etcdDebug", Truth, "`log-level = \"debug\"` tells what the store says"),
    ("pidPath", Value, "no file is written; a service manager knows the process"),
    ("port", Value, ""),
    ("apiPort", Value, ""),
    ("interface", Value, ""),
    ("apiInterface", Value, ""),
    ("certPath", Value, "vulcand has no use for it either; certificates belong to hosts"),
    ("engine", Value, ""),
    ("log", Value, ""),
    ("logSeverity", Value, ""),
    ("serverMaxHeaderBytes", Value, ""),
    ("readTimeout", Value, ""),
    ("serverReadTimeout", Value, ""),
    (
        "writeTimeout",
        Value,
        "no time limits a whole answer, which cut long downloads; `body-timeout` limits silence",
    ),
    (
        "serverWriteTimeout",
        Value,
        "no time limits a whole answer, which cut long downloads; `body-timeout` limits silence",
    ),
    ("endpointDialTimeout", Value, "set `Settings.Timeouts.Dial` of backends that need another than 5s"),
    (
        "endpointReadTimeout",
        Value,
        "vulcand does not use it either; set `Settings.Timeouts.Read` of backends",
    ),
    ("sealKey", Value, ""),
    ("statsdPrefix", Value, ""),
    ("statsdAddr", Value, ""),
    ("default-listener", Truth, ""),
    (
        "trustForwardHeader",
        Truth,
        "everybody would be trusted; `trusted-proxies` names those who stand in front",
    ),
    ("memProfileRate", Value, "there is no heap profile"),
    ("enableJaegerTracing", Truth, "there is no tracing yet"),
    ("debugJaegerTracing", Truth, "there is no tracing yet"),
    ("aliases", Value, "write `||` into the routes instead: `Host(\"a\") || Host(\"b\")`"),
];

type Given = BTreeMap<&'static str, Vec<String>>;

/// The text of a flipgate.toml for the arguments of vulcand, with or without its own name in front.
///
/// # Errors
/// A flag that vulcand does not have, or a value that cannot be read.
pub(super) fn settings(arguments: &[String]) -> anyhow::Result<String> {
    let arguments = match arguments.split_first() {
        Some((first, rest)) if !first.starts_with('-') => rest,
        _ => arguments,
    };
    let given = parse(arguments)?;
    let mut file = File { given, out: String::new() };
    file.process();
    file.store()?;
    file.listeners()?;
    file.admin()?;
    file.statistics();
    file.limits()?;
    file.log()?;
    file.rest();
    Ok(file.out)
}

/// As Go's package `flag` reads them: one dash or two, the value behind `=` or in the next argument.
fn parse(arguments: &[String]) -> anyhow::Result<Given> {
    let mut given = Given::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(flag) = argument.strip_prefix("--").or(argument.strip_prefix('-')) else {
            bail!("{argument:?} is no flag; vulcand takes nothing but flags");
        };
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        let Some((name, takes, _)) = FLAGS.iter().find(|(known, ..)| *known == name) else {
            bail!("-{name} is no flag of vulcand 0.9.2");
        };
        let value = match (value, takes) {
            (Some(value), _) => value.to_owned(),
            (None, Truth) => "true".to_owned(),
            (None, Value) => match arguments.next() {
                Some(value) => value.clone(),
                None => bail!("-{name} stands without its value"),
            },
        };
        given.entry(name).or_default().push(value);
    }
    Ok(given)
}

struct File {
    given: Given,
    out: String,
}

impl File {
    fn last(&self, flag: &str) -> Option<&str> {
        self.given.get(flag).and_then(|values| values.last()).map(String::as_str)
    }

    fn say(&mut self, line: impl std::fmt::Display) {
        // A string takes everything.
        let _ = writeln!(self.out, "{line}");
    }

    fn set(&mut self, key: &str, value: &str) {
        debug_assert!(Setting::of(key).is_some() || key == "default");
        self.say(format_args!("{key} = {}", quoted(value)));
    }

    fn process(&mut self) {
        self.say("# Made from a command line of vulcand.\n");
        self.say("# Routes are preferred as before. `flipgate check --vulcand` shows what is different without it.");
        self.set("route-order", "vulcand");
        let on = self.last("default-listener").is_none_or(is_true);
        self.set("default-listener", if on { "on" } else { "off" });
    }

    fn store(&mut self) -> anyhow::Result<()> {
        self.say("\n[store]");
        if self.last("engine").is_some_and(|engine| engine != "etcd") {
            self.say("# -engine: a directory of files takes the place of objects in memory.");
            self.set("store", "dir:/etc/flipgate/routes");
            return Ok(());
        }
        let nodes: Vec<&String> = self.given.get("etcd").into_iter().flatten().collect();
        let nodes: Vec<&str> = nodes.iter().flat_map(|nodes| nodes.split(',')).map(str::trim).collect();
        let plain = |node: &&str| {
            let host = node.split_once("://").map_or(*node, |(_, host)| host).trim_end_matches('/');
            if host.contains(':') { host.to_owned() } else { format!("{host}:2379") }
        };
        let mut url = nodes.iter().map(plain).collect::<Vec<_>>().join(",");
        let secure = nodes.iter().any(|node| node.starts_with("https://"));
        if url.is_empty() {
            url = "127.0.0.1:2379".to_owned();
        }
        self.set("store", &format!("etcd://{url}"));
        let prefix = self.last("etcdKey").unwrap_or("vulcand").to_owned();
        self.set("prefix", &prefix);
        if self.last("etcdApiVer").is_some_and(|version| version != "3") {
            self.say("# -etcdApiVer: only version 3 is followed. `flipgate import vulcand --file` takes over saved keys of");
            self.say("# version 2.");
        }
        match self.last("etcdCaFile").map(str::to_owned) {
            Some(file) => self.set("etcd-ca", &file),
            None if secure => self
                .say("# -etcd https: name the authority of etcd's certificate: etcd-ca = \"/path/ca.pem\""),
            None => {}
        }
        self.pair(("etcdCertFile", "etcd-cert"), ("etcdKeyFile", "etcd-key"));
        if let Some(user) = self.last("etcdUsername").map(str::to_owned) {
            self.set("etcd-user", &user);
            self.say("# -etcdPassword: write it to this file.");
            self.set("etcd-password-file", "/etc/flipgate/etcd-password");
        } else if self.last("etcdPassword").is_some() {
            self.say("# -etcdPassword: it stands without -etcdUsername.");
        }
        if self.last("sealKey").is_some() {
            self.say("# -sealKey: write it to this file, which only its owner may read.");
            self.set("seal-key-file", "/etc/flipgate/seal.key");
        }
        Ok(())
    }

    /// Two settings that make sense only together.
    fn pair(&mut self, (first, first_key): (&str, &str), (second, second_key): (&str, &str)) {
        match (self.last(first).map(str::to_owned), self.last(second).map(str::to_owned)) {
            (Some(one), Some(two)) => {
                self.set(first_key, &one);
                self.set(second_key, &two);
            }
            (Some(_), None) => self.say(format_args!("# -{first}: it stands without -{second}.")),
            (None, Some(_)) => self.say(format_args!("# -{second}: it stands without -{first}.")),
            (None, None) => {}
        }
    }

    fn listeners(&mut self) -> anyhow::Result<()> {
        if self.last("interface").is_none() && self.last("port").is_none() {
            return Ok(());
        }
        let address = self.address("interface", "port", 8181, "0.0.0.0")?;
        self.say("\n[listeners]");
        match address {
            Ok(address) => self.set("default", &address),
            Err(name) => self.say(format_args!(
                "# -interface: {name:?} is a name; write its address: default = \"10.0.0.1:8181\""
            )),
        }
        Ok(())
    }

    fn admin(&mut self) -> anyhow::Result<()> {
        self.say("\n[admin]");
        match self.address("apiInterface", "apiPort", 8182, "127.0.0.1")? {
            Ok(address) => {
                if self.last("apiInterface").is_none() {
                    self.say("# vulcand listens on all addresses here, and asks nobody who they are.");
                }
                self.set("admin", &address);
                let is_own = address.starts_with("127.") || address.starts_with("[::1]");
                if !is_own {
                    self.say(
                        "# Who may use it from elsewhere: those with a token, or from a private network.",
                    );
                    self.say("#admin-token-file = \"/etc/flipgate/admin.tokens\"");
                    self.say("#admin-trusted = [\"10.0.0.0/8\"]");
                }
            }
            Err(name) => self.say(format_args!(
                "# -apiInterface: {name:?} is a name; write its address: admin = \"10.0.0.1:8182\""
            )),
        }
        Ok(())
    }

    fn statistics(&mut self) {
        let prefix = self.last("statsdPrefix").map(str::to_owned);
        match self.last("statsdAddr").filter(|address| !address.is_empty()).map(str::to_owned) {
            Some(address) => {
                self.say("\n[health]");
                self.set("statsd", &address);
                prefix.iter().for_each(|prefix| self.set("statsd-prefix", prefix));
            }
            None if prefix.is_some() => self.say("\n# -statsdPrefix: it stands without -statsdAddr."),
            None => {}
        }
    }

    /// An address from two flags; the inner error is an interface that is none.
    fn address(
        &self,
        interface: &str,
        port: &str,
        port_default: u16,
        host_default: &str,
    ) -> anyhow::Result<Result<String, String>> {
        let port = match self.last(port).map(|text| (text, text.parse::<u16>())) {
            None => port_default,
            Some((_, Ok(number))) => number,
            Some((text, Err(_))) => bail!("-{port}: {text:?} is no port"),
        };
        let host = self.last(interface).filter(|host| !host.is_empty()).unwrap_or(host_default);
        Ok(match host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>() {
            Ok(ip) => Ok(std::net::SocketAddr::new(ip, port).to_string()),
            Err(_) if host == "localhost" => Ok(format!("127.0.0.1:{port}")),
            Err(_) => Err(host.to_owned()),
        })
    }

    fn limits(&mut self) -> anyhow::Result<()> {
        let head = self.last("serverMaxHeaderBytes").map(|text| (text, text.parse::<u64>()));
        let head = match head {
            None => 1 << 20,
            Some((_, Ok(bytes))) => bytes.clamp(1 << 10, 1 << 20),
            Some((text, Err(_))) => bail!("-serverMaxHeaderBytes: {text:?} is no number"),
        };
        let body = self.last("serverReadTimeout").or(self.last("readTimeout")).unwrap_or("60s").to_owned();
        if let Err(error) = duration::parse(&body) {
            bail!("-serverReadTimeout: {body:?} {error}");
        }
        self.say("\n[limits]");
        self.set("max-head-bytes", &head.to_string());
        self.say("# -serverReadTimeout is for a whole request; this is for silence within one, so that slow uploads end.");
        self.set("body-timeout", &body);
        Ok(())
    }

    fn log(&mut self) -> anyhow::Result<()> {
        self.say("\n[log]");
        let level = self.last("logSeverity").unwrap_or("WARN").to_ascii_lowercase();
        let level = match level.as_str() {
            "debug" | "info" | "error" => level.as_str(),
            "warn" | "warning" => "warn",
            "fatal" | "panic" => "error",
            other => bail!("-logSeverity: {other:?} is none of debug, info, warn, error, fatal and panic"),
        };
        let level = level.to_owned();
        self.set("log-level", &level);
        match self.last("log").unwrap_or("console").to_owned().as_str() {
            "console" => self.set("log-format", "text"),
            "json" | "logstash" => self.set("log-format", "json"),
            other => {
                self.say(format_args!(
                    "# -log {other}: events go to standard error, from where a service manager takes them."
                ));
                self.set("log-format", "text");
            }
        }
        Ok(())
    }

    /// What stands for nothing here.
    fn rest(&mut self) {
        let given = |flag: &str| self.given.contains_key(flag);
        let lines: Vec<String> = FLAGS
            .iter()
            .filter(|(flag, _, reason)| given(flag) && !reason.is_empty())
            .map(|(flag, _, reason)| format!("# -{flag}: {reason}."))
            .collect();
        if !lines.is_empty() {
            self.say("\n# What stands for nothing here:");
            lines.iter().for_each(|line| self.say(line));
        }
    }
}

/// As Go's `strconv.ParseBool` has it.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// A string of TOML; JSON's strings are among them.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Partial};
    use std::path::PathBuf;

    fn file(line: &str) -> anyhow::Result<String> {
        settings(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    /// The text and what our reader makes of it.
    #[track_caller]
    fn read(line: &str) -> (String, Config) {
        let text = file(line).unwrap();
        let config = Config::resolve(Partial::default(), |_| None, Some((PathBuf::from("f"), text.clone())));
        (text.clone(), config.unwrap_or_else(|error| panic!("{error}\n{text}")))
    }

    #[test]
    fn a_usual_command_line() {
        let line = "/opt/vulcand -etcd=http://10.0.0.1:2379 -etcd=http://10.0.0.2:2379 --etcdKey /vulcan -port 80 \
                    -interface=10.0.0.7 -apiInterface 0.0.0.0 -apiPort=9000 -logSeverity=INFO -log json \
                    -serverReadTimeout 2m -serverMaxHeaderBytes 65536 -sealKey 0011";
        let (text, config) = read(line);
        assert_eq!(config.store.url.as_deref(), Some("etcd://10.0.0.1:2379,10.0.0.2:2379"));
        assert_eq!(config.store.prefix, "/vulcan");
        assert_eq!(config.admin.address, Some("0.0.0.0:9000".parse().unwrap()));
        assert!(config.default_listener && config.log.json && config.listeners.len() == 1);
        assert_eq!((config.log.level.as_str(), config.limits.head_bytes), ("info", 65_536));
        assert_eq!(config.limits.body_timeout.as_secs(), 120);
        assert_eq!(config.route_order.as_str(), "vulcand");
        assert!(!text.contains("0011") && text.contains("#admin-trusted"), "{text}");
    }

    #[test]
    fn every_flag_has_its_place() {
        let value = |flag: &str| match flag {
            "etcdApiVer" | "port" | "apiPort" | "memProfileRate" | "serverMaxHeaderBytes" => "3000",
            "etcd" => "https://e",
            "logSeverity" => "WARN",
            "statsdAddr" => "10.0.0.1:8125",
            "interface" | "apiInterface" => "eth0",
            "engine" => "etcd",
            flag if flag.ends_with("imeout") => "5s",
            _ => "word",
        };
        for (flag, ..) in FLAGS {
            let (text, _) = read(&format!("-{flag}={}", value(flag)));
            let (without, _) = read("-engine=etcd");
            // Each leaves a trace, but for the one that says what is so anyway.
            assert!(
                text != without || matches!(*flag, "engine" | "logSeverity" | "default-listener"),
                "-{flag}: {text}"
            );
        }
        let all: Vec<String> = FLAGS.iter().map(|(flag, ..)| format!("-{flag}={}", value(flag))).collect();
        read(&all.join(" "));
        assert!(!read("-default-listener=false").1.default_listener);
        assert!(read("-engine=memng").0.contains("dir:"));
    }

    #[test]
    fn what_vulcand_would_not_take_is_refused() {
        for (line, said) in [
            ("-etcdd x", "-etcdd is no flag"),
            ("-port", "without its value"),
            ("-port x", "is no port"),
            ("-port 80 serve", "is no flag; vulcand takes nothing but flags"),
            ("-logSeverity LOUD", "is none of"),
            ("-serverReadTimeout soon", "-serverReadTimeout"),
        ] {
            let error = file(line).unwrap_err().to_string();
            assert!(error.contains(said), "{line}: {error}");
        }
    }
}
