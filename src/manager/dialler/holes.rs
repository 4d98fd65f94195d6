//! Holes that are being punched, and dialled.

use std::net::IpAddr;

use super::{DialPurpose, Dialler, Place, Recent};
use crate::{
    address::Address,
    identity::NodeId,
    manager::{
        DialId, ManagerConfig,
        config::{PUNCH_WANTED_FOR, PUNCHES_MAX, RECENT_DIALS_MAX, STRANGER_SPACING, WAYS_MAX},
        dialler::Attempt,
    },
    time::Time,
};

/// What a hole is punched for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    purpose: DialPurpose,
    /// See [`Attempt::listed`].
    listed: Address,
    until: Time,
}

impl Dialler {
    /// A hole to a node is being punched beside this attempt, which may be over before it is there.
    pub(in crate::manager) fn on_punch(&mut self, now: Time, peer: NodeId, attempt: &Attempt) {
        self.holes.retain(|_, hole| hole.until > now);
        if self.holes.len() < PUNCHES_MAX || self.holes.contains_key(&peer) {
            let (purpose, listed) = (attempt.purpose, attempt.listed);
            let until = now.plus(PUNCH_WANTED_FOR);
            self.holes.insert(peer, Hole { purpose, listed, until });
        }
    }

    /// What a hole to a node is for, and what its place is called elsewhere.
    pub(in crate::manager) fn hole(
        &self,
        now: Time,
        peer: &NodeId,
    ) -> Option<(DialPurpose, Address)> {
        let hole = self.holes.get(peer).filter(|hole| hole.until > now)?;
        Some((hole.purpose, hole.listed))
    }

    /// A place among the few holes at one IP that may be dialled in a minute.
    fn place_for_hole(&self, now: Time, ip: IpAddr) -> Option<Recent> {
        let free = |hole: &Recent| {
            self.recent.get(hole).is_none_or(|last| now.since(*last) >= STRANGER_SPACING)
        };
        let room = self.recent.len().saturating_add(3) <= RECENT_DIALS_MAX;
        (0..WAYS_MAX).map(|number| Recent::Hole(ip, number)).find(free).filter(|_| room)
    }

    /// Whether a hole at an IP, which its node alone has named, may be dialled.
    pub(in crate::manager) fn may_dial_hole(&self, now: Time, ip: IpAddr) -> bool {
        self.place_for_hole(now, ip).is_some()
    }

    /// Records an attempt at a hole that was punched to what is called `listed` elsewhere.
    pub(in crate::manager) fn start_punched(
        &mut self,
        config: &ManagerConfig,
        now: Time,
        (address, peer): (Address, NodeId),
        purpose: DialPurpose,
        listed: Address,
    ) -> DialId {
        // Its IP is counted apart: a hole there keeps nobody from dialling who really is there.
        let place = Place { address, expected: Some(peer), stranger: false, exempt: true };
        let id = self.start(config, now, place, purpose);
        if let Some(hole) = self.place_for_hole(now, address.ip()) {
            self.recent.insert(hole, now);
        }
        if let Some(attempt) = self.attempts.get_mut(&id) {
            (attempt.listed, attempt.punched) = (listed, true);
        }
        id
    }
}
