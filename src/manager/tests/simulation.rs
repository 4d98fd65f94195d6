//! Many managers in virtual time.

use std::collections::BTreeMap;

use super::super::*;
use super::{
    places::{alias, place},
    world::World,
};
use crate::record::tests::NOW;

fn small(max_peers: usize, min_peers: usize, wished_outbound: usize) -> ManagerConfig {
    let book = crate::book::BookLimits { allow_private: true, ..Default::default() };
    ManagerConfig { max_peers, min_peers, wished_outbound, book, ..ManagerConfig::default() }
}

fn bootstrap() -> Target {
    Target { address: place(0), expected: None }
}

fn network(seed: u64, nodes: usize, config: &ManagerConfig) -> World {
    let mut world = World::new(seed, 100);
    for node in 0..nodes {
        world.add(config, seed, NOW);
        world.start(node, &[bootstrap()], &[]);
    }
    world
}

/// 30 nodes that know one bootstrap node with room for 8 peers become one network of degree 4
/// to 8, on every one of 200 seeds, and nobody is blamed for anything.
#[test]
fn everybody_meets_through_one_bootstrap_node() {
    for seed in 0..200 {
        // With peers for blocks only they would wish for as many places as there are.
        let config = ManagerConfig { blocks_only_outbound: 0, ..small(8, 4, 3) };
        let mut world = network(seed, 30, &config);
        world.run(NOW.plus(90_000));
        let degrees = world.degrees();
        assert_eq!(world.reached(), 30, "seed {seed}: {degrees:?}");
        assert!(degrees.iter().all(|d| (4..=8).contains(d)), "seed {seed}: {degrees:?}");
        assert_eq!(world.penalties, 0, "seed {seed}");
    }
}

/// Attack row 15: two nodes dial each other, by name or not, at one address or two, in any order: exactly one connection survives, the same on both sides, in each of 10^4 trials.
#[test]
fn of_twins_exactly_one_survives_on_both_sides() {
    let config = ManagerConfig { start_spread: 30, ..small(8, 1, 1) };
    let mut crossed = 0;
    for seed in 0..10_000 {
        let mut world = World::new(seed, 40);
        world.add(&config, seed, NOW);
        world.add(&config, seed, NOW);
        for node in 0..2 {
            let other = (world.nodes[1 - node].address, world.nodes[1 - node].id);
            let expected = (seed % 3 == 0).then_some(other.1);
            let mut targets = vec![Target { address: other.0, expected }];
            if seed % 2 == 0 {
                targets.push(Target { address: alias(other.0), expected: None });
            }
            world.start(node, &[], &targets);
        }
        // Nothing is dialled a second time before a second is over: no failure is made good.
        world.run(NOW.plus(900));
        crossed += usize::from(world.dials.len() > 1);
        assert_eq!(world.degrees(), [1, 1], "seed {seed}");
        assert!(world.is_symmetric(), "seed {seed}");
    }
    assert!(crossed > 5_000, "only {crossed} trials had twins");
}

/// Attack row 50: 50 nodes that restart together are one network again within 30 s, and nobody
/// is dialled by anybody more than twice in a second.
#[test]
fn after_a_restart_storm_the_network_is_one_again() {
    let config = small(10, 4, 4);
    for seed in 0..5 {
        let mut world = network(seed, 50, &config);
        world.run(NOW.plus(120_000));
        for node in 0..50 {
            world.restart(node, &config, seed + 1_000);
        }
        world.dials.clear();
        let restarted = world.now;
        for node in 0..50 {
            world.start(node, &[bootstrap()], &[]);
        }
        world.run(restarted.plus(30_000));
        let degrees = world.degrees();
        assert_eq!(world.reached(), 50, "seed {seed}: {degrees:?}");
        assert!(degrees.iter().all(|d| (3..=12).contains(d)), "seed {seed}: {degrees:?}");
        let mut last: BTreeMap<(usize, Address), Time> = BTreeMap::new();
        for (at, from, to) in &world.dials {
            if let Some(before) = last.insert((*from, *to), *at) {
                assert!(at.since(before) >= 500, "seed {seed}: {from} dials {to} too often");
            }
        }
        let to_most = (0..50).map(|n| world.dials.iter().filter(|d| d.2 == place(n)).count());
        let most = to_most.max().unwrap_or(0);
        assert!(most <= 60, "seed {seed}: {most} dials to one node in 30 s");
    }
}

/// Same seed, same history.
#[test]
fn a_seed_decides_everything() {
    let history = |seed| {
        let mut world = network(seed, 12, &small(8, 4, 3));
        world.run(NOW.plus(20_000));
        world.dials
    };
    assert_eq!(history(7), history(7));
    assert_ne!(history(7), history(8));
}

/// A node that stops is missed, and its peers find others.
#[test]
fn peers_find_others_when_one_stops() {
    let config = small(8, 4, 3);
    let mut world = network(3, 20, &config);
    world.run(NOW.plus(60_000));
    for node in [5, 6, 7] {
        world.tell(node, |m, now, out| m.on_shutdown(now, out));
        assert_eq!(world.nodes[node].manager.deadline(), None);
    }
    world.run(NOW.plus(180_000));
    let degrees = world.degrees();
    assert_eq!(world.reached(), 17, "{degrees:?}");
    let left = degrees.iter().enumerate().filter(|(node, _)| !(5..8).contains(node));
    assert!(left.into_iter().all(|(_, degree)| *degree >= 3), "{degrees:?}");
}
