//! Where strangers can reach this node, found out without anybody's help but the peers'.
//!
//! A node that listens at every address of its machine, as most do, has to learn which of them
//! others can use: its interfaces, where peers and STUN servers see it, what its router maps. What
//! is believed goes into the node's signed record, and so to everybody.
//!
//! Sources: RFC 8445 section 5.1.1 (kinds of candidates), RFC 4787 (what NATs do), RFC 8489 (STUN).
//!
//! # Security
//! Provided: no address is told that fewer than three network groups or the node's own machine,
//! router or servers vouch for (attack rows 21, 34); nothing is counted as reachable because of a
//! peer that this node had dialled, whose packets a NAT lets in anyway; all memory is bounded.
//! Not provided: a proof that an address is reachable before it is told. Others test it before they
//! pass it on as tried ([`crate::book`]), and whoever dials it learns who answers.

mod candidate;
mod gateway;
mod prober;
mod strangers;
mod stun;
mod verdict;
mod witnesses;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

pub use candidate::{Candidate, Origin};
use gateway::Leases;
pub use gateway::{Gateway, Granted, Method};
pub use prober::Mapping;
use prober::Prober;
use strangers::Strangers;
pub use stun::{Answer, StunError, TransactionId, binding_request, read_answer};
pub use verdict::{Reachability, Verdict};
pub use witnesses::WITNESSES;
use witnesses::Witnesses;

use crate::{
    address::{Address, TransportKind},
    identity::NodeId,
    time::{Millis, Time, earliest},
};

/// Between two looks at the machine's interfaces, ms: a change is noticed within a minute.
const LOOK_INTERVAL: Millis = 30_000;

/// What is known from the start.
#[derive(Clone, Debug, Default)]
pub struct NatConfig {
    /// Where the node listens, with the ports that were chosen.
    pub listening: Vec<Address>,
    /// What the operator says; then nothing else is told.
    pub external: Vec<Address>,
    /// Whether addresses that no stranger could reach count too: a private network.
    pub allow_private: bool,
    /// Whether routers are asked to map ports.
    pub port_mapping: bool,
}

/// Orders to the actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this from the node's UDP port.
    Ask {
        /// The STUN server.
        server: SocketAddr,
        /// The request.
        request: [u8; 20],
    },
    /// Tell [`NatTraversal::on_interfaces`] what addresses the machine has.
    LookAtInterfaces,
    /// Ask the router to map this port, and tell [`NatTraversal::on_granted`].
    Map {
        /// TCP's or QUIC's, which is UDP's.
        transport: TransportKind,
        /// Inside, and outside if that is free.
        port: u16,
    },
    /// Strangers should try these: sign them.
    Announce(Vec<Candidate>),
}

/// The machine.
#[derive(Clone, Debug)]
pub struct NatTraversal {
    config: NatConfig,
    interfaces: Vec<IpAddr>,
    witnesses: Witnesses,
    prober: Prober,
    leases: Leases,
    announced: Vec<Candidate>,
    /// Since when it is in this network.
    since: Time,
    strangers: Strangers,
    next_look: Time,
    rng: ChaCha20Rng,
}

impl NatTraversal {
    /// A node that knows nothing but its configuration.
    #[must_use]
    pub fn new(config: NatConfig, seed: [u8; 32]) -> Self {
        NatTraversal {
            leases: Leases::new(&config),
            config,
            interfaces: Vec::new(),
            witnesses: Witnesses::default(),
            prober: Prober::new(&[], Time::ZERO),
            announced: Vec::new(),
            since: Time::ZERO,
            strangers: Strangers::default(),
            next_look: Time::NEVER,
            rng: ChaCha20Rng::from_seed(seed),
        }
    }

    /// Begins to look around.
    pub fn on_start(&mut self, now: Time, out: &mut Vec<Action>) {
        self.next_look = now;
        self.since = now;
        self.on_deadline(now, out);
        self.announce(out);
    }

    /// The STUN servers, by address; the names of the configuration may change theirs.
    pub fn set_stun_servers(&mut self, now: Time, servers: &[SocketAddr], out: &mut Vec<Action>) {
        self.prober.set_servers(servers, now);
        self.on_deadline(now, out);
    }

    /// The machine has these addresses. Those that hold on one link only are left out: no stranger
    /// can use them, and they come and go with every container.
    pub fn on_interfaces(&mut self, now: Time, mut ips: Vec<IpAddr>, out: &mut Vec<Action>) {
        ips.retain(|ip| !is_link_local(ip));
        if self.interfaces == ips {
            return;
        }
        let v4 = |ips: &[IpAddr]| ips.iter().copied().filter(IpAddr::is_ipv4).collect::<Vec<_>>();
        let has_moved = v4(&self.interfaces) != v4(&ips);
        self.interfaces = ips;
        if has_moved {
            // Another network: what was mapped in the old one is worth nothing, nor who came there.
            self.leases.reset(now, self.wants_mapping());
            self.strangers.move_on();
            self.since = now;
        }
        self.on_deadline(now, out);
        self.announce(out);
    }

    /// A connection with a peer is open; the peer says where it sees us.
    pub fn on_peer(
        &mut self,
        now: Time,
        (peer, remote, outbound): (NodeId, Address, bool),
        observed: Address,
        out: &mut Vec<Action>,
    ) {
        self.witnesses.say(peer, remote.group(), observed);
        if outbound {
            self.strangers.on_dialled(now, peer, remote.ip());
        } else if self.counts(&remote) && !self.is_own(&remote.ip()) {
            self.strangers.on_came(now, &remote);
        }
        self.announce(out);
    }

    /// An address is being dialled: whoever is there is no stranger for a while.
    pub fn on_dialled(&mut self, now: Time, address: &Address) {
        self.strangers.on_dial(now, address.ip());
    }

    /// A connection with a peer has ended.
    pub fn on_peer_gone(&mut self, now: Time, peer: &NodeId, out: &mut Vec<Action>) {
        self.witnesses.forget(peer);
        self.strangers.on_gone(now, peer);
        self.announce(out);
    }

    /// A datagram that is not QUIC's came to the UDP port. False if it is no answer of ours.
    pub fn on_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut Vec<Action>,
    ) -> bool {
        let is_ours = self.prober.on_datagram(now, from, datagram);
        if is_ours {
            self.announce(out);
        }
        is_ours
    }

    /// The router has mapped a port, or has not: then why.
    pub fn on_granted(
        &mut self,
        now: Time,
        transport: TransportKind,
        granted: Result<Granted, String>,
        out: &mut Vec<Action>,
    ) {
        let allow_private = self.config.allow_private;
        self.leases.on_granted(now, transport, granted, allow_private);
        self.announce(out);
    }

    /// A deadline has come.
    pub fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        if now >= self.next_look {
            self.next_look = now.plus(LOOK_INTERVAL);
            out.push(Action::LookAtInterfaces);
        }
        let due = self.prober.due(now, &mut self.rng);
        out.extend(due.into_iter().map(|(server, request)| Action::Ask { server, request }));
        let due = self.leases.due(now);
        out.extend(due.into_iter().map(|(transport, port)| Action::Map { transport, port }));
        self.announce(out);
    }

    /// When [`NatTraversal::on_deadline`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let next = earliest(Some(self.next_look), self.prober.deadline());
        earliest(next, self.leases.deadline())
    }

    /// Everything that is known.
    #[must_use]
    pub fn reachability(&self, now: Time) -> Reachability {
        let mut transports: Vec<TransportKind> =
            self.config.listening.iter().map(|address| address.transport()).collect();
        transports.sort();
        transports.dedup();
        let candidates = self.candidates();
        let verdict = |transport| (transport, self.verdict(now, transport, &candidates));
        Reachability {
            verdicts: transports.into_iter().map(verdict).collect(),
            mapping: self.mapping(true),
            gateways: self.leases.gateways(),
            candidates,
        }
    }

    /// Where strangers may try, the surest first.
    fn candidates(&self) -> Vec<Candidate> {
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
    fn own_addresses(&self) -> Vec<Address> {
        let everywhere = self.config.listening.iter().filter(|l| l.ip().is_unspecified());
        let each = everywhere.flat_map(|listening| {
            let of_family = |ip: &&IpAddr| ip.is_ipv4() == listening.ip().is_ipv4();
            let at = |ip: &IpAddr| Address::new(*ip, listening.port()).over(listening.transport());
            self.interfaces.iter().filter(of_family).map(at)
        });
        each.collect()
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
                None => (SocketAddr::new(stun()?.ip(), listening.port()), Origin::Stun),
            },
        };
        // Behind our own mapping it is the router's, and the mapping says which port.
        let is_mapped = self.leases.external(transport).is_some_and(|ours| ours.ip() == seen.ip());
        let is_own = self.interfaces.contains(&seen.ip());
        (!is_mapped && !is_own).then(|| (Address::from(seen).over(transport), origin))
    }

    fn mapping(&self, is_v4: bool) -> Mapping {
        self.prober.mapping(is_v4, |seen| self.interfaces.contains(&seen.ip()))
    }

    /// Whether an address is one that strangers could use.
    fn counts(&self, address: &Address) -> bool {
        if self.config.allow_private { address.is_dialable() } else { address.is_routable() }
    }

    /// Whether it is this machine, or a neighbour whose packets our own router turns around (RFC
    /// 4787 section 6).
    fn is_own(&self, ip: &IpAddr) -> bool {
        self.interfaces.contains(ip) || self.announced.iter().any(|own| own.address.ip() == *ip)
    }

    /// A machine with a public address needs no mapping.
    fn wants_mapping(&self) -> bool {
        let public = |ip: &IpAddr| ip.is_ipv4() && Address::new(*ip, 1).is_routable();
        self.config.port_mapping
            && self.config.external.is_empty()
            && !self.interfaces.iter().any(public)
    }

    fn announce(&mut self, out: &mut Vec<Action>) {
        let candidates = self.candidates();
        if candidates != self.announced {
            self.announced.clone_from(&candidates);
            out.push(Action::Announce(candidates));
        }
    }

    /// What was announced last has not arrived: it is announced again at the next deadline.
    pub fn on_unheard(&mut self) {
        self.announced.clear();
    }
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
