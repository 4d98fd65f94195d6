//! Who comes to this node without having been dialled.
//!
//! # Security
//! Provided: whom this node talks to, or has talked to lately, is no stranger, as a NAT lets it in
//! whatever the others find; memory is bounded.
//! Not provided: certainty for longer than ten minutes after the last packet.
//! Memory is bounded by forgetting what was dialled longest ago.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    address::{Address, TransportKind},
    identity::NodeId,
    time::{Millis, Time},
};

/// How long an address is no stranger's after it was dialled, or after the connection that came
/// of it has ended, ms: longer than NATs keep an idle TCP mapping's remains, and UDP ones without traffic (RFC 4787 section 4.3: 2 minutes or more).
pub(super) const DIALLED_FOR: Millis = 10 * 60 * 1_000;
/// How long it is taken for granted that strangers come, after the last one did, ms. A guess: the
/// feelers of a large network come several times in it; in a small one relays are told too.
pub(super) const CAME_FOR: Millis = 6 * 60 * 60 * 1_000;
/// IPs that were dialled and are remembered.
const DIALLED_MAX: usize = 1_024;

/// All of them, and those who are none.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers {
    /// When one came last, by transport.
    came: BTreeMap<TransportKind, Time>,
    /// When an IP was dialled last, or a connection that was dialled ended.
    dialled: BTreeMap<IpAddr, Time>,
    /// Where the peers are that were dialled and are connected.
    outbound: BTreeMap<NodeId, IpAddr>,
}

impl Strangers {
    /// Packets go there.
    pub(super) fn on_dial(&mut self, now: Time, ip: IpAddr) {
        self.remember(now, ip);
    }

    /// A peer that was dialled is connected.
    pub(super) fn on_dialled(&mut self, now: Time, peer: NodeId, ip: IpAddr) {
        self.remember(now, ip);
        if self.outbound.len() < DIALLED_MAX || self.outbound.contains_key(&peer) {
            self.outbound.insert(peer, ip);
        }
    }

    /// Somebody came, from an address that strangers can have. Whoever punches with us does not go
    /// through here: what others have us send must not push out whom we dialled ourselves.
    pub(super) fn on_came(&mut self, now: Time, remote: &Address) {
        self.dialled.retain(|_, since| now.since(*since) < DIALLED_FOR);
        let ip = remote.ip();
        let known = self.dialled.contains_key(&ip) || self.outbound.values().any(|o| *o == ip);
        if !known {
            self.came.insert(remote.transport(), now);
        }
    }

    /// A peer is gone. Its packets come in for as long as the NAT remembers the last of ours.
    pub(super) fn on_gone(&mut self, now: Time, peer: &NodeId) {
        if let Some(ip) = self.outbound.remove(peer) {
            self.remember(now, ip);
        }
    }

    /// This is another network: who came in the old one says nothing.
    pub(super) fn move_on(&mut self) {
        self.came.clear();
    }

    /// Whether any came over this transport.
    pub(super) fn came(&self, transport: TransportKind) -> bool {
        self.came.contains_key(&transport)
    }

    /// Whether any came lately.
    pub(super) fn came_lately(&self, now: Time) -> bool {
        self.came.values().any(|last| now.since(*last) < CAME_FOR)
    }

    /// If there are too many, the one that was dialled longest ago is forgotten.
    fn remember(&mut self, now: Time, ip: IpAddr) {
        if self.dialled.len() >= DIALLED_MAX && !self.dialled.contains_key(&ip) {
            let oldest = self.dialled.iter().min_by_key(|(_, since)| **since).map(|(ip, _)| *ip);
            if let Some(oldest) = oldest {
                self.dialled.remove(&oldest);
            }
        }
        self.dialled.insert(ip, now);
    }
}
