//! Transport records on a hostile wire.

use bytes::BytesMut;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const KEY: [u8; 32] = [42; 32];

/// Three records of 0 to 39 bytes on one wire.
fn three_records(rng: &mut ChaCha8Rng) -> [BytesMut; 3] {
    let mut sealer = Sealer::new(&KEY);
    std::array::from_fn(|index| {
        let text = vec![index as u8; rng.random_range(0..40)];
        let mut record = BytesMut::new();
        sealer.seal(&[&text], &mut record).unwrap();
        record
    })
}

/// How many of `stream`'s records open before an error, which must close the direction.
fn opened_until_error(mut stream: BytesMut) -> u64 {
    let mut opener = Opener::new(&KEY);
    loop {
        match opener.open(&mut stream) {
            Ok(Some(text)) => assert!(text.iter().all(|byte| u64::from(*byte) < opener.records())),
            Ok(None) => panic!("neither closed nor complete"),
            Err(error) => {
                assert_ne!(error, TransportError::Closed);
                let records = opener.records();
                let mut good = stream;
                assert_eq!(opener.open(&mut good), Err(TransportError::Closed));
                assert_eq!(opener.records(), records, "the nonce hasn't moved");
                return records;
            }
        }
    }
}

/// Attack row 7: 100,000 flipped bits, truncated records and swapped records. Each one closes
/// the direction at the damaged record, and nothing of it is delivered.
#[test]
fn a_hundred_thousand_damaged_streams_close_at_the_damage() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut sealed = three_records(&mut rng);
    for round in 0..100_000 {
        if round % 100 == 0 {
            sealed = three_records(&mut rng);
        }
        let mut records = sealed.clone();
        let at = rng.random_range(0..records.len());
        let byte = rng.random_range(0..records[at].len());
        match round % 4 {
            0 | 1 => records[at][byte] ^= 1 << rng.random_range(0..8),
            2 => records[at].truncate(byte),
            _ => records.swap(at, (at + 1) % 3),
        }
        let damaged = if round % 4 == 3 { at.min((at + 1) % 3) } else { at };
        let mut stream = BytesMut::from(&records.concat()[..]);
        // More arrives behind it, so that every stream ends: a changed length can announce up to
        // 64 KiB, a damaged body at most the longest of these records.
        let more = if byte < RECORD_HEADER_LEN { RECORD_LEN_MAX } else { 64 };
        stream.resize(stream.len() + more, 0);
        assert_eq!(opened_until_error(stream), damaged as u64, "round {round}");
    }
}

#[test]
fn a_repeated_record_closes_the_direction() {
    let records = three_records(&mut ChaCha8Rng::seed_from_u64(1));
    let stream = [&records[0][..], &records[0][..]].concat();
    assert_eq!(opened_until_error(BytesMut::from(&stream[..])), 1);
}

/// Attack row 4: a length below the tag is refused from the two bytes of the header; every other
/// length is one the protocol allows, so at most one record is ever waited for.
#[test]
fn a_length_is_judged_from_the_header_alone() {
    for len in 0..TAG_LEN as u16 {
        let mut buffer = BytesMut::from(&len.to_be_bytes()[..]);
        assert_eq!(Opener::new(&KEY).open(&mut buffer), Err(TransportError::TooShort));
    }
    let opener = Opener::new(&KEY);
    assert_eq!(opener.missing(&[]), 2);
    assert_eq!(opener.missing(&[0xff]), 1);
    assert_eq!(opener.missing(&[0xff, 0xff, 1]), RECORD_LEN_MAX - 1);
    assert_eq!(opener.missing(&[0, 1, 2, 3]), 0);
}

/// Attack row 5: while a record of the largest size trickles in, nothing is allocated for it.
#[test]
fn a_slow_record_takes_no_memory_beyond_what_arrived() {
    let mut buffer = BytesMut::from(&[0xff, 0xff, 9][..]);
    let capacity = buffer.capacity();
    assert_eq!(Opener::new(&KEY).open(&mut buffer), Ok(None));
    assert_eq!((buffer.len(), buffer.capacity()), (3, capacity));
}

/// Attack row 16: the last record is the one before the limit, in both directions.
#[test]
fn a_direction_closes_before_its_nonce_runs_out() {
    let mut sealer = Sealer::starting_at(&KEY, NONCE_LIMIT - 1);
    let mut opener = Opener::starting_at(&KEY, NONCE_LIMIT - 1);
    let mut wire = BytesMut::new();
    sealer.seal(&[b"last"], &mut wire).unwrap();
    assert_eq!(sealer.seal(&[b"one more"], &mut wire), Err(TransportError::Exhausted));
    assert_eq!(opener.open(&mut wire).unwrap().unwrap(), &b"last"[..]);
    assert!(wire.is_empty(), "a refused record leaves nothing behind");
    wire.extend_from_slice(&[0, 16]);
    wire.extend_from_slice(&[0; 16]);
    assert_eq!(opener.open(&mut wire), Err(TransportError::Exhausted));
    assert_eq!(opener.open(&mut wire), Err(TransportError::Closed));
}

#[test]
fn parts_are_one_record_and_the_plaintext_is_not_copied() {
    let (mut sealer, mut opener) = (Sealer::new(&KEY), Opener::new(&KEY));
    let mut wire = BytesMut::new();
    sealer.seal(&[b"lane", b"", b" and block"], &mut wire).unwrap();
    let body = wire[RECORD_HEADER_LEN..].as_ptr();
    let text = opener.open(&mut wire).unwrap().unwrap();
    assert_eq!(text, &b"lane and block"[..]);
    assert_eq!(text.as_ptr(), body, "decrypted where it arrived");
}

#[test]
fn a_plaintext_that_does_not_fit_is_refused_before_anything_is_written() {
    let (mut sealer, mut opener) = (Sealer::new(&KEY), Opener::new(&KEY));
    let mut wire = BytesMut::new();
    let half = vec![1u8; PLAINTEXT_LEN_MAX / 2 + 1];
    assert_eq!(sealer.seal(&[&half, &half], &mut wire), Err(TransportError::TooLong));
    assert!(wire.is_empty());
    sealer.seal(&[&vec![1u8; PLAINTEXT_LEN_MAX]], &mut wire).unwrap();
    assert_eq!(wire.len(), RECORD_HEADER_LEN + RECORD_LEN_MAX);
    assert_eq!(opener.open(&mut wire).unwrap().unwrap().len(), PLAINTEXT_LEN_MAX);
}

#[test]
fn directions_can_live_in_different_places() {
    fn is_send<T: Send + 'static>() {}
    is_send::<Sealer>();
    is_send::<Opener>();
    is_send::<HandshakeState>();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever arrives, nothing is delivered without the key, and only whole records are taken.
    #[test]
    fn anything_but_a_record_closes_or_waits(data in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut opener = Opener::new(&KEY);
        let mut buffer = BytesMut::from(&data[..]);
        let missing = opener.missing(&buffer);
        match opener.open(&mut buffer) {
            Ok(None) => prop_assert!(missing > 0 && buffer == data),
            Ok(Some(_)) => prop_assert!(false, "nobody has the key"),
            Err(_) => prop_assert_eq!(opener.open(&mut buffer), Err(TransportError::Closed)),
        }
        prop_assert_eq!(opener.records(), 0);
    }

    /// Records come out as they went in, whatever their sizes and wherever the wire cuts.
    #[test]
    fn records_survive_any_cut(
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8),
        piece_len in 1usize..300,
    ) {
        let (mut sealer, mut opener) = (Sealer::new(&KEY), Opener::new(&KEY));
        let mut wire = BytesMut::new();
        for text in &texts {
            sealer.seal(&[text], &mut wire).unwrap();
        }
        let (mut buffer, mut opened) = (BytesMut::new(), Vec::new());
        for piece in wire.chunks(piece_len) {
            buffer.extend_from_slice(piece);
            while let Some(text) = opener.open(&mut buffer).unwrap() {
                opened.push(text.to_vec());
            }
        }
        prop_assert_eq!(opened, texts);
    }
}
