//! The two ends of a socket as streams into the peer's actor.

use std::{
    cell::RefCell,
    io,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};

use super::outbox::Outbox;
use crate::{clock::Clock, shell::ByteBudget, transport::Io};

/// The most one read takes from the socket, bytes: a record and the start of the next.
const READ_MAX: usize = 64 * 1024;

/// Bytes that arrived, for the actor.
pub(super) struct Arrived(pub(super) io::Result<BytesMut>);

/// The writer has nothing to write and the outbox has something ready.
pub(super) struct WriterReady(pub(super) io::Result<()>);

/// Reads the socket while the peer's budget has room: a peer whose messages are not yet dealt
/// with is not read, so its sender waits and nobody else does.
pub(super) struct Reader {
    io: ReadHalf<Box<dyn Io>>,
    budget: ByteBudget,
    leftover: BytesMut,
    ended: bool,
}

impl Reader {
    /// Reads `leftover` first, then the socket.
    pub(super) fn new(io: ReadHalf<Box<dyn Io>>, budget: ByteBudget, leftover: BytesMut) -> Self {
        Reader { io, budget, leftover, ended: false }
    }

    /// Reads onto the stack first, so that a silent peer costs no buffer and a byte costs a byte.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<BytesMut>> {
        let mut space = [const { MaybeUninit::uninit() }; READ_MAX];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        match buffer.filled() {
            [] => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            bytes => Poll::Ready(Ok(BytesMut::from(bytes))),
        }
    }
}

impl Stream for Reader {
    type Item = Arrived;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Arrived>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if !self.leftover.is_empty() {
            let leftover = self.leftover.split();
            return Poll::Ready(Some(Arrived(Ok(leftover))));
        }
        ready!(self.budget.poll_room(cx));
        let read = ready!(self.poll_read(cx));
        self.ended = read.is_err();
        Poll::Ready(Some(Arrived(read)))
    }
}

/// Sealed records on their way to the socket.
#[derive(Default)]
pub(super) struct WriteBuffer {
    /// What is still to be written.
    pub(super) bytes: BytesMut,
    /// Bytes the socket has taken so far.
    pub(super) written: u64,
    /// Nothing comes after these bytes: our direction ends with them.
    pub(super) closing: bool,
}

/// Writes the buffer; when it is empty and the outbox has something ready, says so.
pub(super) struct Writer {
    io: WriteHalf<Box<dyn Io>>,
    buffer: Rc<RefCell<WriteBuffer>>,
    outbox: Outbox,
    clock: Clock,
    flushed: bool,
    ended: bool,
}

impl Writer {
    pub(super) fn new(
        io: WriteHalf<Box<dyn Io>>,
        buffer: Rc<RefCell<WriteBuffer>>,
        outbox: Outbox,
        clock: Clock,
    ) -> Self {
        Writer { io, buffer, outbox, clock, flushed: true, ended: false }
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let buffer = Rc::clone(&self.buffer);
        let mut buffer = buffer.borrow_mut();
        while !buffer.bytes.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &buffer.bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            buffer.bytes.advance(count);
            buffer.written = buffer.written.saturating_add(count as u64);
            self.flushed = false;
        }
        if !self.flushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.flushed = true;
        }
        if buffer.closing {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            // The reader tells when the other side is done too.
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl Stream for Writer {
    type Item = WriterReady;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WriterReady>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // Registered first, so that a push between the look and the wait isn't missed.
        self.outbox.register(cx);
        if self.outbox.is_overflowed() {
            // Whoever reads nothing is cut off now, not when its socket takes bytes again.
            return Poll::Ready(Some(WriterReady(Ok(()))));
        }
        if let Err(error) = ready!(self.poll_write_all(cx)) {
            self.ended = true;
            return Poll::Ready(Some(WriterReady(Err(error))));
        }
        let now = self.clock.now();
        if self.outbox.ready_at(now).is_some_and(|at| at <= now) {
            return Poll::Ready(Some(WriterReady(Ok(()))));
        }
        Poll::Pending
    }
}
