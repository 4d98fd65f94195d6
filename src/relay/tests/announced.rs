//! Announcements that lie about the kind, and messages that are too long for us.

use super::*;
use crate::header::Header;

/// What the node sent to another since this was last asked: ids it asked for.
fn asked(net: &mut Network, of: usize) -> Vec<(Kind, MessageId)> {
    let heard = std::mem::take(&mut net.nodes[of].heard);
    let wants = heard.into_iter().filter(|(_, message)| message.kind == Kind::Want);
    wants
        .flat_map(|(_, message)| inventory::read(&message.body).unwrap().collect::<Vec<_>>())
        .map(|(kind, id)| (Kind::from_byte(kind).unwrap(), id))
        .collect()
}

fn have(kind: Kind, id: MessageId) -> Outgoing {
    Outgoing { kind: Kind::Have, header: Header::EMPTY, body: inventory::write(&[(kind, id)]) }
}

fn gossip(kind: Kind, body: &[u8]) -> (Outgoing, MessageId) {
    let body = Bytes::copy_from_slice(body);
    let id = MessageId::of(kind, Topic(0), &body);
    (Relay::outgoing(kind, 0, Topic(0), &body), id)
}

/// The id of no message there is.
fn id_of(number: u64) -> MessageId {
    MessageId::of(Kind::Transaction, Topic(0), &number.to_le_bytes())
}

/// Node 0 between a liar, node 1, and an honest neighbour, node 2; the test speaks for both.
fn between(config: &RelayConfig) -> Network {
    let mut net = Network::with_config(3, 0, 1, config);
    for n in [1, 2] {
        net.nodes[n].hostile = true;
        net.link(0, n);
    }
    net.run(500);
    net
}

/// A liar announces a block as a transaction, and first. The honest announcer is asked for the
/// block all the same, is blamed for nothing, and when the block is there the liar is found out.
#[test]
fn an_announcement_of_the_wrong_kind_holds_nothing_back_and_is_found_out() {
    let mut net = between(&RelayConfig::default());
    let (block, id) = gossip(Kind::Block, b"block");
    for kind in [Kind::Transaction, Kind::Custom] {
        net.transmit(1, 0, have(kind, id));
    }
    net.run(200);
    net.transmit(2, 0, have(Kind::Block, id));
    net.run(200);
    assert_eq!(asked(&mut net, 2), [(Kind::Block, id)]);
    net.transmit(2, 0, block);
    net.run(10_000);
    net.assert_everywhere_once(1, Some(id));
    let found_out = (0, 1, RelayFault::ProtocolViolation);
    assert_eq!(net.penalties, [found_out, found_out]);
    assert_eq!(net.credits, [(0, 2, Delivery::First)]);
    assert_eq!(net.nodes[0].relay.asks.len(), 0);
}

/// As above, where the block was there first: the lie is known as one at once, and nothing is
/// asked for.
#[test]
fn what_is_here_is_not_asked_for_as_another_kind() {
    let mut net = between(&RelayConfig::default());
    let (block, id) = gossip(Kind::Block, b"block");
    net.transmit(2, 0, block);
    net.run(200);
    net.transmit(1, 0, have(Kind::Vote, id));
    net.transmit(1, 0, have(Kind::Transaction, id));
    net.run(10_000);
    assert_eq!(asked(&mut net, 1), []);
    assert!(net.penalties.contains(&(0, 1, RelayFault::ProtocolViolation)), "{:?}", net.penalties);
    assert!(net.penalties.iter().all(|(_, who, _)| *who == 1));
}

/// What somebody who is not connected to it seals to a node.
fn sealed(to: usize) -> Outgoing {
    let (node, mut out) = (keypair(to), Vec::new());
    let mut sender = Relay::new(RelayConfig::default(), NET, keypair(9), None, [4; 32]);
    let carrier = PeerInfo {
        peer: keypair(8).node_id(),
        validator: None,
        outbound: true,
        blocks_only: false,
    };
    sender.on_peer_up(START, carrier, &mut out);
    sender.on_record(node.node_id(), crate::sealed::public_of(&node.noise_secret()));
    sender.on_wall(START, START);
    let (to, body) = (node.node_id(), Bytes::from_static(b"for you"));
    sender.send_to(START, to, Kind::Custom, Topic(5), body, &mut out).unwrap();
    let Some(Action::Send { message, .. }) = out.pop() else { panic!("{out:?}") };
    message
}

/// An announcement with the id of a sealed message does not make the sealed message a duplicate,
/// neither at its receiver, node 0, nor where it is carried to node 3.
#[test]
fn an_announcement_drops_no_sealed_message() {
    for to in [0, 3] {
        let (mut net, sealed) = (between(&RelayConfig::default()), sealed(to));
        let id = MessageId::of(Kind::Routed, Topic(0), &sealed.body);
        for kind in [Kind::Transaction, Kind::Block] {
            net.transmit(1, 0, have(kind, id));
        }
        net.run(200);
        net.transmit(2, 0, sealed);
        net.run(200);
        assert_eq!(net.counts.get(&DropReason::Duplicate), None);
        let carried = net.nodes[1].heard.iter().any(|(_, m)| m.kind == Kind::Routed);
        assert_eq!(
            (net.nodes[0].delivered.len(), carried),
            if to == 0 { (1, false) } else { (0, true) }
        );
    }
}

/// A block longer than we take, though the protocol allows it: it is asked for once, dropped when
/// it comes, and nobody is blamed or asked again.
#[test]
fn a_body_over_our_own_limit_ends_the_question_without_blame() {
    let bodies_max = BTreeMap::from([(Kind::Block, 100)]);
    let mut net = between(&RelayConfig { bodies_max, ..RelayConfig::default() });
    let (block, id) = gossip(Kind::Block, &[7; 101]);
    net.transmit(2, 0, have(Kind::Block, id));
    net.run(200);
    net.transmit(1, 0, have(Kind::Block, id));
    net.run(200);
    assert_eq!(asked(&mut net, 2), [(Kind::Block, id)]);
    net.transmit(2, 0, block);
    net.run(200);
    net.transmit(1, 0, have(Kind::Block, id));
    net.run(10_000);
    assert_eq!((asked(&mut net, 1), asked(&mut net, 2)), (vec![], vec![]));
    assert_eq!((net.penalties.clone(), net.credits.clone()), (vec![], vec![]));
    assert_eq!(net.counts.get(&DropReason::TooLong), Some(&1));
    assert_eq!(net.counts.get(&DropReason::BrokenPromise), None);
    assert!(net.nodes[0].delivered.is_empty());
}

/// The same limit holds for what we send.
#[test]
fn a_body_over_our_own_limit_is_not_sent() {
    let bodies_max = BTreeMap::from([(Kind::Block, 100)]);
    let mut net = between(&RelayConfig { bodies_max, ..RelayConfig::default() });
    let mut send = |kind, length: usize| {
        let body = Bytes::from(vec![0; length]);
        net.step(0, |relay, now, out| relay.broadcast(now, kind, Topic(0), body, out)).err()
    };
    assert_eq!(send(Kind::Block, 100), None);
    assert_eq!(send(Kind::Block, 101), Some(RelayError::TooLong { length: 101, limit: 100 }));
    assert_eq!(send(Kind::Transaction, 101), None);
}

/// A liar announces what never comes, for half an hour. Each of it is forgotten when nobody would
/// serve it any more, so what is remembered does not grow.
#[test]
fn what_is_announced_and_never_comes_is_forgotten() {
    let config = RelayConfig::default();
    let GossipConfig { ttl_ms, want_timeout_ms, .. } = config.gossip;
    let mut net = between(&config);
    let round = |net: &mut Network, n: u64| {
        let made_up = |at: u64| (Kind::Transaction, id_of(n * 100 + at));
        let items: Vec<_> = (0..100).map(made_up).collect();
        let body = inventory::write(&items);
        net.transmit(1, 0, Outgoing { kind: Kind::Have, header: Header::EMPTY, body });
        net.run(10_000);
        net.nodes[0].relay.status().known
    };
    let known: Vec<usize> = (0..200).map(|n| round(&mut net, n)).collect();
    // Those asked for, those missed since, and those that the next sweep forgets.
    let lives_ms = want_timeout_ms + ttl_ms + config.cleanup_interval_ms;
    let most = 100 * usize::try_from(lives_ms / 10_000 + 1).unwrap();
    assert!(known.iter().all(|known| *known <= most), "{known:?}");
    assert!(known.iter().any(|known| *known > 1_000), "remembered for a while: {known:?}");
    net.run(lives_ms);
    assert_eq!(net.nodes[0].relay.status().known, 0);
}

/// As above, where the message came before and got no verdict: who sent it is remembered.
#[test]
fn what_came_before_is_remembered_although_it_is_missed_later() {
    let config = RelayConfig::default();
    let mut net = between(&config);
    let (stuck, id) = gossip(Kind::Transaction, b"stuck");
    net.transmit(1, 0, stuck.clone());
    net.run(60_000);
    net.transmit(2, 0, have(Kind::Transaction, id));
    net.run(600_000);
    assert_eq!(net.nodes[0].relay.status().known, 1);
    let entry = net.nodes[0].relay.table.find(Kind::Transaction, &id).unwrap();
    let liar = net.nodes[0].relay.slot(&keypair(1).node_id()).unwrap();
    assert!(net.nodes[0].relay.table.get(entry).unwrap().sent.contains(liar));
}
