//! The gate: who may begin a handshake, decided before any cryptography is paid for.
//!
//! # Security
//! Provided: bounded memory and handshakes for any number of connects; one neighbourhood can't
//! use up what the others need, and those that keep calling can't use up what is kept for the
//! ones that seldom do (attack rows 1, 2, 3). Whoever is silent keeps nobody out: where every
//! place before the handshake is taken, the one that has waited longest in the most crowded
//! neighbourhood makes room. Not provided: defence against a flood from hundreds of
//! neighbourhoods at once beyond the global limits.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{ManagerConfig, SessionId};
use crate::{
    address::{Address, NetworkGroup},
    book::TokenBucket,
    identity::NodeId,
    reason::CloseReason,
    time::{Millis, Time},
};

/// Network groups whose rate is remembered; strangers beyond are judged by the global rate.
const GROUPS_MAX: usize = 4_096;
/// A bucket holds this many seconds' worth of handshakes.
const BURST_SECONDS: u64 = 2;
/// One handshake in so many is kept for neighbourhoods that were not let in lately. A guess: 50
/// of 200 a second are far more than honest newcomers need.
const KEPT_PART: u64 = 4;
/// How long ago "lately" is, ms. An attacker needs ten neighbourhoods for each handshake a second
/// that it takes of what is kept.
const LATELY: Millis = 10_000;

/// Inbound connections before they are peers.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    half_open: BTreeMap<SessionId, HalfOpen>,
    /// For everybody.
    shared: TokenBucket,
    /// For neighbourhoods that were not let in lately, when the shared one is empty.
    kept: TokenBucket,
    /// Those that relays bring count apart from the relays' neighbours.
    groups: BTreeMap<(bool, NetworkGroup), GroupUse>,
}

/// What a neighbourhood has used.
#[derive(Clone, Debug)]
struct GroupUse {
    bucket: TokenBucket,
    /// When it was let in last.
    last: Option<Time>,
}

#[derive(Clone, Debug)]
struct HalfOpen {
    address: Address,
    /// Who it is, by what a relay says.
    from: Option<NodeId>,
    until: Time,
}

impl HalfOpen {
    fn crowd(&self) -> (bool, NetworkGroup) {
        crowd(&self.address)
    }
}

/// Where somebody comes from: a neighbourhood, or through relays in it.
fn crowd(address: &Address) -> (bool, NetworkGroup) {
    (address.is_circuit(), address.group())
}

impl GroupUse {
    fn is_seldom(&self, now: Time) -> bool {
        self.last.is_none_or(|last| now.since(last) >= LATELY)
    }
}

fn bucket(now: Time, per_second: u64) -> TokenBucket {
    let burst = per_second.saturating_mul(BURST_SECONDS);
    TokenBucket::new(now, burst, per_second.saturating_mul(1000))
}

impl Gate {
    pub(super) fn new(config: &ManagerConfig) -> Self {
        let kept = config.handshakes_per_second / KEPT_PART;
        let shared = config.handshakes_per_second.saturating_sub(kept);
        Gate {
            half_open: BTreeMap::new(),
            shared: bucket(Time::ZERO, shared),
            kept: bucket(Time::ZERO, kept),
            groups: BTreeMap::new(),
        }
    }

    /// Lets a connection in, or says why not; if every place is taken, answers whom it must take
    /// the place of. `exempt` addresses have no limits of their own.
    pub(super) fn enter(
        &mut self,
        config: &ManagerConfig,
        now: Time,
        session: SessionId,
        (address, from): (Address, Option<NodeId>),
        exempt: bool,
    ) -> Result<Option<SessionId>, CloseReason> {
        let group = crowd(&address);
        let (circuit, ip) = (address.is_circuit(), address.ip());
        let of_ip = || {
            let same = move |h: &&HalfOpen| h.address.is_circuit() == circuit;
            self.half_open.values().filter(same).filter(move |h| h.address.ip() == ip)
        };
        // One node through one relay at a time, or one could take all that the relay has.
        if from.is_some() && of_ip().any(|half_open| half_open.from == from) {
            return Err(CloseReason::RateLimited);
        }
        if !exempt {
            let of_group = self.half_open.values().filter(|h| h.crowd() == group);
            if of_group.count() >= config.half_open_per_group_max
                || of_ip().count() >= config.half_open_per_ip_max
                || !self.take_of_group(config, now, group)
            {
                return Err(CloseReason::RateLimited);
            }
        }
        let seldom = !exempt && self.groups.get(&group).is_some_and(|used| used.is_seldom(now));
        let begins = self.shared.take(now) || (seldom && self.kept.take(now));
        if !begins {
            return Err(CloseReason::RateLimited);
        }
        if let Some(used) = self.groups.get_mut(&group) {
            used.last = Some(now);
        }
        let full = self.half_open.len() >= config.half_open_max;
        let gives_way = if full { self.take_oldest_of_most_crowded() } else { None };
        let until = now.plus(config.handshake_timeout);
        self.half_open.insert(session, HalfOpen { address, from, until });
        Ok(gives_way)
    }

    fn take_of_group(
        &mut self,
        config: &ManagerConfig,
        now: Time,
        group: (bool, NetworkGroup),
    ) -> bool {
        if !self.groups.contains_key(&group) && self.groups.len() >= GROUPS_MAX {
            self.groups.retain(|_, used| !used.bucket.is_full(now) || !used.is_seldom(now));
            if self.groups.len() >= GROUPS_MAX {
                return true;
            }
        }
        let fresh = bucket(now, config.handshakes_per_second_per_group);
        let used = self.groups.entry(group).or_insert(GroupUse { bucket: fresh, last: None });
        used.bucket.take(now)
    }

    /// Takes out whoever has waited longest in the neighbourhood with the most waiting; where
    /// several have as many, the longest of all. Whoever shakes hands is done long before: the
    /// rate lets 200 in each second, and there are 256 places.
    fn take_oldest_of_most_crowded(&mut self) -> Option<SessionId> {
        let mut crowds: BTreeMap<(bool, NetworkGroup), usize> = BTreeMap::new();
        for half_open in self.half_open.values() {
            let crowd = crowds.entry(half_open.crowd()).or_default();
            *crowd = crowd.saturating_add(1);
        }
        let oldest = self.half_open.iter().min_by_key(|(session, half_open)| {
            let crowd = crowds.get(&half_open.crowd()).copied();
            (Reverse(crowd), half_open.until, **session)
        });
        let session = oldest.map(|(session, _)| *session)?;
        self.half_open.remove(&session);
        Some(session)
    }

    /// The handshake ended, well or not; whether there was one.
    pub(super) fn leave(&mut self, session: SessionId) -> bool {
        self.half_open.remove(&session).is_some()
    }

    /// Those that took too long, taken out.
    pub(super) fn take_late(&mut self, now: Time) -> Vec<SessionId> {
        let mut late = Vec::new();
        self.half_open.retain(|session, half_open| {
            let in_time = half_open.until > now;
            if !in_time {
                late.push(*session);
            }
            in_time
        });
        late
    }

    /// All of them, taken out.
    pub(super) fn take_all(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.half_open).into_keys().collect()
    }

    /// How many are half open.
    pub(super) fn len(&self) -> usize {
        self.half_open.len()
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.half_open.values().map(|h| h.until).min()
    }
}
