//! The writing half of a connection: frames from the outbox, sealed into records.
//!
//! What waits is sealed as late as possible: one record when the socket has taken the last one,
//! so that a vote finds no more than one in front of it here. A link that is idle sends a single
//! message at once; a busy one fills its records by itself.

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
    frame::RECORD_MAX,
    lanes::Lanes,
    messages::Outgoing,
    noise::Sealer,
    time::{Millis, Time},
};
use tokio::io::{AsyncWrite, WriteHalf};

use super::{limits::WriteLimit, outbox::Outbox, writing::Writing};
use crate::{clock::Clock, transport::Io};

/// Buffers a thread keeps for its next writers.
const SPARE_MAX: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// What the writer and its actor share.
pub(super) struct WriteState {
    /// Sealed bytes that the socket has not taken.
    waiting: usize,
    /// When the socket last took something, or had nothing to take.
    moved: Time,
    /// The last message, behind which our direction ends.
    goodbye: Option<Outgoing>,
    /// Nothing but a last word is queued any more: lanes that have streams of their own end.
    parting: bool,
    /// And the lane of the last word.
    ending: bool,
}

impl WriteState {
    pub(super) fn new(now: Time) -> Rc<RefCell<Self>> {
        let (parting, ending) = (false, false);
        let state = WriteState { waiting: 0, moved: now, goodbye: None, parting, ending };
        Rc::new(RefCell::new(state))
    }

    /// Since when the socket has taken nothing although bytes wait.
    pub(super) fn stalled_since(&self) -> Option<Time> {
        (self.waiting > 0).then_some(self.moved)
    }

    /// Whether the socket has taken nothing for `timeout`.
    pub(super) fn is_stalled(&self, now: Time, timeout: Millis) -> bool {
        self.stalled_since().is_some_and(|since| now.since(since) >= timeout)
    }

    /// So many bytes wait, and the socket has taken nothing since then.
    pub(super) fn set_waiting(&mut self, bytes: usize, since: Time) {
        (self.waiting, self.moved) = (bytes, since);
    }

    /// The last message, once.
    pub(super) fn take_goodbye(&mut self) -> Option<Outgoing> {
        self.goodbye.take()
    }

    /// Bytes that are sealed and not written.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Nothing but a last word is queued any more.
    pub(super) fn part(&mut self) {
        self.parting = true;
    }

    /// The last word was heard, and the other's was.
    pub(super) fn end(&mut self) {
        self.ending = true;
    }

    /// Whether the lanes that carry no last word end, and the one that does.
    pub(super) fn parting(&self) -> (bool, bool) {
        (self.parting, self.ending)
    }

    /// Sends this behind what is already sealed, and then nothing more.
    pub(super) fn say_goodbye(&mut self, last: Outgoing) {
        self.goodbye = Some(last);
    }
}

/// What the writer tells its actor; each once for every time it becomes true.
pub(super) enum WriterNews {
    /// The socket takes nothing more for now.
    Stalled,
    /// Messages wait for their pace.
    Paced,
    /// A queue is full, and somebody may wait for room: the actor's clock runs from now on.
    Crowded,
    /// The peer reads so slowly that a message which must not be lost found no room.
    Overflowed,
    /// The keys are used up; a new connection makes new ones.
    KeysUsedUp,
    /// The socket has ended.
    Lost(io::Error),
}

/// Seals and writes what the outbox holds.
pub(super) struct Writer {
    io: WriteHalf<Box<dyn Io>>,
    sealer: Sealer,
    state: Rc<RefCell<WriteState>>,
    outbox: Outbox,
    limit: WriteLimit,
    clock: Clock,
    /// Sealed records; no memory while there are none.
    buffer: BytesMut,
    bytes_out: metrics::Counter,
    writing: Writing,
    flushed: bool,
    closing: bool,
    ended: bool,
}

impl Writer {
    pub(super) fn new(
        io: WriteHalf<Box<dyn Io>>,
        sealer: Sealer,
        state: Rc<RefCell<WriteState>>,
        outbox: Outbox,
        limit: WriteLimit,
        (clock, bytes_out): (Clock, metrics::Counter),
    ) -> Self {
        Writer {
            io,
            sealer,
            state,
            outbox,
            limit,
            clock,
            buffer: BytesMut::new(),
            bytes_out,
            writing: Writing::default(),
            flushed: true,
            closing: false,
            ended: false,
        }
    }

    /// Writes what is sealed. Pending while the socket takes nothing.
    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.buffer.is_empty() {
            let count = match Pin::new(&mut self.io).poll_write(cx, &self.buffer) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => count?,
                Poll::Pending => {
                    self.state.borrow_mut().waiting = self.buffer.len();
                    return Poll::Pending;
                }
            };
            self.buffer.advance(count);
            self.writing.wrote(&self.outbox, &self.bytes_out, count);
            self.writing.stalls(false);
            self.flushed = false;
            let mut state = self.state.borrow_mut();
            (state.waiting, state.moved) = (self.buffer.len(), self.clock.now());
        }
        if !self.flushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Seals a record of what is ready, once all that was sealed before is written.
    fn seal(&mut self, now: Time) -> Result<(), WriterNews> {
        let goodbye = self.state.borrow_mut().take_goodbye();
        if self.buffer.capacity() == 0 {
            self.buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        let mut last = goodbye.map(|goodbye| {
            let mut lanes = Lanes::new(now, RECORD_MAX);
            lanes.push(goodbye);
            self.closing = true;
            lanes
        });
        let (outbox, limit) = (&self.outbox, &self.limit);
        outbox.hold(now, || limit.held_until(now));
        let sealed = self.sealer.seal_with(&mut self.buffer, RECORD_MAX, |text| match &mut last {
            Some(lanes) => lanes.fill(now, text, RECORD_MAX),
            None => outbox.fill(now, text, limit.at_once()),
        });
        match sealed {
            Ok(bytes) => self.limit.sent(now, bytes),
            Err(_) => return Err(WriterNews::KeysUsedUp),
        }
        let mut state = self.state.borrow_mut();
        (state.waiting, state.moved) = (self.buffer.len(), now);
        Ok(())
    }

    /// Nothing waits: the buffer serves the thread's next writer.
    fn give_back_buffer(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() > 0 {
            buffer.clear();
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_MAX {
                    spare.push(buffer);
                }
            });
        }
    }

    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<WriterNews> {
        loop {
            if let Some(news) = self.writing.look(&self.outbox) {
                return Poll::Ready(news);
            }
            match self.poll_write_all(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(WriterNews::Lost(error)),
                Poll::Pending if self.writing.stalls(true) => {
                    return Poll::Ready(WriterNews::Stalled);
                }
                Poll::Pending => {
                    self.outbox.register_stalled();
                    return Poll::Pending;
                }
            }
            if self.closing {
                // The reader tells when the other side is done too.
                return match ready!(Pin::new(&mut self.io).poll_shutdown(cx)) {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(WriterNews::Lost(error)),
                };
            }
            if self.writing.yields(cx) {
                return Poll::Pending;
            }
            let now = self.clock.now();
            if let Err(news) = self.seal(now) {
                return Poll::Ready(news);
            }
            if self.buffer.is_empty() {
                self.give_back_buffer();
                return self.writing.poll_paced(&self.outbox, now);
            }
        }
    }
}

impl Stream for Writer {
    type Item = WriterNews;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WriterNews>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // Registered first, so that a push between the look and the wait isn't missed.
        self.outbox.register(cx);
        let news = ready!(self.poll_news(cx));
        self.ended = matches!(news, WriterNews::Lost(_) | WriterNews::KeysUsedUp);
        Poll::Ready(Some(news))
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
