//! Client certificates: what a client has shown in its handshake, and whether a request may rest on it.

use super::client::Client;
use super::error::Failure;
use super::passage::Passage;
use crate::message::Known;
use crate::model::ClientAuthMode;
use crate::telemetry::Reason;
use crate::tls::{ClientPolicies, ClientPolicy, describe_client};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{HandshakeKind, ServerConnection};
use std::cell::RefCell;
use std::sync::Arc;

/// Fields that tell the server of the client's certificate. They are ours alone wherever a host has a policy, and
/// everywhere once servers may believe them.
const FIELDS: [Known; 3] =
    [Known::XClientCertVerified, Known::XClientCertSubject, Known::XClientCertFingerprint];

/// What a client showed when it was asked for a certificate.
pub(super) struct Shown {
    asked: Arc<ClientPolicy>,
    /// Its own certificate first; empty: it showed none.
    chain: Box<[CertificateDer<'static>]>,
    /// Subject and fingerprint of its own certificate.
    described: Option<(Box<str>, Box<str>)>,
    /// Whether the chain is good under the policy that was last asked about: checked once for each.
    verdict: RefCell<Option<(Arc<ClientPolicy>, bool)>>,
}

impl Shown {
    /// What the session of a handshake under `asked` has of the client.
    pub(super) fn new(asked: Arc<ClientPolicy>, session: &ServerConnection) -> Self {
        let chain: Box<[_]> = session.peer_certificates().unwrap_or_default().into();
        // A resumed session brings its chain along, which may have run out since.
        let is_checked = session.handshake_kind() != Some(HandshakeKind::Resumed) && !chain.is_empty();
        let verdict = is_checked.then(|| (asked.clone(), true));
        let described = chain.first().map(|own| describe_client(own));
        Self { asked, chain, described, verdict: RefCell::new(verdict) }
    }

    pub(super) fn subject(&self) -> Option<&str> {
        self.described.as_ref().map(|(subject, _)| &**subject)
    }

    fn is_good_for(&self, policy: &Arc<ClientPolicy>) -> bool {
        let mut verdict = self.verdict.borrow_mut();
        match &*verdict {
            Some((of, good)) if Arc::ptr_eq(of, policy) => *good,
            _ => {
                let good = policy.accepts(&self.chain, UnixTime::now());
                *verdict = Some((policy.clone(), good));
                good
            }
        }
    }
}

/// Whether the client has shown a certificate that is good for `policy`; `None`: its connection was not made as the
/// policy asks for, and another one may be.
fn judge(client: &Client, policy: &Arc<ClientPolicy>) -> Option<bool> {
    let shown = client.shown.as_deref();
    let with_chain = shown.filter(|shown| !shown.chain.is_empty());
    match (policy.mode, with_chain) {
        (ClientAuthMode::Off, _) => Some(false),
        (_, Some(shown)) => shown.is_good_for(policy).then_some(true),
        (ClientAuthMode::Required, None) => None,
        (ClientAuthMode::Optional, None) => {
            // Who had no chance to show one would be taken for one who has none.
            let was_asked = shown.is_some_and(|shown| shown.asked.has_authorities_of(policy));
            (was_asked || client.listener.tls.is_none()).then_some(false)
        }
    }
}

/// Holds a request to its host's policy, and makes its head say what the client has shown, and only that.
///
/// # Errors
/// The connection does not do for the host; it is to be closed, so that the client makes another.
pub(super) fn admit(passage: &mut Passage, policies: &ClientPolicies) -> Result<(), Failure> {
    let Some(policy) = policies.of(Some(passage.head.host())) else {
        if policies.forwards() {
            FIELDS.into_iter().for_each(|known| passage.head.fields.remove_known(known));
        }
        return Ok(());
    };
    let Some(verified) = judge(&passage.client, policy) else {
        passage.client.misdirected.notify_one();
        return Err(Failure::of(Reason::Misdirected));
    };
    let client = &passage.client;
    let fields = &mut passage.head.fields;
    FIELDS.into_iter().for_each(|known| fields.remove_known(known));
    if policy.forward && policy.mode != ClientAuthMode::Off {
        let [told, subject, fingerprint] = FIELDS;
        fields.set_known(told, |out| out.extend_from_slice(if verified { b"true" } else { b"false" }));
        let described = client.shown.as_ref().and_then(|shown| shown.described.as_ref());
        if let Some((of, print)) = described.filter(|_| verified) {
            fields.set_known(subject, |out| out.extend_from_slice(of.as_bytes()));
            fields.set_known(fingerprint, |out| out.extend_from_slice(print.as_bytes()));
        }
    }
    Ok(())
}
