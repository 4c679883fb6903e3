//! A server that notes every byte it gets, and answers what the test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What came over one connection as one message.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The request line.
    pub line: String,
    /// In order, with the case they came in.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Whether it ended as its framing says.
    pub complete: bool,
}

impl Seen {
    /// The values of a field, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        let same = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        same.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
}

/// Answers one request over a connection; `false` closes it.
pub type Script = dyn Fn(&Seen, &mut TcpStream) -> bool + Send + Sync;

#[derive(Default)]
struct Notes {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    ended: AtomicBool,
}

/// The server. Dropping it ends it.
pub struct Recorder {
    address: SocketAddr,
    notes: Arc<Notes>,
}

impl Recorder {
    /// Answers every request with 200 and the text `seen`.
    pub fn start() -> Self {
        Self::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nseen")
    }

    /// Answers every request with the same bytes, and closes only if they say so.
    pub fn answering(bytes: &'static [u8]) -> Self {
        let closes = bytes.windows(17).any(|window| window.eq_ignore_ascii_case(b"connection: close"));
        Self::with(move |_, stream| stream.write_all(bytes).is_ok() && !closes)
    }

    /// Calls the script once the request is whole.
    pub fn with(script: impl Fn(&Seen, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        Self::run(Arc::new(script), false)
    }

    /// Calls the script once the request's head is there, before its body is read.
    pub fn early(script: impl Fn(&Seen, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        Self::run(Arc::new(script), true)
    }

    fn run(script: Arc<Script>, early: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let notes = Arc::new(Notes::default());
        let for_thread = notes.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if for_thread.ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (notes, script) = (for_thread.clone(), script.clone());
                std::thread::spawn(move || serve(stream, &notes, &*script, early));
            }
        });
        Self { address, notes }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything so far, in the order in which it ended.
    pub fn seen(&self) -> Vec<Seen> {
        self.lock().clone()
    }

    /// Everything so far, and forgets it.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.lock())
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.notes.open.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.notes.connections.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.notes.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.notes.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn serve(stream: TcpStream, notes: &Notes, script: &Script, early: bool) {
    notes.connections.fetch_add(1, Ordering::SeqCst);
    notes.open.fetch_add(1, Ordering::SeqCst);
    // A test that forgets a connection does not keep its thread for ever.
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    let _ = stream.set_nodelay(true);
    let mut answers = stream.try_clone().unwrap();
    let mut input = BufReader::new(stream);
    loop {
        let mut seen = Seen::default();
        let head = read_head(&mut input, &mut seen);
        let mut goes_on = true;
        if head.is_ok() && early {
            goes_on = script(&seen, &mut answers);
        }
        seen.complete = head.is_ok() && goes_on && read_body(&mut input, &mut seen).is_ok();
        let whole = seen.complete;
        if !seen.line.is_empty() {
            notes.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
        }
        if !whole || (!early && !script(&seen, &mut answers)) {
            break;
        }
    }
    let _ = input.get_ref().shutdown(std::net::Shutdown::Both);
    notes.open.fetch_sub(1, Ordering::SeqCst);
}

fn read_head(input: &mut BufReader<TcpStream>, seen: &mut Seen) -> std::io::Result<()> {
    seen.line = String::from_utf8_lossy(&line(input)?).into_owned();
    seen.fields = fields(input)?;
    Ok(())
}

fn read_body(input: &mut BufReader<TcpStream>, seen: &mut Seen) -> std::io::Result<()> {
    if seen.all("transfer-encoding") == ["chunked"] {
        loop {
            let size = String::from_utf8(line(input)?).map_err(|_| bad())?;
            let size = usize::from_str_radix(&size, 16).map_err(|_| bad())?;
            if size == 0 {
                break;
            }
            read_into(input, &mut seen.body, size)?;
            if !line(input)?.is_empty() {
                return Err(bad());
            }
        }
        seen.trailers = fields(input)?;
    } else if let [length] = seen.all("content-length").as_slice() {
        let length = length.parse().map_err(|_| bad())?;
        read_into(input, &mut seen.body, length)?;
    }
    Ok(())
}

/// What came before the end counts too.
fn read_into(input: &mut BufReader<TcpStream>, body: &mut Vec<u8>, length: usize) -> std::io::Result<()> {
    let read = input.by_ref().take(length as u64).read_to_end(body)?;
    if read == length { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

fn fields(input: &mut BufReader<TcpStream>) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(input)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or_else(bad)?;
        let name = String::from_utf8_lossy(&line[..colon]).into_owned();
        fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
    }
}

/// A server is strict too: a line that does not end in CR LF is an error.
fn line(input: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    line.strip_suffix(b"\r\n").map(<[u8]>::to_vec).ok_or_else(bad)
}

fn bad() -> std::io::Error {
    std::io::ErrorKind::InvalidData.into()
}
