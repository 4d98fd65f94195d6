//! What waits to be sent to one peer, and in which order it goes.
//!
//! Lane 0 (votes, proposals) goes first, within [`CONSENSUS_RUN`] bytes; the other lanes share
//! what is left by weight (deficit round robin, Shreedhar and Varghese 1995, section 3), so that
//! none starves. Every kind is paced to the rate the receiver allows, so that an honest sender is
//! never mistaken for a flood (messages of circuits, which strangers cause, by themselves), and to
//! the bytes a second that both sides allow. Votes and what keeps the connection (greeting, pings,
//! goodbye) count towards those too, and never wait for them.
//!
//! # Security
//! Provided: bytes waiting are bounded by kind and in total, whatever the peer does not read; what
//! a full queue does is said in [`crate::kinds`].
//! A peer whose queue stays full while it takes next to nothing is noticed ([`Lanes::is_slow`]).
//! Not provided: protection from a local caller that ignores [`Pushed`].

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

mod carried;
mod patience;
mod wait;

use self::{
    carried::{Carried, is_carried},
    patience::Full,
    wait::keeps_connection,
};
use crate::{
    frame::{FLAG_FIRST, FLAG_LAST, FRAME_HEADER, FRAME_PAYLOAD_MAX, MESSAGE_HEAD},
    header::{HEADER_MAX, Header},
    kinds::{KINDS, Kind, LANES, Lane, Overflow},
    messages::Outgoing,
    rate::{ByteRate, TokenBucket},
    time::{Millis, Time},
};

/// Bytes lane 0 may send in a row before another lane gets one frame: two records.
pub const CONSENSUS_RUN: usize = 128 * 1024;
/// Bytes a lane of weight 1 may send in its turn.
const QUANTUM: usize = 4 * 1024;
/// Shares of lanes 1 to 4 (lane 0 has priority): blocks, control, transactions, bulk. A guess.
const WEIGHTS: [usize; LANES] = [0, 8, 4, 4, 2];
/// After transactions were sent, the next ones wait so long for company, ms, unless
/// [`GATHER_BYTES`] of them wait: a busy link then carries many in a record, and a lone one on an
/// idle link leaves at once. As long as a batch of Narwhal's descendants stays open.
const GATHER_MS: Millis = 10;
/// See [`GATHER_MS`]: a quarter of a record, bytes.
const GATHER_BYTES: usize = 16 * 1024;
/// A frame shorter than this is not worth starting at the end of a record, bytes.
const FRAME_MIN: usize = 512;
/// What one queued message costs beside its bytes: the queue's cell and the shared buffers.
const MESSAGE_OVERHEAD: usize = 128;

/// What happened to a message that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits to be sent.
    Queued,
    /// It waits, and this many older messages made room.
    QueuedDropping(usize),
    /// It was not queued; the peer learns of it by announcement, if at all.
    Dropped,
    /// It was not queued and the connection should end: the peer does not read.
    Overflowed,
}

#[derive(Debug)]
struct InProgress {
    message: Outgoing,
    sent: usize,
}

/// The queues to one peer. Bounded in bytes by kind and in total.
#[derive(Debug)]
pub struct Lanes {
    queues: [VecDeque<Outgoing>; LANES],
    /// Of the lane for bulk, what is carried for others.
    carried: Carried,
    in_progress: [Option<InProgress>; LANES],
    /// One bit a lane: something waits there, begun or not.
    waiting: u8,
    /// One bit a lane: its own stream takes nothing for now.
    blocked: u8,
    deficit: [usize; LANES],
    turn: usize,
    consensus_run: usize,
    buckets: [TokenBucket; KINDS.len()],
    /// All but lane 0: what the receiver takes, and what we send one peer.
    rates: [ByteRate; 2],
    /// All but lane 0 waits until then.
    held_until: Time,
    /// When transactions may be sent again, however few; and whether they are being sent.
    gathered: Time,
    gathering: bool,
    bytes_by_kind: [usize; KINDS.len()],
    bytes: usize,
    bytes_max: usize,
    /// Bytes that have left, by kind: of bodies, and what each message costs beside.
    left: [u64; KINDS.len()],
    full: Option<Full>,
}

impl Lanes {
    /// Empty queues that hold at most `bytes_max` bytes in total.
    #[must_use]
    pub fn new(now: Time, bytes_max: usize) -> Self {
        Lanes {
            queues: Default::default(),
            carried: Carried::default(),
            in_progress: Default::default(),
            waiting: 0,
            blocked: 0,
            deficit: [0; LANES],
            turn: 1,
            consensus_run: 0,
            buckets: buckets(now, 1),
            rates: [ByteRate::new(now, 0); 2],
            held_until: now,
            gathered: now,
            gathering: true,
            bytes_by_kind: [0; KINDS.len()],
            bytes: 0,
            bytes_max,
            left: [0; KINDS.len()],
            full: None,
        }
    }

    /// Holds all but lane 0 back until then: all peers together have had their share. How much
    /// longer that is than what was held back before, ms.
    pub fn hold(&mut self, now: Time, until: Time) -> Millis {
        let longer = until.since(self.held_until.max(now));
        self.held_until = until;
        self.excuse(longer);
        longer
    }

    /// Queues a message, or does what its kind's overflow policy says.
    pub fn push(&mut self, message: Outgoing) -> Pushed {
        let row = message.kind.row();
        let size = cost(&message);
        if row.overflow == Overflow::Coalesce {
            self.remove_queued(message.kind, usize::MAX);
        }
        let mut dropped = 0;
        if !self.fits(message.kind, size) {
            self.note_full(message.kind);
            match row.overflow {
                Overflow::DropOldest => dropped = self.remove_queued(message.kind, size),
                Overflow::Disconnect => return Pushed::Overflowed,
                Overflow::Reject | Overflow::DropNewest | Overflow::Coalesce => {}
            }
        }
        if !self.fits(message.kind, size) {
            return Pushed::Dropped;
        }
        self.account(message.kind, size);
        if is_carried(message.kind) {
            self.carried.queue.push_back(message);
            self.waiting |= 1 << row.lane as u8;
        } else if let Some(queue) = self.queues.get_mut(row.lane as usize) {
            if keeps_connection(message.kind) {
                let ahead = queue.iter().take_while(|other| keeps_connection(other.kind)).count();
                queue.insert(ahead, message);
            } else {
                queue.push_back(message);
            }
            self.waiting |= 1 << row.lane as u8;
        }
        if dropped == 0 { Pushed::Queued } else { Pushed::QueuedDropping(dropped) }
    }

    /// Whether something other than votes could go now, were it not held.
    #[must_use]
    pub fn wants_share(&self, now: Time) -> bool {
        let wants = |lane| self.lane_wait_unheld(lane, now) == Some(0);
        self.waiting & !1 != 0 && (1..LANES).any(wants)
    }

    /// Appends frames to `out`, at most `limit` bytes, until those are used up or nothing may go
    /// now.
    pub fn fill(&mut self, now: Time, out: &mut BytesMut, limit: usize) {
        let end = out.len().saturating_add(limit);
        while let Some(room) =
            end.checked_sub(out.len()).filter(|room| *room > FRAME_HEADER + FRAME_MIN)
        {
            let Some(lane) = self.next_lane(now) else { break };
            // A frame of a shared lane is no longer than what its lane may send in this turn.
            let share = match self.deficit.get(lane) {
                Some(deficit) if lane != 0 => {
                    let at_once = self.rates.iter().map(ByteRate::at_once).min();
                    (*deficit).min(at_once.unwrap_or(usize::MAX)).max(FRAME_HEADER + FRAME_MIN)
                }
                _ => room,
            };
            let written = self.write_frame(lane, out, room.min(share));
            self.rates.iter_mut().for_each(|rate| rate.spend(now, written));
            if lane == 0 {
                self.consensus_run = self.consensus_run.saturating_add(written);
            } else {
                self.consensus_run = 0;
                if let Some(deficit) = self.deficit.get_mut(lane) {
                    *deficit = deficit.saturating_sub(written);
                }
            }
        }
        if self.full.is_some() {
            self.look_for_room();
        }
    }

    /// Bytes that wait, overhead included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn account(&mut self, kind: Kind, size: usize) {
        self.bytes = self.bytes.saturating_add(size);
        if let Some(used) = self.bytes_by_kind.get_mut(kind.index()) {
            *used = used.saturating_add(size);
        }
    }

    fn release(&mut self, kind: Kind, size: usize) {
        self.bytes = self.bytes.saturating_sub(size);
        if let Some(used) = self.bytes_by_kind.get_mut(kind.index()) {
            *used = used.saturating_sub(size);
        }
    }

    /// Removes waiting messages of a kind, oldest first, until `needed` bytes fit.
    fn remove_queued(&mut self, kind: Kind, needed: usize) -> usize {
        let lane = kind.row().lane as usize;
        let mut removed = 0;
        while needed == usize::MAX || !self.fits(kind, needed) {
            let Some(queue) = self.queues.get_mut(lane) else { break };
            let Some(oldest) = queue.iter().position(|message| message.kind == kind) else { break };
            let Some(message) = queue.remove(oldest) else { break };
            self.note_waiting(lane);
            self.release(kind, cost(&message));
            removed += 1;
        }
        removed
    }

    /// Notes whether the lane still has something to send.
    fn note_waiting(&mut self, lane: usize) {
        let begun = self.in_progress.get(lane).is_some_and(Option::is_some);
        let queued = self.queues.get(lane).is_some_and(|queue| !queue.is_empty());
        let carried = lane == Lane::Bulk as usize && !self.carried.queue.is_empty();
        if !begun && !queued && !carried {
            self.waiting &= !(1 << lane);
            self.gathering |= lane == Lane::Transactions as usize;
        }
    }

    fn is_ready(&self, lane: usize, now: Time) -> bool {
        self.lane_wait(lane, now) == Some(0)
    }

    /// The lane whose turn it is; starts its next message, paying its token.
    fn next_lane(&mut self, now: Time) -> Option<usize> {
        let consensus_ready = self.is_ready(0, now);
        let only_consensus = self.waiting == 1;
        let others_ready = !only_consensus && (1..LANES).any(|lane| self.is_ready(lane, now));
        let lane = if consensus_ready && (self.consensus_run < CONSENSUS_RUN || !others_ready) {
            0
        } else if others_ready {
            self.next_shared_lane(now)?
        } else {
            return None;
        };
        self.start_message(lane, now)?;
        Some(lane)
    }

    fn next_shared_lane(&mut self, now: Time) -> Option<usize> {
        // Two rounds: the first may only hand out quanta.
        for _ in 0..2 * LANES {
            let lane = self.turn;
            let ready = self.is_ready(lane, now);
            let deficit = self.deficit.get_mut(lane)?;
            if ready && *deficit > 0 {
                return Some(lane);
            }
            if !ready {
                *deficit = 0;
            }
            self.turn = if lane + 1 >= LANES { 1 } else { lane + 1 };
            if let (Some(next), Some(weight)) =
                (self.deficit.get_mut(self.turn), WEIGHTS.get(self.turn))
            {
                *next = next.saturating_add(weight * QUANTUM).min(FRAME_PAYLOAD_MAX * 2);
            }
        }
        None
    }

    fn start_message(&mut self, lane: usize, now: Time) -> Option<()> {
        if self.in_progress.get(lane)?.is_none() {
            let message = self.take_next(lane, now)?;
            self.buckets.get_mut(message.kind.index())?.take(now, 1);
            if message.kind == Kind::Transaction {
                // Until none waits.
                (self.gathered, self.gathering) = (now.plus(GATHER_MS), false);
            }
            *self.in_progress.get_mut(lane)? = Some(InProgress { message, sent: 0 });
        }
        Some(())
    }

    /// Writes one frame of the lane's message; returns its bytes.
    fn write_frame(&mut self, lane: usize, out: &mut BytesMut, room: usize) -> usize {
        let Some(current) = self.in_progress.get_mut(lane).and_then(Option::as_mut) else {
            return 0;
        };
        let Outgoing { kind, header, body } = &current.message;
        let first = current.sent == 0;
        let head = if first { MESSAGE_HEAD + header.len() } else { 0 };
        let left = body.len() - current.sent;
        let piece = left.min(room.min(FRAME_PAYLOAD_MAX + FRAME_HEADER) - FRAME_HEADER - head);
        let last = piece == left;
        let flags = if first { FLAG_FIRST } else { 0 } | if last { FLAG_LAST } else { 0 };
        // One write for everything in front of the body.
        let mut front = [0; FRAME_HEADER + MESSAGE_HEAD + HEADER_MAX];
        let [a, b] = u16::try_from(head + piece).unwrap_or(u16::MAX).to_le_bytes();
        front[..4].copy_from_slice(&[u8::try_from(lane).unwrap_or(u8::MAX), flags, a, b]);
        if first {
            let [a, b, c, d] = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
            let length = u8::try_from(header.len()).unwrap_or(u8::MAX);
            front[4..10].copy_from_slice(&[kind.byte(), length, a, b, c, d]);
            // Headers are at most HEADER_MAX, and bodies as long as they were: nothing is cut.
            if let Some(place) = front.get_mut(10..10 + header.len()) {
                place.copy_from_slice(header);
            }
        }
        out.extend_from_slice(front.get(..FRAME_HEADER + head).unwrap_or_default());
        out.extend_from_slice(body.get(current.sent..current.sent + piece).unwrap_or_default());
        current.sent += piece;
        let kind = *kind;
        if let Some(left) = self.left.get_mut(kind.index()) {
            let overhead = if last { MESSAGE_OVERHEAD } else { 0 };
            *left = left.wrapping_add((piece + overhead) as u64);
        }
        if last {
            let size = cost(&current.message);
            if let Some(done) = self.in_progress.get_mut(lane) {
                *done = None;
            }
            self.note_waiting(lane);
            self.release(kind, size);
        }
        FRAME_HEADER + head + piece
    }
}

fn buckets(now: Time, factor: u16) -> [TokenBucket; KINDS.len()] {
    KINDS.map(|row| row.bucket(now, u32::from(factor.max(1)), 1))
}

fn cost(message: &Outgoing) -> usize {
    message.header.len() + message.body.len() + MESSAGE_OVERHEAD
}

/// A message without a header.
#[must_use]
pub fn plain(kind: Kind, body: Vec<u8>) -> Outgoing {
    Outgoing { kind, header: Header::EMPTY, body: Bytes::from(body) }
}

#[cfg(test)]
mod tests;
