//! Which Ed25519 signatures are valid, on this build's backend and on dalek: the vectors of
//! "Taming the many EdDSAs" (ePrint 2020/1244, section 5) and every encoding of small order.

use super::{SignatureKey, SigningKey, pure, verify};
use crate::identity::from_hex;

fn array<const N: usize>(text: &str) -> [u8; N] {
    from_hex(text).unwrap().try_into().unwrap()
}

/// The verdict, which both backends must share.
pub(super) fn verdict(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let verdict = verify(key, message, signature);
    assert_eq!(verdict, pure::verify(key, message, signature), "{key:?} {signature:?}");
    verdict
}

/// All fourteen spellings of the eight points of small order (table 6b of the paper).
pub(super) fn small_order() -> Vec<[u8; 32]> {
    let of_y = |text: &str| {
        let reduced: [u8; 32] = array(text);
        let mut signed = reduced;
        signed[31] |= 0x80;
        [reduced, signed]
    };
    let spellings = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    spellings.into_iter().flat_map(of_y).collect()
}

/// The numbers that are not reduced: 2^255 - 19 to 2^255 - 1, with either sign.
pub(super) fn unreduced() -> Vec<[u8; 32]> {
    (0xed..=0xff)
        .flat_map(|low| [(low, 0x7f), (low, 0xff)])
        .map(|(low, high)| {
            let mut point = [0xff; 32];
            (point[0], point[31]) = (low, high);
            point
        })
        .collect()
}

/// Message, key, signature, and whether it is strictly valid. The numbers are the paper's.
const CASES: [(&str, &str, &str, bool); 10] = [
    // 0, 1: a key of small order. 2: an R of small order.
    (
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a\
         0000000000000000000000000000000000000000000000000000000000000000",
        false,
    ),
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43\
         a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        false,
    ),
    (
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa\
         8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
        false,
    ),
    // 3: key and R of mixed order; the equation holds with and without cofactor.
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f\
         87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
        true,
    ),
    // 4, 5: the equation holds with cofactor only.
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512\
         5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
        false,
    ),
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7\
         e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405",
        false,
    ),
    // 6, 7: a scalar of the group's order or more.
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e\
         547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
        false,
    ),
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa1942\
         7e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22",
        false,
    ),
    // 8, 9: an R that is not reduced.
    (
        "fdaebc429f4a735932a160da1301080c13280eea8bc280d1b392c6b9e6ba3a5a",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f\
         454d370c8d9fc323a41450f8d513eafeb5b0697390c1e505a0d4ddc71f566607",
        false,
    ),
    (
        "84b698d39be126ff55fe45079e6c8bf64a0d7db6994560b4e96b7021eb39c1a1",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f\
         084d5b99c2a9463d9c8bd5026916996984eeec87ddf1d3be329006ace1b37b09",
        false,
    ),
];

#[test]
fn the_vectors_of_the_many_eddsas() {
    for (number, (message, key, signature, valid)) in CASES.into_iter().enumerate() {
        let message: [u8; 32] = array(message);
        assert_eq!(verdict(&array(key), &message, &array(signature)), valid, "case {number}");
    }
}

/// With a key of small order, `R` of small order and the scalar zero satisfy the equation for
/// one message in a few: a verifier that isn't strict lets anyone sign for that key.
#[test]
fn small_order_signs_for_nobody() {
    let honest = SigningKey::new(&[1; 32]).public();
    for r in small_order() {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        for key in small_order().into_iter().chain([honest]) {
            for message in 0..8u8 {
                assert!(!verdict(&key, &[message], &signature), "{key:?} {r:?}");
            }
        }
    }
}

#[test]
fn an_unreduced_key_or_point_is_judged_alike() {
    let signer = SigningKey::new(&[1; 32]);
    let signature = signer.sign(b"block");
    assert!(verdict(&signer.public(), b"block", &signature));
    for point in unreduced() {
        assert!(!verdict(&point, b"block", &signature));
        let mut forged = signature;
        forged[..32].copy_from_slice(&point);
        assert!(!verdict(&signer.public(), b"block", &forged));
    }
}

/// RFC 8032 section 7.1, test 3: the signature's bytes.
#[test]
fn signatures_match_rfc_8032() {
    let signer =
        SigningKey::new(&array("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"));
    let public = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025";
    let signature = "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
        18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";
    assert_eq!(signer.public(), array(public));
    assert_eq!(signer.sign(&[0xaf, 0x82]), array(signature));
    assert!(verdict(&signer.public(), &[0xaf, 0x82], &array(signature)));
}
