//! What peers say of where they see this node.
//!
//! # Security
//! Provided: an address is believed only while peers in [`WITNESSES`] network groups say the same,
//! one word for each peer, so that a liar needs that many neighbourhoods (attack row 21); memory
//! is bounded by the number of peers.
//! Not provided: defence against whoever owns most of the peers' neighbourhoods.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use crate::{
    address::{Address, NetworkGroup, TransportKind},
    identity::NodeId,
};

/// Network groups that must agree. libp2p's AutoNAT wants more than three answers; these are
/// neighbourhoods, which are dearer.
pub const WITNESSES: usize = 3;
/// Peers whose words are kept. More than there are places for peers by default.
const SAYINGS_MAX: usize = 1_024;

/// One peer's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Saying {
    group: NetworkGroup,
    seen: Address,
}

/// The words of all peers there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Witnesses {
    sayings: BTreeMap<NodeId, Saying>,
}

impl Witnesses {
    /// A peer of this neighbourhood sees us there.
    pub(super) fn say(&mut self, peer: NodeId, group: NetworkGroup, seen: Address) {
        if self.sayings.len() < SAYINGS_MAX || self.sayings.contains_key(&peer) {
            self.sayings.insert(peer, Saying { group, seen });
        }
    }

    /// A peer is gone.
    pub(super) fn forget(&mut self, peer: &NodeId) {
        self.sayings.remove(peer);
    }

    /// The IP that most neighbourhoods name, if enough do.
    pub(super) fn ip(&self, is_v4: bool) -> Option<IpAddr> {
        let of_family = |saying: &Saying| saying.seen.ip().is_ipv4() == is_v4;
        self.agreed(|saying| of_family(saying).then(|| saying.seen.ip()))
    }

    /// The socket at which most neighbourhoods see our UDP port, if enough do.
    pub(super) fn udp(&self, is_v4: bool) -> Option<SocketAddr> {
        self.agreed(|saying| {
            let seen = saying.seen;
            let fits = seen.transport() == TransportKind::Quic && seen.ip().is_ipv4() == is_v4;
            fits.then(|| seen.socket())
        })
    }

    /// Where peers see our UDP port, believed or not, the most said first.
    pub(super) fn said_of_udp(&self, counts: impl Fn(&Address) -> bool) -> Vec<SocketAddr> {
        self.said(|saying| {
            let of_udp = saying.seen.transport() == TransportKind::Quic && counts(&saying.seen);
            of_udp.then(|| saying.seen.socket())
        })
    }

    /// The IPs that peers see us at, believed or not, the most said first.
    pub(super) fn said_ips(&self, counts: impl Fn(&Address) -> bool) -> Vec<IpAddr> {
        self.said(|saying| counts(&saying.seen).then(|| saying.seen.ip()))
    }

    /// What neighbourhoods say, one word each: what most of its peers say. The most said first; of
    /// two equals the lower, so that the answer does not flutter.
    fn said<T: Ord + Copy>(&self, word: impl Fn(&Saying) -> Option<T>) -> Vec<T> {
        let mut words: BTreeMap<NetworkGroup, BTreeMap<T, usize>> = BTreeMap::new();
        for saying in self.sayings.values() {
            if let Some(said) = word(saying) {
                let count = words.entry(saying.group).or_default().entry(said).or_default();
                *count = count.saturating_add(1);
            }
        }
        let mut groups: BTreeMap<T, usize> = BTreeMap::new();
        for of_group in words.values() {
            if let Some((said, _)) = of_group.iter().rev().max_by_key(|(_, count)| **count) {
                let count = groups.entry(*said).or_default();
                *count = count.saturating_add(1);
            }
        }
        let mut all: Vec<(T, usize)> = groups.into_iter().collect();
        all.sort_by_key(|(said, count)| (std::cmp::Reverse(*count), *said));
        all.into_iter().map(|(said, _)| said).collect()
    }

    /// What most neighbourhoods say, if enough do; of two equally believed ones the lower, so that
    /// the answer does not flutter.
    fn agreed<T: Ord + Copy>(&self, word: impl Fn(&Saying) -> Option<T>) -> Option<T> {
        let mut groups: BTreeMap<T, BTreeSet<NetworkGroup>> = BTreeMap::new();
        for saying in self.sayings.values() {
            if let Some(said) = word(saying) {
                groups.entry(said).or_default().insert(saying.group);
            }
        }
        let best = groups.iter().rev().max_by_key(|(_, groups)| groups.len());
        best.filter(|(_, groups)| groups.len() >= WITNESSES).map(|(said, _)| *said)
    }
}
