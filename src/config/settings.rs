//! Every setting of a process: its flag, its place in the file, its default and its help. Flags, environment, file and
//! help are all made from this list.

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The flag without its dashes; also the key in the file, and with `FLIPGATE_` the variable.
    pub flag: &'static str,
    /// The file's table that holds it; empty for the top level.
    pub table: &'static str,
    /// What a value looks like, for help.
    pub value: &'static str,
    /// Whether it can be given more than once.
    pub many: bool,
    /// The value when nothing is given; empty when there is none.
    pub default: &'static str,
    /// What it is for, in one sentence.
    pub help: &'static str,
}

/// Tables that `flipgate.toml` may have. In `listeners` the keys are ids of listeners.
pub const TABLES: [&str; 9] =
    ["store", "admin", "health", "log", "access_log", "limits", "listeners", "registrar", "deployer"];

const fn one(
    table: &'static str,
    flag: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Setting {
    Setting { flag, table, value, many: false, default, help }
}

const fn many(table: &'static str, flag: &'static str, value: &'static str, help: &'static str) -> Setting {
    Setting { flag, table, value, many: true, default: "", help }
}

/// All of them, in the order of help.
pub const SETTINGS: &[Setting] = &[
    one("store", "store", "URL", "", "Where objects live: dir:PATH or etcd://HOST:PORT,HOST:PORT"),
    one("store", "prefix", "PREFIX", "/flipgate", "Prefix of the objects' keys, taken literally"),
    one("store", "state-prefix", "PREFIX", "/flipgate.state", "Prefix of what is shared and not routing"),
    one(
        "store",
        "etcd-ca",
        "FILE",
        "",
        "PEM file with the authorities that etcd's certificate may come from",
    ),
    one("store", "etcd-cert", "FILE", "", "PEM file with the certificate shown to etcd"),
    one("store", "etcd-key", "FILE", "", "PEM file with that certificate's private key"),
    one("store", "etcd-user", "NAME", "", "User name at etcd"),
    one("store", "etcd-password-file", "FILE", "", "File with that user's password"),
    many(
        "store",
        "seal-key-file",
        "FILE",
        "File with a key that opens sealed key pairs; the first one seals",
    ),
    many(
        "store",
        "seal-key",
        "HEX",
        "Such a key itself, before those in files; a command line is readable by others on the machine",
    ),
    one("", "secrets-dir", "DIR", "", "Directory below which files named by objects lie"),
    one("", "trace-dir", "DIR", "", "Directory below which traces may be written to files"),
    one("", "name", "NAME", "", "Name of this proxy in the fleet; default: the machine's"),
    one(
        "",
        "isolation-stop-after",
        "DURATION",
        "",
        "Stop serving when the store has not taken a word of this proxy for so long; default: serve on",
    ),
    one("", "data-dir", "DIR", "/var/lib/flipgate", "Directory for what must survive a restart"),
    one("", "workers", "N", "", "Threads that move traffic; default: one for each core"),
    one(
        "",
        "route-order",
        "flipgate|vulcand",
        "flipgate",
        "Which route is preferred: the most specific, or as vulcand by text",
    ),
    one("", "default-listener", "on|off", "off", "Listen on 0.0.0.0:8181 as vulcand does"),
    many(
        "listeners",
        "listener",
        "ID=ADDRESS|off",
        "Another address for a stored listener on this machine, or none",
    ),
    one("", "drain-delay", "DURATION", "5s", "Time between saying not ready and refusing new connections"),
    one("", "drain-timeout", "DURATION", "25s", "Longest time that open requests get to end once draining"),
    one(
        "",
        "upgrade-timeout",
        "DURATION",
        "30s",
        "Longest time that a new program gets to take over in an upgrade",
    ),
    one("", "require-table", "DURATION", "", "Exit with 3 when no table is served within this time"),
    one("admin", "admin", "ADDRESS|off", "127.0.0.1:8182", "Address of the admin API"),
    one(
        "admin",
        "admin-token-file",
        "FILE",
        "",
        "File with tokens for the admin API: lines of `read TOKEN` or `write TOKEN`",
    ),
    many("admin", "admin-trusted", "NETWORK", "Private network that may use the admin API without a token"),
    many(
        "admin",
        "admin-host",
        "NAME",
        "Name by which the admin API is called without a token, besides localhost and addresses",
    ),
    one(
        "health",
        "statsd",
        "HOST:PORT|off",
        "off",
        "Where statistics of frontends go once a second, in the form of statsd",
    ),
    one("health", "statsd-prefix", "PREFIX", "", "What the names of those statistics begin with"),
    one("health", "health", "ADDRESS|off", "off", "Address that answers only /healthz, /readyz and /metrics"),
    one(
        "",
        "error-pages",
        "DIR",
        "",
        "Directory with error pages: 404.html, 5xx.html, default.html, maintenance.html",
    ),
    many(
        "",
        "trusted-proxies",
        "NETWORK",
        "Network of proxies before this one: what they say of a client in X-Forwarded-* is believed",
    ),
    one("limits", "max-head-bytes", "BYTES", "64KiB", "Largest head of a message"),
    one("limits", "max-header-fields", "N", "100", "Most header fields of a message"),
    one("limits", "head-timeout", "DURATION", "10s", "Longest time for a request's head to arrive"),
    one("limits", "body-timeout", "DURATION", "60s", "Longest silence within a request's or answer's body"),
    one(
        "limits",
        "idle-timeout",
        "DURATION",
        "75s",
        "Longest time that a connection may wait for its next request",
    ),
    one("limits", "tunnel-timeout", "DURATION", "1h", "Longest silence of an upgraded connection"),
    one(
        "limits",
        "request-timeout",
        "DURATION",
        "",
        "Longest time for a request with its whole answer; default: none",
    ),
    one(
        "limits",
        "min-body-rate",
        "BYTES",
        "240",
        "Bytes a second at least of a request's body while it is waited for; 0: any",
    ),
    one(
        "limits",
        "min-answer-rate",
        "BYTES",
        "240",
        "Bytes a second at least that a client takes of an answer; 0: any",
    ),
    one("limits", "max-connections", "N", "50000", "Most connections open downstream"),
    one("limits", "h2-streams", "N", "100", "HTTP/2: most streams at once on a client's connection"),
    one(
        "limits",
        "h2-requests",
        "N",
        "1000000",
        "HTTP/2: most requests on a client's connection, which then ends in good order",
    ),
    one(
        "limits",
        "h2-odd-frames",
        "N",
        "500",
        "HTTP/2: most frames of a kind, at once, that carry nothing of a message",
    ),
    one(
        "limits",
        "h2-odd-frames-per-second",
        "N",
        "50",
        "HTTP/2: how many of them are forgotten in a second",
    ),
    one(
        "limits",
        "h2-stall-timeout",
        "DURATION",
        "25s",
        "HTTP/2: longest time that a client may take nothing of an answer, or send nothing of a body",
    ),
    one(
        "limits",
        "max-connections-per-client",
        "N",
        "",
        "Most of these from one client's network, 0: any; default: a tenth of them",
    ),
    one(
        "limits",
        "client-bits-ipv4",
        "BITS",
        "32",
        "How many bits of an IPv4 address are a client's network",
    ),
    one(
        "limits",
        "client-bits-ipv6",
        "BITS",
        "64",
        "How many bits of an IPv6 address are a client's network",
    ),
    one(
        "limits",
        "max-memory",
        "BYTES|machine|off",
        "machine",
        "Memory past which nothing new is taken on; machine: what the control group or the address space allows",
    ),
    one(
        "limits",
        "max-lag",
        "DURATION",
        "1s",
        "How far behind a worker may stay before it takes on nothing new; 0s: any",
    ),
    one("access_log", "access-log", "stdout|FILE|off", "off", "Where the access log goes"),
    one("access_log", "access-log-format", "json|text", "json", "How a line of the access log looks"),
    one(
        "log",
        "log-level",
        "LEVEL",
        "info",
        "Which events are logged: error, warn, info, debug, or by module",
    ),
    one("log", "log-format", "text|json", "text", "How an event looks"),
    one(
        "registrar",
        "kubeconfig",
        "FILE",
        "",
        "Kubeconfig of the cluster; default: that in KUBECONFIG, the pod's service account, or ~/.kube/config",
    ),
    one("registrar", "kube-context", "NAME", "", "Context of the kubeconfig; default: its current one"),
    many("registrar", "namespace", "NAME", "Namespace that is watched; default: all"),
    one(
        "registrar",
        "cluster",
        "NAME",
        "kubernetes",
        "Name of the cluster, by which the registrar marks its objects",
    ),
    one("registrar", "pod-label", "LABEL", "name", "Label by which pods join the backend NAMESPACE-VALUE"),
    many("registrar", "ingress-class", "CLASS", "Class whose Ingresses are served; default: none"),
    many(
        "registrar",
        "host-of",
        "NAMESPACE=HOST",
        "Host that is for a namespace; once one is given, no namespace has others; default: all have all",
    ),
    one(
        "registrar",
        "plain-keys",
        "on|off",
        "off",
        "Write private keys of TLS Secrets readable where no seal key is given",
    ),
    one(
        "registrar",
        "lease-namespace",
        "NAME",
        "",
        "Namespace of the Lease that one of several registrars holds; default: the registrar's own, or default",
    ),
    one("registrar", "lease-name", "NAME", "flipgate-registrar", "Name of that Lease"),
    many(
        "registrar",
        "write-status",
        "ADDRESS",
        "Address or name of the edge that is written into the status of Ingresses",
    ),
    one(
        "deployer",
        "deploy",
        "ADDRESS|off",
        "127.0.0.1:8000",
        "Where the deployer's API listens; off: it only goes on with deployments that others were asked for",
    ),
    one(
        "deployer",
        "deploy-token-file",
        "FILE",
        "",
        "Who may call it: lines of ROLE NAMESPACES TOKEN or ROLE NAMESPACES CN=NAME",
    ),
    many("deployer", "deploy-trusted", "NETWORK", "Network whose callers need no token"),
    many("deployer", "deploy-host", "NAME", "Name by which callers without a token may call it"),
    one("deployer", "deploy-cert", "FILE", "", "Certificate chain of the API; with it, it speaks TLS"),
    one("deployer", "deploy-key", "FILE", "", "Private key of that certificate"),
    one(
        "deployer",
        "deploy-client-ca",
        "FILE",
        "",
        "Authorities of client certificates, whose names may stand in the file of tokens",
    ),
];

impl Setting {
    /// The setting of a flag.
    pub fn of(flag: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.flag == flag)
    }

    /// The environment's variable: `FLIPGATE_DRAIN_DELAY`. Several values are separated by commas.
    pub fn variable(&self) -> String {
        format!("FLIPGATE_{}", self.flag.replace('-', "_").to_ascii_uppercase())
    }
}

/// The known word that was probably meant.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let distances =
        known.map(|known| (strsim::damerau_levenshtein(&word.to_ascii_lowercase(), known), known));
    let near = distances.filter(|(distance, known)| *distance <= 1 + known.len().min(word.len()) / 4);
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}
