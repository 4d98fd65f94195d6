//! Honest networks.

use super::*;

#[test]
fn every_message_arrives_exactly_once_everywhere() {
    for seed in 0..10 {
        let mut net = Network::new(24, 4, seed);
        net.link_randomly(6);
        let mut sent = Vec::new();
        for n in 0..60u32 {
            let origin = net.random(24);
            let kind = [Kind::Transaction, Kind::Block, Kind::Custom][n as usize % 3];
            sent.push((origin, net.broadcast(origin, kind, &n.to_le_bytes()).id));
            net.run(20);
        }
        net.run(10_000);
        for (origin, id) in sent {
            net.assert_everywhere_once(origin, id);
        }
        assert_eq!(net.penalties, []);
        assert!(net.sends.values().all(|times| *times <= 23), "forwarded once to each peer");
    }
}

#[test]
fn selective_mode_reaches_a_young_network_and_everyone_else_by_announcement() {
    let mut net = Network::new(24, 0, 3);
    net.link_randomly(10);
    for node in &mut net.nodes {
        assert!(node.relay.set_mode(Kind::Block, RelayMode::Selective));
    }
    let block = net.broadcast(0, Kind::Block, b"block");
    assert!(block.sent.len() <= 4, "the best four while nobody is in standing");
    net.run(20_000);
    net.assert_everywhere_once(0, block.id);
}

#[test]
fn selective_mode_prefers_peers_in_standing() {
    let mut net = Network::new(9, 0, 1);
    for n in 1..9 {
        net.link(0, n);
        let peer = keypair(n).node_id();
        net.nodes[0].relay.on_score(peer, n as i64 * 10_000, n >= 4);
    }
    net.nodes[0].relay.set_mode(Kind::Block, RelayMode::Selective);
    let block = net.broadcast(0, Kind::Block, b"1");
    let mut told = block.sent.clone();
    told.add_all(&block.announced);
    assert_eq!(net.nodes_of(0, &told), (4..9).collect());
}

#[test]
fn a_partition_heals_by_announcement() {
    for seed in 0..5 {
        let mut net = Network::new(16, 0, seed);
        let links: Vec<(usize, usize)> = (0..16)
            .flat_map(|n| [(n, (n + 1) % 16), (n, (n + 5) % 16), (n, (n + 7) % 16)])
            .collect();
        for (a, b) in &links {
            net.link(*a, *b);
        }
        net.run(1_000);
        for (a, b) in links.iter().filter(|(a, b)| (*a < 8) != (*b < 8)) {
            net.unlink(*a, *b);
        }
        let mut sent = Vec::new();
        for n in 0..200u32 {
            let origin = net.random(16);
            sent.push((origin, net.broadcast(origin, Kind::Transaction, &n.to_le_bytes()).id));
        }
        net.run(10_000);
        for (a, b) in &links {
            net.link(*a, *b);
        }
        net.run(20_000);
        for (origin, id) in sent {
            net.assert_everywhere_once(origin, id);
        }
        assert_eq!(net.penalties, []);
    }
}

#[test]
fn votes_reach_every_validator_and_nobody_else() {
    for seed in 0..10 {
        let mut net = Network::new(20, 4, seed);
        net.link_randomly(6);
        net.share_records(4);
        for a in 0..4 {
            net.link(a, (a + 1) % 4);
        }
        let votes: Vec<_> = (0..4).map(|n| (n, net.vote(n, b"yes").id)).collect();
        net.run(5_000);
        for (origin, id) in votes {
            for n in 0..20 {
                assert_eq!(net.times(n, id), usize::from(n < 4 && n != origin), "node {n}");
            }
        }
        assert_eq!(net.penalties, []);
    }
}

#[test]
fn validators_without_a_connection_are_reached_sealed_through_others() {
    // 0 - 2 - 1 and 0 - 3 - 1: validators 0 and 1 are two hops apart.
    let mut net = Network::new(4, 2, 5);
    for (a, b) in [(0, 2), (2, 1), (0, 3), (3, 1)] {
        net.link(a, b);
    }
    assert_eq!(net.nodes[0].relay.unconnected_validators(), [validator_key(1).public()]);
    let vote = net.vote(0, b"early");
    assert!(vote.sent.is_empty() && vote.routed.is_empty(), "no record yet");
    net.share_records(2);
    let vote = net.vote(0, b"yes");
    assert_eq!(vote.routed, [keypair(1).node_id()]);
    net.run(5_000);
    let got: Vec<usize> = (0..4).map(|n| net.times(n, vote.id)).collect();
    assert_eq!(got, [0, 1, 0, 0]);
    assert_eq!(net.penalties, []);
    assert!(net.nodes[2].relay.status().routed_bytes > 0);
}

#[test]
fn a_direct_message_reaches_one_node_only_near_or_far() {
    let mut net = Network::new(5, 0, 1);
    for n in 0..4 {
        net.link(n, n + 1);
    }
    net.share_records(0);
    for (to, routed) in [(1, false), (2, true), (4, true)] {
        let node = keypair(to).node_id();
        let sent = net.step(0, |relay, now, out| {
            relay.send_to(now, node, Kind::Custom, Topic(7), Bytes::from_static(b"psst"), out)
        });
        assert_eq!(sent.unwrap().routed.is_empty(), !routed);
        net.run(1_000);
    }
    let got: Vec<usize> = net.nodes.iter().map(|node| node.delivered.len()).collect();
    assert_eq!(got, [0, 1, 1, 0, 0], "4 is further than two hops");
    assert_eq!(net.nodes[2].delivered[0].peer, keypair(0).node_id());
    assert!(net.nodes[2].delivered[0].direct);
}

/// Attack row 28: each node forwards an id once, and a ring of five settles.
#[test]
fn a_ring_of_five_settles() {
    let mut net = Network::new(5, 0, 1);
    for n in 0..5 {
        net.link(n, (n + 1) % 5);
    }
    let block = net.broadcast(0, Kind::Block, b"block");
    net.run(60_000);
    net.assert_everywhere_once(0, block.id);
    let sends: usize = net.sends.values().sum();
    assert!(sends <= 6, "{sends} copies on five links");
    assert!(net.sends.iter().all(|((_, _), times)| *times <= 2));
}

#[test]
fn hops_only_grow_and_end_pushing() {
    let config = RelayConfig { max_hops: 3, ..RelayConfig::default() };
    let mut net = Network::with_config(8, 0, 1, &config);
    for n in 0..7 {
        net.link(n, n + 1);
    }
    let block = net.broadcast(0, Kind::Block, b"block");
    net.run(600);
    let hops: Vec<u8> = (1..5).flat_map(|n| &net.nodes[n].delivered).map(|m| m.hops).collect();
    assert_eq!(hops, [0, 1, 2, 3], "node 4 accepts but does not push");
    net.run(20_000);
    net.assert_everywhere_once(0, block.id);
}

#[test]
fn a_full_queue_is_made_up_for_by_announcement() {
    let mut net = Network::new(2, 0, 1);
    net.link(0, 1);
    net.run(10);
    let mut out = Vec::new();
    let (now, body) = (net.now, Bytes::from_static(b"tx"));
    let relay = &mut net.nodes[0].relay;
    let sent = relay.broadcast(now, Kind::Transaction, Topic(0), body, &mut out).unwrap();
    let id = sent.id.unwrap();
    relay.on_queue_result(sent.sent.nth(0).unwrap(), Kind::Transaction, id, false);
    let mut counts = Vec::new();
    relay.take_counts(&mut |kind, reason, count| counts.push((kind, reason, count)));
    assert_eq!(counts, [(Kind::Transaction, DropReason::QueueFull, 1)]);
    net.run(3_000);
    net.assert_everywhere_once(0, sent.id);
}

#[test]
fn our_own_broadcasts_are_checked() {
    let mut net = Network::new(2, 1, 1);
    let mut refuse = |node: usize, kind: Kind, body: Bytes| {
        net.step(node, |relay, now, out| relay.broadcast(now, kind, Topic(0), body, out))
    };
    let vote = Signed::seal(Kind::Vote, &validator_key(0), &NET, START, b"x");
    let stranger = Signed::seal(Kind::Vote, &validator_key(7), &NET, START, b"x");
    let long = Bytes::from(vec![0; Kind::Vote.row().body_max + 1]);
    assert_eq!(refuse(0, Kind::Ping, Bytes::new()), Err(RelayError::WrongKind(Kind::Ping)));
    assert_eq!(refuse(1, Kind::Vote, vote.clone()), Err(RelayError::NotValidator));
    assert_eq!(refuse(0, Kind::Vote, stranger), Err(RelayError::NotValidator));
    assert_eq!(refuse(0, Kind::Vote, Bytes::new()), Err(RelayError::NotSigned));
    assert!(matches!(refuse(0, Kind::Vote, long), Err(RelayError::TooLong { .. })));
    assert!(!refuse(0, Kind::Vote, vote.clone()).unwrap().duplicate);
    assert!(refuse(0, Kind::Vote, vote).unwrap().duplicate);
}

#[test]
fn a_newcomer_catches_up_with_more_than_one_announcement_holds() {
    let mut net = Network::new(3, 0, 1);
    net.link(0, 1);
    let sent: Vec<_> =
        (0..6_000u32).map(|n| net.broadcast(0, Kind::Transaction, &n.to_le_bytes()).id).collect();
    net.run(1_000);
    net.link(1, 2);
    net.run(30_000);
    for id in sent {
        net.assert_everywhere_once(0, id);
    }
    assert_eq!(net.penalties, []);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = |seed| {
        let mut net = Network::new(12, 4, seed);
        net.link_randomly(4);
        net.share_records(4);
        for n in 0..40u32 {
            let origin = net.random(12);
            net.broadcast(origin, Kind::Transaction, &n.to_le_bytes());
            net.vote(n as usize % 4, &n.to_le_bytes());
            net.run(50);
        }
        net.run(5_000);
        let delivered = net.nodes.into_iter().map(|node| node.delivered).collect::<Vec<_>>();
        (delivered, net.sends, net.counts)
    };
    assert_eq!(history(7), history(7));
    assert_ne!(history(7), history(8));
}
