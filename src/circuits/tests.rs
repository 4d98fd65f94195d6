//! Stories of two nodes and what carries bytes between them.

mod crowds;
mod faults;
mod refusals;
mod stories;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::{address::Address, messages::Outgoing, record::Capabilities};

const ANNA: usize = 0;
const RUTH: usize = 1;
const BERT: usize = 2;

fn node(number: usize) -> NodeId {
    NodeId([u8::try_from(number).unwrap(); 32])
}

fn place(number: usize) -> Address {
    Address::new([8, u8::try_from(number).unwrap(), 1, 1].into(), 1)
}

/// Machines and the messages between them, which arrive in order.
struct World {
    now: Time,
    nodes: Vec<Circuits>,
    out: Vec<VecDeque<Action>>,
    /// Everything that was carried over a connection: from, to, message.
    seen: Vec<(usize, usize, Outgoing)>,
    /// What a node's actor was told.
    told: Vec<(usize, Action)>,
}

/// Who is at the other end of a node's session: sessions are named by the other node's number.
fn session(of: usize) -> SessionId {
    SessionId(of as u64)
}

impl World {
    /// So many nodes, all connected to Ruth, who was dialled by each.
    fn new(count: usize, config: &CircuitsConfig) -> World {
        let nodes = (0..count).map(|n| Circuits::new(node(n), config.clone())).collect();
        let out = (0..count).map(|_| VecDeque::new()).collect();
        let mut world = World { now: Time(1_000), nodes, out, seen: Vec::new(), told: Vec::new() };
        for other in (0..count).filter(|other| *other != RUTH) {
            world.connect(other, RUTH);
        }
        world
    }

    fn connect(&mut self, from: usize, to: usize) {
        self.connect_at(from, to, place(to), place(from), every());
    }

    fn connect_at(
        &mut self,
        from: usize,
        to: usize,
        there: Address,
        here: Address,
        capabilities: Capabilities,
    ) {
        for (own, peer, address, outbound) in [(from, to, there, true), (to, from, here, false)] {
            let peer = CircuitPeer {
                session: session(peer),
                peer: node(peer),
                address,
                group: address.group(),
                outbound,
                capabilities,
            };
            self.tell(own, |machine, now, out| machine.on_session_up(now, peer, out));
        }
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        self.tell(a, |machine, now, out| machine.on_session_down(now, session(b), out));
        self.tell(b, |machine, now, out| machine.on_session_down(now, session(a), out));
    }

    fn tell<T>(
        &mut self,
        number: usize,
        input: impl FnOnce(&mut Circuits, Time, &mut Vec<Action>) -> T,
    ) -> T {
        let mut out = Vec::new();
        let result = input(&mut self.nodes[number], self.now, &mut out);
        self.out[number].extend(out);
        result
    }

    /// A node says something of its own to another.
    fn says<H: serde::Serialize>(&mut self, from: usize, to: usize, kind: Kind, header: &H) {
        self.says_with(from, to, kind, header, b"");
    }

    fn says_with<H: serde::Serialize>(
        &mut self,
        from: usize,
        to: usize,
        kind: Kind,
        header: &H,
        body: &[u8],
    ) {
        let (header, body) = (Header::of(header), Bytes::copy_from_slice(body));
        self.tell(to, |machine, now, out| {
            machine.on_message(now, session(from), (kind, &header), &body, out);
        });
        self.settle();
    }

    /// Carries messages until nobody says anything more.
    fn settle(&mut self) {
        while let Some(from) = (0..self.nodes.len()).find(|n| !self.out[*n].is_empty()) {
            let Some(action) = self.out[from].pop_front() else { continue };
            let Action::Send { session: over, message } = action else {
                self.told.push((from, action));
                continue;
            };
            let to = usize::try_from(over.0).unwrap();
            self.seen.push((from, to, message.clone()));
            self.tell(to, |machine, now, out| {
                let head = (message.kind, &message.header);
                machine.on_message(now, session(from), head, &message.body, out);
            });
        }
    }

    fn passes(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        for number in 0..self.nodes.len() {
            self.tell(number, |machine, now, out| machine.on_deadline(now, out));
        }
        self.settle();
    }

    /// What a node's actor was told since it was asked last.
    fn heard(&mut self, number: usize) -> Vec<Action> {
        let (heard, rest) = std::mem::take(&mut self.told).into_iter().partition(|t| t.0 == number);
        self.told = rest;
        let heard: Vec<(usize, Action)> = heard;
        heard.into_iter().map(|(_, action)| action).collect()
    }

    fn dial(&mut self, from: usize, to: usize) -> Result<CircuitKey, CircuitReason> {
        let dialled = self.tell(from, |m, now, out| m.dial(now, &node(RUTH), node(to), out));
        self.settle();
        dialled
    }

    /// A circuit from one to another, taken: the keys at both ends.
    fn circuit(&mut self, from: usize, to: usize) -> (CircuitKey, CircuitKey) {
        let near = self.dial(from, to).unwrap();
        let offered = self.heard(to);
        let Some(Action::Offered { key: far, relay, from: asker }) =
            offered.iter().find(|action| matches!(action, Action::Offered { .. })).cloned()
        else {
            panic!("nothing was offered: {offered:?}")
        };
        assert_eq!((relay.0, asker), (node(RUTH), node(from)));
        self.tell(to, |machine, _, out| machine.accept(far, out));
        self.settle();
        assert!(self.heard(from).contains(&Action::Opened(near)));
        (near, far)
    }

    fn sends(&mut self, from: usize, key: CircuitKey, bytes: &mut BytesMut) {
        self.tell(from, |machine, _, out| machine.send(key, bytes, out));
        self.settle();
    }

    /// Why a node's circuit was refused or ended.
    fn end_of(&mut self, number: usize, key: CircuitKey) -> Option<CircuitReason> {
        self.heard(number).into_iter().find_map(|action| match action {
            Action::Closed(closed, reason) if closed == key => Some(reason),
            _ => None,
        })
    }
}

fn every() -> Capabilities {
    Capabilities::CIRCUITS.with(Capabilities::RELAY)
}

fn received(actions: &[Action]) -> Vec<u8> {
    let bytes = actions.iter().filter_map(|action| match action {
        Action::Received(_, bytes) => Some(bytes.to_vec()),
        _ => None,
    });
    bytes.flatten().collect()
}
