//! What runs inside a pod's process. HTTP/1.1 is written by hand, because a pod shares the machine with what is
//! measured.

use bytes::{Buf, Bytes, BytesMut};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::future::poll_fn;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A request head may have been in a socket when the mark was made.
const GRACE: Duration = Duration::from_millis(20);

struct Pod {
    name: String,
    colour: String,
    /// It tells what it is asked, in place of its name alone.
    echoes: bool,
    /// How it answers to checks.
    health: String,
    state: Mutex<State>,
    /// Becomes true when the pod is told to end.
    leaving: watch::Receiver<bool>,
}

#[derive(Default)]
struct State {
    mode: String,
    amount: u64,
    begun: u64,
    open: u64,
    connections: u64,
    checks: u64,
    marked: Option<Instant>,
    after_mark: u64,
    late: u64,
    posts: Vec<u64>,
    chance: u64,
    /// Targets that were asked for and refused once.
    refused: HashSet<String>,
}

struct Request {
    is_post: bool,
    path: String,
    number: u64,
    body_length: usize,
    /// What a pod that echoes tells.
    told: Option<serde_json::Value>,
}

enum Reply {
    Answer(u16, Bytes),
    Silent,
    Reset,
}

/// A request that is open until dropped.
struct Open<'a>(&'a Pod);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.state().open -= 1;
    }
}

/// Serves until told to end, or until the process that started it is gone.
pub fn run(name: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(serve(name));
}

async fn serve(name: &str) {
    let parent = nix::unistd::getppid();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let listeners = listeners();
    let (leave, leaving) = watch::channel(false);
    let in_name = || name.rsplit_once('-').map_or(name, |(colour, _)| colour).to_owned();
    let colour = std::env::var(super::COLOUR).unwrap_or_else(|_| in_name());
    let echoes = std::env::var(super::ECHO).is_ok();
    let health = variable("HEALTH");
    let state = Mutex::new(State::first());
    let pod = Arc::new(Pod { name: name.to_owned(), colour, echoes, health, state, leaving });
    // On a line of its own, whatever the test harness printed before.
    println!("\npod listening on {}", listeners[0].local_addr().unwrap());
    let mut connections = JoinSet::new();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let on_term = variable("ON_TERM");
    let after = |millis| tokio::time::Instant::now() + Duration::from_millis(millis);
    let linger = number("LINGER_MILLIS").unwrap_or(0);
    let mut leaves_at = None;
    let exit_code = number("EXIT_CODE");
    let exits_at = exit_code.map(|_| after(number("RUN_MILLIS").unwrap_or(50)));
    loop {
        tokio::select! {
            accepted = poll_fn(|context| accept(&listeners, context)) => match accepted {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    connections.spawn(connection(pod.clone(), stream));
                }
                Err(error) => panic!("accept: {error}"),
            },
            Some(_) = connections.join_next() => {}
            _ = terminate.recv() => match on_term.as_str() {
                "exit" => return,
                "stay" => {}
                _ => leaves_at = Some(after(linger)),
            },
            () = at(leaves_at) => break,
            () = at(exits_at) => std::process::exit(i32::try_from(exit_code.unwrap()).unwrap()),
            _ = second.tick() => if nix::unistd::getppid() != parent { return },
        }
    }
    drop(listeners);
    let _ = leave.send(true);
    while connections.join_next().await.is_some() {}
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Never, if there is no time.
async fn at(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn listeners() -> Vec<TcpListener> {
    let addresses = std::env::var(super::LISTEN).unwrap_or_else(|_| "127.0.0.1:0".to_owned());
    let listen = |address: &str| -> Result<TcpListener> {
        let address = address.parse::<SocketAddr>().unwrap();
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
            // A local route is enough for IPv4 only.
            socket.set_freebind_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        TcpListener::from_std(socket.into())
    };
    let listen =
        |address| listen(address).unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
    addresses.split(',').map(listen).collect()
}

/// The next connection of any of them.
fn accept(listeners: &[TcpListener], context: &mut Context<'_>) -> Poll<Result<(TcpStream, SocketAddr)>> {
    let mut accepted = listeners.iter().map(|listener| listener.poll_accept(context));
    accepted.find(Poll::is_ready).unwrap_or(Poll::Pending)
}

async fn connection(pod: Arc<Pod>, stream: TcpStream) {
    let mut first = [0; 3];
    let mut leaving = pod.leaving.clone();
    loop {
        let peeked = tokio::select! {
            biased;
            peeked = stream.peek(&mut first) => peeked,
            _ = leaving.wait_for(|told| *told) => return,
        };
        match peeked {
            Ok(3) if &first == b"PRI" => {
                let _ = http2(pod, stream).await;
                return;
            }
            Ok(0) | Err(_) => return,
            Ok(count) if !b"PRI".starts_with(&first[..count]) => {
                let _ = http1(pod, stream).await;
                return;
            }
            Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

async fn http1(pod: Arc<Pod>, mut stream: TcpStream) -> Result<()> {
    let mut leaving = pod.leaving.clone();
    let is_used = AtomicBool::new(false);
    let mut buffer = BytesMut::with_capacity(4096);
    let mut text = String::new();
    loop {
        let request = loop {
            if let Some(request) = head(&mut buffer, pod.echoes)? {
                break request;
            }
            tokio::select! {
                biased;
                read = stream.read_buf(&mut buffer) => if read? == 0 { return Ok(()) },
                _ = leaving.wait_for(|told| *told), if buffer.is_empty() => return Ok(()),
            }
        };
        let is_own = request.path.starts_with("/pod/");
        let _open = (!is_own && request.path != "/health").then(|| pod.begin(&is_used));
        while buffer.len() < request.body_length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let body = buffer.split_to(request.body_length);
        let (status, body) = match pod.reply(&request, &body).await {
            Reply::Answer(status, body) => (status, body),
            Reply::Silent => {
                // Whoever asks gives up some time.
                tokio::select! {
                    _ = leaving.wait_for(|told| *told) => {}
                    _ = stream.read_buf(&mut buffer) => {}
                }
                return Ok(());
            }
            Reply::Reset => {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                return Ok(());
            }
        };
        let leaves = *leaving.borrow();
        text.clear();
        let close = if leaves { "Connection: close\r\n" } else { "" };
        let _ = write!(
            text,
            "HTTP/1.1 {status} Status\r\nContent-Type: text/plain\r\nX-Pod: {}\r\n{close}Content-Length: {}\r\n\r\n",
            pod.name,
            body.len()
        );
        let mut answer = Buf::chain(text.as_bytes(), body);
        stream.write_all_buf(&mut answer).await?;
        if leaves {
            return stream.shutdown().await;
        }
    }
}

/// Takes a complete head off the buffer.
fn head(buffer: &mut BytesMut, echoes: bool) -> Result<Option<Request>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut fields);
    let bad = |what: &str| Error::new(ErrorKind::InvalidData, what);
    let length = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(bad("head")),
    };
    let mut request = Request {
        is_post: parsed.method == Some("POST"),
        path: parsed.path.unwrap_or_default().to_owned(),
        number: 0,
        body_length: 0,
        told: None,
    };
    if echoes {
        let fields = parsed.headers.iter().map(|field| (field.name, field.value));
        request.told = Some(told(parsed.method.unwrap_or_default(), &request.path, 1, fields));
    }
    for field in parsed.headers.iter() {
        let number = || std::str::from_utf8(field.value).ok().and_then(|text| text.parse::<u64>().ok());
        if field.name.eq_ignore_ascii_case("content-length") {
            request.body_length = number().ok_or_else(|| bad("Content-Length"))? as usize;
        } else if field.name.eq_ignore_ascii_case("x-request-number") {
            request.number = number().ok_or_else(|| bad("X-Request-Number"))?;
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(bad("Transfer-Encoding is not understood"));
        }
    }
    buffer.advance(length);
    Ok(Some(request))
}

async fn http2(pod: Arc<Pod>, stream: TcpStream) -> std::result::Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    let is_used = Arc::new(AtomicBool::new(false));
    let mut leaving = pod.leaving.clone();
    let mut told = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(accepted) = accepted else { return Ok(()) };
                let (request, respond) = accepted?;
                tokio::spawn(stream_of_http2(pod.clone(), is_used.clone(), request, respond));
            }
            _ = leaving.wait_for(|told| *told), if !told => {
                told = true;
                connection.graceful_shutdown();
            }
        }
    }
}

async fn stream_of_http2(
    pod: Arc<Pod>,
    is_used: Arc<AtomicBool>,
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) -> std::result::Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let number = head.headers.get("x-request-number").and_then(|value| value.to_str().ok());
    let mut request = Request {
        is_post: head.method == http::Method::POST,
        path: head.uri.path().to_owned(),
        number: number.and_then(|text| text.parse().ok()).unwrap_or(0),
        body_length: 0,
        told: None,
    };
    if pod.echoes {
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let fields = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        request.told = Some(told(head.method.as_str(), target, 2, fields));
    }
    let _open = (request.path != "/health").then(|| pod.begin(&is_used));
    let mut read = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        read.extend_from_slice(&chunk);
    }
    request.body_length = read.len();
    match pod.reply(&request, &read).await {
        Reply::Answer(status, answer) => {
            let head = http::Response::builder().status(status).header("x-pod", &pod.name);
            let head = head.header("content-length", answer.len()).body(()).unwrap();
            respond.send_response(head, false)?.send_data(answer, true)
        }
        Reply::Silent => std::future::pending().await,
        Reply::Reset => {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            Ok(())
        }
    }
}

/// A request as the test gets to see it: names of fields in lower case, several values of one with a bar between them.
fn told<'f>(
    method: &str,
    target: &str,
    version: u8,
    fields: impl Iterator<Item = (&'f str, &'f [u8])>,
) -> serde_json::Value {
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in fields {
        let value = String::from_utf8_lossy(value);
        let known = headers.entry(name.to_ascii_lowercase()).or_default();
        if !known.is_empty() {
            known.push('|');
        }
        known.push_str(&value);
    }
    json!({"method": method, "target": target, "version": version, "headers": headers})
}

impl State {
    /// That of a process that nobody has told anything.
    fn first() -> Self {
        match number("FAILING") {
            Some(amount) => Self { mode: "failing".to_owned(), amount, ..Self::default() },
            None => Self::default(),
        }
    }
}

impl Pod {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, and its connection if it is the first on it.
    fn begin(&self, is_used: &AtomicBool) -> Open<'_> {
        let mut state = self.state();
        state.connections += u64::from(!is_used.swap(true, Ordering::Relaxed));
        state.begun += 1;
        state.open += 1;
        if let Some(marked) = state.marked {
            state.after_mark += 1;
            state.late += u64::from(marked.elapsed() > GRACE);
        }
        Open(self)
    }

    async fn reply(&self, request: &Request, body: &[u8]) -> Reply {
        if let Some(what) = request.path.strip_prefix("/pod/") {
            return self.own(what, body);
        }
        let is_check = request.path == "/health";
        let (mode, amount, drawn) = {
            let mut state = self.state();
            if is_check {
                state.checks += 1;
            } else if request.is_post {
                state.posts.push(request.number);
            }
            state.chance =
                state.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state.mode.clone(), state.amount, (state.chance >> 33) % 1_000)
        };
        match mode.as_str() {
            "silent" => return Reply::Silent,
            "reset" => return Reply::Reset,
            "error" => return Reply::Answer(500, Bytes::from_static(b"an error\n")),
            "slow" => tokio::time::sleep(Duration::from_millis(amount)).await,
            "failing" if !is_check && drawn < amount => {
                return Reply::Answer(500, Bytes::from_static(b"fails now and then\n"));
            }
            "sick" if is_check => return Reply::Answer(503, Bytes::from_static(b"sick\n")),
            _ => {}
        }
        if let Some(told) = &request.told {
            return self.echo(told, body.len()).await;
        }
        if is_check {
            return self.health(request.is_post).await;
        }
        let sum = body.iter().fold(0_u64, |sum, byte| sum + u64::from(*byte));
        let text = format!("{} {} {} {} {sum}\n", self.colour, self.name, request.number, body.len());
        Reply::Answer(200, text.into())
    }

    /// The answer to a check, as the variable `HEALTH` says.
    async fn health(&self, is_post: bool) -> Reply {
        if self.health == "slow" {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        if self.health == "post" && !is_post {
            return Reply::Answer(405, Bytes::new());
        }
        let answer = json!({"healthy": self.health != "sick", "pod": self.name});
        Reply::Answer(200, answer.to_string().into())
    }

    /// What was asked, with the status that the target asks for: `/status/418`; `/once` is 503 the first time; `/slow/500`
    /// takes so many milliseconds; `/verify` is 401 without the right token.
    async fn echo(&self, told: &serde_json::Value, body_length: usize) -> Reply {
        let target = told["target"].as_str().unwrap_or_default();
        let number = |begin: &str| target.strip_prefix(begin).and_then(|rest| rest.parse::<u64>().ok());
        if let Some(millis) = number("/slow/") {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        let mut status = number("/status/").and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
        if target.starts_with("/once") && self.state().refused.insert(target.to_owned()) {
            status = 503;
        }
        if target.starts_with("/verify") && told["headers"]["authorization"] != *"Bearer good" {
            status = 401;
        }
        let mut answer = told.clone();
        answer["pod"] = json!(self.name);
        answer["colour"] = json!(self.colour);
        answer["bytes"] = json!(body_length);
        Reply::Answer(status, answer.to_string().into())
    }

    /// A question of the test.
    fn own(&self, what: &str, body: &[u8]) -> Reply {
        let mut state = self.state();
        let answer = match what {
            "stats" => json!({
                "begun": state.begun, "open": state.open, "connections": state.connections,
                "after_mark": state.after_mark, "late": state.late, "checks": state.checks,
            })
            .to_string()
            .into(),
            "posts" => state.posts.iter().flat_map(|number| number.to_le_bytes()).collect(),
            "mark" => {
                (state.marked, state.after_mark, state.late) = (Some(Instant::now()), 0, 0);
                Bytes::new()
            }
            "mode" => {
                let told = serde_json::from_slice::<serde_json::Value>(body).unwrap();
                state.mode = told["mode"].as_str().unwrap().to_owned();
                state.amount = told["amount"].as_u64().unwrap();
                Bytes::new()
            }
            _ => return Reply::Answer(404, Bytes::new()),
        };
        Reply::Answer(200, answer)
    }
}
