//! One object as the image holds it: what the store says, and what is in force.

use crate::model::{Backend, Frontend, Host, InForce, Listener, Middleware, ObjectKey, Revision, Server};
use crate::table;
use crate::tls::{Certificate, HostTls};
use std::sync::Arc;

/// A valid object, shared with the table.
#[derive(Debug, Clone)]
pub enum Form {
    /// A listener.
    Listener(Arc<Listener>),
    /// A host, with what it names, loaded.
    Host(Arc<Host>, HostTls),
    /// A frontend.
    Frontend(Arc<Frontend>),
    /// A middleware, a frontend's own or shared.
    Middleware(Arc<Middleware>),
    /// A backend or an alias, with the certificate that it shows its servers.
    Backend(Arc<Backend>, Option<Arc<Certificate>>),
    /// A server.
    Server(Arc<Server>),
}

impl Form {
    /// Whether both are the very same value in memory.
    pub(super) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Listener(a), Self::Listener(b)) => Arc::ptr_eq(a, b),
            (Self::Host(a, x), Self::Host(b, y)) => {
                Arc::ptr_eq(a, b)
                    && same(&x.certificate, &y.certificate)
                    && same(&x.client_policy, &y.client_policy)
            }
            (Self::Frontend(a), Self::Frontend(b)) => Arc::ptr_eq(a, b),
            (Self::Middleware(a), Self::Middleware(b)) => Arc::ptr_eq(a, b),
            (Self::Backend(a, x), Self::Backend(b, y)) => Arc::ptr_eq(a, b) && same(x, y),
            (Self::Server(a), Self::Server(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

fn same<T>(one: &Option<Arc<T>>, other: &Option<Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

/// A value as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The bytes, sealed parts still sealed.
    pub raw: Arc<[u8]>,
    /// The store's version of the key.
    pub version: u64,
    /// Orders objects by age.
    pub created: u64,
    /// It stands at `frontends/<id>`, `backends/<id>` or `hosts/<name>` instead of the nested key.
    pub short: bool,
}

/// Why an object that the store no longer has is still in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GhostKind {
    /// A mass removal waits to be confirmed.
    Held,
    /// A shared middleware that frontends in force name.
    Named,
}

/// Everything that outlives a restart about one key; the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What the store said last; absent for a ghost.
    pub stored: Option<Stored>,
    /// The bytes of the form in force, where they are not the stored ones; or of the last good form.
    pub last_good: Option<Arc<[u8]>>,
    /// Which form is in force.
    pub in_force: InForce,
    /// Set for what is in force although the store lacks it, with the revision that removed it.
    pub ghost: Option<(GhostKind, Revision)>,
}

/// One key's new state; `kept` is absent when nothing is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub key: ObjectKey,
    /// Its state.
    pub kept: Option<Kept>,
}

/// One object in the image.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) stored: Option<Stored>,
    /// In force.
    pub(super) form: Option<Form>,
    /// The bytes of `form` where they are not the stored ones; kept, too, when another frontend took its route.
    pub(super) last_good: Option<Arc<[u8]>>,
    /// Of `form`; 0 without one.
    pub(super) hash: u64,
    /// The number of the snapshot that last had it.
    pub(super) seen: u32,
    pub(super) in_force: InForce,
}

impl Default for Slot {
    fn default() -> Self {
        Self { stored: None, form: None, last_good: None, hash: 0, seen: 0, in_force: InForce::None }
    }
}

impl Slot {
    /// The bytes of the form in force.
    pub(super) fn in_force_raw(&self) -> Option<&Arc<[u8]>> {
        match self.in_force {
            InForce::None => None,
            InForce::Previous => self.last_good.as_ref(),
            InForce::This => self.stored.as_ref().map(|stored| &stored.raw),
        }
    }
}

/// What the table is told about a key.
pub(super) fn change(key: &ObjectKey, form: Option<&Form>) -> Option<table::Change> {
    use table::Change;
    Some(match (key.clone(), form.cloned()) {
        (ObjectKey::Listener(id), None) => Change::Listener(id, None),
        (ObjectKey::Listener(id), Some(Form::Listener(it))) => Change::Listener(id, Some(it)),
        (ObjectKey::Host(name), None) => Change::Host(name, None),
        (ObjectKey::Host(name), Some(Form::Host(it, tls))) => Change::Host(name, Some((it, tls))),
        (ObjectKey::Frontend(id), None) => Change::Frontend(id, None),
        (ObjectKey::Frontend(id), Some(Form::Frontend(it))) => Change::Frontend(id, Some(it)),
        (ObjectKey::OwnMiddleware(of, id), None) => Change::OwnMiddleware(of, id, None),
        (ObjectKey::OwnMiddleware(of, id), Some(Form::Middleware(it))) => {
            Change::OwnMiddleware(of, id, Some(it))
        }
        (ObjectKey::SharedMiddleware(id), None) => Change::SharedMiddleware(id, None),
        (ObjectKey::SharedMiddleware(id), Some(Form::Middleware(it))) => {
            Change::SharedMiddleware(id, Some(it))
        }
        (ObjectKey::Backend(id), None) => Change::Backend(id, None),
        (ObjectKey::Backend(id), Some(Form::Backend(it, certificate))) => {
            Change::Backend(id, Some((it, certificate)))
        }
        (ObjectKey::Server(of, id), None) => Change::Server(of, id, None),
        (ObjectKey::Server(of, id), Some(Form::Server(it))) => Change::Server(of, id, Some(it)),
        _ => return None,
    })
}

/// What depends on others is looked at after them, so that one revision needs one pass whatever its order.
pub(super) fn rank(key: &ObjectKey) -> u8 {
    match key {
        ObjectKey::Listener(_) | ObjectKey::Host(_) => 0,
        ObjectKey::SharedMiddleware(_) | ObjectKey::OwnMiddleware(..) => 1,
        ObjectKey::Backend(_) => 2,
        ObjectKey::Server(..) => 3,
        ObjectKey::Frontend(_) => 4,
    }
}

/// An object's part of the table's hash. The same on every proxy and every version: FNV-1a over the canonical key, a
/// zero byte and the bytes in force, then splitmix64's finaliser so that sums of them do not cancel out.
pub(super) fn object_hash(key: &ObjectKey, raw: &[u8]) -> u64 {
    struct Fnv(u64);
    impl Fnv {
        fn add(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
    }
    impl std::fmt::Write for Fnv {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.add(text.as_bytes());
            Ok(())
        }
    }
    let mut fnv = Fnv(0xcbf2_9ce4_8422_2325);
    // Writing into `Fnv` cannot fail.
    let _ = std::fmt::Write::write_fmt(&mut fnv, format_args!("{key}\0"));
    fnv.add(raw);
    let mut z = fnv.0;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
