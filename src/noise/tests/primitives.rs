//! The primitives against their own specifications: whatever the crates test themselves, these
//! are the versions and features that are linked here.

use shake::{
    Shake128, Shake256,
    digest::{ExtendableOutput, Update, XofReader},
};

use super::super::{dh::StaticKey, kem};
use crate::{
    backend::{Aead, AeadKey},
    identity::{from_hex, hex},
};

fn key(text: &str) -> [u8; 32] {
    from_hex(text).unwrap().try_into().unwrap()
}

/// RFC 7748 section 5.2, both vectors and the iterated one.
#[test]
fn x25519_matches_rfc_7748() {
    let vectors = [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ];
    for (scalar, point, expected) in vectors {
        let shared = StaticKey::from_secret(key(scalar)).agree(&key(point)).unwrap();
        assert_eq!(hex(shared.as_ref()), expected);
    }

    let mut nine = [0; 32];
    nine[0] = 9;
    let (mut scalar, mut point) = (nine, nine);
    for round in 1..=1000 {
        let next = *StaticKey::from_secret(scalar).agree(&point).unwrap();
        (scalar, point) = (next, scalar);
        if round == 1 {
            let expected = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
            assert_eq!(hex(&scalar), expected);
        }
    }
    assert_eq!(hex(&scalar), "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

/// RFC 7748 section 6.1.
#[test]
fn diffie_hellman_matches_rfc_7748() {
    let secret = |text| StaticKey::from_secret(key(text));
    let alice = secret("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = secret("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    assert_eq!(
        hex(alice.public()),
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    );
    assert_eq!(
        hex(bob.public()),
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    );
    let shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
    assert_eq!(hex(alice.agree(bob.public()).unwrap().as_ref()), shared);
    assert_eq!(hex(bob.agree(alice.public()).unwrap().as_ref()), shared);
}

/// RFC 8439 section 2.8.2.
#[test]
fn chacha20_poly1305_matches_rfc_8439() {
    let cipher =
        Aead::new(&key("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"));
    let nonce: [u8; 12] = from_hex("070000004041424344454647").unwrap().try_into().unwrap();
    let associated = from_hex("50515253c0c1c2c3c4c5c6c7").unwrap();
    let mut text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip \
        for the future, sunscreen would be it."
        .to_vec();
    let tag = cipher.seal(&nonce, &associated, &mut text).unwrap();
    assert_eq!(
        hex(&text),
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69\
         da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad67594\
         5585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b6116"
    );
    assert_eq!(hex(&tag), "1ae10b594f09e26a7e902ecbd0600691");
}

/// The accumulated ML-KEM-768 vectors of C2SP/CCTV (also in Go's `crypto/mlkem`): key generation,
/// encapsulation, decapsulation and implicit rejection, 100 times from a SHAKE128 stream, all
/// results hashed into one value that several independent implementations agree on.
#[test]
fn ml_kem_768_matches_the_accumulated_vectors() {
    let mut stream = Shake128::default().finalize_xof();
    let mut results = Shake128::default();
    for _ in 0..100 {
        let (mut seed, mut m, mut random) = ([0; 64], [0; 32], [0; kem::KEM_CIPHERTEXT_LEN]);
        stream.read(&mut seed);
        let pair = kem::KemKey::from_seed(&seed);
        results.update(pair.public());

        stream.read(&mut m);
        let (ciphertext, secret) = kem::encapsulate(pair.public(), &m).unwrap();
        results.update(&ciphertext);
        results.update(secret.as_ref());
        assert_eq!(*pair.decapsulate(&ciphertext).unwrap(), *secret);

        stream.read(&mut random);
        results.update(pair.decapsulate(&random).unwrap().as_ref());
    }
    let mut digest = [0; 32];
    results.finalize_xof().read(&mut digest);
    assert_eq!(hex(&digest), "1114b1b6699ed191734fa339376afa7e285c9e6acf6ff0177d346696ce564415");
}

/// Attack row 14: FIPS 203 algorithm 18. A ciphertext that was not made for this key, however it
/// differs, is no error and no branch: the secret is `SHAKE256(z || c)`, computed for every
/// ciphertext and chosen without a branch. So the one thing an attacker can see is that the next
/// tag fails, as after any other damage (`xx::tests`); `scripts/kem-paths` counts instructions.
#[test]
fn a_wrong_ciphertext_yields_the_secret_of_implicit_rejection() {
    let seed: [u8; 64] = std::array::from_fn(|at| at as u8);
    let pair = kem::KemKey::from_seed(&seed);
    let (honest, secret) = kem::encapsulate(pair.public(), &[8; 32]).unwrap();
    let mut stream = Shake128::default().finalize_xof();
    let rejected = |ciphertext: &[u8; kem::KEM_CIPHERTEXT_LEN]| {
        let mut rejection = Shake256::default();
        rejection.update(&seed[32..]);
        rejection.update(ciphertext);
        let mut expected = [0; 32];
        rejection.finalize_xof().read(&mut expected);
        assert_eq!(*pair.decapsulate(ciphertext).unwrap(), expected);
    };
    for at in (0..kem::KEM_CIPHERTEXT_LEN).step_by(7) {
        let mut flipped = honest;
        flipped[at] ^= 1;
        rejected(&flipped);
        let mut random = [0; kem::KEM_CIPHERTEXT_LEN];
        stream.read(&mut random);
        rejected(&random);
    }
    rejected(&[0; kem::KEM_CIPHERTEXT_LEN]);
    rejected(&[0xff; kem::KEM_CIPHERTEXT_LEN]);
    assert_eq!(*pair.decapsulate(&honest).unwrap(), *secret);
}
