//! The end of a connection that a relay carried, once a direct one has taken its place: nothing of
//! either side is lost.
//!
//! Each side sends what still waits here, then its last word ([`CloseReason::Upgraded`]), and goes
//! on listening until it has heard the other's, and where lanes have streams of their own the end
//! of each. Whoever has said and heard it ends. Over such streams it first ends its own direction,
//! and the connection when the other's has ended: closing it drops what is under way.
//!
//! # Security
//! Provided: what the other side does, the connection ends within [`TOTAL`], and within [`GRACE`] if
//! it does nothing. Not provided: delivery to one that takes longer.

use std::sync::atomic::Ordering;

use actix::{ActorContext, Context};
use peerstage_core::{
    codec,
    kinds::Kind,
    lanes::plain,
    messages::Disconnect,
    reason::{CloseReason, Closure},
    time::{Millis, Time},
};

use super::{Peer, Phase};

/// How long it may take to move [`LEAST_MOVED`], ms, in either direction.
const GRACE: Millis = 10_000;
/// Bytes: more than pings, and what the slowest way worth a connection moves in a quarter second.
const LEAST_MOVED: u64 = 4 * 1024;
/// How long it may take in all, ms: full queues at the slowest way worth a connection.
const TOTAL: Millis = 5 * 60 * 1_000;
/// Between two looks at what still waits, ms: the writer tells nobody that it is done.
const LOOK: Millis = 50;

/// How far a connection is on its way out.
pub(super) struct Retire {
    /// It ends then, whatever waits.
    last: Time,
    /// It ends then, if nothing moves.
    until: Time,
    /// Bytes that had come and gone when that was set.
    moved: u64,
    look: Time,
    /// Whether nothing more is queued on this side.
    ordered: bool,
    /// Whether our last word is on its way.
    said: bool,
    /// Whether the other's has come.
    heard: bool,
    /// Whether our direction has ended.
    ended: bool,
}

impl Retire {
    fn new(now: Time, moved: u64) -> Self {
        let (ordered, said, heard, ended) = (false, false, false, false);
        let (last, until) = (now.plus(TOTAL), now.plus(GRACE));
        Retire { last, until, moved, look: now, ordered, said, heard, ended }
    }

    /// When it is to be looked at again.
    pub(super) fn deadline(&self) -> Time {
        self.until.min(self.look)
    }

    /// So many bytes have come and gone until now: as long as some do, it goes on.
    fn note_moved(&mut self, now: Time, moved: u64) {
        if moved.saturating_sub(self.moved) >= LEAST_MOVED {
            self.moved = moved;
            self.until = now.plus(GRACE).min(self.last);
        }
    }
}

impl Peer {
    fn moved(&self) -> u64 {
        let counters = self.outbox.counters();
        let counts = [&counters.bytes_in, &counters.bytes_out];
        counts.iter().map(|count| count.load(Ordering::Relaxed)).fold(0, u64::saturating_add)
    }

    fn retire_mut(&mut self) -> &mut Retire {
        let (now, moved) = (self.clock.now(), self.moved());
        self.retire.get_or_insert_with(|| Retire::new(now, moved))
    }

    /// Nothing more is queued here.
    pub(super) fn begin_to_retire(&mut self) {
        if matches!(self.phase, Phase::Open) {
            self.guard.set_closure(Closure::local(CloseReason::Upgraded));
            self.retire_mut().ordered = true;
        }
    }

    /// The other side sends nothing new here; what it has sent is still heard if this one has its
    /// place.
    pub(super) fn heard_last_word(&mut self, ctx: &mut Context<Self>) {
        self.guard.set_closure(Closure::remote(CloseReason::Upgraded, 0));
        self.heard.last_word.set(true);
        if matches!(self.phase, Phase::Open) {
            self.retire_mut().heard = true;
        } else {
            ctx.stop();
        }
    }

    /// Says the last word when nothing is left to send, and ends when all is said and heard.
    pub(super) fn go_on_retiring(&mut self, now: Time, ctx: &mut Context<Self>) {
        let (unsent, moved) = (self.outbox.bytes(), self.moved());
        let flushed = unsent == 0 && self.writing.borrow().waiting() == 0;
        let Some(retire) = &mut self.retire else { return };
        retire.look = now.plus(LOOK);
        retire.note_moved(now, moved);
        if retire.ordered && !retire.said {
            let reason = CloseReason::Upgraded.code();
            let last = Disconnect { reason, retry_after_ms: 0 };
            let last = plain(Kind::Disconnect, codec::encode(&last).unwrap_or_default());
            if self.outbox.close_with(last) {
                retire.said = true;
                self.writing.borrow_mut().part();
                self.outbox.wake_always();
            }
        }
        let done = retire.said && retire.heard && self.lanes_ended && flushed;
        if done && self.has_lanes && !retire.ended {
            retire.ended = true;
            self.writing.borrow_mut().end();
            self.outbox.wake_always();
        } else if (done && !self.has_lanes) || now >= retire.until {
            metrics::counter!("peerstage_upgrade_unsent_bytes_total").increment(unsent as u64);
            ctx.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As long as bytes move, a full queue is waited for; pings alone are not enough, and nothing
    /// is for ever.
    #[test]
    fn a_connection_on_its_way_out_ends_when_nothing_moves() {
        let mut retire = Retire::new(Time(0), 1_000);
        let (mut now, mut moved) = (Time(0), 1_000);
        for _ in 0..20 {
            now = now.plus(GRACE - 1);
            assert!(now < retire.until, "{now:?}");
            moved += LEAST_MOVED;
            retire.note_moved(now, moved);
        }
        let until = retire.until;
        retire.note_moved(now.plus(5_000), moved + LEAST_MOVED - 1);
        assert_eq!(retire.until, until);
        while now < Time(2 * TOTAL) {
            now = now.plus(1_000);
            moved += LEAST_MOVED;
            retire.note_moved(now, moved);
        }
        assert_eq!(retire.until, Time(TOTAL));
    }
}
