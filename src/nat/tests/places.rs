//! Whose word counts for where a node is, and what the record says of it.

use super::*;

/// A node whose punches fail, at home and seen at one address by three neighbourhoods.
fn in_vain() -> Node {
    let mut node = Node::with(config(5), &["192.168.1.7"]);
    for n in 101..=103 {
        let remote = Address::new([n, 1, 1, 1].into(), 30_400);
        node.meets(n, remote, true, quic("81.2.69.142:30400"));
    }
    for _ in 0..10 {
        while !punches(&mut node) {
            node.passes(5_000);
        }
        node.passes(30_000);
    }
    assert!(!punches(&mut node));
    node
}

fn punches(node: &mut Node) -> bool {
    node.tell(|m, now, out| m.want(now, peer(9), out));
    node.out.iter().any(|action| matches!(action, Action::Punch(PunchAction::Tell(..))))
}

/// What one peer says of our address lets nobody be tried again; another address does, and another
/// network.
#[test]
fn one_peers_word_ends_no_pause() {
    let mut node = in_vain();
    node.meets(104, address("104.1.1.1:1"), true, quic("99.1.1.1:7"));
    assert!(!punches(&mut node));
    node.tell(|m, now, out| m.on_peer_gone(now, &peer(104), out));
    node.tell(|m, now, out| m.on_peer_gone(now, &peer(103), out));
    node.meets(103, address("103.1.1.1:1"), true, quic("81.2.69.142:30400"));
    assert!(!punches(&mut node), "it is believed again: the same place");
    for n in 104..=107 {
        node.meets(n, Address::new([n, 1, 1, 1].into(), 1), true, quic("99.1.1.1:7"));
    }
    assert!(punches(&mut node), "four neighbourhoods see another address");
    let mut node = in_vain();
    node.moves_to(&["192.168.9.9"]);
    assert!(punches(&mut node));
}

/// A liar with many nodes in one neighbourhood has one word, and it is no private address.
#[test]
fn a_liar_fills_no_offer() {
    let mut node = Node::with(config(5), &["192.168.1.7"]);
    for n in 0..60 {
        let lie = quic(&format!("66.1.{n}.1:{}", 1_000 + u16::from(n)));
        node.meets(n, Address::new([44, 4, n, 1].into(), 30_400), false, lie);
    }
    node.meets(61, address("45.1.1.1:1"), false, quic("10.9.9.9:9"));
    for n in 101..=102 {
        let remote = Address::new([n, 1, 1, 1].into(), 30_400);
        node.meets(n, remote, true, quic("81.2.69.142:40123"));
    }
    let told = &node.machine.puncher.own.told;
    assert_eq!(told[0], quic("81.2.69.142:40123"), "most say so");
    assert!(told.contains(&quic("81.2.69.142:30400")), "{told:?}");
    let lies = told.iter().filter(|own| own.ip() != told[0].ip());
    let ips: std::collections::BTreeSet<IpAddr> = lies.map(Address::ip).collect();
    assert!(ips.len() == 1 && ips.iter().all(|ip| Address::new(*ip, 1).is_routable()), "{told:?}");
}

#[test]
fn a_record_says_whether_a_nat_is_in_front() {
    let of = |own: &[(&str, Origin)]| {
        let candidate =
            |(at, origin): &(&str, Origin)| Candidate { address: address(at), origin: *origin };
        let candidates: Vec<Candidate> = own.iter().map(candidate).collect();
        Told::of(&candidates, Address::is_routable)
    };
    let (v4, v6) = ("81.2.69.142:30400", "[2a01:4f8::1]:30400");
    let behind = [
        vec![],
        vec![(v4, Origin::Peers)],
        vec![(v4, Origin::Stun), (v6, Origin::Interface)],
        vec![("192.168.1.7:30400", Origin::Listening)],
        vec![("192.168.1.7:30400", Origin::Listening), (v4, Origin::Peers)],
    ];
    for own in behind {
        assert!(of(&own).behind_nat, "{own:?}");
    }
    let reached = [
        vec![(v4, Origin::Interface)],
        vec![(v4, Origin::Mapped), (v4, Origin::Peers)],
        vec![(v6, Origin::Interface)],
        vec![(v4, Origin::Configured), (v6, Origin::Listening)],
    ];
    for own in reached {
        assert!(!of(&own).behind_nat, "{own:?}");
    }
    // Where private addresses are dialled, one is as good as any.
    let private = [Candidate { address: address("10.0.0.1:1"), origin: Origin::Listening }];
    assert!(!Told::of(&private, Address::is_dialable).behind_nat);
    assert!(Told::at_start(Vec::new()).behind_nat);
    assert_eq!(Told::at_start(vec![address(v4)]), of(&[(v4, Origin::Configured)]));
    // The same address, known in another way: there is something new to sign.
    assert_ne!(of(&[(v4, Origin::Peers)]), of(&[(v4, Origin::Mapped)]));
    assert_eq!(of(&[(v4, Origin::Interface)]), of(&[(v4, Origin::Mapped)]));
}

/// A way through a relay has the relay's IP, which is not ours: nobody is let off or taken for a
/// neighbour by it. And where a machine has many addresses they leave room for it.
#[test]
fn the_ip_of_a_relay_is_not_ours() {
    let circuit = quic("77.7.7.7:443").through().unwrap();
    let relayed = Candidate { address: circuit, origin: Origin::Relayed };
    let mut node = Node::with(config(5), &["192.168.1.7"]);
    node.machine.announced = vec![relayed];
    assert!(!node.machine.is_own(&circuit.ip()));
    assert!(!node.machine.own(&[relayed]).believed.contains(&circuit.ip()));
    let own = (0..10).map(|n| Candidate {
        address: quic(&format!("[2a01:4:4:4::{n}]:30400")),
        origin: Origin::Interface,
    });
    let told = Told::of(&own.chain([relayed]).collect::<Vec<_>>(), Address::is_routable);
    assert_eq!(told.addresses.len(), crate::record::ADDRESSES_MAX);
    assert_eq!(told.addresses.last(), Some(&circuit));
}
