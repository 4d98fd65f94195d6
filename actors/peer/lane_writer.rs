//! The writing half of a QUIC connection: frames from the outbox, each to the stream of its lane.
//!
//! QUIC's packets are as late as records are: little is handed over in front of what a lane's
//! window and the congestion control let go, and a lane that takes nothing holds no other up.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use futures_util::Stream;
use peerstage_core::{
    frame::FRAME_HEADER,
    kinds::{LANES, Lane},
    lanes::Lanes,
    time::Time,
};

use super::{
    limits::WriteLimit,
    outbox::Outbox,
    writer::{WriteState, WriterNews},
    writing::Writing,
};
use crate::{clock::Clock, transport::quic::LanesOut};

/// Bytes that are taken from the outbox at once: so much of a block goes in front of a vote that
/// is queued now, and the vote's packets still leave first.
const TAKE_MAX: usize = 16 * 1024;

/// Every lane, by its number.
const ALL: [Lane; LANES] =
    [Lane::Consensus, Lane::Blocks, Lane::Control, Lane::Transactions, Lane::Bulk];

/// What waits for the stream of one lane.
struct Pending {
    bytes: BytesMut,
    /// When the stream last took something, or had nothing to take.
    moved: Time,
}

/// Writes what the outbox holds.
pub(super) struct LaneWriter {
    lanes: LanesOut,
    pending: [Pending; LANES],
    state: Rc<RefCell<WriteState>>,
    outbox: Outbox,
    limit: WriteLimit,
    clock: Clock,
    bytes_out: metrics::Counter,
    taken: BytesMut,
    writing: Writing,
    closing: bool,
    ended: bool,
}

impl LaneWriter {
    pub(super) fn new(
        lanes: LanesOut,
        state: Rc<RefCell<WriteState>>,
        outbox: Outbox,
        limit: WriteLimit,
        clock: Clock,
    ) -> Self {
        let moved = clock.now();
        LaneWriter {
            lanes,
            pending: [(); LANES].map(|()| Pending { bytes: BytesMut::new(), moved }),
            state,
            outbox,
            limit,
            clock,
            bytes_out: super::bytes_total("out", "quic"),
            taken: BytesMut::new(),
            writing: Writing::default(),
            closing: false,
            ended: false,
        }
    }

    /// Hands each lane's stream what waits for it. Whether some stream takes nothing.
    fn write_all(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let now = self.clock.now();
        let mut blocked = false;
        for (lane, pending) in self.pending.iter_mut().enumerate() {
            if pending.bytes.is_empty() {
                pending.moved = now;
            }
            while !pending.bytes.is_empty() {
                let Poll::Ready(count) = self.lanes.poll_write(lane, cx, &pending.bytes)? else {
                    blocked = true;
                    break;
                };
                pending.bytes.advance(count);
                pending.moved = now;
                self.writing.wrote(&self.outbox, &self.bytes_out, count);
            }
            if pending.bytes.is_empty() && pending.bytes.capacity() > 0 {
                pending.bytes = BytesMut::new();
            }
        }
        let waiting = self.pending.iter().filter(|pending| !pending.bytes.is_empty());
        let bytes = waiting.clone().map(|pending| pending.bytes.len()).sum();
        let since = waiting.map(|pending| pending.moved).min().unwrap_or(now);
        self.state.borrow_mut().set_waiting(bytes, since);
        Ok(blocked)
    }

    /// Ends the streams of lanes on which nothing follows.
    fn end_lanes(&mut self) {
        let (parting, ending) = self.state.borrow().parting();
        if !parting {
            return;
        }
        let said = ending && self.outbox.bytes() == 0;
        for (lane, pending) in ALL.into_iter().zip(&self.pending) {
            if pending.bytes.is_empty() && (lane != Lane::Control || said) {
                self.lanes.finish(lane);
            }
        }
    }

    /// Takes frames from the outbox for the lanes whose streams take them; how many bytes.
    fn take(&mut self, now: Time) -> usize {
        let goodbye = self.state.borrow_mut().take_goodbye();
        self.taken.clear();
        if let Some(goodbye) = goodbye {
            self.closing = true;
            let mut last = Lanes::new(now, TAKE_MAX);
            last.push(goodbye);
            last.fill(now, &mut self.taken, TAKE_MAX);
        } else {
            let waiting = self.pending.iter().enumerate();
            let blocked = waiting.filter(|(_, pending)| !pending.bytes.is_empty());
            let blocked = blocked.fold(0, |mask, (lane, _)| mask | 1 << lane);
            self.outbox.block(blocked);
            let (outbox, limit) = (&self.outbox, &self.limit);
            outbox.hold(now, || limit.held_until(now));
            outbox.fill(now, &mut self.taken, limit.at_once().min(TAKE_MAX));
        }
        let taken = self.taken.len();
        if taken > 0 {
            self.limit.sent(now, taken);
        }
        while let Some([lane, _, low, high]) = self.taken.first_chunk::<FRAME_HEADER>().copied() {
            let length = FRAME_HEADER + usize::from(u16::from_le_bytes([low, high]));
            let frame = self.taken.split_to(length.min(self.taken.len()));
            if let Some(pending) = self.pending.get_mut(usize::from(lane)) {
                pending.bytes.extend_from_slice(&frame);
            }
        }
        taken
    }

    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<WriterNews> {
        loop {
            if let Some(news) = self.writing.look(&self.outbox) {
                return Poll::Ready(news);
            }
            let blocked = match self.write_all(cx) {
                Ok(blocked) => blocked,
                Err(error) => return Poll::Ready(WriterNews::Lost(error)),
            };
            self.end_lanes();
            if self.writing.stalls(blocked) {
                return Poll::Ready(WriterNews::Stalled);
            }
            if self.closing {
                let control = self.pending.get(Lane::Control as usize);
                if control.is_some_and(|control| control.bytes.is_empty()) {
                    // The reader tells when the other side is done too.
                    self.lanes.finish(Lane::Control);
                }
                return Poll::Pending;
            }
            if self.writing.yields(cx) {
                return Poll::Pending;
            }
            let now = self.clock.now();
            if self.take(now) == 0 {
                return self.writing.poll_paced(&self.outbox, now);
            }
        }
    }
}

impl Stream for LaneWriter {
    type Item = WriterNews;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WriterNews>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // Registered first, so that a push between the look and the wait isn't missed.
        self.outbox.register(cx);
        let news = ready!(self.poll_news(cx));
        self.ended = matches!(news, WriterNews::Lost(_));
        Poll::Ready(Some(news))
    }
}
