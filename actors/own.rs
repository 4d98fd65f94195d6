//! Who this node is, shared by everything that speaks for it.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use peerstage_core::{
    address::Address,
    codec::{Capped, Text},
    coordinate::Coordinate,
    identity::{Keypair, NetworkId, NodeId, Purpose},
    manager::LinkKind,
    messages::{ConnectionPurpose, Hello, Pace, ValidatorProof, validator_proof_message},
    nat::Told,
    record::{
        Capabilities, LIFE_MAX, NodeRecord, RecordError, Roles, SignedRecord, Uplink,
        ValidatorBinding,
    },
    time::{Millis, Time},
};

/// How often the record is signed anew: twice in its life, so that peers never hold a dead one.
pub(crate) const RECORD_REFRESH: Millis = LIFE_MAX / 2;

/// This node.
pub(crate) struct OwnNode {
    pub(crate) keypair: Keypair,
    pub(crate) validator: Option<Keypair>,
    pub(crate) network: NetworkId,
    pub(crate) agent: String,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) roles: Roles,
    pub(crate) capabilities: Capabilities,
    /// How fast it can send, as its operator says.
    pub(crate) uplink: Uplink,
    /// Where it stands in the map of round trips.
    pub(crate) coordinate: Mutex<Option<Coordinate>>,
    /// What it takes from each peer.
    pub(crate) pace: Pace,
    /// The height of the chain, as it last said.
    pub(crate) height: AtomicU64,
    record: Mutex<Vec<u8>>,
}

impl OwnNode {
    pub(crate) fn new(
        keypair: Keypair,
        validator: Option<Keypair>,
        network: NetworkId,
        (agent, metadata): (String, BTreeMap<String, String>),
        roles: Roles,
        (capabilities, uplink): (Capabilities, Uplink),
        pace: Pace,
    ) -> Self {
        OwnNode {
            keypair,
            validator,
            network,
            agent,
            metadata,
            roles,
            capabilities,
            uplink,
            coordinate: Mutex::default(),
            pace,
            height: AtomicU64::new(0),
            record: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.keypair.node_id()
    }

    /// What messages to this node are sealed to.
    pub(crate) fn noise_key(&self) -> [u8; 32] {
        x25519_public(&self.keypair)
    }

    /// Signs the record anew. Its sequence is the time, so that it grows over restarts too.
    pub(crate) fn sign_record(&self, wall: Time, told: &Told) -> Result<SignedRecord, RecordError> {
        let mut capabilities = self.capabilities;
        if told.behind_nat {
            capabilities = capabilities.with(Capabilities::BEHIND_NAT);
        }
        let binding = |key: &Keypair| ValidatorBinding::sign(key, &self.network, &self.id());
        let record = NodeRecord {
            public_key: self.keypair.public(),
            noise_key: self.noise_key(),
            addresses: Capped::first(told.addresses.iter().copied()),
            roles: self.roles,
            capabilities,
            coordinate: *self.coordinate.lock().unwrap_or_else(PoisonError::into_inner),
            uplink: self.uplink,
            validator: self.validator.as_ref().map(binding),
            sequence: wall.0,
            issued: wall,
            expires: wall.plus(LIFE_MAX),
        };
        let signed = record.sign(&self.keypair, &self.network)?;
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = signed.encode()?;
        Ok(signed)
    }

    /// The record as it was last signed; `None` before that.
    pub(crate) fn signed_record(&self) -> Option<SignedRecord> {
        let bytes = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        SignedRecord::decode(&bytes).ok()
    }

    /// The signed record, as it travels.
    pub(crate) fn record(&self) -> Vec<u8> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Our greeting on a connection with this handshake hash, to a node seen at `observed`, for
    /// whatever the connection is.
    pub(crate) fn hello(
        &self,
        handshake_hash: &[u8; 32],
        observed: Address,
        link: LinkKind,
    ) -> Hello {
        let record = self.record();
        let signed = validator_proof_message(&self.id(), handshake_hash);
        let prove = |key: &Keypair| ValidatorProof {
            key: key.public(),
            signature: key.sign(Purpose::ValidatorSession, &self.network, &signed),
        };
        Hello {
            agent: Text::cut(&self.agent),
            record: Capped::first(record),
            height: self.height.load(Ordering::Relaxed),
            observed,
            metadata: Capped::first(
                self.metadata.iter().map(|(name, text)| (Text::cut(name), Text::cut(text))),
            ),
            validator: self.validator.as_ref().map(prove),
            pace: Pace { blocks_only: link == LinkKind::BlocksOnly, ..self.pace },
            purpose: match link {
                LinkKind::Visit => ConnectionPurpose::Visit,
                LinkKind::Full | LinkKind::BlocksOnly | LinkKind::Feeler => ConnectionPurpose::Peer,
            },
        }
    }
}

/// The public half of a node's Noise key.
fn x25519_public(keypair: &Keypair) -> [u8; 32] {
    *peerstage_core::noise::StaticKey::from_secret(*keypair.noise_secret()).public()
}
