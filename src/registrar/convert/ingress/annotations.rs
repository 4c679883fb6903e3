//! What becomes of each annotation of ingress-nginx, as data: for what is said of an Ingress, for the README and for
//! who weighs a move.

/// What stands before the names.
pub const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// How much of an annotation is carried over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Support {
    /// What it promises is kept.
    Yes,
    /// For some values, or with a difference that the note tells.
    Partly,
    /// Not at all: an Ingress that has it gets a warning.
    No,
}

/// An annotation of ingress-nginx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotation {
    /// Its name behind [`PREFIX`].
    pub name: &'static str,
    /// How much of it is carried over.
    pub support: Support,
    /// What it becomes, or why it is not carried over.
    pub note: &'static str,
}

impl Support {
    /// `yes`, `partly` or `no`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Partly => "partly",
            Self::No => "no",
        }
    }
}

impl Annotation {
    /// What is known of an annotation, by its name behind [`PREFIX`].
    pub fn find(name: &str) -> Option<&'static Self> {
        ANNOTATIONS.iter().find(|annotation| annotation.name == name)
    }
}

const fn yes(name: &'static str, note: &'static str) -> Annotation {
    Annotation { name, support: Support::Yes, note }
}

const fn partly(name: &'static str, note: &'static str) -> Annotation {
    Annotation { name, support: Support::Partly, note }
}

const fn no(name: &'static str, note: &'static str) -> Annotation {
    Annotation { name, support: Support::No, note }
}

/// All that ingress-nginx documents or has documented.
pub const ANNOTATIONS: &[Annotation] = &[
    // Where requests go.
    yes(
        "use-regex",
        "paths are regular expressions that have to match from the path's beginning; only those of this Ingress",
    ),
    yes(
        "rewrite-target",
        "a `rewrite` of the whole path, groups as `$1`; its paths are regular expressions too",
    ),
    yes("app-root", "`/` is answered with a redirect to it"),
    yes("server-alias", "further names of the first host; regular expressions are not taken"),
    yes("from-to-www-redirect", "a frontend for the other name that redirects"),
    yes(
        "permanent-redirect",
        "an answer in place of a server; of variables `$scheme`, `$host` and `$request_uri` at their places",
    ),
    yes("permanent-redirect-code", "301, 302, 303, 307 or 308"),
    yes("temporal-redirect", "as `permanent-redirect`, with 302"),
    yes("temporal-redirect-code", "as `permanent-redirect-code`"),
    yes(
        "ssl-redirect",
        "308 to HTTPS where the Ingress has TLS for the host, unless `false`; never for ACME challenges",
    ),
    yes("force-ssl-redirect", "308 to HTTPS also without TLS"),
    yes("preserve-trailing-slash", "a path is never changed by a redirect"),
    partly("default-backend", "takes requests while the Service has no endpoints; answers with errors stay"),
    partly(
        "service-upstream",
        "requests go to the endpoints, also where a Service's own address was asked for",
    ),
    no("ssl-passthrough", "TLS ends at the proxy"),
    no("use-port-in-redirects", "redirects lead to the scheme's own port"),
    no("relative-redirects", "locations are complete URLs"),
    // Canaries.
    yes(
        "canary",
        "its Services become parts of the `Split` of what has the same host and path; one canary each",
    ),
    yes("canary-by-header", "`always` and `never` are pins of the split"),
    yes("canary-by-header-value", "a pin, in place of `always` and `never`"),
    no("canary-by-header-pattern", "a pin has one value; `canary-by-header-value` is carried over"),
    yes("canary-by-cookie", "`always` and `never` are pins of the split"),
    yes("canary-weight", "the part's share"),
    yes("canary-weight-total", "default 100"),
    partly(
        "affinity-canary-behavior",
        "`sticky` splits by the client's address, `legacy` draws each request",
    ),
    // Among the endpoints.
    yes("load-balance", "`round_robin`, `ewma` as `peak_ewma`, `least_conn` as `least_requests`, `ip_hash`"),
    partly(
        "upstream-hash-by",
        "one of `$remote_addr`, `$request_uri` (the path), `$http_NAME`, `$cookie_NAME`",
    ),
    no("upstream-hash-by-subset", "a key leads to one server"),
    no("upstream-hash-by-subset-size", "a key leads to one server"),
    yes("affinity", "`cookie`: the `Sticky` of a backend of its own"),
    partly(
        "affinity-mode",
        "always as `persistent`: a client stays with its server for as long as that may get requests",
    ),
    yes("session-cookie-name", "default `INGRESSCOOKIE`"),
    yes("session-cookie-max-age", "in seconds"),
    yes("session-cookie-expires", "as `session-cookie-max-age`, where that is not given"),
    yes("session-cookie-samesite", "`Lax` (the default), `Strict` or `None`"),
    partly("session-cookie-path", "only `/`, which the cookie always has"),
    partly("session-cookie-secure", "only as the cookie has it: over HTTPS"),
    no("session-cookie-domain", "the cookie is for the host that was asked"),
    no(
        "session-cookie-change-on-failure",
        "a client is led elsewhere only while its server may get no requests",
    ),
    no("session-cookie-conditional-samesite-none", "every client gets the same cookie"),
    no("session-cookie-partitioned", "cookies are not partitioned"),
    no("session-cookie-hash", "the cookie is signed"),
    // Towards the endpoints.
    partly("backend-protocol", "`HTTP`, `HTTPS`, `GRPC`, `GRPCS`; not `AUTO_HTTP`, `FCGI`, `AJP`"),
    yes("proxy-connect-timeout", "in seconds; default 5"),
    yes(
        "proxy-read-timeout",
        "in seconds, to the answer's head and of silence within it; default 60 to the head",
    ),
    yes(
        "proxy-send-timeout",
        "in seconds, of silence within a body; with `proxy-read-timeout` the longer one",
    ),
    partly(
        "proxy-next-upstream",
        "`error`, `timeout`, `http_NNN`, `non_idempotent`, `off`; `invalid_header` is an `error`",
    ),
    yes("proxy-next-upstream-tries", "default 3; at most 10"),
    no("proxy-next-upstream-timeout", "attempts are bounded by their number and by the backend's budget"),
    yes("proxy-body-size", "413 beyond it; no limit unless it is given"),
    partly("proxy-request-buffering", "`off`: bodies always stream"),
    partly("proxy-buffering", "`off`: bodies always stream"),
    no("proxy-buffer-size", "bodies stream; an answer's head has its own limit"),
    no("proxy-buffers-number", "bodies stream"),
    no("proxy-busy-buffers-size", "bodies stream"),
    no("proxy-max-temp-file-size", "bodies stream, and never touch a disk"),
    no("client-body-buffer-size", "bodies stream"),
    partly("proxy-http-version", "1.1"),
    yes("upstream-vhost", "the `Host` that servers get"),
    yes("x-forwarded-prefix", "the header that servers get"),
    no("connection-proxy-header", "`Connection` is the proxy's own business"),
    no("custom-headers", "ConfigMaps are not read; a shared `headers` middleware does it"),
    no("proxy-cookie-domain", "cookies of servers stay as they are"),
    no("proxy-cookie-path", "cookies of servers stay as they are"),
    no("proxy-redirect-from", "locations of servers stay as they are"),
    no("proxy-redirect-to", "locations of servers stay as they are"),
    partly(
        "proxy-ssl-secret",
        "`ca.crt` is the `CA` of the backend's TLS; the client's certificate is not shown",
    ),
    yes("proxy-ssl-verify", "`off` unless given, as there"),
    yes("proxy-ssl-name", "the name that servers prove"),
    partly("proxy-ssl-server-name", "`on`: the name is always sent"),
    yes("proxy-ssl-protocols", "`TLSv1.2` and `TLSv1.3`"),
    no("proxy-ssl-ciphers", "the suites are those of a backend's `TLS.CipherSuites`"),
    no("proxy-ssl-verify-depth", "chains are checked whole"),
    // Who gets in.
    yes("whitelist-source-range", "an `ipfilter`; everybody else is answered with 403"),
    yes("allowlist-source-range", "the same"),
    yes("denylist-source-range", "an `ipfilter`"),
    partly("satisfy", "`all`; `any` is taken as `all`"),
    partly("auth-type", "`basic`; with `digest` everything is answered with 503"),
    yes(
        "auth-secret",
        "users with bcrypt, `{SHA}` or MD5 (`$apr1$`); without them everything is answered with 503",
    ),
    partly("auth-secret-type", "`auth-file`"),
    yes("auth-realm", "what browsers show"),
    partly(
        "auth-url",
        "a `forwardauth`; of a Service's own name in the cluster the endpoints are asked; without variables",
    ),
    yes("auth-response-headers", "what servers see of the answer"),
    partly("auth-method", "`GET`; the method of the request is in `X-Original-Method`"),
    no("auth-signin", "what the service answers goes to the client, so it can redirect by itself"),
    no("auth-signin-redirect-param", "the service gets `X-Original-URL`"),
    no("auth-request-redirect", "the service gets `X-Original-URL`"),
    no("auth-proxy-set-headers", "ConfigMaps are not read"),
    no("auth-cache-key", "the service is asked each time"),
    no("auth-cache-duration", "the service is asked each time"),
    no("auth-always-set-cookie", "of a good answer only `auth-response-headers` are used"),
    no("auth-keepalive", "connections to the service are kept"),
    no("auth-keepalive-share-vars", "the service sees the request's headers only"),
    no("auth-keepalive-requests", "connections to the service are kept"),
    no("auth-keepalive-timeout", "connections to the service are kept"),
    no("auth-snippet", "there is no nginx to configure"),
    no("enable-global-auth", "nothing is asked that no annotation names"),
    partly(
        "auth-tls-secret",
        "`ca.crt` is the `ClientAuth` of the Ingress's TLS hosts; without it everything is answered with 503",
    ),
    partly("auth-tls-verify-client", "`on`, `optional`, `off`; `optional_no_ca` is taken as `optional`"),
    partly(
        "auth-tls-pass-certificate-to-upstream",
        "subject and fingerprint in `X-Client-Cert-*`, not the certificate",
    ),
    no("auth-tls-verify-depth", "chains are checked whole"),
    no("auth-tls-error-page", "the handshake fails, or the answer is the proxy's own"),
    no("auth-tls-match-cn", "subjects are not compared: everything is answered with 503"),
    // How much.
    partly("limit-rps", "a `ratelimit` by client for the whole Ingress; beyond it 429, not 503"),
    partly("limit-rpm", "the same"),
    yes("limit-burst-multiplier", "default 5"),
    partly(
        "limit-connections",
        "a `connlimit` of open requests by client for the whole Ingress; beyond it 429, not 503",
    ),
    no("limit-whitelist", "limits are for everybody"),
    no("limit-allowlist", "limits are for everybody"),
    no("limit-rate", "answers are sent as fast as they are taken"),
    no("limit-rate-after", "answers are sent as fast as they are taken"),
    no("global-rate-limit", "limits are per proxy; `limit-rps` is carried over"),
    no("global-rate-limit-window", "limits are per proxy"),
    no("global-rate-limit-key", "limits are per proxy"),
    no("global-rate-limit-ignored-cidrs", "limits are per proxy"),
    // What browsers are told, and copies.
    yes("enable-cors", "a `cors`"),
    yes("cors-allow-origin", "default `*`; `*.` stands for every name below"),
    yes("cors-allow-methods", "default GET, PUT, POST, DELETE, PATCH, OPTIONS"),
    yes("cors-allow-headers", "default as there"),
    yes("cors-expose-headers", "default none"),
    partly("cors-allow-credentials", "default true; not beside a `*`, where browsers do not heed it"),
    yes("cors-max-age", "in seconds; more than a day is a day"),
    partly("mirror-target", "a `mirror` to the URL's host, with the request's own path and `Host`"),
    partly("mirror-request-body", "`on`; with `off` only requests without a body are copied"),
    no("mirror-host", "a copy has the `Host` of the request"),
    no(
        "custom-http-errors",
        "an answer's body can be replaced by a frontend's `ErrorPages`, not by another server's",
    ),
    no("disable-proxy-intercept-errors", "answers of servers stay as they are"),
    no("http2-push-preload", "browsers have given up on pushes"),
    // Of nginx itself, and its modules.
    no("configuration-snippet", "there is no nginx to configure"),
    no("server-snippet", "there is no nginx to configure"),
    no("stream-snippet", "there is no nginx to configure"),
    no("ssl-ciphers", "the suites are those of the listener"),
    no("ssl-prefer-server-ciphers", "the suites are those of the listener"),
    no("enable-access-log", "the access log is the proxy's, for all frontends"),
    no("enable-rewrite-log", "there is none"),
    no("enable-opentelemetry", "traces are not exported"),
    no("opentelemetry-operation-name", "traces are not exported"),
    no("opentelemetry-trust-incoming-span", "traces are not exported"),
    no("enable-opentracing", "traces are not exported"),
    no("opentracing-trust-incoming-span", "traces are not exported"),
    no("enable-modsecurity", "there is no firewall of applications"),
    no("enable-owasp-core-rules", "there is no firewall of applications"),
    no("modsecurity-transaction-id", "there is no firewall of applications"),
    no("modsecurity-snippet", "there is no firewall of applications"),
    no("fastcgi-index", "FastCGI is not spoken"),
    no("fastcgi-params-configmap", "FastCGI is not spoken"),
    no("enable-influxdb", "measures are at `/metrics`"),
    no("influxdb-measurement", "measures are at `/metrics`"),
    no("influxdb-port", "measures are at `/metrics`"),
    no("influxdb-host", "measures are at `/metrics`"),
    no("influxdb-server-name", "measures are at `/metrics`"),
];
