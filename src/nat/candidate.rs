//! Addresses at which strangers may try, and how they are known.

use std::net::{IpAddr, SocketAddr};

use super::{Mapping, NatTraversal};
use crate::{
    address::{Address, TransportKind},
    record::ADDRESSES_MAX,
};

/// What made an address known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The operator's configuration.
    Configured,
    /// The node listens at this very address.
    Listening,
    /// The node listens everywhere, and this is one of the machine's addresses.
    Interface,
    /// The router maps it to us.
    Mapped,
    /// STUN servers see our UDP port there.
    Stun,
    /// Peers see us there.
    Peers,
    /// A peer there carries circuits to us.
    Relayed,
}

impl Origin {
    /// In a word, for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Origin::Configured => "configured",
            Origin::Listening => "listening",
            Origin::Interface => "interface",
            Origin::Mapped => "mapped",
            Origin::Stun => "stun",
            Origin::Peers => "peers",
            Origin::Relayed => "relayed",
        }
    }

    /// Whether it is surely ours. What others say of us may be somebody else's, and such an address
    /// must not be struck from our own book.
    #[must_use]
    pub const fn is_certain(self) -> bool {
        matches!(self, Origin::Configured | Origin::Listening | Origin::Interface | Origin::Mapped)
    }
}

/// An address at which strangers may try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where.
    pub address: Address,
    /// How it is known.
    pub origin: Origin,
}

/// What the record says of where the node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Where strangers may try, the surest first.
    pub addresses: Vec<Address>,
    /// Whether a NAT is in front of the node: whoever dials it does well to have it send too.
    pub behind_nat: bool,
}

impl Told {
    /// What is told before anything is known but the configuration. A node that knows no address of
    /// its own yet is better helped in vain than not at all: the next record may be seconds away.
    #[must_use]
    pub fn at_start(addresses: Vec<Address>) -> Self {
        Told { behind_nat: addresses.is_empty(), addresses }
    }

    /// What is to be told of these. `is_usable` says whether an address is one that whoever hears
    /// of it could dial.
    ///
    /// A node is behind a NAT if by one of the IP families only others' words place it, or if it
    /// knows of no address at all: a machine with a public IPv6 address has a NAT in front of its
    /// IPv4, and one whose operator names a private address of it has one all the same.
    #[must_use]
    pub fn of(candidates: &[Candidate], is_usable: impl Fn(&Address) -> bool) -> Self {
        let counts = |address: &Address| !address.is_circuit() && is_usable(address);
        let usable: Vec<_> = candidates.iter().filter(|own| counts(&own.address)).collect();
        let is_placed = |is_v4: bool| {
            let family = || usable.iter().filter(|own| own.address.ip().is_ipv4() == is_v4);
            family().next().is_none() || family().any(|own| own.origin.is_certain())
        };
        let behind_nat = usable.is_empty() || !is_placed(true) || !is_placed(false);
        // The ways through relays come last, and are the only ones when they are told: a record has
        // room for so many addresses.
        let all = candidates.iter().map(|own| own.address);
        let circuits: Vec<Address> = all.clone().filter(Address::is_circuit).collect();
        let room = ADDRESSES_MAX.saturating_sub(circuits.len());
        let direct = all.filter(|address| !address.is_circuit()).take(room);
        Told { addresses: direct.chain(circuits).collect(), behind_nat }
    }
}

impl NatTraversal {
    /// Where strangers may try, the surest first; through relays last.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let mut all = self.direct_candidates();
        if self.tells_relays {
            let circuit = |address| Candidate { address, origin: Origin::Relayed };
            all.extend(self.relays.circuits().map(circuit));
        }
        all
    }

    /// Where strangers may try without anybody's help.
    pub(super) fn direct_candidates(&self) -> Vec<Candidate> {
        if !self.config.external.is_empty() {
            let configured =
                |address: &Address| Candidate { address: *address, origin: Origin::Configured };
            return self.config.external.iter().map(configured).collect();
        }
        let mut found: Vec<Candidate> = Vec::new();
        let mut add = |address: Address, origin: Origin| {
            let new = found.iter().all(|known| known.address != address);
            // One address is the operator's choice, whatever it is.
            let counts = match origin {
                Origin::Listening => address.is_dialable(),
                Origin::Interface => self.counts(&address) && !address.ip().is_loopback(),
                _ => self.counts(&address),
            };
            if new && counts {
                found.push(Candidate { address, origin });
            }
        };
        let named = self.config.listening.iter().filter(|l| !l.ip().is_unspecified());
        named.for_each(|listening| add(*listening, Origin::Listening));
        let (public, private): (Vec<_>, Vec<_>) =
            self.own_addresses().into_iter().partition(Address::is_routable);
        public.into_iter().for_each(|address| add(address, Origin::Interface));
        for listening in self.config.listening.iter().filter(|l| !l.ip().is_loopback()) {
            let (transport, is_v4) = (listening.transport(), listening.ip().is_ipv4());
            if let Some(address) = self.leases.external(transport).filter(|_| is_v4) {
                add(address, Origin::Mapped);
            }
            if let Some((address, origin)) = self.reflexive(listening) {
                add(address, origin);
            }
        }
        // Last: a record has room for a few, and a machine may have dozens of bridges.
        private.into_iter().for_each(|address| add(address, Origin::Interface));
        found
    }

    /// The machine's addresses at which this node listens by listening everywhere.
    pub(super) fn own_addresses(&self) -> Vec<Address> {
        let everywhere = self.config.listening.iter().filter(|l| l.ip().is_unspecified());
        let each = everywhere.flat_map(|listening| {
            let of_family = |ip: &&IpAddr| ip.is_ipv4() == listening.ip().is_ipv4();
            let at = |ip: &IpAddr| Address::new(*ip, listening.port()).over(listening.transport());
            self.interfaces.iter().filter(of_family).map(at)
        });
        each.collect()
    }

    /// Where STUN servers see us, whatever the port, if two at least agree.
    pub(super) fn stun_ip(&self, is_v4: bool) -> Option<IpAddr> {
        let seen = self.prober.seen(is_v4);
        let ip = seen.first()?.ip();
        let several = seen.len() > 1 || self.mapping(is_v4) == Mapping::EndpointIndependent;
        (several && seen.iter().all(|other| other.ip() == ip)).then_some(ip)
    }

    /// Where others see what we listen at, if that is not one of the machine's own addresses.
    fn reflexive(&self, listening: &Address) -> Option<(Address, Origin)> {
        let (transport, is_v4) = (listening.transport(), listening.ip().is_ipv4());
        let stun = || match (self.mapping(is_v4), self.prober.seen(is_v4).as_slice()) {
            (Mapping::EndpointIndependent, [seen]) => Some(*seen),
            _ => None,
        };
        let (seen, origin) = match transport {
            TransportKind::Quic => match self.witnesses.udp(is_v4) {
                Some(seen) => (seen, Origin::Peers),
                None => (stun()?, Origin::Stun),
            },
            // A connection that leaves shows another port than the one that is listened at. Whoever
            // forwards that port keeps its number, nearly always.
            _ => match self.witnesses.ip(is_v4) {
                Some(ip) => (SocketAddr::new(ip, listening.port()), Origin::Peers),
                // Also where each server sees another port: whoever dials it learns that we are
                // there, and a hole may be punched.
                None => (SocketAddr::new(self.stun_ip(is_v4)?, listening.port()), Origin::Stun),
            },
        };
        // Behind our own mapping it is the router's, and the mapping says which port.
        let is_mapped = self.leases.external(transport).is_some_and(|ours| ours.ip() == seen.ip());
        let is_own = self.interfaces.contains(&seen.ip());
        (!is_mapped && !is_own).then(|| (Address::from(seen).over(transport), origin))
    }
}
