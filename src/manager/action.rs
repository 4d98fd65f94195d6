//! What the manager is told, and what it orders.

use serde::{Deserialize, Serialize};

use super::FeelerCounts;
use crate::{
    address::{Address, NetworkGroup},
    book::BookEntry,
    identity::{NodeId, PublicKey},
    reason::{CloseReason, Closure},
    record::{RecordError, SignedRecord, VerifiedRecord},
    time::{Millis, Time},
};

/// A connection, in or out. Chosen by the shell, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// An attempt to connect. Chosen by the manager, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// A host name of the configuration, by its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameId(pub u32);

/// Who began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The other side; the session was announced by `on_inbound_attempt`.
    Inbound,
    /// This side, by this attempt.
    Outbound(DialId),
}

/// What a dialled connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkKind {
    /// Everything.
    Full,
    /// Blocks; no transactions and no peer exchange.
    BlocksOnly,
    /// To see who answers; ended after the handshake, before a place is taken.
    Feeler,
    /// Questions of discovery; it takes no place.
    Visit,
}

/// The place of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// An ordinary peer that dialled us.
    Inbound,
    /// An ordinary peer that we dialled.
    Outbound,
    /// A peer that we dialled to exchange blocks with and nothing else.
    BlocksOnly,
    /// A peer the operator named.
    Persistent,
    /// A proven validator of the set, on a place kept for those.
    Validator,
}

impl Place {
    /// The stable name, snake_case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Place::Inbound => "inbound",
            Place::Outbound => "outbound",
            Place::BlocksOnly => "blocks_only",
            Place::Persistent => "persistent",
            Place::Validator => "validator",
        }
    }

    /// Whether others can't have it: kept for persistent peers or validators.
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        matches!(self, Place::Persistent | Place::Validator)
    }
}

/// A peer to return to first after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Where.
    pub address: Address,
    /// Who must answer.
    pub peer: NodeId,
}

/// A connection whose handshake and hello are done, with what they proved.
#[derive(Clone, Debug)]
pub struct Established {
    /// Who is there, proven by the handshake.
    pub peer: NodeId,
    /// The other end of the connection.
    pub address: Address,
    /// Who began it.
    pub direction: Direction,
    /// The handshake hash, the same on both sides.
    pub channel: [u8; 32],
    /// The peer's own record; ignored if it is not the peer's.
    pub record: Option<VerifiedRecord>,
    /// The validator the peer has proven to speak for, on this connection.
    pub validator: Option<PublicKey>,
    /// Whether one of the sides wants blocks and nothing else.
    pub blocks_only: bool,
    /// Whether the dialler wants only to ask questions of discovery.
    pub visit: bool,
}

/// Why an attempt did not become a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DialFailure {
    /// Nothing listens there.
    #[error("refused")]
    Refused,
    /// No route, or the network is down.
    #[error("unreachable")]
    Unreachable,
    /// It took longer than the connection timeout.
    #[error("timed out")]
    Timeout,
    /// The handshake or the hello failed, for this reason.
    #[error("handshake failed: {0}")]
    Handshake(CloseReason),
    /// Somebody else answered.
    #[error("another node answered")]
    UnexpectedIdentity(NodeId),
    /// This node answered itself.
    #[error("it is this node itself")]
    SelfConnection,
    /// The operating system refused (no descriptors, no ports): our fault.
    #[error("local error")]
    Local,
}

/// What a peer did wrong in peer exchange. The scoring decides what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// A record that can't be true.
    Forged(RecordError),
    /// More records than an answer may have.
    TooMany,
}

/// An order to the shell, to be carried out in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Connect, shake hands, exchange hellos; then `on_established` or `on_dial_failed`. A
    /// feeler ends after the handshake, with `on_felt` or `on_dial_failed`.
    Dial {
        /// Names the attempt.
        attempt: DialId,
        /// What for.
        link: LinkKind,
        /// Where.
        address: Address,
        /// Who must answer, if it is known.
        expected: Option<NodeId>,
    },
    /// A node that is being dialled is behind a NAT: a hole is to be punched, and
    /// `on_punched` called where that has worked.
    Punch {
        /// The node.
        peer: NodeId,
    },
    /// A visit is there: questions may pass.
    VisitUp {
        /// Who.
        peer: NodeId,
        /// On this connection.
        session: SessionId,
        /// Where.
        address: Address,
        /// Whether we dialled.
        outbound: bool,
    },
    /// A visit is over.
    VisitDown {
        /// Its connection.
        session: SessionId,
    },
    /// A visit could not be made.
    VisitFailed {
        /// Whom it was meant for.
        peer: NodeId,
        /// Whether that says anything of the node.
        blame: bool,
    },
    /// Give an attempt up; nothing more is expected of it.
    CancelDial {
        /// The attempt.
        attempt: DialId,
        /// Why.
        reason: CloseReason,
    },
    /// Shake hands with whoever connected; then `on_established` or `on_closed`.
    Accept {
        /// The connection.
        session: SessionId,
    },
    /// Hand the records over if there are any, say why if a channel is up, and end it.
    Close {
        /// The connection.
        session: SessionId,
        /// Why.
        reason: CloseReason,
        /// When it makes sense to come back, ms; 0: not said.
        retry_after: Millis,
        /// Other nodes to try, for one that found no room here.
        records: Vec<SignedRecord>,
    },
    /// A direct connection has taken the place of this one, which a relay carried: what waits on
    /// either side is still sent and heard, then it ends.
    Retire {
        /// The relayed connection.
        session: SessionId,
    },
    /// As [`Action::Retire`], for one that never was the peer's: the other side may have held it
    /// for that.
    HearOut {
        /// The connection.
        session: SessionId,
        /// Whose.
        peer: NodeId,
    },
    /// A peer is there. If it was there before, its connection was exchanged for a twin.
    PeerUp {
        /// Who.
        peer: NodeId,
        /// On this connection from now on.
        session: SessionId,
        /// Where.
        address: Address,
        /// Whether we dialled.
        outbound: bool,
        /// The validator it speaks for, proven.
        validator: Option<PublicKey>,
        /// The connection that this one takes the place of.
        replaces: Option<SessionId>,
    },
    /// A peer is gone.
    PeerDown {
        /// Who.
        peer: NodeId,
        /// Its last connection.
        session: SessionId,
        /// Why, and who ended it.
        closure: Closure,
        /// How long it was there, ms.
        age: Millis,
    },
    /// An attempt failed.
    DialFailed {
        /// Where.
        address: Address,
        /// Who was meant.
        expected: Option<NodeId>,
        /// Why.
        failure: DialFailure,
    },
    /// Ask a peer for records.
    RequestPeers {
        /// Whom.
        peer: NodeId,
        /// How many.
        count: u8,
    },
    /// Have discovery look for the record of a node that is being dialled.
    SeekRecord {
        /// Whose.
        peer: NodeId,
    },
    /// Answer a peer with records.
    SendPeers {
        /// Whom.
        peer: NodeId,
        /// The answer.
        records: Vec<SignedRecord>,
    },
    /// Keep an address in the store.
    PersistAddress(Box<BookEntry>),
    /// Forget an address in the store.
    ForgetAddress(Address),
    /// Keep these anchors in the store, and no others.
    PersistAnchors(Vec<Anchor>),
    /// Keep a record in the store.
    PersistRecord(Box<SignedRecord>),
    /// Forget a record in the store.
    ForgetRecord(NodeId),
    /// A peer passed on what it must not.
    PenaliseRecord {
        /// Who.
        peer: NodeId,
        /// What.
        fault: RecordFault,
    },
}

/// A peer as it is shown to people and other actors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Who.
    pub peer: NodeId,
    /// Its connection.
    pub session: SessionId,
    /// Where.
    pub address: Address,
    /// Whether we dialled this connection.
    pub outbound: bool,
    /// Whether we dialled it through a hole in its NAT.
    pub punched: bool,
    /// Whether we chose the peer: dialled it, be it in an earlier connection or in one that has
    /// crossed with this.
    pub chosen: bool,
    /// Since when.
    pub since: Time,
    /// Its neighbourhood.
    pub group: NetworkGroup,
    /// Its place.
    pub place: Place,
    /// Whether the connection carries blocks and nothing else.
    pub blocks_only: bool,
    /// The validator it speaks for, proven.
    pub validator: Option<PublicKey>,
}

/// Numbers for people and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManagerStatus {
    /// Connected peers, all of them.
    pub peers: usize,
    /// Ordinary peers that dialled us.
    pub inbound: usize,
    /// Ordinary peers that we dialled.
    pub outbound: usize,
    /// Peers that we dialled to exchange blocks with and nothing else.
    pub blocks_only: usize,
    /// Attempts in flight.
    pub dialling: usize,
    /// Inbound connections before the end of their handshake.
    pub half_open: usize,
    /// Connections for questions of discovery alone, both directions.
    pub visits: usize,
    /// Addresses in the book.
    pub addresses: usize,
    /// Of these, the ones in the tried table.
    pub tried: usize,
    /// Records in the book.
    pub records: usize,
    /// Peers that a restart would begin with.
    pub anchors: usize,
    /// Addresses dialled to see whether somebody answers.
    pub feelers: FeelerCounts,
}
