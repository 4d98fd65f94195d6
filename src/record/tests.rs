use super::*;
use crate::identity::hex;

pub(crate) const NET: NetworkId = NetworkId([7; 32]);
pub(crate) const NOW: Time = Time(1_700_000_000_000);

pub(crate) fn keypair(number: u64) -> Keypair {
    let mut seed = [0u8; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    Keypair::from_seed(&seed)
}

/// A node's record with the given addresses, signed now and good for an hour.
pub(crate) fn record_of(key: &Keypair, addresses: &[Address], now: Time) -> NodeRecord {
    NodeRecord {
        public_key: key.public(),
        noise_key: [9; 32],
        addresses: Capped::first(addresses.iter().copied()),
        roles: Roles::FULL,
        capabilities: Capabilities::HYBRID,
        coordinate: None,
        uplink: Uplink::default(),
        validator: None,
        sequence: now.0,
        issued: now,
        expires: now.plus(60 * 60 * 1000),
    }
}

pub(crate) fn signed(key: &Keypair, addresses: &[Address], now: Time) -> SignedRecord {
    record_of(key, addresses, now).sign(key, &NET).unwrap()
}

fn example() -> (Keypair, NodeRecord) {
    let key = keypair(1);
    let record = record_of(&key, &["8.8.8.8:30400".parse().unwrap()], NOW);
    (key, record)
}

#[test]
fn a_record_travels_and_is_believed() {
    let (key, mut record) = example();
    record.validator = Some(ValidatorBinding::sign(&keypair(2), &NET, &key.node_id()));
    let bytes = record.sign(&key, &NET).unwrap().encode().unwrap();
    let verified = SignedRecord::decode(&bytes).unwrap().verify(&NET, NOW).unwrap();
    assert_eq!(verified.node(), key.node_id());
    assert_eq!(verified.validator(), Some(keypair(2).public()));
}

#[test]
fn the_bytes_are_pinned() {
    let (key, record) = example();
    let bytes = codec::encode(&record).unwrap();
    assert_eq!(bytes.len(), 32 + 32 + 8 + 19 + 4 + 4 + 1 + 8 + 1 + 8 + 8 + 8);
    assert_eq!(
        hex(&bytes[64..]),
        "010000000000000000000000000000000000ffff08080808c076000100000001000000\
         000000000000000000000068e5cf8b0100000068e5cf8b01000080561cd08b010000"
    );
    assert_eq!(hex(&bytes[..32]), key.public().to_string());
}

#[test]
fn the_largest_record_fits() {
    let (key, mut record) = example();
    record.addresses = Capped::first(std::iter::repeat_n("[2a01::1]:9".parse().unwrap(), 99));
    record.coordinate = Some(Coordinate { x: -15, y: 1_200, height: 35 });
    record.validator = Some(ValidatorBinding::sign(&keypair(2), &NET, &key.node_id()));
    assert_eq!(record.addresses.len(), ADDRESSES_MAX);
    assert_eq!(record.sign(&key, &NET).unwrap().encode().unwrap().len(), 432);
}

/// Attack row 32: times are judged, never trusted, and never overflow.
#[test]
fn times_are_judged() {
    let verdict = |issued: u64, expires: u64, now: Time| {
        let (key, mut record) = example();
        (record.issued, record.expires) = (Time(issued), Time(expires));
        record.sign(&key, &NET).unwrap().verify(&NET, now).err()
    };
    let t = NOW.0;
    assert_eq!(verdict(t, t + LIFE_MAX, NOW), None);
    assert_eq!(verdict(t, t + LIFE_MAX + 1, NOW), Some(RecordError::BadLife(LIFE_MAX + 1)));
    assert_eq!(verdict(t, t, NOW), Some(RecordError::BadLife(0)));
    assert_eq!(verdict(t, 0, NOW), Some(RecordError::BadLife(0)));
    assert_eq!(verdict(0, u64::MAX, NOW), Some(RecordError::BadLife(u64::MAX)));
    assert_eq!(verdict(t - 9, t, NOW), Some(RecordError::Expired(NOW)));
    let ahead = t + AHEAD_MAX + 1;
    assert_eq!(verdict(ahead, ahead + 9, NOW), Some(RecordError::FromFuture(Time(ahead))));
    assert_eq!(
        verdict(u64::MAX - 1, u64::MAX, Time::NEVER),
        Some(RecordError::Expired(Time::NEVER))
    );
    assert!(!RecordError::Expired(NOW).is_fault());
    assert!(RecordError::BadSignature.is_fault());
}

/// Attack row 17: a record is its node's, on its network, unchanged, or it is nothing.
#[test]
fn forgeries_are_refused() {
    let (key, record) = example();
    let honest = record.clone().sign(&key, &NET).unwrap();
    assert_eq!(
        honest.clone().verify(&NetworkId([8; 32]), NOW),
        Err(RecordError::BadSignature),
        "another network"
    );
    let stranger = record.clone().sign(&keypair(2), &NET).unwrap();
    assert_eq!(stranger.verify(&NET, NOW), Err(RecordError::BadSignature), "another signer");
    let mut moved = honest.clone();
    moved.record.addresses = Capped::first(["9.9.9.9:1".parse().unwrap()]);
    assert_eq!(moved.verify(&NET, NOW), Err(RecordError::BadSignature), "another address");
    let mut named = record;
    named.validator = Some(ValidatorBinding::sign(&keypair(3), &NET, &keypair(4).node_id()));
    let named = named.sign(&key, &NET).unwrap();
    assert_eq!(named.verify(&NET, NOW), Err(RecordError::BadValidator), "a borrowed binding");
}

/// Attack row 17: no flip of any bit survives, and none panics.
#[test]
fn every_flipped_bit_is_refused() {
    let (key, record) = example();
    let bytes = record.sign(&key, &NET).unwrap().encode().unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut forged = bytes.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let verdict = SignedRecord::decode(&forged).and_then(|r| r.verify(&NET, NOW));
        assert!(verdict.is_err(), "bit {bit}");
    }
}

#[test]
fn too_many_addresses_are_refused_before_they_are_kept() {
    let (key, record) = example();
    let mut bytes = record.sign(&key, &NET).unwrap().encode().unwrap();
    bytes[64] = 9;
    assert!(matches!(SignedRecord::decode(&bytes), Err(RecordError::Codec(_))));
    bytes[64..72].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(SignedRecord::decode(&bytes), Err(RecordError::Codec(_))));
}
