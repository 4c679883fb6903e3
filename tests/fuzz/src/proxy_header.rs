//! The PROXY header has one verdict however it is cut, the verdict of a reader that goes by the words of its text.

use flipgate::model::ProxyVersions;
use flipgate::wire::{ProxyHeader, read_proxy_header};
use std::net::{IpAddr, SocketAddr};

pub fn check(raw: &[u8]) {
    for versions in [ProxyVersions::V1, ProxyVersions::V2, ProxyVersions::Either] {
        let whole = read_proxy_header(raw, versions);
        if let Ok(Some(header)) = whole {
            assert_eq!(Some(header), naive(raw, versions), "{}", raw.escape_ascii());
            // What follows decides nothing.
            assert_eq!(read_proxy_header(&raw[..header.length], versions), whole);
        } else if let Some(header) = naive(raw, versions) {
            panic!("{header:?} was refused: {}", raw.escape_ascii());
        }
        for length in 0..raw.len().min(300) {
            match (&whole, read_proxy_header(&raw[..length], versions)) {
                (_, Ok(None)) => {}
                (Ok(Some(header)), cut) => assert!(length >= header.length && cut == whole),
                (_, cut) => assert_eq!(cut, whole),
            }
        }
    }
}

fn naive(raw: &[u8], versions: ProxyVersions) -> Option<ProxyHeader> {
    if versions != ProxyVersions::V2 && raw.starts_with(b"PROXY ") {
        let end = raw.windows(2).position(|two| two == b"\r\n")?;
        let line = std::str::from_utf8(&raw[..end]).ok().filter(|line| !line.contains('\n'))?;
        let source = if line.split(' ').nth(1) == Some("UNKNOWN") { None } else { Some(line_source(line)?) };
        return (end + 2 <= 107).then_some(ProxyHeader { length: end + 2, source });
    }
    if versions == ProxyVersions::V1 || !raw.starts_with(b"\r\n\r\n\0\r\nQUIT\n") || raw.len() < 16 {
        return None;
    }
    let length = 16 + usize::from(raw[14]) * 256 + usize::from(raw[15]);
    let addresses = match raw[13] {
        0x00 => 0,
        0x11 | 0x12 => 4,
        0x21 | 0x22 => 16,
        0x31 | 0x32 => 106,
        _ => return None,
    };
    let needed = 16 + 2 * addresses + if addresses == 4 || addresses == 16 { 4 } else { 0 };
    let needed = if addresses == 106 { 16 + 216 } else { needed };
    let is_local = raw[12] == 0x20;
    if length > 16 + 4096 || raw.len() < length || !(is_local || raw[12] == 0x21 && length >= needed) {
        return None;
    }
    let ip: Option<IpAddr> = match raw[13] {
        _ if is_local => None,
        0x11 => <[u8; 4]>::try_from(&raw[16..20]).ok().map(IpAddr::from),
        0x21 => <[u8; 16]>::try_from(&raw[16..32]).ok().map(IpAddr::from),
        _ => None,
    };
    let port = |at: usize| u16::from_be_bytes([raw[at], raw[at + 1]]);
    let source = ip.map(|ip| SocketAddr::new(ip, port(16 + 2 * addresses)));
    Some(ProxyHeader { length, source })
}

/// The source of a line that names one and is written as it would be written again.
fn line_source(line: &str) -> Option<SocketAddr> {
    let words: Vec<&str> = line.split(' ').collect();
    let [_, family, source, destination, source_port, destination_port] = words[..] else { return None };
    let (source, destination): (IpAddr, IpAddr) = (source.parse().ok()?, destination.parse().ok()?);
    let is_v4 = match family {
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| port.to_string() == text);
    let _ = port(destination_port)?;
    (source.is_ipv4() == is_v4 && destination.is_ipv4() == is_v4)
        .then_some(SocketAddr::new(source, port(source_port)?))
}
