//! The two backends against each other, byte for byte.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use proptest::{prelude::*, sample::select};

use super::{AeadKey, DhKey, KemKey, SignatureKey, accelerated, pure, vectors};
use crate::noise::{KEM_CIPHERTEXT_LEN, PLAINTEXT_LEN_MAX};

/// What `seal` makes of `text`: the ciphertext and its tag.
fn sealed<A: AeadKey>(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], text: &[u8]) -> Vec<u8> {
    let mut sealed = text.to_vec();
    let tag = A::new(key).seal(nonce, aad, &mut sealed).unwrap();
    sealed.extend_from_slice(&tag);
    sealed
}

/// What `open` makes of it.
fn opened<A: AeadKey>(
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    sealed: &[u8],
) -> Option<Vec<u8>> {
    let (text, tag) = sealed.split_last_chunk().unwrap();
    let mut text = text.to_vec();
    A::new(key).open(nonce, aad, &mut text, tag).ok().map(|()| text)
}

fn check_records(key: [u8; 32], nonce: [u8; 12], aad: &[u8], text: &[u8]) {
    let bytes = sealed::<pure::Aead>(&key, &nonce, aad, text);
    assert_eq!(bytes, sealed::<accelerated::Aead>(&key, &nonce, aad, text));
    assert_eq!(opened::<accelerated::Aead>(&key, &nonce, aad, &bytes).as_deref(), Some(text));
    assert_eq!(opened::<pure::Aead>(&key, &nonce, aad, &bytes).as_deref(), Some(text));
}

#[test]
fn records_of_every_shape_are_the_same() {
    let text: Vec<u8> = (0..PLAINTEXT_LEN_MAX).map(|at| (at % 251) as u8).collect();
    for len in (0..700).chain([1_023, 4_096, 16_383, 65_000, PLAINTEXT_LEN_MAX]) {
        let nonce = [(len % 256) as u8; 12];
        check_records([7; 32], nonce, &text[..len % 40], &text[..len]);
    }
}

#[test]
fn a_refused_record_leaves_no_plaintext() {
    let bytes = sealed::<pure::Aead>(&[7; 32], &[0; 12], b"", &[1; 100]);
    let mut text = bytes[..100].to_vec();
    let refused = accelerated::Aead::new(&[7; 32]).open(&[0; 12], b"", &mut text, &[0; 16]);
    assert!(refused.is_err());
    assert_eq!(text, [0; 100]);
}

proptest! {
    #[test]
    fn records_are_the_same(
        key: [u8; 32],
        nonce: [u8; 12],
        aad in prop::collection::vec(any::<u8>(), 0..64),
        text in prop::collection::vec(any::<u8>(), 0..1_500),
        flip: prop::sample::Index,
    ) {
        check_records(key, nonce, &aad, &text);
        let mut bytes = sealed::<accelerated::Aead>(&key, &nonce, &aad, &text);
        let at = flip.index(bytes.len());
        bytes[at] ^= 1;
        prop_assert_eq!(opened::<accelerated::Aead>(&key, &nonce, &aad, &bytes), None);
        prop_assert_eq!(opened::<pure::Aead>(&key, &nonce, &aad, &bytes), None);
    }

    #[test]
    fn agreements_are_the_same(a: [u8; 32], remote: [u8; 32]) {
        let (pure, fast) = (pure::DhSecret::new(&a), accelerated::DhSecret::new(&a));
        prop_assert_eq!(pure.public(), fast.public());
        prop_assert_eq!(pure.agree(&remote), fast.agree(&remote));
        prop_assert!(pure.agree(&fast.clone().public()).is_some());
    }

    #[test]
    fn secrets_out_of_ciphertexts_are_the_same(
        d: [u8; 32],
        z: [u8; 32],
        m: [u8; 32],
        flip in 0..2 * KEM_CIPHERTEXT_LEN,
    ) {
        let mut seed = [0; 64];
        seed[..32].copy_from_slice(&d);
        seed[32..].copy_from_slice(&z);
        let key = ml_kem::DecapsulationKey768::from_seed(seed.into());
        let (ciphertext, secret) = key.encapsulation_key().encapsulate_deterministic(&m.into());
        let mut ciphertext: [u8; KEM_CIPHERTEXT_LEN] = ciphertext.into();
        let fast = accelerated::Decapsulator::new(Box::new(key.clone()));
        let imported = matches!(fast, accelerated::Decapsulator::Imported(_));
        prop_assert!(imported, "the key is imported");
        prop_assert_eq!(*fast.decapsulate(&ciphertext).unwrap(), <[u8; 32]>::from(secret));
        // A damaged one in half of the cases: implicit rejection is the same too.
        if let Some(byte) = ciphertext.get_mut(flip) {
            *byte ^= 1;
        }
        let pure = pure::Decapsulator::new(Box::new(key));
        prop_assert_eq!(fast.decapsulate(&ciphertext), pure.decapsulate(&ciphertext));
        prop_assert_eq!(fast.decapsulate(&ciphertext[1..]), None);
        prop_assert_eq!(pure.decapsulate(&ciphertext[1..]), None);
    }

    #[test]
    fn signatures_are_the_same(
        seed: [u8; 32],
        message in prop::collection::vec(any::<u8>(), 0..100),
        bit in 0..1_024usize,
    ) {
        let (pure, fast) = (pure::SigningKey::new(&seed), accelerated::SigningKey::new(&seed));
        prop_assert_eq!(pure.public(), fast.public());
        prop_assert_eq!((*pure.seed(), *fast.seed()), (seed, seed));
        let mut signature = pure.sign(&message);
        prop_assert_eq!(signature, fast.sign(&message));
        prop_assert!(vectors::verdict(&fast.public(), &message, &signature));
        if let Some(byte) = signature.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
            prop_assert!(!vectors::verdict(&fast.public(), &message, &signature));
        }
    }

    /// Whatever an attacker combines, both say the same.
    #[test]
    fn verdicts_are_the_same(
        seed: [u8; 32],
        odd_key in select([vectors::small_order(), vectors::unreduced()].concat()),
        odd_r in select([vectors::small_order(), vectors::unreduced()].concat()),
        is_odd: (bool, bool, bool),
        message: [u8; 4],
    ) {
        let signer = pure::SigningKey::new(&seed);
        let key = if is_odd.0 { odd_key } else { signer.public() };
        let mut signature = signer.sign(&message);
        if is_odd.1 {
            signature[..32].copy_from_slice(&odd_r);
        }
        if is_odd.2 {
            signature[32..].copy_from_slice(&[0; 32]);
        }
        vectors::verdict(&key, &message, &signature);
    }

    /// Any 32 bytes as a key or as `R`, most of them no point at all.
    #[test]
    fn arbitrary_points_are_judged_alike(key: [u8; 32], r: [u8; 32], s: [u8; 32]) {
        let signature = [r, s].concat().try_into().unwrap();
        vectors::verdict(&key, b"block", &signature);
        vectors::verdict(&pure::SigningKey::new(&key).public(), b"block", &signature);
    }
}

#[test]
fn a_remote_of_small_order_agrees_with_nobody() {
    // RFC 7748's eight bad u-coordinates: 0, 1, two of order 8, and p - 1, p, p + 1 above.
    let order_8 = [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ];
    let mut points: Vec<[u8; 32]> =
        order_8.map(|text| crate::identity::from_hex(text).unwrap().try_into().unwrap()).to_vec();
    points.push([0; 32]);
    let mut one = [0; 32];
    one[0] = 1;
    points.push(one);
    for low in [0xec, 0xed, 0xee] {
        let mut point = [0xff; 32];
        (point[0], point[31]) = (low, 0x7f);
        points.push(point);
    }
    for point in points {
        for mask in [0, 0x80] {
            let mut point = point;
            point[31] |= mask;
            assert_eq!(pure::DhSecret::new(&[5; 32]).agree(&point), None);
            assert_eq!(accelerated::DhSecret::new(&[5; 32]).agree(&point), None);
        }
    }
}
