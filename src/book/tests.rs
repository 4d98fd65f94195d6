use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::record::tests::{NET, NOW, keypair, record_of, signed};

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

fn empty(limits: BookLimits) -> Book {
    Book::new(limits, [7; 32])
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
    let mut book = empty(BookLimits::default());
    for text in ["10.0.0.1:1", "127.0.0.1:1", "224.0.0.1:1", "8.8.8.8:0", "[fe80::1]:1"] {
        let outcome = book.add_address(NOW, address(text), None, from("9.9.9.9:1"));
        assert_eq!(outcome, AddressOutcome::NotReachable, "{text}");
    }
    book.mark_own(NOW, address("8.8.8.8:9"));
    let own = book.add_address(NOW, address("8.8.8.8:9"), None, Source::Operator);
    assert_eq!(own, AddressOutcome::Own);
    assert!(book.is_empty());

    let mut private = empty(BookLimits { allow_private: true, ..BookLimits::default() });
    let mut add = |text| private.add_address(NOW, address(text), None, from("10.0.0.9:1"));
    assert_eq!(add("127.0.0.1:1"), AddressOutcome::Added);
    assert_eq!(add("127.0.0.1:1"), AddressOutcome::Known);
    assert_eq!(add("224.0.0.1:1"), AddressOutcome::NotReachable);
}

/// What is behind a relay leaves its machine the room that one machine has.
#[test]
fn ways_through_a_relay_count_apart_from_its_machine() {
    let mut book = empty(BookLimits::default());
    let mut add = |port: u16, circuit: bool| {
        let there = Address::new(IpAddr::from([8, 8, 8, 8]), port);
        let there = if circuit { there.through().unwrap() } else { there };
        // Each from another neighbourhood: none is crowded out of its bucket.
        let source = Source::Peer(numbered(u32::from(port) << 16).group());
        book.add_address(NOW, there, None, source)
    };
    for circuit in [true, false] {
        let room = ADDRESSES_PER_IP_MAX as u16;
        assert!((1..=room).all(|port| add(port, circuit) != AddressOutcome::IpQuota));
        assert_eq!(add(room + 1, circuit), AddressOutcome::IpQuota);
    }
}

/// Attack row 19: one neighbourhood owns at most its share, and gets it back for what it proved.
#[test]
fn one_source_owns_a_share() {
    let mut book = empty(BookLimits::default());
    for number in 0..1_000 {
        book.add_address(NOW, numbered(number << 16), None, from("66.6.6.6:1"));
    }
    assert_eq!(book.len(), 64);
    let other = book.add_address(NOW, numbered(5_000), None, from("77.7.7.7:1"));
    assert_eq!(other, AddressOutcome::Added);
    let quota = book.add_address(NOW, numbered(6_000 << 16), None, from("66.6.6.6:1"));
    assert_eq!(quota, AddressOutcome::SourceQuota);
    book.on_success(NOW, &numbered(0), keypair(1).node_id());
    let outcomes = (6_000..6_100)
        .map(|number| book.add_address(NOW, numbered(number << 16), None, from("66.6.6.6:1")));
    let added = outcomes.filter(|outcome| *outcome == AddressOutcome::Added).count();
    assert_eq!(added, 1, "what was proved counts no more");
}

/// Attack row 19: a million addresses from ten thousand neighbourhoods stay within the cap, and
/// never displace a verified one; one neighbourhood reaches 64 of 1,024 buckets.
#[test]
fn a_million_addresses_stay_within_the_cap() {
    let limits = BookLimits { new_buckets: 64, bucket_size: 32, ..BookLimits::default() };
    let cap = limits.addresses_max();
    let mut book = empty(limits);
    book.add_address(NOW, address("99.9.9.9:9"), None, Source::Operator);
    book.on_success(NOW, &address("99.9.9.9:9"), keypair(1).node_id());
    for number in 0..1_000_000u32 {
        let source = Source::Peer(numbered((number % 10_000) << 16).group());
        book.add_address(NOW, numbered(number.wrapping_mul(2_654_435_761)), None, source);
    }
    assert!((2_000..=2_049).contains(&book.len()), "{} of {cap}", book.len());
    assert!(book.sources.len() <= 2_048);
    assert!(book.get(&address("99.9.9.9:9")).unwrap().tried);

    let mut book = empty(BookLimits { per_source_max: usize::MAX, ..BookLimits::default() });
    for number in 0..100_000u32 {
        let there = numbered(number.wrapping_mul(2_654_435_761));
        book.add_address(NOW, there, None, from("66.6.6.6:1"));
    }
    let buckets = book.tables.buckets_of(false, |_| true);
    assert!((50..=64).contains(&buckets), "{buckets} of 1024 buckets");
    assert!(book.len() <= 64 * 16, "a sixteenth of the new table: {}", book.len());
}

/// Attack row 20: a thousand nodes of one neighbourhood reach 8 of 256 tried buckets.
#[test]
fn one_neighbourhood_owns_a_corner_of_the_tried_table() {
    let mut book = empty(BookLimits { per_source_max: usize::MAX, ..BookLimits::default() });
    for number in 0..4_000u32 {
        let there = Address::new(IpAddr::from([66, 6, (number / 250) as u8, number as u8]), 1);
        let source = Source::Peer(numbered(number << 16).group());
        book.add_address(NOW, there, None, source);
        book.on_success(NOW, &there, keypair(1).node_id());
    }
    let buckets = book.tables.buckets_of(true, |_| true);
    assert!(buckets <= 8 && book.tried() <= 8 * 16, "{buckets} buckets, {}", book.tried());
}

/// Heilman et al. 2015, countermeasure 3: a tried address makes room only when it was dialled and
/// did not answer; whoever answers stays.
#[test]
fn a_tried_address_is_tested_before_it_makes_room() {
    for answers in [true, false] {
        let mut book = empty(BookLimits { tried_buckets: 1, bucket_size: 1, ..Default::default() });
        let [old, new] = [numbered(1 << 16), numbered(2 << 16)];
        let [first, second] = [keypair(1).node_id(), keypair(2).node_id()];
        book.add_address(NOW, old, None, from("7.7.7.7:1"));
        book.on_success(NOW, &old, first);
        book.add_address(NOW, new, None, from("8.8.8.8:1"));
        let later = NOW.plus(5 * 60 * 60 * 1000);
        book.on_success(later, &new, second);
        assert!(book.get(&old).unwrap().tried && !book.get(&new).unwrap().tried);
        assert_eq!(book.tests(later), [old]);
        assert_eq!(book.tests(later), [old], "until it is tested");
        book.on_dialled(later, &old, later);
        if answers {
            book.on_success(later, &old, first);
        } else {
            book.on_failure(later, &old, later, true);
        }
        assert!(book.tests(later.plus(61_000)).is_empty());
        assert_eq!(book.get(&new).unwrap().tried, !answers);
        assert_eq!(book.get(&old).unwrap().tried, answers);
        assert_eq!((book.tried(), book.len()), (1, 2), "nobody was forgotten");
    }
}

/// One that can't be tested, because it is banned or connected to us, has its place for the forty
/// minutes of a test and no longer.
#[test]
fn a_test_that_never_happens_ends() {
    let mut book = empty(BookLimits { tried_buckets: 1, bucket_size: 1, ..Default::default() });
    let [old, new] = [numbered(1 << 16), numbered(2 << 16)];
    for (address, peer, at) in [(old, 1, NOW), (new, 2, NOW.plus(5 * 60 * 60 * 1000))] {
        book.add_address(NOW, address, None, from("7.7.7.7:1"));
        book.on_success(at, &address, keypair(peer).node_id());
    }
    let later = NOW.plus(5 * 60 * 60 * 1000);
    assert_eq!(book.tests(later.plus(39 * 60_000)), [old]);
    assert!(book.tests(later.plus(40 * 60_000)).is_empty());
    assert!(book.get(&new).unwrap().tried && !book.get(&old).unwrap().tried);
}

/// The order of dialling is not for peers to choose: a neighbourhood of many addresses is drawn as
/// often as one of a single address, and half of the draws are of tried addresses.
#[test]
fn draws_can_not_be_steered() {
    let mut book = empty(BookLimits::default());
    for number in 0..64u32 {
        let there = Address::new(IpAddr::from([66, 6, number as u8, 1]), 1);
        book.add_address(NOW, there, None, from("66.6.6.6:1"));
    }
    let honest: Vec<Address> = (0..8).map(|number| numbered(number << 16)).collect();
    for there in &honest {
        book.add_address(NOW, *there, None, Source::Peer(there.group()));
    }
    let (mut rng, mut of_honest) = (rng(), 0);
    for _ in 0..10_000 {
        let drawn = book.draw(&mut rng, |_| true).unwrap().address;
        of_honest += usize::from(honest.contains(&drawn));
    }
    assert!(of_honest > 8_000, "16 addresses of one neighbourhood count as one: {of_honest}");
    book.on_success(NOW, &honest[0], keypair(1).node_id());
    let tried = (0..10_000).filter(|_| book.draw(&mut rng, |_| true).unwrap().tried).count();
    assert!((4_800..5_200).contains(&tried), "{tried}");
}

/// Attack row 25: while our own network fails nobody is forgotten, however long it takes.
#[test]
fn an_outage_of_our_own_empties_no_book() {
    let mut book = empty(BookLimits::default());
    for number in 0..50u32 {
        book.add_address(NOW, numbered(number << 16), None, from("7.7.7.7:1"));
    }
    let known = book.len();
    for failure in 0..1_000 {
        for number in 0..50u32 {
            book.on_failure(NOW.plus(failure), &numbered(number << 16), NOW, false);
        }
    }
    assert_eq!(book.len(), known);
    assert!(book.entries().all(|entry| !entry.is_terrible(NOW)));
}

/// A place of an address that is terrible is given to the next that belongs there; that of one
/// that may be good is not.
#[test]
fn only_terrible_addresses_make_room() {
    let limits = BookLimits { new_buckets: 1, bucket_size: 1, ..BookLimits::default() };
    let mut book = empty(limits);
    let [old, new] = [numbered(1 << 16), numbered(2 << 16)];
    book.add_address(NOW, old, None, from("7.7.7.7:1"));
    let source = from("8.8.8.8:1");
    assert_eq!(book.add_address(NOW, new, None, source), AddressOutcome::Crowded);
    let late = NOW.plus(AGE_MAX + 1);
    assert_eq!(book.add_address(late, new, None, source), AddressOutcome::Added);
    assert!(book.get(&old).is_none());
    book.on_success(late, &new, keypair(1).node_id());
    let after = late.plus(SUCCESS_KEEPS);
    for _ in 0..100 {
        book.on_failure(after, &new, after, true);
    }
    assert!(book.get(&new).is_some(), "a week is not forgotten");
    book.on_failure(after.plus(1), &new, after, true);
    assert!(book.is_empty());
}

/// With the same salt everything is where it was; the store is told of what changed and of
/// nothing else.
#[test]
fn a_book_comes_back_as_it_was() {
    let mut book = empty(BookLimits::default());
    for number in 0..2_000u32 {
        let there = numbered(number.wrapping_mul(2_654_435_761));
        book.add_address(NOW, there, None, Source::Peer(numbered(number << 16).group()));
        if number % 5 == 0 {
            book.on_success(NOW, &there, keypair(1).node_id());
        }
    }
    let changes = book.take_changes();
    assert_eq!(changes.len(), book.len());
    assert!(book.take_changes().is_empty());
    let mut again = empty(BookLimits::default());
    for change in changes {
        let BookChange::Keep(entry) = change else { panic!("nothing was forgotten") };
        let kept = crate::codec::encode(&entry).unwrap();
        again.restore(crate::codec::decode(&kept, 1_000).unwrap());
    }
    assert!(again.entries().eq(book.entries()));
    assert_eq!((again.len(), again.tried()), (book.len(), book.tried()));
    assert!(again.take_changes().is_empty());
    let gone = numbered(0);
    again.remove(&gone);
    assert_eq!(again.take_changes(), [BookChange::Forget(gone)]);
    let mut other = Book::new(BookLimits::default(), [8; 32]);
    book.entries().for_each(|entry| other.restore(entry.clone()));
    assert!(other.len() * 10 > book.len() * 9, "another salt loses few: {}", other.len());
    let lost = other.take_changes();
    assert!(lost.iter().all(|change| matches!(change, BookChange::Forget(_))));
    assert_eq!(lost.len(), book.len() - other.len(), "the store forgets them too");
}

/// With a map, addresses of one operator are one neighbourhood, however many /16 it has.
#[test]
fn an_autonomous_system_is_one_neighbourhood() {
    let map = Arc::new(AsMap::parse("66.0.0.0/8 64500").unwrap());
    let mut book = empty(BookLimits { per_source_max: usize::MAX, ..BookLimits::default() });
    book.set_as_map(map);
    for number in 0..2_000u32 {
        let there = Address::new(IpAddr::from([66, (number / 250) as u8, 1, number as u8]), 1);
        let source = Source::Peer(book.group_of(&there));
        book.add_address(NOW, there, None, source);
    }
    assert_eq!(book.tables.buckets_of(false, |_| true), 1, "one source tells of one group");
    assert_eq!(book.group_of(&numbered(0)).to_string(), "11.0.0.0/16");
}

#[test]
fn one_ip_has_a_few_addresses() {
    let mut book = empty(BookLimits::default());
    for port in 1..100 {
        let address = Address::new(IpAddr::from([8, 8, 8, 8]), port);
        book.add_address(NOW, address, None, from("66.6.6.6:1"));
    }
    assert_eq!(book.len(), ADDRESSES_PER_IP_MAX);
}

#[test]
fn an_address_that_never_answers_is_forgotten() {
    let mut book = empty(BookLimits::default());
    let there = address("8.8.8.8:1");
    book.add_address(NOW, there, None, from("9.9.9.9:1"));
    for failure in 1..FAILURES_UNVERIFIED_MAX {
        book.on_failure(NOW, &there, NOW.plus(5), true);
        assert_eq!(book.get(&there).unwrap().failures, failure);
    }
    book.on_failure(NOW, &there, Time::NEVER, true);
    assert!(book.is_empty() && book.sources.is_empty());
}

#[test]
fn a_newer_record_replaces_an_older_one_and_never_the_other_way() {
    let mut book = empty(BookLimits::default());
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
    let mut book = empty(BookLimits::default());
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
    let met = |_: &VerifiedRecord, met: bool| met;
    let rank =
        |salt: u8| move |node: &NodeId| u64::from(node.0[3] ^ salt) << 8 | u64::from(node.0[4]);
    let sample = book.sample(NOW, rank(0), 32, met, |_| false);
    assert_eq!(sample.len(), 15, "a quarter of those that were met");
    assert!(sample.iter().all(|s| book.was_met(&s.record.public_key.node_id())));
    assert_eq!(book.sample(NOW, rank(0), 3, met, |_| false).len(), 3);
    assert_eq!(sample, book.sample(NOW, rank(0), 32, met, |_| false), "the same few");
    let other = book.sample(NOW, rank(0xa5), 32, met, |_| false);
    assert_ne!(sample, other, "another asker is told of others");
    let late = NOW.plus(2 * 60 * 60 * 1000);
    assert!(book.sample(late, rank(0), 32, met, |_| false).is_empty());
    assert_eq!(book.forget_expired(late).len(), 100);
    assert_eq!(book.records(), 0);
}

#[test]
fn records_stay_within_the_cap_and_those_met_stay() {
    let mut book = empty(BookLimits { records_max: 20, ..BookLimits::default() });
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
    let mut book = empty(BookLimits::default());
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
