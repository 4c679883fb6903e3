//! Servers that tell what reached them, and behave as the request asks.
//!
//! A request says in its own fields what becomes of it: `X-Status: 503` the answer's status; `X-Answer: Name: value` a
//! field of the answer, which has a `Content-Type` unless `X-Bare` is there; `X-Fail: 2x503` or `2xbreak` what its first two attempts get; `X-Hold: yes` to wait until it is
//! released. `X-Token` tells requests apart.

use crate::support::Recorder;
use crate::support::recorder::Seen;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Longest time that a request is held.
const HOLD_MAX: Duration = Duration::from_secs(15);

/// Three servers `a`, `b` and `c`, and addresses where things go wrong.
pub struct Upstreams {
    servers: Vec<(&'static str, Recorder)>,
    /// Accepts and says nothing.
    silent: TcpListener,
    /// Bound and not listening: refuses.
    dead: socket2::Socket,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    attempts: Mutex<BTreeMap<String, u32>>,
    holds: Mutex<Holds>,
    changed: Condvar,
}

#[derive(Default)]
struct Holds {
    held: BTreeSet<String>,
    released: BTreeSet<String>,
}

impl Upstreams {
    pub fn start() -> Self {
        let state = Arc::new(State::default());
        let server = |name: &'static str| {
            let state = state.clone();
            (name, Recorder::with(move |seen, stream| answer(name, seen, stream, &state)))
        };
        let servers = ["a", "b", "c"].map(server).into();
        let dead = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        dead.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        Self { servers, silent: TcpListener::bind("127.0.0.1:0").unwrap(), dead, state }
    }

    /// Names as they stand in braces in the cases, and what they mean.
    pub fn places(&self) -> Vec<(&'static str, SocketAddr)> {
        let mut places =
            self.servers.iter().map(|(name, server)| (*name, server.address())).collect::<Vec<_>>();
        places.push(("silent", self.silent.local_addr().unwrap()));
        places.push(("dead", self.dead.local_addr().unwrap().as_socket().unwrap()));
        places
    }

    /// Whether a request with this token is being held.
    pub fn holds(&self, token: &str) -> bool {
        self.state.holds.lock().unwrap().held.contains(token)
    }

    /// Lets a held request go on.
    pub fn release(&self, token: &str) {
        self.state.holds.lock().unwrap().released.insert(token.to_owned());
        self.state.changed.notify_all();
    }
}

fn answer(name: &str, seen: &Seen, stream: &mut TcpStream, state: &State) -> bool {
    let one = |field: &str| seen.all(field).first().cloned();
    let token = one("x-token").unwrap_or_default();
    let attempt = {
        let mut attempts = state.attempts.lock().unwrap();
        let attempt = attempts.entry(token.clone()).or_default();
        *attempt += 1;
        *attempt
    };
    if one("x-hold").is_some() {
        let mut holds = state.holds.lock().unwrap();
        holds.held.insert(token.clone());
        let waiting = |holds: &mut Holds| !holds.released.contains(&token);
        drop(state.changed.wait_timeout_while(holds, HOLD_MAX, waiting).unwrap());
    }
    let mut status = one("x-status").unwrap_or_else(|| "200".to_owned());
    if let Some((count, what)) = one("x-fail").as_deref().and_then(|fail| fail.split_once('x'))
        && attempt <= count.parse::<u32>().unwrap()
    {
        if what == "break" {
            return false;
        }
        status = what.to_owned();
    }
    let fields =
        seen.fields.iter().map(|(name, value)| (name, String::from_utf8_lossy(value))).collect::<Vec<_>>();
    let told = json!({
        "line": seen.line,
        "fields": fields,
        "body": String::from_utf8_lossy(&seen.body),
        "attempt": attempt,
    });
    if let Some(key) = one("sec-websocket-key") {
        websocket(name, &key, &told.to_string(), stream);
        return false;
    }
    let body = told.to_string();
    let is_head = seen.line.starts_with("HEAD ");
    let mut head =
        format!("HTTP/1.1 {status} Told\r\nX-Server: {name}\r\nContent-Length: {}\r\n", body.len());
    let fields = seen.all("x-answer");
    let has_type = fields.iter().any(|field| field.to_ascii_lowercase().starts_with("content-type:"));
    if !has_type && !seen.has("x-bare") {
        head.push_str("Content-Type: application/json\r\n");
    }
    for field in fields {
        head.push_str(&format!("{field}\r\n"));
    }
    head.push_str("\r\n");
    let bodiless = is_head || matches!(status.as_str(), "204" | "304");
    stream.write_all(format!("{head}{}", if bodiless { "" } else { &body }).as_bytes()).is_ok()
}

/// Takes the connection over: tells what it saw, then says everything again, until it is closed.
fn websocket(name: &str, key: &str, told: &str, stream: &mut TcpStream) {
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nX-Server: {name}\r\n\r\n"
    );
    if stream.write_all(head.as_bytes()).is_err() || write_frame(stream, told, None).is_err() {
        return;
    }
    while let Ok(text) = read_frame(stream) {
        if write_frame(stream, &text, None).is_err() {
            return;
        }
    }
}

/// Writes a text frame, masked if it is a client's (RFC 6455 section 5.2).
pub fn write_frame(stream: &mut impl Write, text: &str, mask: Option<[u8; 4]>) -> std::io::Result<()> {
    let length = u16::try_from(text.len()).unwrap();
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![0x81];
    match u8::try_from(length).ok().filter(|short| *short < 126) {
        Some(short) => frame.push(masked | short),
        None => {
            frame.push(masked | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    let key = mask.unwrap_or_default();
    frame.extend(mask.iter().flatten());
    frame.extend(text.bytes().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    stream.write_all(&frame)
}

/// The text of the next text frame; any other frame is the end.
pub fn read_frame(stream: &mut impl Read) -> std::io::Result<String> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    if head[0] != 0x81 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let mut length = usize::from(head[1] & 0x7f);
    if length == 126 {
        let mut long = [0; 2];
        stream.read_exact(&mut long)?;
        length = usize::from(u16::from_be_bytes(long));
    }
    let mut key = [0; 4];
    if head[1] & 0x80 != 0 {
        stream.read_exact(&mut key)?;
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    for (byte, key) in bytes.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    String::from_utf8(bytes).map_err(|_| std::io::ErrorKind::InvalidData.into())
}
