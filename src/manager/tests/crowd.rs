//! Hundreds of nodes on public addresses, in virtual time: they find each other and stay together.
//! `PEERSTAGE_CHURN_NODES=500 PEERSTAGE_CHURN_HOURS=24` is the full size.

use rand::RngExt;

use super::{super::*, places::public_place, world::World};
use crate::record::tests::NOW;

const MINUTE: Millis = 60_000;

fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn bootstrap() -> Target {
    Target { address: public_place(0), expected: None }
}

fn crowd(nodes: usize, config: &ManagerConfig) -> World {
    let mut world = World::public(1, 100);
    for node in 0..nodes {
        world.add(config, 1, NOW);
        world.start(node, &[bootstrap()], &[]);
    }
    world
}

/// Peers that each node dialled itself, those that carry blocks only left out.
fn outbound(world: &World) -> Vec<usize> {
    let living = world.nodes.iter().filter(|node| node.alive);
    living.map(|node| node.manager.status().outbound).collect()
}

/// 500 nodes start with one address: within a minute each has as many peers of its own choice as
/// it wishes for. The node at that address dies, and a minute later all is as it was.
#[test]
fn five_hundred_nodes_meet_through_one_address_and_outlive_it() {
    let config = ManagerConfig::default();
    let mut world = crowd(500, &config);
    world.run(NOW.plus(MINUTE));
    let short = outbound(&world).into_iter().filter(|n| *n < config.wished_outbound).count();
    assert_eq!(short, 0, "{:?}", outbound(&world));
    assert_eq!(world.reached(), 500);
    world.kill(0);
    world.run(NOW.plus(2 * MINUTE));
    let short = outbound(&world).into_iter().filter(|n| *n < config.wished_outbound).count();
    assert_eq!(short, 0, "{:?}", outbound(&world));
    assert_eq!(world.reached_from(1), 499);
    assert_eq!(world.penalties, 0);
}

/// Peer counts don't dwindle: with one node in a hundred killed each minute, and another back
/// after ten, each that is up has its peers through all hours.
#[test]
fn peer_counts_stay_level_through_hours_of_churn() {
    let nodes = size("PEERSTAGE_CHURN_NODES", 100);
    let hours = size("PEERSTAGE_CHURN_HOURS", 3);
    let config = ManagerConfig::default();
    let mut world = crowd(nodes, &config);
    world.run(NOW.plus(2 * MINUTE));
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut back: std::collections::VecDeque<(Time, usize)> = Default::default();
    let mut averages = Vec::new();
    for minute in 1..=hours as u64 * 60 {
        for _ in 0..nodes.div_ceil(100) {
            let victim = rng.random_range(0..nodes);
            if world.nodes[victim].alive {
                world.kill(victim);
                back.push_back((world.now.plus(10 * MINUTE), victim));
            }
        }
        while let Some((_, node)) = back.pop_front_if(|(at, _)| *at <= world.now) {
            world.restart(node, &config, minute);
            world.start(node, &[], &[]);
        }
        world.run(NOW.plus((2 + minute) * MINUTE));
        if minute % 10 == 0 {
            let living = world.nodes.iter().filter(|node| node.alive);
            let short = living.filter(|n| n.manager.status().outbound + 1 < config.wished_outbound);
            let short = short.count();
            assert!(short * 20 <= nodes, "minute {minute}: {short} nodes miss two peers or more");
            let degrees = outbound(&world);
            averages.push(degrees.iter().sum::<usize>() * 100 / degrees.len());
        }
    }
    let survivor = world.nodes.iter().position(|node| node.alive).unwrap();
    let alive = world.nodes.iter().filter(|node| node.alive).count();
    assert_eq!(world.reached_from(survivor), alive, "one network");
    let (first, last) = (averages[0], averages[averages.len() - 1]);
    assert!(last * 100 >= first * 97, "outbound peers in hundredths: {averages:?}");
    assert!(averages.iter().all(|a| *a >= config.wished_outbound * 97), "{averages:?}");
    assert_eq!(world.penalties, 0);
}
