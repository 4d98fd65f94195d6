//! Messages that wait for a signature check or a verdict, bounded in count, bytes and time.

use super::{
    action::{Delivered, VerdictTicket},
    peer_set::{PeerSet, PeerSlot},
    slab::{Order, Slab},
};
use crate::{identity::PublicKey, kinds::Kind, time::Time};

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
    pub(super) sender: Option<PeerSlot>,
    /// Its entry in the table, held; `None` for what is for this node alone.
    pub(super) entry: Option<u32>,
    /// Origin and stamp of a signed kind.
    pub(super) signed: Option<(PublicKey, Time)>,
    pub(super) deadline: Time,
}

/// All waiting messages.
#[derive(Default)]
pub(super) struct Pending {
    waiting: Slab<(VerdictTicket, Waiting)>,
    /// By how long is waited, so that each order is by deadline: blocks, transactions, others.
    orders: [Order; 3],
    bytes: usize,
    next: u32,
}

/// Which order a message waits in.
fn class(stage: Stage, kind: Kind) -> usize {
    match (stage, kind) {
        (Stage::Judge, Kind::Block) => 0,
        (Stage::Judge, Kind::Transaction) => 1,
        _ => 2,
    }
}

/// Bits of a ticket that name a position: far more than messages wait
/// ([`super::PendingConfig::count_max`]).
const POSITION_BITS: u32 = 24;

/// A ticket names the kind (8 bits) for whoever answers late, a turn (32 bits) so that none is
/// valid twice, and a position.
fn ticket_of(kind: Kind, turn: u32, position: u32) -> VerdictTicket {
    let turn = u64::from(turn) << POSITION_BITS;
    VerdictTicket(u64::from(kind.byte()) << (32 + POSITION_BITS) | turn | u64::from(position))
}

fn position(ticket: VerdictTicket) -> u32 {
    u32::try_from(ticket.0 & ((1 << POSITION_BITS) - 1)).unwrap_or(u32::MAX)
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn insert(&mut self, waiting: Waiting) -> VerdictTicket {
        let kind = waiting.message.kind;
        let order = class(waiting.stage, kind);
        self.bytes = self.bytes.saturating_add(waiting.message.body.len());
        self.next = self.next.wrapping_add(1);
        let at = self.waiting.insert((VerdictTicket(0), waiting));
        let ticket = ticket_of(kind, self.next, at);
        if let Some((named, _)) = self.waiting.get_mut(at) {
            *named = ticket;
        }
        if let Some(order) = self.orders.get_mut(order) {
            self.waiting.append(order, at);
        }
        ticket
    }

    /// Takes a waiting message out, if it waits for `stage`.
    pub(super) fn take(&mut self, ticket: VerdictTicket, stage: Stage) -> Option<Waiting> {
        let at = position(ticket);
        let (named, waiting) = self.waiting.get(at)?;
        if *named != ticket || waiting.stage != stage {
            return None;
        }
        let order = class(stage, waiting.message.kind);
        self.waiting.unlink(self.orders.get_mut(order)?, at);
        let (_, waiting) = self.waiting.remove(at)?;
        self.bytes = self.bytes.saturating_sub(waiting.message.body.len());
        Some(waiting)
    }

    fn first(&self) -> Option<(Time, VerdictTicket, Stage)> {
        let firsts = self.orders.iter().filter_map(|order| self.waiting.get(order.first()?));
        firsts
            .map(|(ticket, waiting)| (waiting.deadline, *ticket, waiting.stage))
            .min_by_key(|w| w.0)
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.first().map(|(at, ..)| at)
    }

    /// Takes out one message whose time is over.
    pub(super) fn take_expired(&mut self, now: Time) -> Option<Waiting> {
        let (at, ticket, stage) = self.first()?;
        if at > now { None } else { self.take(ticket, stage) }
    }

    /// These slots get other peers: nobody answers any more for what theirs sent.
    pub(super) fn forget_peers(&mut self, gone: &PeerSet) {
        for (_, (_, waiting)) in self.waiting.iter_mut() {
            waiting.sender = waiting.sender.filter(|slot| !gone.contains(*slot));
        }
    }
}
