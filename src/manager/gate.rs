//! The gate: who may begin a handshake, decided before any cryptography is paid for.
//!
//! # Security
//! Provided: bounded memory and handshakes for any number of connects; one neighbourhood can't
//! use up what the others need (attack rows 1, 2, 3). Not provided: defence against a flood from
//! thousands of neighbourhoods at once beyond the global limits.

use std::collections::BTreeMap;

use super::{ManagerConfig, SessionId};
use crate::{
    address::{Address, NetworkGroup},
    book::TokenBucket,
    reason::CloseReason,
    time::Time,
};

/// Network groups whose rate is remembered; strangers beyond are judged by the global rate.
const GROUPS_MAX: usize = 4_096;
/// A bucket holds this many seconds' worth of handshakes.
const BURST_SECONDS: u64 = 2;

/// Inbound connections before they are peers.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    half_open: BTreeMap<SessionId, HalfOpen>,
    all: TokenBucket,
    groups: BTreeMap<NetworkGroup, TokenBucket>,
}

#[derive(Clone, Debug)]
struct HalfOpen {
    address: Address,
    until: Time,
}

fn bucket(now: Time, per_second: u64) -> TokenBucket {
    let burst = per_second.saturating_mul(BURST_SECONDS);
    TokenBucket::new(now, burst, per_second.saturating_mul(1000))
}

impl Gate {
    pub(super) fn new(config: &ManagerConfig) -> Self {
        let all = bucket(Time::ZERO, config.handshakes_per_second);
        Gate { half_open: BTreeMap::new(), all, groups: BTreeMap::new() }
    }

    /// Lets a connection in, or says why not. `exempt` addresses have no limits of their own.
    pub(super) fn enter(
        &mut self,
        config: &ManagerConfig,
        now: Time,
        session: SessionId,
        address: Address,
        exempt: bool,
    ) -> Result<(), CloseReason> {
        if self.half_open.len() >= config.half_open_max {
            return Err(CloseReason::RateLimited);
        }
        if !exempt {
            let (group, ip) = (address.group(), address.ip());
            let of_group = self.half_open.values().filter(|h| h.address.group() == group);
            let of_ip = self.half_open.values().filter(|h| h.address.ip() == ip);
            if of_group.count() >= config.half_open_per_group_max
                || of_ip.count() >= config.half_open_per_ip_max
                || !self.take_of_group(config, now, group)
            {
                return Err(CloseReason::RateLimited);
            }
        }
        if !self.all.take(now) {
            return Err(CloseReason::RateLimited);
        }
        let until = now.plus(config.handshake_timeout);
        self.half_open.insert(session, HalfOpen { address, until });
        Ok(())
    }

    fn take_of_group(&mut self, config: &ManagerConfig, now: Time, group: NetworkGroup) -> bool {
        if !self.groups.contains_key(&group) && self.groups.len() >= GROUPS_MAX {
            self.groups.retain(|_, bucket| !bucket.is_full(now));
            if self.groups.len() >= GROUPS_MAX {
                return true;
            }
        }
        let fresh = bucket(now, config.handshakes_per_second_per_group);
        self.groups.entry(group).or_insert(fresh).take(now)
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
