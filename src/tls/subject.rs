//! A client's certificate in words, for servers.

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use std::fmt::Write;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Longest subject that is told, in bytes; of a longer one nothing is.
const SUBJECT_BYTES_MAX: usize = 2048;

/// Types of attributes with the names that RFC 4514 section 3 gives them.
const TYPES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// The subject as RFC 4514 writes it, in printable ASCII only (what else there is stands as `\XX`), and the SHA-256
/// fingerprint in lower hexadecimal digits. The subject is empty where it is, cannot be read, or is longer than 2 KiB.
pub fn describe_client(own: &CertificateDer<'_>) -> (Box<str>, Box<str>) {
    let subject = match X509Certificate::from_der(own) {
        Ok((_, certificate)) => name(certificate.subject()),
        Err(_) => String::new(),
    };
    let subject = if subject.len() > SUBJECT_BYTES_MAX { String::new() } else { subject };
    (subject.into(), hex(digest(&SHA256, own).as_ref()).into())
}

/// The subject's common name; none where there is none, or more than one, or it is empty or longer than 2 KiB.
pub fn common_name(own: &CertificateDer<'_>) -> Option<Box<str>> {
    let (_, certificate) = X509Certificate::from_der(own).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?;
    let is_good = names.next().is_none() && !name.is_empty() && name.len() <= SUBJECT_BYTES_MAX;
    is_good.then(|| name.into())
}

/// The last part comes first.
fn name(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> =
        name.iter_rdn().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type().to_id_string();
    let short = TYPES.iter().find(|(id, _)| *id == kind).map_or(&*kind, |(_, short)| short);
    match attribute.as_str() {
        Ok(text) => format!("{short}={}", escaped(text)),
        Err(_) => format!("{short}=#{}", hex(attribute.as_slice())),
    }
}

/// RFC 4514 section 2.4.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' ' if place == 0 || place == last => out.push_str("\\ "),
            b'#' if place == 0 => out.push_str("\\#"),
            b' '..=b'~' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            other => drop(write!(out, "\\{other:02X}")),
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    #[test]
    fn a_subject_cannot_pretend_to_be_another() {
        let check = |parts: &[(DnType, &str)], expected: &str| {
            let mut params = CertificateParams::new([]).unwrap();
            params.distinguished_name = DistinguishedName::new();
            for (kind, value) in parts {
                params.distinguished_name.push(kind.clone(), *value);
            }
            let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let (subject, fingerprint) = describe_client(made.der());
            let mut names = parts.iter().filter(|(kind, _)| *kind == CommonName).map(|(_, value)| *value);
            let only = names.next().filter(|name| name.len() < 2048);
            assert_eq!(common_name(made.der()).as_deref(), only);
            assert_eq!(&*subject, expected);
            assert_eq!(fingerprint.len(), 64);
        };
        use DnType::{CommonName, CountryName, OrganizationName};
        check(&[(CountryName, "NL"), (OrganizationName, "Shop"), (CommonName, "ops")], "CN=ops,O=Shop,C=NL");
        check(&[(CommonName, "a,CN=admin")], "CN=a\\,CN=admin");
        check(&[(CommonName, " #x\\\"+;<> ")], "CN=\\ #x\\\\\\\"\\+\\;\\<\\>\\ ");
        check(&[(CommonName, "#1")], "CN=\\#1");
        check(&[(CommonName, "J\u{fc}rgen\r\nX: y")], "CN=J\\C3\\BCrgen\\0D\\0AX: y");
        check(
            &[(DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]), "a@b")],
            "1.2.840.113549.1.9.1=a@b",
        );
        check(&[], "");
        check(&[(CommonName, &"x".repeat(3000))], "");
        assert_eq!(describe_client(&CertificateDer::from(&b"no certificate"[..])).0.len(), 0);
    }
}
