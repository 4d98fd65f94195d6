//! Rules, one by one.

use super::network::{Manner, World};
use crate::{
    address::NetworkGroup,
    codec::{self, Capped},
    identity::{Keypair, NodeId},
    kademlia::{
        Action, Answer, Claim, ClaimError, ClaimPurpose, Contact, DiscoveryError, K,
        KademliaConfig, KademliaFault, Node, Offer, Outcome, PER_GROUP_BUCKET, Point, Query,
        Refusal, SignedClaim, Storage, StorageLimits, Table, VerifiedClaim, Wish,
    },
    manager::SessionId,
    record::{
        Capabilities, VerifiedRecord,
        tests::{NET, NOW, keypair, record_of, signed},
    },
    time::Time,
};

fn claim(key: &Keypair, purpose: ClaimPurpose, name: u8, sequence: u64) -> Claim {
    let payload = match purpose {
        ClaimPurpose::Value => vec![7, 8, 9],
        _ => signed(key, &["8.8.8.8:30400".parse().unwrap()], NOW).encode().unwrap(),
    };
    Claim {
        purpose,
        signer: key.public(),
        name: [name; 32],
        sequence,
        issued: NOW,
        expires: NOW.plus(3_600_000),
        payload: Capped::first(payload),
    }
}

fn believed(key: &Keypair, purpose: ClaimPurpose, name: u8, sequence: u64) -> VerifiedClaim {
    claim(key, purpose, name, sequence).sign(key, &NET).unwrap().verify(&NET, NOW).unwrap()
}

fn node(number: u64, reached: bool, seen: Time) -> Node {
    let key = keypair(number);
    let address = format!("{}.{}.9.9:30400", 20 + number / 200 % 80, number % 200);
    let record = signed(&key, &[address.parse().unwrap()], NOW).verify(&NET, NOW).unwrap();
    let at = record.record().addresses[0];
    Node::new(seen, record, (reached, at), Some(at.group()))
}

/// Numbers of nodes in the farthest bucket, which half of all nodes are in.
fn far(own: NodeId) -> impl Iterator<Item = u64> {
    let own = Point::from(own);
    (1_000..)
        .filter(move |number| own.distance(&keypair(*number).node_id().into()).shared_bits() == 0)
}

#[test]
fn a_claim_has_pinned_bytes_and_is_its_signers() {
    let key = keypair(1);
    let signed = claim(&key, ClaimPurpose::Value, 3, 5).sign(&key, &NET).unwrap();
    let bytes = signed.encode();
    assert_eq!(bytes.len(), 4 + 32 + 32 + 8 + 8 + 8 + 8 + 3 + 64);
    assert_eq!(SignedClaim::decode(&bytes).unwrap(), signed);
    assert_eq!(&bytes[..4], &[0, 0, 0, 0]);
    assert_eq!(&bytes[68..76], &5u64.to_le_bytes());
    let mut stolen = signed.clone();
    stolen.claim.payload = Capped::first([1]);
    assert_eq!(stolen.verify(&NET, NOW), Err(ClaimError::BadSignature));
    let mut old = claim(&key, ClaimPurpose::Value, 3, 5);
    old.expires = old.issued.plus(crate::kademlia::CLAIM_LIFE_MAX + 1);
    let old = old.sign(&key, &NET).unwrap().verify(&NET, NOW);
    assert!(matches!(old, Err(ClaimError::BadLife(_))));
    assert_eq!(signed.verify(&NET, NOW.plus(3_600_000)), Err(ClaimError::OutOfTime));
}

/// Attack row 17, for claims: nobody provides in another's name.
#[test]
fn a_provider_is_only_ever_the_signer() {
    let (key, victim) = (keypair(1), keypair(2));
    let mut framed = claim(&key, ClaimPurpose::Provider, 3, 5);
    framed.payload = claim(&victim, ClaimPurpose::Provider, 3, 5).payload;
    let framed = framed.sign(&key, &NET).unwrap().verify(&NET, NOW);
    assert_eq!(framed, Err(ClaimError::BadRecord));
}

/// Attack row 23: every quota holds, and what is far goes before what is near.
#[test]
fn the_store_is_bounded_in_every_direction() {
    let limits = StorageLimits {
        claims_max: 40,
        per_signer_max: 3,
        per_point_max: 10,
        per_group_max: 5,
        per_point_and_group_max: 5,
        rendezvous: false,
    };
    let own = keypair(9).node_id();
    let mut store = Storage::new(own, limits);
    let group = |byte| Some(NetworkGroup([4, byte, 0, 0, 0]));
    let key = keypair(1);
    for name in 0..3 {
        store.put(believed(&key, ClaimPurpose::Value, name, 1), group(1)).unwrap();
    }
    let fourth = believed(&key, ClaimPurpose::Value, 9, 1);
    assert_eq!(store.put(fourth, group(2)), Err(Refusal::Full), "the signer's quota");
    let newer = believed(&key, ClaimPurpose::Value, 0, 2);
    assert_eq!(store.put(newer, group(1)), Ok(None));
    let older = believed(&key, ClaimPurpose::Value, 0, 1);
    assert_eq!(store.put(older, group(1)), Err(Refusal::Stale));
    let point = believed(&keypair(50), ClaimPurpose::Rendezvous, 1, 1);
    assert_eq!(store.put(point, group(3)), Err(Refusal::Unsupported));
    let put = |store: &mut Storage, number: u64, name: u8, from: u8| {
        store.put(believed(&keypair(number), ClaimPurpose::Provider, name, 1), group(from))
    };
    for number in 0..5 {
        put(&mut store, 100 + number, 1, 10).unwrap();
    }
    assert_eq!(put(&mut store, 110, 2, 10), Err(Refusal::Full), "the neighbourhood's quota");
    for number in 0..5 {
        put(&mut store, 120 + number, 1, 20 + number as u8).unwrap();
    }
    let room = put(&mut store, 130, 1, 40).unwrap().expect("the point is full: a crowd makes room");
    let crowd: Vec<_> = (100..105).map(|number| keypair(number).public()).collect();
    assert!(crowd.contains(&room.signer));
    let (mut displaced, mut refused) = (0, 0);
    for number in 0..200u64 {
        match put(&mut store, 1_000 + number, number as u8, (number / 4) as u8 + 50) {
            Ok(Some(gone)) if gone.point.0 != [number as u8; 32] => {
                let here = Point([number as u8; 32]);
                let own = Point::from(own);
                assert!(own.distance(&gone.point) > own.distance(&here), "what is far goes first");
                displaced += 1;
            }
            Ok(Some(_)) => {}
            Ok(None) => {}
            Err(_) => refused += 1,
        }
        assert!(store.len() <= 40);
    }
    assert!(displaced > 5 && refused > 5, "{displaced} displaced, {refused} refused");
    assert!(!store.expire(NOW.plus(3_600_000)).is_empty() && store.is_empty());
}

#[test]
fn a_full_bucket_tests_its_oldest_before_it_evicts() {
    let own = keypair(1).node_id();
    let mut table = Table::new(own);
    let mut numbers = far(own);
    let first: Vec<u64> = numbers.by_ref().take(K).collect();
    for number in &first {
        assert_eq!(table.offer(NOW, node(*number, true, NOW)), Offer::Added);
    }
    let newcomer = numbers.next().unwrap();
    assert_eq!(table.offer(NOW, node(newcomer, true, NOW)), Offer::Spare, "all are fresh");
    let later = NOW.plus(11 * 60 * 1000);
    let oldest = keypair(first[0]).node_id();
    assert_eq!(table.offer(later, node(newcomer, true, later)), Offer::Test(oldest));
    table.on_heard(later, oldest);
    assert!(table.get(oldest).is_some() && table.get(keypair(newcomer).node_id()).is_none());
    let second = keypair(first[1]).node_id();
    let successor = table.on_silent(second).unwrap().unwrap();
    assert_eq!(successor.id(), keypair(newcomer).node_id());
    assert!(table.get(second).is_none());
    assert_eq!(table.len(), K);
}

/// Attack row 20, for the table: addresses of one neighbourhood buy two places in a bucket.
#[test]
fn one_neighbourhood_has_few_places() {
    let own = keypair(1).node_id();
    let mut table = Table::new(own);
    for number in far(own).take(50) {
        let mut sybil = node(number, true, NOW);
        sybil.group = Some(NetworkGroup([4, 6, 6, 0, 0]));
        table.offer(NOW, sybil);
    }
    assert_eq!(table.len(), PER_GROUP_BUCKET);
}

#[test]
fn who_is_only_connected_gives_way_and_goes_with_the_connection() {
    let own = keypair(1).node_id();
    let mut table = Table::new(own);
    let numbers: Vec<u64> = far(own).take(K + 1).collect();
    for number in &numbers[..K] {
        table.offer(NOW, node(*number, false, NOW));
    }
    assert_eq!(table.offer(NOW, node(numbers[K], true, NOW)), Offer::Added);
    assert_eq!(table.len(), K);
    table.on_gone(keypair(numbers[1]).node_id());
    table.on_gone(keypair(numbers[K]).node_id());
    assert_eq!(table.len(), K - 1, "one that was reached stays");
}

/// Most come first and are reached later: what is on the disk must not depend on that order.
#[test]
fn who_is_reached_is_kept_whether_it_came_before_or_not() {
    let mut world = World::new(9, 2, 0, &KademliaConfig::default());
    let record = world.members[1].record.clone();
    let machine = &mut world.members[0].machine;
    let mut is_kept = |session, outbound| {
        let (session, record) = (SessionId(session), record.clone());
        let address = record.record().addresses[0];
        let contact = Contact { session, record, address, outbound, visit: false, group: None };
        let mut out = Vec::new();
        machine.on_contact_up(NOW, contact, &mut out);
        out.iter().any(|action| matches!(action, Action::PersistNode(_)))
    };
    assert!(!is_kept(1, false), "it only came");
    assert!(is_kept(2, true), "it was reached");
    assert!(!is_kept(3, true), "nothing is new");
}

#[test]
fn a_forged_answer_costs_its_sender_and_brings_nothing() {
    let mut world = World::new(5, 30, 0, &KademliaConfig::default());
    world.settle();
    world.members[0].manner = Manner::Honest;
    for member in &mut world.members[1..] {
        member.manner = Manner::Forges;
    }
    let (result, _) = world.wish(0, Wish::FindNode(NodeId([3; 32])));
    assert!(result.is_err(), "{result:?}");
    let faults = &world.members[0].faults;
    assert!(faults.len() > 5 && faults.iter().all(|(_, f)| *f == KademliaFault::Forged));
}

#[test]
fn an_answer_nobody_asked_for_is_a_fault_and_a_late_one_is_none() {
    let mut world = World::new(6, 2, 0, &KademliaConfig::default());
    let session = world.connect(0, 1, false);
    world.act(0, |m, now, out| m.on_answer(now, session, 9_999, Answer::Stored, out));
    assert_eq!(world.members[0].faults.len(), 1);
    world.pass(10_000);
    world.act(0, |m, now, out| m.on_answer(now, session, 1, Answer::Stored, out));
    assert_eq!(world.members[0].faults.len(), 1);
}

#[test]
fn whoever_asks_too_much_is_told_so() {
    let mut world = World::new(7, 2, 0, &KademliaConfig::default());
    let session = world.connect(0, 1, false);
    let mut out = Vec::new();
    let now = world.now;
    for id in 0..500 {
        let query = Query::FindNode { target: [1; 32] };
        world.members[1].machine.on_query(now, session, id, query, &mut out);
    }
    let refused = out.iter().filter(|action| {
        let crate::kademlia::Action::Send { message, .. } = action else { return false };
        let answer = codec::decode::<Answer>(&message.body, 32_768);
        matches!(answer, Ok(Answer::Refused { reason: Refusal::Busy }))
    });
    assert_eq!(refused.count(), 400);
}

#[test]
fn nobody_to_ask_switched_off_and_too_long_are_told_apart() {
    let mut world = World::new(8, 1, 0, &KademliaConfig::default());
    let (alone, _) = world.wish(0, Wish::FindNode(NodeId([1; 32])));
    assert_eq!(alone, Err(DiscoveryError::NoNodes));
    let (purpose, name) = (ClaimPurpose::Value, [0; 32]);
    let long = Wish::Publish { purpose, name, value: vec![0; 1_025] };
    assert_eq!(world.wish(0, long).0, Err(DiscoveryError::TooLong));
    let off = KademliaConfig { enabled: false, ..KademliaConfig::default() };
    let mut world = World::new(8, 1, 0, &off);
    assert_eq!(world.wish(0, Wish::FindNode(NodeId([1; 32]))).0, Err(DiscoveryError::Off));
}

/// From one address each to a network in which everybody finds everybody, and what was stored
/// outlives those who kept it.
#[test]
fn a_network_grows_from_one_address_and_keeps_what_is_published() {
    let mut world = World::new(11, 60, 0, &KademliaConfig::default());
    for newcomer in 1..60 {
        world.connect(newcomer, 0, false);
        world.act(newcomer, |machine, now, out| machine.join(now, out));
        world.pass(2_000);
    }
    world.pass(60_000);
    for (at, member) in world.members.iter().enumerate() {
        assert!(member.machine.table().len() >= K, "node {at}: {}", member.machine.table().len());
    }
    let last = world.members[59].record.node();
    let (found, _) = world.wish(30, Wish::FindNode(last));
    assert!(matches!(found, Ok(Outcome::Nodes(nodes)) if nodes[0].node() == last));
    let (purpose, name) = (ClaimPurpose::Provider, Point::of(b"a snapshot").0);
    let (stored, _) = world.wish(59, Wish::Publish { purpose, name, value: Vec::new() });
    assert!(matches!(stored, Ok(Outcome::Stored(copies)) if copies >= K), "{stored:?}");
    // Most of those who keep it go; the provider publishes anew within the hour.
    for at in 5..30 {
        world.members[at].manner = Manner::Silent;
    }
    world.pass(70 * 60 * 1000);
    let (found, _) = world.wish(2, Wish::Find(purpose, name));
    let Ok(Outcome::Claims(claims)) = found else { panic!("{found:?}") };
    assert_eq!(claims[0].record().map(VerifiedRecord::node), Some(last));
    assert!(claims[0].claim().issued > NOW.plus(60 * 60 * 1000), "an old copy");
}

/// A network smaller than a bucket is soon known: after an hour its nodes look no oftener than
/// those of a large one, and one that is new is found within the time of a first walk.
#[test]
fn a_small_network_is_not_searched_for_ever() {
    let config = KademliaConfig::default();
    let mut world = World::new(13, 9, 0, &config);
    for newcomer in 1..8 {
        world.connect(newcomer, 0, false);
        world.act(newcomer, |machine, now, out| machine.join(now, out));
    }
    let begun = |world: &World| world.members[3].machine.next_task;
    world.pass(60_000);
    assert_eq!(world.members[3].machine.table().len(), 7);
    world.pass(60 * 60 * 1000);
    let before = begun(&world);
    world.pass(10 * config.walk_interval);
    let walks = begun(&world) - before;
    assert!((8..=10).contains(&walks), "{walks} walks");
    world.connect(8, 3, false);
    world.act(8, |machine, now, out| machine.join(now, out));
    world.pass(60_000);
    assert_eq!(world.members[3].machine.table().len(), 8);
}

#[test]
fn a_namespace_is_found_at_several_points() {
    let storage = StorageLimits { rendezvous: true, ..StorageLimits::default() };
    let config = KademliaConfig { storage, ..KademliaConfig::default() };
    let mut world = World::new(12, 8, 0, &config);
    let purpose = ClaimPurpose::Rendezvous;
    let name = Point::of(b"archive").0;
    let publish = Wish::Publish { purpose, name, value: Vec::new() };
    assert_eq!(world.wish(0, publish.clone()).0, Ok(Outcome::Stored(1)), "itself is a point");
    // Three more points, whose records say so.
    for at in 1..4 {
        let key = keypair(12u64.wrapping_mul(1_000_003).wrapping_add(777 + at as u64));
        let mut record = record_of(&key, &[format!("9.{at}.9.9:1").parse().unwrap()], NOW);
        record.capabilities = record.capabilities.with(Capabilities::RENDEZVOUS);
        world.members[at].record = record.sign(&key, &NET).unwrap().verify(&NET, NOW).unwrap();
        world.connect(0, at, false);
        world.connect(5, at, false);
    }
    assert_eq!(world.wish(0, publish).0, Ok(Outcome::Stored(4)));
    let (found, _) = world.wish(5, Wish::Find(purpose, name));
    let Ok(Outcome::Claims(claims)) = found else { panic!("{found:?}") };
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].node(), world.members[0].record.node());
}
