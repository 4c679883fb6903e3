//! An HTTP/2 client that sends any frame, right or wrong, and shows what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const ENHANCE_YOUR_CALM: u32 = 11;

/// Longest silence that a test waits through.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    fn number(&self, at: usize) -> u32 {
        self.payload.get(at..at + 4).map_or(0, |four| u32::from_be_bytes(four.try_into().unwrap()))
    }
}

/// What became of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// 0: no answer began.
    pub status: u16,
    pub body: Vec<u8>,
    /// It ended as it should.
    pub ended: bool,
    pub reset: Option<u32>,
    pub go_away: Option<u32>,
    pub closed: bool,
}

impl Outcome {
    /// Whether the request was refused: by an answer of this class, its stream's end or the connection's.
    pub fn is_refused(&self) -> bool {
        (400..500).contains(&self.status)
            || self.status == 0 && (self.reset.is_some() || self.go_away.is_some())
    }
}

/// One connection, kept until dropped.
pub struct RawHttp2 {
    stream: TcpStream,
    input: Vec<u8>,
    go_away: Option<u32>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A `SETTINGS` frame.
pub fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in entries {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// A header block in which every field is a literal that is not remembered.
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name.as_ref());
        text(&mut block, value.as_ref());
    }
    block
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() < 127 {
        out.push(text.len() as u8);
    } else {
        let mut rest = text.len() - 127;
        out.push(127);
        while rest >= 128 {
            out.push(0x80 | (rest % 128) as u8);
            rest /= 128;
        }
        out.push(rest as u8);
    }
    out.extend(text);
}

/// The pseudo-fields of a request for `a.example`.
pub fn pseudo<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "http"), (":path", path), (":authority", "a.example")]
}

/// A request as one `HEADERS` frame.
pub fn request<N: AsRef<[u8]>, V: AsRef<[u8]>>(stream: u32, fields: &[(N, V)], ended: bool) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | u8::from(ended), stream, &block(fields))
}

/// A plain GET without a body.
pub fn get(stream: u32) -> Vec<u8> {
    request(stream, &pseudo("GET", "/"), true)
}

impl RawHttp2 {
    /// Connects and says the preface with settings that keep answers free of a table.
    pub fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &[])
    }

    pub fn open_with(address: SocketAddr, entries: &[(u16, u32)]) -> Self {
        let mut client = Self::silent(address);
        let mut all = vec![(1, 0)];
        all.extend(entries);
        client.send(&[PREFACE, &settings(&all), &frame(SETTINGS, ACK, 0, b"")].concat());
        client
    }

    /// Connects and says nothing.
    pub fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(SILENCE_MAX)).unwrap();
        Self { stream, input: Vec::new(), go_away: None }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame within `most`; `Err(true)`: the connection is closed, `Err(false)`: it is silent.
    pub fn next(&mut self, most: Duration) -> Result<Frame, bool> {
        let late = Instant::now() + most;
        loop {
            if let Some(frame) = self.take_frame() {
                self.note(&frame);
                return Ok(frame);
            }
            let left = late.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(false);
            }
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(true),
                Ok(count) => self.input.extend(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return Err(true),
            }
        }
    }

    /// Whoever ends a connection in good order waits for the answer to a ping.
    fn note(&mut self, received: &Frame) {
        match received.kind {
            GOAWAY => self.go_away = Some(received.number(4)),
            PING if received.flags & ACK == 0 => {
                let _ = self.try_send(&frame(PING, ACK, 0, &received.payload));
            }
            _ => {}
        }
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let head = self.input.get(..9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.input.get(9..9 + length)?.to_vec();
        self.input.drain(..9 + length);
        Some(Frame { kind, flags, stream, payload })
    }

    /// Waits for a stream's end, or the connection's.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        self.outcome_within(stream, SILENCE_MAX)
            .unwrap_or_else(|so_far| panic!("no end of it; so far {so_far:?}"))
    }

    /// As [`outcome`](Self::outcome); what there is by then where there is no end.
    pub fn outcome_within(&mut self, stream: u32, most: Duration) -> Result<Outcome, Outcome> {
        let mut outcome = Outcome::default();
        let late = Instant::now() + most;
        loop {
            let frame = match self.next(late.saturating_duration_since(Instant::now())) {
                Ok(frame) => frame,
                Err(true) => {
                    outcome.closed = true;
                    return Ok(outcome);
                }
                Err(false) => return Err(outcome),
            };
            match frame.kind {
                GOAWAY => outcome.go_away = Some(frame.number(4)),
                _ if frame.stream != stream => continue,
                HEADERS if outcome.status == 0 => outcome.status = status(&frame.payload),
                DATA => outcome.body.extend(&frame.payload),
                RST_STREAM => {
                    outcome.reset = Some(frame.number(0));
                    return Ok(outcome);
                }
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                outcome.ended = true;
                return Ok(outcome);
            }
        }
    }

    /// Takes what has come; whether the connection is open.
    pub fn is_open(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let mut buffer = [0; 64 * 1024];
        let open = loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break false,
                Ok(count) => self.input.extend(&buffer[..count]),
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        self.stream.set_nonblocking(false).unwrap();
        open
    }

    /// The code of the last GOAWAY that has come.
    pub fn go_away(&mut self) -> Option<u32> {
        while let Some(frame) = self.take_frame() {
            self.note(&frame);
        }
        self.go_away
    }

    /// Reads to the connection's end; the code of its last GOAWAY.
    pub fn until_closed(&mut self, most: Duration) -> Option<u32> {
        let late = Instant::now() + most;
        loop {
            match self.next(late.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(true) => return self.go_away,
                Err(false) => panic!("the connection is open after {most:?}; GOAWAY {:?}", self.go_away),
            }
        }
    }

    /// Whether the connection still answers a ping.
    pub fn answers(&mut self) -> bool {
        if self.try_send(&frame(PING, 0, 0, b"answers?")).is_err() {
            return false;
        }
        loop {
            match self.next(SILENCE_MAX) {
                Ok(frame) if frame.kind == PING && frame.payload == b"answers?" => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }
}

/// The status that a header block begins with, as an encoder without a table writes it.
fn status(block: &[u8]) -> u16 {
    let block = match block.iter().position(|byte| byte & 0xe0 != 0x20) {
        Some(start) => &block[start..],
        None => return 0,
    };
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8a, ..] => 206,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [_, length, rest @ ..] if length & 0x80 != 0 => digits(&rest[..usize::from(length & 0x7f)]),
        [_, length, rest @ ..] => {
            std::str::from_utf8(&rest[..usize::from(*length)]).unwrap().parse().unwrap_or(0)
        }
        _ => 0,
    }
}

/// Three digits in Huffman's code (RFC 7541 appendix B): 0 to 2 take five bits, the others six.
fn digits(bytes: &[u8]) -> u16 {
    let bits = bytes.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let mut left = bytes.len() * 8;
    let mut number = 0;
    for _ in 0..3 {
        let five = (bits >> (left - 5) & 0x1f) as u16;
        let digit = if five <= 2 {
            left -= 5;
            five
        } else {
            left -= 6;
            (bits >> left & 0x3f) as u16 - 0b011001 + 3
        };
        number = number * 10 + digit;
    }
    number
}

#[test]
fn statuses_are_read_in_each_of_their_forms() {
    assert_eq!(status(&[0x20, 0x88]), 200);
    assert_eq!(status(b"\x48\x03431"), 431);
    // 4 = 011010, 3 = 011001, 1 = 00001, padded with ones.
    assert_eq!(digits(&[0b0110_1001, 0b1001_0000, 0b1111_1111]), 431);
    assert_eq!(digits(&[0b0110_1000, 0b0000_0000]), 400);
}
