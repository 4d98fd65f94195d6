//! Messages that wait for a signature check or a verdict, bounded in count, bytes and time.

use std::collections::{BTreeMap, BTreeSet};

use super::action::{Delivered, VerdictTicket};
use crate::{
    identity::{NodeId, PublicKey},
    messages::MessageId,
    time::Time,
};

/// Other senders remembered for a message that waits: they are at fault too if it is invalid.
const COPIES_MAX: usize = 16;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Verify,
    Judge,
}

/// One waiting message.
pub(super) struct Waiting {
    pub(super) stage: Stage,
    pub(super) message: Delivered,
    /// Who handed it to us and answers for it; nobody for what came sealed through others.
    pub(super) sender: Option<NodeId>,
    /// Who sent a copy meanwhile.
    pub(super) copies: BTreeSet<NodeId>,
    /// Origin and stamp of a signed kind.
    pub(super) signed: Option<(PublicKey, Time)>,
    deadline: Time,
}

/// All waiting messages.
#[derive(Default)]
pub(super) struct Pending {
    waiting: BTreeMap<VerdictTicket, Waiting>,
    by_id: BTreeMap<MessageId, VerdictTicket>,
    deadlines: BTreeSet<(Time, VerdictTicket)>,
    bytes: usize,
    next: u64,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn contains(&self, id: &MessageId) -> bool {
        self.by_id.contains_key(id)
    }

    pub(super) fn insert(
        &mut self,
        stage: Stage,
        message: Delivered,
        sender: Option<NodeId>,
        signed: Option<(PublicKey, Time)>,
        deadline: Time,
    ) -> VerdictTicket {
        self.next = self.next.wrapping_add(1);
        let ticket = VerdictTicket(self.next);
        self.bytes = self.bytes.saturating_add(message.body.len());
        // Messages to this node alone are not deduplicated: the same words may be said twice.
        if !message.direct {
            self.by_id.insert(message.id, ticket);
        }
        self.deadlines.insert((deadline, ticket));
        let copies = BTreeSet::new();
        self.waiting.insert(ticket, Waiting { stage, message, sender, copies, signed, deadline });
        ticket
    }

    /// Remembers who else sent a waiting message; true if it is new that they did.
    pub(super) fn on_copy(&mut self, id: &MessageId, peer: NodeId) -> bool {
        let waiting = self.by_id.get(id).and_then(|ticket| self.waiting.get_mut(ticket));
        waiting.is_some_and(|waiting| {
            let room = waiting.copies.len() < COPIES_MAX && waiting.sender != Some(peer);
            room && waiting.copies.insert(peer)
        })
    }

    /// Takes a waiting message out, if it waits for `stage`.
    pub(super) fn take(&mut self, ticket: VerdictTicket, stage: Stage) -> Option<Waiting> {
        if self.waiting.get(&ticket)?.stage != stage {
            return None;
        }
        let waiting = self.waiting.remove(&ticket)?;
        if self.by_id.get(&waiting.message.id) == Some(&ticket) {
            self.by_id.remove(&waiting.message.id);
        }
        self.deadlines.remove(&(waiting.deadline, ticket));
        self.bytes = self.bytes.saturating_sub(waiting.message.body.len());
        Some(waiting)
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes out one message whose time is over.
    pub(super) fn take_expired(&mut self, now: Time) -> Option<Waiting> {
        let (at, ticket) = *self.deadlines.first()?;
        if at > now {
            return None;
        }
        let stage = self.waiting.get(&ticket)?.stage;
        self.take(ticket, stage)
    }
}
