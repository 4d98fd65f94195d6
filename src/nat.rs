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

mod attempt;
mod backoff;
mod budget;
mod candidate;
mod gateway;
mod own;
mod prober;
mod punch;
mod puncher;
mod punching;
mod relays;
mod roster;
mod strangers;
mod stun;
mod verdict;
mod witnesses;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

pub use attempt::TARGETS_MAX;
pub use candidate::{Candidate, Origin, Told};
use gateway::Leases;
pub use gateway::{Gateway, Granted, Method};
pub use prober::Mapping;
use prober::Prober;
pub use punch::{
    CANDIDATES_MAX, MESSAGE_MAX, PunchAction, PunchMessage, PunchOutcome, PunchStep, Punched,
};
use puncher::Puncher;
pub use puncher::{ANSWERED_MAX, OPENED_MAX};
pub use relays::RELAYS_TOLD;
use relays::Relays;
use strangers::Strangers;
pub use stun::{Answer, StunError, TransactionId, binding_request, read_answer, read_request};
pub use verdict::{Reachability, Verdict};
pub use witnesses::WITNESSES;
use witnesses::Witnesses;

use crate::{
    address::{Address, NetworkGroup, TransportKind},
    identity::NodeId,
    time::{Millis, Time, earliest},
};

/// Between two looks at the machine's interfaces, ms: a change is noticed within a minute.
const LOOK_INTERVAL: Millis = 30_000;

/// What is known from the start.
#[derive(Clone, Debug)]
pub struct NatConfig {
    /// The node.
    pub node: NodeId,
    /// Where the node listens, with the ports that were chosen.
    pub listening: Vec<Address>,
    /// What the operator says; then nothing else is told.
    pub external: Vec<Address>,
    /// Whether addresses that no stranger could reach count too: a private network.
    pub allow_private: bool,
    /// Whether routers are asked to map ports.
    pub port_mapping: bool,
    /// Whether holes are punched.
    pub hole_punching: bool,
    /// The node's Noise key, for those that answer.
    pub noise_key: [u8; 32],
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
    /// Make a hole in a NAT.
    Punch(PunchAction),
}

/// The machine.
#[derive(Clone, Debug)]
pub struct NatTraversal {
    config: NatConfig,
    interfaces: Vec<IpAddr>,
    witnesses: Witnesses,
    relays: Relays,
    /// Whether the ways through relays are told.
    tells_relays: bool,
    /// Where peers saw it last, over IPv4 and IPv6.
    outside: [Option<IpAddr>; 2],
    prober: Prober,
    leases: Leases,
    puncher: Puncher,
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
        let mut rng = ChaCha20Rng::from_seed(seed);
        NatTraversal {
            leases: Leases::new(&config),
            puncher: Puncher::new(
                config.node,
                config.allow_private,
                config.noise_key,
                ChaCha20Rng::from_rng(&mut rng),
            ),
            config,
            interfaces: Vec::new(),
            witnesses: Witnesses::default(),
            relays: Relays::default(),
            tells_relays: false,
            outside: [None; 2],
            prober: Prober::new(&[], Time::ZERO),
            announced: Vec::new(),
            since: Time::ZERO,
            strangers: Strangers::default(),
            next_look: Time::NEVER,
            rng,
        }
    }

    /// Begins to look around.
    pub fn on_start(&mut self, now: Time, out: &mut Vec<Action>) {
        self.next_look = now;
        self.since = now;
        self.on_deadline(now, out);
        self.announce(now, out);
    }

    /// The STUN servers, by address; the names of the configuration may change theirs.
    pub fn set_stun_servers(&mut self, now: Time, servers: &[SocketAddr], out: &mut Vec<Action>) {
        self.prober.set_servers(servers, now);
        self.on_deadline(now, out);
        self.announce(now, out);
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
            self.puncher.move_on();
            self.since = now;
        }
        self.on_deadline(now, out);
        self.announce(now, out);
    }

    /// A connection with a peer is open; the peer says where it sees us.
    pub fn on_peer(
        &mut self,
        now: Time,
        (peer, remote, outbound): (NodeId, Address, bool),
        observed: Address,
        out: &mut Vec<Action>,
    ) {
        self.witnesses.say(peer, self.group_of(&remote), observed);
        self.look_outside();
        let ip = remote.ip();
        // Whom our packets let in is no stranger.
        let is_let_in = self.is_own(&ip) || self.puncher.was_sent(now, ip);
        self.punch(out, |puncher, out| puncher.on_connected(now, (peer, remote), out));
        if outbound {
            self.strangers.on_dialled(now, peer, ip);
        } else if self.counts(&remote) && !is_let_in {
            self.strangers.on_came(now, &remote);
        }
        self.announce(now, out);
    }

    /// An address is being dialled: whoever is there is no stranger for a while.
    pub fn on_dialled(&mut self, now: Time, address: &Address) {
        self.strangers.on_dial(now, address.ip());
    }

    /// A connection with a peer has ended.
    pub fn on_peer_gone(&mut self, now: Time, peer: &NodeId, out: &mut Vec<Action>) {
        self.witnesses.forget(peer);
        self.relays.forget(now, peer);
        self.strangers.on_gone(now, peer);
        self.puncher.on_gone(peer);
        self.announce(now, out);
    }

    /// A datagram that is not QUIC's came to the UDP port. False if it is no answer of ours.
    pub fn on_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut Vec<Action>,
    ) -> bool {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        // Anybody can send one of these, in anybody's name: it costs a look at a few numbers.
        if let Some(id) = stun::read_request(datagram) {
            return self.punch(out, |puncher, out| puncher.on_probe(now, from, id, out));
        }
        let is_ours = self.prober.on_datagram(now, from, datagram);
        if is_ours {
            self.announce(now, out);
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
        self.announce(now, out);
    }

    /// A deadline has come.
    pub fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        self.punch(out, |puncher, out| puncher.on_deadline(now, out));
        // A punch has one ten times a second; nothing of the rest changes by it.
        if self.deadline_of_rest().is_none_or(|at| at > now) {
            return;
        }
        if now >= self.next_look {
            self.next_look = now.plus(LOOK_INTERVAL);
            out.push(Action::LookAtInterfaces);
        }
        let due = self.prober.due(now, &mut self.rng);
        out.extend(due.into_iter().map(|(server, request)| Action::Ask { server, request }));
        let due = self.leases.due(now);
        out.extend(due.into_iter().map(|(transport, port)| Action::Map { transport, port }));
        self.announce(now, out);
    }

    fn deadline_of_rest(&self) -> Option<Time> {
        let next = earliest(Some(self.next_look), self.prober.deadline());
        earliest(next, self.leases.deadline())
    }

    /// When [`NatTraversal::on_deadline`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        earliest(self.deadline_of_rest(), self.puncher.deadline())
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

    fn mapping(&self, is_v4: bool) -> Mapping {
        self.prober.mapping(is_v4, |seen| self.interfaces.contains(&seen.ip()))
    }

    /// The neighbourhood of a peer. In a private network, where neighbourhoods say nothing, each
    /// machine is one.
    fn group_of(&self, remote: &Address) -> NetworkGroup {
        match remote.ip() {
            IpAddr::V4(ip) if self.config.allow_private && !remote.is_routable() => {
                let [a, b, c, d] = ip.octets();
                NetworkGroup([0, a, b, c, d])
            }
            _ => remote.group(),
        }
    }

    /// Whether an address is one that strangers could use.
    fn counts(&self, address: &Address) -> bool {
        if self.config.allow_private { address.is_dialable() } else { address.is_routable() }
    }

    /// Whether it is this machine, or a neighbour whose packets our own router turns around (RFC
    /// 4787 section 6).
    fn is_own(&self, ip: &IpAddr) -> bool {
        let direct = self.announced.iter().filter(|own| !own.address.is_circuit());
        self.interfaces.contains(ip) || direct.into_iter().any(|own| own.address.ip() == *ip)
    }

    /// A machine with a public address needs no mapping.
    fn wants_mapping(&self) -> bool {
        let public = |ip: &IpAddr| ip.is_ipv4() && Address::new(*ip, 1).is_routable();
        self.config.port_mapping
            && self.config.external.is_empty()
            && !self.interfaces.iter().any(public)
    }

    /// Something of what is known may have changed.
    fn announce(&mut self, now: Time, out: &mut Vec<Action>) {
        self.tells_relays = self.wants_relays(now);
        self.relays.rotate(now);
        let candidates = self.candidates();
        self.puncher.set_own(self.own(&candidates));
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
