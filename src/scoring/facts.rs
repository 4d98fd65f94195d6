//! What peers do, and what each of it costs or earns: the one table of the scoring rules.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::score::{Axis, POINT};

/// A breach of the protocol. Only these ban; what each costs is in [`Fault::cost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A block that the chain rejected.
    InvalidBlock,
    /// A transaction that the chain rejected.
    InvalidTransaction,
    /// A proposal or vote whose signature is bad.
    InvalidVote,
    /// A node record whose signature is bad or whose id is not its key's.
    InvalidRecord,
    /// Bytes that do not decode as what they claim to be.
    MalformedMessage,
    /// A kind that was not negotiated.
    UnknownKind,
    /// A length above the limit of its kind.
    OversizedMessage,
    /// More messages than the kind's rate and burst allow; one fault a window, not a message.
    Spam,
    /// The same message again and again; one fault a window, not a message.
    DuplicateFlood,
    /// A message out of turn, or an answer to a question nobody asked.
    ProtocolViolation,
    /// A message that only validators may send.
    WrongRole,
    /// A message older than the window in which it may circulate.
    Replay,
    /// A completed handshake whose hello contradicts it.
    Handshake,
    /// What the chain software reported without saying how bad it is.
    Reported,
}

/// How well a peer serves us. Never bans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Answered a request in time.
    Answered,
    /// Answered after the time a good peer needs.
    Slow,
    /// Never answered.
    Timeout,
    /// Said that it would not answer.
    RefusedRequest,
    /// Announced something and did not deliver it.
    BrokenPromise,
    /// Read so slowly that our queue to it overflowed.
    Congested,
}

/// How a block or transaction came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Nobody brought it earlier.
    First,
    /// Somebody did, but not long ago.
    Timely,
    /// Valid, and long known.
    Late,
    /// Rejected by the chain; counts as the fault of its kind.
    Invalid,
}

/// What the chain software says about a peer, in points (more than 100 counts as 100).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Raises behaviour.
    Good(u64),
    /// Lowers behaviour; never bans.
    Bad(u64),
    /// Counts on the fault axis; 50 points ban.
    Fault(u64),
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// We closed it, for whatever reason of ours: costs nothing.
    Ours,
    /// The peer closed it or it broke.
    Theirs,
}

/// Thousandths of a point of uptime for a minute connected: 12 points an hour.
pub(super) const UPTIME_PER_MINUTE: i64 = 200;
/// A connection that the other side ends sooner than this counts as flapping, ms. A guess.
pub(super) const SHORT_SESSION_MS: u64 = 10 * 60 * 1000;
/// Thousandths of a point of uptime that flapping costs.
pub(super) const SHORT_SESSION_COST: i64 = 10 * POINT as i64;
/// A round trip this short is the best, ms: neighbours on a continent.
pub(super) const ROUND_TRIP_BEST_MS: u64 = 50;
/// A round trip this long is neutral, ms: around the world, twice.
pub(super) const ROUND_TRIP_NEUTRAL_MS: u64 = 500;
/// A round trip this long or longer is the worst, ms.
pub(super) const ROUND_TRIP_WORST_MS: u64 = 2_000;
/// A measurement moves latency by one part in this many of the distance, as TCP's smoothed
/// round trip does with 8 (RFC 6298); pings are rarer than segments.
pub(super) const ROUND_TRIP_SMOOTHING: i64 = 4;

const _: () = assert!(ROUND_TRIP_BEST_MS < ROUND_TRIP_NEUTRAL_MS);
const _: () = assert!(ROUND_TRIP_NEUTRAL_MS < ROUND_TRIP_WORST_MS);

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 14] = [
        Fault::InvalidBlock,
        Fault::InvalidTransaction,
        Fault::InvalidVote,
        Fault::InvalidRecord,
        Fault::MalformedMessage,
        Fault::UnknownKind,
        Fault::OversizedMessage,
        Fault::Spam,
        Fault::DuplicateFlood,
        Fault::ProtocolViolation,
        Fault::WrongRole,
        Fault::Replay,
        Fault::Handshake,
        Fault::Reported,
    ];

    /// The name in configuration, logs, metrics and documents, and the cost in thousandths of a
    /// point on the fault axis. At the default line of 50 points a newcomer is banned after
    /// `50 / cost` events, rounded up; the table is in the module's documentation.
    const fn row(self) -> (&'static str, i32) {
        match self {
            Fault::InvalidBlock => ("invalid_block", 50 * POINT),
            Fault::InvalidTransaction => ("invalid_transaction", 10 * POINT),
            Fault::InvalidVote => ("invalid_vote", 5 * POINT),
            Fault::InvalidRecord => ("invalid_record", 5 * POINT),
            Fault::MalformedMessage => ("malformed_message", 100 * POINT),
            Fault::UnknownKind => ("unknown_kind", 10 * POINT),
            Fault::OversizedMessage => ("oversized_message", 100 * POINT),
            Fault::Spam => ("spam", 5 * POINT),
            Fault::DuplicateFlood => ("duplicate_flood", 5 * POINT / 2),
            Fault::ProtocolViolation => ("protocol_violation", 25 * POINT),
            Fault::WrongRole => ("wrong_role", 10 * POINT),
            Fault::Replay => ("replay", 5 * POINT),
            Fault::Handshake => ("handshake", 10 * POINT),
            Fault::Reported => ("reported", 25 * POINT),
        }
    }

    /// The name in configuration, logs, metrics and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// What one event costs on the fault axis, thousandths of a point.
    #[must_use]
    pub const fn cost(self) -> i32 {
        self.row().1
    }
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 6] = [
        Service::Answered,
        Service::Slow,
        Service::Timeout,
        Service::RefusedRequest,
        Service::BrokenPromise,
        Service::Congested,
    ];

    /// Name, category and change in thousandths of a point.
    const fn row(self) -> (&'static str, Axis, i32) {
        match self {
            Service::Answered => ("answered", Axis::Behaviour, POINT / 2),
            Service::Slow => ("slow", Axis::Latency, -POINT),
            Service::Timeout => ("timeout", Axis::Behaviour, -2 * POINT),
            Service::RefusedRequest => ("refused_request", Axis::Behaviour, -POINT / 2),
            Service::BrokenPromise => ("broken_promise", Axis::TransactionRelay, -2 * POINT),
            Service::Congested => ("congested", Axis::Behaviour, -5 * POINT),
        }
    }

    /// The name in logs, metrics and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The category it moves.
    #[must_use]
    pub const fn axis(self) -> Axis {
        self.row().1
    }

    /// By how much, thousandths of a point.
    #[must_use]
    pub const fn change(self) -> i32 {
        self.row().2
    }
}

impl Delivery {
    /// Change of block propagation and of behaviour for a valid block, thousandths of a point.
    pub(super) const fn block(self) -> (i32, i32) {
        match self {
            Delivery::First => (10 * POINT, POINT),
            Delivery::Timely => (4 * POINT, POINT / 2),
            Delivery::Late => (-2 * POINT, 0),
            Delivery::Invalid => (0, 0),
        }
    }

    /// Change of transaction relay and of behaviour for a valid transaction, thousandths of a
    /// point. Transactions are hundreds of times as frequent as blocks.
    pub(super) const fn transaction(self) -> (i32, i32) {
        match self {
            Delivery::First => (POINT, POINT / 10),
            Delivery::Timely => (POINT / 4, POINT / 20),
            Delivery::Late => (-POINT / 10, 0),
            Delivery::Invalid => (0, 0),
        }
    }

    /// The name in logs, metrics and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Delivery::First => "first",
            Delivery::Timely => "timely",
            Delivery::Late => "late",
            Delivery::Invalid => "invalid",
        }
    }
}

/// What a round trip is worth as latency, thousandths of a point: linear between the three marks.
#[must_use]
pub fn latency_of(round_trip_ms: u64) -> i64 {
    let ms = round_trip_ms.clamp(ROUND_TRIP_BEST_MS, ROUND_TRIP_WORST_MS);
    let scale = |part: u64, whole: u64| (part * 100 * POINT.unsigned_abs() as u64 / whole) as i64;
    if ms <= ROUND_TRIP_NEUTRAL_MS {
        scale(ROUND_TRIP_NEUTRAL_MS - ms, ROUND_TRIP_NEUTRAL_MS - ROUND_TRIP_BEST_MS)
    } else {
        -scale(ms - ROUND_TRIP_NEUTRAL_MS, ROUND_TRIP_WORST_MS - ROUND_TRIP_NEUTRAL_MS)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_configuration() {
        for fault in Fault::ALL {
            assert_eq!(serde_json::to_string(&fault).unwrap(), format!("\"{fault}\""));
        }
        for service in Service::ALL {
            assert_eq!(serde_json::to_string(&service).unwrap(), format!("\"{service}\""));
            assert!(Axis::CATEGORIES.contains(&service.axis()), "service never touches faults");
        }
    }

    #[test]
    fn latency_falls_from_best_to_worst() {
        assert_eq!(latency_of(0), 100_000);
        assert_eq!(latency_of(50), 100_000);
        assert_eq!(latency_of(275), 50_000);
        assert_eq!(latency_of(500), 0);
        assert_eq!(latency_of(1_250), -50_000);
        assert_eq!(latency_of(u64::MAX), -100_000);
    }
}
