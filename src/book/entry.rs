//! One address in the book.

use serde::{Deserialize, Serialize};

use crate::{
    address::{Address, NetworkGroup},
    identity::NodeId,
    time::{Millis, Time},
};

/// Attempts without any success after which an address that never answered is forgotten
/// (Bitcoin: 3 within an hour; more patient, a node may restart).
pub const FAILURES_UNVERIFIED_MAX: u32 = 5;
/// The same for an address that has answered before, if that was longer than
/// [`SUCCESS_KEEPS`] ago (Bitcoin: 10 in a week).
pub const FAILURES_VERIFIED_MAX: u32 = 10;
/// How long a success keeps an address in the book, whatever fails since, ms: 7 days, as in
/// Bitcoin. A node that is down for a week is not forgotten by those who met it.
pub const SUCCESS_KEEPS: Millis = 7 * 24 * 60 * 60 * 1000;
/// How long an address is worth anything that nobody has told of since, ms: 30 days, as in
/// Bitcoin.
pub const AGE_MAX: Millis = 30 * 24 * 60 * 60 * 1000;
/// How long after an attempt an address is left in peace, ms: the attempt may be under way.
pub(super) const UNDER_WAY: Millis = 60_000;

/// Who told us of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The operator, by configuration or command.
    Operator,
    /// A peer in this neighbourhood.
    Peer(NetworkGroup),
}

/// What is known of one address; what a store keeps of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookEntry {
    /// Where.
    pub address: Address,
    /// Who is said to answer there; proven once `last_success` is there.
    pub peer: Option<NodeId>,
    /// Who told us first.
    pub source: Source,
    /// When it was last told of.
    pub heard: Time,
    /// Whether it is in the tried table.
    pub tried: bool,
    /// Connections since it is known.
    pub successes: u32,
    /// Attempts since the last connection that led to none.
    pub failures: u32,
    /// When a connection there last succeeded.
    pub last_success: Option<Time>,
    /// When it was last dialled.
    pub last_attempt: Option<Time>,
    /// Not to be dialled before.
    pub next_dial: Time,
}

/// What a store must do to know what the book knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BookChange {
    /// Keep this.
    Keep(Box<BookEntry>),
    /// Forget that.
    Forget(Address),
}

impl BookEntry {
    pub(crate) fn new(now: Time, address: Address, peer: Option<NodeId>, source: Source) -> Self {
        BookEntry {
            address,
            peer,
            source,
            heard: now,
            tried: false,
            successes: 0,
            failures: 0,
            last_success: None,
            last_attempt: None,
            next_dial: Time::ZERO,
        }
    }

    /// Whether a node has answered there, with the identity it was dialled for.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.last_success.is_some()
    }

    /// Whether it has failed so often, or is so old, that its place is worth more than it is.
    #[must_use]
    pub fn is_terrible(&self, now: Time) -> bool {
        let known = self.last_success.map_or(self.heard, |success| success.max(self.heard));
        let failed = match self.last_success {
            None => self.failures >= FAILURES_UNVERIFIED_MAX,
            Some(at) => now.since(at) > SUCCESS_KEEPS && self.failures >= FAILURES_VERIFIED_MAX,
        };
        failed || now.since(known) > AGE_MAX
    }

    /// Whether an attempt may be under way.
    pub(super) fn is_under_way(&self, now: Time) -> bool {
        self.last_attempt.is_some_and(|at| now.since(at) < UNDER_WAY)
    }
}
