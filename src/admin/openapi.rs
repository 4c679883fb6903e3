//! The API's own description, OpenAPI 3.1, at `/v3/openapi.json`. A test holds it against the router. Version 2 is not
//! in it: it is vulcand's, whose answers its tests hold it against.

use super::answer::with;
use crate::web::openapi::{answer, header, id_parameter, list, object, one_of, query, reference, with_body};
use axum::Json;
use serde_json::{Map, Value, json};

pub(super) async fn document() -> Json<Value> {
    Json(build())
}

/// Where one object is: its path, the ids in it, the name of its kind and its schema.
const OBJECTS: [(&str, &[&str], &str, &str); 7] = [
    ("/v3/listeners/{id}", &["id"], "listener", "Listener"),
    ("/v3/hosts/{id}", &["id"], "host", "Host"),
    ("/v3/frontends/{id}", &["id"], "frontend", "Frontend"),
    (
        "/v3/frontends/{frontend}/middlewares/{id}",
        &["frontend", "id"],
        "frontend's own middleware",
        "Middleware",
    ),
    ("/v3/middlewares/{id}", &["id"], "shared middleware", "Middleware"),
    ("/v3/backends/{id}", &["id"], "backend", "Backend"),
    ("/v3/backends/{backend}/servers/{id}", &["backend", "id"], "server", "Server"),
];

pub(super) fn build() -> Value {
    let mut paths = process_paths();
    for (path, ids, name, schema) in OBJECTS {
        paths.insert(path.to_owned(), object_path(ids, name, schema));
        if let Some((collection, _)) = path.rsplit_once('/') {
            let parents = ids.split_last().map_or(&[][..], |(_, parents)| parents);
            let get = operation(
                &format!("Every {name} that the store holds"),
                parents.iter().map(|id| id_parameter(id)).collect(),
                vec![answer(200, "By id", "ObjectList"), failure(503)],
            );
            paths.insert(collection.to_owned(), json!({ "get": get }));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Flipgate admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What a proxy serves, what is wrong with it, and writes to its store. Every error is a JSON \
                object with a `message`. Below /v2 is the API of vulcand 0.9, for its clients; it is described there.",
        },
        "security": [{ "token": [] }, {}],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "Tokens have a role, `read` or `write`. Not needed where no tokens are configured, and \
                    from networks that are trusted.",
            } },
            "schemas": schemas(),
        },
    })
}

fn process_paths() -> Map<String, Value> {
    let mut paths = Map::new();
    let mut add = |path: &str, method: &str, operation: Value| {
        paths.insert(path.to_owned(), json!({ method: operation }));
    };
    let parameters = vec![
        query("revision", "integer", "Answer when every worker serves this revision or a later one"),
        query("timeout", "string", "Wait at most so long, a minute at the most; default `5s`"),
    ];
    let answers = vec![answer(200, "How the process is", "Status"), failure(504)];
    add("/v3/status", "get", operation("How this process is; can wait for a revision", parameters, answers));
    let parameters = vec![
        query("host", "string", "Only routes that a request for this host may match"),
        query("frontend", "string", "Only this frontend's routes"),
        query("limit", "integer", "At most so many, 10,000 at the most"),
    ];
    let answers = vec![answer(200, "Routes, best first", "Routes")];
    add(
        "/v3/routes",
        "get",
        operation("What this process serves, not what the store holds", parameters, answers),
    );
    let parameters = vec![
        query(
            "backend",
            "string",
            "Only this backend, and what leads to it; its servers are judged beside each other",
        ),
        query("limit", "integer", "At most so many of each; 0: all"),
    ];
    let answers = vec![answer(200, "The worst first", "Top"), failure(400)];
    add("/v3/top", "get", operation("What frontends and servers did of late", parameters, answers));
    let answers = vec![answer(200, "Problems, errors first", "Problems")];
    add(
        "/v3/problems",
        "get",
        operation("What is wrong, and which form of it is in force", Vec::new(), answers),
    );
    let answers = vec![answer(200, "In key order", "ObjectList"), failure(503)];
    add("/v3/objects", "get", operation("Every object as the store holds it", Vec::new(), answers));
    let answers = vec![answer(200, "Done", "Confirmed"), failure(503)];
    let confirm = operation("Let held removals take effect, for the whole fleet", Vec::new(), answers);
    add("/v3/confirm", "post", with_body(confirm, json!({ "type": "object" })));
    let answers = vec![
        answer(200, "Written", "Written"),
        failure(400),
        failure(412),
        answer(422, "Not valid; nothing was written", "Invalid"),
        failure(503),
    ];
    let commit = operation("Many writes, all or nothing", Vec::new(), answers);
    add("/v3/transactions", "post", with_body(commit, reference("Transaction")));
    add_flips(&mut add);
    let text = |status: u16, what: &str, kind: &str| {
        (status, json!({ "description": what, "content": { kind: { "schema": { "type": "string" } } } }))
    };
    let document = (200, json!({ "description": "OpenAPI 3.1", "content": { "application/json": {} } }));
    add("/v3/openapi.json", "get", operation("This document", Vec::new(), vec![document]));
    let answers = vec![text(200, "OpenMetrics", "application/openmetrics-text")];
    add("/metrics", "get", operation("Counters and gauges", Vec::new(), answers));
    let mut open = |path: &str, summary: &str, answers: Vec<(u16, Value)>| {
        add(path, "get", with(operation(summary, Vec::new(), answers), "security", json!([])));
    };
    open("/healthz", "Whether the process runs", vec![text(200, "It does", "text/plain")]);
    let answers =
        vec![text(200, "It is", "text/plain"), text(503, "It serves no table, or is ending", "text/plain")];
    open("/readyz", "Whether traffic should be sent here", answers);
    paths
}

/// The fleet and its flips.
fn add_flips(add: &mut impl FnMut(&str, &str, Value)) {
    let stream = || {
        let content = json!({ "application/x-ndjson": { "schema": reference("FlipEvent") } });
        (
            200,
            json!({ "description": "A line as each thing happens; the last has the event `end`", "content": content }),
        )
    };
    let answers = || vec![stream(), failure(400), failure(409), failure(503)];
    let flip = operation("Move traffic to another backend, over the whole fleet", Vec::new(), answers());
    add("/v3/flips", "post", with_body(flip, reference("Flip")));
    let rollback = operation("Undo the last flip of a target in one write", Vec::new(), answers());
    add("/v3/rollback", "post", with_body(rollback, reference("Rollback")));
    let get = |summary: &str, schema: &str| {
        operation(summary, Vec::new(), vec![answer(200, "As the store tells", schema), failure(503)])
    };
    add("/v3/fleet", "get", get("The proxies that follow the store, and open flips", "Fleet"));
    add("/v3/history", "get", get("The last flips, newest first", "History"));
    let answers = vec![answer(200, "Forgotten", "Forgotten"), failure(409), failure(503)];
    let parameters = vec![id_parameter("name")];
    add("/v3/fleet/{name}", "delete", operation("Take a lost proxy off the list", parameters, answers));
}

fn object_path(ids: &[&str], name: &str, schema: &str) -> Value {
    let ids: Vec<Value> = ids.iter().map(|id| id_parameter(id)).collect();
    let and = |more: Vec<Value>| ids.iter().cloned().chain(more).collect();
    let matches = || {
        header("If-Match", "Only if this is its modification revision, as `ETag` gave it; `*`: if it exists")
    };
    let value =
        if schema == "Host" { "The value, with a marker in place of a key pair" } else { "The value" };
    let get = operation(
        &format!("A {name} as the store holds it"),
        and(Vec::new()),
        vec![answer(200, value, schema), failure(400), failure(404), failure(503)],
    );
    let put = operation(
        &format!("Write a {name}"),
        and(vec![
            matches(),
            header("If-None-Match", "`*`: only if it does not exist"),
            query("ttl", "string", "It ends unless it is written again within this time"),
        ]),
        vec![
            answer(200, "Written", "Written"),
            failure(400),
            failure(412),
            failure(413),
            failure(415),
            answer(422, "Not valid", "Invalid"),
            failure(503),
        ],
    );
    let recursive = "Also what is below: a frontend's middlewares, a backend's servers";
    let delete = operation(
        &format!("Remove a {name}"),
        and(vec![matches(), query("recursive", "boolean", recursive)]),
        vec![answer(200, "Removed", "Written"), failure(400), failure(404), failure(412), failure(503)],
    );
    json!({ "get": get, "put": with_body(put, reference(schema)), "delete": delete })
}

fn operation(summary: &str, parameters: Vec<Value>, answers: Vec<(u16, Value)>) -> Value {
    let refusals = [failure(401), failure(403)];
    let answers: Map<String, Value> =
        answers.into_iter().chain(refusals).map(|(status, answer)| (status.to_string(), answer)).collect();
    json!({ "summary": summary, "parameters": parameters, "responses": answers })
}

fn failure(status: u16) -> (u16, Value) {
    let description = match status {
        400 => "The request cannot be understood",
        401 => "A token is needed",
        403 => "Not permitted",
        404 => "There is no such object",
        409 => "It is not as it would have to be; nothing was changed",
        412 => "It was changed, created or removed meanwhile",
        413 => "The body has more than 2 MiB",
        415 => "The body does not say that it is JSON",
        504 => "Not in time",
        _ => "The store does not answer",
    };
    answer(status, description, "Error")
}

fn schemas() -> Value {
    let mut all = answer_schemas();
    for more in [object_schemas(), flip_schemas()] {
        if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
            all.extend(more);
        }
    }
    all
}

fn flip_schemas() -> Value {
    let (text, yes) = (json!({ "type": "string" }), json!({ "type": "boolean" }));
    let any = || json!({ "type": "object" });
    json!({
        "Flip": object([
            ("targets!", list(object([("target!", text.clone()), ("backend!", text.clone())]))),
            ("expect", text.clone()),
            ("minHealthy", text.clone()),
            ("wait", text.clone()),
            ("bake", text.clone()),
            ("rollbackOn", text.clone()),
            ("keepWarm", text.clone()),
            ("force", yes.clone()),
            ("dryRun", yes),
            ("by", text.clone()),
        ]),
        "Rollback": object([("target!", text.clone()), ("wait", text.clone()), ("by", text.clone())]),
        "FlipEvent": object([("event!", text.clone()), ("flip", text.clone()), ("text", text.clone())]),
        "Fleet": object([("members!", list(any())), ("flips!", list(any()))]),
        "History": object([("flips!", list(any()))]),
        "Forgotten": object([("forgotten!", text)]),
    })
}

fn answer_schemas() -> Value {
    let (text, number, yes) =
        (json!({ "type": "string" }), json!({ "type": "integer" }), json!({ "type": "boolean" }));
    let time = json!({ "type": "string", "format": "date-time" });
    let version = json!({ "type": ["integer", "string"], "description": "Text where a number would not be exact; 0: none" });
    let finding = [
        ("key!", text.clone()),
        ("field!", text.clone()),
        ("reason!", text.clone()),
        ("severity!", one_of(&["error", "warning"])),
    ];
    let store = object([("kind!", text.clone()), ("connected!", yes.clone()), ("since!", time.clone())]);
    let counts = object([("error!", number.clone()), ("warning!", number.clone())]);
    let server = object([
        ("id!", text.clone()),
        ("url!", text.clone()),
        ("state!", one_of(&["active", "draining", "disabled"])),
        ("healthy!", yes.clone()),
        ("standing!", one_of(&["well", "unknown", "unwell", "ejected", "draining", "disabled"])),
        ("inFlight!", number.clone()),
    ]);
    let route = object([
        ("rank!", number.clone()),
        ("frontend!", text.clone()),
        ("route!", text.clone()),
        ("priority!", number.clone()),
        ("backend!", text.clone()),
        ("resolved!", json!({ "type": ["string", "null"] })),
        ("servers!", list(server)),
    ]);
    let listed = object([
        ("kind!", text.clone()),
        ("id!", text.clone()),
        ("key!", text.clone()),
        ("modRevision!", version.clone()),
        ("value", json!({ "type": "object" })),
        ("unreadable", yes.clone()),
        ("lease", text.clone()),
    ]);
    let counted = [
        ("requests!", number.clone()),
        ("perSecond!", json!({ "type": "number" })),
        ("networkErrors!", number.clone()),
        ("codes!", json!({ "type": "object", "additionalProperties": number.clone() })),
        (
            "latencyMicros!",
            object(["p50!", "p75!", "p95!", "p99!", "p999!"].map(|name| (name, number.clone()))),
        ),
    ];
    let [requests, rate, errors, codes, latency] = counted.clone();
    let in_flight = ("inFlight!", number.clone());
    let [id, route_of, backend_of] = ["id!", "route!", "backend!"].map(|name| (name, text.clone()));
    let top_frontend = object([
        id.clone(),
        route_of,
        backend_of.clone(),
        in_flight.clone(),
        requests,
        rate,
        errors,
        codes,
        latency,
    ]);
    let [requests, rate, errors, codes, latency] = counted;
    let top_server = object([
        backend_of,
        id,
        ("url!", text.clone()),
        ("standing!", one_of(&["well", "unknown", "unwell", "ejected", "draining", "disabled"])),
        in_flight,
        ("standsOut!", list(one_of(&["latency", "networkErrors", "appErrors"]))),
        requests,
        rate,
        errors,
        codes,
        latency,
    ]);
    let put =
        object([("key!", text.clone()), ("value!", json!({ "type": "object" })), ("ttl", text.clone())]);
    let problem = object([
        ("key!", text.clone()),
        ("field!", text.clone()),
        ("reason!", text.clone()),
        ("severity!", one_of(&["error", "warning"])),
        ("revision!", number.clone()),
        ("since!", time),
        ("inForce!", one_of(&["none", "previous", "this"])),
    ]);
    json!({
        "Error": object([("message!", text.clone())]),
        "Finding": object(finding),
        "Invalid": object([("message!", text.clone()), ("problems!", list(reference("Finding")))]),
        "Written": object([("revision!", number.clone()), ("warnings", list(reference("Finding")))]),
        "Confirmed": object([("confirmed!", number.clone())]),
        "Status": object([
            ("revision!", number.clone()),
            ("storeRevision!", number.clone()),
            ("store!", store),
            ("ready!", yes.clone()),
            ("stale!", yes.clone()),
            ("held!", number.clone()),
            ("workers!", number.clone()),
            ("problems!", counts),
        ]),
        "Routes": object([
            ("revision!", number.clone()),
            ("order!", text.clone()),
            ("routes!", list(route)),
            ("truncated", yes),
        ]),
        "Top": object([("frontends!", list(top_frontend)), ("servers!", list(top_server))]),
        "Problems": object([("revision!", number.clone()), ("problems!", list(problem))]),
        "ObjectList": object([("revision!", number), ("objects!", list(listed))]),
        "Transaction": object([
            ("expect", list(object([("key!", text.clone()), ("modRevision!", version)]))),
            ("put", list(put)),
            ("delete", list(text)),
        ]),
    })
}

/// Names as written; they are read without regard to case, and fields that are not known are refused.
fn object_schemas() -> Value {
    let (text, number, yes) =
        (json!({ "type": "string" }), json!({ "type": "integer" }), json!({ "type": "boolean" }));
    let any = || json!({ "type": "object" });
    let duration = json!({ "type": "string", "examples": ["1h30m", "50ms"] });
    let address = object([("Network", one_of(&["tcp", "unix"])), ("Address!", text.clone())]);
    let tls = object([
        ("MinVersion", one_of(&["VersionTLS12", "VersionTLS13"])),
        ("MaxVersion", one_of(&["VersionTLS12", "VersionTLS13"])),
        ("SessionTicketsDisabled", yes.clone()),
        ("CipherSuites", list(text.clone())),
        ("PreferServerCipherSuites", yes.clone()),
    ]);
    let key_pair = json!({
        "description": "Written as `Cert` and `Key` (base64 of PEM), `CertFile` and `KeyFile`, or sealed. Never read: an \
            object with `Redacted`, and `Names`, `NotAfter` and `Fingerprint` where they are known, stands for it. \
            Written back, that keeps what is stored.",
    });
    let client_auth = object([
        ("Mode!", one_of(&["off", "optional", "required"])),
        ("CA", text.clone()),
        ("CAFile", text.clone()),
        ("Forward", yes.clone()),
    ]);
    let upstream_tls = object([
        ("InsecureSkipVerify", yes.clone()),
        ("CA", text.clone()),
        ("ServerName", text.clone()),
        ("KeyPair", key_pair.clone()),
        ("MinVersion", one_of(&["VersionTLS12", "VersionTLS13"])),
        ("MaxVersion", one_of(&["VersionTLS12", "VersionTLS13"])),
        ("SessionTicketsDisabled", yes.clone()),
        ("CipherSuites", list(text.clone())),
    ]);
    let page = object([("Body", text.clone()), ("File", text.clone()), ("ContentType", text.clone())]);
    let error_page = object([
        ("Body", text.clone()),
        ("File", text.clone()),
        ("ContentType", text.clone()),
        ("Status", number.clone()),
        ("Intercept", yes.clone()),
    ]);
    let maintenance =
        object([("Page", page), ("RetryAfter", duration.clone()), ("Allow", list(text.clone()))]);
    let frontend_settings = object([
        ("Limits", object([("MaxBodyBytes", number.clone()), ("MaxMemBodyBytes", number.clone())])),
        ("Hostname", text.clone()),
        ("FailoverPredicate", text.clone()),
        ("TrustForwardHeader", yes.clone()),
        ("TrustedProxies", list(text.clone())),
        ("ErrorPages", json!({ "type": "object", "additionalProperties": error_page })),
        ("PassHostHeader", yes.clone()),
        ("Forwarded", yes.clone()),
        ("RequestId", text.clone()),
        ("Middlewares", list(text.clone())),
        ("Timeouts", object([("Response", duration.clone()), ("Idle", duration.clone())])),
    ]);
    let timeouts =
        object([("Read", duration.clone()), ("Dial", duration.clone()), ("TLSHandshake", duration.clone())]);
    let keep_alive = object([("Period", duration), ("MaxIdleConnsPerHost", number.clone())]);
    json!({
        "Listener": object([
            ("Protocol!", one_of(&["http", "https"])),
            ("Address!", address),
            ("Scope", text.clone()),
            ("ProxyProtocol", one_of(&["NONE", "PROXY_V1", "PROXY_V2", "PROXY"])),
            ("ProxyProtocolFrom", list(text.clone())),
            ("Settings", object([("TLS", tls), ("H2C", yes.clone()), ("Limits", object([("Connections", number.clone())]))])),
        ]),
        "Host": object([(
            "Settings",
            object([("Default", yes.clone()), ("KeyPair", key_pair), ("ClientAuth", client_auth)]),
        )]),
        "Frontend": object([
            ("Type", one_of(&["http"])),
            ("Route!", json!({ "type": "string", "examples": ["Host(\"shop.example.com\") && PathPrefix(\"/api\")"] })),
            ("BackendId!", text.clone()),
            ("Priority", number.clone()),
            ("Settings", frontend_settings),
            ("Maintenance", json!({ "oneOf": [yes.clone(), maintenance] })),
        ]),
        "Middleware": object([
            ("Type!", one_of(crate::model::MIDDLEWARE_TYPES)),
            ("Priority", number.clone()),
            ("Middleware!", any()),
        ]),
        "Backend": object([
            ("Type", one_of(&["http", "alias"])),
            ("Target", text.clone()),
            ("Settings", object([("Timeouts", timeouts), ("KeepAlive", keep_alive), ("TLS", upstream_tls)])),
        ]),
        "Server": object([
            ("URL!", json!({ "type": "string", "examples": ["http://10.2.3.4:8080"] })),
            ("Weight", number),
            ("State", one_of(&["active", "draining", "disabled"])),
        ]),
    })
}
