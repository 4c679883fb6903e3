//! The header of the PROXY protocol, versions 1 and 2 (haproxy.org, `proxy-protocol.txt`): pure over bytes.
//!
//! What is taken is narrower than the text allows: numbers as they are written canonically, one space between words, and
//! no more than [`HEADER_BYTES_MAX`]. The pieces that follow the addresses of version 2 are passed over, unread.

use crate::model::ProxyVersions;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1 with its line end, in bytes.
pub const V1_BYTES_MAX: usize = 107;

/// Longest header that is taken, in bytes.
pub const HEADER_BYTES_MAX: usize = V2_FIXED + 4096;

/// What a header of version 2 begins with.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before the addresses.
const V2_FIXED: usize = 16;
/// What a header of version 1 begins with.
const V1_SIGNATURE: &[u8; 6] = b"PROXY ";

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// How many bytes it has.
    pub length: usize,
    /// The client's address; `None`: the sender speaks for itself, or does not know, and its own address counts.
    pub source: Option<SocketAddr>,
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProxyHeader {
    /// They begin as no version that is taken does.
    #[error("the connection does not begin with a PROXY header of a version that is taken here")]
    Signature,
    /// The line of version 1 is malformed.
    #[error("the PROXY line is malformed")]
    Line,
    /// The header of version 2 is malformed.
    #[error("the PROXY header of version 2 is malformed")]
    Binary,
    /// Version 2 announces more than [`HEADER_BYTES_MAX`].
    #[error("the PROXY header of version 2 is longer than {HEADER_BYTES_MAX} bytes")]
    Long,
}

/// Reads the header at the beginning of `bytes`. `None`: all of `bytes` belongs to it, and more must come.
///
/// # Errors
/// No header begins so.
pub fn read_proxy_header(
    bytes: &[u8],
    versions: ProxyVersions,
) -> Result<Option<ProxyHeader>, InvalidProxyHeader> {
    if versions != ProxyVersions::V2 && begins(bytes, V1_SIGNATURE) {
        return read_line(bytes);
    }
    if versions != ProxyVersions::V1 && begins(bytes, V2_SIGNATURE) {
        return read_binary(bytes);
    }
    Err(InvalidProxyHeader::Signature)
}

/// Whether `bytes` begins with `signature`, as far as it goes.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

fn read_line(bytes: &[u8]) -> Result<Option<ProxyHeader>, InvalidProxyHeader> {
    let searched = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', searched) else {
        return if bytes.len() < V1_BYTES_MAX { Ok(None) } else { Err(InvalidProxyHeader::Line) };
    };
    let line =
        searched.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(InvalidProxyHeader::Line)?;
    let line = std::str::from_utf8(line).map_err(|_| InvalidProxyHeader::Line)?;
    let source = addresses(line).ok_or(InvalidProxyHeader::Line)?;
    Ok(Some(ProxyHeader { length: end + 1, source }))
}

/// The source of a line; the outer `None`: it is malformed.
fn addresses(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ');
    words.next().filter(|word| *word == "PROXY")?;
    let family = words.next()?;
    if family == "UNKNOWN" {
        // Whatever follows is not to be looked at.
        return Some(None);
    }
    let [source, destination, source_port, destination_port] = [(); 4].map(|()| words.next());
    if words.next().is_some() {
        return None;
    }
    let ip = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse().ok().map(IpAddr::V4),
            "TCP6" => text.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, _) = (ip(source?)?, ip(destination?)?);
    let (port, _) = (port(source_port?)?, port(destination_port?)?);
    Some(Some(SocketAddr::new(source, port)))
}

/// `u16::from_str` takes a sign and leading zeros.
fn port(text: &str) -> Option<u16> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| canonical)
}

fn read_binary(bytes: &[u8]) -> Result<Option<ProxyHeader>, InvalidProxyHeader> {
    use InvalidProxyHeader::{Binary, Long};
    let Some(([_, _, _, _, _, _, _, _, _, _, _, _, command, family, high, low], rest)) =
        bytes.split_first_chunk::<V2_FIXED>()
    else {
        return Ok(None);
    };
    // Lengths of both addresses and ports; those of a Unix socket are paths.
    let needed = match family {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(Binary),
    };
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Binary),
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if V2_FIXED + length > HEADER_BYTES_MAX {
        return Err(Long);
    }
    if length < needed && !is_local {
        return Err(Binary);
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    // Only the addresses of a stream are those of a client of ours.
    let source = match family {
        _ if is_local => None,
        0x11 => body.split_first_chunk::<4>().and_then(|(ip, rest)| {
            let (_, rest) = rest.split_first_chunk::<4>()?;
            let (port, _) = rest.split_first_chunk::<2>()?;
            Some(SocketAddr::from((Ipv4Addr::from(*ip), u16::from_be_bytes(*port))))
        }),
        0x21 => body.split_first_chunk::<16>().and_then(|(ip, rest)| {
            let (_, rest) = rest.split_first_chunk::<16>()?;
            let (port, _) = rest.split_first_chunk::<2>()?;
            Some(SocketAddr::from((Ipv6Addr::from(*ip), u16::from_be_bytes(*port))))
        }),
        _ => None,
    };
    Ok(Some(ProxyHeader { length: V2_FIXED + length, source }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProxyVersions::{Either, V1, V2};

    /// `bytes` with HTTP behind them have this source; each piece of them alone waits for more.
    #[track_caller]
    fn good(bytes: &[u8], versions: ProxyVersions, source: Option<&str>) {
        let mut whole = bytes.to_vec();
        whole.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        let source = source.map(|text| text.parse().unwrap());
        let shown = String::from_utf8_lossy(bytes);
        let expected = ProxyHeader { length: bytes.len(), source };
        assert_eq!(read_proxy_header(&whole, versions), Ok(Some(expected)), "{shown}");
        assert_eq!(read_proxy_header(bytes, versions), Ok(Some(expected)), "{shown}");
        for length in 0..bytes.len() {
            assert_eq!(read_proxy_header(&bytes[..length], versions), Ok(None), "{length} of {shown}");
        }
    }

    #[track_caller]
    fn bad(bytes: &[u8], versions: ProxyVersions, error: InvalidProxyHeader) {
        assert_eq!(read_proxy_header(bytes, versions), Err(error), "{}", String::from_utf8_lossy(bytes));
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, body].concat()
    }

    #[test]
    fn version_1() {
        for versions in [V1, Either] {
            good(b"PROXY TCP4 10.1.2.3 10.0.0.1 4711 443\r\n", versions, Some("10.1.2.3:4711"));
            good(b"PROXY TCP6 2001:db8::7 ::1 65535 0\r\n", versions, Some("[2001:db8::7]:65535"));
            good(b"PROXY UNKNOWN\r\n", versions, None);
            good(b"PROXY UNKNOWN ffff::1 x 1\r\n", versions, None);
        }
        let long = format!("PROXY TCP6 {0} {0} 65535 65535\r\n", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        good(long.as_bytes(), V1, Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"));
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX - 16));
        good(longest.as_bytes(), V1, None);
        let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_BYTES_MAX - 15));
        bad(too_long.as_bytes(), V1, InvalidProxyHeader::Line);
        for line in [
            "PROXY\r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 4711 443\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 4711 443 \r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 4711\r\n",
            "PROXY TCP4  10.1.2.3 10.0.0.1 4711 443\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 04711 443\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 +4711 443\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 4711 65536\r\n",
            "PROXY TCP4 10.1.2.03 10.0.0.1 4711 443\r\n",
            "PROXY TCP4 ::1 10.0.0.1 4711 443\r\n",
            "PROXY TCP6 10.1.2.3 10.0.0.1 4711 443\r\n",
            "PROXY UDP4 10.1.2.3 10.0.0.1 4711 443\r\n",
            "PROXY UNKNOWNX\r\n",
        ] {
            let error =
                if line == "PROXY\r\n" { InvalidProxyHeader::Signature } else { InvalidProxyHeader::Line };
            bad(line.as_bytes(), V1, error);
        }
        for text in ["GET / HTTP/1.1\r\n", "proxy TCP4", "PROXX", "\r\n", "\x16\x03\x01"] {
            bad(text.as_bytes(), V1, InvalidProxyHeader::Signature);
        }
        bad(b"PROXY UNKNOWN\r\n", V2, InvalidProxyHeader::Signature);
    }

    #[test]
    fn version_2() {
        let v4 = [10, 1, 2, 3, 10, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb];
        let mut v6 = [0; 36];
        (v6[0], v6[1], v6[15], v6[33]) = (0x20, 0x01, 7, 80);
        for versions in [V2, Either] {
            good(&v2(0x21, 0x11, &v4), versions, Some("10.1.2.3:4711"));
            good(&v2(0x21, 0x11, &[&v4[..], &[4, 0, 2, 1, 1]].concat()), versions, Some("10.1.2.3:4711"));
            good(&v2(0x21, 0x21, &v6), versions, Some("[2001::7]:80"));
            good(&v2(0x20, 0x00, &[]), versions, None);
            good(&v2(0x20, 0x11, &v4), versions, None);
            good(&v2(0x21, 0x00, &[1, 2, 3]), versions, None);
            good(&v2(0x21, 0x12, &v4), versions, None);
            good(&v2(0x21, 0x31, &[0; 216]), versions, None);
        }
        good(&v2(0x21, 0x11, &[7; 4096]), V2, Some("7.7.7.7:1799"));
        bad(&v2(0x21, 0x11, &[7; 4097]), V2, InvalidProxyHeader::Long);
        bad(&v2(0x21, 0x11, &v4[..11]), V2, InvalidProxyHeader::Binary);
        bad(&v2(0x21, 0x21, &v4), V2, InvalidProxyHeader::Binary);
        bad(&v2(0x22, 0x11, &v4), V2, InvalidProxyHeader::Binary);
        bad(&v2(0x11, 0x11, &v4), V2, InvalidProxyHeader::Binary);
        bad(&v2(0x21, 0x13, &v4), V2, InvalidProxyHeader::Binary);
        bad(&v2(0x21, 0x41, &v4), V2, InvalidProxyHeader::Binary);
        bad(b"\r\n\r\nGET", V2, InvalidProxyHeader::Signature);
        bad(&v2(0x21, 0x11, &v4), V1, InvalidProxyHeader::Signature);
    }
    proptest::proptest! {
        /// What follows a header decides nothing about it, and nothing is claimed that is not there.
        #[test]
        fn any_bytes_are_read_or_refused(
            start in 0..4_usize,
            rest in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        ) {
            let starts: [&[u8]; 4] = [b"", b"PROXY ", b"PROXY TCP4 10.0.0.1 ", V2_SIGNATURE];
            let bytes = [starts[start], &rest].concat();
            for versions in [V1, V2, Either] {
                match read_proxy_header(&bytes, versions) {
                    Ok(Some(header)) => {
                        assert!(header.length <= bytes.len());
                        let alone = read_proxy_header(&bytes[..header.length], versions);
                        assert_eq!(alone, Ok(Some(header)));
                    }
                    Ok(None) => assert!(bytes.len() < HEADER_BYTES_MAX),
                    Err(error) => {
                        assert_eq!(read_proxy_header(&[&bytes[..], b"x"].concat(), versions), Err(error));
                    }
                }
            }
        }
    }
}
