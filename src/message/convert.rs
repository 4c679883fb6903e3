//! From and to `http`'s types, for HTTP/2.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::error::{HeadError, HeadProblem};
use super::fields::{Fields, Span};
use super::head::{Facts, METHOD_BYTES_MAX, content_length};
use super::known::{self, Class, Known};
use super::request::RequestHead;
use super::response::{ResponseHead, may_have_body};
use super::spare::Spare;
use super::target::{self, Target};
use super::{BodyLength, Limits, Method, Version, syntax};

impl Version {
    /// Of a message that another stack has read.
    pub fn of_http(version: http::Version) -> Self {
        match version {
            http::Version::HTTP_09 | http::Version::HTTP_10 => Self::H10,
            http::Version::HTTP_11 => Self::H11,
            _ => Self::H2,
        }
    }
}

impl RequestHead {
    /// The head of a request that another stack has read, mostly of HTTP/2. Cookies are joined by `; ` (RFC 9113
    /// section 8.2.3); the host is `:authority`, or `Host` where that is missing, and both must agree.
    ///
    /// Of HTTP/1.1, connection fields are understood and kept until they are taken off, but for `Transfer-Encoding`:
    /// that was undone already, and overrode any `Content-Length` (RFC 9112 section 6.3).
    ///
    /// `body_known` is the body's exact length where the stack knows it without a `Content-Length`.
    ///
    /// # Errors
    /// What RFC 9113 section 8 calls malformed and an HTTP/2 stack lets through, and what the limits forbid.
    pub fn from_http(
        parts: &http::request::Parts,
        body_known: Option<u64>,
        end_of_stream: bool,
        spare: &mut Spare,
        limits: &Limits,
    ) -> Result<RequestHead, HeadError> {
        request(parts, body_known, end_of_stream, spare, limits).map_err(HeadError::request)
    }

    /// The head for an HTTP/2 server; `host` replaces the client's authority. The body's length is told by the
    /// field where it is known.
    ///
    /// # Errors
    /// Where `http` refuses the target or the authority.
    pub fn to_http(
        &self,
        scheme: &str,
        host: Option<&str>,
        body: BodyLength,
        trailers: bool,
    ) -> Result<http::Request<()>, http::Error> {
        let uri = http::Uri::builder()
            .scheme(scheme)
            .authority(host.unwrap_or(self.authority()))
            .path_and_query(self.target())
            .build()?;
        let mut out =
            http::Request::builder().method(self.method()).uri(uri).version(http::Version::HTTP_2).body(())?;
        let without =
            known::CONNECTION_SPECIFIC | Known::Host.bit() | Known::ContentLength.bit() | Known::Expect.bit();
        copy_fields(&self.fields, out.headers_mut(), without);
        insert_length(out.headers_mut(), body);
        if trailers {
            out.headers_mut().insert(http::header::TE, HeaderValue::from_static("trailers"));
        }
        Ok(out)
    }
}

impl ResponseHead {
    /// The head for an HTTP/2 client, without what belongs to an HTTP/1.1 connection.
    pub fn to_http(&self) -> http::Response<()> {
        let mut out = http::Response::new(());
        *out.status_mut() = http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
        *out.version_mut() = http::Version::HTTP_2;
        copy_fields(&self.fields, out.headers_mut(), known::CONNECTION_SPECIFIC | Known::ContentLength.bit());
        let told = match self.body {
            BodyLength::None => self.length_told.filter(|_| self.status == 304 || may_have_body(self.status)),
            BodyLength::Known(length) => Some(length),
            BodyLength::Chunked | BodyLength::UntilClose => None,
        };
        if let Some(length) = told {
            insert_length(out.headers_mut(), BodyLength::Known(length));
        }
        out
    }

    /// The head of an HTTP/2 server's answer to `to`.
    ///
    /// # Errors
    /// Connection fields, a malformed length, and what the limits forbid; the status is 502.
    pub fn from_http(
        parts: &http::response::Parts,
        end_of_stream: bool,
        to: Method,
        spare: &mut Spare,
        limits: &Limits,
    ) -> Result<ResponseHead, HeadError> {
        response(parts, end_of_stream, to, spare, limits).map_err(HeadError::response)
    }
}

impl Fields {
    /// Trailer fields of an HTTP/2 stream, without those that may not be there.
    ///
    /// # Errors
    /// What the limits forbid, or a value with outer white space.
    pub fn from_trailers(trailers: &HeaderMap, limits: &Limits) -> Result<Fields, HeadError> {
        let mut fields = Fields::default();
        if trailers.len() > limits.trailer_fields {
            return Err(HeadError::request(HeadProblem::TooManyFields));
        }
        for (name, value) in trailers {
            if !known::forbidden_trailer(name.as_str()) {
                fields
                    .add(name.as_str(), value.as_bytes())
                    .map_err(|_| HeadError::request(HeadProblem::FieldValue))?;
            }
            if fields.bytes.len() > limits.trailer_bytes {
                return Err(HeadError::request(HeadProblem::HeadTooLong));
            }
        }
        Ok(fields)
    }

    /// The fields as `http`'s map, without those of a connection.
    pub fn to_http(&self) -> HeaderMap {
        let mut out = HeaderMap::new();
        copy_fields(self, &mut out, known::CONNECTION_SPECIFIC);
        out
    }
}

fn request(
    parts: &http::request::Parts,
    body_known: Option<u64>,
    end_of_stream: bool,
    spare: &mut Spare,
    limits: &Limits,
) -> Result<RequestHead, HeadProblem> {
    let mut fields = Fields::new(spare);
    let method_kind = Method::of(parts.method.as_str().as_bytes());
    if parts.method.as_str().len() > METHOD_BYTES_MAX {
        return Err(HeadProblem::MethodTooLong);
    }
    let method = append(&mut fields, parts.method.as_str().as_bytes());
    let path = match (method_kind, parts.uri.path_and_query()) {
        (_, Some(path)) => path.as_str(),
        (Method::Connect, None) => "",
        (_, None) => return Err(HeadProblem::Target),
    };
    if path.len() > limits.target_bytes {
        return Err(HeadProblem::TargetTooLong);
    }
    let form = match method_kind {
        // A plain CONNECT has no path, an extended one has (RFC 8441 section 4).
        Method::Connect if path.is_empty() => Some(Target::Authority),
        Method::Connect => target::form(path.as_bytes(), Method::Other),
        _ => target::form(path.as_bytes(), method_kind),
    };
    let scheme_empty = parts.uri.scheme_str().is_some_and(str::is_empty);
    if form.is_none() || scheme_empty || matches!(form, Some(Target::Absolute { .. })) {
        return Err(HeadProblem::Target);
    }
    let target = append(&mut fields, path.as_bytes());
    let authority = authority(parts)?;
    let host_slot =
        fields.append(b"host", |out| out.extend_from_slice(authority)).map_err(|_| HeadProblem::Host)?;
    fields.push(host_slot);
    let version = Version::of_http(parts.version);
    let mut facts = collect(&parts.headers, &mut fields, limits, version)?;
    if facts.chunked {
        facts.content_length = None;
        fields.remove_known(Known::ContentLength);
    }
    let body = match (facts.content_length, end_of_stream) {
        (Some(1..), true) => return Err(HeadProblem::ContentLength),
        (Some(length), _) => BodyLength::Known(length),
        (None, true) => BodyLength::None,
        (None, false) => body_known.map_or(BodyLength::Chunked, BodyLength::Known),
    };
    let has_body = !matches!(body, BodyLength::None | BodyLength::Known(0));
    let mut head = RequestHead {
        fields,
        method_kind,
        version,
        body,
        keep_alive: true,
        expect_continue: facts.expect_continue && has_body && version != Version::H10,
        upgrade: false,
        trailers_accepted: facts.trailers,
        method,
        target,
        path_length: 0,
        authority: Span::default(),
        host: Span::default(),
        upgrade_token: Span::default(),
    };
    head.set_authority(host_slot.value())?;
    if let Some(token) = facts.upgrade
        && facts.upgrade_option
        && !facts.upgrade_repeated
    {
        head.upgrade_token = token;
        head.upgrade = version == Version::H11;
    }
    head.find_query();
    Ok(head)
}

/// The one authority of an HTTP/2 request (RFC 9113 section 8.3.1).
fn authority(parts: &http::request::Parts) -> Result<&[u8], HeadProblem> {
    let mut hosts = parts.headers.get_all(http::header::HOST).iter().map(HeaderValue::as_bytes);
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(HeadProblem::HostRepeated);
    }
    match (parts.uri.authority().map(|authority| authority.as_str().as_bytes()), host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            Err(HeadProblem::HostRepeated)
        }
        (Some(authority), _) => Ok(authority),
        (None, Some(host)) => Ok(host),
        (None, None) => Err(HeadProblem::HostMissing),
    }
}

fn response(
    parts: &http::response::Parts,
    end_of_stream: bool,
    to: Method,
    spare: &mut Spare,
    limits: &Limits,
) -> Result<ResponseHead, HeadProblem> {
    let mut head = ResponseHead::new(parts.status.as_u16(), spare);
    if head.status > 599 {
        return Err(HeadProblem::StatusLine);
    }
    head.version = Version::H2;
    head.to_head = to == Method::Head;
    let facts = collect(&parts.headers, &mut head.fields, limits, Version::H2)?;
    let bodiless = head.to_head || !may_have_body(head.status);
    head.length_told = facts.content_length.filter(|_| bodiless);
    head.body = match (facts.content_length, end_of_stream) {
        _ if bodiless => BodyLength::None,
        (Some(1..), true) => return Err(HeadProblem::ContentLength),
        (Some(length), _) => BodyLength::Known(length),
        (None, true) => BodyLength::None,
        (None, false) => BodyLength::Chunked,
    };
    Ok(head)
}

/// Appends the fields of a map and says what they tell; `Host` was seen to before.
fn collect(
    map: &HeaderMap,
    fields: &mut Fields,
    limits: &Limits,
    version: Version,
) -> Result<Facts, HeadProblem> {
    if map.len() > limits.fields {
        return Err(HeadProblem::TooManyFields);
    }
    let mut facts = Facts::default();
    let mut cookie = false;
    for (name, value) in map {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        let known = match Known::class(name) {
            Class::Name(known) => known,
            Class::FramingAlias => return Err(HeadProblem::FieldAlias),
            Class::OwnedAlias => continue,
        };
        if !syntax::is_value(value) {
            return Err(HeadProblem::FieldValue);
        }
        match known {
            Known::Host => continue,
            Known::Cookie if cookie => continue,
            Known::Cookie => {
                cookie = true;
                join_cookies(map, fields, limits)?;
                continue;
            }
            Known::TransferEncoding if version != Version::H2 => {
                facts.chunked = true;
                continue;
            }
            known if version != Version::H2 && known.bit() & known::CONNECTION_SPECIFIC != 0 => {}
            Known::Te if !value.eq_ignore_ascii_case(b"trailers") => {
                return Err(HeadProblem::ConnectionField);
            }
            Known::Te => facts.trailers = true,
            Known::ContentLength if facts.content_length.is_some() => {
                return Err(HeadProblem::ContentLengthRepeated);
            }
            Known::ContentLength => facts.content_length = Some(content_length(value)?),
            Known::Expect => facts.note(known, value, Span::default())?,
            _ if known.bit() & known::CONNECTION_SPECIFIC != 0 => return Err(HeadProblem::ConnectionField),
            _ => {}
        }
        let slot =
            fields.append(name, |out| out.extend_from_slice(value)).map_err(|_| HeadProblem::FieldName)?;
        fields.push(slot);
        if version != Version::H2 && known.bit() & known::CONNECTION_SPECIFIC != 0 {
            facts.note(known, value, slot.value())?;
        }
        if fields.bytes.len() > limits.head_bytes {
            return Err(HeadProblem::HeadTooLong);
        }
    }
    Ok(facts)
}

fn join_cookies(map: &HeaderMap, fields: &mut Fields, limits: &Limits) -> Result<(), HeadProblem> {
    let crumbs = || map.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes);
    // Crumbs may share what they stand for; joined they do not.
    if fields.bytes.len() + crumbs().map(<[u8]>::len).sum::<usize>() > limits.head_bytes {
        return Err(HeadProblem::HeadTooLong);
    }
    if !crumbs().all(syntax::is_value) {
        return Err(HeadProblem::FieldValue);
    }
    let slot = fields.append(b"cookie", |out| {
        for (at, crumb) in crumbs().filter(|crumb| !crumb.is_empty()).enumerate() {
            if at > 0 {
                out.extend_from_slice(b"; ");
            }
            out.extend_from_slice(crumb);
        }
    });
    fields.push(slot.map_err(|_| HeadProblem::FieldName)?);
    Ok(())
}

fn append(fields: &mut Fields, text: &[u8]) -> Span {
    let span = Span::new(fields.bytes.len(), text.len());
    fields.bytes.extend_from_slice(text);
    span
}

fn copy_fields(fields: &Fields, out: &mut HeaderMap, without: u64) {
    for field in fields.iter().filter(|field| field.known.bit() & without == 0) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(field.name.as_bytes()), HeaderValue::from_bytes(field.value))
        {
            // A map holds at most 32,768 names; the limit of fields is far below.
            let _ = out.try_append(name, value);
        }
    }
}

fn insert_length(out: &mut HeaderMap, body: BodyLength) {
    if let BodyLength::Known(length) = body {
        out.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}
