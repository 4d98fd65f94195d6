use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::record::tests::{NET, NOW, keypair, record_of, signed};

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// A routable address for every number.
fn numbered(number: u32) -> Address {
    let [a, b, c, d] = number.to_be_bytes();
    Address::new(IpAddr::from([11 + a % 80, b, c, d]), 30400)
}

fn from(text: &str) -> Source {
    Source::Peer(address(text).group())
}

fn verified(number: u64, addresses: &[Address], now: Time) -> VerifiedRecord {
    signed(&keypair(number), addresses, now).verify(&NET, now).unwrap()
}

/// Attack row 18: what nobody can be reached at never gets in.
#[test]
fn only_reachable_addresses_get_in() {
    let mut book = Book::new(BookLimits::default());
    for text in ["10.0.0.1:1", "127.0.0.1:1", "224.0.0.1:1", "8.8.8.8:0", "[fe80::1]:1"] {
        let outcome = book.add_address(NOW, &mut rng(), address(text), None, from("9.9.9.9:1"));
        assert_eq!(outcome, AddressOutcome::NotReachable, "{text}");
    }
    book.mark_own(NOW, address("8.8.8.8:9"));
    let own = book.add_address(NOW, &mut rng(), address("8.8.8.8:9"), None, Source::Operator);
    assert_eq!(own, AddressOutcome::Own);
    assert!(book.is_empty());

    let mut private = Book::new(BookLimits { allow_private: true, ..BookLimits::default() });
    let mut add =
        |text| private.add_address(NOW, &mut rng(), address(text), None, from("10.0.0.9:1"));
    assert_eq!(add("127.0.0.1:1"), AddressOutcome::Added);
    assert_eq!(add("127.0.0.1:1"), AddressOutcome::Known);
    assert_eq!(add("224.0.0.1:1"), AddressOutcome::NotReachable);
}

/// Attack row 19: one neighbourhood owns at most its share, and gets it back for what it proved.
#[test]
fn one_source_owns_a_share() {
    let mut book = Book::new(BookLimits::default());
    let mut rng = rng();
    for number in 0..1_000 {
        book.add_address(NOW, &mut rng, numbered(number), None, from("66.6.6.6:1"));
    }
    assert_eq!(book.len(), 64);
    let other = book.add_address(NOW, &mut rng, numbered(5_000), None, from("77.7.7.7:1"));
    assert_eq!(other, AddressOutcome::Added);
    book.on_success(NOW, &numbered(0), keypair(1).node_id());
    let freed = book.add_address(NOW, &mut rng, numbered(6_000), None, from("66.6.6.6:1"));
    assert_eq!(freed, AddressOutcome::Added);
}

/// Attack row 19: a million addresses from ten thousand neighbourhoods stay within the cap, and
/// never displace a verified one.
#[test]
fn a_million_addresses_stay_within_the_cap() {
    let mut book = Book::new(BookLimits { addresses_max: 2_000, ..BookLimits::default() });
    let mut rng = rng();
    book.add_address(NOW, &mut rng, address("99.9.9.9:9"), None, Source::Operator);
    book.on_success(NOW, &address("99.9.9.9:9"), keypair(1).node_id());
    for number in 0..1_000_000u32 {
        let source = Source::Peer(numbered((number % 10_000) << 16).group());
        book.add_address(NOW, &mut rng, numbered(number.wrapping_mul(2_654_435_761)), None, source);
    }
    assert_eq!(book.len(), 2_000);
    assert_eq!(book.pool.len(), 2_000);
    assert!(book.sources.len() <= 2_000);
    assert!(book.get(&address("99.9.9.9:9")).unwrap().is_verified());
    for (position, address) in book.pool.iter().enumerate() {
        assert_eq!(book.entries[address].position, position);
    }
}

#[test]
fn one_ip_has_a_few_addresses() {
    let mut book = Book::new(BookLimits::default());
    for port in 1..100 {
        let address = Address::new(IpAddr::from([8, 8, 8, 8]), port);
        book.add_address(NOW, &mut rng(), address, None, from("66.6.6.6:1"));
    }
    assert_eq!(book.len(), ADDRESSES_PER_IP_MAX);
}

#[test]
fn an_address_that_never_answers_is_forgotten() {
    let mut book = Book::new(BookLimits::default());
    let there = address("8.8.8.8:1");
    book.add_address(NOW, &mut rng(), there, None, from("9.9.9.9:1"));
    for failure in 1..FAILURES_UNVERIFIED_MAX {
        assert_eq!(book.on_failure(&there, NOW.plus(5)), None);
        assert_eq!(book.get(&there).unwrap().failures, failure);
    }
    assert!(book.on_failure(&there, Time::NEVER).is_some());
    assert!(book.is_empty() && book.sources.is_empty());
}

#[test]
fn a_newer_record_replaces_an_older_one_and_never_the_other_way() {
    let mut book = Book::new(BookLimits::default());
    let (old, new) = (address("8.8.8.8:1"), address("9.9.9.9:1"));
    let newer = verified(1, &[new], NOW.plus(1));
    let node = newer.node();
    let mut add = |record| book.add_record(NOW, &mut rng(), record, from("7.7.7.7:1"), 8);
    let stored = RecordOutcome::Stored { added: 1, displaced: None };
    assert_eq!(add(verified(1, &[old], NOW)), stored);
    assert_eq!(add(newer), stored);
    assert_eq!(add(verified(1, &[old], NOW)), RecordOutcome::NotNewer);
    assert_eq!(book.addresses_of(&node), vec![new]);
    assert!(book.get(&old).is_none(), "no longer listed");
}

/// A record of nobody we met is never passed on; nor a dead one; nor the whole book.
#[test]
fn a_sample_is_a_few_records_of_nodes_that_were_met() {
    let mut book = Book::new(BookLimits::default());
    let mut rng = rng();
    for number in 0..100u32 {
        let there = numbered(number << 16);
        let record = verified(u64::from(number), &[there], NOW);
        let node = record.node();
        book.add_record(NOW, &mut rng, record, Source::Operator, 8);
        if number < 60 {
            book.on_success(NOW, &there, node);
        }
    }
    let nobody = |_: &NodeId| false;
    let sample = book.sample(NOW, &mut rng, 32, nobody, |_| false);
    assert_eq!(sample.len(), 15, "a quarter of those that were met");
    assert!(sample.iter().all(|s| book.was_met(&s.record.public_key.node_id())));
    assert_eq!(book.sample(NOW, &mut rng, 3, nobody, |_| false).len(), 3);
    let other = book.sample(NOW, &mut rng, 32, nobody, |_| false);
    assert_ne!(sample, other, "each answer is drawn anew");
    let late = NOW.plus(2 * 60 * 60 * 1000);
    assert!(book.sample(late, &mut rng, 32, nobody, |_| false).is_empty());
    assert_eq!(book.forget_expired(late).len(), 100);
    assert_eq!(book.records(), 0);
}

#[test]
fn records_stay_within_the_cap_and_those_met_stay() {
    let mut book = Book::new(BookLimits { records_max: 20, ..BookLimits::default() });
    let mut rng = rng();
    let met = verified(0, &[numbered(1)], NOW);
    book.add_record(NOW, &mut rng, met.clone(), Source::Operator, 8);
    book.on_success(NOW, &numbered(1), met.node());
    for number in 1..200 {
        book.add_record(NOW, &mut rng, verified(number, &[], NOW), Source::Operator, 8);
    }
    assert_eq!(book.records(), 20);
    assert!(book.record(&met.node()).is_some());
}

#[test]
fn a_validator_is_found_by_its_key() {
    let mut book = Book::new(BookLimits::default());
    let (node, validator) = (keypair(1), keypair(2));
    let mut record = record_of(&node, &[numbered(1)], NOW);
    record.validator =
        Some(crate::record::ValidatorBinding::sign(&validator, &NET, &node.node_id()));
    let record = record.sign(&node, &NET).unwrap().verify(&NET, NOW).unwrap();
    book.add_record(NOW, &mut rng(), record, Source::Operator, 8);
    assert_eq!(book.node_of_validator(&validator.public()), Some(node.node_id()));
    book.forget_expired(Time::NEVER);
    assert_eq!(book.node_of_validator(&validator.public()), None);
}

#[test]
fn an_entry_survives_the_store() {
    let mut book = Book::new(BookLimits::default());
    book.add_address(NOW, &mut rng(), numbered(1), None, from("7.7.7.7:1"));
    book.on_success(NOW, &numbered(1), keypair(1).node_id());
    let kept = crate::codec::encode(book.get(&numbered(1)).unwrap()).unwrap();
    let mut again = Book::new(BookLimits::default());
    again.restore(crate::codec::decode(&kept, 1_000).unwrap());
    assert_eq!(again.get(&numbered(1)), book.get(&numbered(1)));
}
