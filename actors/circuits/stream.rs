//! The bytes of a circuit, as a stream like any other, and the actor's side of it.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, BytesMut};
use peerstage_core::circuits::{CircuitKey, WINDOW};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ToCircuits;
use crate::{shell::Queue, transport::Io};

/// Bytes that wait on either side of a stream, at most.
const ROOM: usize = WINDOW as usize;

/// What the stream and the actor share.
#[derive(Default)]
struct Pipe {
    /// Came, and was not read; at most the window.
    inbound: BytesMut,
    reader: Option<Waker>,
    /// Was read, and the other end does not know.
    read: usize,
    /// Was written, and has not left; at most [`ROOM`].
    outbound: BytesMut,
    writer: Option<Waker>,
    /// Nothing is written any more, by this side's will.
    shut: bool,
    /// The circuit is over.
    over: bool,
    /// The actor was called and has not come yet.
    rung: bool,
}

struct Shared {
    key: CircuitKey,
    pipe: Mutex<Pipe>,
    bell: Queue<ToCircuits>,
}

/// A circuit's stream. Dropping it ends the circuit behind what was written.
pub(super) struct CircuitStream(Arc<Shared>);

/// The actor's side of a stream.
pub(super) struct CircuitEnd(Arc<Shared>);

/// What the actor finds at a stream.
pub(super) struct Found {
    /// Bytes that were read.
    pub(super) read: usize,
    /// Nothing more is written, and all that was has left.
    pub(super) done: bool,
    /// Nothing more is written, and something waits.
    pub(super) ending: bool,
}

/// Both sides of a new stream; the bell tells the actor that there is something to do.
pub(super) fn stream(key: CircuitKey, bell: Queue<ToCircuits>) -> (CircuitStream, CircuitEnd) {
    let shared = Arc::new(Shared { key, pipe: Mutex::default(), bell });
    (CircuitStream(Arc::clone(&shared)), CircuitEnd(shared))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pipe> {
        // Nothing panics while the lock is held, so a poisoned pipe is still in order.
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the actor, once until it has come.
    fn ring(&self, mut pipe: MutexGuard<'_, Pipe>) {
        let rung = std::mem::replace(&mut pipe.rung, true) || pipe.over;
        drop(pipe);
        if !rung {
            // Control: at most one for each circuit.
            let _ = self.bell.push_control(ToCircuits::Pump(self.key));
        }
    }
}

impl CircuitEnd {
    /// Bytes came; the machine has seen that they are within the window.
    pub(super) fn receive(&self, bytes: &[u8]) {
        let mut pipe = self.0.lock();
        pipe.inbound.extend_from_slice(bytes);
        let reader = pipe.reader.take();
        drop(pipe);
        wake(reader);
    }

    /// Lets `send` take from the front of what was written.
    pub(super) fn pump(&self, send: impl FnOnce(&mut BytesMut)) -> Found {
        let mut pipe = self.0.lock();
        pipe.rung = false;
        let before = pipe.outbound.len();
        send(&mut pipe.outbound);
        let (read, empty) = (std::mem::take(&mut pipe.read), pipe.outbound.is_empty());
        if empty {
            // A silent circuit costs no buffer.
            pipe.outbound = BytesMut::new();
        }
        let found = Found { read, done: pipe.shut && empty, ending: pipe.shut && !empty };
        let writer = if pipe.outbound.len() < before { pipe.writer.take() } else { None };
        drop(pipe);
        wake(writer);
        found
    }

    /// The circuit is over; what came can still be read.
    pub(super) fn end(&self) {
        let mut pipe = self.0.lock();
        pipe.over = true;
        let waiting = [pipe.reader.take(), pipe.writer.take()];
        drop(pipe);
        waiting.into_iter().for_each(wake);
    }
}

impl Drop for CircuitEnd {
    /// Also when the actor dies: nobody waits for ever.
    fn drop(&mut self) {
        self.end();
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn park(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

impl AsyncRead for CircuitStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pipe = self.0.lock();
        if pipe.inbound.is_empty() {
            if pipe.over {
                return Poll::Ready(Ok(()));
            }
            park(&mut pipe.reader, cx);
            return Poll::Pending;
        }
        let count = pipe.inbound.len().min(buffer.remaining());
        buffer.put_slice(pipe.inbound.get(..count).unwrap_or_default());
        pipe.inbound.advance(count);
        if pipe.inbound.is_empty() {
            pipe.inbound = BytesMut::new();
        }
        pipe.read = pipe.read.saturating_add(count);
        if pipe.read >= ROOM / 4 {
            self.0.ring(pipe);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CircuitStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.lock();
        if pipe.over || pipe.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = ROOM.saturating_sub(pipe.outbound.len()).min(bytes.len());
        if count == 0 && !bytes.is_empty() {
            park(&mut pipe.writer, cx);
            return Poll::Pending;
        }
        pipe.outbound.extend_from_slice(bytes.get(..count).unwrap_or_default());
        self.0.ring(pipe);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The circuit ends behind what was written, in both directions: there is no half of one.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        let mut pipe = self.0.lock();
        pipe.shut = true;
        self.0.ring(pipe);
        Poll::Ready(Ok(()))
    }
}

impl Io for CircuitStream {
    fn move_here(self: Box<Self>) -> io::Result<Box<dyn Io>> {
        Ok(self)
    }
}

impl Drop for CircuitStream {
    fn drop(&mut self) {
        let mut pipe = self.0.lock();
        pipe.shut = true;
        self.0.ring(pipe);
    }
}
