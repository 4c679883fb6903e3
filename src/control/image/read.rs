//! From a stored value to a form: the model's parser, and the certificate of a host.

use super::form::Form;
use crate::model::{
    Backend, Finding, Host, Middleware, MiddlewareSpec, Object, ObjectKey, Severity, Strictness, TraceTarget,
};
use crate::telemetry::trace_file;
use crate::tls::{Certificate, ClientTls, SealKeys, Trust, client_config};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

/// What reading a value needs beside the value.
pub struct Environment {
    /// Open sealed key pairs.
    pub seal_keys: SealKeys,
    /// Files named by hosts lie below it.
    pub secrets_dir: Option<PathBuf>,
    /// Files of traces lie below it.
    pub trace_dir: Option<PathBuf>,
}

/// `form` is absent exactly if a finding is an error.
pub(super) struct Read {
    pub(super) form: Option<Form>,
    pub(super) findings: Vec<Finding>,
}

/// Reads a value as stored. Never panics: should the parser do so, that is a finding.
pub(super) fn read(key: &ObjectKey, raw: &[u8], environment: &Environment) -> Read {
    let attempt = catch_unwind(AssertUnwindSafe(|| Object::parse(key, raw, Strictness::Stored)));
    let Ok(parsed) = attempt else {
        let finding =
            error("", "the value cannot be read: the parser failed on it; please report this".into());
        return Read { form: None, findings: vec![finding] };
    };
    let mut findings = parsed.findings;
    let form = parsed.object.and_then(|object| match object {
        Object::Listener(it) => Some(Form::Listener(Arc::new(it))),
        Object::Host(it) => match load_certificate(&it, environment) {
            Ok(certificate) => Some(Form::Host(Arc::new(it), certificate)),
            Err(finding) => {
                findings.push(finding);
                None
            }
        },
        Object::Frontend(it) => Some(Form::Frontend(Arc::new(it))),
        Object::Middleware(it) => match check_trace(&it, environment) {
            Ok(()) => Some(Form::Middleware(Arc::new(it))),
            Err(finding) => {
                findings.push(finding);
                None
            }
        },
        Object::Backend(it) => match check_authorities(&it) {
            Ok(()) => Some(Form::Backend(Arc::new(it))),
            Err(finding) => {
                findings.push(finding);
                None
            }
        },
        Object::Server(it) => Some(Form::Server(Arc::new(it))),
    });
    Read { form, findings }
}

/// The certificate of a host that has a key pair.
pub(super) fn load_certificate(
    host: &Host,
    environment: &Environment,
) -> Result<Option<Arc<Certificate>>, Finding> {
    let Some(source) = &host.key_pair else { return Ok(None) };
    Certificate::load(source, &environment.seal_keys, environment.secrets_dir.as_deref())
        .map(|certificate| Some(Arc::new(certificate)))
        .map_err(|problem| error(problem.field(), problem.to_string()))
}

/// Whether a trace's file lies where traces may be written.
fn check_trace(middleware: &Middleware, environment: &Environment) -> Result<(), Finding> {
    let MiddlewareSpec::Trace(spec) = &middleware.spec else { return Ok(()) };
    match &spec.address.target {
        TraceTarget::File(path) => trace_file(environment.trace_dir.as_deref(), path)
            .map(drop)
            .map_err(|reason| error("Middleware.Addr", reason)),
        TraceTarget::Syslog { .. } | TraceTarget::Stdout => Ok(()),
    }
}

/// Whether servers could be trusted by what the backend says.
fn check_authorities(backend: &Backend) -> Result<(), Finding> {
    let Backend::Http { settings, .. } = backend else { return Ok(()) };
    let Some(pem) = settings.tls.authorities.as_ref().filter(|_| !settings.tls.insecure) else {
        return Ok(());
    };
    let trust = Trust::Authorities(pem.as_bytes().into());
    match client_config(&ClientTls { trust, ..ClientTls::default() }) {
        Ok(_) => Ok(()),
        Err(problem) => Err(error("Settings.TLS.CA", format!("cannot be used: {problem}"))),
    }
}

/// An error finding.
pub(super) fn error(field: &str, reason: String) -> Finding {
    Finding { field: field.into(), reason, severity: Severity::Error }
}

/// Whether a frontend may be served without a middleware of its own that was never valid. Only for types that shape
/// requests and answers; whatever may keep someone out (`auth`, `ipfilter`, limits, `respond`) and whatever cannot
/// even be told must not be missing.
pub(super) fn may_be_missing(raw: &[u8]) -> bool {
    const SHAPING: [&str; 8] =
        ["rewrite", "redirect", "headers", "cors", "compress", "trace", "mirror", "cbreaker"];
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(raw) else { return false };
    let types: Vec<_> = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("type")).collect();
    !types.is_empty() && types.iter().all(|(_, value)| value.as_str().is_some_and(|it| SHAPING.contains(&it)))
}
