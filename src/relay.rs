//! The relay: what is forwarded, to whom, and when it may be.
//!
//! Order on receipt: class checks, duplicate check before any decode of the body, origin and age,
//! the origin's signature (on a worker), the chain's verdict, forward. Three modes say whom a
//! kind is pushed to; announcements ([`Kind::Have`], [`Kind::Want`]) complete what pushing
//! missed. A node that is not connected is reached through others, sealed to its key.
//!
//! # Security
//! Provided: every id is judged and forwarded at most once while it is remembered, and a signed
//! message never again after; every map fed by peers is bounded; nobody is penalised for our
//! overload, our clock, our view of the validator set, or for what it carried sealed; kinds of
//! the validators are sent, announced and served only to peers that proved to be of the set.
//! Not provided: hiding who is the origin of a message; the authenticity of the hop count and of
//! the topic, which are rewritten at each hop; delivery to a validator without a connection, a
//! record, or a peer that is connected to it.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    identity::{Keypair, NetworkId, NodeId, PublicKey},
    kinds::{Kind, RelayMode},
    messages::MessageId,
    time::{Time, earliest},
};

mod action;
mod config;
mod forward;
mod gossip;
mod peer;
mod pending;
mod receive;
mod routed;
mod seen;

pub use action::{
    Action, Broadcast, Delivered, Delivery, DropReason, Inbound, PeerInfo, RelayError, RelayFault,
    Verdict, VerdictTicket,
};
pub use config::{GossipConfig, PendingConfig, RelayConfig, RoutedConfig};
pub use receive::DIRECT_HOPS;

use self::{
    gossip::Asks,
    peer::PeerState,
    pending::Pending,
    seen::{Bodies, Seen},
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
    peers: BTreeMap<NodeId, PeerState>,
    seen: Seen,
    bodies: Bodies,
    pending: Pending,
    asks: Asks,
    routed_bytes: u64,
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
    /// Bytes kept to be served.
    pub cache_bytes: usize,
    /// Bytes of sealed messages carried for others since the start.
    pub routed_bytes: u64,
}

impl Relay {
    /// A relay without peers. `validator` is the key this node speaks for. `seed` must be secret:
    /// the ephemeral keys of sealed messages come from it.
    #[must_use]
    pub fn new(
        config: RelayConfig,
        network: NetworkId,
        keypair: Keypair,
        validator: Option<PublicKey>,
        seed: [u8; 32],
    ) -> Self {
        let gossip = &config.gossip;
        Relay {
            seen: Seen::new(config.seen_max, config.refused_max, config.origin_max),
            bodies: Bodies::new(gossip.cache_size, gossip.cache_bytes),
            own: keypair.node_id(),
            config,
            network,
            keypair,
            validator,
            validators: BTreeSet::new(),
            validator_nodes: BTreeMap::new(),
            noise_keys: BTreeMap::new(),
            peers: BTreeMap::new(),
            pending: Pending::default(),
            asks: Asks::default(),
            routed_bytes: 0,
            next_round: None,
            next_sweep: None,
            wall: Time::ZERO,
            wall_read: Time::ZERO,
            rng: ChaCha8Rng::from_seed(seed),
        }
    }

    /// A peer finished its handshake. It is told at once what we have.
    pub fn on_peer_up(&mut self, now: Time, info: PeerInfo, out: &mut Vec<Action>) {
        if info.peer == self.own {
            return;
        }
        if self.peers.contains_key(&info.peer) {
            self.on_peer_down(now, info.peer, out);
        }
        let state = PeerState::new(now, info.validator, info.outbound, &self.config);
        self.peers.insert(info.peer, state);
        self.next_round.get_or_insert(now.plus(self.config.gossip.interval_ms));
        self.next_sweep.get_or_insert(now.plus(self.config.cleanup_interval_ms));
        self.announce_to(now, info.peer, out);
    }

    /// A connection is gone.
    pub fn on_peer_down(&mut self, now: Time, peer: NodeId, out: &mut Vec<Action>) {
        if self.peers.remove(&peer).is_some() {
            self.reassign_asks(now, &peer, out);
        }
    }

    /// Scoring says where a peer stands: its score in thousandths of a point, and whether it is
    /// in relay standing (threshold and hysteresis are scoring's).
    pub fn on_score(&mut self, peer: NodeId, millipoints: i64, standing: bool) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.score = millipoints;
            state.standing = standing;
        }
    }

    /// A peer's queue took or refused a message: what was refused is announced later.
    pub fn on_queue_result(
        &mut self,
        peer: NodeId,
        kind: Kind,
        id: MessageId,
        queued: bool,
        out: &mut Vec<Action>,
    ) {
        if queued {
            return;
        }
        if let Some(state) = self.peers.get_mut(&peer) {
            state.unlearn(&id);
        }
        Self::count(kind, DropReason::QueueFull, out);
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
            cache_bytes: self.bodies.bytes(),
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
        let timers = earliest(self.next_round, self.next_sweep);
        earliest(timers, earliest(self.pending.deadline(), self.asks.deadline()))
    }

    /// Time passed.
    pub fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        self.expire_pending(now, out);
        self.expire_asks(now, out);
        if self.next_round.is_some_and(|at| at <= now) {
            self.announce_round(now, out);
            let again = !self.peers.is_empty();
            self.next_round = again.then(|| now.plus(self.config.gossip.interval_ms.max(1)));
        }
        if self.next_sweep.is_some_and(|at| at <= now) {
            self.sweep(now);
            self.next_sweep = Some(now.plus(self.config.cleanup_interval_ms.max(1)));
        }
    }

    fn sweep(&mut self, now: Time) {
        self.seen.sweep(now, self.config.remember_ms());
        self.bodies.sweep(now, self.config.gossip.ttl_ms);
        let oldest = self.wall.minus(self.config.stamp_past_ms);
        self.seen.sweep_origins(oldest, &self.validators);
    }

    pub(super) fn count(kind: Kind, reason: DropReason, out: &mut Vec<Action>) {
        out.push(Action::Count { kind, reason });
    }

    pub(super) fn penalise(peer: NodeId, fault: RelayFault, detail: &str, out: &mut Vec<Action>) {
        out.push(Action::Penalise { peer, fault, detail: detail.to_owned() });
    }
}

#[cfg(test)]
mod tests;
