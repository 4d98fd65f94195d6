//! The peers that are connected, which slots they have, and who goes when there are too many.

use std::collections::BTreeMap;

use super::{
    ManagerConfig, PeerView, SessionId, config::EVICTION_PROTECTED, config::TWIN_TIMEOUTS,
};
use crate::{
    address::{Address, NetworkGroup},
    book::TokenBucket,
    identity::{NodeId, PublicKey},
    time::{Millis, Time},
};

/// Addresses a peer may add at once and then per 1000 s (Bitcoin: 1000, and 0.1 per second,
/// `net_processing.h` `MAX_ADDR_RATE_PER_SECOND`; a fresh answer here has at most 256).
const ADDRESSES_BURST: u64 = 256;
const ADDRESSES_PER_1000_S: u64 = 100;
/// Records of a peer that are verified at once and then per 1000 s; one costs 0.1 ms.
const VERIFICATIONS_BURST: u64 = 64;
const VERIFICATIONS_PER_1000_S: u64 = 1_000;
/// Questions of a peer that are answered at once and then per 1000 s.
const ANSWERS_BURST: u64 = 4;
const ANSWERS_PER_1000_S: u64 = 200;

/// A connected peer.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) view: PeerView,
    /// When its present connection was established.
    pub(super) session_since: Time,
    pub(super) channel: [u8; 32],
    pub(super) latency: Option<Millis>,
    pub(super) addresses: TokenBucket,
    pub(super) verifications: TokenBucket,
    pub(super) answers: TokenBucket,
}

impl Peer {
    pub(super) fn new(now: Time, view: PeerView, channel: [u8; 32]) -> Self {
        Peer {
            view,
            session_since: now,
            channel,
            latency: None,
            addresses: TokenBucket::new(now, ADDRESSES_BURST, ADDRESSES_PER_1000_S),
            verifications: TokenBucket::new(now, VERIFICATIONS_BURST, VERIFICATIONS_PER_1000_S),
            answers: TokenBucket::new(now, ANSWERS_BURST, ANSWERS_PER_1000_S),
        }
    }
}

/// One of two connections with the same peer, as both sides see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Twin {
    pub(super) outbound: bool,
    pub(super) channel: [u8; 32],
}

/// Whether a new connection takes the place of the one there is. Both sides come to the same
/// answer from what both know:
/// - the old one has been there longer than any dial lives: whoever dialled did not think it
///   alive, so the new one survives;
/// - they have crossed: the one dialled by the lower id survives;
/// - both were dialled by the same side: the greater handshake hash survives. Age would not do:
///   the two sides may see the connections in different order.
pub(super) fn newcomer_survives(
    config: &ManagerConfig,
    own: &NodeId,
    now: Time,
    old: &Peer,
    new: Twin,
) -> bool {
    let window = config.connection_timeout.saturating_mul(TWIN_TIMEOUTS);
    if now.since(old.session_since) > window {
        return true;
    }
    let rank = |twin: Twin| (twin.outbound == (own < &old.view.peer), twin.channel);
    rank(new) > rank(Twin { outbound: old.view.outbound, channel: old.channel })
}

/// All connected peers, by id and by connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    live: BTreeMap<NodeId, Peer>,
    sessions: BTreeMap<SessionId, NodeId>,
}

impl Peers {
    pub(super) fn get(&self, peer: &NodeId) -> Option<&Peer> {
        self.live.get(peer)
    }

    pub(super) fn get_mut(&mut self, peer: &NodeId) -> Option<&mut Peer> {
        self.live.get_mut(peer)
    }

    pub(super) fn contains(&self, peer: &NodeId) -> bool {
        self.live.contains_key(peer)
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.live.values()
    }

    pub(super) fn insert(&mut self, peer: Peer) {
        self.sessions.insert(peer.view.session, peer.view.peer);
        self.live.insert(peer.view.peer, peer);
    }

    /// Exchanges a peer's connection; returns the old one.
    pub(super) fn replace(
        &mut self,
        now: Time,
        peer: &NodeId,
        session: SessionId,
        address: Address,
        new: Twin,
    ) -> Option<SessionId> {
        let known = self.live.get_mut(peer)?;
        let old = std::mem::replace(&mut known.view.session, session);
        known.view.address = address;
        known.view.outbound = new.outbound;
        known.channel = new.channel;
        known.session_since = now;
        self.sessions.remove(&old);
        self.sessions.insert(session, *peer);
        Some(old)
    }

    pub(super) fn remove(&mut self, peer: &NodeId) -> Option<Peer> {
        let gone = self.live.remove(peer)?;
        self.sessions.remove(&gone.view.session);
        Some(gone)
    }

    /// Whose connection this is.
    pub(super) fn of_session(&self, session: SessionId) -> Option<NodeId> {
        self.sessions.get(&session).copied()
    }

    fn ordinary(&self, outbound: bool) -> impl Iterator<Item = &Peer> {
        self.live.values().filter(move |p| !p.view.reserved && p.view.outbound == outbound)
    }

    pub(super) fn inbound(&self) -> usize {
        self.ordinary(false).count()
    }

    pub(super) fn outbound(&self) -> usize {
        self.ordinary(true).count()
    }

    /// Ordinary peers of a direction in a neighbourhood.
    pub(super) fn in_group(&self, outbound: bool, group: NetworkGroup) -> usize {
        self.ordinary(outbound).filter(|p| p.view.address.group() == group).count()
    }

    /// Ordinary inbound peers with this address's IP.
    pub(super) fn with_ip(&self, address: &Address) -> usize {
        self.ordinary(false).filter(|p| p.view.address.ip() == address.ip()).count()
    }

    /// Reserved slots taken by validators that are not `peer`.
    pub(super) fn validators_besides(
        &self,
        peer: &NodeId,
        is: impl Fn(&PublicKey) -> bool,
    ) -> usize {
        let others = self.live.values().filter(|p| p.view.reserved && p.view.peer != *peer);
        others.filter(|p| p.view.validator.as_ref().is_some_and(&is)).count()
    }

    /// Who makes room for an inbound newcomer from `group`: the newest unprotected peer of the
    /// most crowded neighbourhood, if that is more crowded than the newcomer's own. Those who
    /// have been here longest and those with the best latency are protected, so that an attacker
    /// must outlast or outrun them (Bitcoin `eviction.cpp`; attack row 21).
    pub(super) fn victim(&self, group: NetworkGroup) -> Option<NodeId> {
        let mut candidates: Vec<&Peer> = self.ordinary(false).collect();
        candidates.sort_by_key(|p| (p.view.since, p.view.peer));
        candidates.drain(..EVICTION_PROTECTED.min(candidates.len()));
        candidates.sort_by_key(|p| (p.latency.unwrap_or(Millis::MAX), p.view.since, p.view.peer));
        let measured = candidates.iter().take_while(|p| p.latency.is_some()).count();
        candidates.drain(..EVICTION_PROTECTED.min(measured));
        let mut crowds: BTreeMap<NetworkGroup, usize> = BTreeMap::new();
        for peer in &candidates {
            let crowd = crowds.entry(peer.view.address.group()).or_insert(0);
            *crowd = crowd.saturating_add(1);
        }
        let (most, count) = crowds.iter().max_by_key(|(_, count)| **count)?;
        if *count <= self.in_group(false, group) {
            return None;
        }
        let crowd = candidates.iter().filter(|p| p.view.address.group() == *most);
        crowd.max_by_key(|p| (p.view.since, p.view.peer)).map(|p| p.view.peer)
    }
}
