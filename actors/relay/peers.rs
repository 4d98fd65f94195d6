//! Peers that come, go, and get another connection.

use actix::Context;
use peerstage_core::{
    identity::NodeId,
    manager::SessionId,
    relay::{PeerInfo, PeerSlot},
};

use super::MessageRelay;
use crate::{
    peer::{Outbox, PeerUp},
    shell::step,
};

/// A peer that has a slot.
#[derive(Clone, Copy)]
pub(super) struct Connected {
    pub(super) session: SessionId,
    pub(super) slot: PeerSlot,
    info: PeerInfo,
}

impl MessageRelay {
    pub(super) fn peer_up(&mut self, up: PeerUp, ctx: &mut Context<Self>) {
        let PeerUp { session, info, noise_key, outbox, upgrades } = up;
        self.links.directory.insert(info.peer, session, outbox.clone());
        if let Some(older) = upgrades {
            self.retiring.insert(older, info.peer);
            if self.upgrade(older, session, &info, &outbox) {
                self.machine.on_record(info.peer, noise_key);
                return;
            }
        }
        // First: the new connection may be given the slot of the one before.
        let before = self.peers.remove(&info.peer);
        self.forget(before.map(|before| before.slot));
        let slot = step(self, ctx, |actor, now, out| {
            actor.machine.on_record(info.peer, noise_key);
            // What is ordered for the new peer finds its outbox: orders are carried out after this.
            let slot = actor.machine.on_peer_up(now, info, out)?;
            if actor.outboxes.len() <= slot.index() {
                actor.outboxes.resize_with(slot.index() + 1, || None);
            }
            if let Some(place) = actor.outboxes.get_mut(slot.index()) {
                *place = Some(outbox);
            }
            Some(slot)
        });
        if let Some(slot) = slot {
            self.peers.insert(info.peer, Connected { session, slot, info });
        }
    }

    /// A peer's connection becomes a direct one, and nothing else of the peer changes: what it was
    /// asked for and what it has been told still holds. False if it is another peer by that.
    fn upgrade(
        &mut self,
        older: SessionId,
        session: SessionId,
        info: &PeerInfo,
        outbox: &Outbox,
    ) -> bool {
        let Some(known) = self.peers.get_mut(&info.peer) else { return false };
        let same =
            known.info.validator == info.validator && known.info.blocks_only == info.blocks_only;
        if known.session != older || !same {
            return false;
        }
        known.session = session;
        if let Some(place) = self.outboxes.get_mut(known.slot.index()) {
            *place = Some(outbox.clone());
        }
        true
    }

    fn forget(&mut self, slot: Option<PeerSlot>) {
        if let Some(outbox) = slot.and_then(|slot| self.outboxes.get_mut(slot.index())) {
            *outbox = None;
        }
    }

    pub(super) fn peer_down(&mut self, peer: NodeId, session: SessionId, ctx: &mut Context<Self>) {
        self.links.directory.remove(&peer, session);
        self.retiring.remove(&session);
        let Some(Connected { session: current, slot, .. }) = self.peers.get(&peer).copied() else {
            return;
        };
        if current == session {
            self.peers.remove(&peer);
            self.forget(Some(slot));
            step(self, ctx, |actor, now, out| actor.machine.on_peer_down(now, slot, out));
        }
    }
}
