//! Ways through relays: whose turn it is, and when they are needed again.

use super::{
    super::{relays::TOLD_FOR, strangers::CAME_FOR},
    *,
};

/// A node behind a NAT with these relays, by number, each there for a second when the next comes.
fn behind(relays: &[&str]) -> Node {
    let mut node = Node::at(&["192.168.1.7"], false);
    for (n, relay) in (1..).zip(relays) {
        node.tell(|machine, now, out| machine.on_relay(now, peer(n), address(relay), out));
        node.now = node.now.plus(1_000);
    }
    node
}

fn through(relay: &str) -> Address {
    address(relay).through().unwrap()
}

/// Those that were there first are not all there is for ever: whatever they carry, others are told
/// in their turn. Newcomers push nobody out before that.
#[test]
fn each_relay_has_its_turn() {
    let relays = ["8.1.0.1:1", "9.1.0.1:1", "11.1.0.1:1", "12.1.0.1:1"];
    let mut node = behind(&relays);
    let mut told = std::collections::BTreeSet::new();
    let first = node.announced.clone();
    assert_eq!(first, [through(relays[0]), through(relays[1])]);
    node.passes(TOLD_FOR - 10_000);
    assert_eq!(node.announced, first);
    for _ in 0..4 {
        node.passes(TOLD_FOR / 2);
        assert_eq!(node.announced.len(), 2);
        told.extend(node.announced.clone());
    }
    assert_eq!(told, relays.map(through).into());
    // With nobody else there, nothing changes.
    let mut node = behind(&relays[..2]);
    let before = node.announcements;
    node.passes(10 * TOLD_FOR);
    assert_eq!(node.announcements, before);
}

/// One stranger does not speak for ever, and for nothing on another line.
#[test]
fn a_node_that_nobody_reaches_any_more_tells_its_relays_again() {
    let mut node = behind(&["8.1.0.1:1"]);
    node.meets(7, address("7.7.7.7:9"), false, address("1.2.3.4:5"));
    assert!(node.announced.is_empty());
    node.passes(CAME_FOR - 60_000);
    assert!(node.announced.is_empty());
    node.passes(120_000);
    assert_eq!(node.announced, [through("8.1.0.1:1")]);

    let mut node = behind(&["8.1.0.1:1"]);
    for (n, from) in [(11, "21.1.1.1:9"), (12, "22.1.1.1:9"), (13, "23.1.1.1:9")] {
        node.meets(n, address(from), true, address("1.2.3.4:5"));
    }
    node.meets(7, address("7.7.7.7:9"), false, address("1.2.3.4:5"));
    assert!(!node.announced.contains(&through("8.1.0.1:1")), "{:?}", node.announced);
    for (n, from) in [(11, "21.1.1.1:9"), (12, "22.1.1.1:9"), (13, "23.1.1.1:9")] {
        node.meets(n, address(from), true, address("1.2.9.9:5"));
    }
    assert!(node.announced.contains(&through("8.1.0.1:1")), "{:?}", node.announced);
}
