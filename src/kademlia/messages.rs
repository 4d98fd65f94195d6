//! Questions and answers of discovery, as they travel.

use serde::{Deserialize, Serialize};

use super::{CLAIM_MAX, ClaimPurpose, K, Point};
use crate::{
    codec::{self, Capped},
    header::Header,
    kinds::Kind,
    messages::{DiscoveryHeader, Outgoing},
    record::{BYTES_MAX, SignedRecord},
};

/// Claims in one answer.
pub const CLAIMS_MAX: usize = 12;

/// A signed node record, encoded.
pub type RecordBytes = Capped<u8, BYTES_MAX>;
/// A signed claim, encoded.
pub type ClaimBytes = Capped<u8, CLAIM_MAX>;

/// A question; the body of [`Kind::DiscoveryQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// Which nodes do you know that are close to this point?
    FindNode {
        /// The point.
        target: [u8; 32],
    },
    /// Which claims do you keep there, and which nodes are closer?
    GetRecord {
        /// Claims of this purpose.
        purpose: ClaimPurpose,
        /// At this point.
        point: [u8; 32],
    },
    /// Keep this claim.
    PutRecord {
        /// The claim.
        claim: ClaimBytes,
    },
}

/// An answer; the body of [`Kind::DiscoveryAnswer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Query::FindNode`]: the closest known nodes.
    Nodes {
        /// Their records, closest first.
        nodes: Capped<RecordBytes, K>,
    },
    /// To [`Query::GetRecord`].
    Records {
        /// The claims kept there, a random few if there are more.
        claims: Capped<ClaimBytes, CLAIMS_MAX>,
        /// The closest known nodes.
        nodes: Capped<RecordBytes, K>,
    },
    /// To [`Query::PutRecord`]: it is kept.
    Stored,
    /// To anything: no.
    Refused {
        /// Why.
        reason: Refusal,
    },
}

/// Why a question is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The asker has asked too much.
    Busy,
    /// A quota of the signer, the key, the neighbourhood or the whole store is used up.
    Full,
    /// A newer claim of the signer is kept already.
    Stale,
    /// This node keeps no such claims.
    Unsupported,
    /// The claim does not hold.
    Invalid,
}

impl Query {
    /// The point it is about.
    #[must_use]
    pub fn point(&self) -> Option<Point> {
        match self {
            Query::FindNode { target } => Some(Point(*target)),
            Query::GetRecord { point, .. } => Some(Point(*point)),
            Query::PutRecord { .. } => None,
        }
    }

    /// The message that asks this.
    #[must_use]
    pub fn message(&self, id: u64) -> Outgoing {
        message(Kind::DiscoveryQuery, id, self)
    }
}

impl Answer {
    /// The message that answers this.
    #[must_use]
    pub fn message(&self, id: u64) -> Outgoing {
        message(Kind::DiscoveryAnswer, id, self)
    }
}

fn message<T: Serialize>(kind: Kind, id: u64, body: &T) -> Outgoing {
    // Encoding fails for no query and no answer.
    let body = codec::encode(body).unwrap_or_default();
    Outgoing { kind, header: Header::of(&DiscoveryHeader { id }), body: body.into() }
}

/// The records that fit an answer.
pub(super) fn encoded<'a>(
    records: impl IntoIterator<Item = &'a SignedRecord>,
) -> Capped<RecordBytes, K> {
    let encoded = records.into_iter().filter_map(|record| record.encode().ok());
    Capped::first(encoded.map(Capped::first))
}
