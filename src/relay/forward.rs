//! Whom a message goes to.

use bytes::Bytes;
use rand::Rng;

use super::{
    Action, Broadcast, Delivered, DropReason, Relay, RelayError,
    receive::DIRECT_HOPS,
    seen::{Outcome, Stored},
};
use crate::{
    identity::{NodeId, PublicKey},
    kinds::{Kind, RelayMode, Sender},
    messages::{GossipHeader, MessageId, Outgoing, Signed, Topic},
    time::Time,
};

impl Relay {
    /// Spreads a message of our own. Signed kinds must already be signed
    /// ([`Signed::seal`]); validators we have no connection to get it sealed and routed.
    ///
    /// # Errors
    /// [`RelayError`]: a kind that does not spread, a body that is too long or not signed by a
    /// validator of the set.
    pub fn broadcast(
        &mut self,
        now: Time,
        kind: Kind,
        topic: Topic,
        body: Bytes,
        out: &mut Vec<Action>,
    ) -> Result<Broadcast, RelayError> {
        self.check_own(kind, &body)?;
        let topic = if kind == Kind::Custom { topic } else { Topic(0) };
        let id = MessageId::of(kind, topic, &body);
        if self.pending.contains(&id) || self.seen.get(&id).is_some() {
            return Ok(Broadcast { id: Some(id), duplicate: true, ..Broadcast::default() });
        }
        self.keep_own(now, kind, topic, id, &body);
        let sent = self.push(kind, topic, 0, &id, &body, out);
        let routed = self.route_to_validators(now, kind, topic, &body, out);
        Ok(Broadcast { id: Some(id), sent, routed, duplicate: false })
    }

    /// Sends a message to one node: over its connection, else sealed and routed through others.
    /// A [`Kind::Custom`] message sent this way is for that node alone; other kinds spread from
    /// there as usual.
    ///
    /// # Errors
    /// [`RelayError`]: as [`Relay::broadcast`], and [`RelayError::NoRoute`].
    pub fn send_to(
        &mut self,
        now: Time,
        to: NodeId,
        kind: Kind,
        topic: Topic,
        body: Bytes,
        out: &mut Vec<Action>,
    ) -> Result<Broadcast, RelayError> {
        self.check_own(kind, &body)?;
        let topic = if kind == Kind::Custom { topic } else { Topic(0) };
        let id = MessageId::of(kind, topic, &body);
        let hops = if kind == Kind::Custom { DIRECT_HOPS } else { 0 };
        let spreads = kind != Kind::Custom;
        if spreads && (self.peers.contains_key(&to) || self.noise_keys.contains_key(&to)) {
            self.keep_own(now, kind, topic, id, &body);
        }
        if let Some(peer) = self.peers.get_mut(&to) {
            if spreads {
                peer.learn(id);
            }
            let message = Self::outgoing(kind, hops, topic, &body);
            out.push(Action::Send { to: vec![to], id: spreads.then_some(id), message });
            return Ok(Broadcast { id: Some(id), sent: vec![to], ..Broadcast::default() });
        }
        if self.route(now, to, kind, hops, topic, &body, out) {
            return Ok(Broadcast { id: Some(id), routed: vec![to], ..Broadcast::default() });
        }
        Self::count(kind, DropReason::NoRoute, out);
        Err(RelayError::NoRoute)
    }

    fn check_own(&self, kind: Kind, body: &Bytes) -> Result<(), RelayError> {
        let row = kind.row();
        if row.relay.is_none() {
            return Err(RelayError::WrongKind(kind));
        }
        if body.len() > row.body_max {
            return Err(RelayError::TooLong { length: body.len(), limit: row.body_max });
        }
        if row.sender == Sender::Validator && !self.is_validator() {
            return Err(RelayError::NotValidator);
        }
        if row.signed {
            let signed = Signed::parse(body).ok_or(RelayError::NotSigned)?;
            if !self.validators.contains(&signed.origin) {
                return Err(RelayError::NotValidator);
            }
        }
        Ok(())
    }

    /// Our own message counts as seen and can be served.
    fn keep_own(&mut self, now: Time, kind: Kind, topic: Topic, id: MessageId, body: &Bytes) {
        if let Some(signed) = Signed::parse(body).filter(|_| kind.row().signed) {
            self.seen.insert_signed(signed.origin, signed.stamp, id);
        }
        self.on_arrived(&id);
        self.keep(now, id, Stored { at: now, kind, topic, hops: 0, body: body.clone() });
    }

    /// Forwards an accepted message once; hops only grow (attack row 28).
    pub(super) fn forward(&mut self, message: &Delivered, out: &mut Vec<Action>) {
        let hops = message.hops.saturating_add(1);
        if hops > self.config.max_hops {
            return Self::count(message.kind, DropReason::HopLimit, out);
        }
        self.push(message.kind, message.topic, hops, &message.id, &message.body, out);
    }

    /// Queues a message to everyone it should go to by push.
    fn push(
        &mut self,
        kind: Kind,
        topic: Topic,
        hops: u8,
        id: &MessageId,
        body: &Bytes,
        out: &mut Vec<Action>,
    ) -> Vec<NodeId> {
        let to = self.targets(kind, id);
        for peer in &to {
            if let Some(state) = self.peers.get_mut(peer) {
                state.learn(*id);
            }
        }
        if !to.is_empty() {
            let message = Self::outgoing(kind, hops, topic, body);
            out.push(Action::Send { to: to.clone(), id: Some(*id), message });
        }
        to
    }

    /// The peers a message of `kind` is pushed to, without those that have it.
    fn targets(&mut self, kind: Kind, id: &MessageId) -> Vec<NodeId> {
        let mut to: Vec<NodeId> =
            self.peers.iter().filter(|(_, peer)| !peer.has(id)).map(|(node, _)| *node).collect();
        to.retain(|peer| self.may_get(kind, peer));
        if self.config.mode(kind) == Some(RelayMode::Selective) {
            let standing = |peer: &NodeId| self.peers.get(peer).is_some_and(|p| p.standing);
            let good = self.peers.values().filter(|peer| peer.standing).count();
            if good >= self.config.fallback_best {
                to.retain(standing);
            } else {
                to = self.best(to, self.config.fallback_best, false);
            }
        }
        to
    }

    /// The `count` best by score; equals in random order, so that a young network where all are
    /// equal still reaches everyone. With `dialled_first`, of equals those we dialled: a stranger
    /// chooses to connect to us, but not whom we dial.
    pub(super) fn best(
        &mut self,
        nodes: Vec<NodeId>,
        count: usize,
        dialled_first: bool,
    ) -> Vec<NodeId> {
        let rng = &mut self.rng;
        let rank = |node: NodeId| {
            let peer = self.peers.get(&node)?;
            Some((peer.score, dialled_first && peer.outbound, rng.next_u64(), node))
        };
        let mut ranked: Vec<(i64, bool, u64, NodeId)> =
            nodes.into_iter().filter_map(rank).collect();
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        ranked.into_iter().take(count).map(|(.., node)| node).collect()
    }

    /// Whether a peer may be sent, told of or served messages of `kind` by us.
    pub(super) fn may_get(&self, kind: Kind, peer: &NodeId) -> bool {
        let row = kind.row();
        if row.sender == Sender::Validator && !self.is_validator() {
            return false;
        }
        match self.config.mode(kind) {
            None => false,
            Some(RelayMode::ValidatorOnly) => self.is_member(peer),
            Some(RelayMode::Flood | RelayMode::Selective) => true,
        }
    }

    /// Whether a peer proved to speak for a validator of the current set.
    pub(super) fn is_member(&self, peer: &NodeId) -> bool {
        let key = self.peers.get(peer).and_then(|state| state.validator);
        key.is_some_and(|key| self.validators.contains(&key))
    }

    /// Seals a validator-only message of our own to every validator we are not connected to.
    fn route_to_validators(
        &mut self,
        now: Time,
        kind: Kind,
        topic: Topic,
        body: &Bytes,
        out: &mut Vec<Action>,
    ) -> Vec<NodeId> {
        let mut routed = Vec::new();
        if self.config.mode(kind) != Some(RelayMode::ValidatorOnly) {
            return routed;
        }
        for key in self.unconnected_validators() {
            let node = self.validator_nodes.get(&key).copied();
            match node {
                Some(node) if self.route(now, node, kind, 0, topic, body, out) => routed.push(node),
                _ => Self::count(kind, DropReason::ValidatorUnreachable, out),
            }
        }
        routed
    }

    /// Validators of the set that no connection leads to, ourselves left out; the manager keeps
    /// the validators' overlay together with it.
    #[must_use]
    pub fn unconnected_validators(&self) -> Vec<PublicKey> {
        let connected: Vec<PublicKey> =
            self.peers.values().filter_map(|peer| peer.validator).collect();
        let missing = self.validators.iter().filter(|key| Some(**key) != self.validator);
        missing.filter(|key| !connected.contains(key)).copied().collect()
    }

    /// The message as it goes out, encoded once.
    pub(super) fn outgoing(kind: Kind, hops: u8, topic: Topic, body: &Bytes) -> Outgoing {
        Outgoing { kind, header: GossipHeader { hops, topic }.into(), body: body.clone() }
    }

    /// Remembers an accepted message and keeps it to be announced and served.
    pub(super) fn keep(&mut self, now: Time, id: MessageId, stored: Stored) {
        self.seen.insert(now, id, Outcome::Accepted);
        self.bodies.insert(id, stored);
    }
}
