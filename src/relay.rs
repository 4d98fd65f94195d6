//! The relay: what is forwarded, to whom, and when it may be.
//!
//! Order on receipt: class checks, duplicate check before any decode of the body, origin and age,
//! the origin's signature (on a worker), the chain's verdict, forward. Three modes say whom a
//! kind goes to: a few of these, chosen at random, are pushed the message, the others are told
//! that it can be had ([`Kind::Have`], [`Kind::Want`]). A node that is not connected is reached
//! through others, sealed to its key.
//!
//! Everything about a message is in one entry of one table, found by one look-up when it arrives.
//!
//! # Security
//! Provided: every id is judged and forwarded at most once while it is remembered, and a signed
//! message never again after; everything fed by peers is bounded, and nobody can aim at a place
//! of the table; nobody is penalised for our overload, our clock, our view of the validator set,
//! or for what it carried sealed; a peer never inherits what was known of another; kinds of the
//! validators are sent, announced and served only to peers that proved to be of the set.
//! Not provided: hiding who is the origin of a message; the authenticity of the hop count and of
//! the topic, which are rewritten at each hop; delivery to a validator without a connection, a
//! record, or a peer that is connected to it; speed against a peer that announces and then keeps
//! silent, which costs the time of one question for each such peer that was asked.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    identity::{Keypair, NetworkId, NodeId, PublicKey},
    kinds::{KINDS, Kind, RelayMode},
    messages::MessageId,
    time::{Time, earliest},
};

mod action;
mod asks;
mod config;
mod forward;
mod gossip;
mod index;
mod inventory;
mod orders;
mod origins;
mod peer;
mod peer_set;
mod peers;
mod pending;
mod punching;
mod receive;
mod routed;
mod slab;
mod table;
mod tally;
mod verdict;

pub use action::{
    Action, Broadcast, Delivered, Delivery, DropReason, Inbound, PeerInfo, RelayError, RelayFault,
    Verdict, VerdictTicket,
};
pub use config::{EagerConfig, GossipConfig, PendingConfig, RelayConfig, RoutedConfig};
pub use peer_set::{PeerSet, PeerSlot};
pub use receive::DIRECT_HOPS;

use self::{
    asks::Asks,
    gossip::Lazy,
    origins::Origins,
    peer::PeerState,
    peers::Peers,
    pending::Pending,
    punching::Punching,
    table::{Limits, Table},
    tally::Drops,
};

/// The relay machine of one node.
pub struct Relay {
    config: RelayConfig,
    network: NetworkId,
    keypair: Keypair,
    own: NodeId,
    validator: Option<PublicKey>,
    validators: BTreeSet<PublicKey>,
    validator_nodes: BTreeMap<PublicKey, NodeId>,
    noise_keys: BTreeMap<NodeId, [u8; 32]>,
    peers: Peers,
    table: Table,
    origins: Origins,
    pending: Pending,
    asks: Asks,
    lazy: Lazy,
    drops: Drops,
    punching: Punching,
    /// Peers with credits to be taken.
    credited: Vec<PeerSlot>,
    routed_bytes: u64,
    /// The longest body of each kind, by its position in the table of kinds.
    bodies_max: [usize; KINDS.len()],
    next_round: Option<Time>,
    next_sweep: Option<Time>,
    wall: Time,
    /// When, by the clock of deadlines, the wall clock showed `wall`.
    wall_read: Time,
    rng: ChaCha8Rng,
}

/// What the relay holds right now, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayStatus {
    /// Connected peers.
    pub peers: usize,
    /// Messages waiting for a check or a verdict.
    pub pending: usize,
    /// Bytes of these.
    pub pending_bytes: usize,
    /// Messages known.
    pub known: usize,
    /// Bytes kept to be served.
    pub cache_bytes: usize,
    /// Bytes of sealed messages carried for others since the start.
    pub routed_bytes: u64,
}

impl Relay {
    /// A relay without peers. `validator` is the key this node speaks for. `seed` must be secret:
    /// the ephemeral keys of sealed messages and the places in the table come from it.
    #[must_use]
    pub fn new(
        config: RelayConfig,
        network: NetworkId,
        keypair: Keypair,
        validator: Option<PublicKey>,
        seed: [u8; 32],
    ) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let limits = Limits {
            accepted: config.seen_max,
            refused: config.refused_max,
            bodies: config.gossip.cache_size,
            body_bytes: config.gossip.cache_bytes,
        };
        Relay {
            table: Table::new(limits, [rng.next_u64(), rng.next_u64()]),
            origins: Origins::new(config.origin_max),
            own: keypair.node_id(),
            bodies_max: KINDS.map(|row| config.body_max(row.kind)),
            config,
            network,
            keypair,
            validator,
            validators: BTreeSet::new(),
            validator_nodes: BTreeMap::new(),
            noise_keys: BTreeMap::new(),
            peers: Peers::default(),
            pending: Pending::default(),
            asks: Asks::default(),
            lazy: Lazy::default(),
            drops: Drops::default(),
            punching: Punching::default(),
            credited: Vec::new(),
            routed_bytes: 0,
            next_round: None,
            next_sweep: None,
            wall: Time::ZERO,
            wall_read: Time::ZERO,
            rng,
        }
    }

    /// A peer finished its handshake. It is told at once what we have. Names the slot it has from
    /// now on; `None` if it is ourselves or there is no slot.
    pub fn on_peer_up(
        &mut self,
        now: Time,
        info: PeerInfo,
        out: &mut Vec<Action>,
    ) -> Option<PeerSlot> {
        if info.peer == self.own {
            return None;
        }
        if let Some(before) = self.peers.slot(&info.peer) {
            self.on_peer_down(now, before, out);
        }
        if self.peers.must_release() {
            self.release_slots();
        }
        let member = info.validator.is_some_and(|key| self.validators.contains(&key));
        let slot = self.peers.add(PeerState::new(now, &info, &self.config), member)?;
        self.next_round.get_or_insert(now.plus(self.config.gossip.interval_ms));
        self.next_sweep.get_or_insert(now.plus(self.config.cleanup_interval_ms));
        self.announce_recent(now, slot, out);
        Some(slot)
    }

    /// A connection is gone.
    pub fn on_peer_down(&mut self, now: Time, slot: PeerSlot, out: &mut Vec<Action>) {
        if self.peers.remove(slot) {
            self.reassign_asks(now, slot, out);
        }
    }

    /// Makes the slots of peers that left free for others: nothing of theirs is left anywhere.
    fn release_slots(&mut self) {
        let gone = self.peers.release();
        self.table.forget_peers(&gone);
        self.pending.forget_peers(&gone);
        self.asks.forget_peers(&gone);
        self.lazy.forget_peers(&gone);
    }

    /// The slot of a connected peer.
    #[must_use]
    pub fn slot(&self, peer: &NodeId) -> Option<PeerSlot> {
        self.peers.slot(peer)
    }

    /// Scoring says where a peer stands: its score in thousandths of a point, and whether it is
    /// in relay standing (threshold and hysteresis are scoring's).
    pub fn on_score(&mut self, peer: NodeId, millipoints: i64, standing: bool) {
        let Some(slot) = self.peers.slot(&peer) else { return };
        if let Some(peer) = self.peers.get_mut(slot) {
            peer.score = millipoints;
        }
        if standing {
            self.peers.standing.insert(slot);
        } else {
            self.peers.standing.remove(slot);
        }
    }

    /// A peer's queue took or refused a message: what was refused is announced later.
    pub fn on_queue_result(&mut self, slot: PeerSlot, kind: Kind, id: MessageId, queued: bool) {
        if queued {
            return;
        }
        if let Some(entry) = self.table.find(kind, &id).and_then(|at| self.table.get_mut(at)) {
            entry.unlearn(slot);
        }
        self.drops.add(kind, DropReason::QueueFull);
    }

    /// Hands out how often something was not done since this was last called, by kind and reason.
    pub fn take_counts(&mut self, take: &mut impl FnMut(Kind, DropReason, u64)) {
        self.drops.take(take);
    }

    /// Hands out what peers did since this was last called: who, about which kind, what, and how
    /// often.
    pub fn take_credits(&mut self, take: &mut impl FnMut(NodeId, Kind, Delivery, u32)) {
        let mut credited = std::mem::take(&mut self.credited);
        for slot in credited.drain(..) {
            if let Some(peer) = self.peers.had_mut(slot) {
                let node = peer.node;
                peer.credits.take(&mut |kind, delivery, count| take(node, kind, delivery, count));
            }
        }
        self.credited = credited;
    }

    /// A verified record: the key to seal messages to a node with.
    pub fn on_record(&mut self, node: NodeId, noise_key: [u8; 32]) {
        while self.noise_keys.len() >= self.config.routed.keys_max
            && !self.noise_keys.contains_key(&node)
        {
            let needed: BTreeSet<&NodeId> = self.validator_nodes.values().collect();
            let victim = self.noise_keys.keys().find(|known| !needed.contains(known)).copied();
            match victim {
                Some(victim) => self.noise_keys.remove(&victim),
                None => return,
            };
        }
        self.noise_keys.insert(node, noise_key);
    }

    /// A verified record says which node speaks for a validator. Only validators of the current
    /// set are remembered; the shell repeats its records after [`Relay::set_validators`].
    pub fn on_validator_node(&mut self, key: PublicKey, node: NodeId, noise_key: [u8; 32]) {
        if self.validators.contains(&key) {
            self.validator_nodes.insert(key, node);
            self.on_record(node, noise_key);
        }
    }

    /// The chain's validator set from now on.
    pub fn set_validators(&mut self, set: BTreeSet<PublicKey>) {
        self.validator_nodes.retain(|key, _| set.contains(key));
        self.peers.on_validators(&set);
        self.validators = set;
    }

    /// Changes how a kind spreads; false if it does not spread at all.
    pub fn set_mode(&mut self, kind: Kind, mode: RelayMode) -> bool {
        let spreads = kind.row().relay.is_some();
        if spreads {
            self.config.modes.insert(kind, mode);
        }
        spreads
    }

    /// Whether this node speaks for a validator of the current set.
    #[must_use]
    pub fn is_validator(&self) -> bool {
        self.validator.is_some_and(|key| self.validators.contains(&key))
    }

    /// What the relay holds, for metrics.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        RelayStatus {
            peers: self.peers.len(),
            pending: self.pending.len(),
            pending_bytes: self.pending.bytes(),
            known: self.table.len(),
            cache_bytes: self.table.body_bytes(),
            routed_bytes: self.routed_bytes,
        }
    }

    /// What the wall clock shows now; for stamps that others read. Before the first call the two
    /// clocks are taken for one.
    pub fn on_wall(&mut self, now: Time, wall: Time) {
        self.wall = wall;
        self.wall_read = now;
    }

    /// The wall clock at `now`, as far as we were told.
    fn wall_at(&self, now: Time) -> Time {
        self.wall.plus(now.since(self.wall_read))
    }

    /// When [`Relay::on_deadline`] wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let timers = earliest(earliest(self.next_round, self.next_sweep), self.lazy.deadline());
        earliest(timers, earliest(self.pending.deadline(), self.asks.deadline()))
    }

    /// Time passed.
    pub fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        self.expire_pending(now);
        self.expire_asks(now, out);
        if self.lazy.deadline().is_some_and(|at| at <= now) {
            self.announce_waiting(now, out);
        }
        if self.next_round.is_some_and(|at| at <= now) {
            self.announce_round(now, out);
            let again = self.peers.len() > 0;
            self.next_round = again.then(|| now.plus(self.config.gossip.interval_ms.max(1)));
        }
        if self.next_sweep.is_some_and(|at| at <= now) {
            self.sweep(now);
            self.next_sweep = Some(now.plus(self.config.cleanup_interval_ms.max(1)));
        }
    }

    fn sweep(&mut self, now: Time) {
        // Who announced a message serves it for as long as that, and nobody does any more.
        self.table.sweep(now, self.config.remember_ms(), self.config.gossip.ttl_ms);
        self.table.sweep_bodies(now, self.config.gossip.ttl_ms);
        let oldest = self.wall.minus(self.config.stamp_past_ms);
        self.origins.sweep(oldest, &self.validators);
    }

    /// The longest body of a kind that is taken or sent, bytes.
    fn body_max(&self, kind: Kind) -> usize {
        self.bodies_max.get(kind.index()).copied().unwrap_or(0)
    }

    fn penalise(&self, slot: PeerSlot, fault: RelayFault, detail: &str, out: &mut Vec<Action>) {
        if let Some(peer) = self.peers.had(slot).map(|peer| peer.node) {
            out.push(Action::Penalise { peer, fault, detail: detail.to_owned() });
        }
    }

    fn credit(&mut self, slot: PeerSlot, kind: Kind, delivery: Delivery) {
        let peer = self.peers.had_mut(slot);
        if peer.is_some_and(|peer| peer.credits.add(kind, delivery)) {
            self.credited.push(slot);
        }
    }
}

#[cfg(test)]
mod tests;
