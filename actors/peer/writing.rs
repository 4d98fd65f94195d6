//! What both writers do alike: whose turn it is, and what their actor is told, each thing once.

use std::task::{Context, Poll};

use peerstage_core::time::Time;

use super::{outbox::Outbox, writer::WriterNews};

/// Bytes written before the other tasks of the thread have their turn.
const TURN: usize = 256 * 1024;

/// Where a writer stands.
#[derive(Debug, Default)]
pub(super) struct Writing {
    /// When paced messages may go, as the actor was told.
    paced: Option<Time>,
    turn: usize,
    stalled: bool,
    overflowed: bool,
}

impl Writing {
    /// What the queue says of the peer, before anything is written to it.
    pub(super) fn look(&mut self, outbox: &Outbox) -> Option<WriterNews> {
        if outbox.is_overflowed() && !self.overflowed {
            // Whoever reads nothing is cut off now, not when its socket takes bytes again.
            self.overflowed = true;
            return Some(WriterNews::Overflowed);
        }
        outbox.is_crowded().then_some(WriterNews::Crowded)
    }

    /// The connection has taken so many bytes.
    pub(super) fn wrote(&mut self, outbox: &Outbox, bytes_out: &metrics::Counter, count: usize) {
        self.turn = self.turn.saturating_add(count);
        bytes_out.increment(count as u64);
        outbox.counters().note_written(count as u64);
    }

    /// Whether the connection takes nothing now; true if that is news.
    pub(super) fn stalls(&mut self, stalled: bool) -> bool {
        !std::mem::replace(&mut self.stalled, stalled) && stalled
    }

    /// Whether it is the turn of the thread's other tasks. Then it goes on at the next one.
    pub(super) fn yields(&mut self, cx: &Context<'_>) -> bool {
        let yields = self.turn >= TURN;
        if yields {
            self.turn = 0;
            cx.waker().wake_by_ref();
        }
        yields
    }

    /// Nothing may go now; whether something may later, which the actor's timer must know.
    pub(super) fn poll_paced(&mut self, outbox: &Outbox, now: Time) -> Poll<WriterNews> {
        let paced = outbox.ready_at(now);
        let told = std::mem::replace(&mut self.paced, paced);
        if paced.is_some() && paced != told {
            return Poll::Ready(WriterNews::Paced);
        }
        Poll::Pending
    }
}
