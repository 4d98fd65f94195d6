//! The two cipher suites and what their messages are made of.

use super::{DH_LEN, KEM_CIPHERTEXT_LEN, KEM_PUBLIC_LEN, TAG_LEN};

/// A full Noise protocol: pattern, key agreement, cipher and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Suite {
    /// X25519 alone.
    Classical = 1,
    /// X25519 and ML-KEM-768 together: as strong as the stronger of the two.
    Hybrid = 2,
}

/// One step of a message pattern (Noise section 7.1; the `1` tokens are those of the Noise
/// extension "Hybrid Forward Secrecy").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Ephemeral X25519 key.
    E,
    /// Ephemeral KEM key.
    E1,
    /// Encapsulation to the remote ephemeral KEM key.
    Ekem1,
    /// Static X25519 key, encrypted.
    S,
    /// Agreement of two ephemeral keys.
    Ee,
    /// Agreement of the initiator's ephemeral with the responder's static key.
    Es,
    /// Agreement of the initiator's static with the responder's ephemeral key.
    Se,
}

const XX: [&[Token]; 3] =
    [&[Token::E], &[Token::E, Token::Ee, Token::S, Token::Es], &[Token::S, Token::Se]];
const XXHFS: [&[Token]; 3] = [
    &[Token::E, Token::E1],
    &[Token::E, Token::Ee, Token::Ekem1, Token::S, Token::Es],
    &[Token::S, Token::Se],
];

impl Suite {
    /// Every suite, the preferred one first.
    pub const BY_PREFERENCE: [Suite; 2] = [Suite::Hybrid, Suite::Classical];

    /// The protocol name that starts the handshake hash (Noise section 8).
    #[must_use]
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Suite::Classical => "Noise_XX_25519_ChaChaPoly_SHA256",
            Suite::Hybrid => "Noise_XXhfs_25519+MLKEM768_ChaChaPoly_SHA256",
        }
    }

    /// The suite with this number on the wire.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Suite> {
        match byte {
            1 => Some(Suite::Classical),
            2 => Some(Suite::Hybrid),
            _ => None,
        }
    }

    /// Length in bytes of handshake message `index` (0 to 2) with a payload of `payload_len`.
    #[must_use]
    pub fn message_len(self, index: usize, payload_len: usize) -> usize {
        // Only message 0 is written before there is a key, hence without tags.
        let tag = if index == 0 { 0 } else { TAG_LEN };
        let tokens: usize = self
            .tokens(index)
            .iter()
            .map(|token| match token {
                Token::E => DH_LEN,
                Token::E1 => KEM_PUBLIC_LEN + tag,
                Token::Ekem1 => KEM_CIPHERTEXT_LEN + tag,
                Token::S => DH_LEN + tag,
                Token::Ee | Token::Es | Token::Se => 0,
            })
            .sum();
        tokens + payload_len + tag
    }

    /// The tokens of message `index`; empty past the last message.
    pub(super) fn tokens(self, index: usize) -> &'static [Token] {
        let pattern = match self {
            Suite::Classical => &XX,
            Suite::Hybrid => &XXHFS,
        };
        pattern.get(index).copied().unwrap_or(&[])
    }
}

/// A set of suites, as the bitmap that is offered on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suites(pub u8);

impl Suites {
    /// No suite.
    pub const NONE: Suites = Suites(0);

    /// The set with `suite` added.
    #[must_use]
    pub const fn with(self, suite: Suite) -> Suites {
        Suites(self.0 | suite as u8)
    }

    /// Whether `suite` is in the set.
    #[must_use]
    pub const fn contains(self, suite: Suite) -> bool {
        self.0 & suite as u8 != 0
    }

    /// The preferred suite of those in both sets. Bits that mean nothing yet are ignored.
    #[must_use]
    pub fn best_common(self, other: Suites) -> Option<Suite> {
        Suite::BY_PREFERENCE
            .into_iter()
            .find(|suite| self.contains(*suite) && other.contains(*suite))
    }

    /// The preferred suite of the set.
    #[must_use]
    pub fn best(self) -> Option<Suite> {
        self.best_common(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_lengths_are_those_of_the_pattern() {
        let lengths = |suite: Suite| [0, 1, 2].map(|index| suite.message_len(index, 0));
        assert_eq!(lengths(Suite::Classical), [32, 96, 64]);
        assert_eq!(lengths(Suite::Hybrid), [1216, 1200, 64]);
        assert_eq!(Suite::Classical.message_len(3, 5), 5 + 16);
    }

    #[test]
    fn the_best_common_suite_is_the_hybrid_one() {
        let classical = Suites::NONE.with(Suite::Classical);
        let both = classical.with(Suite::Hybrid);
        assert_eq!(both.best_common(both), Some(Suite::Hybrid));
        assert_eq!(both.best_common(classical), Some(Suite::Classical));
        assert_eq!(Suites(0b100).best_common(Suites(0xff)), None);
    }
}
