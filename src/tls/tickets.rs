//! Session tickets: the keys that seal them, how they turn over, and who shares them.
//!
//! A ticket is `key name (16 bytes) | nonce (12) | AES-256-GCM of the session, tag included`. A key seals for
//! [`ROTATION`] and opens for [`LIFETIME`] in all; then it is gone, and with it whatever its tickets could have told.
//!
//! A ring without a secret draws its keys at random. One with a secret derives them from it, from the epoch and from the
//! TLS policy (HKDF, RFC 5869), so that everyone who shares the secret opens the tickets of everyone else. The program's
//! is drawn at its start and handed on to the process that takes over: whoever reads it out of a process that lives can
//! derive the keys of past epochs, too.

use crate::model::{ListenerTls, TlsVersion};
use arc_swap::ArcSwapOption;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, rand};
use rustls::server::ProducesTickets;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// How long a key seals.
pub const ROTATION: Duration = Duration::from_secs(6 * 60 * 60);

/// How long a key opens, counted from the start of its epoch.
pub const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// Bytes of a fleet secret.
pub const FLEET_SECRET_BYTES: usize = 32;

/// Rings that are kept although nobody may use them.
pub const RINGS_MAX: usize = 1024;

const KEY_NAME_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// The ticket keys of one TLS policy. Tickets of one ring mean nothing to another.
pub struct TicketRing {
    source: Source,
    keys: ArcSwapOption<Keys>,
    turning: Mutex<()>,
}

/// The rings of a process, one for each TLS policy, so that a session made under one policy is never resumed under
/// another.
pub struct TicketRings {
    secret: Option<Zeroizing<[u8; FLEET_SECRET_BYTES]>>,
    rings: Mutex<Vec<(Policy, Arc<TicketRing>)>>,
}

/// What a session was made under: the listener's settings, and what clients were asked for.
#[derive(PartialEq, Eq)]
struct Policy {
    tls: ListenerTls,
    clients: Option<[u8; 33]>,
}

enum Source {
    Random,
    Derived { secret: hkdf::Prk, policy: Box<[u8]> },
}

struct Keys {
    epoch: u64,
    current: Key,
    /// Open too: the epoch before, and with derived keys the one after, for a member whose clock is ahead.
    others: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    epoch: u64,
    name: [u8; KEY_NAME_BYTES],
    sealing: Arc<LessSafeKey>,
}

impl TicketRing {
    /// Keys of this process alone.
    pub fn random() -> Self {
        Self::new(Source::Random)
    }

    /// Keys that everyone derives who knows the secret; another `policy` has other keys.
    pub fn derived(secret: &[u8; FLEET_SECRET_BYTES], policy: &str) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"flipgate ticket ring 1");
        Self::new(Source::Derived { secret: salt.extract(secret), policy: policy.as_bytes().into() })
    }

    fn new(source: Source) -> Self {
        Self { source, keys: ArcSwapOption::empty(), turning: Mutex::new(()) }
    }

    /// Seals a session; `None` where the system has no randomness, and the client then gets no ticket.
    pub fn seal(&self, plain: &[u8], now: SystemTime) -> Option<Vec<u8>> {
        let keys = self.at(now)?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = Vec::with_capacity(KEY_NAME_BYTES + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(plain);
        let Key { name, sealing, .. } = &keys.current;
        sealing
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(name), &mut sealed)
            .ok()?;
        sealed.splice(..0, name.iter().chain(&nonce).copied());
        Some(sealed)
    }

    /// Opens what a client sent; `None` for whatever no key of now has sealed.
    pub fn open(&self, ticket: &[u8], now: SystemTime) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<KEY_NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.at(now)?;
        let key = std::iter::once(&keys.current).chain(&keys.others).find(|key| key.name == *name)?;
        let mut text = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.sealing.open_in_place(nonce, Aad::from(name), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }

    /// Drops keys whose time is over. Sealing and opening do it too; this is for a ring that nobody uses.
    pub fn turn(&self, now: SystemTime) {
        if self.keys.load().is_some() {
            self.at(now);
        }
    }

    /// The keys of this time, turned over where an epoch has ended.
    fn at(&self, now: SystemTime) -> Option<Arc<Keys>> {
        let epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / ROTATION.as_secs();
        let is_of_epoch = |keys: &Arc<Keys>| keys.epoch == epoch;
        if let Some(keys) = self.keys.load_full().filter(is_of_epoch) {
            return Some(keys);
        }
        let _one_turns = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self.keys.load_full();
        if let Some(keys) = last.clone().filter(is_of_epoch) {
            return Some(keys);
        }
        let keys = Arc::new(self.source.keys(epoch, last.as_deref())?);
        self.keys.store(Some(keys.clone()));
        Some(keys)
    }
}

impl ProducesTickets for TicketRing {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, SystemTime::now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, SystemTime::now())
    }
}

impl fmt::Debug for TicketRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.source {
            Source::Random => "TicketRing(random)",
            Source::Derived { .. } => "TicketRing(derived)",
        })
    }
}

impl TicketRings {
    /// Rings with random keys.
    pub fn random() -> Self {
        Self { secret: None, rings: Mutex::default() }
    }

    /// Rings with keys that a fleet shares.
    pub fn derived(secret: Zeroizing<[u8; FLEET_SECRET_BYTES]>) -> Self {
        Self { secret: Some(secret), rings: Mutex::default() }
    }

    /// The ring of all listeners with these settings and of all hosts that ask the same of clients
    /// ([`ClientPolicy::handshake`](super::ClientPolicy::handshake)); the same one each time. Past [`RINGS_MAX`]
    /// those that nobody uses are forgotten.
    pub fn ring(&self, tls: &ListenerTls, clients: Option<[u8; 33]>) -> Arc<TicketRing> {
        let policy = Policy { tls: tls.clone(), clients };
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, ring)) = rings.iter().find(|(of, _)| *of == policy) {
            return ring.clone();
        }
        if rings.len() >= RINGS_MAX {
            rings.retain(|(_, ring)| Arc::strong_count(ring) > 1);
        }
        let ring = Arc::new(match &self.secret {
            None => TicketRing::random(),
            Some(secret) => TicketRing::derived(secret, &policy.text()),
        });
        rings.push((policy, ring.clone()));
        ring
    }

    /// Drops the keys of all rings whose time is over.
    pub fn turn(&self, now: SystemTime) {
        for (_, ring) in self.rings.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            ring.turn(now);
        }
    }
}

impl fmt::Debug for TicketRings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secret.is_some() { "TicketRings(derived)" } else { "TicketRings(random)" })
    }
}

impl Source {
    fn keys(&self, epoch: u64, last: Option<&Keys>) -> Option<Keys> {
        let current = self.key(epoch)?;
        let others = match self {
            Self::Random => last
                .map(|keys| keys.current.clone())
                .filter(|key| key.epoch.abs_diff(epoch) == 1)
                .into_iter()
                .collect(),
            Self::Derived { .. } => [epoch.checked_sub(1), epoch.checked_add(1)]
                .into_iter()
                .flatten()
                .filter_map(|of| self.key(of))
                .collect(),
        };
        Some(Keys { epoch, current, others })
    }

    fn key(&self, epoch: u64) -> Option<Key> {
        let mut material = Zeroizing::new([0; KEY_NAME_BYTES + KEY_BYTES]);
        match self {
            Self::Random => rand::fill(material.as_mut_slice()).ok()?,
            Self::Derived { secret, policy } => secret
                .expand(&[&epoch.to_be_bytes(), policy], MaterialLength)
                .and_then(|okm| okm.fill(material.as_mut_slice()))
                .ok()?,
        }
        let (name, key) = material.split_first_chunk::<KEY_NAME_BYTES>()?;
        let sealing = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
        Some(Key { epoch, name: *name, sealing: Arc::new(sealing) })
    }
}

struct MaterialLength;

impl hkdf::KeyType for MaterialLength {
    fn len(&self) -> usize {
        KEY_NAME_BYTES + KEY_BYTES
    }
}

impl Policy {
    /// All that sets one policy apart from another. It enters the keys of a fleet: changing a text here makes proxies
    /// of two versions refuse each other's tickets, which costs a full handshake and nothing else.
    fn text(&self) -> String {
        let ListenerTls { min_version, max_version, tickets_disabled: _, cipher_suites, own_order: _ } =
            &self.tls;
        let version = |version: &TlsVersion| match version {
            TlsVersion::V1_2 => "1.2",
            TlsVersion::V1_3 => "1.3",
        };
        let mut text = format!("tls {}-{}", version(min_version), version(max_version));
        text.extend(cipher_suites.iter().flat_map(|suite| [" ", suite.as_str()]));
        if let Some(clients) = &self.clients {
            text.push_str(" clients ");
            text.extend(clients.iter().map(|byte| format!("{byte:02x}")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(hours: u64) -> SystemTime {
        UNIX_EPOCH + ROTATION * 1000 + Duration::from_secs(hours * 3600)
    }

    #[test]
    fn a_key_seals_for_six_hours_and_opens_for_twelve() {
        for ring in [TicketRing::random(), TicketRing::derived(&[7; 32], "p")] {
            let early = ring.seal(b"session", hours(0)).unwrap();
            let late = ring.seal(b"session", hours(5)).unwrap();
            assert_eq!(early[..16], late[..16], "one key name an epoch");
            assert_ne!(early[16..28], late[16..28], "a nonce for each ticket");
            for now in [0, 5, 6, 11] {
                assert_eq!(ring.open(&early, hours(now)).as_deref(), Some(&b"session"[..]), "{now}");
                assert_eq!(ring.open(&late, hours(now)).as_deref(), Some(&b"session"[..]), "{now}");
            }
            assert_eq!(ring.open(&early, hours(12)), None);
            assert_eq!(ring.open(&late, hours(12)), None);
        }
    }

    #[test]
    fn a_random_key_is_gone_once_its_time_is_over() {
        let ring = TicketRing::random();
        let ticket = ring.seal(b"session", hours(0)).unwrap();
        ring.turn(hours(13));
        assert_eq!(ring.open(&ticket, hours(13)), None);
        assert_eq!(ring.open(&ticket, hours(0)), None, "not even with the clock put back");
    }

    #[test]
    fn a_fleet_opens_its_tickets_and_a_stranger_does_not() {
        let [ours, twin] = [(); 2].map(|()| TicketRing::derived(&[7; 32], "p"));
        let ticket = ours.seal(b"session", hours(6)).unwrap();
        assert!(twin.open(&ticket, hours(6)).is_some());
        assert!(twin.open(&ticket, hours(5)).is_some(), "a member whose clock is behind");
        assert!(twin.open(&ticket, hours(11)).is_some());
        for other in
            [TicketRing::random(), TicketRing::derived(&[8; 32], "p"), TicketRing::derived(&[7; 32], "q")]
        {
            assert_eq!(other.open(&ticket, hours(6)), None);
        }
    }

    #[test]
    fn nothing_but_a_whole_ticket_opens() {
        let ring = TicketRing::random();
        let ticket = ring.seal(b"session", hours(0)).unwrap();
        for length in 0..ticket.len() {
            assert_eq!(ring.open(&ticket[..length], hours(0)), None, "{length}");
        }
        for place in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[place] ^= 1;
            assert_eq!(ring.open(&changed, hours(0)), None, "{place}");
        }
    }

    #[test]
    fn one_ring_for_each_policy() {
        for rings in [TicketRings::random(), TicketRings::derived(Zeroizing::new([7; 32]))] {
            let both = ListenerTls::default();
            let only = ListenerTls { min_version: TlsVersion::V1_3, ..ListenerTls::default() };
            let (optional, required) = (Some([1; 33]), Some([2; 33]));
            for clients in [None, optional, required] {
                assert!(Arc::ptr_eq(&rings.ring(&both, clients), &rings.ring(&both, clients)));
                let ticket = rings.ring(&both, clients).seal(b"session", hours(0)).unwrap();
                for (tls, others) in [(&both, None), (&both, optional), (&both, required), (&only, clients)] {
                    let opened = rings.ring(tls, others).open(&ticket, hours(0)).is_some();
                    assert_eq!(opened, *tls == both && others == clients, "{clients:?} {others:?}");
                }
            }
            (0..2 * RINGS_MAX).for_each(|n| {
                let mut clients = [3; 33];
                clients[..8].copy_from_slice(&n.to_be_bytes());
                rings.ring(&both, Some(clients));
            });
            assert!(rings.rings.lock().unwrap().len() <= RINGS_MAX);
        }
    }
}
