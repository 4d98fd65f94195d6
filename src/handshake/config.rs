//! What one side of a handshake knows and wants.

use crate::{
    identity::{Keypair, NetworkId, NodeId},
    noise::{StaticKey, Suite, Suites},
    time::Millis,
};

use super::preface::Versions;

/// Time for a whole handshake, in milliseconds: our choice, 20 times the slowest round trip of
/// the public internet with its retransmissions.
pub const HANDSHAKE_TIMEOUT_MS: Millis = 5_000;

/// Whether sessions must resist a future quantum computer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PqPolicy {
    /// Hybrid with everyone who has it, classical with others.
    #[default]
    Prefer,
    /// Hybrid or nothing.
    Require,
    /// Classical only.
    Classical,
}

impl PqPolicy {
    /// The suites that are offered under this policy.
    #[must_use]
    pub const fn suites(self) -> Suites {
        match self {
            PqPolicy::Prefer => Suites::NONE.with(Suite::Classical).with(Suite::Hybrid),
            PqPolicy::Require => Suites::NONE.with(Suite::Hybrid),
            PqPolicy::Classical => Suites::NONE.with(Suite::Classical),
        }
    }
}

/// The settings of one handshake. Cheap to clone; derive one from a node's base for every dial.
#[derive(Clone, Debug)]
pub struct HandshakeConfig {
    pub(super) keypair: Keypair,
    pub(super) noise_key: StaticKey,
    /// The network both sides must be on.
    pub network: NetworkId,
    /// The protocol versions we speak.
    pub versions: Versions,
    /// The suites we offer.
    pub policy: PqPolicy,
    /// Whom we dialled: anyone else is refused before we name ourselves.
    pub expected: Option<NodeId>,
    /// Time for the whole handshake, in milliseconds.
    pub timeout_ms: Millis,
}

impl HandshakeConfig {
    /// The defaults for a node. Derives the Noise key, so keep the value and clone it.
    #[must_use]
    pub fn new(keypair: Keypair, network: NetworkId) -> Self {
        let noise_key = StaticKey::from_secret(*keypair.noise_secret());
        HandshakeConfig {
            keypair,
            noise_key,
            network,
            versions: Versions::CURRENT,
            policy: PqPolicy::default(),
            expected: None,
            timeout_ms: HANDSHAKE_TIMEOUT_MS,
        }
    }

    /// The same, for a dial to the node `id`.
    #[must_use]
    pub fn expecting(mut self, id: NodeId) -> Self {
        self.expected = Some(id);
        self
    }

    /// The same with another policy.
    #[must_use]
    pub fn with_policy(mut self, policy: PqPolicy) -> Self {
        self.policy = policy;
        self
    }
}
