//! Why a handshake failed.

use crate::{
    identity::{NetworkId, NodeId},
    noise::NoiseError,
};

use super::preface::Versions;

/// Why a handshake failed. [`reason`](Self::reason) is the label for logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The remote doesn't speak this protocol.
    #[error("the first bytes are not this protocol's")]
    WrongMagic,
    /// The remote is on another network.
    #[error("the peer is on network {theirs}")]
    WrongNetwork {
        /// The network it named.
        theirs: NetworkId,
    },
    /// No protocol version in common.
    #[error("the peer speaks versions {theirs}")]
    UnsupportedVersion {
        /// The versions it named.
        theirs: Versions,
    },
    /// No cipher suite in common.
    #[error("no cipher suite in common, the peer offers bitmap {theirs:#04x}")]
    NoCommonSuite {
        /// The bitmap it offered.
        theirs: u8,
    },
    /// No protocol name in common: another network, version or cipher suite.
    #[error("the peer speaks for no network, version and cipher suite of ours")]
    NoCommonProtocol,
    /// The remote's choice is not the best that both sides offer.
    #[error("the choice is not the best that both sides offer")]
    Downgrade,
    /// The remote's X25519 key contributes nothing or isn't canonical.
    #[error("X25519 key is of low order or not canonical")]
    LowOrderPoint,
    /// The remote's ML-KEM-768 key fails FIPS 203 section 7.2.
    #[error("ML-KEM-768 key is invalid")]
    InvalidKemKey,
    /// A message fails authentication: damaged, replayed, or the prefaces were changed.
    #[error("message fails authentication")]
    BadMac,
    /// The identity key didn't sign this handshake.
    #[error("identity signature is not valid for this handshake")]
    BadIdentitySignature,
    /// The remote is this node.
    #[error("the peer is this node itself")]
    SelfConnection,
    /// Our own messages came back.
    #[error("our own messages came back")]
    Reflection,
    /// Someone else than the node that was dialled.
    #[error("the peer is {found}, another was expected")]
    UnexpectedPeer {
        /// Who answered.
        found: NodeId,
    },
    /// A message longer than its pattern allows; refused from its header.
    #[error("message longer than the handshake allows")]
    Oversized,
    /// A field or length that no correct implementation sends.
    #[error("malformed handshake")]
    Malformed,
    /// Not finished in time.
    #[error("not finished in time")]
    Timeout,
}

impl HandshakeError {
    /// A stable label for logs and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            HandshakeError::WrongMagic => "wrong_magic",
            HandshakeError::WrongNetwork { .. } => "wrong_network",
            HandshakeError::UnsupportedVersion { .. } => "unsupported_version",
            HandshakeError::NoCommonSuite { .. } => "no_common_suite",
            HandshakeError::NoCommonProtocol => "no_common_protocol",
            HandshakeError::Downgrade => "downgrade",
            HandshakeError::LowOrderPoint => "low_order_point",
            HandshakeError::InvalidKemKey => "invalid_kem_key",
            HandshakeError::BadMac => "bad_mac",
            HandshakeError::BadIdentitySignature => "bad_identity_signature",
            HandshakeError::SelfConnection => "self_connection",
            HandshakeError::Reflection => "reflection",
            HandshakeError::UnexpectedPeer { .. } => "unexpected_peer",
            HandshakeError::Oversized => "oversized",
            HandshakeError::Malformed => "malformed",
            HandshakeError::Timeout => "timeout",
        }
    }
}

impl From<NoiseError> for HandshakeError {
    fn from(error: NoiseError) -> Self {
        match error {
            NoiseError::LowOrderPoint => HandshakeError::LowOrderPoint,
            NoiseError::InvalidKemKey => HandshakeError::InvalidKemKey,
            NoiseError::BadMac => HandshakeError::BadMac,
            NoiseError::Reflected => HandshakeError::Reflection,
            // The machine checks lengths and turns itself; neither is reachable from remote input.
            NoiseError::Truncated | NoiseError::OutOfTurn | NoiseError::NonceExhausted => {
                HandshakeError::Malformed
            }
        }
    }
}
