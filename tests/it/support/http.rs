//! An HTTP/1.1 client that shows every byte and forgives nothing.

use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Longest silence that a test waits through.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Names and values.
pub type FieldLines = Vec<(String, Vec<u8>)>;

/// One answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    /// In order, with the case they came in.
    pub fields: FieldLines,
    pub body: Vec<u8>,
    pub trailers: FieldLines,
    /// Statuses and fields of the interim answers before it.
    pub interim: Vec<(u16, FieldLines)>,
}

impl Answer {
    /// The values of a field, in order.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let same = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_slice()).collect()
    }

    /// The value of a field that comes at most once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} comes {} times", all.len());
        all.first().map(|value| std::str::from_utf8(value).unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// One connection, kept until dropped.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    pub fn try_open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub fn set_silence_max(&self, most: Duration) {
        self.stream.get_ref().set_read_timeout(Some(most)).unwrap();
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Half-closes: nothing more will be sent.
    pub fn finish(&mut self) {
        self.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    /// Closes with a reset.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(self.stream.get_ref());
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// A GET on this connection and its answer.
    pub fn get(&mut self, host: &str, target: &str) -> std::io::Result<Answer> {
        self.try_send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
        self.try_answer(false)
    }

    /// The next answer.
    pub fn answer(&mut self) -> Answer {
        self.try_answer(false).unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The next answer, to HEAD.
    pub fn answer_to_head(&mut self) -> Answer {
        self.try_answer(true).unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    pub fn try_answer(&mut self, to_head: bool) -> std::io::Result<Answer> {
        let mut interim = Vec::new();
        loop {
            let mut answer = self.head()?;
            if (100..200).contains(&answer.status) && answer.status != 101 {
                interim.push((answer.status, answer.fields));
                continue;
            }
            if !to_head && !matches!(answer.status, 101 | 204 | 304) {
                self.body(&mut answer)?;
            }
            answer.interim = interim;
            return Ok(answer);
        }
    }

    /// A head alone; what follows stays.
    pub fn head(&mut self) -> std::io::Result<Answer> {
        let first = self.line()?;
        let parts = first.splitn(3, ' ').collect::<Vec<_>>();
        let status = parts.get(1).and_then(|status| status.parse().ok());
        let Some(status) = status.filter(|_| first.starts_with("HTTP/1.")) else {
            return Err(bad(&format!("no status line: {first:?}")));
        };
        let fields = self.fields()?;
        Ok(Answer { status, fields, ..Answer::default() })
    }

    fn body(&mut self, answer: &mut Answer) -> std::io::Result<()> {
        if answer.field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            while let Some(chunk) = self.chunk()? {
                answer.body.extend_from_slice(&chunk);
            }
            answer.trailers = self.fields()?;
        } else if let Some(length) = answer.field("content-length") {
            let length = length.parse().map_err(|_| bad("Content-Length"))?;
            answer.body = vec![0; length];
            self.stream.read_exact(&mut answer.body)?;
        } else {
            self.stream.read_to_end(&mut answer.body)?;
        }
        Ok(())
    }

    /// One chunk; `None` for the last one, whose trailers follow.
    pub fn chunk(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let size = self.line()?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| bad(&format!("chunk size {size:?}")))?;
        if size == 0 {
            return Ok(None);
        }
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk)?;
        if self.line()?.is_empty() { Ok(Some(chunk)) } else { Err(bad("chunk end")) }
    }

    /// Field lines to the empty one.
    pub fn fields(&mut self) -> std::io::Result<FieldLines> {
        let mut fields = Vec::new();
        loop {
            let line = self.raw_line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let colon =
                line.iter().position(|byte| *byte == b':').ok_or_else(|| bad("field without colon"))?;
            let name = String::from_utf8(line[..colon].to_vec()).map_err(|_| bad("field name"))?;
            fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
    }

    fn line(&mut self) -> std::io::Result<String> {
        String::from_utf8(self.raw_line()?).map_err(|_| bad("line"))
    }

    fn raw_line(&mut self) -> std::io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(line.to_vec()),
            None if line.is_empty() => Err(std::io::Error::new(ErrorKind::UnexpectedEof, "closed")),
            None => Err(bad(&format!("line without CR LF: {:?}", String::from_utf8_lossy(&line)))),
        }
    }

    /// Reads `buffer` full.
    pub fn read_exact(&mut self, buffer: &mut [u8]) -> std::io::Result<()> {
        self.stream.read_exact(buffer)
    }

    /// Everything up to the close, however it closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the connection stays open; so far: {:?}", String::from_utf8_lossy(&rest))
            }
            // A reset closes too.
            _ => rest,
        }
    }
}

/// One call of an API over a connection of its own.
#[cfg(feature = "kubernetes")]
pub fn try_call(
    address: SocketAddr,
    (method, target): (&str, &str),
    fields: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answer> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    let mut connection = Connection::try_open(address)?;
    connection.try_send(head.as_bytes())?;
    connection.try_answer(false)
}

fn bad(what: &str) -> std::io::Error {
    std::io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

/// One GET over a connection of its own.
pub fn get(address: SocketAddr, host: &str, target: &str) -> Answer {
    Connection::open(address).get(host, target).unwrap_or_else(|error| panic!("GET {host}{target}: {error}"))
}
