//! The relay's two commonest inputs.

use bytes::Bytes;
use peerstage_core::{
    codec,
    identity::{Keypair, NetworkId, NodeId},
    kinds::Kind,
    messages::{GossipHeader, MessageId, Topic},
    relay::{Action, Inbound, PeerInfo, Relay, RelayConfig, Verdict},
    time::Time,
};

use crate::measured;

const PEERS: usize = 8;
const NOW: Time = Time(1_000_000);

/// A relay with its peers, all in standing.
fn relay() -> (Relay, Vec<NodeId>) {
    let config = RelayConfig::default();
    let own = Keypair::from_seed(&[200; 32]);
    let mut relay = Relay::new(config, NetworkId([7; 32]), own, None, [1; 32]);
    let peers: Vec<NodeId> =
        (1..=PEERS as u8).map(|n| Keypair::from_seed(&[n; 32]).node_id()).collect();
    let mut out = Vec::new();
    for peer in &peers {
        let info = PeerInfo { peer: *peer, validator: None, outbound: true };
        relay.on_peer_up(NOW, info, &mut out);
        relay.on_score(*peer, 80_000, true);
    }
    (relay, peers)
}

/// A hundred transactions of 256 bytes as `peer` sends them; `batch` tells batches apart.
fn batch(batch: u8, peer: NodeId) -> Vec<Inbound> {
    let header = GossipHeader { hops: 1, topic: Topic(0) };
    let header = Bytes::from(codec::encode(&header).expect("a header"));
    let transaction = |number| {
        let mut body = vec![number; 256];
        body[0] = batch;
        let id = MessageId::of(Kind::Transaction, Topic(0), &body);
        let (header, body) = (header.clone(), body.into());
        Inbound { peer, kind: Kind::Transaction, header, body, id, first_byte: NOW }
    };
    (0..100).map(transaction).collect()
}

/// Messages in, verdicts of a chain that likes them all: how many copies were ordered.
fn accept(relay: &mut Relay, batch: Vec<Inbound>, out: &mut Vec<Action>) -> usize {
    let mut copies = 0;
    for message in batch {
        relay.on_message(NOW, NOW, message, out);
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
    copies
}

pub(crate) fn accepted() {
    let ((mut relay, peers), mut out) = (relay(), Vec::new());
    accept(&mut relay, batch(1, peers[0]), &mut out);
    let batch = batch(2, peers[0]);
    let copies = measured(|| accept(&mut relay, batch, &mut out));
    assert_eq!(copies, 100 * (PEERS - 1));
}

pub(crate) fn duplicates() {
    let ((mut relay, peers), mut out) = (relay(), Vec::new());
    accept(&mut relay, batch(1, peers[0]), &mut out);
    let mut repeat = |batch: Vec<Inbound>| {
        for message in batch {
            relay.on_message(NOW, NOW, message, &mut out);
        }
        let judged = out.iter().any(|action| matches!(action, Action::Judge { .. }));
        out.clear();
        judged
    };
    assert!(!repeat(batch(1, peers[1])), "a duplicate is not judged");
    let batch = batch(1, peers[2]);
    assert!(!measured(|| repeat(batch)), "a duplicate is not judged");
}
