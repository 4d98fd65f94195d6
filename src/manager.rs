//! The network manager: who this node is connected to, and how it finds others.
//!
//! It gives out slots, dials, resolves two connections with one node, enforces bans, and asks
//! and answers in peer exchange. It sees connections only before their handshake (an address)
//! and after it (what it proved).
//!
//! # Security
//! Provided: limits before cryptography (the `gate` module); slots per IP and neighbourhood; peers
//! the attacker can't displace (persistent, validators, the oldest, the fastest, the most useful);
//! dialling in random order, so that nobody steers it, and spaced, so that nobody is flooded by
//! us; forged records cost their sender and are never kept; exactly one of two connections
//! survives; after a restart the first dials go to peers that no attacker knew of, and feelers
//! keep the book full of addresses that answer (docs/adr/0012 has what each defence is worth).
//! Not provided: a node that hears only from attackers from its first start on believes them.
//!
//! Attack rows 1 to 3 (as far as limits go), 9, 15, 17 to 22, 24, 50, 51.

mod action;
mod admission;
mod anchors;
mod answers;
mod bans;
mod census;
mod circuits;
mod config;
mod dialler;
mod eviction;
mod exchange;
mod gate;
mod orders;
mod peers;
mod punch;
mod retiring;
mod search;
mod visits;

use std::{collections::BTreeSet, sync::Arc};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use action::{
    Action, Anchor, DialFailure, DialId, Direction, Established, LinkKind, ManagerStatus, NameId,
    PeerView, Place, RecordFault, SessionId,
};
pub use anchors::FeelerCounts;
pub use config::*;
pub use visits::{
    VISIT_LIFE, VISITORS_MAX, VISITORS_PER_GROUP_MAX, VISITORS_PER_IP_MAX, VISITS_MAX,
};

use crate::{
    address::Address,
    book::{AsMap, Book, BookEntry, RecordOutcome, Source},
    identity::{NetworkId, NodeId, PublicKey},
    reason::{CloseReason, Closure},
    record::SignedRecord,
    time::{Millis, Time, earliest},
};
use anchors::Anchors;
use bans::Bans;
use circuits::Upgrades;
use dialler::{DialPurpose, Dialler};
use gate::Gate;
use peers::Peers;
use retiring::Retiring;
pub use retiring::{RETIRING_MAX, RETIRING_PER_IP_MAX};
use visits::Visits;

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
    visits: Visits,
    gate: Gate,
    dialler: Dialler,
    bans: Bans,
    anchors: Anchors,
    feelers: FeelerCounts,
    upgrades: Upgrades,
    retiring: Retiring,
    /// Nodes whose records the store keeps in vain.
    unusable: Vec<NodeId>,
    /// Picks the neighbourhoods whose peers are not evicted.
    eviction_key: [u8; 32],
    validators: BTreeSet<PublicKey>,
    /// Decides which records an asker is told of.
    sample_key: [u8; 32],
    phase: Phase,
    /// No dial before; spreads the first dials of nodes that start together.
    starts: Time,
    next_look: Time,
    next_ask: Time,
    next_sweep: Time,
    next_feeler: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Created,
    Running,
    Stopped,
}

impl Manager {
    /// A manager that does nothing before [`Manager::on_start`]. The seed decides all that is
    /// random about it.
    #[must_use]
    pub fn new(identity: ManagerIdentity, config: ManagerConfig, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let [mut salt, mut eviction_key] = [[0; 32]; 2];
        rng.fill_bytes(&mut salt);
        rng.fill_bytes(&mut eviction_key);
        Manager {
            book: Book::new(config.book.clone(), salt),
            gate: Gate::new(&config),
            sample_key: blake3::derive_key("peerstage 2026 peer exchange sample", &seed),
            rng,
            anchors: Anchors::default(),
            feelers: FeelerCounts::default(),
            upgrades: Upgrades::default(),
            retiring: Retiring::default(),
            unusable: Vec::new(),
            eviction_key,
            identity,
            config,
            peers: Peers::default(),
            visits: Visits::default(),
            dialler: Dialler::new(),
            bans: Bans::default(),
            validators: BTreeSet::new(),
            phase: Phase::Created,
            starts: Time::NEVER,
            next_look: Time::NEVER,
            next_ask: Time::NEVER,
            next_sweep: Time::NEVER,
            next_feeler: Time::NEVER,
        }
    }

    /// Before anything else: the salt that the store has kept with the book, and which
    /// autonomous systems addresses belong to.
    pub fn set_book(&mut self, salt: Option<[u8; 32]>, map: Arc<AsMap>) {
        let salt = salt.unwrap_or(self.book.salt());
        self.book = Book::new(self.config.book.clone(), salt);
        self.book.set_as_map(map);
    }

    /// An address this node listens at: never dialled. That of a relay is others' too.
    pub fn on_listening(&mut self, now: Time, address: Address) {
        if address.is_circuit() {
            return;
        }
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
        for signed in records {
            let node = signed.record.public_key.node_id();
            let stored = signed.verify(&self.identity.network, now).is_ok_and(|record| {
                let (source, limit) = (Source::Operator, usize::MAX);
                let outcome = self.book.add_record(now, &mut self.rng, record, source, limit);
                matches!(outcome, RecordOutcome::Stored { .. })
            });
            if !stored {
                self.unusable.push(node);
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
                self.dialler.add_configured(now, *target, (purpose, None));
            }
        }
        let spread = rand::RngExt::random_range(&mut self.rng, 0..=self.config.start_spread);
        self.starts = now.plus(spread);
        self.next_look = self.starts;
        self.next_ask = self.starts;
        self.next_sweep = now.plus(SWEEP_INTERVAL);
        if self.config.feeler_interval > 0 {
            let first = dialler::jittered(&self.config, &mut self.rng, self.config.feeler_interval);
            self.next_feeler = self.starts.plus(first);
        }
        self.on_deadline(now, out);
    }

    /// A peer answered a ping after so many ms.
    pub fn on_latency(&mut self, peer: &NodeId, latency: Millis) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.latency = Some(peer.latency.map_or(latency, |best| best.min(latency)));
        }
    }

    /// When a peer last brought a block, and a transaction, that nobody had brought before.
    pub fn on_novel(&mut self, peer: &NodeId, block: Option<Time>, transaction: Option<Time>) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.novel = [block, transaction];
        }
    }

    /// The node stops: everything is closed, and nothing is begun again.
    pub fn on_shutdown(&mut self, now: Time, out: &mut Vec<Action>) {
        self.phase = Phase::Stopped;
        self.note_seen(now, 0);
        self.persist_book(out);
        for (attempt, _) in self.dialler.take(|_| true) {
            out.push(Action::CancelDial { attempt, reason: CloseReason::Shutdown });
        }
        for session in self.gate.take_all() {
            out.push(close(session, CloseReason::Shutdown));
        }
        self.end_all_visits(out);
        self.end_all_retiring(out);
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
        let timers = self.next_look.min(self.next_ask).min(self.next_sweep).min(self.next_feeler);
        let timers = earliest(self.upgrades.deadline(), Some(timers));
        let timers = earliest(self.visits.deadline(), timers);
        earliest(earliest(self.gate.deadline(), self.dialler.deadline()), timers)
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
            self.after_failure(now, (&late, late.address), DialFailure::Timeout, out);
        }
        self.end_late_visits(now, out);
        if self.next_sweep <= now {
            self.sweep(now, out);
        }
        if self.next_feeler <= now {
            self.send_feeler(now, out);
        }
        if self.next_ask <= now {
            self.ask_for_peers(now, out);
        }
        if self.next_look <= now {
            self.look_for_peers(now, out);
        }
        self.upgrade_peers(now, out);
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
            inbound: self.peers.census().inbound(),
            outbound: self.peers.census().outbound(),
            blocks_only: self.peers.census().of(Place::BlocksOnly),
            dialling: self.dialler.in_flight().count(),
            half_open: self.gate.len(),
            visits: self.visits.len(),
            addresses: self.book.len(),
            tried: self.book.tried(),
            records: self.book.records(),
            anchors: self.anchors().len(),
            feelers: self.feelers,
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
        self.end_retiring(peer, reason, out);
        let Some(gone) = self.peers.remove(peer) else { return false };
        self.upgrades.forget(peer);
        out.push(close(gone.view.session, reason));
        out.push(down(now, &gone.view, Closure::local(reason)));
        true
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
