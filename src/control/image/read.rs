//! From a stored value to a form: the model's parser, and the certificate of a host.

use super::form::Form;
use crate::model::{
    AuthoritiesSource, Backend, Finding, Host, Middleware, MiddlewareSpec, Object, ObjectKey, Severity,
    Strictness, TraceTarget,
};
use crate::telemetry::trace_file;
use crate::tls::{Certificate, ClientPolicy, ClientTls, HostTls, SealKeys, Trust, client_config};
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
        Object::Host(it) => match load_host(&it, environment) {
            Ok(tls) => Some(Form::Host(Arc::new(it), tls)),
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
        Object::Backend(it) => match load_backend(&it, environment) {
            Ok(certificate) => Some(Form::Backend(Arc::new(it), certificate)),
            Err(finding) => {
                findings.push(finding);
                None
            }
        },
        Object::Server(it) => Some(Form::Server(Arc::new(it))),
    });
    Read { form, findings }
}

/// The certificate of a host that has a key pair, and what it asks of clients.
pub(super) fn load_host(host: &Host, environment: &Environment) -> Result<HostTls, Finding> {
    let mut tls = HostTls::default();
    let secrets_dir = environment.secrets_dir.as_deref();
    if let Some(source) = &host.key_pair {
        let loaded = Certificate::load(source, &environment.seal_keys, secrets_dir);
        let certificate = loaded.map_err(|problem| error(problem.field(), problem.to_string()))?;
        tls.certificate = Some(Arc::new(certificate));
    }
    if let Some(source) = &host.client_auth {
        let field = match source.authorities {
            Some(AuthoritiesSource::File(_)) => "Settings.ClientAuth.CAFile",
            _ => "Settings.ClientAuth.CA",
        };
        let loaded = ClientPolicy::load(source, secrets_dir);
        let policy = loaded.map_err(|problem| error(field, problem.to_string()))?;
        tls.client_policy = Some(Arc::new(policy));
    }
    Ok(tls)
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

/// The certificate that a backend shows its servers, and whether those could be trusted by what it says.
pub(super) fn load_backend(
    backend: &Backend,
    environment: &Environment,
) -> Result<Option<Arc<Certificate>>, Finding> {
    let Backend::Http { settings, .. } = backend else { return Ok(None) };
    if let Some(pem) = settings.tls.authorities.as_ref().filter(|_| !settings.tls.insecure) {
        let trust = Trust::Authorities(pem.as_bytes().into());
        client_config(&ClientTls { trust, ..ClientTls::default() })
            .map_err(|problem| error("Settings.TLS.CA", format!("cannot be used: {problem}")))?;
    }
    let Some(source) = &settings.tls.key_pair else { return Ok(None) };
    let loaded = Certificate::load(source, &environment.seal_keys, environment.secrets_dir.as_deref());
    let certificate = loaded.map_err(|problem| {
        let field = problem.field().replacen("Settings.", "Settings.TLS.", 1);
        error(&field, problem.to_string())
    })?;
    Ok(Some(Arc::new(certificate)))
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
