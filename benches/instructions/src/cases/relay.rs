//! The relay's two commonest inputs.

use peerstage_core::{
    identity::{Keypair, NetworkId, NodeId},
    kinds::Kind,
    messages::{GossipHeader, MessageId, Topic},
    relay::{Action, Inbound, PeerInfo, PeerSlot, Relay, RelayConfig, Verdict},
    time::Time,
};

use crate::measured;

const PEERS: usize = 8;
const NOW: Time = Time(1_000_000);

/// A relay with its peers, all in standing.
fn relay() -> (Relay, Vec<PeerSlot>) {
    let config = RelayConfig::default();
    let own = Keypair::from_seed(&[200; 32]);
    let mut relay = Relay::new(config, NetworkId([7; 32]), own, None, [1; 32]);
    let peers: Vec<NodeId> =
        (1..=PEERS as u8).map(|n| Keypair::from_seed(&[n; 32]).node_id()).collect();
    let (mut out, mut slots) = (Vec::new(), Vec::new());
    for peer in peers {
        let info = PeerInfo { peer, validator: None, outbound: true, blocks_only: false };
        slots.extend(relay.on_peer_up(NOW, info, &mut out));
        relay.on_score(peer, 80_000, true);
    }
    (relay, slots)
}

/// A hundred transactions of 256 bytes; `batch` tells batches apart.
fn batch(batch: u8) -> Vec<Inbound> {
    let header = GossipHeader { hops: 1, topic: Topic(0) }.into();
    let transaction = |number| {
        let mut body = vec![number; 256];
        body[0] = batch;
        let id = MessageId::of(Kind::Transaction, Topic(0), &body);
        Inbound { kind: Kind::Transaction, header, body: body.into(), id, first_byte: NOW }
    };
    (0..100).map(transaction).collect()
}

/// Messages in from a peer, verdicts of a chain that likes them all, counts taken at the end: how
/// many copies were ordered.
fn accept(relay: &mut Relay, from: PeerSlot, batch: Vec<Inbound>, out: &mut Vec<Action>) -> usize {
    let mut copies = 0;
    for message in batch {
        relay.on_message(NOW, NOW, from, message, out);
        let ticket = out.iter().find_map(|action| match action {
            Action::Judge { ticket, .. } => Some(*ticket),
            _ => None,
        });
        out.clear();
        relay.on_verdict(NOW, ticket.expect("the chain is asked"), Verdict::Accept, out);
        for action in out.drain(..) {
            if let Action::Send { to, .. } = action {
                copies += to.len();
            }
        }
    }
    relay.take_counts(&mut |_, _, _| ());
    relay.take_credits(&mut |_, _, _, _| ());
    copies
}

pub(crate) fn accepted() {
    let ((mut relay, peers), mut out) = (relay(), Vec::new());
    accept(&mut relay, peers[0], batch(1), &mut out);
    let batch = batch(2);
    let copies = measured(|| accept(&mut relay, peers[0], batch, &mut out));
    assert_eq!(copies, 100 * RelayConfig::default().eager.transactions);
}

pub(crate) fn duplicates() {
    let ((mut relay, peers), mut out) = (relay(), Vec::new());
    accept(&mut relay, peers[0], batch(1), &mut out);
    let mut repeat = |from: PeerSlot, batch: Vec<Inbound>| {
        for message in batch {
            relay.on_message(NOW, NOW, from, message, &mut out);
        }
        let judged = out.iter().any(|action| matches!(action, Action::Judge { .. }));
        out.clear();
        judged
    };
    assert!(!repeat(peers[1], batch(1)), "a duplicate is not judged");
    let batch = batch(1);
    assert!(!measured(|| repeat(peers[2], batch)), "a duplicate is not judged");
}
