//! The clear preface: what both sides must know before the first encrypted byte.
//!
//! Its layout never changes, whatever the protocol version, so that sides of different ages can
//! always tell each other why they part.

use std::fmt;

use crate::{
    identity::NetworkId,
    noise::{Role, Suite, Suites},
};

use super::error::HandshakeError;

/// The first bytes in each direction.
pub const MAGIC: [u8; 8] = *b"PEERSTGE";
/// Length of a preface in bytes.
pub const PREFACE_LEN: usize = 48;
/// What the Noise prologue starts with.
pub const PROLOGUE_DOMAIN: &[u8] = b"peerstage/1";

/// An inclusive range of protocol versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest, at least 1.
    pub min: u8,
    /// The newest.
    pub max: u8,
}

impl Versions {
    /// The versions this code speaks.
    pub const CURRENT: Versions = Versions { min: 1, max: 1 };

    /// The newest version in both ranges; `None` also for a range that is empty or starts at 0.
    #[must_use]
    pub fn newest_common(self, other: Versions) -> Option<u8> {
        let (min, max) = (self.min.max(other.min), self.max.min(other.max));
        let proper = |range: Versions| range.min >= 1 && range.min <= range.max;
        (proper(self) && proper(other) && min <= max).then_some(max)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

/// One side's preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preface {
    /// Who sends it.
    pub role: Role,
    /// The versions the sender speaks.
    pub versions: Versions,
    /// Initiator: its newest version. Responder: its choice, or 0 when it refuses.
    pub version: u8,
    /// The suites the sender offers.
    pub suites: Suites,
    /// Initiator: the suite of the message A that follows, its best one. Responder: its choice,
    /// or 0 when it refuses.
    pub suite: u8,
    /// The sender's network.
    pub network: NetworkId,
}

impl Preface {
    /// The initiator's preface.
    #[must_use]
    pub fn offer(versions: Versions, suites: Suites, network: NetworkId) -> Self {
        let suite = suites.best().map_or(0, |suite| suite as u8);
        Preface { role: Role::Initiator, versions, version: versions.max, suites, suite, network }
    }

    /// The responder's answer with its choice; `None` refuses.
    #[must_use]
    pub fn answer(
        versions: Versions,
        suites: Suites,
        network: NetworkId,
        choice: Option<(u8, Suite)>,
    ) -> Self {
        let (version, suite) = choice.map_or((0, 0), |(version, suite)| (version, suite as u8));
        Preface { role: Role::Responder, versions, version, suites, suite, network }
    }

    /// The wire form.
    #[must_use]
    pub fn encode(&self) -> [u8; PREFACE_LEN] {
        let mut bytes = [0u8; PREFACE_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8] = self.role as u8;
        bytes[9] = self.versions.min;
        bytes[10] = self.versions.max;
        bytes[11] = self.version;
        bytes[12] = self.suites.0;
        bytes[13] = self.suite;
        // 14 and 15 are reserved: sent as zero, ignored, authenticated like the rest.
        bytes[16..].copy_from_slice(&self.network.0);
        bytes
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`HandshakeError::WrongMagic`], or [`HandshakeError::Malformed`] for an unknown role.
    pub fn decode(bytes: &[u8; PREFACE_LEN]) -> Result<Preface, HandshakeError> {
        if bytes[..8] != MAGIC {
            return Err(HandshakeError::WrongMagic);
        }
        let role = match bytes[8] {
            1 => Role::Initiator,
            2 => Role::Responder,
            _ => return Err(HandshakeError::Malformed),
        };
        let mut network = [0u8; 32];
        network.copy_from_slice(&bytes[16..]);
        Ok(Preface {
            role,
            versions: Versions { min: bytes[9], max: bytes[10] },
            version: bytes[11],
            suites: Suites(bytes[12]),
            suite: bytes[13],
            network: NetworkId(network),
        })
    }

    /// The version and suite that this side and `theirs` lead to: the newest and the preferred
    /// one in common. Both sides compute it, so neither has to trust the other's choice.
    ///
    /// # Errors
    /// The first of network, version and suite that doesn't fit.
    pub fn negotiate(&self, theirs: &Preface) -> Result<(u8, Suite), HandshakeError> {
        if theirs.role == self.role {
            return Err(HandshakeError::Reflection);
        }
        if theirs.network != self.network {
            return Err(HandshakeError::WrongNetwork { theirs: theirs.network });
        }
        let version = self
            .versions
            .newest_common(theirs.versions)
            .ok_or(HandshakeError::UnsupportedVersion { theirs: theirs.versions })?;
        let suite = self
            .suites
            .best_common(theirs.suites)
            .ok_or(HandshakeError::NoCommonSuite { theirs: theirs.suites.0 })?;
        Ok((version, suite))
    }
}

/// The Noise prologue: the domain, both prefaces as they were on the wire, and the part of
/// message A that the chosen suite has no use for.
#[must_use]
pub(super) fn prologue(
    initiator: &[u8; PREFACE_LEN],
    responder: &[u8; PREFACE_LEN],
    unused: &[u8],
) -> Vec<u8> {
    [PROLOGUE_DOMAIN, initiator, responder, unused].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET: NetworkId = NetworkId([0xaa; 32]);

    #[test]
    fn the_wire_form_is_pinned() {
        let offer = Preface::offer(Versions { min: 1, max: 3 }, Suites(3), NET);
        let bytes = offer.encode();
        assert_eq!(&bytes[..16], b"PEERSTGE\x01\x01\x03\x03\x03\x02\x00\x00");
        assert_eq!(bytes[16..], [0xaa; 32]);
        assert_eq!(Preface::decode(&bytes), Ok(offer));
    }

    /// Attack row 11: neighbours meet at the newest common version, strangers part.
    #[test]
    fn versions_meet_at_the_newest_common_one() {
        let range = |min, max| Versions { min, max };
        assert_eq!(range(1, 2).newest_common(range(1, 1)), Some(1));
        assert_eq!(range(1, 2).newest_common(range(2, 9)), Some(2));
        assert_eq!(range(2, 3).newest_common(range(1, 1)), None);
        assert_eq!(range(1, 3).newest_common(range(3, 2)), None, "an inverted range");
        assert_eq!(range(1, 3).newest_common(range(0, 255)), None, "version 0 doesn't exist");
    }

    #[test]
    fn what_does_not_fit_is_named_network_first() {
        let ours = Preface::offer(Versions::CURRENT, Suites(2), NET);
        let mut theirs = Preface::answer(Versions { min: 5, max: 6 }, Suites(1), NET, None);
        theirs.network = NetworkId([1; 32]);
        assert_eq!(ours.negotiate(&theirs).unwrap_err().reason(), "wrong_network");
        theirs.network = NET;
        assert_eq!(ours.negotiate(&theirs).unwrap_err().reason(), "unsupported_version");
        theirs.versions = Versions::CURRENT;
        assert_eq!(ours.negotiate(&theirs).unwrap_err().reason(), "no_common_suite");
        theirs.suites = Suites(3);
        assert_eq!(ours.negotiate(&theirs), Ok((1, Suite::Hybrid)));
        theirs.role = Role::Initiator;
        assert_eq!(ours.negotiate(&theirs), Err(HandshakeError::Reflection));
    }
}
