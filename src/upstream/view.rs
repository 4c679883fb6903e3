//! The servers that get requests right now, worked out once for as long as nothing changes.

use super::clock::whole_millis;
use super::rotation::rotation;
use super::server::{Server, Standing};
use std::sync::Arc;
use std::time::Duration;

/// The share at which a slow start begins, of 1000.
const SHARE_MIN: u64 = 100;
/// The whole share.
const SHARE_FULL: u64 = 1_000;

/// What of a backend's settings decides about who gets requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules<'a> {
    pub panic_percent: u8,
    pub slow_start: Option<Duration>,
    /// Where servers of this zone are preferred.
    pub zone: Option<&'a str>,
}

/// The servers that get requests as long as the epoch is the same and the time has not come.
#[derive(Debug)]
pub(super) struct View {
    pub epoch: u64,
    /// From then on, in milliseconds, it is to be made anew.
    pub valid_until: u64,
    /// Indexes in the order of their turns: one whole round.
    pub rotation: Box<[u16]>,
    /// By index.
    eligible: Box<[bool]>,
    /// By index: since when the share grows, or 0. None where nobody's does.
    ramps: Option<Box<[u64]>>,
    slow_start_ms: u64,
}

/// A server as the choice of those that get requests sees it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    standing: Standing,
    /// It had requests before its first check, and goes on having them until that, where those that are known to be well
    /// are too few.
    presumed: bool,
    /// It stands in the zone that is preferred.
    near: bool,
}

impl View {
    /// The view of `servers` at `now`.
    pub(super) fn build(servers: &[Arc<Server>], rules: &Rules<'_>, epoch: u64, now: u64) -> Self {
        let seen: Vec<_> = servers.iter().map(|server| seen(server, rules, now)).collect();
        let eligible = choose(&seen, rules.panic_percent);
        let slow_start_ms = rules.slow_start.map_or(0, whole_millis);
        let ramps: Box<[u64]> = servers
            .iter()
            .map(|server| server.began_well(now))
            .map(|since| if now < since.saturating_add(slow_start_ms) { since } else { 0 })
            .collect();
        let weight = |(server, eligible): (&Arc<Server>, &bool)| if *eligible { server.weight } else { 0 };
        let weights: Vec<u16> = servers.iter().zip(&eligible).map(weight).collect();
        let ends = ramps.iter().filter(|since| **since > 0).map(|since| since.saturating_add(slow_start_ms));
        let active = servers.iter().filter(|server| server.takes_requests());
        let returns = active.map(|server| server.ejected_until()).filter(|until| *until > now);
        Self {
            epoch,
            valid_until: ends.chain(returns).min().unwrap_or(u64::MAX),
            rotation: rotation(&weights),
            eligible: eligible.into(),
            ramps: ramps.iter().any(|since| *since > 0).then_some(ramps),
            slow_start_ms,
        }
    }

    /// Whether the server of this index gets requests.
    pub(super) fn is_eligible(&self, index: u16) -> bool {
        self.eligible.get(usize::from(index)).copied().unwrap_or(false)
    }

    /// The indexes of all that get requests.
    pub(super) fn eligible(&self) -> impl Iterator<Item = u16> {
        self.eligible.iter().zip(0..=u16::MAX).filter(|(eligible, _)| **eligible).map(|(_, index)| index)
    }

    /// Whether the server of this index, whose turn it is, leaves it to another because its share still grows.
    pub(super) fn declines(&self, index: u16, now: u64, random: u64) -> bool {
        let Some(ramps) = &self.ramps else { return false };
        let since = ramps.get(usize::from(index)).copied().unwrap_or(0);
        since > 0 && random % SHARE_FULL >= share(now.saturating_sub(since), self.slow_start_ms)
    }
}

fn seen(server: &Server, rules: &Rules<'_>, now: u64) -> Seen {
    let near = rules.zone.is_some_and(|zone| server.zone.as_deref() == Some(zone));
    // Without a weight it gets no requests, whatever it is.
    let standing = if server.takes_requests() { server.standing_at(now) } else { Standing::Disabled };
    Seen { standing, presumed: server.is_presumed(), near }
}

/// Of 1000, after so long of a slow start.
fn share(age_ms: u64, slow_start_ms: u64) -> u64 {
    if age_ms >= slow_start_ms {
        return SHARE_FULL;
    }
    let grown = u128::from(SHARE_FULL - SHARE_MIN) * u128::from(age_ms) / u128::from(slow_start_ms.max(1));
    SHARE_MIN + grown as u64
}

/// Who gets requests: those that are well; where they are fewer than half, also those that nobody has heard of yet but that
/// had requests before; where none is well, all that are not known to be unwell; where even those are ejected, the ejected.
/// And all that are active where too few are well. Of those that are well, the near ones, if there are any.
fn choose(servers: &[Seen], panic_percent: u8) -> Vec<bool> {
    let count = |standing| servers.iter().filter(|seen| seen.standing == standing).count();
    let (well, unknown) = (count(Standing::Well), count(Standing::Unknown));
    let (unwell, ejected) = (count(Standing::Unwell), count(Standing::Ejected));
    let active = well + unknown + unwell + ejected;
    let take = |chosen: &dyn Fn(&Seen) -> bool| servers.iter().map(chosen).collect::<Vec<bool>>();
    // Of those that nobody has heard of yet nothing speaks for panic.
    if well * 100 < usize::from(panic_percent) * (well + unwell + ejected) {
        return take(&|seen| !matches!(seen.standing, Standing::Draining | Standing::Disabled));
    }
    if well == 0 {
        let last = if unknown > 0 { Standing::Unknown } else { Standing::Ejected };
        return take(&|seen| seen.standing == last);
    }
    let is_near = |seen: &Seen| seen.standing == Standing::Well && seen.near;
    if servers.iter().any(is_near) {
        return take(&is_near);
    }
    let few = well * 2 < active;
    take(&|seen| match seen.standing {
        Standing::Well => true,
        Standing::Unknown => few && seen.presumed,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_requests() {
        // w well, p unknown but had requests before, n unknown and new, s unwell, e ejected, d draining; upper case: near.
        let check = |servers: &str, panic_percent: u8, expected: &str| {
            let seen = |letter: char| Seen {
                standing: match letter.to_ascii_lowercase() {
                    'w' => Standing::Well,
                    'p' | 'n' => Standing::Unknown,
                    's' => Standing::Unwell,
                    'e' => Standing::Ejected,
                    _ => Standing::Draining,
                },
                presumed: letter == 'p',
                near: letter.is_uppercase(),
            };
            let seen: Vec<_> = servers.chars().map(seen).collect();
            let chosen = choose(&seen, panic_percent);
            let shown: String = chosen.iter().map(|chosen| if *chosen { '+' } else { '-' }).collect();
            assert_eq!(shown, expected, "{servers} {panic_percent}");
        };
        check("", 0, "");
        check("www", 0, "+++");
        check("wsed", 0, "+---");
        check("wn", 0, "+-");
        check("wp", 0, "+-");
        check("wpps", 0, "+++-");
        check("wnns", 0, "+---");
        check("nps", 0, "++-");
        check("ss", 0, "--");
        check("sed", 0, "-+-");
        check("ssd", 50, "++-");
        check("wses", 50, "++++");
        check("wsws", 50, "+-+-");
        check("wses", 25, "+---");
        check("wWw", 0, "-+-");
        check("wSw", 0, "+-+");
    }

    #[test]
    fn a_share_grows_evenly_from_a_tenth() {
        for (age, expected) in [(0, 100), (5_000, 550), (9_999, 999), (10_000, 1_000), (u64::MAX, 1_000)] {
            assert_eq!(share(age, 10_000), expected, "{age}");
        }
        assert_eq!(share(0, 0), 1_000);
    }
}
