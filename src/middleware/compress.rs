//! Chooses how an answer is compressed, and says so in its head. The body follows through an [`Encoder`](super::Encoder).

use super::{Encoder, Visit, add_vary};
use crate::message::{BodyLength, Fields, Known, RequestHead, ResponseHead};
use crate::model::{Coding, CompressSpec};
use std::io;

/// Notes what the client takes: a later step may take `Accept-Encoding` away, so that servers do not compress.
pub(super) fn on_request(spec: &CompressSpec, visit: &mut Visit, request: &RequestHead) {
    if visit.coding.is_none() && !says(&request.fields, "Cache-Control", "no-transform") {
        visit.coding = chosen(spec, request.fields.known_all(Known::AcceptEncoding));
    }
}

/// Changes the head of an answer that is worth it; its body's change is then noted in `visit`.
pub(super) fn on_response(
    spec: &CompressSpec,
    visit: &mut Visit,
    request: &RequestHead,
    response: &mut ResponseHead,
) {
    if response.status == 304 {
        return on_not_modified(visit, request, response);
    }
    if visit.encoder.is_some() || !is_worth_it(spec, response) {
        return;
    }
    add_vary(&mut response.fields, "Accept-Encoding");
    let Some(coding) = visit.coding else { return };
    if response.body != BodyLength::None {
        match Encoder::new(coding, spec.level) {
            Ok(encoder) => visit.encoder = Some(encoder),
            // Enough are compressed.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return,
            Err(error) => return tracing::error!(%error, "an answer cannot be compressed"),
        }
    }
    let fields = &mut response.fields;
    fields.set_known(Known::ContentEncoding, |out| out.extend_from_slice(coding.as_str().as_bytes()));
    // They are about other bytes than those that are sent.
    for name in ["Accept-Ranges", "Content-MD5", "Digest", "Content-Digest", "Repr-Digest"] {
        fields.remove(name);
    }
    weaken(fields);
    if response.body == BodyLength::None {
        // An answer to HEAD: its head is the one that GET would get.
        response.forget_length();
    } else {
        response.body = BodyLength::Chunked;
    }
}

/// What a client holds compressed has a weak validator; the news that it is still good must name the same.
fn on_not_modified(visit: &Visit, request: &RequestHead, response: &mut ResponseHead) {
    if visit.coding.is_none() {
        return;
    }
    let Some(tag) = response.fields.get("ETag").filter(|tag| !tag.starts_with(b"W/")) else { return };
    let weak = [b"W/".as_slice(), tag].concat();
    let listed = request.fields.get_all("If-None-Match").flat_map(|value| value.split(|byte| *byte == b','));
    if listed.map(<[u8]>::trim_ascii).any(|listed| listed == weak) {
        weaken(&mut response.fields);
        add_vary(&mut response.fields, "Accept-Encoding");
    }
}

fn is_worth_it(spec: &CompressSpec, response: &ResponseHead) -> bool {
    let fields = &response.fields;
    let length = response.full_length();
    let has_body = match response.body {
        BodyLength::None => response.answers_head(),
        BodyLength::Known(length) => length > 0,
        BodyLength::Chunked | BodyLength::UntilClose => true,
    };
    let content_type = fields.known(Known::ContentType).and_then(|it| std::str::from_utf8(it).ok());
    has_body
        && (response.status / 100 != 1 && !matches!(response.status, 204..=206))
        && length.is_none_or(|length| length >= spec.bytes_min)
        && content_type.is_some_and(|content_type| spec.takes(content_type))
        && !fields.contains(Known::ContentEncoding)
        && fields.get("Content-Range").is_none()
        && !says(fields, "Cache-Control", "no-transform")
}

fn weaken(fields: &mut Fields) {
    let Some(tag) = fields.get("ETag").filter(|tag| !tag.starts_with(b"W/")) else { return };
    let weak = [b"W/".as_slice(), tag].concat();
    let _ = fields.set("ETag", &weak);
}

/// Whether one of a field's list members is this word.
fn says(fields: &Fields, name: &str, word: &str) -> bool {
    let members = fields.get_all(name).flat_map(|value| value.split(|byte| *byte == b','));
    members.map(<[u8]>::trim_ascii).any(|member| member.eq_ignore_ascii_case(word.as_bytes()))
}

/// The coding that the client likes best, and of those the one that stands first here. None where it takes none, or would
/// rather have the body as it is (RFC 9110 section 12.5.3).
fn chosen<'a>(spec: &CompressSpec, accepted: impl Iterator<Item = &'a [u8]>) -> Option<Coding> {
    let mut named: Vec<(&str, u16)> = Vec::new();
    for value in accepted {
        let Ok(value) = std::str::from_utf8(value) else { continue };
        for member in value.split(',') {
            let (name, parameters) = member.split_once(';').unwrap_or((member, ""));
            named.push((name.trim(), weight(parameters)));
        }
    }
    let of = |name: &str| {
        let exact = named.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        exact.or_else(|| named.iter().find(|(known, _)| *known == "*")).map(|(_, weight)| *weight)
    };
    // `x-gzip` is the same (RFC 9110 section 8.4.1.3).
    let of_coding = |coding: Coding| match coding {
        Coding::Gzip => of("gzip")
            .max(named.iter().find(|(known, _)| known.eq_ignore_ascii_case("x-gzip")).map(|it| it.1)),
        other => of(other.as_str()),
    };
    let mut best: Option<(Coding, u16)> = None;
    for coding in &spec.codings {
        let weight = of_coding(*coding).unwrap_or(0);
        if weight > best.map_or(0, |(_, best)| best) {
            best = Some((*coding, weight));
        }
    }
    let plain = named.iter().find(|(known, _)| known.eq_ignore_ascii_case("identity")).map_or(0, |it| it.1);
    best.filter(|(_, weight)| *weight >= plain).map(|(coding, _)| coding)
}

/// `q=0.5` in thousandths; 1,000 where none is given, 0 where it is no weight.
fn weight(parameters: &str) -> u16 {
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let Some(value) = value else { return 1000 };
    match value.parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0) as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_choose_the_coding() {
        let all = CompressSpec::default();
        let gzip_first =
            CompressSpec { codings: vec![Coding::Gzip, Coding::Brotli], ..CompressSpec::default() };
        let check = |spec: &CompressSpec, accepted: &[&str], expected: Option<&str>| {
            let got = chosen(spec, accepted.iter().map(|it| it.as_bytes())).map(Coding::as_str);
            assert_eq!(got, expected, "{accepted:?}");
        };
        check(&all, &[], None);
        check(&all, &[""], None);
        check(&all, &["gzip, deflate, br, zstd"], Some("zstd"));
        check(&all, &["gzip", "br"], Some("br"));
        check(&all, &["GZIP"], Some("gzip"));
        check(&all, &["x-gzip"], Some("gzip"));
        check(&all, &["deflate"], None);
        check(&all, &["zstd;q=0.5, br;q=0.8, gzip;q=0.1"], Some("br"));
        check(&all, &["zstd;q=0, br;q=0.000, gzip"], Some("gzip"));
        check(&all, &["gzip;q=0, *"], Some("zstd"));
        check(&all, &["*"], Some("zstd"));
        check(&all, &["*;q=0"], None);
        check(&all, &["*;q=0, br"], Some("br"));
        check(&all, &["identity"], None);
        check(&all, &["identity;q=1, gzip;q=0.5"], None);
        check(&all, &["identity;q=0.5, gzip;q=1"], Some("gzip"));
        check(&all, &["gzip;q=1.5"], None);
        check(&all, &["gzip;q=x"], None);
        check(&all, &["gzip ; q=0.7;x=y"], Some("gzip"));
        check(&gzip_first, &["gzip, deflate, br, zstd"], Some("gzip"));
        check(&gzip_first, &["zstd"], None);
    }

    #[test]
    fn types_are_told_apart() {
        let check = |spec: &CompressSpec, taken: &[&str], left: &[&str]| {
            taken.iter().for_each(|it| assert!(spec.takes(it), "{it}"));
            left.iter().for_each(|it| assert!(!spec.takes(it), "{it}"));
        };
        check(
            &CompressSpec::default(),
            &[
                "text/html; charset=utf-8",
                "TEXT/CSS",
                "application/json",
                "application/ld+json ; x=y",
                "image/svg+xml",
            ],
            &[
                "text/event-stream",
                "text/",
                "image/png",
                "application/grpc",
                "application/json2",
                "",
                "+json",
            ],
        );
        let events = CompressSpec { types: vec!["text/event-stream".into()], ..CompressSpec::default() };
        check(&events, &["text/event-stream", "text/Event-Stream;charset=utf-8"], &["text/html"]);
    }
}
