//! The chain's own messages on their way into a queue that has no room for them yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use peerstage_core::{
    kinds::Kind,
    lanes::{Lanes, Pushed},
    messages::Outgoing,
    time::{Millis, Time},
};

use super::outbox::{Outbox, wake};

/// Why a message of the chain's own is not in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// The connection is gone.
    #[error("the connection is gone")]
    Closed,
    /// The peer took nothing of this kind for as long as a socket may take nothing.
    #[error("the peer takes nothing")]
    TooSlow,
}

/// Names one caller that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket(u64);

/// Callers that wait for room in the queue of one kind.
#[derive(Debug, Default)]
struct Crowd {
    /// One waker a caller, however often it looks.
    wakers: BTreeMap<Ticket, Waker>,
    /// They are woken when so few bytes of the kind wait: half of what waited when the first
    /// came, so that they come back to room for many.
    below: usize,
    /// What the first of them needs, bytes.
    cost: usize,
    /// Since when nothing of the kind has left, as far as the actor saw, and what had by then.
    unmoved: Option<(Time, u64)>,
}

/// Callers that wait for room, by kind.
#[derive(Debug, Default)]
pub(super) struct Senders {
    crowds: BTreeMap<Kind, Crowd>,
    /// Those that need not wait any longer and don't know it yet.
    refused: BTreeSet<Ticket>,
    next: u64,
}

/// Resolves when the message is queued, or won't be. Dropped before, it queues nothing.
#[derive(Debug)]
pub struct Sending {
    outbox: Outbox,
    kind: Kind,
    message: Option<Outgoing>,
    ticket: Option<Ticket>,
}

impl Senders {
    pub(super) fn is_empty(&self) -> bool {
        self.crowds.is_empty()
    }

    /// Callers that wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.crowds.values().map(|crowd| crowd.wakers.len()).sum()
    }

    /// Whether somebody waits for whom no time runs yet.
    pub(super) fn is_news(&self) -> bool {
        self.crowds.values().any(|crowd| crowd.unmoved.is_none())
    }

    fn wait(
        &mut self,
        ticket: Option<Ticket>,
        message: &Outgoing,
        lanes: &Lanes,
        waker: &Waker,
    ) -> Ticket {
        let ticket = ticket.unwrap_or_else(|| {
            self.next = self.next.wrapping_add(1);
            Ticket(self.next)
        });
        let crowd = self.crowds.entry(message.kind).or_insert_with(|| Crowd {
            below: lanes.bytes_of(message.kind) / 2,
            cost: Lanes::cost(message),
            ..Crowd::default()
        });
        match crowd.wakers.get_mut(&ticket) {
            Some(known) => known.clone_from(waker),
            None => drop(crowd.wakers.insert(ticket, waker.clone())),
        }
        ticket
    }

    fn forget(&mut self, ticket: Ticket, kind: Kind) {
        self.refused.remove(&ticket);
        if let Some(crowd) = self.crowds.get_mut(&kind) {
            crowd.wakers.remove(&ticket);
            if crowd.wakers.is_empty() {
                self.crowds.remove(&kind);
            }
        }
    }

    /// Those whose kind has room now.
    pub(super) fn with_room(&mut self, lanes: &Lanes) -> Vec<Waker> {
        let mut woken = Vec::new();
        self.crowds.retain(|kind, crowd| {
            let room = lanes.bytes_of(*kind) <= crowd.below && lanes.has_room(*kind, crowd.cost);
            if room {
                woken.extend(std::mem::take(&mut crowd.wakers).into_values());
            }
            !room
        });
        woken
    }

    /// Those for whose kind nothing has left for `timeout`: they are told that it is no use. The
    /// time counts from the first call after they came.
    pub(super) fn give_up(&mut self, now: Time, timeout: Millis, lanes: &Lanes) -> Vec<Waker> {
        let mut woken = Vec::new();
        let Senders { crowds, refused, .. } = self;
        crowds.retain(|kind, crowd| {
            let left = lanes.left_of(*kind);
            match crowd.unmoved {
                Some((since, before)) if before == left => {
                    let in_vain = now.since(since) >= timeout;
                    if in_vain {
                        refused.extend(crowd.wakers.keys());
                        woken.extend(std::mem::take(&mut crowd.wakers).into_values());
                    }
                    !in_vain
                }
                _ => {
                    crowd.unmoved = Some((now, left));
                    true
                }
            }
        });
        woken
    }

    /// We held back everything for so long: no fault of the peer.
    pub(super) fn excuse(&mut self, span: Millis) {
        for (since, _) in self.crowds.values_mut().filter_map(|crowd| crowd.unmoved.as_mut()) {
            *since = since.plus(span);
        }
    }

    /// When [`Senders::give_up`] wants to be called.
    pub(super) fn deadline(&self, timeout: Millis) -> Option<Time> {
        let unmoved = self.crowds.values().filter_map(|crowd| crowd.unmoved);
        unmoved.map(|(since, _)| since.plus(timeout)).min()
    }

    /// Everybody.
    pub(super) fn take_all(&mut self) -> Vec<Waker> {
        let crowds = std::mem::take(&mut self.crowds);
        crowds.into_values().flat_map(|crowd| crowd.wakers.into_values()).collect()
    }
}

impl Sending {
    pub(super) fn new(outbox: Outbox, message: Outgoing) -> Self {
        Sending { outbox, kind: message.kind, message: Some(message), ticket: None }
    }
}

impl Future for Sending {
    type Output = Result<(), Unsent>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Sending { outbox, message, ticket, .. } = self.get_mut();
        let mut queues = outbox.lock();
        if ticket.is_some_and(|ticket| queues.senders.refused.remove(&ticket)) {
            return Poll::Ready(Err(Unsent::TooSlow));
        }
        if queues.closed {
            return Poll::Ready(Err(Unsent::Closed));
        }
        let Some(waiting) = message.take() else { return Poll::Ready(Err(Unsent::Closed)) };
        if !queues.lanes.has_room(waiting.kind, Lanes::cost(&waiting)) {
            queues.lanes.note_full(waiting.kind);
            let super::outbox::Queues { lanes, senders, .. } = &mut *queues;
            *ticket = Some(senders.wait(*ticket, &waiting, lanes, cx.waker()));
            *message = Some(waiting);
            let writer = outbox.note_crowd(&mut queues);
            drop(queues);
            wake(writer);
            return Poll::Pending;
        }
        let pushed = queues.lanes.push(waiting);
        let writer = queues.rouse();
        drop(queues);
        wake(writer);
        match pushed {
            Pushed::Queued | Pushed::QueuedDropping(_) => Poll::Ready(Ok(())),
            Pushed::Dropped | Pushed::Overflowed => Poll::Ready(Err(Unsent::TooSlow)),
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.outbox.lock().senders.forget(ticket, self.kind);
        }
    }
}
