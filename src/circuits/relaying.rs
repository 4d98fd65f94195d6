//! Circuits that pass through this node: who may, and what becomes of the bytes.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    Action, CircuitCredit, CircuitId, CircuitOpen, CircuitReason, Circuits, OPEN_TIMEOUT, OtherEnd,
    Role, WINDOW, closing,
    config::{IDLE, MESSAGE_CHARGE},
    quotas::Payer,
    saying,
    sessions::Use,
};
use crate::{
    frame, header::Header, identity::NodeId, kinds::Kind, manager::SessionId, messages::Outgoing,
    record::Capabilities, time::Time,
};

/// A circuit between two peers. Side 0 has opened it.
#[derive(Debug)]
pub(super) struct Carried {
    legs: [(SessionId, CircuitId); 2],
    payer: Payer,
    opened: bool,
    /// What each side may still send, bytes: the window as this node sees it go by.
    pub(super) sendable: [u32; 2],
    /// Bytes carried, both directions, and what their messages cost beside.
    bytes: u64,
    /// When it carried something last.
    used: Time,
    /// When it ends, whatever happens.
    until: Time,
}

impl Carried {
    fn leg(&self, side: usize) -> Option<(SessionId, CircuitId)> {
        self.legs.get(side).copied()
    }

    /// When it ends if nothing happens, and for what.
    pub(super) fn end(&self) -> (Time, CircuitReason) {
        let idle = self.used.plus(IDLE);
        if !self.opened {
            (self.until, CircuitReason::Timeout)
        } else if idle < self.until {
            (idle, CircuitReason::Idle)
        } else {
            (self.until, CircuitReason::TimeUsed)
        }
    }
}

/// The other side.
fn across(side: usize) -> usize {
    1usize.saturating_sub(side)
}

impl Circuits {
    /// A peer asks for a circuit to a node.
    pub(super) fn carry(
        &mut self,
        now: Time,
        session: SessionId,
        id: CircuitId,
        to: NodeId,
        out: &mut Vec<Action>,
    ) -> Result<(), CircuitReason> {
        let on = self.sessions.get_mut(&session).ok_or(CircuitReason::NotConnected)?;
        if !on.asks.take(now, 1) {
            return Err(CircuitReason::PeerQuota);
        }
        let asker = on.peer;
        if asker.address.is_circuit() {
            return Err(CircuitReason::Nested);
        }
        if !self.config.serve {
            return Err(CircuitReason::NoService);
        }
        if to == asker.peer {
            return Err(CircuitReason::SelfCircuit);
        }
        if to == self.own {
            return Err(CircuitReason::ToRelay);
        }
        let other = *self.by_peer.get(&to).ok_or(CircuitReason::NotConnected)?;
        let target = self.sessions.get(&other).ok_or(CircuitReason::NotConnected)?;
        if target.peer.address.is_circuit() {
            return Err(CircuitReason::Nested);
        }
        if !target.peer.capabilities.contains(Capabilities::CIRCUITS) {
            return Err(CircuitReason::NotAccepted);
        }
        let payer = Payer { peer: asker.peer, group: asker.group };
        if let Err(reason) = self.quotas.enter(now, &self.config, payer) {
            let crowding = self.crowding(payer, reason).ok_or(reason)?;
            self.end_carried(now, crowding, reason, None, out);
            self.quotas.enter(now, &self.config, payer)?;
        }
        let target = self.sessions.get_mut(&other).ok_or(CircuitReason::NotConnected);
        // Last: whoever may have no circuit uses up nobody's calls.
        let target = target.and_then(|target| {
            if target.called.take(now, 1) { Ok(target) } else { Err(CircuitReason::Busy) }
        });
        let there = target.and_then(|target| target.take_number().ok_or(CircuitReason::Busy));
        let there = there.inspect_err(|_| self.quotas.leave(payer))?;
        let number = self.number();
        let legs = [(session, id), (other, there)];
        for (side, (session, id)) in legs.into_iter().enumerate() {
            if let Some(on) = self.sessions.get_mut(&session) {
                on.circuits.insert(id, Use::Leg(number, side));
            }
        }
        let (opened, sendable, until) = (false, [WINDOW; 2], now.plus(OPEN_TIMEOUT));
        let carried = Carried { legs, payer, opened, sendable, bytes: 0, used: now, until };
        self.carried.insert(number, carried);
        let open = CircuitOpen { circuit: there, other: OtherEnd::From(asker.peer) };
        out.push(saying(other, Kind::CircuitOpen, &open));
        Ok(())
    }

    /// Whose circuit has to go for one of a neighbourhood that has two fewer, or in one and the
    /// same of a node that has: the oldest of whoever has most there. Those that hold all there is
    /// keep nobody out.
    fn crowding(&self, payer: Payer, full: CircuitReason) -> Option<u64> {
        let (mut groups, mut peers) = (BTreeMap::new(), BTreeMap::new());
        for Carried { payer, .. } in self.carried.values() {
            let known = groups.entry(payer.group).or_insert(0usize);
            *known = known.saturating_add(1);
            let known = peers.entry((payer.group, payer.peer)).or_insert(0usize);
            *known = known.saturating_add(1);
        }
        let group = match full {
            CircuitReason::GroupQuota => payer.group,
            CircuitReason::TotalQuota => *groups.iter().max_by_key(|(_, count)| **count)?.0,
            _ => return None,
        };
        let of_group = peers.iter().filter(|((of, _), _)| *of == group);
        let most = of_group.map(|(_, count)| *count).max()?;
        let (theirs, own) = if group == payer.group {
            (Some(most), peers.get(&(group, payer.peer)))
        } else {
            (groups.get(&group).copied(), groups.get(&payer.group))
        };
        if theirs? <= own.copied().unwrap_or(0).saturating_add(1) {
            return None;
        }
        let has_most =
            |payer: &Payer| payer.group == group && peers.get(&(group, payer.peer)) == Some(&most);
        let oldest = self.carried.iter().find(|(_, carried)| has_most(&carried.payer));
        oldest.map(|(number, _)| *number)
    }

    /// One of the sides says that it takes the circuit; false if that was not asked.
    pub(super) fn on_leg_opened(
        &mut self,
        now: Time,
        number: u64,
        side: usize,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(carried) = self.carried.get_mut(&number) else { return true };
        if carried.opened || side != 1 {
            return false;
        }
        (carried.opened, carried.used) = (true, now);
        carried.until = now.plus(self.config.time_max);
        let [(session, id), _] = carried.legs;
        out.push(saying(session, Kind::CircuitOpened, &id));
        out.push(Action::Began(Role::Carried));
        true
    }

    /// Bytes go across; false if their sender was not granted as many.
    pub(super) fn on_leg_data(
        &mut self,
        now: Time,
        number: u64,
        side: usize,
        body: &Bytes,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(carried) = self.carried.get_mut(&number) else { return true };
        let Some(sendable) = carried.sendable.get_mut(side) else { return true };
        let left = u32::try_from(body.len()).ok().and_then(|length| sendable.checked_sub(length));
        let Some(left) = left.filter(|_| carried.opened) else { return false };
        *sendable = left;
        let length = MESSAGE_CHARGE.saturating_add(body.len() as u64);
        carried.used = now;
        carried.bytes = carried.bytes.saturating_add(length);
        let over = if carried.bytes > self.config.bytes_max {
            Some(CircuitReason::BytesUsed)
        } else if !self.quotas.pay(now, &self.config, carried.payer, length) {
            Some(CircuitReason::HourUsed)
        } else {
            None
        };
        if let Some(reason) = over {
            self.end_carried(now, number, reason, None, out);
            return true;
        }
        if let Some((session, id)) = carried.leg(across(side)) {
            // What waits to be sent must not keep the whole read alive that it came with.
            let message = Outgoing {
                kind: Kind::CircuitData,
                header: Header::of(&id),
                body: frame::keep(body),
            };
            out.push(Action::Passed(body.len()));
            out.push(Action::Send { session, message });
        }
        true
    }

    /// Room goes across; false if there can't be as much.
    pub(super) fn on_leg_credit(
        &mut self,
        now: Time,
        (number, side): (u64, usize),
        bytes: u32,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(carried) = self.carried.get_mut(&number) else { return true };
        let Some(sendable) = carried.sendable.get_mut(across(side)) else { return true };
        let sum = sendable.checked_add(bytes).filter(|sum| *sum <= WINDOW && carried.opened);
        let Some(sum) = sum else { return false };
        *sendable = sum;
        if !self.quotas.pay(now, &self.config, carried.payer, MESSAGE_CHARGE) {
            self.end_carried(now, number, CircuitReason::HourUsed, None, out);
            return true;
        }
        if let Some((session, circuit)) = carried.leg(across(side)) {
            out.push(saying(session, Kind::CircuitCredit, &CircuitCredit { circuit, bytes }));
        }
        true
    }

    /// Ends a circuit that passes through. Both sides are told, but for the one that said so.
    pub(super) fn end_carried(
        &mut self,
        now: Time,
        number: u64,
        reason: CircuitReason,
        told_by: Option<usize>,
        out: &mut Vec<Action>,
    ) {
        let Some(gone) = self.carried.remove(&number) else { return };
        self.quotas.leave(gone.payer);
        self.quotas.tidy(now, &self.config);
        out.push(if gone.opened {
            Action::Ended(Role::Carried, reason)
        } else {
            Action::Refused(reason)
        });
        for (side, (session, id)) in gone.legs.into_iter().enumerate() {
            let Some(on) = self.sessions.get_mut(&session) else { continue };
            on.circuits.remove(&id);
            if told_by != Some(side) {
                out.push(closing(session, id, reason));
            }
        }
    }
}
