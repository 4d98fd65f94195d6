//! Records of nodes that are being dialled.

use super::network::World;
use crate::kademlia::{DiscoveryError, KademliaConfig, Wish};
use crate::record::tests::keypair;

/// A node behind a NAT is found with those that it is connected to, and by nobody else's visit.
#[test]
fn the_record_of_a_dialled_node_is_found_with_its_peer() {
    let mut world = World::new(31, 3, 0, &KademliaConfig::default());
    let hidden = world.members[2].record.node();
    world.connect(2, 1, false);
    world.connect(0, 1, false);
    world.act(0, |m, now, out| m.seek(now, hidden, out));
    world.pass(1_000);
    assert!(world.members[0].learnt.contains(&hidden));
    assert_eq!(world.members[0].done, [], "nobody waits for that");
}

/// What dials look for takes no place of the application's, is not looked for twice, and not without
/// a bound.
#[test]
fn few_records_are_looked_for_at_once() {
    let mut world = World::new(32, 2, 0, &KademliaConfig::default());
    world.connect(0, 1, false);
    let before = world.members[0].machine.tasks.len();
    let begun = |world: &World| world.members[0].machine.tasks.len() - before;
    let seek = |world: &mut World, number: u64| {
        let node = keypair(number).node_id();
        world.act(0, |m, now, out| m.seek(now, node, out));
    };
    for _ in 0..3 {
        seek(&mut world, 1_000);
    }
    assert_eq!(begun(&world), 1);
    (1_001..1_100).for_each(|number| seek(&mut world, number));
    assert_eq!(begun(&world), 8);
    for number in 2_000..2_064 {
        let wish = Wish::FindNode(keypair(number).node_id());
        assert!(world.act(0, |m, now, out| m.wish(now, wish, out)).is_ok());
    }
    let wish = Wish::FindNode(keypair(3_000).node_id());
    let refused = world.act(0, |m, now, out| m.wish(now, wish, out));
    assert_eq!(refused, Err(DiscoveryError::TooMany));
}
