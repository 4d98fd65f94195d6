//! Which of a node's addresses is tried when, and which of the attempts is kept.
//!
//! The addresses of one node, over different transports and in both families, are tried one after
//! the other, a little apart, and the first that has authenticated wins ("Happy Eyeballs",
//! RFC 8305). One that is known to have failed lets the next begin at once. Where somebody has
//! answered whom we can't talk to, silence at the others is not waited for to its end: whoever
//! dials hears soon, and hears why.
//!
//! # Security
//! Provided: at most [`CANDIDATES_MAX`] attempts, one at a time within [`STAGGER`] of each other,
//! however many addresses a record names; losing a race is nobody's fault.
//! Not provided: which addresses may be dialled at all, and how often ([`crate::manager`]).

use std::collections::VecDeque;

use crate::{
    address::{Address, TransportKind},
    time::{Millis, Time},
};

/// How long an attempt has before the next begins beside it, ms (RFC 8305 section 5).
pub const STAGGER: Millis = 250;
/// How long the others have once somebody has answered at one address and failed the handshake,
/// ms. A guess: the three round trips of a handshake at half a second each.
pub const GRACE: Millis = 1_500;
/// Addresses that are tried in one race: both transports in both families, and two more.
pub const CANDIDATES_MAX: usize = 6;

/// Orders of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin to connect there.
    Try(Address),
    /// Give this attempt up; nothing more is expected of it.
    Abandon(Address),
    /// Nobody has authenticated and nobody is left.
    Lost,
}

/// One race for a connection to one node.
#[derive(Clone, Debug)]
pub struct Race {
    waiting: VecDeque<Address>,
    running: Vec<Address>,
    next: Option<Time>,
    /// Whether somebody has answered and failed the handshake.
    refused: bool,
    /// When silence is given up, since somebody has answered.
    silent_until: Option<Time>,
    ended: bool,
}

/// The order in which addresses are tried: the families in turn (RFC 8305 section 4), beginning
/// with that of the first address given, whose machine goes first; QUIC before TCP at each
/// machine; ways through relays last. Every address once, and none that can't be dialled.
#[must_use]
pub fn in_order(candidates: impl IntoIterator<Item = Address>) -> Vec<Address> {
    let mut all: Vec<Address> = Vec::new();
    for address in candidates.into_iter().filter(Address::is_dialable) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let nearest = all.iter().find(|address| !address.is_circuit()).or(all.first());
    let Some(first) = nearest.map(Address::ip) else { return Vec::new() };
    // Stable: otherwise as they were given.
    all.sort_by_key(|address| (address.ip() != first, address.transport() != TransportKind::Quic));
    let (own, other): (VecDeque<Address>, VecDeque<Address>) =
        all.into_iter().partition(|address| address.ip().is_ipv6() == first.is_ipv6());
    let (mut turn, mut other, mut order) = (own, other, Vec::new());
    while !(turn.is_empty() && other.is_empty()) {
        order.extend(turn.pop_front());
        std::mem::swap(&mut turn, &mut other);
    }
    order.sort_by_key(Address::is_circuit);
    // However many direct ways there are said to be, one through a relay is tried.
    let relayed = order.iter().find(|address| address.is_circuit()).copied();
    order.truncate(CANDIDATES_MAX);
    if let Some(relayed) = relayed.filter(|relayed| !order.contains(relayed)) {
        order.pop();
        order.push(relayed);
    }
    order
}

impl Race {
    /// A race among addresses that are in order ([`in_order`]); begins at once.
    pub fn new(now: Time, candidates: Vec<Address>, out: &mut Vec<Action>) -> Self {
        let (waiting, running) = (VecDeque::from(candidates), Vec::new());
        let (next, silent_until) = (None, None);
        let mut race = Race { waiting, running, next, refused: false, silent_until, ended: false };
        race.begin_next(now, out);
        race
    }

    /// An attempt has authenticated whom it was meant for: the others are given up.
    pub fn on_authenticated(&mut self, winner: Address, out: &mut Vec<Action>) {
        if self.ended {
            return;
        }
        self.end();
        let losers = self.running.drain(..).filter(|address| *address != winner);
        out.extend(losers.map(Action::Abandon));
    }

    /// An attempt has failed; whether somebody had answered there.
    pub fn on_failed(
        &mut self,
        now: Time,
        address: Address,
        answered: bool,
        out: &mut Vec<Action>,
    ) {
        if self.ended {
            return;
        }
        self.refused |= answered;
        self.running.retain(|running| *running != address);
        self.begin_next(now, out);
    }

    /// When the next attempt begins, or silence is given up, if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.next.or(self.silent_until)
    }

    /// The time of [`Race::deadline`] has come.
    pub fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.next.is_some_and(|next| next <= now) {
            self.begin_next(now, out);
        } else if self.silent_until.is_some_and(|until| until <= now) {
            out.extend(self.running.drain(..).map(Action::Abandon));
            self.lose(out);
        }
    }

    fn begin_next(&mut self, now: Time, out: &mut Vec<Action>) {
        if let Some(address) = self.waiting.pop_front() {
            self.running.push(address);
            out.push(Action::Try(address));
        } else if self.running.is_empty() {
            return self.lose(out);
        }
        self.next = (!self.waiting.is_empty()).then(|| now.plus(STAGGER));
        if self.next.is_none() && self.refused {
            self.silent_until.get_or_insert(now.plus(GRACE));
        }
    }

    fn lose(&mut self, out: &mut Vec<Action>) {
        out.push(Action::Lost);
        self.end();
    }

    fn end(&mut self) {
        self.ended = true;
        self.waiting.clear();
        (self.next, self.silent_until) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn quic() -> Address {
        address("/ip4/9.8.7.6/udp/1/quic")
    }

    fn tcp() -> Address {
        address("9.8.7.6:1")
    }

    fn start(candidates: &[Address]) -> (Race, Vec<Action>) {
        let mut out = Vec::new();
        let race = Race::new(Time(0), candidates.to_vec(), &mut out);
        (race, out)
    }

    #[test]
    fn the_second_begins_a_quarter_of_a_second_later() {
        let (mut race, mut out) = start(&[quic(), tcp()]);
        assert_eq!(out, [Action::Try(quic())]);
        assert_eq!(race.deadline(), Some(Time(STAGGER)));
        out.clear();
        race.on_deadline(Time(STAGGER - 1), &mut out);
        assert!(out.is_empty());
        race.on_deadline(Time(STAGGER), &mut out);
        assert_eq!(out, [Action::Try(tcp())]);
        assert_eq!(race.deadline(), None);
    }

    #[test]
    fn a_failure_lets_the_next_begin_at_once() {
        let (mut race, mut out) = start(&[quic(), tcp()]);
        out.clear();
        race.on_failed(Time(10), quic(), false, &mut out);
        assert_eq!(out, [Action::Try(tcp())]);
        race.on_failed(Time(20), tcp(), false, &mut out);
        assert_eq!(out, [Action::Try(tcp()), Action::Lost]);
        assert_eq!(race.deadline(), None);
    }

    #[test]
    fn the_first_to_authenticate_is_kept_and_the_rest_given_up() {
        let (mut race, mut out) = start(&[quic(), tcp(), address("[2a01::1]:1")]);
        race.on_deadline(Time(STAGGER), &mut out);
        out.clear();
        race.on_authenticated(tcp(), &mut out);
        assert_eq!(out, [Action::Abandon(quic())]);
        assert_eq!(race.deadline(), None);
        race.on_failed(Time(300), quic(), true, &mut out);
        race.on_authenticated(quic(), &mut out);
        assert_eq!(out.len(), 1, "a race ends once");
    }

    /// A mirror over TCP, and nothing at all over UDP.
    #[test]
    fn an_answer_that_leads_nowhere_ends_the_wait_for_silence() {
        let (mut race, mut out) = start(&[quic(), tcp()]);
        race.on_deadline(Time(STAGGER), &mut out);
        out.clear();
        race.on_failed(Time(300), tcp(), true, &mut out);
        assert_eq!((race.deadline(), out.len()), (Some(Time(300 + GRACE)), 0));
        let mut other = race.clone();
        race.on_deadline(Time(300 + GRACE), &mut out);
        assert_eq!(out, [Action::Abandon(quic()), Action::Lost]);
        assert_eq!(race.deadline(), None);
        // Whoever answers meanwhile is as welcome as before.
        out.clear();
        other.on_authenticated(quic(), &mut out);
        assert_eq!((other.deadline(), out.len()), (None, 0));
    }

    /// Every address has its time, however early the first one is refused.
    #[test]
    fn the_grace_begins_with_the_last_attempt() {
        let (mut race, mut out) = start(&[quic(), tcp(), address("[2a01::1]:1")]);
        race.on_failed(Time(10), quic(), true, &mut out);
        assert_eq!(race.deadline(), Some(Time(10 + STAGGER)));
        race.on_deadline(Time(10 + STAGGER), &mut out);
        assert_eq!(race.deadline(), Some(Time(10 + STAGGER + GRACE)));
    }

    #[test]
    fn families_take_turns_and_quic_goes_first() {
        let (v6_tcp, v6_quic) = (address("[2a01::1]:1"), address("/ip6/2a01::1/udp/1/quic"));
        let order = in_order([tcp(), v6_tcp, quic(), v6_quic, tcp(), address("9.8.7.6:0")]);
        assert_eq!(order, [quic(), v6_quic, tcp(), v6_tcp]);
        assert!(in_order([]).is_empty());
    }

    #[test]
    fn a_way_through_a_relay_is_tried_last_and_always() {
        let circuit = address("/ip4/1.1.1.1/tcp/1/p2p-circuit");
        assert_eq!(in_order([circuit, tcp(), quic()]), [quic(), tcp(), circuit]);
        let many = (1..=9).map(|port| Address::new([9, 8, 7, 6].into(), port));
        let order = in_order(many.chain([circuit]));
        assert_eq!((order.len(), order.last()), (CANDIDATES_MAX, Some(&circuit)));
    }

    proptest! {
        /// Whatever happens in whatever order: every address is tried at most once, and a race
        /// that nobody wins is lost exactly once.
        #[test]
        fn a_race_ends_once(count in 0usize..12, events in prop::collection::vec(any::<[bool; 2]>(), 40)) {
            let ports = (1..=u16::try_from(count).unwrap()).map(|port| Address::new([9, 8, 7, 6].into(), port));
            let candidates = in_order(ports);
            let (mut race, mut out) = start(&candidates);
            let mut now = Time(0);
            for [fails, answered] in events {
                now = now.plus(100);
                match race.running.first().copied() {
                    Some(first) if fails => race.on_failed(now, first, answered, &mut out),
                    _ => race.on_deadline(now, &mut out),
                }
            }
            while let Some(first) = race.running.first().copied() {
                race.on_failed(now, first, false, &mut out);
            }
            let tried: Vec<_> = out.iter().filter(|action| matches!(action, Action::Try(_))).collect();
            prop_assert_eq!(tried.len(), candidates.len());
            prop_assert!(candidates.len() <= CANDIDATES_MAX);
            prop_assert_eq!(out.iter().filter(|action| **action == Action::Lost).count(), 1);
        }
    }
}
