//! What comes of dials: who answered, and what a failure says about which address.
//!
//! # Security
//! Provided: what happens at one address of a race is held against that address alone; what a
//! relay or somebody behind it does is held against no address at all.
//! Not provided: a way to tell silence that was caused on the path from silence of the node.

use super::{
    Action, DialFailure, DialId, Manager,
    dialler::{Attempt, DialPurpose},
};
use crate::{address::Address, book::Source, identity::NodeId, time::Time};

impl Manager {
    /// Learns from who answered a dial; false if it is the wrong node.
    pub(super) fn check_answer(
        &mut self,
        now: Time,
        attempt: &Attempt,
        (peer, answered): (NodeId, Address),
        out: &mut Vec<Action>,
    ) -> bool {
        if peer == self.identity.node {
            self.after_failure(now, (attempt, answered), DialFailure::SelfConnection, out);
            return false;
        }
        if attempt.expected.is_some_and(|expected| expected != peer) {
            let failure = DialFailure::UnexpectedIdentity(peer);
            self.after_failure(now, (attempt, answered), failure, out);
            return false;
        }
        // Of the node's addresses that were tried together, the one that answered.
        let address = answered;
        let named = matches!(attempt.purpose, DialPurpose::Bootstrap | DialPurpose::Persistent);
        // Nobody but us gets in by a hole, and we won't the next time.
        if named && !attempt.punched {
            self.book.add_address(now, address, Some(peer), Source::Operator);
        }
        let target = (&attempt.listed, attempt.expected);
        self.dialler.on_target(&self.config, &mut self.rng, now, target, Some(peer));
        // That of a relay is many nodes', and says nothing of a place in the book.
        match attempt.purpose {
            _ if address.is_circuit() => {}
            DialPurpose::Visit => self.book.on_visited(now, &address, peer),
            _ => self.book.on_success(now, &address, peer),
        }
        self.persist_book(out);
        true
    }

    /// An attempt failed at its own address.
    pub fn on_dial_failed(
        &mut self,
        now: Time,
        attempt: DialId,
        failure: DialFailure,
        out: &mut Vec<Action>,
    ) {
        let Some(attempt) = self.dialler.finish(attempt) else { return };
        self.after_failure(now, (&attempt, attempt.address), failure, out);
        self.look_for_peers(now, out);
    }

    /// An attempt failed everywhere, and what says most about the node happened at `address`: one
    /// of those that were tried with the attempt's own.
    pub fn on_dial_failed_at(
        &mut self,
        now: Time,
        (attempt, address): (DialId, Address),
        failure: DialFailure,
        out: &mut Vec<Action>,
    ) {
        let Some(attempt) = self.dialler.finish(attempt) else { return };
        self.after_failure(now, (&attempt, address), failure, out);
        self.look_for_peers(now, out);
    }

    pub(super) fn after_failure(
        &mut self,
        now: Time,
        (attempt, at): (&Attempt, Address),
        failure: DialFailure,
        out: &mut Vec<Action>,
    ) {
        let Attempt { address, listed, punched, expected, .. } = *attempt;
        // The other of two ways through one hole has got there, or may still.
        let is_reached = |peer| self.dialler.is_expected(&peer) || self.peers.contains(&peer);
        if punched && expected.is_some_and(is_reached) {
            return out.push(Action::DialFailed { address, expected, failure });
        }
        self.dialler.on_target(&self.config, &mut self.rng, now, (&listed, expected), None);
        if let Some(peer) = expected.filter(|_| attempt.purpose == DialPurpose::Anchor) {
            self.after_anchor(&peer, &failure);
        }
        // A relay can answer for anybody, and reflect what it is sent.
        let direct = !at.is_circuit();
        let of_another = address.is_circuit()
            && self.book.get(&address).is_some_and(|entry| entry.peer != expected);
        match failure {
            DialFailure::SelfConnection if direct => self.book.mark_own(now, at),
            // Our own trouble says nothing about the address (attack row 25).
            DialFailure::Local => {}
            // One entry stands for all that are behind a relay.
            _ if of_another => {}
            _ => {
                let failures = self.book.get(&listed).map_or(0, |entry| entry.failures);
                let wait = super::dialler::backoff(&self.config, &mut self.rng, failures);
                let online = self.peers.len() > 0;
                self.book.on_failure(now, &listed, now.plus(wait), online);
                if let DialFailure::UnexpectedIdentity(peer) = failure
                    && direct
                    && !punched
                {
                    self.book.correct_peer(&at, peer);
                }
            }
        }
        if let Some(peer) = expected.filter(|_| attempt.purpose == DialPurpose::Visit) {
            out.push(Action::VisitFailed { peer, blame: failure != DialFailure::Local });
        }
        self.persist_book(out);
        out.push(Action::DialFailed { address, expected, failure });
    }
}
