//! One try at a hole, with one node: what it waits for, whom it sends to, and when it is over.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{
    Mapping,
    own::{household, network},
    stun::{self, TransactionId},
};
use crate::{
    address::Address,
    identity::NodeId,
    time::{Millis, Time},
};

/// Addresses of the other side that are sent to.
pub const TARGETS_MAX: usize = 4;
/// Of these, the ones of one network: where its NAT shows it, and the same IP at its own port.
const TARGETS_PER_NETWORK_MAX: usize = 2;
/// Addresses that the other side is heard from, which are sent to as well, and dialled.
pub(super) const HEARD_MAX: usize = 2;
/// Between two probes to one address in the first half second, which is about how far apart the
/// two sides begin, and later, ms. RFC 8445 section 14.2 paces checks by 50 ms; several addresses
/// are tried at once here.
const PACES: [Millis; 2] = [100, 300];
const QUICK_FOR: Millis = 500;
/// Probes to one address in one window.
const PROBES_MAX: usize = 10;
/// How long probes are sent, ms.
pub(super) const WINDOW: Millis = 2_000;
/// All probes of one try.
pub(super) const PROBES_OF_TRY_MAX: usize = (TARGETS_MAX + HEARD_MAX) * PROBES_MAX;
/// How long an offer waits for its answer, and an answer for the last word, ms. A guess: two hops
/// around the earth and back, and a busy carrier.
const ANSWER_WAIT: Millis = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The other side is to say something before the time is over.
    Waiting,
    /// Probes go out.
    Probing,
}

/// A punch with one peer.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) opener: bool,
    pub(super) nonce: [u8; 16],
    pub(super) phase: Phase,
    /// When the first offer went out or came.
    pub(super) began: Time,
    /// When this round's offer went out.
    pub(super) offered: Time,
    pub(super) next: Time,
    pub(super) until: Time,
    /// When it is over at the latest, whatever is heard.
    last: Time,
    pub(super) rounds: u32,
    pub(super) theirs: Mapping,
    pub(super) targets: Vec<SocketAddr>,
    pub(super) heard: Vec<SocketAddr>,
    /// When probes began to go out.
    started: Time,
    sent: usize,
    /// Our probes, and what theirs are recognised by.
    probe: [u8; 20],
    pub(super) expects: TransactionId,
}

impl Attempt {
    pub(super) fn new(now: Time, opener: bool, nonce: [u8; 16], [own, peer]: [NodeId; 2]) -> Self {
        let nodes = if opener { [own, peer] } else { [peer, own] };
        let until = now.plus(ANSWER_WAIT);
        Attempt {
            opener,
            nonce,
            phase: Phase::Waiting,
            began: now,
            offered: now,
            next: until,
            until,
            last: until,
            rounds: 0,
            theirs: Mapping::Unknown,
            targets: Vec::new(),
            heard: Vec::new(),
            started: now,
            sent: 0,
            probe: stun::binding_request(probe_id(&nonce, nodes, opener)),
            expects: probe_id(&nonce, nodes, !opener),
        }
    }

    pub(super) fn start(&mut self, at: Time) {
        self.phase = Phase::Probing;
        self.started = at;
        (self.next, self.until) = (at, at.plus(WINDOW));
        self.last = self.until.plus(WINDOW);
    }

    /// Whether the other side may have begun to send: the opener's last word lets it.
    pub(super) fn listens(&self) -> bool {
        !self.opener || self.phase == Phase::Probing
    }

    /// A connection is tried: it gets another window, once.
    pub(super) fn lengthen(&mut self, now: Time) {
        self.until = self.until.max(now.plus(WINDOW)).min(self.last);
    }

    /// Our probe, unless there were enough.
    pub(super) fn take_probe(&mut self) -> Option<[u8; 20]> {
        let room = self.sent < PROBES_OF_TRY_MAX;
        self.sent = self.sent.saturating_add(usize::from(room));
        room.then_some(self.probe)
    }

    /// Whether probes went to this machine, or to where the other side was heard from.
    pub(super) fn reached(&self, ip: IpAddr) -> bool {
        let sent_to = self.targets.iter().chain(&self.heard);
        self.sent > 0 && sent_to.map(|to| household(to.ip())).any(|to| to == household(ip))
    }

    /// Where probes go now; sets the time of the next ones.
    pub(super) fn on_turn(&mut self, now: Time) -> BTreeSet<SocketAddr> {
        let [quick, slow] = PACES;
        let pace = if now.since(self.started) < QUICK_FOR { quick } else { slow };
        self.next = now.plus(pace);
        self.targets.iter().chain(&self.heard).copied().collect()
    }
}

/// The first of these that are to be sent to, few of one network.
pub(super) fn targets<'a>(candidates: impl Iterator<Item = &'a Address>) -> Vec<SocketAddr> {
    let mut targets: Vec<SocketAddr> = Vec::new();
    for socket in candidates.map(Address::socket) {
        let near = |known: &&SocketAddr| network(known.ip()) == network(socket.ip());
        if targets.len() < TARGETS_MAX
            && !targets.contains(&socket)
            && targets.iter().filter(near).count() < TARGETS_PER_NETWORK_MAX
        {
            targets.push(socket);
        }
    }
    targets
}

/// What one side's probes are recognised by: the first 96 bits of a hash that only who knows the
/// nonce can compute, of this opener and this answerer: nobody can have a third node take the
/// probes of one punch for those of another.
pub(super) fn probe_id(
    nonce: &[u8; 16],
    [opener, other]: [NodeId; 2],
    by_opener: bool,
) -> TransactionId {
    let hash = blake3::keyed_hash(
        blake3::hash(b"peerstage/punch/1").as_bytes(),
        &[nonce.as_slice(), &opener.0, &other.0, &[u8::from(by_opener)]].concat(),
    );
    let mut id = [0; 12];
    id.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    TransactionId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_belong_to_two_nodes_a_nonce_and_a_side() {
        let [a, b, c] = [1, 2, 3].map(|n| NodeId([n; 32]));
        let ids = [
            probe_id(&[9; 16], [a, b], true),
            probe_id(&[9; 16], [a, b], false),
            probe_id(&[9; 16], [b, a], true),
            probe_id(&[9; 16], [a, c], true),
            probe_id(&[8; 16], [a, b], true),
        ];
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        let sides = [(true, [a, b]), (false, [b, a])];
        let [ours, theirs] =
            sides.map(|(opener, nodes)| Attempt::new(Time(0), opener, [9; 16], nodes));
        assert_eq!(ours.probe, stun::binding_request(theirs.expects));
        assert_eq!(theirs.probe, stun::binding_request(ours.expects));
    }

    /// What is sent in a window is what the budget of one machine is made for.
    #[test]
    fn ten_probes_go_to_an_address_in_one_window() {
        let mut attempt = Attempt::new(Time(0), true, [1; 16], [NodeId([1; 32]), NodeId([2; 32])]);
        attempt.targets = vec!["66.1.1.1:1".parse().unwrap()];
        attempt.start(Time(700));
        let mut sent = 0;
        while attempt.next < attempt.until {
            sent += attempt.on_turn(attempt.next).len();
        }
        assert_eq!(sent, PROBES_MAX);
    }
}
