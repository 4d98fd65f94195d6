//! The network manager: who this node is connected to, and how it finds others.
//!
//! It gives out slots, dials, resolves two connections with one node, enforces bans, and asks
//! and answers in peer exchange. It sees connections only before their handshake (an address)
//! and after it (what it proved).
//!
//! # Security
//! Provided: limits before cryptography (the `gate` module); slots per IP and neighbourhood; peers
//! the attacker can't displace (persistent, validators, the oldest, the fastest); dialling in
//! random order, so that nobody steers it, and spaced, so that nobody is flooded by us; forged
//! records cost their sender and are never kept; exactly one of two connections survives.
//! Not provided: eclipse defence across restarts (anchors, feelers, salted buckets). A node that
//! hears only from attackers from its first start on believes them.
//!
//! Attack rows 1 to 3 (as far as limits go), 9, 15, 17 to 21, 24, 50.

mod action;
mod admission;
mod bans;
mod config;
mod dialler;
mod exchange;
mod gate;
mod peers;
mod search;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use action::{
    Action, DialFailure, DialId, Direction, Established, PeerView, RecordFault, SessionId,
};
pub use config::*;

use crate::{
    address::Address,
    book::{Book, BookEntry, Source},
    identity::{NetworkId, NodeId, PublicKey},
    reason::{CloseReason, Closure},
    record::SignedRecord,
    time::{Millis, Time, earliest},
};
use bans::Bans;
use dialler::{DialPurpose, Dialler};
use gate::Gate;
use peers::Peers;

/// How often bans and records whose time is over are swept out, ms.
const SWEEP_INTERVAL: Millis = 60_000;

/// What the manager must know of the node it works for.
#[derive(Clone, Debug)]
pub struct ManagerIdentity {
    /// The node's id.
    pub node: NodeId,
    /// The network it belongs to.
    pub network: NetworkId,
    /// The validator it speaks for.
    pub validator: Option<PublicKey>,
}

/// A node the operator names in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub address: Address,
    /// Who must answer there; anybody if `None`.
    pub expected: Option<NodeId>,
}

/// The machine.
#[derive(Debug)]
pub struct Manager {
    identity: ManagerIdentity,
    config: ManagerConfig,
    rng: ChaCha8Rng,
    book: Book,
    peers: Peers,
    gate: Gate,
    dialler: Dialler,
    bans: Bans,
    validators: BTreeSet<PublicKey>,
    phase: Phase,
    /// No dial before; spreads the first dials of nodes that start together.
    starts: Time,
    next_look: Time,
    next_ask: Time,
    next_sweep: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Created,
    Running,
    Stopped,
}

/// Numbers for people and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManagerStatus {
    /// Connected peers, all of them.
    pub peers: usize,
    /// Ordinary peers that dialled us.
    pub inbound: usize,
    /// Ordinary peers that we dialled.
    pub outbound: usize,
    /// Attempts in flight.
    pub dialling: usize,
    /// Inbound connections before the end of their handshake.
    pub half_open: usize,
    /// Addresses in the book.
    pub addresses: usize,
    /// Records in the book.
    pub records: usize,
}

impl Manager {
    /// A manager that does nothing before [`Manager::on_start`]. The seed decides all that is
    /// random about it.
    #[must_use]
    pub fn new(identity: ManagerIdentity, config: ManagerConfig, seed: [u8; 32]) -> Self {
        Manager {
            book: Book::new(config.book.clone()),
            gate: Gate::new(&config),
            rng: ChaCha8Rng::from_seed(seed),
            identity,
            config,
            peers: Peers::default(),
            dialler: Dialler::new(),
            bans: Bans::default(),
            validators: BTreeSet::new(),
            phase: Phase::Created,
            starts: Time::NEVER,
            next_look: Time::NEVER,
            next_ask: Time::NEVER,
            next_sweep: Time::NEVER,
        }
    }

    /// An address this node listens at: never dialled.
    pub fn on_listening(&mut self, now: Time, address: Address) {
        self.book.mark_own(now, address);
    }

    /// Before the start: what the store has kept. Records are verified again.
    pub fn restore(
        &mut self,
        now: Time,
        entries: impl IntoIterator<Item = BookEntry>,
        records: impl IntoIterator<Item = SignedRecord>,
    ) {
        entries.into_iter().for_each(|entry| self.book.restore(entry));
        for record in records {
            if let Ok(record) = record.verify(&self.identity.network, now) {
                self.book.add_record(now, &mut self.rng, record, Source::Operator, usize::MAX);
            }
        }
    }

    /// Everything is ready: dials begin, a little later than now (attack row 50).
    pub fn on_start(
        &mut self,
        now: Time,
        bootstrap: &[Target],
        persistent: &[Target],
        out: &mut Vec<Action>,
    ) {
        self.phase = Phase::Running;
        let lists = [(DialPurpose::Bootstrap, bootstrap), (DialPurpose::Persistent, persistent)];
        for (purpose, targets) in lists {
            for target in targets {
                self.dialler.add_configured(now, *target, purpose);
            }
        }
        let spread = rand::RngExt::random_range(&mut self.rng, 0..=self.config.start_spread);
        self.starts = now.plus(spread);
        self.next_look = self.starts;
        self.next_ask = self.starts;
        self.next_sweep = now.plus(SWEEP_INTERVAL);
        self.on_deadline(now, out);
    }

    /// The validator set changed.
    pub fn set_validators(
        &mut self,
        now: Time,
        validators: BTreeSet<PublicKey>,
        out: &mut Vec<Action>,
    ) {
        self.validators = validators;
        self.reassign_slots();
        self.look_for_peers(now, out);
    }

    /// The operator wants this node for a peer, always. False if too many were named.
    pub fn connect(&mut self, now: Time, target: Target, out: &mut Vec<Action>) -> bool {
        let Target { address, expected } = target;
        let added = self.dialler.add_target(now, address, expected, DialPurpose::Persistent);
        self.reassign_slots();
        self.look_for_peers(now, out);
        added
    }

    /// The operator wants this peer gone. It may come back by itself; we don't dial it for a
    /// while, and only if the configuration or the book names it. False if it is not connected.
    pub fn disconnect(&mut self, now: Time, peer: &NodeId, out: &mut Vec<Action>) -> bool {
        self.dialler.dismiss(peer);
        let address = self.peers.get(peer).map(|p| p.view.address);
        self.postpone(peer, address, now.plus(self.config.disconnect_pause));
        self.cancel_dials(peer, CloseReason::Requested, out);
        let was_there = self.close_peer(now, peer, CloseReason::Requested, out);
        self.look_for_peers(now, out);
        was_there
    }

    /// The scoring or the operator has banned a node.
    pub fn on_banned(&mut self, now: Time, peer: NodeId, until: Time, out: &mut Vec<Action>) {
        if until <= now {
            return;
        }
        let address = self.peers.get(&peer).map(|p| p.view.address);
        let ip = address.filter(|a| !self.book.is_exempt(*a)).map(|a| a.ip());
        self.ban(peer, until, ip);
        self.postpone(&peer, address, until);
        self.cancel_dials(&peer, CloseReason::Banned, out);
        self.close_peer(now, &peer, CloseReason::Banned, out);
        self.look_for_peers(now, out);
    }

    /// A ban read from the store, with the IP it was seen at.
    pub fn ban(&mut self, peer: NodeId, until: Time, ip: Option<IpAddr>) {
        self.bans.add(peer, until, ip);
    }

    /// A ban was lifted or is over.
    pub fn on_unbanned(&mut self, now: Time, peer: &NodeId, out: &mut Vec<Action>) {
        self.bans.remove(peer);
        self.book.readmit(now, peer);
        self.dialler.readmit(now, peer);
        self.look_for_peers(now, out);
    }

    /// A peer answered a ping after so many ms.
    pub fn on_latency(&mut self, peer: &NodeId, latency: Millis) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.latency = Some(peer.latency.map_or(latency, |best| best.min(latency)));
        }
    }

    /// The node stops: everything is closed, and nothing is begun again.
    pub fn on_shutdown(&mut self, now: Time, out: &mut Vec<Action>) {
        self.phase = Phase::Stopped;
        for (attempt, _) in self.dialler.take(|_| true) {
            out.push(Action::CancelDial { attempt, reason: CloseReason::Shutdown });
        }
        for session in self.gate.take_all() {
            out.push(close(session, CloseReason::Shutdown));
        }
        let everybody: Vec<NodeId> = self.peers.iter().map(|p| p.view.peer).collect();
        for peer in everybody {
            self.close_peer(now, &peer, CloseReason::Shutdown, out);
        }
    }

    /// When [`Manager::on_deadline`] wants to be called next.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.phase != Phase::Running {
            return None;
        }
        let timers = self.next_look.min(self.next_ask).min(self.next_sweep);
        earliest(earliest(self.gate.deadline(), self.dialler.deadline()), Some(timers))
    }

    /// Time has come, or gone by: whatever is due is done once, however late it is.
    pub fn on_deadline(&mut self, now: Time, out: &mut Vec<Action>) {
        if self.phase != Phase::Running {
            return;
        }
        for session in self.gate.take_late(now) {
            out.push(close(session, CloseReason::HandshakeTimeout));
        }
        for (attempt, late) in self.dialler.take_late(now) {
            out.push(Action::CancelDial { attempt, reason: CloseReason::HandshakeTimeout });
            self.after_failure(now, &late, DialFailure::Timeout, out);
        }
        if self.next_sweep <= now {
            self.next_sweep = now.plus(SWEEP_INTERVAL);
            self.bans.expire(now);
            let dead = self.book.forget_expired(now);
            out.extend(dead.into_iter().map(Action::ForgetRecord));
        }
        if self.next_ask <= now {
            self.ask_for_peers(now, out);
        }
        if self.next_look <= now {
            self.look_for_peers(now, out);
        }
    }

    /// The connected peers, in order of their ids.
    pub fn peers(&self) -> impl Iterator<Item = &PeerView> {
        self.peers.iter().map(|peer| &peer.view)
    }

    /// A connected peer.
    #[must_use]
    pub fn peer(&self, peer: &NodeId) -> Option<&PeerView> {
        self.peers.get(peer).map(|peer| &peer.view)
    }

    /// What is known of addresses and records.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// How many of everything.
    #[must_use]
    pub fn status(&self) -> ManagerStatus {
        ManagerStatus {
            peers: self.peers.len(),
            inbound: self.peers.inbound(),
            outbound: self.peers.outbound(),
            dialling: self.dialler.in_flight().count(),
            half_open: self.gate.len(),
            addresses: self.book.len(),
            records: self.book.records(),
        }
    }

    /// Neither the book nor the operator's list leads us there before `until`.
    fn postpone(&mut self, peer: &NodeId, address: Option<Address>, until: Time) {
        self.book.postpone(peer, address, until);
        self.dialler.postpone(peer, until);
    }

    fn cancel_dials(&mut self, peer: &NodeId, reason: CloseReason, out: &mut Vec<Action>) {
        for (attempt, _) in self.dialler.take(|a| a.expected.as_ref() == Some(peer)) {
            out.push(Action::CancelDial { attempt, reason });
        }
    }

    /// Ends the connection of a peer; false if there is none.
    fn close_peer(
        &mut self,
        now: Time,
        peer: &NodeId,
        reason: CloseReason,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(gone) = self.peers.remove(peer) else { return false };
        out.push(close(gone.view.session, reason));
        out.push(down(now, &gone.view, Closure::local(reason)));
        true
    }

    /// Decides anew who has a reserved slot.
    fn reassign_slots(&mut self) {
        let everybody: BTreeMap<NodeId, Option<PublicKey>> =
            self.peers.iter().map(|p| (p.view.peer, p.view.validator)).collect();
        for (peer, validator) in everybody {
            let reserved = self.is_reserved(&peer, validator);
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.view.reserved = reserved;
            }
        }
    }

    /// Whether a peer has a slot that others can't have: persistent, or a proven validator of
    /// the set while there are slots for them.
    fn is_reserved(&self, peer: &NodeId, validator: Option<PublicKey>) -> bool {
        if self.dialler.is_persistent(peer) {
            return true;
        }
        let taken = self.peers.validators_besides(peer, |key| self.validators.contains(key));
        validator.is_some_and(|key| self.validators.contains(&key))
            && taken < self.config.validator_slots
    }
}

fn close(session: SessionId, reason: CloseReason) -> Action {
    Action::Close { session, reason, retry_after: 0, records: Vec::new() }
}

fn down(now: Time, view: &PeerView, closure: Closure) -> Action {
    let age = now.since(view.since);
    Action::PeerDown { peer: view.peer, session: view.session, closure, age }
}

#[cfg(test)]
mod tests;
