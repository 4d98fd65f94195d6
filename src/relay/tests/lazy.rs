//! Pushing to a few and telling the rest.

use super::*;

/// A random graph of 64 nodes of degree 8: 8 circles through all of them, four times two.
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

/// Bodies sent for each delivery, hundredths, and duplicates received likewise.
fn bodies_per_delivery(kind: Kind, length: usize, seed: u64, config: &RelayConfig) -> usize {
    let mut net = regular(seed, config);
    let mut sent = Vec::new();
    for n in 0..100u32 {
        let origin = net.random(64);
        let mut body = vec![0; length];
        body[..4].copy_from_slice(&n.to_le_bytes());
        sent.push((origin, net.broadcast(origin, kind, &body).id));
        net.run(30);
    }
    net.run(5_000);
    for (origin, id) in &sent {
        net.assert_everywhere_once(*origin, *id);
    }
    assert_eq!(net.penalties, []);
    let bodies: usize = net.sends.values().sum();
    bodies * 100 / (sent.len() * 63)
}

#[test]
fn every_node_gets_every_transaction_and_few_get_it_more_than_twice() {
    for seed in 0..3 {
        let bodies = bodies_per_delivery(Kind::Transaction, 256, seed, &RelayConfig::default());
        assert!(bodies <= 260, "{bodies}");
    }
}
