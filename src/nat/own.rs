//! What a node says of itself to one that it punches with, and what it knows to judge the other by.
//!
//! # Security
//! Provided: whoever asks learns only addresses that strangers could use, never one of the LAN, and
//! only what the operator says if that is configured; one network group's peers have one word, and
//! what peers say takes few places.
//! Not provided: secrecy of where servers and peers see the node, which is told before enough of
//! them agree for the record.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

use super::{CANDIDATES_MAX, Candidate, Mapping, NatTraversal};
use crate::address::{Address, TransportKind};

/// Places that are named because peers see our UDP port there: a NAT with a port for each
/// destination shows as many as there are peers, and none of them is right.
const SAID_MAX: usize = 3;
/// IPs that are named because peers see us at them.
const SAID_IPS_MAX: usize = 2;

/// Where a node is, for those that it punches with.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    /// Where our UDP port may be, for whoever asks. Believed or not: a wrong one costs the other
    /// side a few datagrams.
    pub(super) told: Vec<Address>,
    /// Where we surely are on the internet, or enough others say so.
    pub(super) believed: BTreeSet<IpAddr>,
    /// How the NAT maps our UDP port.
    pub(super) mapping: Mapping,
}

/// What one machine has: an IPv4 address, a /64 of IPv6.
pub(super) fn household(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// What one customer has at most: a /24 of IPv4, a /48 of IPv6 (RFC 6177 section 2).
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

impl NatTraversal {
    /// Where this node is, by all that is known.
    pub(super) fn own(&self, candidates: &[Candidate]) -> Own {
        let mut own = Own {
            believed: self.believed_ips(candidates),
            mapping: self.mapping(true),
            ..Own::default()
        };
        let told = candidates.iter().map(|candidate| candidate.address);
        // What the operator says is all that is told.
        let is_configured = !self.config.external.is_empty();
        let others = if is_configured { Vec::new() } else { self.unconfirmed() };
        for address in told.chain(others) {
            if address.transport() != TransportKind::Quic || address.ip().is_loopback() {
                continue;
            }
            let counts = is_configured || self.counts(&address);
            if counts && own.told.len() < CANDIDATES_MAX && !own.told.contains(&address) {
                own.told.push(address);
            }
        }
        own
    }

    /// Where our UDP port may be besides what is told to everybody, the likeliest first.
    fn unconfirmed(&self) -> Vec<Address> {
        let quic = |socket| Address::from(socket).over(TransportKind::Quic);
        let counts = |address: &Address| self.counts(address);
        let seen = self.prober.seen(true).into_iter().map(quic);
        let said = self.witnesses.said_of_udp(counts).into_iter().take(SAID_MAX).map(quic);
        // Whoever filters by address alone wants the IP only.
        let ips = self.witnesses.said_ips(counts).into_iter().take(SAID_IPS_MAX);
        let ips = ips.filter_map(|ip| {
            let fits = |l: &&Address| {
                l.transport() == TransportKind::Quic && l.ip().is_ipv4() == ip.is_ipv4()
            };
            let port = self.config.listening.iter().find(fits)?.port();
            Some(Address::new(ip, port).over(TransportKind::Quic))
        });
        seen.chain(said).chain(self.own_addresses()).chain(ips).collect()
    }

    fn believed_ips(&self, candidates: &[Candidate]) -> BTreeSet<IpAddr> {
        // Through a relay the IP is the relay's.
        let told = candidates.iter().map(|candidate| candidate.address);
        let told = told.filter(|address| !address.is_circuit()).map(|address| address.ip());
        let said = [true, false]
            .into_iter()
            .flat_map(|is_v4| self.witnesses.ip(is_v4).into_iter().chain(self.stun_ip(is_v4)));
        told.chain(said).filter(|ip| Address::new(*ip, 1).is_routable()).collect()
    }
}
