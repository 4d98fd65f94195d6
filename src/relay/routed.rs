//! Sealed messages to nodes we are not connected to, and those we carry for others.
//!
//! Inside the seal: the sender's public key (32 bytes), its signature (64), a stamp (8), the
//! kind (1), a gossip header (5) and the body. The signature ([`Purpose::Routed`]) covers the
//! receiver's id and everything after the signature, so a receiver can't pass the message on in
//! the sender's name.

use bytes::{BufMut, Bytes, BytesMut};
use rand::Rng;
use zeroize::Zeroizing;

use super::{
    Action, Broadcast, Delivered, DropReason, Inbound, Relay, RelayError, RelayFault,
    peer_set::{PeerSet, PeerSlot},
    receive::{Source, own},
    table::State,
};
use crate::{
    codec::decode,
    header::Header,
    identity::{Keypair, NetworkId, NodeId, PublicKey, Purpose, Signature},
    kinds::{Kind, Sender},
    messages::{GossipHeader, MessageId, Outgoing, RoutedHeader, Topic},
    nat::MESSAGE_MAX,
    sealed,
    time::Time,
};

/// Bytes in front of what the sender signs: its key and its signature.
const SIGNED_FROM: usize = 32 + 64;
/// Bytes in front of the inner body: stamp, kind and gossip header follow the signature.
const INNER_PREFIX: usize = SIGNED_FROM + 8 + 1 + 5;

/// What was inside a sealed message.
struct Inner {
    sender: PublicKey,
    stamp: Time,
    kind: Kind,
    header: GossipHeader,
    body: Bytes,
}

fn signed_part(to: &NodeId, rest: &[u8]) -> Vec<u8> {
    [to.0.as_slice(), rest].concat()
}

fn write_inner(
    key: &Keypair,
    network: &NetworkId,
    to: &NodeId,
    stamp: Time,
    message: &Outgoing,
) -> Vec<u8> {
    let mut rest = BytesMut::with_capacity(INNER_PREFIX.saturating_add(message.body.len()));
    rest.put_u64_le(stamp.0);
    rest.put_u8(message.kind.byte());
    rest.put_slice(&message.header);
    rest.put_slice(&message.body);
    let signature = key.sign(Purpose::Routed, network, &signed_part(to, &rest));
    [key.public().0.as_slice(), &signature.0, &rest].concat()
}

/// Reads what [`write_inner`] wrote for us; `None` for anything else.
fn read_inner(network: &NetworkId, own: &NodeId, plain: Vec<u8>) -> Option<Inner> {
    let plain = Bytes::from(plain);
    let sender = PublicKey(plain.get(..32)?.try_into().ok()?);
    let signature = Signature(plain.get(32..SIGNED_FROM)?.try_into().ok()?);
    let rest = plain.get(SIGNED_FROM..)?;
    let stamp = Time(u64::from_le_bytes(rest.get(..8)?.try_into().ok()?));
    let kind = Kind::from_byte(*rest.get(8)?)?;
    let header = decode::<GossipHeader>(rest.get(9..14)?, 5).ok()?;
    let known = kind.row().relay.is_some() && plain.len() >= INNER_PREFIX;
    if !known || !sender.verify(Purpose::Routed, network, &signed_part(own, rest), &signature) {
        return None;
    }
    Some(Inner { sender, stamp, kind, header, body: plain.slice(INNER_PREFIX..) })
}

impl Relay {
    /// Seals a message to `to` and hands it to the best peers. False if there is no key or no
    /// peer, or it is too long.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn route(
        &mut self,
        now: Time,
        to: NodeId,
        kind: Kind,
        hops: u8,
        topic: Topic,
        body: &Bytes,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(noise) = self.noise_keys.get(&to).copied() else { return false };
        self.route_to(now, (to, noise), &Self::outgoing(kind, hops, topic, body), out)
    }

    /// The same with a key that is given.
    fn route_to(
        &mut self,
        now: Time,
        (to, noise): (NodeId, [u8; 32]),
        message: &Outgoing,
        out: &mut Vec<Action>,
    ) -> bool {
        let full = self.peers.full.clone();
        let via = self.best(&full, self.config.routed.fanout, true);
        let inner = write_inner(&self.keypair, &self.network, &to, self.wall_at(now), message);
        let mut ephemeral = Zeroizing::new([0u8; 32]);
        self.rng.fill_bytes(ephemeral.as_mut());
        let Ok(body) = sealed::seal(&noise, ephemeral, &to.0, &inner) else { return false };
        if via.is_empty() || body.len() > Kind::Routed.row().body_max {
            return false;
        }
        let id = MessageId::of(Kind::Routed, Topic(0), &body);
        self.note(now, id, Kind::Routed, State::Accepted);
        Self::send_routed(via, RoutedHeader { to, hops: 0 }, body.into(), out);
        true
    }

    /// Seals a [`Kind::Custom`] message for one node alone to a key that nobody has vouched for, as
    /// it came in a message of that node's: for this once, the key is not remembered.
    ///
    /// # Errors
    /// [`RelayError`]: too long, or [`RelayError::NoRoute`].
    pub fn send_sealed(
        &mut self,
        now: Time,
        (to, noise): (NodeId, [u8; 32]),
        topic: Topic,
        body: &Bytes,
        out: &mut Vec<Action>,
    ) -> Result<Broadcast, RelayError> {
        let (kind, hops) = (Kind::Custom, super::DIRECT_HOPS);
        self.check_own(kind, body)?;
        if !self.route_to(now, (to, noise), &Self::outgoing(kind, hops, topic, body), out) {
            self.drops.add(kind, DropReason::NoRoute);
            return Err(RelayError::NoRoute);
        }
        let id = MessageId::of(kind, topic, body);
        Ok(Broadcast { id: Some(id), routed: vec![to], ..Broadcast::default() })
    }

    fn send_routed(to: PeerSet, header: RoutedHeader, body: Bytes, out: &mut Vec<Action>) {
        let header = Header::of(&header);
        let message = Outgoing { kind: Kind::Routed, header, body };
        out.push(Action::Send { to, id: None, message });
    }

    /// A sealed message arrived: for us, or to be carried on.
    pub(super) fn on_routed(
        &mut self,
        now: Time,
        wall: Time,
        slot: PeerSlot,
        message: &Inbound,
        out: &mut Vec<Action>,
    ) {
        let Some(header) = message.header.read::<RoutedHeader>() else {
            self.drops.add(Kind::Routed, DropReason::Malformed);
            return self.penalise(slot, RelayFault::MalformedMessage, "header", out);
        };
        let known = self.table.find(Kind::Routed, &message.id).and_then(|at| self.table.get(at));
        if known.is_some_and(|entry| !entry.state.is_absent()) {
            return self.drops.add(Kind::Routed, DropReason::Duplicate);
        }
        if header.to == self.own {
            self.open_routed(now, wall, slot, message, out);
        } else {
            self.carry(now, slot, header, message, out);
        }
    }

    fn open_routed(
        &mut self,
        now: Time,
        wall: Time,
        slot: PeerSlot,
        message: &Inbound,
        out: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if !peer.opens.take(now, 1) {
            return self.drops.add(Kind::Routed, DropReason::RoutedLimit);
        }
        let secret = self.keypair.noise_secret();
        let plain = sealed::open(&secret, &self.own.0, &message.body).ok();
        let inner = plain.and_then(|plain| read_inner(&self.network, &self.own, plain));
        // The carrier can't know what is inside: nothing of this is its fault.
        let Some(inner) = inner else {
            self.note(now, message.id, Kind::Routed, State::Ignored);
            return self.drops.add(Kind::Routed, DropReason::NotOpened);
        };
        self.note(now, message.id, Kind::Routed, State::Accepted);
        if wall.since(inner.stamp) > self.config.stamp_past_ms {
            return self.drops.add(Kind::Routed, DropReason::Expired);
        }
        if inner.stamp.since(wall) > self.config.stamp_future_ms {
            return self.drops.add(Kind::Routed, DropReason::FromFuture);
        }
        if inner.body.len() > self.body_max(inner.kind) {
            return self.drops.add(inner.kind, DropReason::TooLong);
        }
        if inner.kind != Kind::Custom && inner.header.topic != Topic(0) {
            return self.drops.add(inner.kind, DropReason::Malformed);
        }
        let sender = inner.sender.node_id();
        let proven = self.validator_of(&sender);
        if inner.kind.row().sender == Sender::Validator && proven.is_none() {
            return self.drops.add(inner.kind, DropReason::WrongRole);
        }
        let direct = inner.kind == Kind::Custom && inner.header.hops == super::DIRECT_HOPS;
        let delivered = Delivered {
            peer: sender,
            kind: inner.kind,
            topic: inner.header.topic,
            id: MessageId::of(inner.kind, inner.header.topic, &inner.body),
            body: inner.body,
            hops: inner.header.hops,
            first_byte: message.first_byte,
            direct,
        };
        if delivered.is_punch() && !self.may_punch(now, slot, &delivered) {
            return;
        }
        self.receive(now, wall, Source::Sealed(sender), proven, delivered, out);
    }

    /// Ids of senders cost nothing, so it is the carriers that are limited; but whoever answers an
    /// offer of ours is not kept out by those who fill them.
    fn may_punch(&mut self, now: Time, carrier: PeerSlot, message: &Delivered) -> bool {
        let is_awaited = self.punching.is_awaited(now, &message.peer);
        let reason = if message.body.len() > MESSAGE_MAX {
            DropReason::TooLong
        } else if !is_awaited
            && !self.peers.get_mut(carrier).is_some_and(|peer| peer.punches.take(now, 1))
        {
            DropReason::RoutedLimit
        } else {
            return true;
        };
        self.drops.add(Kind::Custom, reason);
        false
    }

    /// The validator a node speaks for, by its connection or by its record.
    fn validator_of(&self, node: &NodeId) -> Option<PublicKey> {
        let connected = self.peers.slot(node).and_then(|slot| self.peers.get(slot)?.validator);
        let recorded =
            || self.validator_nodes.iter().find(|(_, n)| *n == node).map(|(key, _)| *key);
        connected.or_else(recorded)
    }

    /// Carries a sealed message one hop further, within what we carry for one peer.
    fn carry(
        &mut self,
        now: Time,
        slot: PeerSlot,
        header: RoutedHeader,
        message: &Inbound,
        out: &mut Vec<Action>,
    ) {
        let bytes = u64::try_from(message.body.len()).unwrap_or(u64::MAX);
        let room = self.peers.get_mut(slot);
        let room = room.is_some_and(|peer| peer.routed_bytes.take(now, bytes));
        if !self.config.routed.carry || !room {
            return self.drops.add(Kind::Routed, DropReason::RoutedLimit);
        }
        self.note(now, message.id, Kind::Routed, State::Accepted);
        let hops = header.hops.saturating_add(1);
        if hops > self.config.routed.max_hops {
            return self.drops.add(Kind::Routed, DropReason::HopLimit);
        }
        let to = if let Some(to) = self.peers.slot(&header.to) {
            PeerSet::one(to)
        } else if hops >= self.config.routed.max_hops {
            // The next carrier could only drop it.
            return self.drops.add(Kind::Routed, DropReason::NoRoute);
        } else {
            let mut others = self.peers.full.clone();
            others.remove(slot);
            self.best(&others, self.config.routed.fanout, true)
        };
        if to.is_empty() {
            return self.drops.add(Kind::Routed, DropReason::NoRoute);
        }
        self.routed_bytes = self.routed_bytes.saturating_add(bytes);
        Self::send_routed(to, RoutedHeader { to: header.to, hops }, own(&message.body), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::hex;

    const NET: NetworkId = NetworkId([9; 32]);
    const TO: NodeId = NodeId([2; 32]);

    fn inner() -> Vec<u8> {
        let message = Relay::outgoing(Kind::Custom, 255, Topic(7), &Bytes::from_static(b"hi"));
        write_inner(&Keypair::from_seed(&[1; 32]), &NET, &TO, Time(0x0102), &message)
    }

    #[test]
    fn what_is_inside_has_golden_bytes() {
        let rest = "0201000000000000" // stamp
            .to_owned()
            + "3c" // custom
            + "ff07000000" // hops, topic
            + "6869";
        assert_eq!(hex(&inner()[SIGNED_FROM..]), rest);
        let read = read_inner(&NET, &TO, inner()).unwrap();
        assert_eq!(read.sender, Keypair::from_seed(&[1; 32]).public());
        assert_eq!(
            (read.stamp, read.kind, read.body.as_ref()),
            (Time(0x0102), Kind::Custom, &b"hi"[..])
        );
    }

    #[test]
    fn a_receiver_cannot_pass_it_on_in_the_senders_name() {
        assert!(read_inner(&NET, &NodeId([3; 32]), inner()).is_none());
        assert!(read_inner(&NetworkId([8; 32]), &TO, inner()).is_none());
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        for at in 0..inner().len() {
            let mut changed = inner();
            changed[at] ^= 1;
            assert!(read_inner(&NET, &TO, changed).is_none(), "byte {at}");
            assert!(read_inner(&NET, &TO, inner()[..at].to_vec()).is_none(), "cut at {at}");
        }
    }
}
