//! Every pod is asked for its health on its own address.

use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::cluster::{Cluster, Pods, Stop, record, settle};
use crate::deployer::descriptor::{Descriptor, HealthCheckType};
use crate::deployer::machine::Look;
use crate::deployer::record::health_key;
use crate::deployer::world::World;
use crate::store::{Area, Expected, LeaseChoice, Operation, Transaction};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Pods that are asked at a time.
const AT_ONCE: usize = 16;
/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest word of a pod's health beside that it is well that is kept.
const KEPT_BYTES_MAX: usize = 16 * 1024;
/// Between two writes of it while pods are not well: every proxy hears of each, and some pods say the time.
const NOTE_INTERVAL: Duration = Duration::from_secs(10);
/// Most pods that a text names.
const NAMED_MAX: usize = 3;
/// The port of a pod that names none, as Amdatu's deployer has it.
const DEFAULT_PORT: u16 = 9999;

/// What a pod says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    /// None: it is well.
    trouble: Option<String>,
    /// Fields of its answer beside `healthy`.
    more: Option<String>,
}

/// How pods are asked.
#[derive(Debug, Clone)]
struct Question {
    path: String,
    kind: HealthCheckType,
    time: Duration,
}

pub(super) async fn look(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    settle(run(world, charge).await)
}

async fn run(world: &World, charge: &mut Charge) -> Result<Look, Stop> {
    let descriptor = charge.deployment.descriptor.clone();
    if !descriptor.use_health_check || descriptor.ignore_health_check {
        charge.say("the pods are not asked for their health: the descriptor says so");
        return Ok(Look::Done);
    }
    let name = charge.deployment.made.as_ref().map(|made| made.name.clone()).unwrap_or_default();
    let pods = Pods::of(&Cluster::of(world, charge), &name).await?;
    let ready = pods.ready().cloned().collect::<Vec<_>>();
    let said = ask_all(&descriptor, &ready).await;
    let look = judge(&said, descriptor.replicas);
    if look == Look::Done || charge.health_noted.is_none_or(|at| at.elapsed() >= NOTE_INTERVAL) {
        write_down(world, charge, &said).await?;
        charge.health_noted = Some(Instant::now());
    }
    Ok(look)
}

fn judge(said: &[(String, Said)], replicas: u32) -> Look {
    let well = said.iter().filter(|(_, said)| said.trouble.is_none()).count();
    if u32::try_from(said.len()).is_ok_and(|asked| asked == replicas) && well == said.len() {
        return Look::Done;
    }
    let mut text = format!("{well} of {replicas} pods are healthy");
    let troubles = said.iter().filter_map(|(pod, said)| Some(format!("; {pod}: {}", said.trouble.as_ref()?)));
    text.extend(troubles.take(NAMED_MAX));
    Look::Waits(text)
}

async fn ask_all(descriptor: &Descriptor, pods: &[Pod]) -> Vec<(String, Said)> {
    let question = Question {
        path: format!("/{}", descriptor.health_check_path.trim_start_matches('/')),
        kind: descriptor.health_check_type,
        time: descriptor.timeouts.probe,
    };
    let client = client();
    let places =
        pods.iter().map(|pod| (pod.metadata.name.clone().unwrap_or_default(), place(descriptor, pod)));
    let asked = places.map(|(name, place)| ask_named(client.clone(), question.clone(), name, place));
    // Together first: what is made of borrowed pods on the way could not be sent between threads.
    let asked = asked.collect::<Vec<_>>();
    stream::iter(asked).buffer_unordered(AT_ONCE).collect().await
}

async fn ask_named(
    client: Client<HttpConnector, Empty<Bytes>>,
    question: Question,
    name: String,
    place: Option<SocketAddr>,
) -> (String, Said) {
    let said = match place {
        Some(place) => ask(&client, &question, place).await,
        None => Said { trouble: Some("it has no address".to_owned()), more: None },
    };
    (name, said)
}

fn client() -> Client<HttpConnector, Empty<Bytes>> {
    // Nothing is kept open: each look asks anew, as a client that comes for the first time.
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(HttpConnector::new())
}

/// Where a pod answers.
fn place(descriptor: &Descriptor, pod: &Pod) -> Option<SocketAddr> {
    let address: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten()).collect::<Vec<_>>();
    let named = ports.iter().find(|port| port.name.as_deref() == Some("healthcheck"));
    let port = named.or(ports.first()).and_then(|port| u16::try_from(port.container_port).ok());
    let port = descriptor.health_check_port.or(port).unwrap_or(DEFAULT_PORT);
    Some(SocketAddr::new(address, port))
}

async fn ask(client: &Client<HttpConnector, Empty<Bytes>>, question: &Question, place: SocketAddr) -> Said {
    let answered = async {
        let answer = request(client, Method::GET, question, place).await?;
        let is_for_post = matches!(
            answer.0,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
        );
        // Amdatu's deployer asks so, and pods that were made for it answer nothing else.
        match question.kind {
            HealthCheckType::Probe if is_for_post => request(client, Method::POST, question, place).await,
            _ => Ok(answer),
        }
    };
    match timeout(question.time, answered).await {
        Ok(Ok((status, body))) => read(question.kind, status, &body),
        Ok(Err(reason)) => Said { trouble: Some(format!("{place}: {reason}")), more: None },
        Err(_) => {
            Said { trouble: Some(format!("{place}: no answer within {:?}", question.time)), more: None }
        }
    }
}

async fn request(
    client: &Client<HttpConnector, Empty<Bytes>>,
    method: Method,
    question: &Question,
    place: SocketAddr,
) -> Result<(StatusCode, Bytes), String> {
    let uri: Uri = format!("http://{place}{}", question.path)
        .parse()
        .map_err(|error| format!("healthCheckPath {:?}: {error}", question.path))?;
    let mut request = Request::builder().method(&method).uri(uri).header("accept", "application/json");
    if method == Method::POST {
        request = request.header("content-type", "application/json").header("content-length", "0");
    }
    let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
    let answer = client.request(request).await.map_err(|error| causes(&error))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    Ok((head.status, body.map_err(|error| format!("its answer: {error}"))?.to_bytes()))
}

/// An error with what led to it.
fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.last().unwrap_or(error).to_string()
}

/// What an answer means.
fn read(kind: HealthCheckType, status: StatusCode, body: &[u8]) -> Said {
    let wrong = (!status.is_success()).then(|| format!("it answers {status}"));
    if kind == HealthCheckType::Simple {
        return Said { trouble: wrong, more: None };
    }
    let Ok(mut fields) = serde_json::from_slice::<Map<String, Value>>(body) else {
        let text = "its answer is no JSON with \"healthy\"".to_owned();
        return Said { trouble: wrong.or(Some(text)), more: None };
    };
    let is_healthy = fields.remove("healthy") == Some(Value::Bool(true));
    let more = (!fields.is_empty()).then(|| bounded(Value::Object(fields).to_string()));
    let unwell = (!is_healthy).then(|| "it says that it is not healthy".to_owned());
    Said { trouble: wrong.or(unwell), more }
}

fn bounded(text: String) -> String {
    match text.len() {
        bytes if bytes > KEPT_BYTES_MAX => {
            format!("{{\"leftOut\":\"{bytes} bytes; at most {KEPT_BYTES_MAX} are kept\"}}")
        }
        _ => text,
    }
}

/// Writes down what is new of what pods say beside that they are well.
async fn write_down(world: &World, charge: &mut Charge, said: &[(String, Said)]) -> Result<(), Stop> {
    let room = world.store.capabilities().operations_max.saturating_sub(2).clamp(1, 90);
    let mut also = Transaction::default();
    for (pod, said) in said {
        let Some(more) = said.more.as_ref().filter(|_| also.operations.len() < room) else { continue };
        let key = health_key(&charge.app, &charge.deployment.id, pod);
        let (_, stands) = world.store.get(Area::State, &key).await?;
        if stands.as_ref().is_some_and(|entry| *entry.value == *more.as_bytes()) {
            continue;
        }
        let expected = stands.map_or(Expected::Absent, |entry| Expected::Version(entry.version));
        also.expect.push((Area::State, key.clone(), expected));
        let value = more.clone().into();
        also.operations.push(Operation::Put { area: Area::State, key, value, lease: LeaseChoice::Without });
    }
    if !also.operations.is_empty() {
        record(charge, |_| {}, also).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn answers_are_read() {
        let check = |kind, status: u16, body: &str, trouble: Option<&str>, more: Option<&str>| {
            let said = read(kind, StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!((said.trouble.as_deref(), said.more.as_deref()), (trouble, more), "{status} {body}");
        };
        use HealthCheckType::{Probe, Simple};
        check(Probe, 200, r#"{"healthy": true}"#, None, None);
        check(Probe, 204, r#"{"healthy": true, "db": {"ms": 3}}"#, None, Some(r#"{"db":{"ms":3}}"#));
        check(
            Probe,
            200,
            r#"{"healthy": false, "db": 1}"#,
            Some("it says that it is not healthy"),
            Some(r#"{"db":1}"#),
        );
        check(Probe, 200, r#"{"healthy": "true"}"#, Some("it says that it is not healthy"), None);
        check(Probe, 503, r#"{"healthy": true}"#, Some("it answers 503 Service Unavailable"), None);
        check(Probe, 200, "ok", Some("its answer is no JSON with \"healthy\""), None);
        check(Probe, 302, "", Some("it answers 302 Found"), None);
        check(Simple, 200, "ok", None, None);
        check(Simple, 299, "", None, None);
        check(Simple, 302, "", Some("it answers 302 Found"), None);
        let long = format!(r#"{{"healthy": true, "text": "{}"}}"#, "x".repeat(KEPT_BYTES_MAX));
        let said = read(Probe, StatusCode::OK, long.as_bytes());
        assert!(said.more.unwrap().starts_with("{\"leftOut\":"));
    }

    #[test]
    fn all_have_to_be_healthy() {
        let said = |trouble: Option<&str>| Said { trouble: trouble.map(str::to_owned), more: None };
        let two = [("a".to_owned(), said(None)), ("b".to_owned(), said(None))];
        assert_eq!(judge(&two, 2), Look::Done);
        assert_eq!(judge(&two, 3), Look::Waits("2 of 3 pods are healthy".into()));
        assert_eq!(judge(&two, 1), Look::Waits("2 of 1 pods are healthy".into()));
        let sick = [("a".to_owned(), said(None)), ("b".to_owned(), said(Some("no")))];
        assert_eq!(judge(&sick, 2), Look::Waits("1 of 2 pods are healthy; b: no".into()));
        assert_eq!(judge(&[], 1), Look::Waits("0 of 1 pods are healthy".into()));
    }

    #[test]
    fn the_port_is_said_or_found() {
        let check = |given: Option<u16>, ports: Value, expected: &str| {
            let descriptor = json!({
                "deploymentType": "blue-green", "namespace": "n", "appName": "a", "newVersion": "1",
                "replicas": 1, "podspec": {}, "healthCheckPort": given,
            });
            let pod = json!({
                "spec": {"containers": [{"name": "a", "ports": ports}]}, "status": {"podIP": "10.0.0.1"},
            });
            let descriptor = serde_json::from_value(descriptor).unwrap();
            let place = place(&descriptor, &serde_json::from_value(pod).unwrap());
            assert_eq!(place.unwrap().to_string(), expected);
        };
        let two = json!([{"containerPort": 80}, {"name": "healthcheck", "containerPort": 81}]);
        check(Some(7), two.clone(), "10.0.0.1:7");
        check(None, two, "10.0.0.1:81");
        check(None, json!([{"containerPort": 80}, {"containerPort": 82}]), "10.0.0.1:80");
        check(None, json!([]), "10.0.0.1:9999");
    }

    /// Answers one request a connection, by what `answer` makes of its first line; what it was asked.
    async fn ask_one(kind: HealthCheckType, answer: fn(&str) -> String) -> (Said, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut asked = Vec::new();
            while let Ok(Ok((mut stream, _))) = timeout(Duration::from_millis(400), listener.accept()).await {
                let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
                while !head.ends_with(b"\r\n\r\n") {
                    let count = stream.read(&mut buffer).await.unwrap();
                    head.extend_from_slice(&buffer[..count]);
                }
                let head = String::from_utf8(head).unwrap();
                let first = head.lines().next().unwrap().to_owned();
                stream.write_all(answer(&first).as_bytes()).await.unwrap();
                if answer(&first).is_empty() {
                    tokio::time::sleep(Duration::from_millis(600)).await;
                }
                asked.push(first);
            }
            asked
        });
        let question = Question { path: "/health".into(), kind, time: Duration::from_millis(300) };
        let said = ask(&client(), &question, place).await;
        (said, server.await.unwrap())
    }

    fn http(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nlocation: /else\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn pods_of_amdatu_are_asked_with_post() {
        let (said, asked) = ask_one(HealthCheckType::Probe, |line| match line.starts_with("POST ") {
            true => http("200 OK", r#"{"healthy": true}"#),
            false => http("405 Method Not Allowed", ""),
        })
        .await;
        assert_eq!((said.trouble, asked.len()), (None, 2));
        let (said, asked) = ask_one(HealthCheckType::Simple, |_| http("404 Not Found", "")).await;
        assert_eq!(said.trouble.as_deref(), Some("it answers 404 Not Found"));
        assert_eq!(asked, ["GET /health HTTP/1.1"]);
    }

    #[tokio::test]
    async fn an_answer_is_bounded_in_time_and_size_and_leads_nowhere() {
        let (said, asked) = ask_one(HealthCheckType::Simple, |_| http("302 Found", "")).await;
        assert_eq!((said.trouble.as_deref(), asked.len()), (Some("it answers 302 Found"), 1));
        let (said, _) = ask_one(HealthCheckType::Probe, |_| String::new()).await;
        assert!(said.trouble.unwrap().contains("no answer within 300ms"));
        let long = |_: &str| http("200 OK", &" ".repeat(ANSWER_BYTES_MAX + 1));
        let (said, _) = ask_one(HealthCheckType::Probe, long).await;
        assert!(said.trouble.unwrap().contains("its answer: length limit exceeded"));
    }

    #[tokio::test]
    async fn who_does_not_listen_is_not_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        drop(listener);
        let question =
            Question { path: "/health".into(), kind: HealthCheckType::Probe, time: Duration::from_secs(5) };
        let said = ask(&client(), &question, place).await;
        assert!(said.trouble.unwrap().contains("refused"));
    }
}
