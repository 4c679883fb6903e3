//! Variables: what of a request a limit counts by.

use super::fields::{Fields, nearest, quote};
use super::middleware::field_name_error;
use std::fmt;

const FORMS: &str = "`client.ip`, `request.host`, `request.header.NAME` or `request.cookie.NAME`";

/// What tells the requests of one limit apart. A request that lacks it counts with all others that do: a client cannot
/// leave a limit by leaving a header out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// `client.ip`: the client's address; of an IPv6 address the first [`VariableSpec::ipv6_prefix`] bits.
    ClientIp,
    /// `request.host`: the host asked for, in lower case and without port.
    Host,
    /// `request.header.NAME`: the first field of that name.
    Header(Box<str>),
    /// `request.cookie.NAME` (new): the first cookie of that name.
    Cookie(Box<str>),
}

/// A limit's `Variable` with its `IPv6Prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableSpec {
    /// What is counted by.
    pub variable: Variable,
    /// How many leading bits of an IPv6 address tell clients apart, 1 to 128; default 128, the whole address. Networks
    /// hand out 64 bits to a household: 64 limits those together.
    pub ipv6_prefix: u8,
}

impl Variable {
    fn parse(text: &str) -> Result<Self, String> {
        let name_of = |prefix: &str| text.strip_prefix(prefix);
        match text {
            "client.ip" => return Ok(Self::ClientIp),
            "request.host" => return Ok(Self::Host),
            _ => {}
        }
        if let Some(name) = name_of("request.header.") {
            return header_name(text, name).map(Self::Header);
        }
        if let Some(name) = name_of("request.cookie.") {
            let token = |byte: u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
            if name.is_empty() || name.len() > 256 || !name.bytes().all(token) {
                return Err(format!(
                    "is {}; a cookie's name is expected behind `request.cookie.`",
                    quote(text)
                ));
            }
            return Ok(Self::Cookie(name.into()));
        }
        let known = ["client.ip", "request.host", "request.header.", "request.cookie."];
        Err(match nearest(text, known.into_iter()) {
            Some(near) => format!("is {}; {FORMS} is expected; did you mean `{near}`?", quote(text)),
            None => format!("is {}; {FORMS} is expected", quote(text)),
        })
    }
}

fn header_name(text: &str, name: &str) -> Result<Box<str>, String> {
    match field_name_error(name) {
        Some(_) => {
            Err(format!("is {}; a header field's name is expected behind `request.header.`", quote(text)))
        }
        None => Ok(name.into()),
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientIp => f.write_str("client.ip"),
            Self::Host => f.write_str("request.host"),
            Self::Header(name) => write!(f, "request.header.{name}"),
            Self::Cookie(name) => write!(f, "request.cookie.{name}"),
        }
    }
}

/// Reads `Variable` and `IPv6Prefix`.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<VariableSpec> {
    let bits = fields.integer("IPv6Prefix", 0..=128).and_then(|bits| u8::try_from(bits).ok());
    let text = fields.required_text("Variable", &format!("{FORMS} is expected"))?;
    let variable = match Variable::parse(text) {
        Ok(variable) => variable,
        Err(reason) => {
            fields.error("Variable", reason);
            return None;
        }
    };
    let ipv6_prefix = bits.filter(|bits| *bits > 0).unwrap_or(128);
    if ipv6_prefix < 128 && variable != Variable::ClientIp {
        fields.error("IPv6Prefix", "stands beside a variable without addresses; only `client.ip` has them");
        return None;
    }
    Some(VariableSpec { variable, ipv6_prefix })
}

/// Reads a field that names a header as `request.header.NAME`; absent where it is empty.
pub(super) fn read_header(fields: &mut Fields<'_>, name: &'static str) -> Option<Box<str>> {
    let text = fields.text(name)?;
    let header = match text.strip_prefix("request.header.") {
        Some(header) => header_name(text, header),
        None => Err(format!("is {}; `request.header.NAME` is expected", quote(text))),
    };
    header.map_err(|reason| fields.error(name, reason)).ok()
}

impl VariableSpec {
    pub(super) fn write(&self, value: &mut serde_json::Map<String, serde_json::Value>) {
        value.insert("Variable".into(), self.variable.to_string().into());
        if self.ipv6_prefix < 128 {
            value.insert("IPv6Prefix".into(), self.ipv6_prefix.into());
        }
    }
}
