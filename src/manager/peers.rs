//! The peers that are connected and which places they have.

use std::collections::BTreeMap;

use super::{
    ManagerConfig, PeerView, Place, SessionId,
    census::Census,
    config::{TWIN_TIMEOUTS, UPGRADE_TWINS_MAX},
};
use crate::{
    book::TokenBucket,
    identity::NodeId,
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
    /// When a direct connection took a relayed one's place, and how many more came since.
    upgraded: Option<(Time, u8)>,
    pub(super) latency: Option<Millis>,
    /// When it last brought a block, and a transaction, that nobody had brought before.
    pub(super) novel: [Option<Time>; 2],
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
            upgraded: None,
            latency: None,
            novel: [None; 2],
            addresses: TokenBucket::new(now, ADDRESSES_BURST, ADDRESSES_PER_1000_S),
            verifications: TokenBucket::new(now, VERIFICATIONS_BURST, VERIFICATIONS_PER_1000_S),
            answers: TokenBucket::new(now, ANSWERS_BURST, ANSWERS_PER_1000_S),
        }
    }
}

impl Peer {
    /// Whether both sides may just be making direct connections in a relayed one's place: then
    /// messages may be under way on each of them, and none is ended without being heard out.
    pub(super) fn is_upgrading(&self, config: &ManagerConfig, now: Time) -> bool {
        let window = config.connection_timeout.saturating_mul(TWIN_TIMEOUTS);
        let recent = |(at, twins): (Time, u8)| now.since(at) <= window && twins < UPGRADE_TWINS_MAX;
        self.view.address.is_circuit() || self.upgraded.is_some_and(recent)
    }

    /// A direct connection came in a relayed one's place, or soon after it another. What was long
    /// ago was another upgrade.
    pub(super) fn note_upgrade(&mut self, config: &ManagerConfig, now: Time) {
        let window = config.connection_timeout.saturating_mul(TWIN_TIMEOUTS);
        let known = self.upgraded.filter(|(at, _)| now.since(*at) <= window);
        let (at, twins) = known.unwrap_or((now, 0));
        self.upgraded = Some((at, twins.saturating_add(1)));
    }
}

/// One of two connections with the same peer, as both sides see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Twin {
    /// No relay carries it.
    pub(super) direct: bool,
    pub(super) outbound: bool,
    pub(super) channel: [u8; 32],
}

/// Whether a new connection takes the place of the one there is. Both sides come to the same
/// answer from what both know:
/// - one is direct and the other is not: the direct one survives, however old either is. One that
///   is dead ends by its pings;
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
    let direct = !old.view.address.is_circuit();
    if new.direct != direct {
        return new.direct;
    }
    let window = config.connection_timeout.saturating_mul(TWIN_TIMEOUTS);
    if now.since(old.session_since) > window {
        return true;
    }
    let rank = |twin: Twin| (twin.outbound == (own < &old.view.peer), twin.channel);
    rank(new) > rank(Twin { direct, outbound: old.view.outbound, channel: old.channel })
}

/// All connected peers, by id and by connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    live: BTreeMap<NodeId, Peer>,
    sessions: BTreeMap<SessionId, NodeId>,
    census: Census,
}

impl Peers {
    pub(super) fn get(&self, peer: &NodeId) -> Option<&Peer> {
        self.live.get(peer)
    }

    /// A peer, for what nothing is counted by: everything but its view.
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

    /// How many of everything.
    pub(super) fn census(&self) -> &Census {
        &self.census
    }

    pub(super) fn insert(&mut self, peer: Peer) {
        self.remove(&peer.view.peer.clone());
        self.sessions.insert(peer.view.session, peer.view.peer);
        self.census.add(&peer.view);
        self.live.insert(peer.view.peer, peer);
    }

    /// Exchanges a peer's connection; returns the old one.
    pub(super) fn replace(
        &mut self,
        now: Time,
        channel: [u8; 32],
        new: PeerView,
    ) -> Option<SessionId> {
        let known = self.live.get_mut(&new.peer)?;
        self.census.remove(&known.view);
        let since = known.view.since;
        let (peer, session) = (new.peer, new.session);
        let old = std::mem::replace(&mut known.view, PeerView { since, ..new }).session;
        self.census.add(&known.view);
        known.channel = channel;
        known.session_since = now;
        self.sessions.remove(&old);
        self.sessions.insert(session, peer);
        Some(old)
    }

    /// Gives a peer another place.
    pub(super) fn set_place(&mut self, peer: &NodeId, place: Place) {
        let Some(known) = self.live.get_mut(peer) else { return };
        self.census.remove(&known.view);
        known.view.place = place;
        self.census.add(&known.view);
    }

    pub(super) fn remove(&mut self, peer: &NodeId) -> Option<Peer> {
        let gone = self.live.remove(peer)?;
        self.census.remove(&gone.view);
        self.sessions.remove(&gone.view.session);
        Some(gone)
    }

    /// Whose connection this is.
    pub(super) fn of_session(&self, session: SessionId) -> Option<NodeId> {
        self.sessions.get(&session).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    /// Twins of an upgrade are heard out for a while and are few; a later upgrade has its own.
    #[test]
    fn each_upgrade_has_twins_of_its_own() {
        let address: Address = "8.8.8.8:1".parse().unwrap();
        let view = PeerView {
            peer: NodeId([1; 32]),
            session: SessionId(1),
            address,
            group: address.group(),
            outbound: false,
            punched: false,
            chosen: false,
            since: Time(0),
            place: Place::Inbound,
            blocks_only: false,
            validator: None,
        };
        let (config, mut peer) = (ManagerConfig::default(), Peer::new(Time(0), view, [0; 32]));
        let window = config.connection_timeout * TWIN_TIMEOUTS;
        assert!(!peer.is_upgrading(&config, Time(0)));
        for start in [Time(1_000), Time(1_000 + 2 * window)] {
            for _ in 1..UPGRADE_TWINS_MAX {
                peer.note_upgrade(&config, start);
                assert!(peer.is_upgrading(&config, start.plus(window)));
                assert!(!peer.is_upgrading(&config, start.plus(window + 1)));
            }
            peer.note_upgrade(&config, start);
            assert!(!peer.is_upgrading(&config, start), "enough of them");
        }
    }
}
