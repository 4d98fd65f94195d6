//! Circuits that end at this node: opening, taking, windows, closing.

use bytes::{Bytes, BytesMut};

use super::{
    Action, CIRCUITS_PER_SESSION_MAX, CircuitCredit, CircuitId, CircuitKey, CircuitOpen,
    CircuitReason, Circuits, LINGER, OPEN_TIMEOUT, OtherEnd, Role, WINDOW,
    config::{GRANT, TAKEN_PER_NODE_MAX},
    saying,
    sessions::Use,
};
use crate::{
    address::Address, header::Header, identity::NodeId, kinds::Kind, manager::SessionId,
    messages::Outgoing, record::Capabilities, time::Time,
};

/// This node's end of a circuit.
#[derive(Debug)]
pub(super) struct End {
    session: SessionId,
    id: CircuitId,
    /// Who is said to be at the other end.
    other: NodeId,
    role: Role,
    open: bool,
    /// What may still be sent, bytes.
    sendable: u32,
    /// What the other end may still send, bytes.
    receivable: u32,
    /// What was read and not granted again, bytes.
    read: u32,
    /// When it ends if nothing happens.
    pub(super) until: Option<Time>,
}

impl Circuits {
    /// Asks a peer for a circuit to a node. Answered with [`Action::Opened`] or
    /// [`Action::Closed`].
    ///
    /// # Errors
    /// Why that peer is not even asked.
    pub fn dial(
        &mut self,
        now: Time,
        relay: &NodeId,
        to: NodeId,
        out: &mut Vec<Action>,
    ) -> Result<CircuitKey, CircuitReason> {
        let session = *self.by_peer.get(relay).ok_or(CircuitReason::NotConnected)?;
        let on = self.sessions.get(&session).ok_or(CircuitReason::NotConnected)?;
        if to == self.own {
            return Err(CircuitReason::SelfCircuit);
        }
        if to == *relay {
            return Err(CircuitReason::ToRelay);
        }
        if on.peer.address.is_circuit() {
            return Err(CircuitReason::Nested);
        }
        if !on.peer.capabilities.contains(Capabilities::RELAY) {
            return Err(CircuitReason::NoService);
        }
        self.room(session, Role::Dialled, &to)?;
        let on = self.sessions.get_mut(&session).ok_or(CircuitReason::NotConnected)?;
        let id = on.take_number().ok_or(CircuitReason::Busy)?;
        let open = CircuitOpen { circuit: id, other: OtherEnd::To(to) };
        out.push(saying(session, Kind::CircuitOpen, &open));
        Ok(self.add_end(now, (session, id), to, Role::Dialled))
    }

    /// Where the relay is that carries a circuit which ends here.
    #[must_use]
    pub fn relay_address(&self, key: CircuitKey) -> Option<Address> {
        let on = self.sessions.get(&self.ends.get(&key)?.session)?;
        Some(on.peer.address)
    }

    /// Whether one more circuit of this node's may use this connection: those dialled and those
    /// taken have room of their own, and one node at the other end has a little of it.
    fn room(&self, session: SessionId, role: Role, other: &NodeId) -> Result<(), CircuitReason> {
        let same = || self.ends.values().filter(|end| end.session == session && end.role == role);
        let of_node = same().filter(|end| end.other == *other).count();
        let full = same().count() >= CIRCUITS_PER_SESSION_MAX
            || (role == Role::Accepted && of_node >= TAKEN_PER_NODE_MAX);
        if full { Err(CircuitReason::Busy) } else { Ok(()) }
    }

    /// A relay offers a circuit.
    pub(super) fn offer(
        &mut self,
        now: Time,
        session: SessionId,
        id: CircuitId,
        from: NodeId,
        out: &mut Vec<Action>,
    ) -> Result<(), CircuitReason> {
        if !self.config.accept {
            return Err(CircuitReason::NotAccepted);
        }
        if from == self.own {
            return Err(CircuitReason::SelfCircuit);
        }
        let on = self.sessions.get(&session).ok_or(CircuitReason::NotConnected)?;
        let relay = (on.peer.peer, on.peer.address);
        if relay.1.is_circuit() {
            return Err(CircuitReason::Nested);
        }
        self.room(session, Role::Accepted, &from)?;
        let key = self.add_end(now, (session, id), from, Role::Accepted);
        out.push(Action::Offered { key, relay, from });
        Ok(())
    }

    fn add_end(
        &mut self,
        now: Time,
        (session, id): (SessionId, CircuitId),
        other: NodeId,
        role: Role,
    ) -> CircuitKey {
        let key = CircuitKey(self.number());
        let until = Some(now.plus(OPEN_TIMEOUT));
        let (sendable, receivable) = (WINDOW, WINDOW);
        let (open, read) = (false, 0);
        let end = End { session, id, other, role, open, sendable, receivable, read, until };
        self.ends.insert(key, end);
        if let Some(on) = self.sessions.get_mut(&session) {
            on.circuits.insert(id, Use::End(key));
        }
        key
    }

    /// An offered circuit is taken.
    pub fn accept(&mut self, key: CircuitKey, out: &mut Vec<Action>) {
        let Some(end) = self.ends.get_mut(&key).filter(|end| !end.open) else { return };
        (end.open, end.until) = (true, None);
        out.push(saying(end.session, Kind::CircuitOpened, &end.id));
        out.push(Action::Began(end.role));
    }

    /// The other end has taken it; false if it could not.
    pub(super) fn on_end_opened(&mut self, key: CircuitKey, out: &mut Vec<Action>) -> bool {
        let Some(end) = self.ends.get_mut(&key) else { return true };
        if end.open || end.role != Role::Dialled {
            return false;
        }
        (end.open, end.until) = (true, None);
        out.push(Action::Opened(key));
        out.push(Action::Began(end.role));
        true
    }

    /// Bytes came; false if there are more than were granted.
    pub(super) fn on_end_data(
        &mut self,
        key: CircuitKey,
        body: &Bytes,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(end) = self.ends.get_mut(&key) else { return true };
        let left = u32::try_from(body.len()).ok().and_then(|len| end.receivable.checked_sub(len));
        let Some(left) = left.filter(|_| end.open) else { return false };
        end.receivable = left;
        out.push(Action::Received(key, body.clone()));
        true
    }

    /// More may be sent; false if that is more than the window holds.
    pub(super) fn on_end_credit(
        &mut self,
        key: CircuitKey,
        bytes: u32,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(end) = self.ends.get_mut(&key) else { return true };
        let sendable = end.sendable.checked_add(bytes).filter(|sum| *sum <= WINDOW && end.open);
        let Some(sendable) = sendable else { return false };
        end.sendable = sendable;
        out.push(Action::Credited(key));
        true
    }

    /// Sends what may be sent of these bytes, from the front; the rest stays.
    pub fn send(&mut self, key: CircuitKey, bytes: &mut BytesMut, out: &mut Vec<Action>) {
        let Some(end) = self.ends.get_mut(&key).filter(|end| end.open) else { return };
        let piece_max = Kind::CircuitData.row().body_max;
        while !bytes.is_empty() && end.sendable > 0 {
            let sendable = usize::try_from(end.sendable).unwrap_or(usize::MAX);
            let body = bytes.split_to(bytes.len().min(sendable).min(piece_max)).freeze();
            let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
            end.sendable = end.sendable.saturating_sub(length);
            let header = Header::of(&end.id);
            let message = Outgoing { kind: Kind::CircuitData, header, body };
            out.push(Action::Send { session: end.session, message });
        }
    }

    /// So many of the received bytes were read: room for as many again.
    pub fn on_read(&mut self, key: CircuitKey, bytes: usize, out: &mut Vec<Action>) {
        let Some(end) = self.ends.get_mut(&key) else { return };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let taken = WINDOW.saturating_sub(end.receivable);
        end.read = end.read.saturating_add(bytes).min(taken);
        if end.read >= GRANT {
            let bytes = std::mem::take(&mut end.read);
            end.receivable = end.receivable.saturating_add(bytes);
            let credit = CircuitCredit { circuit: end.id, bytes };
            out.push(saying(end.session, Kind::CircuitCredit, &credit));
        }
    }

    /// Nobody reads or writes here any more; what was written has [`LINGER`] to leave.
    pub fn finish(&mut self, now: Time, key: CircuitKey) {
        if let Some(end) = self.ends.get_mut(&key) {
            end.until.get_or_insert(now.plus(LINGER));
        }
    }

    /// Ends a circuit from here. [`Action::Closed`] follows.
    pub fn close(
        &mut self,
        now: Time,
        key: CircuitKey,
        reason: CircuitReason,
        out: &mut Vec<Action>,
    ) {
        let Some(end) = self.ends.get(&key) else { return };
        let place = (end.session, end.id);
        self.end_use(now, place, Use::End(key), reason, out);
    }

    /// It is over, and its number is free already.
    pub(super) fn forget_end(
        &mut self,
        key: CircuitKey,
        reason: CircuitReason,
        out: &mut Vec<Action>,
    ) {
        let Some(end) = self.ends.remove(&key) else { return };
        out.push(if end.open { Action::Ended(end.role, reason) } else { Action::Refused(reason) });
        out.push(Action::Closed(key, reason));
    }
}
