//! The API's own description, OpenAPI 3.1, at `/openapi.json`. A test holds it against the router. What older deployers
//! of Amdatu's answered is not in it.

use crate::web::answer::with;
use crate::web::openapi::{answer, header, id_parameter, list, object, one_of, query, reference, with_body};
use axum::Json;
use serde_json::{Map, Value, json};

pub(super) async fn document() -> Json<Value> {
    Json(build())
}

fn build() -> Value {
    let mut paths = descriptor_paths();
    paths.extend(deployment_paths());
    paths.extend(other_paths());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Flipgate deployer API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Blue/green deployments. Every error is a JSON object with a `message`. Every path may end \
                with a slash or not. Every call but `validate` is for one namespace.",
        },
        "security": [{ "token": [] }, {}],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token has namespaces, and a role in each: `read` or `write`. Not needed by those who \
                    show a certificate with a name that is known, from networks that are trusted, or where none are \
                    configured.",
            } },
            "schemas": schemas(),
        },
    })
}

fn descriptor_paths() -> Map<String, Value> {
    let mut paths = Map::new();
    let app = || query("appname", "string", "Only those of this application");
    let body = || reference("Descriptor");
    let get = operation(
        "Descriptors, newest first; 404 when there is none",
        vec![app()],
        vec![several("Descriptor"), failure(404)],
    );
    let post = operation(
        "Store a descriptor",
        vec![once()],
        vec![(201, created("Stored", "Id")), invalid(), failure(409), failure(422)],
    );
    let keep = query("keepLatest", "boolean", "But the newest one; default true");
    let delete = operation(
        "Remove an application's descriptors",
        vec![required("appname", "Which application"), keep],
        vec![nothing("Removed"), failure(404)],
    );
    let methods = json!({ "get": get, "post": with_body(post, body()), "delete": delete });
    paths.insert("/descriptors/".into(), methods);
    let valid = (204, json!({ "description": "It is valid" }));
    let wrong = (200, text("All that is wrong, a line each"));
    let validate = json!({
        "summary": "Whether a descriptor is valid",
        "parameters": [query("namespace", "string", "The namespace, where the descriptor names none")],
        "responses": answers(vec![valid, wrong]),
    });
    paths.insert("/descriptors/validate".into(), json!({ "post": with_body(validate, body()) }));
    let get = operation(
        "A descriptor",
        vec![id_parameter("id"), none_match()],
        vec![answer(200, "As stored", "Descriptor"), not_modified(), failure(404)],
    );
    let put = operation(
        "Give a descriptor another form; its application stays",
        vec![id_parameter("id"), if_match()],
        vec![nothing("Stored"), invalid(), failure(404), failure(412)],
    );
    let delete = operation(
        "Remove a descriptor",
        vec![id_parameter("id"), if_match()],
        vec![nothing("Removed"), failure(404), failure(412)],
    );
    let methods = json!({ "get": get, "put": with_body(put, body()), "delete": delete });
    paths.insert("/descriptors/{id}/".into(), methods);
    paths
}

fn deployment_paths() -> Map<String, Value> {
    let mut paths = Map::new();
    let limit = query("limit", "integer", "So many of each application");
    let get = operation(
        "Deployments, newest first; 404 when there is none",
        vec![query("appname", "string", "Only those of this application"), limit],
        vec![several("Deployment"), failure(404)],
    );
    let started = || (202, created("Begun", "Deployment"));
    let post = operation(
        "Deploy a stored descriptor, or the one in the body",
        vec![
            query("descriptorId", "string", "Which; without it the body is a descriptor"),
            query("dryRun", "boolean", "Only say what would be done"),
            once(),
        ],
        vec![
            answer(200, "What would be done", "DryRun"),
            started(),
            invalid(),
            failure(404),
            answer(409, "Another one is under way", "Busy"),
            failure(422),
        ],
    );
    let undeploy = query("undeploy", "boolean", "Also undeploy what is live; default false");
    let delete = operation(
        "Remove the records of an application's deployments that are over",
        vec![required("appname", "Which application"), undeploy],
        vec![nothing("Removed"), started(), failure(404), failure(409)],
    );
    let post = with_optional_body(post, "Descriptor");
    paths.insert("/deployments/".into(), json!({ "get": get, "post": post, "delete": delete }));
    paths.insert("/deployments/{id}/".into(), deployment_path());
    let id = || vec![id_parameter("id")];
    let last = header("Last-Event-ID", "The number of the last line that was read, for a stream");
    let log = (200, stream("text/plain", "Lines; as Server-Sent Events if `Accept` says so"));
    let get = operation("Its log", vec![id_parameter("id"), last.clone()], vec![log, failure(404)]);
    paths.insert("/deployments/{id}/logs".into(), json!({ "get": get }));
    let log = (200, stream("text/event-stream", "A line each, with its number as id; then the event `end`"));
    let get = operation(
        "Its log as it grows, as Server-Sent Events or over a WebSocket",
        vec![id_parameter("id"), last],
        vec![log, (101, json!({ "description": "A WebSocket" })), failure(404)],
    );
    paths.insert("/stream/deployments/{id}/logs".into(), json!({ "get": get }));
    let get = operation("What its pods said of their health", id(), vec![several("Health"), failure(404)]);
    paths.insert("/deployments/{id}/healthcheckdata".into(), json!({ "get": get }));
    paths
}

fn deployment_path() -> Value {
    let changing = || vec![id_parameter("id"), if_match()];
    let started = || (202, created("Begun", "Deployment"));
    let refusals = || [failure(404), answer(409, "Another one is under way", "Busy"), failure(412)];
    let and = |answers: Vec<(u16, Value)>| answers.into_iter().chain(refusals()).collect::<Vec<_>>();
    let get = operation(
        "A deployment",
        vec![id_parameter("id"), none_match()],
        vec![answer(200, "As it is", "Deployment"), not_modified(), failure(404)],
    );
    let put = operation(
        "Redeploy it, with the descriptor that it had; while it is kept warm, the version after it goes back",
        changing(),
        and(vec![started()]),
    );
    let patch = operation(
        "Give it another number of pods, or end the time for which the version before it is kept warm",
        changing(),
        and(vec![answer(200, "Scaled", "Deployment"), started(), failure(400)]),
    );
    let remove = query("deleteDeployment", "boolean", "Also remove its record once that is done");
    let delete = operation(
        "Undeploy what is live, send back what is on its way",
        changing().into_iter().chain([remove]).collect(),
        and(vec![started()]),
    );
    json!({ "get": get, "put": put, "patch": with_body(patch, reference("Patch")), "delete": delete })
}

fn other_paths() -> Map<String, Value> {
    let mut paths = Map::new();
    let get = operation("Applications and their versions", Vec::new(), vec![several("Application")]);
    paths.insert("/applications/".into(), json!({ "get": get }));
    let app = || vec![id_parameter("app")];
    let put = operation(
        "Answer 503 in its place",
        app(),
        vec![nothing("Closed"), failure(400), failure(404), failure(409)],
    );
    let put = with_optional_body(put, "Maintenance");
    let delete = operation("Open it again", app(), vec![nothing("Open"), failure(404), failure(409)]);
    paths.insert("/applications/{app}/maintenance".into(), json!({ "put": put, "delete": delete }));
    let plain = |summary: &str, answers_of: Vec<(u16, Value)>| json!({ "summary": summary, "parameters": [], "responses": answers(answers_of) });
    let document = (200, json!({ "description": "OpenAPI 3.1", "content": { "application/json": {} } }));
    paths.insert("/openapi.json".into(), json!({ "get": plain("This document", vec![document]) }));
    let counters = (200, stream("application/openmetrics-text", "OpenMetrics"));
    paths.insert("/metrics".into(), json!({ "get": plain("Counters and gauges", vec![counters]) }));
    let mut open = |path: &str, summary: &str, answers: Vec<(u16, Value)>| {
        let get = with(plain(summary, answers), "security", json!([]));
        paths.insert(path.into(), json!({ "get": get }));
    };
    open("/healthz", "Whether the process runs", vec![(200, text("It does"))]);
    let answers = vec![(200, text("It is")), (503, text("The store has not been read yet"))];
    open("/readyz", "Whether calls should be sent here", answers);
    paths
}

fn with_optional_body(operation: Value, schema: &str) -> Value {
    let content = json!({ "application/json": { "schema": reference(schema) } });
    with(operation, "requestBody", json!({ "required": false, "content": content }))
}

/// Within a namespace.
fn operation(summary: &str, mut parameters: Vec<Value>, of: Vec<(u16, Value)>) -> Value {
    parameters.push(required("namespace", "The namespace"));
    let of = of.into_iter().chain([failure(400), failure(503)]).collect();
    json!({ "summary": summary, "parameters": parameters, "responses": answers(of) })
}

fn answers(of: Vec<(u16, Value)>) -> Map<String, Value> {
    let mut answers = Map::new();
    for (status, answer) in of.into_iter().chain([failure(401), failure(403)]) {
        answers.entry(status.to_string()).or_insert(answer);
    }
    answers
}

fn failure(status: u16) -> (u16, Value) {
    let description = match status {
        400 => "The request cannot be understood",
        401 => "A token is needed",
        403 => "Not permitted",
        404 => "There is no such thing in this namespace",
        409 => "It cannot be done as things are; or a call with this key is under way",
        412 => "It was changed meanwhile",
        422 => "This key was used for another call",
        _ => "The store or the API server does not answer",
    };
    answer(status, description, "Error")
}

fn invalid() -> (u16, Value) {
    answer(400, "The descriptor is not valid", "Invalid")
}

fn nothing(description: &str) -> (u16, Value) {
    (204, json!({ "description": description }))
}

fn not_modified() -> (u16, Value) {
    (304, json!({ "description": "The caller has it" }))
}

fn several(schema: &str) -> (u16, Value) {
    let content = json!({ "application/json": { "schema": list(reference(schema)) } });
    (200, json!({ "description": "All of them", "content": content }))
}

fn created(description: &str, schema: &str) -> Value {
    let location = json!({ "description": "Where it is", "schema": { "type": "string" } });
    with(answer(0, description, schema).1, "headers", json!({ "Location": location }))
}

fn text(description: &str) -> Value {
    stream("text/plain", description)
}

fn stream(kind: &str, description: &str) -> Value {
    json!({ "description": description, "content": { kind: { "schema": { "type": "string" } } } })
}

fn required(name: &str, description: &str) -> Value {
    with(query(name, "string", description), "required", true)
}

fn once() -> Value {
    let description = "A call with the same key gets the same answer within 24 hours, and is done once";
    header("Idempotency-Key", description)
}

fn if_match() -> Value {
    header("If-Match", "Only if this is its version, as `ETag` gave it")
}

fn none_match() -> Value {
    header("If-None-Match", "Versions that the caller has")
}

fn schemas() -> Value {
    let (words, number, yes) =
        (json!({ "type": "string" }), json!({ "type": "integer" }), json!({ "type": "boolean" }));
    let time = json!({ "type": "string", "format": "date-time" });
    let status = one_of(&["DEPLOYING", "DEPLOYED", "UNDEPLOYING", "UNDEPLOYED", "FAILURE"]);
    let problem = object([("field!", words.clone()), ("reason!", words.clone())]);
    let version = object([
        ("id!", words.clone()),
        ("version!", words.clone()),
        ("status!", status.clone()),
        ("stage", json!({ "type": ["string", "null"] })),
        ("course", json!({ "type": ["string", "null"] })),
        ("lastModified!", time.clone()),
    ]);
    json!({
        "Error": object([("message!", words.clone())]),
        "Busy": object([("message!", words.clone()), ("id", words.clone())]),
        "Invalid": object([("message!", words.clone()), ("problems!", list(problem))]),
        "Id": object([("id!", words.clone())]),
        "Descriptor": json!({
            "type": "object",
            "description": "Amdatu's, with `flip`, `hooks` and `timeouts` beside; the README says what each field means",
            "required": ["appName", "newVersion", "podspec"],
        }),
        "Deployment": object([
            ("id!", words.clone()),
            ("created!", time.clone()),
            ("lastModified!", time),
            ("version!", words.clone()),
            ("status!", status),
            ("descriptor!", reference("Descriptor")),
            ("stage", words.clone()),
            ("course", one_of(&["forward", "back"])),
            ("reason", words.clone()),
        ]),
        "DryRun": object([
            ("application!", json!({ "type": "object" })),
            ("dryRun!", yes.clone()),
            ("wouldDo!", list(words.clone())),
        ]),
        "Health": object([("podName!", words.clone()), ("value!", words.clone())]),
        "Patch": object([
            ("replicas", number.clone()),
            ("flip", object([("keepWarm!", words.clone())])),
        ]),
        "Application": object([
            ("namespace!", words.clone()),
            ("appName!", words.clone()),
            ("live", version.clone()),
            ("open", version.clone()),
            ("inCharge!", yes.clone()),
            ("versions!", list(version)),
        ]),
        "Maintenance": object([("page", words), ("retryAfter", number), ("drain", yes)]),
    })
}
