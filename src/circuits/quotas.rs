//! What strangers may use of a relay: circuits at once, and bytes an hour.
//!
//! # Security
//! Provided: whoever opens a circuit pays for both of its directions, so nobody can use up the
//! bytes of the node at its other end; new identities in one neighbourhood share what one
//! neighbourhood has, and all of them what there is; memory is bounded, whatever many come.
//! Not provided: room for everybody. Whoever has many neighbourhoods has many shares.

use std::collections::BTreeMap;

use super::{
    CircuitReason, CircuitsConfig,
    config::{GROUP_SHARES, IDENTITIES_MAX, TOTAL_SHARES},
};
use crate::{address::NetworkGroup, identity::NodeId, time::Time};

/// An hour, ms.
const HOUR: u64 = 60 * 60 * 1_000;

/// Who is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payer {
    pub(super) peer: NodeId,
    pub(super) group: NetworkGroup,
}

/// Bytes that may still be used; filled up within an hour.
#[derive(Clone, Copy, Debug)]
struct Budget {
    left: u64,
    filled: Time,
}

/// What one identity or one neighbourhood uses.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    circuits: usize,
    bytes: Budget,
}

/// What everybody uses.
#[derive(Clone, Debug, Default)]
pub(super) struct Quotas {
    total: Account,
    peers: BTreeMap<NodeId, Account>,
    groups: BTreeMap<NetworkGroup, Account>,
}

impl Default for Budget {
    /// Full, however much that is.
    fn default() -> Self {
        Budget { left: u64::MAX, filled: Time::ZERO }
    }
}

impl Budget {
    fn fill(&mut self, now: Time, per_hour: u64) {
        let gained = u128::from(now.since(self.filled)) * u128::from(per_hour) / u128::from(HOUR);
        if gained > 0 {
            let gained = u64::try_from(gained).unwrap_or(u64::MAX);
            self.left = self.left.saturating_add(gained);
            self.filled = now;
        }
        self.left = self.left.min(per_hour);
    }

    /// Takes so many bytes, or all there are; whether there were enough.
    fn pay(&mut self, now: Time, per_hour: u64, bytes: u64) -> bool {
        self.fill(now, per_hour);
        let enough = self.left >= bytes;
        self.left = self.left.saturating_sub(bytes);
        enough
    }

    fn is_empty(&mut self, now: Time, per_hour: u64) -> bool {
        self.fill(now, per_hour);
        self.left == 0
    }
}

impl Account {
    fn enter(&mut self) {
        self.circuits = self.circuits.saturating_add(1);
    }

    fn leave(&mut self) {
        self.circuits = self.circuits.saturating_sub(1);
    }

    fn is_idle(&mut self, now: Time, per_hour: u64) -> bool {
        self.bytes.fill(now, per_hour);
        self.circuits == 0 && self.bytes.left >= per_hour
    }
}

/// Bytes an hour of one identity, one neighbourhood and everybody.
fn hourly(config: &CircuitsConfig) -> [u64; 3] {
    let one = config.bytes_per_hour;
    [one, one.saturating_mul(GROUP_SHARES), one.saturating_mul(TOTAL_SHARES)]
}

impl Quotas {
    /// One more circuit, or why not: first for what whoever asks has used itself.
    pub(super) fn enter(
        &mut self,
        now: Time,
        config: &CircuitsConfig,
        payer: Payer,
    ) -> Result<(), CircuitReason> {
        let known = self.peers.contains_key(&payer.peer) && self.groups.contains_key(&payer.group);
        if !known && self.peers.len().max(self.groups.len()) >= IDENTITIES_MAX {
            self.tidy_all(now, config);
            if self.peers.len().max(self.groups.len()) >= IDENTITIES_MAX {
                return Err(CircuitReason::PeerQuota);
            }
        }
        let [hourly, of_group, of_all] = hourly(config);
        let peer = self.peers.entry(payer.peer).or_default();
        let group = self.groups.entry(payer.group).or_default();
        if peer.circuits >= config.carried_per_peer_max {
            return Err(CircuitReason::PeerQuota);
        }
        if peer.bytes.is_empty(now, hourly)
            || group.bytes.is_empty(now, of_group)
            || self.total.bytes.is_empty(now, of_all)
        {
            return Err(CircuitReason::HourUsed);
        }
        if group.circuits >= config.carried_per_group_max {
            return Err(CircuitReason::GroupQuota);
        }
        if self.total.circuits >= config.carried_max {
            return Err(CircuitReason::TotalQuota);
        }
        [peer, group, &mut self.total].into_iter().for_each(Account::enter);
        Ok(())
    }

    /// Bytes are carried; false if the payer, its neighbourhood or everybody together had not as
    /// many left, which are all used then.
    pub(super) fn pay(
        &mut self,
        now: Time,
        config: &CircuitsConfig,
        payer: Payer,
        bytes: u64,
    ) -> bool {
        let accounts = [
            self.peers.get_mut(&payer.peer),
            self.groups.get_mut(&payer.group),
            Some(&mut self.total),
        ];
        let mut enough = true;
        for (account, hourly) in accounts.into_iter().zip(hourly(config)) {
            enough &= account.is_some_and(|account| account.bytes.pay(now, hourly, bytes));
        }
        enough
    }

    /// A circuit is over.
    pub(super) fn leave(&mut self, payer: Payer) {
        self.total.leave();
        self.peers.get_mut(&payer.peer).into_iter().for_each(Account::leave);
        self.groups.get_mut(&payer.group).into_iter().for_each(Account::leave);
    }

    /// Forgets those who use nothing and have used nothing lately, when there are many.
    pub(super) fn tidy(&mut self, now: Time, config: &CircuitsConfig) {
        if self.peers.len().max(self.groups.len()) > IDENTITIES_MAX / 2 {
            self.tidy_all(now, config);
        }
    }

    fn tidy_all(&mut self, now: Time, config: &CircuitsConfig) {
        let [hourly, of_group, _] = hourly(config);
        self.peers.retain(|_, account| !account.is_idle(now, hourly));
        self.groups.retain(|_, account| !account.is_idle(now, of_group));
    }

    /// How many circuits there are, by each of the three counts.
    pub(super) fn counts(&self) -> [usize; 3] {
        let peers = self.peers.values().map(|account| account.circuits).sum();
        let groups = self.groups.values().map(|account| account.circuits).sum();
        [self.total.circuits, peers, groups]
    }
}
