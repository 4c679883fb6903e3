//! Names and passwords, judged without telling which of the two is wrong.
//!
//! A right pair is remembered by a keyed hash, so bcrypt runs once for each user and not for each request, and so do the
//! rounds of MD5 that old files ask for. What is wrong is judged each time, off the workers' threads, and how much of it is done is limited: beyond that, requests are asked to
//! come back, and those whose pair is known go on.

use super::crypt;
use super::{Ask, Outcome, Reply};
use crate::message::RequestHead;
use crate::meter::nanos;
use crate::model::{BasicAuthSpec, Secret};
use crate::telemetry::Reason;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::GeneralPurposeConfig;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Time that has to go by for each that bcrypt took: a third of one processor's goes to it at most.
const SPACING: u32 = 3;
/// Checks of one middleware at once, over all workers.
const CHECKS_MAX: u32 = 4;
/// What bcrypt may take at once after a rest.
const BURST: Duration = Duration::from_secs(1);
/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);
/// The same, of a thousand rounds of MD5.
const NOBODY_MD5: &str = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/";
/// Stands for users that there are not: bcrypt of something random at each cost has the same time.
const NOBODY: &str = "$2b$COST$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW";

#[derive(Debug)]
pub(super) struct BasicAuth {
    spec: BasicAuthSpec,
    users: HashMap<Box<str>, User>,
    /// Of bcrypt, the highest among the users; `None`: nobody has one.
    cost: Option<u32>,
    /// Somebody has a hash of many rounds of MD5.
    has_md5: bool,
    /// When what bcrypt took will have been waited for, in nanoseconds.
    paid_at: Mutex<u64>,
    checks: AtomicU32,
    challenge: Box<str>,
}

#[derive(Debug)]
struct User {
    secret: Secret,
    /// Of the right pair, once it has come.
    known: OnceLock<Tag>,
}

/// A keyed hash of a name and a password, with a key of the process.
type Tag = [u8; 32];

/// What is thought of a name and a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// They belong together.
    Right,
    /// They do not.
    Wrong,
    /// Too many were wrong of late to look at this one.
    Later,
}

/// A name and a password whose hash is to be computed. `Debug` does not show them.
pub struct PasswordCheck {
    auth: Arc<BasicAuth>,
    name: String,
    password: Vec<u8>,
    step: usize,
}

impl PasswordCheck {
    /// Takes tens or hundreds of milliseconds of a processor's time.
    pub fn run(&self) -> Judgement {
        self.auth.check(&self.name, &self.password, Instant::now)
    }

    pub(super) fn step(&self) -> usize {
        self.step
    }
}

impl Drop for PasswordCheck {
    fn drop(&mut self) {
        self.auth.checks.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PartialEq for PasswordCheck {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for PasswordCheck {}

impl fmt::Debug for PasswordCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordCheck").field("step", &self.step).finish_non_exhaustive()
    }
}

impl BasicAuth {
    /// Users whose secret did not change stay known.
    pub(super) fn compile(spec: &BasicAuthSpec, previous: Option<&Self>) -> Self {
        let user = |(name, secret): &(Box<str>, Secret)| {
            let known = match (secret, previous.and_then(|previous| previous.users.get(name))) {
                (Secret::Plain(password), _) => OnceLock::from(tag(name, password.as_bytes())),
                (_, Some(user)) if user.secret == *secret => user.known.clone(),
                _ => OnceLock::new(),
            };
            (name.clone(), User { secret: secret.clone(), known })
        };
        let cost = spec.users.iter().filter_map(|(_, secret)| match secret {
            Secret::Bcrypt(_, cost) => Some(*cost),
            _ => None,
        });
        Self {
            users: spec.users.iter().map(user).collect(),
            cost: cost.max(),
            has_md5: spec.users.iter().any(|(_, secret)| matches!(secret, Secret::Md5(_))),
            paid_at: Mutex::default(),
            checks: AtomicU32::new(0),
            challenge: format!("Basic realm=\"{}\", charset=\"UTF-8\"", spec.realm).into(),
            spec: spec.clone(),
        }
    }

    pub(super) fn run(self: &Arc<Self>, request: &mut RequestHead, step: usize) -> Outcome {
        let Some((name, password)) = pair(&request.fields) else {
            return self.act(Judgement::Wrong, request);
        };
        if let Some(judgement) = self.judge(&name, &password) {
            return self.act(judgement, request);
        }
        if !self.may_check(nanos(Instant::now())) {
            return self.act(Judgement::Later, request);
        }
        let check = PasswordCheck { auth: self.clone(), name, password, step };
        if self.checks.fetch_add(1, Ordering::Relaxed) < CHECKS_MAX {
            Outcome::Ask(Ask::Password(check.into()))
        } else {
            self.act(Judgement::Later, request)
        }
    }

    /// What becomes of a request with that judgement.
    pub(super) fn act(&self, judgement: Judgement, request: &mut RequestHead) -> Outcome {
        match judgement {
            Judgement::Right => {
                if !self.spec.pass_authorization {
                    request.fields.remove("Authorization");
                }
                Outcome::Pass
            }
            Judgement::Wrong => Outcome::Reply(Reply {
                fields: vec![("WWW-Authenticate", self.challenge.clone())],
                ..Reply::refuse(401, Reason::Auth)
            }),
            Judgement::Later => Outcome::Reply(Reply {
                fields: vec![("Retry-After", "1".into())],
                ..Reply::refuse(429, Reason::Limited)
            }),
        }
    }

    /// Without what takes long; `None`: that has to say.
    fn judge(&self, name: &str, password: &[u8]) -> Option<Judgement> {
        let given = tag(name, password);
        let user = self.users.get(name);
        let known = user.and_then(|user| user.known.get());
        // Also for a name that there is not, so that it takes as long.
        let is_known = verify_slices_are_equal(known.unwrap_or(&[0; 32]), &given).is_ok();
        if is_known && known.is_some() {
            return Some(Judgement::Right);
        }
        if self.cost.is_some() || self.has_md5 {
            return None;
        }
        Some(remember(user, &given, is_sum(user.map(|user| &user.secret), password)))
    }

    /// With what takes long. Whatever the user has, the time is that of everything that anybody has.
    fn check(&self, name: &str, password: &[u8], clock: impl Fn() -> Instant) -> Judgement {
        let (given, user) = (tag(name, password), self.users.get(name));
        let secret = user.map(|user| &user.secret);
        let begin = nanos(clock());
        let mut right = is_sum(secret, password);
        if let Some(cost) = self.cost {
            right |= match secret {
                Some(Secret::Bcrypt(hash, own)) => {
                    let right = is_bcrypt(password, hash);
                    if *own < cost {
                        is_bcrypt(password, &nobody(cost));
                    }
                    right
                }
                _ => {
                    is_bcrypt(password, &nobody(cost));
                    false
                }
            };
        }
        if self.has_md5 {
            let (hash, is_own) = match secret {
                Some(Secret::Md5(hash)) => (&**hash, true),
                _ => (NOBODY_MD5, false),
            };
            right |= crypt::is_password(password, hash) & is_own;
        }
        self.pay(begin, nanos(clock()));
        remember(user, &given, right)
    }

    fn may_check(&self, now: u64) -> bool {
        let burst = u64::try_from((BURST * SPACING).as_nanos()).unwrap_or(u64::MAX);
        *self.paid_at() <= now.saturating_add(burst)
    }

    fn pay(&self, begin: u64, end: u64) {
        let mut paid_at = self.paid_at();
        let price = end.saturating_sub(begin).saturating_mul(SPACING.into());
        *paid_at = (*paid_at).max(begin).saturating_add(price);
    }

    fn paid_at(&self) -> MutexGuard<'_, u64> {
        self.paid_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remember(user: Option<&User>, given: &Tag, right: bool) -> Judgement {
    match user.filter(|_| right) {
        Some(user) => {
            // Another worker may have been faster.
            let _ = user.known.set(*given);
            Judgement::Right
        }
        None => Judgement::Wrong,
    }
}

fn nobody(cost: u32) -> String {
    NOBODY.replace("COST", &format!("{cost:02}"))
}

fn is_bcrypt(password: &[u8], hash: &str) -> bool {
    // Bcrypt itself ends at a zero.
    !password.contains(&0) && bcrypt::verify(password, hash).unwrap_or(false)
}

fn is_sum(secret: Option<&Secret>, password: &[u8]) -> bool {
    let (sum, algorithm) = match secret {
        Some(Secret::Sha1(sum)) => (&sum[..], &SHA1_FOR_LEGACY_USE_ONLY),
        Some(Secret::Sha256(sum)) => (&sum[..], &SHA256),
        // A plain one's tag is known from the start. The time is the same: it must not tell who there is, and the
        // client chooses how long the password is.
        _ => (&[][..], &SHA256),
    };
    verify_slices_are_equal(digest(algorithm, password).as_ref(), sum).is_ok()
}

fn tag(name: &str, password: &[u8]) -> Tag {
    static KEY: LazyLock<hmac::Key> =
        LazyLock::new(|| hmac::Key::new(HMAC_SHA256, &rand::random::<[u8; 32]>()));
    let mut context = hmac::Context::with_key(&KEY);
    // A name has no colon.
    context.update(name.as_bytes());
    context.update(b":");
    context.update(password);
    let mut tag = Tag::default();
    tag.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
    tag
}

/// Name and password of a request that brings exactly one pair.
fn pair(fields: &crate::message::Fields) -> Option<(String, Vec<u8>)> {
    let mut values = fields.get_all("Authorization");
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, credentials) = value.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let mut name = BASE64.decode(credentials.trim_ascii()).ok()?;
    let colon = name.iter().position(|byte| *byte == b':')?;
    let password = name.split_off(colon + 1);
    name.truncate(colon);
    Some((String::from_utf8(name).ok()?, password))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MiddlewareSpec, Object, ObjectKey, Strictness};

    // Of `secret`, at cost 4, as `htpasswd -nbB -C 4` makes it.
    pub(super) fn hashed(cost: u32) -> String {
        bcrypt::hash("secret", cost).unwrap()
    }

    fn spec(json: &serde_json::Value) -> BasicAuthSpec {
        let value = serde_json::json!({"Type": "basicauth", "Middleware": json});
        let key = ObjectKey::parse("middlewares/m").unwrap();
        match Object::parse_value(&key, &value, Strictness::Written).object {
            Some(Object::Middleware(middleware)) => match middleware.spec {
                MiddlewareSpec::BasicAuth(spec) => spec,
                other => panic!("{other:?}"),
            },
            _ => panic!("{value}"),
        }
    }

    /// As a request is judged, on one thread.
    fn whole(auth: &BasicAuth, name: &str, password: &[u8], clock: impl Fn() -> Instant) -> Judgement {
        if let Some(judgement) = auth.judge(name, password) {
            return judgement;
        }
        let begin = std::cell::Cell::new(Some(clock()));
        if !auth.may_check(begin.get().map_or(0, nanos)) {
            return Judgement::Later;
        }
        auth.check(name, password, || begin.take().unwrap_or_else(&clock))
    }

    #[test]
    fn few_are_checked_at_once() {
        let auth = Arc::new(BasicAuth::compile(&spec(&serde_json::json!({"Users": {"b": hashed(4)}})), None));
        let ask = || {
            let mut request = crate::middleware::tests::read(
                "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic Yjp3cm9uZw==\r\n\r\n",
            )
            .unwrap();
            auth.run(&mut request, 0)
        };
        let asked: Vec<Outcome> = (0..CHECKS_MAX).map(|_| ask()).collect();
        assert!(asked.iter().all(|outcome| matches!(outcome, Outcome::Ask(Ask::Password(_)))));
        assert!(matches!(ask(), Outcome::Reply(Reply { status: 429, .. })));
        drop(asked);
        let Outcome::Ask(Ask::Password(check)) = ask() else { panic!("there is room again") };
        assert_eq!(
            (check.run(), format!("{check:?}")),
            (Judgement::Wrong, "PasswordCheck { step: 0, .. }".into())
        );
    }

    #[test]
    fn pairs_are_right_or_wrong_in_every_form() {
        let users = serde_json::json!({
            "b": hashed(4), "m": "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/", "s": "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "t": "{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
        });
        let auth = BasicAuth::compile(
            &spec(&serde_json::json!({"Username": "p", "Password": "secret", "Users": users})),
            None,
        );
        let judge = |name: &str, password: &[u8]| whole(&auth, name, password, Instant::now);
        for name in ["p", "b", "m", "s", "t"] {
            for _ in 0..2 {
                assert_eq!(judge(name, b"wrong"), Judgement::Wrong, "{name}");
                assert_eq!(judge(name, b""), Judgement::Wrong, "{name}");
                assert_eq!(judge(name, b"secret\0"), Judgement::Wrong, "{name}");
                assert_eq!(judge(name, b"secret"), Judgement::Right, "{name}");
            }
        }
        for name in ["", "P", "x", "p:", "p:secret"] {
            assert_eq!(judge(name, b"secret"), Judgement::Wrong, "{name}");
        }
    }

    #[test]
    fn checks_are_limited_and_known_pairs_are_not() {
        let auth =
            BasicAuth::compile(&spec(&serde_json::json!({"Users": {"b": hashed(4), "c": hashed(4)}})), None);
        // Each look at the clock is 50 ms after the last.
        let (start, looks) = (Instant::now(), std::cell::Cell::new(0));
        let clock = || {
            looks.set(looks.get() + 1);
            start + Duration::from_millis(50) * looks.get()
        };
        assert_eq!(whole(&auth, "b", b"secret", clock), Judgement::Right);
        let checks = (0..1_000).take_while(|_| whole(&auth, "x", b"y", clock) == Judgement::Wrong).count();
        // Each costs 150 ms of which 100 go by until the next: 3 s are used up after 60.
        assert_eq!(checks, 60);
        let late = start + Duration::from_millis(50) * looks.get();
        assert_eq!(whole(&auth, "c", b"secret", || late), Judgement::Later);
        assert_eq!(whole(&auth, "b", b"wrong", || late), Judgement::Later);
        assert_eq!(whole(&auth, "b", b"secret", || late), Judgement::Right);
        assert_eq!(whole(&auth, "c", b"secret", || late + Duration::from_secs(1)), Judgement::Right);
    }

    #[test]
    fn an_edit_keeps_those_known_whose_secret_stays() {
        let (one, other) = (hashed(4), hashed(4));
        let of = |hash: &str| spec(&serde_json::json!({"Users": {"b": hash}, "Realm": "x"}));
        let auth = BasicAuth::compile(&of(&one), None);
        assert_eq!(whole(&auth, "b", b"secret", Instant::now), Judgement::Right);
        let is_known = |auth: &BasicAuth| auth.users["b"].known.get().is_some();
        assert!(is_known(&BasicAuth::compile(&of(&one), Some(&auth))));
        assert!(!is_known(&BasicAuth::compile(&of(&other), Some(&auth))));
    }

    #[test]
    fn nobodys_hash_is_one() {
        for cost in 4..=12 {
            assert!(bcrypt::verify("x", &nobody(cost)).is_ok());
        }
    }
}
