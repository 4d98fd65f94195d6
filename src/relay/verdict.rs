//! What waits for a signature check and the chain's verdict, and what follows from them.

use super::{
    Action, Delivered, Delivery, DropReason, Relay, RelayFault, Verdict, VerdictTicket,
    peer_set::PeerSlot,
    pending::{Stage, Waiting},
    receive::{Source, own},
    table::State,
};
use crate::{identity::PublicKey, kinds::Kind, time::Time};

/// Longest reason of a rejection that is passed on, characters.
const REASON_CHARS_MAX: usize = 120;

impl Relay {
    /// Orders the signature check, or goes on to the verdict. From here on the message is kept,
    /// so this is where its body is copied: once, and never again.
    pub(super) fn await_check(
        &mut self,
        now: Time,
        source: Source,
        entry: Option<u32>,
        signed: Option<(PublicKey, Time)>,
        mut message: Delivered,
        out: &mut Vec<Action>,
    ) {
        let limits = &self.config.pending;
        let bytes = message.body.len();
        let full = self.pending.len() >= limits.count_max
            || self.pending.bytes().saturating_add(bytes) > limits.bytes_max;
        let slot = match source {
            Source::Peer(slot) => Some(slot),
            Source::Sealed(node) => self.peers.slot(&node),
        };
        let peer_full = slot.and_then(|slot| self.peers.get(slot)).is_some_and(|peer| {
            peer.pending >= limits.count_per_peer
                || peer.pending_bytes.saturating_add(bytes) > limits.bytes_per_peer
        });
        if full || peer_full {
            // Not remembered as seen: it may be asked for when there is room again.
            return self.let_go(now, entry, message.kind, DropReason::PendingFull);
        }
        // What was sealed was opened into memory of its own.
        let sender = source.accountable();
        if sender.is_some() {
            message.body = own(&message.body);
        }
        let deadline = now.plus(self.config.pending.other_timeout_ms);
        let stage = Stage::Verify;
        let waiting = Waiting { stage, message, sender, entry, signed, deadline };
        if signed.is_none() {
            return self.await_verdict(now, waiting, out);
        }
        self.charge(sender, bytes);
        let (kind, body) = (waiting.message.kind, waiting.message.body.clone());
        let ticket = self.pending.insert(waiting);
        out.push(Action::Verify { ticket, kind, body });
    }

    /// A worker checked a signature.
    pub fn on_verified(
        &mut self,
        now: Time,
        ticket: VerdictTicket,
        valid: bool,
        out: &mut Vec<Action>,
    ) {
        let Some(waiting) = self.pending.take(ticket, Stage::Verify) else {
            return self.came_late(ticket);
        };
        self.discharge(&waiting);
        if valid {
            return self.await_verdict(now, waiting, out);
        }
        self.drops.add(waiting.message.kind, DropReason::BadSignature);
        self.blame(&waiting, "bad signature", out);
        self.refuse(now, &waiting, State::Rejected);
    }

    /// Asks the chain, or accepts at once what needs no verdict.
    fn await_verdict(&mut self, now: Time, mut waiting: Waiting, out: &mut Vec<Action>) {
        let kind = waiting.message.kind;
        // The network's own is none of the chain's: nobody would ever answer.
        let is_judged = self.config.pending.judge_custom && !waiting.message.is_punch();
        if kind == Kind::Custom && !is_judged {
            out.push(Action::Deliver(waiting.message.clone()));
            return self.accept(now, waiting, out);
        }
        self.charge(waiting.sender, waiting.message.body.len());
        waiting.deadline = now.plus(self.config.verdict_ms(kind));
        waiting.stage = Stage::Judge;
        let message = waiting.message.clone();
        let ticket = self.pending.insert(waiting);
        out.push(Action::Judge { ticket, message });
    }

    /// The chain gave its verdict.
    pub fn on_verdict(
        &mut self,
        now: Time,
        ticket: VerdictTicket,
        verdict: Verdict,
        out: &mut Vec<Action>,
    ) {
        let Some(waiting) = self.pending.take(ticket, Stage::Judge) else {
            return self.came_late(ticket);
        };
        self.discharge(&waiting);
        match verdict {
            Verdict::Accept => self.accept(now, waiting, out),
            Verdict::Ignore => {
                self.drops.add(waiting.message.kind, DropReason::Ignored);
                self.refuse(now, &waiting, State::Ignored);
            }
            Verdict::Reject(reason) => {
                self.drops.add(waiting.message.kind, DropReason::Rejected);
                let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
                self.blame(&waiting, &reason, out);
                self.refuse(now, &waiting, State::Rejected);
            }
        }
    }

    /// What it is about has gone its way meanwhile.
    fn came_late(&mut self, ticket: VerdictTicket) {
        if let Some(kind) = ticket.kind() {
            self.drops.add(kind, DropReason::LateVerdict);
        }
    }

    /// Good: remember, keep to serve, credit, forward.
    fn accept(&mut self, now: Time, waiting: Waiting, out: &mut Vec<Action>) {
        let Waiting { message, sender, entry, signed, .. } = waiting;
        let Delivered { kind, topic, hops, id, .. } = message;
        if let Some(slot) = sender {
            self.credit(slot, kind, Delivery::First);
        }
        let Some(entry) = entry else { return };
        if let Some((origin, stamp)) = signed {
            self.origins.insert(origin, stamp, id);
        }
        let copies = self.table.get(entry).map(|entry| entry.sent.clone()).unwrap_or_default();
        for slot in copies.iter().filter(|slot| Some(*slot) != sender) {
            self.credit(slot, kind, Delivery::Duplicate);
        }
        self.table.set(now, entry, State::Accepted);
        self.table.keep(entry, kind, topic, hops, message.body.clone());
        self.forward(now, entry, &message, out);
    }

    fn refuse(&mut self, now: Time, waiting: &Waiting, state: State) {
        if let Some(entry) = waiting.entry {
            self.table.set(now, entry, state);
        }
    }

    /// Everything whose time is over is ignored: our own overload is nobody's fault.
    pub(super) fn expire_pending(&mut self, now: Time) {
        while let Some(waiting) = self.pending.take_expired(now) {
            self.discharge(&waiting);
            // Our own overload: not remembered, so that the message may come again.
            self.let_go(now, waiting.entry, waiting.message.kind, DropReason::VerdictTimeout);
        }
    }

    fn charge(&mut self, sender: Option<PeerSlot>, bytes: usize) {
        if let Some(peer) = sender.and_then(|slot| self.peers.had_mut(slot)) {
            peer.pending = peer.pending.saturating_add(1);
            peer.pending_bytes = peer.pending_bytes.saturating_add(bytes);
        }
    }

    fn discharge(&mut self, waiting: &Waiting) {
        if let Some(peer) = waiting.sender.and_then(|slot| self.peers.had_mut(slot)) {
            peer.pending = peer.pending.saturating_sub(1);
            peer.pending_bytes = peer.pending_bytes.saturating_sub(waiting.message.body.len());
        }
    }

    /// Honest nodes forward nothing before its verdict, so everyone who sent it is at fault.
    fn blame(&mut self, waiting: &Waiting, detail: &str, out: &mut Vec<Action>) {
        let kind = waiting.message.kind;
        // Custom topics are passed on unjudged where nobody handles them: no carrier's fault.
        if kind == Kind::Custom {
            return;
        }
        let senders = waiting.entry.and_then(|entry| Some(self.table.get(entry)?.sent.clone()));
        for slot in senders.unwrap_or_default().iter() {
            self.penalise(slot, RelayFault::invalid(kind), detail, out);
        }
    }
}
