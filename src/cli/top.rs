//! `flipgate top`: what frontends and servers of one proxy do right now.

use super::api::{ApiClient, escape};
use super::context::{Context, Exit, Output, harmless};
use super::flags::TargetFlags;
use super::put::parse_duration;
use super::table::table;
use anyhow::bail;
use http::StatusCode;
use nix::sys::termios::{self, LocalFlags, SetArg, SpecialCharacterIndices, Termios};
use serde_json::Value;
use std::io::{IsTerminal, Read, Write};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// How often keys are looked for.
const KEYS: Duration = Duration::from_millis(50);

/// The alternate screen without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the upper left corner; from there on, line by line, what stood there is overwritten.
const HOME: &str = "\x1b[H";
const END_OF_LINE: &str = "\x1b[K\n";
const REST_OF_SCREEN: &str = "\x1b[J";

/// Show live what frontends and servers of a proxy do: requests, errors, latencies
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate top                         in a terminal: anew each second, until q
  flipgate top --backend shop-green    one backend: which of its servers stand out?
  flipgate top --once --output json    once, for programs

Counts are of the last 10 seconds, latencies of the last minute. The worst come first: network errors, then answers \
of 500 and above, then load. Servers are timed to their answer's head, frontends to its last byte.")]
pub(super) struct Top {
    /// Only this backend, its servers and the frontends that lead to it, through aliases too
    #[arg(long, value_name = "BACKEND")]
    backend: Option<String>,
    /// At most so many frontends and so many servers; 0 is all
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    /// Time between two looks
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1s")]
    refresh: Duration,
    /// Print once and end, as where standard output is no terminal
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    target: TargetFlags,
}

impl Top {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let client = self.target.admin(context)?;
        let mut path = format!("/v3/top?limit={}", self.limit);
        if let Some(backend) = &self.backend {
            path.push_str(&format!("&backend={}", escape(backend)));
        }
        let live = !self.once && context.output == Output::Text && std::io::stdout().is_terminal();
        if live {
            return watch(&client, &path, self.refresh.max(Duration::from_millis(100))).await;
        }
        let top = look(&client, &path).await?;
        context.answer(screen(&top), || top.clone())?;
        Ok(Exit::Done)
    }
}

async fn look(client: &ApiClient, path: &str) -> anyhow::Result<Value> {
    let answer = client.get(path).await?;
    match answer.status {
        StatusCode::OK => Ok(answer.body),
        _ => bail!("{}: {}", client.url(), answer.message()),
    }
}

/// Draws until `q`, an interrupt, or a signal to end.
async fn watch(client: &ApiClient, path: &str, refresh: Duration) -> anyhow::Result<Exit> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let _terminal = Terminal::enter()?;
    loop {
        let next = Instant::now() + refresh;
        let drawn = tokio::select! {
            drawn = look(client, path) => drawn,
            _ = interrupt.recv() => return Ok(Exit::Done),
            _ = terminate.recv() => return Ok(Exit::Done),
        };
        let text = match drawn {
            Ok(top) => format!("{}, every {refresh:?}; q ends\n\n{}", client.url(), screen(&top)),
            // It may come back.
            Err(error) => format!("{error:#}; q ends"),
        };
        let mut out = std::io::stdout().lock();
        write!(out, "{HOME}{}{END_OF_LINE}{REST_OF_SCREEN}", harmless(&text).replace('\n', END_OF_LINE))?;
        out.flush()?;
        drop(out);
        while Instant::now() < next {
            if is_told_to_end() {
                return Ok(Exit::Done);
            }
            tokio::select! {
                () = tokio::time::sleep(KEYS) => {}
                _ = interrupt.recv() => return Ok(Exit::Done),
                _ = terminate.recv() => return Ok(Exit::Done),
            }
        }
    }
}

/// Whether `q` or the end of input was typed. Reads what is there, and does not wait.
fn is_told_to_end() -> bool {
    let mut keys = [0; 64];
    let read = if std::io::stdin().is_terminal() { std::io::stdin().lock().read(&mut keys) } else { Ok(0) };
    let count = read.unwrap_or_default();
    keys.iter().take(count).any(|key| matches!(key, b'q' | b'Q' | 4))
}

/// The terminal while it is drawn on; as it was when dropped.
struct Terminal(Option<Termios>);

impl Terminal {
    fn enter() -> anyhow::Result<Self> {
        let before = termios::tcgetattr(std::io::stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
            for (index, value) in [(SpecialCharacterIndices::VMIN, 0), (SpecialCharacterIndices::VTIME, 0)] {
                if let Some(place) = raw.control_chars.get_mut(index as usize) {
                    *place = value;
                }
            }
            termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw)?;
        }
        let terminal = Self(before);
        let mut out = std::io::stdout();
        write!(out, "{ENTER}")?;
        out.flush()?;
        Ok(terminal)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut out = std::io::stdout();
        // There is nowhere left to say that this failed.
        drop(write!(out, "{LEAVE}").and_then(|()| out.flush()));
        if let Some(before) = &self.0 {
            let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

/// Both tables.
fn screen(top: &Value) -> String {
    let list = |name: &str| top.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let frontends = list("frontends").iter().map(frontend).collect::<Vec<_>>();
    let servers = list("servers").iter().map(server).collect::<Vec<_>>();
    if frontends.is_empty() && servers.is_empty() {
        return "no requests yet".to_owned();
    }
    let head = [
        "FRONTEND",
        "ROUTE",
        "BACKEND",
        "IN FLIGHT",
        "REQ/S",
        "50%",
        "95%",
        "99%",
        "99.9%",
        "NET ERR",
        "STATUS",
    ];
    let above = table(head, frontends);
    let head = [
        "SERVER",
        "URL",
        "STANDING",
        "IN FLIGHT",
        "REQ/S",
        "50%",
        "95%",
        "99%",
        "99.9%",
        "NET ERR",
        "STATUS",
        "STANDS OUT",
    ];
    format!("{above}\n\n{}", table(head, servers))
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn number(value: &Value, name: &str) -> f64 {
    value.get(name).and_then(Value::as_f64).unwrap_or_default()
}

fn frontend(one: &Value) -> [String; 11] {
    let [rate, p50, p95, p99, p999, errors, codes] = stats(one);
    let in_flight = number(one, "inFlight").to_string();
    let (id, route, backend) = (text(one, "id"), text(one, "route"), text(one, "backend"));
    [id, route, backend, in_flight, rate, p50, p95, p99, p999, errors, codes]
}

fn server(one: &Value) -> [String; 12] {
    let [rate, p50, p95, p99, p999, errors, codes] = stats(one);
    let name = format!("{}/{}", text(one, "backend"), text(one, "id"));
    let out = one.get("standsOut").and_then(Value::as_array);
    let out: Vec<_> = out.into_iter().flatten().filter_map(Value::as_str).collect();
    let in_flight = number(one, "inFlight").to_string();
    let standing = text(one, "standing");
    [name, text(one, "url"), standing, in_flight, rate, p50, p95, p99, p999, errors, codes, out.join(", ")]
}

fn stats(one: &Value) -> [String; 7] {
    let total = number(one, "requests");
    let share = |count: f64| if total > 0.0 { count * 100.0 / total } else { 0.0 };
    let latency = |name: &str| {
        let micros = one.get("latencyMicros").map_or(0.0, |latencies| number(latencies, name));
        short_time(micros)
    };
    let codes = one.get("codes").and_then(Value::as_object);
    let codes = codes.into_iter().flatten();
    let codes =
        codes.map(|(code, count)| format!("{code}: {:.1}%", share(count.as_f64().unwrap_or_default())));
    [
        format!("{:.1}", number(one, "perSecond")),
        latency("p50"),
        latency("p95"),
        latency("p99"),
        latency("p999"),
        format!("{:.2}%", share(number(one, "networkErrors"))),
        codes.collect::<Vec<_>>().join(" "),
    ]
}

fn short_time(micros: f64) -> String {
    match micros {
        ..1_000.0 => format!("{micros:.0}us"),
        ..10_000.0 => format!("{:.1}ms", micros / 1e3),
        ..1_000_000.0 => format!("{:.0}ms", micros / 1e3),
        _ => format!("{:.1}s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_screen_shows_both_tables() {
        let stats = json!({ "requests": 200, "perSecond": 20.0, "networkErrors": 1, "codes": { "200": 150, "503": 50 },
            "latencyMicros": { "p50": 900, "p75": 950, "p95": 1500, "p99": 25_000, "p999": 2_500_000 } });
        let with = |head: Value| {
            let mut all = head.as_object().unwrap().clone();
            all.extend(stats.as_object().unwrap().clone());
            Value::from(all)
        };
        let top = json!({
            "frontends": [with(json!({ "id": "f", "route": "Path(`/`)", "backend": "b", "inFlight": 2 }))],
            "servers": [with(json!({ "backend": "b", "id": "s", "url": "http://a:1", "standing": "well", "inFlight": 3,
                "standsOut": ["latency", "appErrors"] }))],
        });
        assert_eq!(
            screen(&top),
            "FRONTEND  ROUTE      BACKEND  IN FLIGHT  REQ/S  50%    95%    99%   99.9%  NET ERR  STATUS\n\
             f         Path(`/`)  b        2          20.0   900us  1.5ms  25ms  2.5s   0.50%    200: 75.0% 503: 25.0%\n\
             \n\
             SERVER  URL         STANDING  IN FLIGHT  REQ/S  50%    95%    99%   99.9%  NET ERR  STATUS                 STANDS OUT\n\
             b/s     http://a:1  well      3          20.0   900us  1.5ms  25ms  2.5s   0.50%    200: 75.0% 503: 25.0%  latency, appErrors"
        );
        assert_eq!(screen(&json!({ "frontends": [], "servers": [] })), "no requests yet");
    }

    #[test]
    fn times_are_short() {
        for (micros, expected) in
            [(0.0, "0us"), (999.0, "999us"), (1_000.0, "1.0ms"), (10_000.0, "10ms"), (1_000_000.0, "1.0s")]
        {
            assert_eq!(short_time(micros), expected);
        }
    }
}
