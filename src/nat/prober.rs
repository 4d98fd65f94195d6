//! Asks STUN servers where they see this node's UDP port.
//!
//! Source: RFC 8489 section 6.2.1 (when a request is sent again), RFC 4787 section 4.1 (how NATs
//! map).
//!
//! # Security
//! Provided: an answer counts only from the server that was asked, with the 96 random bits of the
//! request (attack row 34); a server's word is compared with the others', and two names for one
//! machine are one server.
//! Not provided: truth if all servers lie; peers' words weigh as much ([`super::NatTraversal`]).

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use rand::{Rng, RngExt};

use super::stun::{self, TransactionId};
use crate::time::{Millis, Time, earliest};

/// The first wait for an answer, doubled each time, ms (RFC 8489 section 6.2.1).
const RETRANSMIT: Millis = 500;
/// Times a request is sent (the same section).
const SENDS: u32 = 7;
/// Times it is sent before the others' answers are looked at without it: 1.5 s.
const AWAITED: u32 = 3;
/// The wait after the last one, in first waits (the same section).
const LAST_WAIT: Millis = 16;
/// Between two questions to a server that answered, ms: a new public address is noticed within a
/// minute, also if one round of questions is lost. It also keeps the NAT's mapping: Linux forgets
/// one without traffic after 30 s, and RFC 4787 asks for 2 minutes.
const INTERVAL: Millis = 25_000;
/// Between two questions to a server that did not answer, ms. A guess: it may come back.
const RETRY: Millis = 5 * 60 * 1_000;

/// How the NAT in front of a UDP port maps it (RFC 4787 section 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mapping {
    /// Nobody has answered yet, or one server only.
    #[default]
    Unknown,
    /// The port is seen as it is: there is no NAT.
    Direct,
    /// All see the same port: what one server saw holds for every peer.
    EndpointIndependent,
    /// Each sees another port: only who is asked by us gets in.
    AddressDependent,
    /// No server answers although several were asked: UDP seems to be blocked.
    Blocked,
}

impl Mapping {
    /// In words, for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mapping::Unknown => "unknown",
            Mapping::Direct => "none",
            Mapping::EndpointIndependent => "endpoint-independent",
            Mapping::AddressDependent => "address-dependent",
            Mapping::Blocked => "udp blocked",
        }
    }
}

/// One exchange with a server.
#[derive(Clone, Debug)]
struct Exchange {
    server: SocketAddr,
    id: Option<TransactionId>,
    sends: u32,
    next: Time,
    /// What it answered last, and whether the last question was answered.
    seen: Option<SocketAddr>,
    silent: bool,
    /// What it answered in the last round that is over.
    settled: Option<SocketAddr>,
}

/// All servers.
#[derive(Clone, Debug)]
pub(super) struct Prober {
    exchanges: Vec<Exchange>,
}

impl Prober {
    pub(super) fn new(servers: &[SocketAddr], now: Time) -> Self {
        let exchange = |server: &SocketAddr| Exchange {
            server: *server,
            id: None,
            sends: 0,
            next: now,
            seen: None,
            silent: false,
            settled: None,
        };
        Prober { exchanges: servers.iter().map(exchange).collect() }
    }

    /// Servers whose names were looked up; those that are gone are forgotten.
    pub(super) fn set_servers(&mut self, servers: &[SocketAddr], now: Time) {
        self.exchanges.retain(|exchange| servers.contains(&exchange.server));
        let known: Vec<SocketAddr> = self.exchanges.iter().map(|known| known.server).collect();
        let mut new: Vec<SocketAddr> =
            servers.iter().copied().filter(|server| !known.contains(server)).collect();
        new.sort();
        new.dedup();
        self.exchanges.extend(Prober::new(&new, now).exchanges);
    }

    /// The requests that are due.
    pub(super) fn due(&mut self, now: Time, rng: &mut impl Rng) -> Vec<(SocketAddr, [u8; 20])> {
        let mut requests = Vec::new();
        for exchange in self.exchanges.iter_mut().filter(|exchange| exchange.next <= now) {
            if exchange.sends >= SENDS {
                exchange.id = None;
                exchange.sends = 0;
                exchange.seen = None;
                exchange.silent = true;
                exchange.next = now.plus(RETRY);
                continue;
            }
            let id = *exchange.id.get_or_insert_with(|| TransactionId(rng.random()));
            let last = exchange.sends.saturating_add(1) == SENDS;
            let factor = if last { LAST_WAIT } else { 1 << exchange.sends.min(SENDS) };
            exchange.next = now.plus(RETRANSMIT.saturating_mul(factor));
            exchange.sends = exchange.sends.saturating_add(1);
            requests.push((exchange.server, stun::binding_request(id)));
        }
        self.settle();
        requests
    }

    /// All servers are asked at once, and their answers are looked at together: between the first
    /// and the last of a round, old answers and new ones look like a NAT that shows each server
    /// another port. Whoever needs longer than three tries is not waited for.
    fn settle(&mut self) {
        let is_awaited =
            |exchange: &Exchange| exchange.id.is_some() && (1..AWAITED).contains(&exchange.sends);
        if !self.exchanges.iter().any(is_awaited) {
            self.exchanges.iter_mut().for_each(|exchange| exchange.settled = exchange.seen);
        }
    }

    /// Something like an answer came. False if nobody asked for it.
    pub(super) fn on_datagram(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) -> bool {
        let Ok(answer) = stun::read_answer(datagram) else { return false };
        let asked =
            |exchange: &&mut Exchange| exchange.server == from && exchange.id == Some(answer.id);
        let Some(exchange) = self.exchanges.iter_mut().find(asked) else { return false };
        exchange.id = None;
        exchange.sends = 0;
        exchange.silent = answer.seen.is_none();
        exchange.seen =
            answer.seen.map(|seen| SocketAddr::new(seen.ip().to_canonical(), seen.port()));
        exchange.next = now.plus(if exchange.silent { RETRY } else { INTERVAL });
        self.settle();
        true
    }

    /// Where servers see us, each once.
    pub(super) fn seen(&self, is_v4: bool) -> Vec<SocketAddr> {
        let seen = self.exchanges.iter().filter_map(|exchange| exchange.settled);
        let mut seen: Vec<_> = seen.filter(|seen| seen.is_ipv4() == is_v4).collect();
        seen.sort();
        seen.dedup();
        seen
    }

    /// What the answers say of the NAT; `is_ours` tells whether we own a socket.
    pub(super) fn mapping(&self, is_v4: bool, is_ours: impl Fn(&SocketAddr) -> bool) -> Mapping {
        let of_family =
            || self.exchanges.iter().filter(|exchange| exchange.server.is_ipv4() == is_v4);
        // One machine, whatever its ports and names, is one destination, at which any NAT shows one
        // port.
        let answered = of_family().filter(|exchange| exchange.settled.is_some());
        let answers = answered.map(|exchange| exchange.server.ip()).collect::<BTreeSet<IpAddr>>();
        let seen = self.seen(is_v4);
        match seen.as_slice() {
            [] if of_family().count() > 1 && of_family().all(|exchange| exchange.silent) => {
                Mapping::Blocked
            }
            [one] if is_ours(one) => Mapping::Direct,
            [_] if answers.len() > 1 => Mapping::EndpointIndependent,
            [] | [_] => Mapping::Unknown,
            _ => Mapping::AddressDependent,
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.exchanges.iter().map(|exchange| exchange.next).fold(None, |a, b| earliest(a, Some(b)))
    }
}
