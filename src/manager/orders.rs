//! What others decide about peers: the operator, the chain's validator set, the scoring.

use std::collections::BTreeSet;

use super::{
    Action, Manager, PeerView, Place, Target,
    dialler::{Attempt, DialPurpose},
};
use crate::{
    address::Address,
    identity::{NodeId, PublicKey},
    reason::CloseReason,
    time::Time,
};

impl Manager {
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
        let added = self.dialler.add_ordered(now, Target { address, expected });
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
        self.ban(peer, until, address.filter(|address| !self.book.is_exempt(*address)));
        self.postpone(&peer, address, until);
        self.drop_anchor(&peer, out);
        self.cancel_dials(&peer, CloseReason::Banned, out);
        self.close_peer(now, &peer, CloseReason::Banned, out);
        self.end_visits_with(&peer, CloseReason::Banned, out);
        self.look_for_peers(now, out);
    }

    /// A ban read from the store, with the address it was seen at.
    pub fn ban(&mut self, peer: NodeId, until: Time, address: Option<Address>) {
        self.bans.add(peer, until, address);
    }

    /// The bans in force, and their ends.
    pub fn bans(&self) -> impl Iterator<Item = (NodeId, Time)> {
        self.bans.all()
    }

    /// A ban was lifted or is over.
    pub fn on_unbanned(&mut self, now: Time, peer: &NodeId, out: &mut Vec<Action>) {
        self.bans.remove(peer);
        self.book.readmit(now, peer);
        self.dialler.readmit(now, peer);
        self.look_for_peers(now, out);
    }

    /// Neither the book nor the operator's list leads us there before `until`.
    pub(super) fn postpone(&mut self, peer: &NodeId, address: Option<Address>, until: Time) {
        self.book.postpone(peer, address, until);
        self.dialler.postpone(peer, until);
    }

    pub(super) fn cancel_dials(
        &mut self,
        peer: &NodeId,
        reason: CloseReason,
        out: &mut Vec<Action>,
    ) {
        self.give_up_dials(reason, out, |attempt| attempt.expected.as_ref() == Some(peer));
    }

    /// Ends the attempts that match.
    pub(super) fn give_up_dials(
        &mut self,
        reason: CloseReason,
        out: &mut Vec<Action>,
        wanted: impl Fn(&Attempt) -> bool,
    ) {
        for (attempt, given_up) in self.dialler.take(wanted) {
            out.push(Action::CancelDial { attempt, reason });
            if let Some(peer) = given_up.expected.filter(|_| given_up.purpose == DialPurpose::Visit)
            {
                out.push(Action::VisitFailed { peer, blame: false });
            }
        }
    }

    /// Decides anew who has a reserved place.
    pub(super) fn reassign_slots(&mut self) {
        let everybody: Vec<PeerView> = self.peers.iter().map(|p| p.view.clone()).collect();
        for view in everybody {
            let place = self.place_for(&view);
            self.peers.set_place(&view.peer, place);
        }
    }

    /// The place of a peer: persistent; or of a proven validator of the set while there are
    /// places for them; else an ordinary one.
    pub(super) fn place_for(&self, view: &PeerView) -> Place {
        if self.dialler.is_persistent(&view.peer) {
            return Place::Persistent;
        }
        let has = self.peers.get(&view.peer).is_some_and(|p| p.view.place == Place::Validator);
        let taken = self.peers.census().of(Place::Validator).saturating_sub(usize::from(has));
        let proven = view.validator.is_some_and(|key| self.validators.contains(&key));
        match (view.chosen, view.blocks_only) {
            // Blocks alone are no overlay.
            (_, false) if proven && taken < self.config.validator_slots => Place::Validator,
            (true, true) => Place::BlocksOnly,
            (true, false) => Place::Outbound,
            (false, _) => Place::Inbound,
        }
    }
}
