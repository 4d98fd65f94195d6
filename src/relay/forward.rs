//! Whom a message goes to.

use bytes::Bytes;
use rand::Rng;

use super::{
    Action, Broadcast, Delivered, DropReason, Relay, RelayError,
    peer_set::{PeerSet, PeerSlot},
    receive::DIRECT_HOPS,
    table::State,
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
        let known = self.table.find(kind, &id).and_then(|at| self.table.get(at));
        if known.is_some_and(|entry| !entry.state.is_absent()) {
            return Ok(Broadcast { id: Some(id), duplicate: true, ..Broadcast::default() });
        }
        let entry = self.keep_own(now, kind, topic, id, &body);
        let (sent, announced) = self.push(now, entry, kind, topic, 0, id, &body, out);
        let (routed, unreachable) = self.route_to_validators(now, kind, topic, &body, out);
        Ok(Broadcast { id: Some(id), sent, announced, routed, unreachable, duplicate: false })
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
        let slot = self.peers.slot(&to);
        if spreads && (slot.is_some() || self.noise_keys.contains_key(&to)) {
            let entry = self.keep_own(now, kind, topic, id, &body);
            if let Some((entry, slot)) = self.table.get_mut(entry).zip(slot) {
                entry.has.insert(slot);
            }
        }
        if let Some(slot) = slot {
            let (message, sent) = (Self::outgoing(kind, hops, topic, &body), PeerSet::one(slot));
            out.push(Action::Send { to: sent.clone(), id: spreads.then_some(id), message });
            return Ok(Broadcast { id: Some(id), sent, ..Broadcast::default() });
        }
        if self.route(now, to, kind, hops, topic, &body, out) {
            if topic == Topic::PUNCH {
                self.punching.on_sent(now, to);
            }
            return Ok(Broadcast { id: Some(id), routed: vec![to], ..Broadcast::default() });
        }
        self.drops.add(kind, DropReason::NoRoute);
        Err(RelayError::NoRoute)
    }

    pub(super) fn check_own(&self, kind: Kind, body: &Bytes) -> Result<(), RelayError> {
        let row = kind.row();
        if row.relay.is_none() {
            return Err(RelayError::WrongKind(kind));
        }
        let (length, limit) = (body.len(), self.body_max(kind));
        if length > limit {
            return Err(RelayError::TooLong { length, limit });
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
    fn keep_own(
        &mut self,
        now: Time,
        kind: Kind,
        topic: Topic,
        id: MessageId,
        body: &Bytes,
    ) -> u32 {
        if let Some(signed) = Signed::parse(body).filter(|_| kind.row().signed) {
            self.origins.insert(signed.origin, signed.stamp, id);
        }
        let found = self.table.find(kind, &id);
        let entry = found.unwrap_or_else(|| self.table.insert(now, id, kind));
        match self.table.get(entry).map(|known| (known.state, known.body.is_some())) {
            // Another's copy waits for its verdict, or ours is here already.
            Some((State::Held, _)) if found.is_some() => return entry,
            Some((State::Accepted, true)) => return entry,
            Some((State::Asked(ask), _)) => {
                self.on_answered(ask);
            }
            _ => {}
        }
        self.table.set(now, entry, State::Accepted);
        self.table.keep(entry, kind, topic, 0, body.clone());
        entry
    }

    /// Forwards an accepted message once; hops only grow (attack row 28).
    pub(super) fn forward(
        &mut self,
        now: Time,
        entry: u32,
        message: &Delivered,
        out: &mut Vec<Action>,
    ) {
        let Delivered { kind, topic, id, .. } = *message;
        let hops = message.hops.saturating_add(1);
        if hops > self.config.max_hops {
            return self.drops.add(kind, DropReason::HopLimit);
        }
        self.push(now, entry, kind, topic, hops, id, &message.body, out);
    }

    /// Queues a message to a few random peers that it should go to and announces it to the
    /// others: who it was sent to, and who is told.
    #[allow(clippy::too_many_arguments)]
    fn push(
        &mut self,
        now: Time,
        entry: u32,
        kind: Kind,
        topic: Topic,
        hops: u8,
        id: MessageId,
        body: &Bytes,
        out: &mut Vec<Action>,
    ) -> (PeerSet, PeerSet) {
        let mut rest = self.targets(kind, entry);
        if rest.is_empty() {
            return Default::default();
        }
        let eager = self.config.eager.count(kind, body.len());
        let to = if rest.len() <= eager.saturating_add(1) {
            std::mem::take(&mut rest)
        } else {
            self.choose(&mut rest, eager)
        };
        if let Some(entry) = self.table.get_mut(entry) {
            entry.has.add_all(&to);
        }
        let message = Self::outgoing(kind, hops, topic, body);
        out.push(Action::Send { to: to.clone(), id: Some(id), message });
        if !rest.is_empty() {
            self.announce(now, entry, (kind, id), rest.clone(), out);
        }
        (to, rest)
    }

    /// The peers a message of `kind` is pushed or announced to at once, without those that have
    /// it.
    fn targets(&mut self, kind: Kind, entry: u32) -> PeerSet {
        let mut to = self.may_get(kind);
        if let Some(entry) = self.table.get(entry) {
            to.remove_all(&entry.has);
        }
        if self.config.mode(kind) == Some(RelayMode::Selective) {
            if self.peers.standing.len() >= self.config.fallback_best {
                to.keep_only(&self.peers.standing);
            } else {
                to = self.best(&to, self.config.fallback_best, false);
            }
        }
        to
    }

    /// Takes up to `count` random peers out of a set.
    pub(super) fn choose(&mut self, from: &mut PeerSet, count: usize) -> PeerSet {
        let mut chosen = PeerSet::default();
        let mut left = from.len();
        while chosen.len() < count && left > 0 {
            // 32 random bits among at most 65,535 peers: no peer is off by more than 1 in 65,536.
            let pick = u64::from(self.rng.next_u32());
            let pick = pick.wrapping_mul(u64::try_from(left).unwrap_or(0)).wrapping_shr(32);
            let Some(slot) = from.nth(usize::try_from(pick).unwrap_or(0)) else { break };
            from.remove(slot);
            chosen.insert(slot);
            left = left.saturating_sub(1);
        }
        chosen
    }

    /// The `count` best by score; equals in random order, so that a young network where all are
    /// equal still reaches everyone. With `dialled_first`, of equals those we dialled: a stranger
    /// chooses to connect to us, but not whom we dial.
    pub(super) fn best(&mut self, of: &PeerSet, count: usize, dialled_first: bool) -> PeerSet {
        let (peers, rng) = (&self.peers, &mut self.rng);
        let rank = |slot: PeerSlot| {
            let peer = peers.get(slot)?;
            Some((peer.score, dialled_first && peer.outbound, rng.next_u64(), slot))
        };
        let mut ranked: Vec<(i64, bool, u64, PeerSlot)> = of.iter().filter_map(rank).collect();
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        ranked.into_iter().take(count).map(|(.., slot)| slot).collect()
    }

    /// Whether a connection for blocks does without it. Proposals and votes are for validators,
    /// whatever else their connection carries.
    pub(super) const fn is_withheld(kind: Kind) -> bool {
        matches!(kind, Kind::Transaction | Kind::Custom | Kind::Routed)
    }

    /// The peers that may be sent, told of or served messages of `kind` by us.
    pub(super) fn may_get(&self, kind: Kind) -> PeerSet {
        if kind.row().sender == Sender::Validator && !self.is_validator() {
            return PeerSet::default();
        }
        match self.config.mode(kind) {
            None => PeerSet::default(),
            Some(RelayMode::ValidatorOnly) => self.peers.members.clone(),
            Some(RelayMode::Flood | RelayMode::Selective) if Self::is_withheld(kind) => {
                self.peers.full.clone()
            }
            Some(RelayMode::Flood | RelayMode::Selective) => self.peers.connected.clone(),
        }
    }

    /// Seals a validator-only message of our own to every validator we are not connected to; who
    /// they are, and how many there is no way to.
    fn route_to_validators(
        &mut self,
        now: Time,
        kind: Kind,
        topic: Topic,
        body: &Bytes,
        out: &mut Vec<Action>,
    ) -> (Vec<NodeId>, usize) {
        let (mut routed, mut unreachable) = (Vec::new(), 0usize);
        if self.config.mode(kind) != Some(RelayMode::ValidatorOnly) {
            return (routed, unreachable);
        }
        for key in self.unconnected_validators() {
            let node = self.validator_nodes.get(&key).copied();
            match node {
                Some(node) if self.route(now, node, kind, 0, topic, body, out) => routed.push(node),
                _ => {
                    self.drops.add(kind, DropReason::ValidatorUnreachable);
                    unreachable = unreachable.saturating_add(1);
                }
            }
        }
        (routed, unreachable)
    }

    /// Validators of the set that no connection leads to, ourselves left out; the manager keeps
    /// the validators' overlay together with it.
    #[must_use]
    pub fn unconnected_validators(&self) -> Vec<PublicKey> {
        let connected: Vec<PublicKey> =
            self.peers.iter().filter_map(|(_, peer)| peer.validator).collect();
        let missing = self.validators.iter().filter(|key| Some(**key) != self.validator);
        missing.filter(|key| !connected.contains(key)).copied().collect()
    }

    /// The message as it goes out, encoded once.
    pub(super) fn outgoing(kind: Kind, hops: u8, topic: Topic, body: &Bytes) -> Outgoing {
        Outgoing { kind, header: GossipHeader { hops, topic }.into(), body: body.clone() }
    }
}
