//! HandshakeState (Noise section 5.3) for XX and XXhfs.

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::{
    DH_LEN, HASH_LEN, KEM_CIPHERTEXT_LEN, KEM_PUBLIC_LEN, NoiseError, Opener, Sealer, StaticKey,
    Suite, Transport, dh,
    kem::{self, KEM_SEED_LEN, KemKey},
    suite::Token,
    symmetric::SymmetricState,
};

/// Which side of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Dialled and speaks first.
    Initiator = 1,
    /// Was dialled.
    Responder = 2,
}

/// All randomness of one side of one handshake. Never use it twice.
#[derive(Clone)]
pub struct EphemeralSeeds {
    /// The X25519 secret.
    pub dh: Zeroizing<[u8; DH_LEN]>,
    /// `d || z` of the ML-KEM key pair (initiator); the first 32 bytes are the message `m` of
    /// the encapsulation (responder).
    pub kem: Zeroizing<[u8; KEM_SEED_LEN]>,
}

impl EphemeralSeeds {
    /// Fresh seeds from `rng`.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seeds =
            EphemeralSeeds { dh: Zeroizing::new([0; 32]), kem: Zeroizing::new([0; 64]) };
        rng.fill_bytes(seeds.dh.as_mut());
        rng.fill_bytes(seeds.kem.as_mut());
        seeds
    }
}

/// The ephemeral keys of one side of one handshake.
pub struct Ephemerals {
    dh: StaticKey,
    kem: Kem,
}

enum Kem {
    /// The initiator of a hybrid handshake holds a key pair.
    Key(KemKey),
    /// The responder encapsulates with these 32 bytes.
    Message(Zeroizing<[u8; 32]>),
    /// A classical handshake.
    None,
}

impl Ephemerals {
    /// The initiator's keys; one for the KEM only where `suite` has one.
    #[must_use]
    pub fn initiator(suite: Suite, seeds: &EphemeralSeeds) -> Self {
        let kem = match suite {
            Suite::Hybrid => Kem::Key(KemKey::from_seed(&seeds.kem)),
            Suite::Classical => Kem::None,
        };
        Ephemerals { dh: StaticKey::from_secret(*seeds.dh), kem }
    }

    /// The responder's keys.
    #[must_use]
    pub fn responder(seeds: &EphemeralSeeds) -> Self {
        let mut message = Zeroizing::new([0; 32]);
        message.copy_from_slice(&seeds.kem[..32]);
        Ephemerals { dh: StaticKey::from_secret(*seeds.dh), kem: Kem::Message(message) }
    }

    /// The bytes of message A with an empty payload. They don't depend on the prologue, so an
    /// initiator can send them before it has seen the responder's half of the prologue.
    #[must_use]
    pub fn message_a(&self) -> Vec<u8> {
        let mut message = self.dh.public().to_vec();
        if let Kem::Key(key) = &self.kem {
            message.extend_from_slice(key.public());
        }
        message
    }
}

/// One side of a handshake in progress. After an error it is of no use any more.
pub struct HandshakeState {
    suite: Suite,
    role: Role,
    symmetric: SymmetricState,
    local_static: StaticKey,
    ephemerals: Ephemerals,
    remote_static: Option<[u8; DH_LEN]>,
    remote_ephemeral: Option<[u8; DH_LEN]>,
    remote_kem: Option<Vec<u8>>,
    next_message: usize,
}

impl HandshakeState {
    /// `Initialize()`: XX has no pre-messages.
    #[must_use]
    pub fn new(
        suite: Suite,
        role: Role,
        prologue: &[u8],
        local_static: StaticKey,
        ephemerals: Ephemerals,
    ) -> Self {
        let mut symmetric = SymmetricState::new(suite.protocol_name());
        symmetric.mix_hash(prologue);
        HandshakeState {
            suite,
            role,
            symmetric,
            local_static,
            ephemerals,
            remote_static: None,
            remote_ephemeral: None,
            remote_kem: None,
            next_message: 0,
        }
    }

    /// The hash of everything so far: the channel binding once the handshake is complete.
    #[must_use]
    pub fn handshake_hash(&self) -> &[u8; HASH_LEN] {
        self.symmetric.hash()
    }

    /// The remote's static key, once its message has been read.
    #[must_use]
    pub fn remote_static(&self) -> Option<&[u8; DH_LEN]> {
        self.remote_static.as_ref()
    }

    /// `WriteMessage(payload)`, appended to `out`.
    ///
    /// # Errors
    /// Whatever is wrong with the remote's keys; `out` is then as it was before.
    pub fn write_message(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        self.check_turn(self.role)?;
        let start = out.len();
        let written = self.write_tokens(payload, out);
        if written.is_err() {
            out.truncate(start);
        }
        self.next_message += 1;
        written
    }

    /// `ReadMessage(message)`: the payload.
    ///
    /// # Errors
    /// Whatever is wrong with the message.
    pub fn read_message(&mut self, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let sender = match self.role {
            Role::Initiator => Role::Responder,
            Role::Responder => Role::Initiator,
        };
        self.check_turn(sender)?;
        let mut rest = message;
        for token in self.suite.tokens(self.next_message) {
            self.read_token(*token, &mut rest)?;
        }
        let payload = self.symmetric.decrypt_and_hash(rest)?;
        self.next_message += 1;
        Ok(payload)
    }

    /// `Split()`: the transport, once all three messages are through.
    ///
    /// # Errors
    /// [`NoiseError::OutOfTurn`] before that.
    pub fn into_transport(self) -> Result<Transport, NoiseError> {
        if self.next_message != 3 {
            return Err(NoiseError::OutOfTurn);
        }
        let (initiator, responder) = self.symmetric.split();
        Ok(match self.role {
            Role::Initiator => Transport::new(Sealer::new(&initiator), Opener::new(&responder)),
            Role::Responder => Transport::new(Sealer::new(&responder), Opener::new(&initiator)),
        })
    }

    /// Messages 0 and 2 are the initiator's, message 1 the responder's.
    fn check_turn(&self, sender: Role) -> Result<(), NoiseError> {
        let turn = match self.next_message {
            0 | 2 => Role::Initiator,
            1 => Role::Responder,
            _ => return Err(NoiseError::OutOfTurn),
        };
        if turn == sender { Ok(()) } else { Err(NoiseError::OutOfTurn) }
    }

    fn write_tokens(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        for token in self.suite.tokens(self.next_message) {
            match token {
                Token::E => {
                    let public = *self.ephemerals.dh.public();
                    out.extend_from_slice(&public);
                    self.symmetric.mix_hash(&public);
                }
                Token::E1 => {
                    let Kem::Key(key) = &self.ephemerals.kem else {
                        return Err(NoiseError::OutOfTurn);
                    };
                    self.symmetric.encrypt_and_hash(key.public(), out)?;
                }
                Token::Ekem1 => {
                    let (Kem::Message(m), Some(remote)) = (&self.ephemerals.kem, &self.remote_kem)
                    else {
                        return Err(NoiseError::OutOfTurn);
                    };
                    let (ciphertext, secret) = kem::encapsulate(remote, m)?;
                    self.symmetric.encrypt_and_hash(&ciphertext, out)?;
                    self.symmetric.mix_key(secret.as_ref());
                }
                Token::S => {
                    let public = *self.local_static.public();
                    self.symmetric.encrypt_and_hash(&public, out)?;
                }
                Token::Ee | Token::Es | Token::Se => self.mix_agreement(*token)?,
            }
        }
        self.symmetric.encrypt_and_hash(payload, out)
    }

    fn read_token(&mut self, token: Token, rest: &mut &[u8]) -> Result<(), NoiseError> {
        match token {
            Token::E => {
                let public = read_key(take(rest, DH_LEN)?)?;
                dh::check_canonical(&public)?;
                if public == *self.ephemerals.dh.public() {
                    return Err(NoiseError::Reflected);
                }
                self.remote_ephemeral = Some(public);
                self.symmetric.mix_hash(&public);
            }
            Token::E1 => {
                let sealed = take(rest, KEM_PUBLIC_LEN + self.symmetric.tag_len())?;
                self.remote_kem = Some(self.symmetric.decrypt_and_hash(sealed)?);
            }
            Token::Ekem1 => {
                let sealed = take(rest, KEM_CIPHERTEXT_LEN + self.symmetric.tag_len())?;
                let ciphertext = self.symmetric.decrypt_and_hash(sealed)?;
                let Kem::Key(key) = &self.ephemerals.kem else {
                    return Err(NoiseError::OutOfTurn);
                };
                let secret = key.decapsulate(&ciphertext)?;
                self.symmetric.mix_key(secret.as_ref());
            }
            Token::S => {
                let sealed = take(rest, DH_LEN + self.symmetric.tag_len())?;
                let public = read_key(&self.symmetric.decrypt_and_hash(sealed)?)?;
                dh::check_canonical(&public)?;
                self.remote_static = Some(public);
            }
            Token::Ee | Token::Es | Token::Se => self.mix_agreement(token)?,
        }
        Ok(())
    }

    /// `MixKey(DH(..))` of the keys that the token names.
    fn mix_agreement(&mut self, token: Token) -> Result<(), NoiseError> {
        let (local, remote) = match (token, self.role) {
            (Token::Es, Role::Initiator) => (&self.ephemerals.dh, &self.remote_static),
            (Token::Es, Role::Responder) => (&self.local_static, &self.remote_ephemeral),
            (Token::Se, Role::Initiator) => (&self.local_static, &self.remote_ephemeral),
            (Token::Se, Role::Responder) => (&self.ephemerals.dh, &self.remote_static),
            _ => (&self.ephemerals.dh, &self.remote_ephemeral),
        };
        let shared = local.agree(remote.as_ref().ok_or(NoiseError::OutOfTurn)?)?;
        self.symmetric.mix_key(shared.as_ref());
        Ok(())
    }
}

/// Splits the next `len` bytes off.
fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], NoiseError> {
    let (head, tail) = rest.split_at_checked(len).ok_or(NoiseError::Truncated)?;
    *rest = tail;
    Ok(head)
}

fn read_key(bytes: &[u8]) -> Result<[u8; DH_LEN], NoiseError> {
    bytes.try_into().map_err(|_| NoiseError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (HandshakeState, HandshakeState) {
        let seeds = |byte| EphemeralSeeds { dh: [byte; 32].into(), kem: [byte; 64].into() };
        let side = |role, byte: u8, ephemerals| {
            let key = StaticKey::from_secret([byte; 32]);
            HandshakeState::new(Suite::Hybrid, role, b"test", key, ephemerals)
        };
        let initiator = Ephemerals::initiator(Suite::Hybrid, &seeds(1));
        let responder = Ephemerals::responder(&seeds(2));
        (side(Role::Initiator, 3, initiator), side(Role::Responder, 4, responder))
    }

    /// The message that `writer` writes, after `reader` has read it.
    fn pass(writer: &mut HandshakeState, reader: &mut HandshakeState) -> Result<(), NoiseError> {
        let mut message = Vec::new();
        writer.write_message(b"payload", &mut message)?;
        reader.read_message(&message).map(|payload| assert_eq!(payload, b"payload"))
    }

    #[test]
    fn hybrid_sides_agree() {
        let (mut initiator, mut responder) = pair();
        pass(&mut initiator, &mut responder).unwrap();
        pass(&mut responder, &mut initiator).unwrap();
        assert_eq!(initiator.write_message(b"", &mut Vec::new()), Ok(()));
        assert_eq!(responder.write_message(b"", &mut Vec::new()), Err(NoiseError::OutOfTurn));
        assert!(responder.into_transport().is_err(), "message C is missing");
    }

    /// Attack row 14: a ciphertext for another key decapsulates to garbage without an error
    /// (implicit rejection), and the tag of the next field catches it.
    #[test]
    fn a_ciphertext_for_another_key_fails_at_the_next_tag() {
        let (mut initiator, mut responder) = pair();
        pass(&mut initiator, &mut responder).unwrap();
        responder.remote_kem = Some(KemKey::from_seed(&[9; 64]).public().to_vec());
        assert_eq!(pass(&mut responder, &mut initiator), Err(NoiseError::BadMac));
    }

    /// Attack row 13: a static key of low order is refused where it first is used.
    #[test]
    fn a_static_key_of_low_order_is_refused() {
        let (mut initiator, mut responder) = pair();
        pass(&mut initiator, &mut responder).unwrap();
        responder.local_static = StaticKey::forged([4; 32], [0; 32]);
        assert_eq!(pass(&mut responder, &mut initiator), Err(NoiseError::LowOrderPoint));
    }
}
