//! One line of the access log: its fields, and their text.
//!
//! A line is written on the request path, so its numbers, its time and its escapes are written by hand: `fmt` would
//! cost ten times as much.

use super::reason::Reason;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// One request that ended, as the access log tells it. Absent values are `null` in JSON and `-` in text.
#[derive(Debug, Clone, Copy)]
pub struct AccessRecord<'a> {
    /// When the request's first byte came, in microseconds since 1970.
    pub time_unix_micros: u64,
    /// The request's id.
    pub id: &'a str,
    /// The client's address; none over a Unix socket.
    pub client: Option<IpAddr>,
    /// The listener's id.
    pub listener: &'a str,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'a str,
    /// The TLS version, if any.
    pub tls: Option<&'a str>,
    /// As the client wrote it; empty when the request could not be read.
    pub method: &'a str,
    /// As routed: lower case, without port.
    pub host: &'a str,
    /// Without the query, which may carry secrets.
    pub path: &'a str,
    /// Sent downstream; 0 when nothing was.
    pub status: u16,
    /// Why the proxy answered by itself or ended the request.
    pub reason: Option<Reason>,
    /// The frontend that matched.
    pub frontend: Option<&'a str>,
    /// The real backend, never an alias.
    pub backend: Option<&'a str>,
    /// The server of the last attempt.
    pub server: Option<&'a str>,
    /// Attempts at servers.
    pub attempts: u32,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// From the request's first byte to the answer's last, in microseconds.
    pub duration_us: u64,
    /// From the last attempt's start to its answer's head, in microseconds.
    pub upstream_us: Option<u64>,
    /// The table that the request saw.
    pub revision: u64,
    /// What exactly was the reason: in what way the request was malformed, or which limit was reached. Stands in the
    /// line only where there is one.
    pub detail: Option<&'a str>,
}

/// Writes records; keeps the text of the current second.
#[derive(Debug, Default)]
pub(super) struct LineWriter {
    clock: Clock,
}

impl LineWriter {
    /// Appends one JSON object and a line feed.
    pub(super) fn json(&mut self, out: &mut Vec<u8>, record: &AccessRecord<'_>) {
        out.reserve(512);
        out.extend_from_slice(b"{\"time\":\"");
        self.clock.write(out, record.time_unix_micros);
        out.extend_from_slice(b"\",\"id\":\"");
        escaped(out, record.id, false);
        match record.client {
            Some(client) => {
                out.extend_from_slice(b"\",\"client\":\"");
                address(out, client);
                out.extend_from_slice(b"\",\"listener\":\"");
            }
            None => out.extend_from_slice(b"\",\"client\":null,\"listener\":\""),
        }
        escaped(out, record.listener, false);
        out.extend_from_slice(b"\",\"protocol\":\"");
        escaped(out, record.protocol, false);
        out.extend_from_slice(b"\",\"tls\":");
        quoted_or_null(out, record.tls);
        out.extend_from_slice(b",\"method\":\"");
        escaped(out, record.method, false);
        out.extend_from_slice(b"\",\"host\":\"");
        escaped(out, record.host, false);
        out.extend_from_slice(b"\",\"path\":\"");
        escaped(out, record.path, false);
        out.extend_from_slice(b"\",\"status\":");
        number(out, u64::from(record.status));
        out.extend_from_slice(b",\"reason\":");
        quoted_or_null(out, record.reason.map(Reason::as_str));
        out.extend_from_slice(b",\"frontend\":");
        quoted_or_null(out, record.frontend);
        out.extend_from_slice(b",\"backend\":");
        quoted_or_null(out, record.backend);
        out.extend_from_slice(b",\"server\":");
        quoted_or_null(out, record.server);
        out.extend_from_slice(b",\"attempts\":");
        number(out, u64::from(record.attempts));
        out.extend_from_slice(b",\"bytes_in\":");
        number(out, record.bytes_in);
        out.extend_from_slice(b",\"bytes_out\":");
        number(out, record.bytes_out);
        out.extend_from_slice(b",\"duration_us\":");
        number(out, record.duration_us);
        out.extend_from_slice(b",\"upstream_us\":");
        match record.upstream_us {
            Some(micros) => number(out, micros),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"revision\":");
        number(out, record.revision);
        if let Some(detail) = record.detail {
            out.extend_from_slice(b",\"detail\":\"");
            escaped(out, detail, false);
            out.push(b'"');
        }
        out.extend_from_slice(b"}\n");
    }

    /// Appends one line for people: the fields of JSON, bare where their order tells what they are.
    pub(super) fn text(&mut self, out: &mut Vec<u8>, record: &AccessRecord<'_>) {
        out.reserve(512);
        self.clock.write(out, record.time_unix_micros);
        word(out, record.id);
        match record.client {
            Some(client) => {
                out.push(b' ');
                address(out, client);
            }
            None => out.extend_from_slice(b" -"),
        }
        word(out, record.listener);
        word(out, record.protocol);
        word(out, record.tls.unwrap_or_default());
        word(out, record.method);
        word(out, record.host);
        word(out, record.path);
        out.push(b' ');
        number(out, u64::from(record.status));
        word(out, record.reason.map(Reason::as_str).unwrap_or_default());
        word(out, record.frontend.unwrap_or_default());
        word(out, record.backend.unwrap_or_default());
        word(out, record.server.unwrap_or_default());
        out.extend_from_slice(b" attempts=");
        number(out, u64::from(record.attempts));
        out.extend_from_slice(b" in=");
        number(out, record.bytes_in);
        out.extend_from_slice(b" out=");
        number(out, record.bytes_out);
        out.extend_from_slice(b" duration=");
        milliseconds(out, record.duration_us);
        if let Some(micros) = record.upstream_us {
            out.extend_from_slice(b" upstream=");
            milliseconds(out, micros);
        }
        out.extend_from_slice(b" revision=");
        number(out, record.revision);
        if let Some(detail) = record.detail {
            out.extend_from_slice(b" detail=");
            escaped(out, detail, true);
        }
        out.push(b'\n');
    }
}

/// RFC 3339 in UTC with microseconds; the part up to the second is kept from line to line.
#[derive(Debug)]
struct Clock {
    second: u64,
    /// `2026-11-02T10:00:00.`
    text: [u8; 20],
}

impl Default for Clock {
    fn default() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00." }
    }
}

impl Clock {
    fn write(&mut self, out: &mut Vec<u8>, unix_micros: u64) {
        let (second, micros) = (unix_micros / 1_000_000, unix_micros % 1_000_000);
        if second != self.second {
            self.second = second;
            self.text = second_text(second);
        }
        out.extend_from_slice(&self.text);
        let mut fraction = [0; 7];
        digits(&mut fraction, micros * 10);
        if let Some(last) = fraction.last_mut() {
            *last = b'Z';
        }
        out.extend_from_slice(&fraction);
    }
}

/// A time as RFC 3339 in UTC, to the second: `2026-11-02T10:00:00Z`. What lies before 1970 is 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut text = String::from_utf8_lossy(&second_text(seconds)).into_owned();
    text.pop();
    text.push('Z');
    text
}

/// Seconds since 1970 as `2026-11-02T10:00:00.`; years beyond 9999 lose their first digits.
fn second_text(unix_seconds: u64) -> [u8; 20] {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years, so that a leap day ends its year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let mut text = *b"0000-00-00T00:00:00.";
    let parts = [
        (0..4, year),
        (5..7, month),
        (8..10, day_of_month),
        (11..13, second / 3_600),
        (14..16, second / 60 % 60),
    ];
    for (range, value) in parts.into_iter().chain([(17..19, second % 60)]) {
        if let Some(place) = text.get_mut(range) {
            digits(place, value);
        }
    }
    text
}

/// Fills `place` with the last digits of `value`.
fn digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// `1.234ms`
fn milliseconds(out: &mut Vec<u8>, micros: u64) {
    number(out, micros / 1_000);
    let mut fraction = *b".000";
    if let Some(place) = fraction.get_mut(1..) {
        digits(place, micros % 1_000);
    }
    out.extend_from_slice(&fraction);
    out.extend_from_slice(b"ms");
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, rest @ ..] = v4.octets();
            number(out, u64::from(first));
            for octet in rest {
                out.push(b'.');
                number(out, u64::from(octet));
            }
        }
        IpAddr::V6(v6) => {
            use std::io::Write;
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{v6}");
        }
    }
}

fn quoted_or_null(out: &mut Vec<u8>, text: Option<&str>) {
    let Some(text) = text else { return out.extend_from_slice(b"null") };
    out.push(b'"');
    escaped(out, text, false);
    out.push(b'"');
}

/// A space and a word, `-` when empty.
fn word(out: &mut Vec<u8>, text: &str) {
    out.push(b' ');
    match text {
        "" => out.push(b'-'),
        text => escaped(out, text, true),
    }
}

/// Whether bytes may have to be escaped: what JSON forbids, and what a terminal would obey. 0xC2 leads the second set
/// of control characters, U+0080 to U+009F, and much that is harmless. Looks at every byte: without an early end the
/// compiler compares many at a time.
fn may_need_escape(bytes: &[u8], word: bool) -> bool {
    let lowest = if word { 0x21 } else { 0x20 };
    bytes.iter().fold(false, |found, byte| {
        found | (*byte < lowest) | (*byte == 0x7f) | (*byte == 0xc2) | (*byte == b'"') | (*byte == b'\\')
    })
}

/// Appends text with JSON's escapes; within a `word`, spaces are escaped too.
fn escaped(out: &mut Vec<u8>, text: &str, word: bool) {
    if !may_need_escape(text.as_bytes(), word) {
        return out.extend_from_slice(text.as_bytes());
    }
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            ' ' if word => out.extend_from_slice(b"\\u0020"),
            c if c.is_control() => {
                out.extend_from_slice(b"\\u00");
                for nibble in [u32::from(c) >> 4 & 15, u32::from(c) & 15] {
                    out.push(char::from_digit(nibble, 16).map_or(b'0', |digit| digit as u8));
                }
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn sample() -> AccessRecord<'static> {
        AccessRecord {
            time_unix_micros: 1_793_613_600_123_456,
            id: "01J9Z5Q8W3K7",
            client: Some([10, 0, 0, 1].into()),
            listener: "https",
            protocol: "HTTP/1.1",
            tls: Some("TLSv1.3"),
            method: "GET",
            host: "shop.example.com",
            path: "/articles/42",
            status: 200,
            reason: None,
            frontend: Some("shop"),
            backend: Some("shop-blue"),
            server: Some("a"),
            attempts: 1,
            bytes_in: 0,
            bytes_out: 5120,
            duration_us: 1234,
            upstream_us: Some(987),
            revision: 42,
            detail: None,
        }
    }

    fn json(record: &AccessRecord<'_>) -> String {
        let mut out = Vec::new();
        LineWriter::default().json(&mut out, record);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_has_the_fields_of_the_contract_in_order() {
        let line = json(&sample());
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            names.join(" "),
            "time id client listener protocol tls method host path status reason frontend backend server attempts \
             bytes_in bytes_out duration_us upstream_us revision"
        );
        assert_eq!(value["time"], "2026-11-02T10:00:00.123456Z");
        assert_eq!(value["client"], "10.0.0.1");
        assert_eq!(value["status"], 200);
        assert_eq!(value["reason"], serde_json::Value::Null);
        assert_eq!(value["revision"], 42);
        assert!(line.ends_with("}\n"));
    }

    #[test]
    fn absent_values_are_null_or_a_dash() {
        let record = AccessRecord {
            client: None,
            tls: None,
            status: 503,
            reason: Some(Reason::NoBackend),
            backend: None,
            server: None,
            upstream_us: None,
            detail: Some("memory"),
            ..sample()
        };
        let value: serde_json::Value = serde_json::from_str(&json(&record)).unwrap();
        for name in ["client", "tls", "backend", "server", "upstream_us"] {
            assert!(value[name].is_null(), "{name}");
        }
        assert_eq!(value["reason"], "no_backend");
        assert_eq!(value["detail"], "memory");
        let mut out = Vec::new();
        LineWriter::default().text(&mut out, &record);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "2026-11-02T10:00:00.123456Z 01J9Z5Q8W3K7 - https HTTP/1.1 - GET shop.example.com /articles/42 503 \
             no_backend shop - - attempts=1 in=0 out=5120 duration=1.234ms revision=42 detail=memory\n"
        );
    }

    #[test]
    fn hostile_text_stays_in_its_field() {
        for path in
            ["/\"quoted\"\\", "/\n{\"time\":1}", "/\u{1b}[31m", "/\u{9b}31m", "/é\u{7f}", "/ a b", "/\u{c2}x"]
        {
            let record = AccessRecord { path, ..sample() };
            let line = json(&record);
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["path"], path);
            assert!(!line.trim_end().contains(char::is_control), "{line}");
            let mut out = Vec::new();
            LineWriter::default().text(&mut out, &record);
            let text = String::from_utf8(out).unwrap();
            assert!(!text.trim_end().contains(char::is_control), "{text}");
            assert_eq!(text.split(' ').count(), 20, "{text}");
        }
    }

    #[test]
    fn times_are_calendar_times() {
        let cases = [
            (0, "1970-01-01T00:00:00."),
            (951_782_399, "2000-02-28T23:59:59."),
            (951_782_400, "2000-02-29T00:00:00."),
            (951_868_800, "2000-03-01T00:00:00."),
            (1_709_164_800, "2024-02-29T00:00:00."),
            (1_735_689_599, "2024-12-31T23:59:59."),
            (4_107_542_400, "2100-03-01T00:00:00."),
        ];
        for (second, text) in cases {
            assert_eq!(String::from_utf8_lossy(&second_text(second)), text);
        }
        let time = UNIX_EPOCH + std::time::Duration::from_millis(951_782_400_999);
        assert_eq!(rfc3339(time), "2000-02-29T00:00:00Z");
    }

    #[test]
    fn addresses_are_canonical() {
        let cases = [
            ("192.168.100.200", "192.168.100.200"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("2001:db8::1", "2001:db8::1"),
        ];
        for (given, text) in cases {
            let mut out = Vec::new();
            address(&mut out, given.parse().unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
