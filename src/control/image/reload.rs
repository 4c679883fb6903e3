//! Files that objects name are read again when the process is told so.

use super::Image;
use super::form::Form;
use super::read::{load_backend, load_host};
use crate::model::{AuthoritiesSource, Backend, Finding, Host, InForce, KeyPairSource, ObjectKey, Severity};
use crate::tls::{Certificate, HostTls};
use std::sync::Arc;

impl Image {
    /// Reads the files of hosts and backends again; what cannot be read keeps the form in force.
    pub(super) fn reload_files(&mut self) {
        let named: Vec<_> = self
            .slots
            .iter()
            .filter(|(key, _)| {
                matches!(key, ObjectKey::Listener(_) | ObjectKey::Host(_) | ObjectKey::Backend(_))
            })
            .filter_map(|(key, slot)| match (&slot.form, slot.in_force) {
                (_, InForce::None | InForce::Previous) => Some((key.clone(), None)),
                (Some(form), InForce::This) if names_files(form) => Some((key.clone(), Some(form.clone()))),
                _ => None,
            })
            .collect();
        for (key, in_force) in named {
            let Some(old) = in_force else {
                self.soil(key);
                continue;
            };
            match self.load_again(&old) {
                Ok(new) => {
                    if let Some(new) = new {
                        self.set_form(&key, Some(new), InForce::This);
                    }
                    self.findings.set_reloaded(&key, None, &self.work.moment);
                }
                Err(finding) => {
                    let finding = Finding { severity: Severity::Error, ..finding };
                    self.findings.set_reloaded(&key, Some(finding), &self.work.moment);
                }
            }
        }
    }

    /// A form with its files as they are now; `None`: they are as they were.
    fn load_again(&self, form: &Form) -> Result<Option<Form>, Finding> {
        match form {
            Form::Host(host, old) => {
                let new = load_host(host, &self.environment)?;
                Ok((!are_same(old, &new)).then(|| Form::Host(host.clone(), new)))
            }
            Form::Backend(backend, old) => {
                let new = load_backend(backend, &self.environment)?;
                Ok((!is_same(old, &new)).then(|| Form::Backend(backend.clone(), new)))
            }
            _ => Ok(None),
        }
    }
}

fn names_files(form: &Form) -> bool {
    let is_files = |pair: &Option<KeyPairSource>| matches!(pair, Some(KeyPairSource::Files { .. }));
    match form {
        Form::Host(host, _) => {
            let Host { key_pair, client_auth, .. } = &**host;
            let authorities = client_auth.as_ref().and_then(|auth| auth.authorities.as_ref());
            is_files(key_pair) || matches!(authorities, Some(AuthoritiesSource::File(_)))
        }
        Form::Backend(backend, _) => match &**backend {
            Backend::Http { settings, .. } => is_files(&settings.tls.key_pair),
            Backend::Alias { .. } => false,
        },
        _ => false,
    }
}

fn are_same(old: &HostTls, new: &HostTls) -> bool {
    let asks = |tls: &HostTls| tls.client_policy.as_ref().map(|policy| policy.handshake());
    is_same(&old.certificate, &new.certificate) && asks(old) == asks(new)
}

fn is_same(old: &Option<Arc<Certificate>>, new: &Option<Arc<Certificate>>) -> bool {
    let chain = |certificate: &Option<Arc<Certificate>>| certificate.as_ref().map(|it| it.key().cert.clone());
    chain(old) == chain(new)
}
