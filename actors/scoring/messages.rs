//! What PeerScoring is told and asked.

use std::time::Duration;

use actix::Message;
use peerstage_core::{
    address::Address,
    identity::{NodeId, PublicKey},
    kinds::Kind,
    reason::Closure,
    relay,
    scoring::{BanRecord, Explanation, Fault, Report, Service, Standing},
    time::{Millis, Time},
};

/// What was observed of a peer.
#[derive(Clone, Debug)]
pub enum Observation {
    /// It got its slot.
    Connected {
        /// Who.
        peer: NodeId,
        /// Where.
        address: Address,
        /// Whether we dialled.
        outbound: bool,
        /// The validator it proved to speak for.
        validator: Option<PublicKey>,
        /// Its software.
        agent: String,
    },
    /// It is gone.
    Disconnected {
        /// Who.
        peer: NodeId,
        /// Where it was.
        address: Address,
        /// Why, and who said so.
        closure: Closure,
        /// How long it was there, ms.
        connected_ms: Millis,
    },
    /// One of its two connections is gone, for the other.
    Replaced {
        /// Who.
        peer: NodeId,
        /// Where it was.
        address: Address,
        /// How long it was there, ms.
        connected_ms: Millis,
    },
    /// A measured round trip.
    RoundTrip {
        /// Who.
        peer: NodeId,
        /// How long, ms.
        ms: Millis,
    },
    /// A gossiped message came.
    Delivered {
        /// From whom.
        peer: NodeId,
        /// Of which kind.
        kind: Kind,
        /// First, or how late.
        delivery: relay::Delivery,
        /// How often.
        count: u32,
    },
    /// It broke a rule.
    Fault {
        /// Who.
        peer: NodeId,
        /// Which.
        fault: Fault,
    },
    /// Its connection ended for this; whether it was let in before or not.
    FaultAt {
        /// Who.
        peer: NodeId,
        /// Where.
        address: Address,
        /// Which.
        fault: Fault,
    },
    /// It served a request, or did not.
    Service {
        /// Who.
        peer: NodeId,
        /// How.
        service: Service,
    },
}

/// To the MessageRelay: a peer's score moved.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Scored {
    /// Whose.
    pub peer: NodeId,
    /// The score, thousandths of a point.
    pub thousandths: i64,
    /// Whether it is good enough to be relayed to in selective mode.
    pub relayed_to: bool,
}

/// To the NetworkManager: a ban began (`until` is some) or ended.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct BanChanged {
    /// Whose.
    pub peer: NodeId,
    /// Until when.
    pub until: Option<Time>,
}

/// Why does this peer have its score?
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Option<Explanation>")]
pub struct Explain {
    /// The peer.
    pub peer: NodeId,
}

/// Scores and standings of these peers.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Vec<ScoreOf>")]
pub struct ScoresOf(pub Vec<NodeId>);

/// The bans in force.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<BanRecord>")]
pub struct Bans;

/// Everybody who has a score, connected or not; at most
/// [`peerstage_core::scoring::TRACKED_MAX`].
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<NodeId>")]
pub struct Tracked;

/// A peer's score at a glance.
#[derive(Clone, Debug)]
pub struct ScoreOf {
    /// The score, points.
    pub score: f64,
    /// The standing.
    pub standing: Standing,
    /// The trust, 0 to 1.
    pub trust: f64,
}

/// Bans a peer; answered when the ban is on disk.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Ban {
    /// The peer.
    pub peer: NodeId,
    /// Why.
    pub why: String,
    /// For how long; as configured if it is not said.
    pub duration: Option<Duration>,
}

/// Lifts a ban; answers whether there was one.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct Unban {
    /// The peer.
    pub peer: NodeId,
}

/// The chain's own judgement of a peer.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct TellReport {
    /// The peer.
    pub peer: NodeId,
    /// What it did.
    pub report: Report,
    /// Why.
    pub why: String,
}
