//! Peer exchange: asking for records, judging those that come, answering who asks.

use rand::seq::SliceRandom;

use super::{Action, Manager, PeerView, Phase, RECORDS_MAX, RecordFault, dialler::jittered};
use crate::{
    address::Address,
    book::{RecordOutcome, Source},
    identity::{NodeId, PublicKey},
    record::{RecordError, SignedRecord, VerifiedRecord},
    time::{Millis, Time},
};

/// A node that misses nothing still asks this often, ms: 10 min. Records live for hours, and a
/// book of dead ones would be of no use on the day it is needed.
const REFRESH_INTERVAL: Millis = 10 * 60 * 1000;
/// How long one asker is told of the same nodes, ms: 24 h.
const SAMPLE_DAY: Millis = 24 * 60 * 60 * 1000;
/// Peers that are asked at once when there are too few.
const ASKED_URGENTLY: usize = 3;

impl Manager {
    /// Asks random peers for records, and sets the time of the next round.
    pub(super) fn ask_for_peers(&mut self, now: Time, out: &mut Vec<Action>) {
        let (asked, interval) = if self.is_lonely() {
            (ASKED_URGENTLY, self.config.discovery_interval_urgent)
        } else if self.wants_peers() {
            (1, self.config.discovery_interval)
        } else {
            (1, REFRESH_INTERVAL)
        };
        self.next_ask = now.plus(jittered(&self.config, &mut self.rng, interval).max(1));
        self.ask_random(asked, out);
    }

    /// Asks so many random peers for as many records as one answer has.
    pub(super) fn ask_random(&mut self, asked: usize, out: &mut Vec<Action>) {
        let full = self.peers.iter().filter(|peer| !peer.view.blocks_only);
        let mut peers: Vec<NodeId> = full.map(|peer| peer.view.peer).collect();
        peers.shuffle(&mut self.rng);
        let count = u8::try_from(RECORDS_MAX).unwrap_or(u8::MAX);
        let asked = peers.into_iter().take(asked);
        out.extend(asked.map(|peer| Action::RequestPeers { peer, count }));
    }

    /// A peer asked for records. Answered at most every few seconds.
    pub fn on_peers_requested(
        &mut self,
        now: Time,
        from: &NodeId,
        count: u8,
        out: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.get_mut(from) else { return };
        if peer.view.blocks_only || !peer.answers.take(now) {
            return;
        }
        let (validator, address) = (peer.view.validator, peer.view.address);
        let records = self.records_for(now, (from, address), validator, usize::from(count));
        out.push(Action::SendPeers { peer: *from, records });
    }

    /// A random few records for a node; for a validator those of other validators first.
    pub(super) fn records_for(
        &mut self,
        now: Time,
        (asker, address): (&NodeId, Address),
        validator: Option<PublicKey>,
        count: usize,
    ) -> Vec<SignedRecord> {
        let colleague = validator.is_some_and(|key| self.validators.contains(&key));
        let preferred = |record: &VerifiedRecord| {
            colleague && record.validator().is_some_and(|key| self.validators.contains(&key))
        };
        let told = |record: &VerifiedRecord, met| {
            let peer = self.peers.get(&record.node()).map(|peer| &peer.view);
            // Links for blocks alone are worth something because nobody knows of them.
            let secret = peer.is_some_and(|view| view.blocks_only);
            !secret && (met || peer.is_some_and(|view| is_where_it_says(view, record)))
        };
        let count = count.min(RECORDS_MAX);
        let rank = self.rank_for(now, asker, address);
        let mut records = self.book.sample(now, rank, count, told, preferred);
        records.retain(|signed| {
            let node = signed.record.public_key.node_id();
            node != *asker && !self.bans.has_peer(now, &node)
        });
        records
    }

    /// In which order one neighbourhood is told of nodes: random, secret, and the same for a day, so
    /// that asking again and again, under however many ids, does not read the book out. Where
    /// neighbourhoods mean nothing it is one asker's.
    fn rank_for(
        &self,
        now: Time,
        asker: &NodeId,
        address: Address,
    ) -> impl Fn(&NodeId) -> u64 + use<> {
        let day = (now.0 / SAMPLE_DAY).to_le_bytes();
        let group = self.book.group_of(&address).0;
        let of_group = !self.book.is_exempt(address);
        let place: &[u8] = if of_group { &group } else { &asker.0 };
        let key = *blake3::keyed_hash(&self.sample_key, &[&day, place].concat()).as_bytes();
        move |node| {
            let rank = blake3::keyed_hash(&key, &node.0);
            rank.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
        }
    }

    /// A peer passed records on. What is news is verified, within the peer's budget; the first
    /// forgery ends it (attack row 17).
    pub fn on_records(
        &mut self,
        now: Time,
        from: &NodeId,
        records: Vec<SignedRecord>,
        out: &mut Vec<Action>,
    ) {
        let full = self.peers.get(from).is_some_and(|peer| !peer.view.blocks_only);
        if self.phase != Phase::Running || !full {
            return;
        }
        if records.len() > RECORDS_MAX {
            out.push(Action::PenaliseRecord { peer: *from, fault: RecordFault::TooMany });
            return;
        }
        for signed in records {
            if let Err(error) = self.take_record(now, from, signed, out) {
                let fault = RecordFault::Forged(error);
                out.push(Action::PenaliseRecord { peer: *from, fault });
                break;
            }
        }
        self.persist_book(out);
        self.look_for_peers(now, out);
    }

    /// One record of an answer; an error only if the peer is to blame.
    fn take_record(
        &mut self,
        now: Time,
        from: &NodeId,
        signed: SignedRecord,
        out: &mut Vec<Action>,
    ) -> Result<(), RecordError> {
        let node = signed.record.public_key.node_id();
        let banned = self.bans.has_peer(now, &node);
        if node == self.identity.node || banned || !self.book.is_news(&signed) {
            return Ok(());
        }
        let Some(peer) = self.peers.get_mut(from) else { return Ok(()) };
        if !peer.verifications.take(now) {
            return Ok(());
        }
        let record = match signed.verify(&self.identity.network, now) {
            Ok(record) => record,
            Err(error) if error.is_fault() => return Err(error),
            Err(_) => return Ok(()),
        };
        let offered = record.record().addresses.len();
        let granted = peer.addresses.take_up_to(now, offered);
        if granted < offered {
            peer.addresses.give_back(granted);
            return Ok(());
        }
        let source = Source::Peer(peer.view.group);
        let outcome = self.book.add_record(now, &mut self.rng, record, source, granted);
        let used = if let RecordOutcome::Stored { added, .. } = outcome { added } else { 0 };
        if let Some(peer) = self.peers.get_mut(from) {
            peer.addresses.give_back(granted.saturating_sub(used));
        }
        // Whoever is being dialled now may have needed it.
        if matches!(outcome, RecordOutcome::Stored { .. }) {
            self.punch_to(now, node, out);
        }
        self.persist_record(&node, outcome, out);
        Ok(())
    }

    /// Only records of nodes that were met are worth the disk.
    pub(super) fn persist_record(
        &self,
        node: &NodeId,
        outcome: RecordOutcome,
        out: &mut Vec<Action>,
    ) {
        let RecordOutcome::Stored { displaced, .. } = outcome else { return };
        out.extend(displaced.map(Action::ForgetRecord));
        let worthy = self.book.was_met(node) || self.peers.contains(node);
        if let Some(record) = self.book.record(node).filter(|_| worthy) {
            out.push(Action::PersistRecord(Box::new(record.signed().clone())));
        }
    }
}

/// Whether a peer is at an IP of its record. What a stranger only says of itself is told to nobody.
/// A relayed one is at its relay's circuits, and not where the relay is.
fn is_where_it_says(view: &PeerView, record: &VerifiedRecord) -> bool {
    let seen = view.address;
    let says = |told: &Address| told.ip() == seen.ip() && told.is_circuit() == seen.is_circuit();
    record.record().addresses.iter().any(says)
}
