//! What becomes of each key of ingress-nginx's ConfigMap, as data. The ConfigMap is for a whole controller; here some of
//! it is settings of the process, some is fields of objects, and some is nothing that anybody has to say.

use crate::registrar::convert::ingress::Support;
use std::collections::BTreeMap;

/// A key of the ConfigMap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    name: &'static str,
    support: Support,
    /// What corresponds to it, or why nothing does.
    note: &'static str,
    /// Values that say what is so here in any case, in small letters.
    so: &'static [&'static str],
    /// What is other here than there for who never set it, and what changes that; empty: nothing.
    unset: &'static str,
}

/// What is said of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) key: String,
    /// As it stands in the ConfigMap; none: it is not there, and the default is not ours.
    pub(super) value: Option<String>,
    /// None: nobody knows the key.
    pub(super) support: Option<Support>,
    pub(super) note: String,
}

/// What becomes of each key that is set, then where defaults differ.
pub(super) fn report(data: &BTreeMap<String, String>) -> Vec<Row> {
    let set = data.iter().map(|(name, value)| row(name, value));
    let differs = |key: &&Key| !key.unset.is_empty() && !data.contains_key(key.name);
    let unset = KEYS.iter().filter(differs).map(|key| Row {
        key: key.name.to_owned(),
        value: None,
        support: Some(Support::Partly),
        note: key.unset.to_owned(),
    });
    set.chain(unset).collect()
}

fn row(name: &str, value: &str) -> Row {
    let (support, note) = match KEYS.iter().find(|key| key.name == name) {
        None => (None, "is no documented key".to_owned()),
        Some(key) if key.so.iter().any(|so| value.trim().eq_ignore_ascii_case(so)) => {
            (Some(Support::Yes), "is so without a word".to_owned())
        }
        Some(key) => (Some(key.support), key.note.to_owned()),
    };
    Row { key: name.to_owned(), value: Some(value.to_owned()), support, note }
}

impl Key {
    const fn so(self, so: &'static [&'static str]) -> Self {
        Self { so, ..self }
    }

    const fn unset(self, unset: &'static str) -> Self {
        Self { unset, ..self }
    }
}

const fn yes(name: &'static str, note: &'static str) -> Key {
    Key { name, support: Support::Yes, note, so: &[], unset: "" }
}

const fn partly(name: &'static str, note: &'static str) -> Key {
    Key { support: Support::Partly, ..yes(name, note) }
}

const fn no(name: &'static str, note: &'static str) -> Key {
    Key { support: Support::No, ..yes(name, note) }
}

/// There is nothing to carry over: the matter does not arise here.
const fn moot(name: &'static str, note: &'static str) -> Key {
    yes(name, note)
}

/// All that ingress-nginx documents, or has documented.
const KEYS: &[Key] = &[
    // What clients and servers see.
    partly("add-headers", "a shared `headers` middleware with `Response.Set`"),
    partly(
        "allow-backend-server-header",
        "`Server` of servers goes to clients; a `headers` middleware with `Response.Remove` takes it away",
    )
    .so(&["true"])
    .unset("the field `Server` of servers goes to clients unless a `headers` middleware removes it"),
    partly("hide-headers", "a shared `headers` middleware with `Response.Remove`"),
    partly("proxy-set-headers", "a shared `headers` middleware with `Request.Set`"),
    no(
        "proxy-add-original-uri-header",
        "a header's value is fixed; servers see the path as it was asked unless a middleware changes it",
    )
    .so(&["false"]),
    partly("generate-request-id", "frontend `Settings.RequestId: \"X-Request-Id\"`")
        .so(&["false"])
        .unset("servers get no `X-Request-ID` without `Settings.RequestId` of a frontend"),
    partly("hsts", "a shared `headers` middleware with `Response.Set: {\"Strict-Transport-Security\": ..}`")
        .so(&["false"])
        .unset("answers over TLS have no `Strict-Transport-Security` unless a `headers` middleware sets it"),
    partly("hsts-include-subdomains", "a part of that field's value"),
    partly("hsts-max-age", "a part of that field's value"),
    partly("hsts-preload", "a part of that field's value").so(&["false"]),
    yes("server-tokens", "no answer names the proxy").so(&["false"]),
    moot("default-type", "a server's `Content-Type` is never changed"),
    partly(
        "custom-http-errors",
        "`--error-pages DIR` or a frontend's `ErrorPages` with `Intercept`, with pages in place of a server",
    )
    .so(&[""]),
    partly(
        "enable-underscores-in-headers",
        "fields with underscores go to servers; a `headers` middleware removes them by name",
    )
    .so(&["true"])
    .unset("fields with underscores in their names go to servers"),
    partly("ignore-invalid-headers", "a request with a field that is not valid is refused with 400"),
    no("global-allowed-response-headers", "ConfigMaps of header fields are not read").so(&[""]),
    no("relative-redirects", "locations are complete URLs").so(&["false"]),
    no("proxy-redirect-from", "locations of servers stay as they are").so(&["off"]),
    no("proxy-cookie-path", "cookies of servers stay as they are").so(&["off"]),
    no("proxy-cookie-domain", "cookies of servers stay as they are").so(&["off"]),
    // What an author of an Ingress may do.
    no("allow-cross-namespace-resources", "a Secret has to be in the Ingress's own namespace").so(&["false"]),
    no("allow-snippet-annotations", "there is no nginx to configure").so(&["false"]),
    moot("annotations-risk-level", "annotations are read as data, and end in no text of a configuration"),
    moot(
        "annotation-value-word-blocklist",
        "annotations are read as data, and end in no text of a configuration",
    ),
    moot("strict-validate-path-type", "a path is read as its type says, whatever is in it"),
    no("main-snippet", "there is no nginx to configure").so(&[""]),
    no("http-snippet", "there is no nginx to configure").so(&[""]),
    no("server-snippet", "there is no nginx to configure").so(&[""]),
    no("stream-snippet", "there is no nginx to configure").so(&[""]),
    no("location-snippet", "there is no nginx to configure").so(&[""]),
    no("plugins", "there is no Lua").so(&[""]),
    moot("lua-shared-dicts", "there is no Lua"),
    no("enable-modsecurity", "there is no firewall of applications").so(&["false"]),
    no("modsecurity-snippet", "there is no firewall of applications").so(&[""]),
    no("enable-owasp-modsecurity-crs", "there is no firewall of applications").so(&["false"]),
    // Logs and measures.
    moot("access-log-params", "the access log has a thread and a buffer of its own"),
    yes("access-log-path", "`--access-log`: `stdout` or a file"),
    yes("http-access-log-path", "`--access-log`: `stdout` or a file"),
    no("stream-access-log-path", "TCP and UDP are not proxied").so(&[""]),
    partly("enable-access-log-for-default-backend", "the access log has all requests").so(&["true"]),
    yes("disable-access-log", "`--access-log`, which is off unless it is given")
        .so(&["true"])
        .unset("there is no access log without `--access-log`"),
    no("skip-access-log-urls", "the access log has all requests").so(&[""]),
    partly("log-format-escape-none", "`--access-log-format`: `json`, which is escaped, or `text`")
        .so(&["false"]),
    partly("log-format-escape-json", "`--access-log-format json` is escaped"),
    partly("log-format-upstream", "`--access-log-format`: `json` or `text`, whose fields are fixed"),
    no("log-format-stream", "TCP and UDP are not proxied"),
    partly("error-log-path", "what happens is logged to standard error, for whoever manages the process"),
    yes("error-log-level", "`--log-level`: `error`, `warn`, `info` or `debug`"),
    no("enable-syslog", "logs go to files and streams; the `trace` middleware writes to syslog")
        .so(&["false"]),
    no("syslog-host", "logs go to files and streams").so(&[""]),
    no("syslog-port", "logs go to files and streams"),
    no("debug-connections", "`--log-level` is for the whole process").so(&[""]),
    partly("nginx-status-ipv4-whitelist", "the admin API, with tokens or `--admin-trusted`"),
    partly("nginx-status-ipv6-whitelist", "the admin API, with tokens or `--admin-trusted`"),
    // Heads and bodies of requests.
    partly("client-header-buffer-size", "`--max-head-bytes`, the one limit of a head"),
    yes("large-client-header-buffers", "`--max-head-bytes`: the number of buffers times their size"),
    yes("http2-max-field-size", "`--max-head-bytes`"),
    yes("http2-max-header-size", "`--max-head-bytes`"),
    yes("client-header-timeout", "`--head-timeout`")
        .so(&["10", "10s"])
        .unset("a request's head has to come within 10 s (`--head-timeout`), there within 60 s"),
    moot("client-body-buffer-size", "bodies stream"),
    yes("client-body-timeout", "`--body-timeout`").so(&["60", "60s"]),
    partly(
        "proxy-body-size",
        "`Settings.Limits.MaxBodyBytes` of each frontend, by the annotation of this name",
    )
    .so(&["0"])
    .unset("a body may be of any length unless an annotation says otherwise; there 1 MiB"),
    partly("proxy-request-buffering", "bodies stream")
        .so(&["off"])
        .unset("bodies of requests stream to servers while they come"),
    yes("proxy-buffering", "bodies stream").so(&["off"]),
    moot("proxy-buffers-number", "bodies stream"),
    moot("proxy-buffer-size", "bodies stream; an answer's head may have `--max-head-bytes`"),
    moot("proxy-busy-buffers-size", "bodies stream"),
    moot("grpc-buffer-size-kb", "bodies stream"),
    moot("enable-aio-write", "bodies never touch a disk"),
    // Connections of clients.
    yes("bind-address", "`Address` of a listener"),
    partly("disable-ipv6", "`Address` of a listener: `0.0.0.0:80` is IPv4 only, `[::]:80` both"),
    yes("keep-alive", "`--idle-timeout`").so(&["75", "75s"]),
    moot("keep-alive-requests", "a connection is not closed for the number of its requests"),
    moot("http2-max-requests", "a connection is not closed for the number of its requests"),
    partly("http2-max-concurrent-streams", "always 100").so(&["100"]),
    no("use-http2", "listeners with TLS always offer HTTP/2").so(&["true"]),
    yes("reuse-port", "every worker has sockets of its own").so(&["true"]),
    moot("enable-multi-accept", "every worker accepts what there is"),
    yes("max-worker-connections", "`--max-connections`, over all workers"),
    partly("max-worker-open-files", "the process's own limit of open files").so(&["0"]),
    yes("worker-processes", "`--workers`").so(&["auto"]),
    no("worker-cpu-affinity", "workers are bound to no core").so(&[""]),
    yes("worker-shutdown-timeout", "`--drain-timeout`")
        .unset("open requests get 25 s to end (`--drain-timeout`), there 240 s"),
    no("limit-rate", "answers are sent as fast as they are taken").so(&["0"]),
    no("limit-rate-after", "answers are sent as fast as they are taken").so(&["0"]),
    // Who the client is.
    yes("use-proxy-protocol", "`ProxyProtocol` of a listener, with `ProxyProtocolFrom`").so(&["false"]),
    yes("proxy-protocol-header-timeout", "`--head-timeout`"),
    yes("use-forwarded-headers", "`--trusted-proxies NETWORK` names who is believed").so(&["false"]),
    yes("enable-real-ip", "`--trusted-proxies NETWORK`").so(&["false"]),
    yes("proxy-real-ip-cidr", "`--trusted-proxies`, with the networks; 0.0.0.0/0 would believe everybody"),
    partly("forwarded-for-header", "always `X-Forwarded-For`").so(&["x-forwarded-for"]),
    moot(
        "forwarded-for-proxy-protocol-header",
        "what the PROXY protocol tells is the client's address everywhere",
    ),
    yes("compute-full-forwarded-for", "what a trusted proxy says in `X-Forwarded-For` is appended to"),
    no("use-geoip", "addresses are not looked up in databases").so(&["false"]),
    no("use-geoip2", "addresses are not looked up in databases").so(&["false"]),
    no("geoip2-autoreload-in-minutes", "addresses are not looked up in databases").so(&["0"]),
    // TLS.
    partly("ssl-ciphers", "`Settings.TLS.CipherSuites` of a listener, by the names that Go has for them"),
    no("ssl-ecdh-curve", "the curves are fixed").so(&["auto"]),
    moot("ssl-dh-param", "suites with DHE are not offered"),
    yes("ssl-protocols", "`Settings.TLS.MinVersion` and `MaxVersion` of a listener: TLS 1.2 and 1.3"),
    no("ssl-early-data", "early data can be sent twice by others").so(&["false"]),
    moot("ssl-session-cache", "sessions are resumed by tickets"),
    moot("ssl-session-cache-size", "sessions are resumed by tickets"),
    yes("ssl-session-tickets", "`Settings.TLS.SessionTicketsDisabled` of a listener")
        .so(&["true"])
        .unset("sessions are resumed by tickets, under keys that change by themselves"),
    partly(
        "ssl-session-ticket-key",
        "keys are made of the first `--seal-key-file`, for the whole fleet, and change by themselves",
    )
    .so(&[""]),
    moot("ssl-session-timeout", "tickets end with their keys"),
    moot("ssl-buffer-size", "records are as large as what there is to send"),
    no("enable-ocsp", "answers of authorities are not stapled").so(&["false"]),
    no("ssl-reject-handshake", "an unknown name gets the default certificate").so(&["false"]),
    partly("ssl-redirect", "the annotation of this name on each Ingress").so(&["true"]),
    partly("force-ssl-redirect", "the annotation of this name on each Ingress").so(&["false"]),
    partly("no-tls-redirect-locations", "always `/.well-known/acme-challenge`")
        .so(&["/.well-known/acme-challenge"]),
    partly("http-redirect-code", "always 308, but for redirects that annotations ask for").so(&["308"]),
    // Towards servers.
    partly("load-balance", "`Settings.Balance`, by the annotation of this name on each Ingress")
        .so(&["round_robin"]),
    partly("service-upstream", "requests always go to the endpoints").so(&["false"]),
    partly("proxy-connect-timeout", "the annotation of this name on each Ingress").so(&["5", "5s"]),
    partly("proxy-read-timeout", "the annotation of this name on each Ingress").so(&["60", "60s"]),
    partly("proxy-send-timeout", "the annotation of this name on each Ingress, or `--body-timeout`")
        .so(&["60", "60s"]),
    partly("proxy-next-upstream", "the annotation of this name on each Ingress").so(&["error timeout"]),
    no("proxy-next-upstream-timeout", "attempts are bounded by their number and by the backend's budget")
        .so(&["0"]),
    partly("proxy-next-upstream-tries", "the annotation of this name on each Ingress").so(&["3"]),
    yes("retry-non-idempotent", "`Settings.Retry.AnyMethod` of a frontend").so(&["false"]),
    partly(
        "upstream-keepalive-connections",
        "`Settings.KeepAlive.MaxIdleConnsPerHost` of a backend, for each of its servers",
    ),
    no("upstream-keepalive-time", "a connection is not closed for its age").so(&["1h"]),
    yes("upstream-keepalive-timeout", "`Settings.KeepAlive.Period` of a backend").unset(
        "idle connections to servers are closed after 30 s (`Settings.KeepAlive.Period`), there after 60 s",
    ),
    moot("upstream-keepalive-requests", "a connection is not closed for the number of its requests"),
    moot("proxy-ssl-location-only", "TLS to servers is a backend's"),
    moot("disable-ipv6-dns", "servers are addresses"),
    // Limits, and who gets in.
    partly("whitelist-source-range", "a shared `ipfilter` middleware with `Allow`, or the annotation")
        .so(&[""]),
    partly("denylist-source-range", "a shared `ipfilter` middleware with `Deny`, or the annotation")
        .so(&[""]),
    partly("block-cidrs", "a shared `ipfilter` middleware with `Deny`").so(&[""]),
    partly(
        "block-user-agents",
        "a frontend with a higher `Priority`, `HeaderRegexp(\"User-Agent\", ..)` and a `respond` middleware",
    )
    .so(&[""]),
    partly(
        "block-referers",
        "a frontend with a higher `Priority`, `HeaderRegexp(\"Referer\", ..)` and a `respond` middleware",
    )
    .so(&[""]),
    partly("limit-req-status-code", "always 429")
        .so(&["429"])
        .unset("who asks too often gets 429, there 503"),
    partly("limit-conn-status-code", "always 429").so(&["429"]),
    partly("limit-conn-zone-variable", "`Variable` of a `connlimit` middleware").so(&["$binary_remote_addr"]),
    no("global-rate-limit-memcached-host", "limits are per proxy").so(&[""]),
    no("global-rate-limit-memcached-port", "limits are per proxy"),
    no("global-rate-limit-memcached-connect-timeout", "limits are per proxy"),
    no("global-rate-limit-memcached-max-idle-timeout", "limits are per proxy"),
    no("global-rate-limit-memcached-pool-size", "limits are per proxy"),
    no("global-rate-limit-status-code", "limits are per proxy"),
    partly("global-auth-url", "a shared `forwardauth` middleware, named by frontends").so(&[""]),
    partly("global-auth-method", "a `forwardauth` asks with GET").so(&["", "get"]),
    no("global-auth-signin", "what the service answers goes to the client, so it can redirect by itself")
        .so(&[""]),
    no("global-auth-signin-redirect-param", "what the service answers goes to the client"),
    yes("global-auth-response-headers", "`ResponseHeaders` of that middleware"),
    no("global-auth-request-redirect", "the service gets `X-Forwarded-*`").so(&[""]),
    no("global-auth-snippet", "there is no nginx to configure").so(&[""]),
    no("global-auth-cache-key", "the service is asked each time").so(&[""]),
    no("global-auth-cache-duration", "the service is asked each time"),
    no("global-auth-always-set-cookie", "of a good answer only `ResponseHeaders` are used").so(&["false"]),
    partly("no-auth-locations", "frontends for these paths without the middleware"),
    // Compression.
    yes("use-gzip", "a shared `compress` middleware").so(&["false"]),
    no("gzip-disable", "who accepts a compression gets it").so(&[""]),
    yes("gzip-level", "`Level` of that middleware"),
    yes("gzip-min-length", "`MinBytes` of that middleware"),
    yes("gzip-types", "`Types` of that middleware"),
    yes("enable-brotli", "`Algorithms` of a shared `compress` middleware").so(&["false"]),
    yes("brotli-level", "`Level` of that middleware"),
    yes("brotli-min-length", "`MinBytes` of that middleware"),
    yes("brotli-types", "`Types` of that middleware"),
    // TCP and UDP.
    no("proxy-stream-timeout", "TCP and UDP are not proxied"),
    no("proxy-stream-next-upstream", "TCP and UDP are not proxied"),
    no("proxy-stream-next-upstream-timeout", "TCP and UDP are not proxied"),
    no("proxy-stream-next-upstream-tries", "TCP and UDP are not proxied"),
    no("proxy-stream-responses", "TCP and UDP are not proxied"),
    // Hash tables of nginx.
    moot("map-hash-bucket-size", "tables grow by themselves"),
    moot("server-name-hash-max-size", "tables grow by themselves"),
    moot("server-name-hash-bucket-size", "tables grow by themselves"),
    moot("proxy-headers-hash-max-size", "tables grow by themselves"),
    moot("proxy-headers-hash-bucket-size", "tables grow by themselves"),
    moot("variables-hash-bucket-size", "tables grow by themselves"),
    moot("variables-hash-max-size", "tables grow by themselves"),
    // Traces to collectors.
    no("enable-opentracing", "traces are not exported").so(&["false"]),
    no("opentracing-operation-name", "traces are not exported").so(&[""]),
    no("opentracing-location-operation-name", "traces are not exported").so(&[""]),
    no("opentracing-trust-incoming-span", "traces are not exported"),
    no("zipkin-collector-host", "traces are not exported").so(&[""]),
    no("zipkin-collector-port", "traces are not exported"),
    no("zipkin-service-name", "traces are not exported"),
    no("zipkin-sample-rate", "traces are not exported"),
    no("jaeger-collector-host", "traces are not exported").so(&[""]),
    no("jaeger-collector-port", "traces are not exported"),
    no("jaeger-endpoint", "traces are not exported").so(&[""]),
    no("jaeger-service-name", "traces are not exported"),
    no("jaeger-propagation-format", "traces are not exported"),
    no("jaeger-sampler-type", "traces are not exported"),
    no("jaeger-sampler-param", "traces are not exported"),
    no("jaeger-sampler-host", "traces are not exported"),
    no("jaeger-sampler-port", "traces are not exported"),
    no("jaeger-trace-context-header-name", "traces are not exported"),
    no("jaeger-debug-header", "traces are not exported"),
    no("jaeger-baggage-header", "traces are not exported"),
    no("jaeger-trace-baggage-header-prefix", "traces are not exported"),
    no("jaeger-tracer-baggage-header-prefix", "traces are not exported"),
    no("datadog-collector-host", "traces are not exported").so(&[""]),
    no("datadog-collector-port", "traces are not exported"),
    no("datadog-service-name", "traces are not exported"),
    no("datadog-environment", "traces are not exported"),
    no("datadog-operation-name-override", "traces are not exported"),
    no("datadog-priority-sampling", "traces are not exported"),
    no("datadog-sample-rate", "traces are not exported"),
    no("enable-opentelemetry", "traces are not exported").so(&["false"]),
    no("opentelemetry-trust-incoming-span", "traces are not exported"),
    no("opentelemetry-operation-name", "traces are not exported").so(&[""]),
    no("opentelemetry-config", "traces are not exported"),
    no("otlp-collector-host", "traces are not exported").so(&[""]),
    no("otlp-collector-port", "traces are not exported"),
    no("otel-max-queuesize", "traces are not exported"),
    no("otel-schedule-delay-millis", "traces are not exported"),
    no("otel-max-export-batch-size", "traces are not exported"),
    no("otel-service-name", "traces are not exported"),
    no("otel-sampler", "traces are not exported").so(&["alwaysoff"]),
    no("otel-sampler-parent-based", "traces are not exported"),
    no("otel-sampler-ratio", "traces are not exported"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn data(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn each_key_stands_once_with_a_note() {
        let names: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), KEYS.len());
        assert!(KEYS.len() > 200, "{}", KEYS.len());
        for key in KEYS {
            assert!(!key.note.is_empty() && !key.note.ends_with('.'), "{}", key.name);
            assert!(key.so.iter().all(|so| *so == so.to_ascii_lowercase()), "{}", key.name);
        }
    }

    /// A flag that a note names is one of ours.
    #[test]
    fn settings_that_are_named_exist() {
        for key in KEYS {
            let flags = key.note.split("`--").skip(1).filter_map(|rest| rest.split(['`', ' ']).next());
            for flag in flags {
                assert!(crate::config::Setting::of(flag).is_some(), "{}: --{flag}", key.name);
            }
        }
    }

    #[test]
    fn values_count() {
        for (key, value, support) in [
            ("use-http2", "True", Some(Support::Yes)),
            ("use-http2", "false", Some(Support::No)),
            ("proxy-body-size", "8m", Some(Support::Partly)),
            ("allow-snippet-annotations", " false ", Some(Support::Yes)),
            ("map-hash-bucket-size", "128", Some(Support::Yes)),
            ("proxi-body-size", "8m", None),
        ] {
            let rows = report(&data(&[(key, value)]));
            assert_eq!((&*rows[0].key, rows[0].support), (key, support), "{key}: {value}");
        }
    }

    #[test]
    fn defaults_that_differ_are_told_unless_they_are_set() {
        let unset = |rows: Vec<Row>| -> BTreeSet<String> {
            rows.into_iter().filter(|row| row.value.is_none()).map(|row| row.key).collect()
        };
        let all = unset(report(&BTreeMap::new()));
        assert!(all.contains("hsts") && all.contains("proxy-body-size"), "{all:?}");
        let some = unset(report(&data(&[("hsts", "false")])));
        assert_eq!(all.len(), some.len() + 1);
    }
}
