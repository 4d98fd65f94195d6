//! Attempts in flight, the operator's targets, and the spacing between attempts.

mod holes;
mod targets;

use std::{collections::BTreeMap, net::IpAddr};

use rand::{Rng, RngExt};

pub(super) use targets::Target;

use super::{
    DialId, LinkKind, ManagerConfig,
    config::{DIAL_SPACING, DIALS_BURST, DIALS_PER_1000_S, RECENT_DIALS_MAX, STRANGER_SPACING},
};
use crate::{
    address::Address,
    book::TokenBucket,
    identity::NodeId,
    time::{Millis, Time},
};

/// Why an attempt is made; what its peer may count on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DialPurpose {
    Bootstrap,
    Persistent,
    Validator,
    Ordinary,
    /// For blocks and nothing else; the peer was one of these before a restart.
    Anchor,
    /// For blocks and nothing else.
    BlocksOnly,
    /// To see who answers.
    Feeler,
    /// To reach a peer directly that a relay carries.
    Upgrade,
    /// For questions of discovery.
    Visit,
}

impl DialPurpose {
    /// What the connection is for.
    pub(super) fn link(self) -> LinkKind {
        match self {
            DialPurpose::Anchor | DialPurpose::BlocksOnly => LinkKind::BlocksOnly,
            DialPurpose::Feeler => LinkKind::Feeler,
            DialPurpose::Visit => LinkKind::Visit,
            _ => LinkKind::Full,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) address: Address,
    /// What the operator's list and the book call the place: the address itself, but for a hole
    /// that was punched, which is there for this attempt and never again.
    pub(super) listed: Address,
    /// Whether it goes to a hole that was punched.
    pub(super) punched: bool,
    pub(super) expected: Option<NodeId>,
    pub(super) purpose: DialPurpose,
    until: Time,
}

/// What must not be dialled too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Recent {
    Peer(NodeId),
    Address(Address),
    Ip(IpAddr),
    /// One of the holes at this IP.
    Hole(IpAddr, usize),
}

/// A place to dial.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) address: Address,
    pub(super) expected: Option<NodeId>,
    /// Nobody has ever answered there, and nobody we trust named it.
    pub(super) stranger: bool,
    /// Limits by IP make no sense for it.
    pub(super) exempt: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Dialler {
    pub(super) targets: Vec<Target>,
    attempts: BTreeMap<DialId, Attempt>,
    recent: BTreeMap<Recent, Time>,
    /// Ordered a moment ago.
    holes: BTreeMap<NodeId, holes::Hole>,
    next_id: u64,
    /// All attempts together.
    pub(super) rate: TokenBucket,
}

/// A span made longer or shorter at random by at most the configured percentage.
pub(super) fn jittered(config: &ManagerConfig, rng: &mut impl Rng, span: Millis) -> Millis {
    let percent = config.jitter_percent.min(100);
    let by = (span / 100).saturating_mul(percent);
    let low = span.saturating_sub(by);
    low.saturating_add(rng.random_range(0..=by.saturating_mul(2)))
}

/// The wait after so many failures in a row: doubled each time, capped, jittered.
pub(super) fn backoff(config: &ManagerConfig, rng: &mut impl Rng, failures: u32) -> Millis {
    let factor = 1u64.checked_shl(failures.min(32)).unwrap_or(u64::MAX);
    let span = config.dial_backoff.saturating_mul(factor).min(config.dial_backoff_max);
    jittered(config, rng, span).max(DIAL_SPACING)
}

impl Dialler {
    pub(super) fn new() -> Self {
        Dialler {
            targets: Vec::new(),
            attempts: BTreeMap::new(),
            recent: BTreeMap::new(),
            holes: BTreeMap::new(),
            next_id: 0,
            rate: TokenBucket::new(Time::ZERO, DIALS_BURST, DIALS_PER_1000_S),
        }
    }

    /// Whether enough time has passed since the last attempt at this node, address and IP.
    pub(super) fn may_dial(&self, now: Time, place: &Place) -> bool {
        let waited = |recent: Recent, spacing: Millis| {
            self.recent.get(&recent).is_none_or(|last| now.since(*last) >= spacing)
        };
        // Through a relay nobody is sent a packet, and the relay has its own limits.
        let strange = place.stranger && !place.exempt && !place.address.is_circuit();
        let room = self.recent.len().saturating_add(3) <= RECENT_DIALS_MAX;
        place.expected.is_none_or(|peer| waited(Recent::Peer(peer), DIAL_SPACING))
            && (place.address.is_circuit() || waited(Recent::Address(place.address), DIAL_SPACING))
            && (!strange || (room && waited(Recent::Ip(place.address.ip()), STRANGER_SPACING)))
            && !self.is_dialling(place)
    }

    /// As [`Dialler::may_dial`], for a visit. It waits for any other attempt, but none waits for it:
    /// nobody has to ask the node that is to become a peer.
    pub(super) fn may_visit(&self, now: Time, place: &Place) -> bool {
        self.may_dial(now, place) && !place.expected.is_some_and(|peer| self.is_expected(&peer))
    }

    /// Records an attempt and names it.
    pub(super) fn start(
        &mut self,
        config: &ManagerConfig,
        now: Time,
        place: Place,
        purpose: DialPurpose,
    ) -> DialId {
        self.recent.retain(|_, last| now.since(*last) < STRANGER_SPACING);
        if let Some(peer) = place.expected {
            self.recent.insert(Recent::Peer(peer), now);
        }
        if !place.address.is_circuit() {
            self.recent.insert(Recent::Address(place.address), now);
        }
        if !place.exempt && !place.address.is_circuit() {
            self.recent.insert(Recent::Ip(place.address.ip()), now);
        }
        let attempt = DialId(self.next_id);
        self.next_id = self.next_id.saturating_add(1);
        let Place { address, expected, .. } = place;
        let until = now.plus(config.connection_timeout);
        let (listed, punched) = (address, false);
        let new = Attempt { address, listed, punched, expected, purpose, until };
        self.attempts.insert(attempt, new);
        attempt
    }

    pub(super) fn finish(&mut self, attempt: DialId) -> Option<Attempt> {
        self.attempts.remove(&attempt)
    }

    /// A target's attempt ended: with this node, or with a failure.
    pub(super) fn on_target(
        &mut self,
        config: &ManagerConfig,
        rng: &mut impl Rng,
        now: Time,
        (address, expected): (&Address, Option<NodeId>),
        met: Option<NodeId>,
    ) {
        // Whatever is behind a relay waits as long as the relay.
        let behind = |t: &Target| met.is_none() && t.address.relay() == Some(*address);
        let of_attempt = |t: &&mut Target| t.is_at(address, expected) || behind(t);
        for target in self.targets.iter_mut().filter(of_attempt) {
            target.failures = if met.is_some() { 0 } else { target.failures.saturating_add(1) };
            target.met = met.or(target.met);
            target.next = now.plus(backoff(config, rng, target.failures.saturating_sub(1)));
        }
    }

    /// A target's node is not to be dialled before `until`.
    pub(super) fn postpone(&mut self, peer: &NodeId, until: Time) {
        for target in self.targets.iter_mut().filter(|target| target.is(peer)) {
            target.next = target.next.max(until);
        }
    }

    /// Takes a [`Dialler::postpone`] back.
    pub(super) fn readmit(&mut self, now: Time, peer: &NodeId) {
        for target in self.targets.iter_mut().filter(|target| target.is(peer)) {
            target.next = target.next.min(now);
        }
    }

    pub(super) fn is_persistent(&self, peer: &NodeId) -> bool {
        self.persistent(peer).is_some()
    }

    /// Where the operator says that a persistent peer is.
    pub(super) fn persistent(&self, peer: &NodeId) -> Option<Address> {
        let mut targets = self.targets.iter();
        let found = targets.find(|t| t.purpose() == DialPurpose::Persistent && t.is(peer));
        found.map(|target| target.address)
    }

    /// Whether an attempt at this node is under way.
    pub(super) fn is_expected(&self, peer: &NodeId) -> bool {
        self.attempts.values().any(|attempt| attempt.expected.as_ref() == Some(peer))
    }

    /// Whether an attempt is under way that this one would be too much beside. A way through a relay
    /// that the operator names is tried beside a direct one, which may hang until it is given up.
    fn is_dialling(&self, place: &Place) -> bool {
        let circuit = place.address.is_circuit();
        let is_named =
            |target: &Target| target.address == place.address && target.expected == place.expected;
        let beside = circuit && self.targets.iter().any(is_named);
        self.attempts.values().filter(|a| a.purpose != DialPurpose::Visit).any(|attempt| {
            let same_place = attempt.address == place.address && !circuit;
            let same_peer = place.expected.is_some() && attempt.expected == place.expected;
            same_place || (same_peer && (!beside || attempt.address.is_circuit()))
        })
    }

    pub(super) fn in_flight(&self) -> impl Iterator<Item = (&DialId, &Attempt)> {
        self.attempts.iter()
    }

    /// Attempts that match, given up.
    pub(super) fn take(&mut self, wanted: impl Fn(&Attempt) -> bool) -> Vec<(DialId, Attempt)> {
        let found = self.attempts.iter().filter(|(_, attempt)| wanted(attempt));
        let found: Vec<DialId> = found.map(|(id, _)| *id).collect();
        found.into_iter().filter_map(|id| Some((id, self.attempts.remove(&id)?))).collect()
    }

    /// Attempts that took too long, given up.
    pub(super) fn take_late(&mut self, now: Time) -> Vec<(DialId, Attempt)> {
        self.take(|attempt| attempt.until <= now)
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.attempts.values().map(|attempt| attempt.until).min()
    }
}
