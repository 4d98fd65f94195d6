//! Pushing to a few and telling the rest.

use super::*;
use crate::time::Millis;

/// What it took to bring messages to everyone, for each delivery, in hundredths.
#[derive(Debug)]
struct Cost {
    pushed: usize,
    served: usize,
    /// Ids announced.
    told: usize,
}

/// A random graph of 64 nodes of degree 8: four random circles through all of them.
fn regular(seed: u64, config: &RelayConfig) -> Network {
    let mut net = Network::with_config(64, 0, seed, config);
    for _ in 0..4 {
        let mut circle: Vec<usize> = (0..64).collect();
        for at in (1..64).rev() {
            let other = net.random(at + 1);
            circle.swap(at, other);
        }
        for at in 0..64 {
            net.link(circle[at], circle[(at + 1) % 64]);
        }
    }
    net.run(2_000);
    net
}

/// 60 messages from all over the graph: everybody gets each once, at this cost.
fn cost(kind: Kind, length: usize, seed: u64, eager: EagerConfig) -> Cost {
    let mut net = regular(seed, &RelayConfig { eager, ..RelayConfig::default() });
    let mut sent = Vec::new();
    for n in 0..60u32 {
        let origin = net.random(64);
        let mut body = vec![0; length];
        body[..4].copy_from_slice(&n.to_le_bytes());
        sent.push((origin, net.broadcast(origin, kind, &body).id));
        net.run(30);
    }
    net.run(2_000);
    for (origin, id) in &sent {
        net.assert_everywhere_once(*origin, *id);
    }
    assert_eq!(net.penalties, []);
    let each = |count: usize| count * 100 / (sent.len() * 63);
    let pushed = net.sends.values().sum::<usize>() - net.served;
    Cost { pushed: each(pushed), served: each(net.served), told: each(net.told) }
}

const ALL: EagerConfig = EagerConfig {
    transactions: usize::MAX,
    blocks: usize::MAX,
    small_blocks: usize::MAX,
    custom: usize::MAX,
};

/// Bodies pushed for each delivery: 2.6 at most, where flooding takes 4 at least.
#[test]
fn every_node_gets_every_transaction_for_few_pushes() {
    for seed in 0..2 {
        let lazy = cost(Kind::Transaction, 256, seed, EagerConfig::default());
        println!("transactions, in hundredths of a body: {lazy:?}");
        assert!(lazy.pushed <= 260 && lazy.pushed + lazy.served <= 300, "{lazy:?}");
        assert!(lazy.told <= 600, "of eight neighbours two are pushed to: {lazy:?}");
    }
    let flood = cost(Kind::Transaction, 256, 0, ALL);
    println!("to all: {flood:?}");
    assert!(flood.pushed >= 400, "{flood:?}");
}

#[test]
fn every_node_gets_every_block_small_or_large() {
    for (kind, length, pushed) in
        [(Kind::Block, 1_000, 360), (Kind::Block, 40_000, 260), (Kind::Custom, 256, 360)]
    {
        let lazy = cost(kind, length, 3, EagerConfig::default());
        assert!(lazy.pushed <= pushed, "{lazy:?}");
    }
}

/// A star: the middle pushes to two and tells the others, of a block at once and of a transaction
/// a moment later, unless they turn out to have it by then.
#[test]
fn announcements_wait_for_each_other_and_skip_who_has_it() {
    let mut net = Network::new(8, 0, 1);
    for n in 1..8 {
        net.nodes[n].hostile = true;
        net.link(0, n);
    }
    let block = net.broadcast(0, Kind::Block, b"block");
    assert_eq!((block.sent.len(), block.announced.len(), net.told), (3, 4, 4));
    let first = net.broadcast(0, Kind::Transaction, b"first");
    let second = net.broadcast(0, Kind::Transaction, b"second");
    assert_eq!((first.sent.len(), first.announced.len(), net.told), (2, 5, 4), "not yet");
    let (late, now) = (first.announced.nth(0).unwrap(), net.now);
    let message = Relay::outgoing(Kind::Transaction, 0, Topic(0), &Bytes::from_static(b"first"));
    let inbound = Inbound {
        kind: message.kind,
        header: message.header,
        id: first.id.unwrap(),
        body: message.body,
        first_byte: now,
    };
    net.step(0, |relay, now, out| relay.on_message(now, now, late, inbound, out));
    net.run(19);
    assert_eq!(net.told, 4);
    net.run(1);
    assert_eq!(net.told, 4 + 4 + second.announced.len(), "not to who sent it meanwhile");
    net.run(200);
    let heard = |n: usize| net.nodes[n].heard.iter().filter(|(_, m)| m.kind == Kind::Have).count();
    assert!((1..8).all(|n| heard(n) <= 2), "two transactions in one announcement");
}

/// 512 ids fill an announcement, which then does not wait.
#[test]
fn a_full_announcement_leaves_at_once() {
    let mut net = Network::new(8, 0, 1);
    for n in 1..8 {
        net.nodes[n].hostile = true;
        net.link(0, n);
    }
    for n in 0..511u32 {
        net.broadcast(0, Kind::Transaction, &n.to_le_bytes());
    }
    assert_eq!(net.told, 0);
    net.broadcast(0, Kind::Transaction, b"the last");
    assert_eq!(net.told, 512 * 5);
}

/// How many bodies `eager` pushes cost for each delivery, in hundredths, and how late half of the
/// nodes and 99 of 100 have a block, ms.
fn spread(eager: usize) -> (usize, Millis, Millis) {
    let config = EagerConfig { blocks: eager, ..EagerConfig::default() };
    let mut net = regular(0, &RelayConfig { eager: config, ..RelayConfig::default() });
    let mut sent = BTreeMap::new();
    for n in 0..40u32 {
        let mut body = vec![0; 40_000];
        body[..4].copy_from_slice(&n.to_le_bytes());
        let (origin, at) = (net.random(64), net.now);
        sent.insert(net.broadcast(origin, Kind::Block, &body).id.unwrap(), at);
        net.run(50);
    }
    net.run(3_000);
    let delivered = net.nodes.iter().flat_map(|node| &node.delivered);
    let mut late: Vec<Millis> =
        delivered.map(|message| message.first_byte.since(sent[&message.id])).collect();
    late.sort_unstable();
    let bodies = net.sends.values().sum::<usize>() * 100 / late.len();
    (bodies, late[late.len() / 2], late[late.len() * 99 / 100])
}

#[test]
fn each_push_more_costs_a_copy_and_saves_time() {
    let spreads: Vec<_> = (1..=4).map(spread).collect();
    for (eager, (bodies, half, most)) in (1..).zip(&spreads) {
        println!("{eager} pushed: {bodies} hundredths of a body, {half} and {most} ms");
    }
    for pair in spreads.windows(2) {
        assert!(pair[0].0 + 70 < pair[1].0 && pair[0].2 > pair[1].2, "{spreads:?}");
    }
}
