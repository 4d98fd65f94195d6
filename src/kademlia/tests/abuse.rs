//! Attack rows 18, 20, 23 and 25, for discovery: what strangers claim, stuff and cut off.

use super::network::World;
use crate::{
    address::{Address, NetworkGroup},
    codec::Capped,
    identity::{Keypair, NodeId},
    kademlia::{
        Action, Answer, Claim, ClaimKey, ClaimPurpose, Contact, Kademlia, KademliaConfig,
        KademliaFault, Lookup, Point, Query, Refusal, Storage, StorageLimits, VerifiedClaim, Wish,
        points::Points,
    },
    manager::SessionId,
    record::{
        Capabilities, VerifiedRecord,
        tests::{NET, NOW, keypair, record_of, signed},
    },
    time::Time,
};

const HOUR: u64 = 60 * 60 * 1000;

fn at(text: &str) -> Address {
    text.parse().unwrap()
}

/// A record of this life, issued then.
fn issued(number: u64, addresses: &[Address], then: Time) -> VerifiedRecord {
    let key = keypair(number);
    let mut record = record_of(&key, addresses, then);
    record.expires = then.plus(24 * HOUR);
    record.sign(&key, &NET).unwrap().verify(&NET, then).unwrap()
}

fn contact(session: u64, record: &VerifiedRecord, address: Address, outbound: bool) -> Contact {
    let record = record.clone();
    Contact { session: SessionId(session), record, address, outbound, visit: false, group: None }
}

fn lone() -> World {
    World::new(21, 1, 0, &KademliaConfig::default())
}

/// Attack row 18: whoever is told of a node dials what its record names, so a node that is not where
/// its record says is told to nobody.
#[test]
fn a_node_is_told_only_if_it_is_where_it_says() {
    let victim = issued(500, &[at("9.9.9.9:30400")], NOW);
    for (outbound, address) in [(false, "7.7.7.7:50000"), (true, "7.7.7.7:30400")] {
        let mut world = lone();
        let liar = contact(1, &victim, at(address), outbound);
        world.act(0, |m, now, out| m.on_contact_up(now, liar, out));
        assert!(world.members[0].machine.table().is_empty(), "from {address}");
    }
    let mut world = lone();
    let here = contact(1, &victim, at("9.9.9.9:50000"), false);
    world.act(0, |m, now, out| m.on_contact_up(now, here, out));
    let known = world.members[0].machine.table().get(victim.node()).cloned().unwrap();
    assert!(!known.reached, "it came by itself");
    let here = contact(2, &victim, at("9.9.9.9:30400"), true);
    world.act(0, |m, now, out| m.on_contact_up(now, here, out));
    assert!(world.members[0].machine.table().get(victim.node()).unwrap().reached);
}

/// Through a relay nobody is seen where they are: a relayed peer is asked, and has no place in the
/// table, let alone as one that was reached, until it is met directly.
#[test]
fn a_relayed_node_is_not_reached() {
    let (direct, relay) = (at("9.9.9.9:30400"), at("7.7.7.7:30400"));
    let circuit = relay.through().unwrap();
    for told in [[direct, circuit], [relay, circuit]] {
        for outbound in [false, true] {
            let mut world = lone();
            let record = issued(500, &told, NOW);
            let relayed = contact(1, &record, circuit, outbound);
            world.act(0, |m, now, out| m.on_contact_up(now, relayed, out));
            let machine = &world.members[0].machine;
            assert!(machine.table().is_empty(), "{told:?}, outbound: {outbound}");
            let mut out = Vec::new();
            let machine = &mut world.members[0].machine;
            machine.wish(NOW, Wish::FindNode(keypair(501).node_id()), &mut out).unwrap();
            let asks = |action: &Action| match action {
                Action::Send { session, query, .. } => *session == SessionId(1) && query.is_some(),
                _ => false,
            };
            assert!(out.iter().any(asks), "{out:?}");
            assert!(!out.iter().any(|action| matches!(action, Action::PersistNode(_))));
        }
    }
    let mut world = lone();
    let record = issued(500, &[direct, circuit], NOW);
    for (session, place) in [(1, circuit), (2, direct)] {
        let up = contact(session, &record, place, true);
        world.act(0, |m, now, out| m.on_contact_up(now, up, out));
    }
    world.act(0, |m, now, out| m.on_contact_down(now, SessionId(1), out));
    assert!(world.members[0].machine.table().get(record.node()).unwrap().reached);
}

/// Nobody is visited at a relay: whose record tells nothing else has to be a peer to be asked.
#[test]
fn nobody_is_visited_through_a_relay() {
    let circuit = at("7.7.7.7:30400").through().unwrap();
    let mut world = lone();
    let machine = &mut world.members[0].machine;
    let visited = |machine: &mut Kademlia, told: &[Address]| {
        let mut out = Vec::new();
        machine.check(NOW, issued(500, told, NOW), &mut out);
        out.into_iter().find_map(|action| match action {
            Action::Visit { addresses, .. } => Some(addresses),
            _ => None,
        })
    };
    assert_eq!(visited(machine, &[circuit]), None);
    let direct = at("9.9.9.9:30400");
    assert_eq!(visited(machine, &[direct, circuit]), Some(vec![direct]));
}

/// A record that names other addresses has to be reached anew; one that still names the old one is
/// kept, on the disk too.
#[test]
fn a_newer_record_is_reached_only_where_the_old_one_was() {
    let mut world = lone();
    let old = issued(500, &[at("9.9.9.9:1")], NOW);
    let up = contact(1, &old, at("9.9.9.9:1"), true);
    world.act(0, |m, now, out| m.on_contact_up(now, up, out));
    let mut out = Vec::new();
    let same = issued(500, &[at("9.9.9.9:1"), at("8.8.8.8:2")], NOW.plus(1));
    world.members[0].machine.on_record(&same, &mut out);
    assert_eq!(out, [Action::PersistNode(Box::new(same.clone()))]);
    world.members[0].machine.on_record(&old, &mut out);
    assert_eq!(out.len(), 1, "an older one says nothing");
    let moved = issued(500, &[at("8.8.8.8:2")], NOW.plus(2));
    world.members[0].machine.on_record(&moved, &mut out);
    assert_eq!(out[1], Action::ForgetNode(moved.node()));
    assert!(!world.members[0].machine.table().get(moved.node()).unwrap().reached);
}

/// Connections outlive records, which are renewed every few hours.
#[test]
fn a_node_that_stays_connected_stays_in_the_table() {
    let mut world = lone();
    let there = at("9.9.9.9:1");
    let up = contact(1, &issued(500, &[there], NOW), there, true);
    world.act(0, |m, now, out| m.on_contact_up(now, up, out));
    for _ in 0..5 {
        world.pass(10 * HOUR);
        let renewed = issued(500, &[there], world.now);
        world.act(0, |m, _, out| m.on_record(&renewed, out));
    }
    assert_eq!(world.members[0].machine.table().len(), 1);
    world.pass(25 * HOUR);
    assert!(world.members[0].machine.table().is_empty(), "nobody renewed it");
}

/// Switched off, a node says so to whoever asks, and asks nobody.
#[test]
fn what_is_switched_off_asks_nobody() {
    let off = KademliaConfig { enabled: false, ..KademliaConfig::default() };
    let mut world = World::new(22, 2, 0, &off);
    let session = world.connect(0, 1, false);
    world.pass(HOUR);
    let mut out = Vec::new();
    let (now, machine) = (world.now, &mut world.members[0].machine);
    machine.on_deadline(now, &mut out);
    assert!(machine.table().is_empty() && out.is_empty(), "{out:?}");
    let query = Query::FindNode { target: [1; 32] };
    machine.on_query(now, session, 1, query, &mut out);
    let refused = Answer::Refused { reason: Refusal::Unsupported }.message(1);
    assert_eq!(out[1], Action::Send { session, query: None, message: refused });
}

/// What the store kept in vain goes at the next start.
#[test]
fn what_is_dead_at_a_start_leaves_the_store() {
    let mut world = lone();
    let (dead, alive) =
        (issued(500, &[at("9.9.9.9:1")], NOW), issued(501, &[at("8.8.8.8:1")], NOW));
    let later = NOW.plus(25 * HOUR);
    let renewed = issued(501, &[at("8.8.8.8:1")], later);
    let claim = provider(&keypair(502), 1).signed().clone();
    let key = claim.claim.key();
    let mut out = Vec::new();
    let nodes = [dead.signed().clone(), renewed.signed().clone()];
    world.members[0].machine.restore(later, nodes, [claim], &mut out);
    assert_eq!(out, [Action::ForgetNode(dead.node()), Action::ForgetClaim(key)]);
    assert!(world.members[0].machine.table().get(alive.node()).is_some());
}

/// Attack row 25, for the table: while our own line is down everybody is silent, and nobody is
/// forgotten for it.
#[test]
fn our_own_outage_empties_no_table() {
    let mut world = World::new(23, 30, 0, &KademliaConfig::default());
    world.settle();
    let before = world.members[0].machine.table().len();
    for member in &mut world.members[1..] {
        member.manner = super::network::Manner::Silent;
    }
    world.pass(2 * HOUR);
    assert_eq!(world.members[0].machine.table().len(), before);
}

fn provider(key: &Keypair, name: u8) -> VerifiedClaim {
    let payload = signed(key, &[at("8.8.8.8:30400")], NOW).encode().unwrap();
    let claim = Claim {
        purpose: ClaimPurpose::Provider,
        signer: key.public(),
        name: [name; 32],
        sequence: 1,
        issued: NOW,
        expires: NOW.plus(HOUR),
        payload: Capped::first(payload),
    };
    claim.sign(key, &NET).unwrap().verify(&NET, NOW).unwrap()
}

/// Attack row 23: many keys behind few neighbourhoods fill no point, and one that is full makes room
/// for whoever comes from elsewhere.
#[test]
fn one_neighbourhood_does_not_fill_a_point() {
    let limits = StorageLimits { per_point_max: 8, ..StorageLimits::default() };
    let mut store = Storage::new(keypair(1).node_id(), limits);
    let group = |byte| Some(NetworkGroup([4, byte, 0, 0, 0]));
    let mut put = |number, byte| store.put(provider(&keypair(number), 7), group(byte));
    let kept = (0..64).filter(|number| put(600 + number, 1).is_ok()).count();
    assert_eq!(kept, 4);
    assert!((0..4).all(|number| put(700 + number, 2).is_ok()), "the point is full now");
    let mut displaced = Vec::new();
    for byte in 10..16 {
        displaced.extend(put(800 + u64::from(byte), byte).unwrap());
    }
    assert_eq!(displaced.len(), 6, "of the two that crowd");
    assert_eq!(put(900, 20), Err(Refusal::Full), "nobody has more than one now");
    let elsewhere = ClaimKey::of(&provider(&keypair(810), 7));
    assert!(!displaced.contains(&elsewhere));
}

/// Points are nodes that were reached, two of a neighbourhood.
#[test]
fn points_are_few_of_a_neighbourhood() {
    let (mut points, mut rng) = (Points::default(), lone().rng);
    let group = Some(NetworkGroup([4, 1, 0, 0, 0]));
    for number in 500..520 {
        let key = keypair(number);
        let mut record = record_of(&key, &[at("9.9.9.9:1")], NOW);
        record.capabilities = record.capabilities.with(Capabilities::RENDEZVOUS);
        let record = record.sign(&key, &NET).unwrap().verify(&NET, NOW).unwrap();
        points.note(&record, group, &mut rng);
    }
    assert_eq!(points.alive(NOW).count(), 2);
    points.note(&issued(600, &[at("8.8.8.8:1")], NOW), None, &mut rng);
    assert_eq!(points.alive(NOW).count(), 2, "it says that it is none");
}

/// The same claim over and over in one answer is a lie about how many keep it.
#[test]
fn a_claim_comes_once_in_an_answer() {
    let mut world = World::new(24, 2, 0, &KademliaConfig::default());
    let session = world.connect(0, 1, false);
    let claim = provider(&keypair(500), 7);
    let point = claim.claim().point();
    world.act(0, |m, now, out| {
        m.wish(now, Wish::Find(ClaimPurpose::Provider, point.0), out).map(drop).unwrap();
    });
    let id = world.members[0].machine.next_query;
    let claims = Capped::first([claim.signed().encode(), claim.signed().encode()]);
    let answer = Answer::Records { claims, nodes: Capped::first([]) };
    world.act(0, |m, now, out| m.on_answer(now, session, id, answer, out));
    assert_eq!(world.members[0].faults[0].1, KademliaFault::Malformed);
}

/// A lookup ends with the newest record that anybody told.
#[test]
fn a_lookup_keeps_the_newest_record() {
    let (old, new) =
        (issued(500, &[at("9.9.9.9:1")], NOW), issued(500, &[at("8.8.8.8:1")], NOW.plus(1)));
    let first = [501, 502].map(|number| issued(number, &[at("7.7.7.7:1")], NOW));
    let target = Point::from(NodeId([3; 32]));
    let mut lookup = Lookup::new(target, first.clone());
    assert_eq!(lookup.ask_now().len(), 2);
    for (from, told) in first.iter().zip([&new, &old]) {
        lookup.on_answer(from.node(), [told.clone()]);
    }
    assert_eq!(lookup.heard_of(old.node()), Some(&new));
}
