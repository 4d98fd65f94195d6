//! Whatever arrives, in whatever pieces.

use proptest::prelude::*;

use super::*;

/// Cuts `bytes` at the given relative places.
fn pieces<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_responder_survives_anything(data in prop::collection::vec(any::<u8>(), 0..3_000)) {
        fuzzing::fuzz_handshake_responder(&data);
    }

    #[test]
    fn an_initiator_survives_anything(data in prop::collection::vec(any::<u8>(), 0..3_000)) {
        fuzzing::fuzz_handshake_initiator(&data);
    }

    /// A few changed bytes in an otherwise honest conversation.
    #[test]
    fn sparse_damage_is_survived(
        steer in 0x80u8..,
        piece_len in any::<u8>(),
        changes in prop::collection::vec((0usize..1_400, any::<u8>()), 0..4),
    ) {
        let mut data = vec![0u8; 1_400];
        data.iter_mut().take(2).zip([steer, piece_len]).for_each(|(slot, byte)| *slot = byte);
        changes.into_iter().for_each(|(at, change)| data[at] ^= change);
        fuzzing::fuzz_handshake_responder(&data);
        fuzzing::fuzz_handshake_initiator(&data);
    }

    #[test]
    fn pieces_of_any_size_lead_to_the_same_session(
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let (mut initiator, mut responder) =
            (Side::initiator(node(1), 1), Side::responder(node(2), 2));
        for piece in pieces(&initiator.take_sent(), &cuts) {
            responder.hears(piece);
        }
        for piece in pieces(&responder.take_sent(), &cuts) {
            initiator.hears(piece);
        }
        for piece in pieces(&initiator.take_sent(), &cuts) {
            responder.hears(piece);
        }
        let hash = responder.established().handshake_hash;
        prop_assert_eq!(initiator.established().handshake_hash, hash);
    }
}
